"""How often does a controller inside jit decide otherwise than `lehr.start` on the same numbers?

    python benchmarks/jax_decisions.py --runs 400

The policies and the drawn numbers are those of `tests/test_jax_machines.py`, which tries fewer runs of each. Decisions
differ if a rule fires at another update or the run ends at another one. LRs are compared with the host's, rounded,
where these are above 1e-22: smaller gains are not stored to the last bit.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path

import jax

from lehr.errors import LehrWarning

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from test_jax_machines import POLICIES, STEPS, drawn, jitted, on_the_host, parsed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=400, help="of each policy")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--x64", action="store_true", help="let JAX compute in 64 bits")
    given = parser.parse_args()
    jax.config.update("jax_enable_x64", given.x64)
    warnings.simplefilter("ignore", LehrWarning)  # rules whose numbers are drawn as never reported
    kind = "float64" if given.x64 else "float32"
    numbers, new = drawn(kind, given.runs, given.seed)
    differing = fired = lrs = 0
    for text in POLICIES.values():
        policy = parsed(text)
        ours = jitted(policy, numbers, new)
        for i in range(given.runs):
            theirs = on_the_host(policy, numbers, new, i)
            differing += not ((ours.fired[i] == theirs.fired).all() and (ours.done[i] == theirs.done).all())
            fired += int(theirs.fired[-1].sum())
            lrs += int(((ours.lrs[i] != theirs.lrs.astype(kind)) & (theirs.lrs > 1e-22)).sum())
    total = len(POLICIES) * given.runs
    print(f"{len(POLICIES)} policies x {given.runs} runs x {STEPS} updates in {kind}; rules fired {fired} times")
    print(f"decisions differ in {differing} of {total} runs")
    print(f"LRs differ from the host's, rounded to {kind}, at {lrs} of {total * STEPS} updates")


if __name__ == "__main__":
    main()
