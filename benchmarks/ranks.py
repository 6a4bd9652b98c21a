"""Many ranks as real gloo processes: does every invariant hold under injected faults, and what does a step cost?

    python benchmarks/ranks.py [--sizes 2 4 8] [--steps 400] [--rounds 5]

Prints two markdown tables. The first plays a healthy run or a fault on each number of processes, as the tests do on
two; exit code 1 if anything fails. The second is the mean time of `Scheduler.step(loss=...)` on rank 0 in µs, in
the fastest of the rounds, at cadences of 1, 10 and 100, against the same policy without ranks at a cadence of 10. Where
there are more processes than cores, a collective waits for the operating system too.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import lehr
from gloo import Played, Processes, Script

STEPS = 40
PLATEAU = "when(loss.plateaus(1)).scale(0.5)"
REACHES = "when(metric('acc', best='max').reaches(0.5)).scale(0.5)"
BAD = "when(loss.diverges()).scale(0.1)"
DRAWS = random.Random(7)
NOISY = [[math.exp(-t / 3) + DRAWS.gauss(0, 0.2) for t in range(STEPS)] for _ in range(64)]

Play = Callable[..., list[Played]]
Invariant = Callable[[Play, int], bool]


def main() -> int:
    options = _options()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    failed = 0
    held = {name: [] for name in INVARIANTS}
    costs = {}
    for size in options.sizes:
        workers = Processes(size, patience=600)
        with tempfile.TemporaryDirectory() as folder, contextlib.closing(_Closing(workers)):
            play = _player(workers, Path(folder))
            for name, invariant in INVARIANTS.items():
                held[name].append(invariant(play, size))
                failed += not held[name][-1]
            costs[size] = _costs(play, size, options)
    print(f"| invariant | {' | '.join(f'{size} processes' for size in options.sizes)} |")
    print("|---|" + "---|" * len(options.sizes))
    for name, passed in held.items():
        print(f"| {name} | {' | '.join('pass' if item else '**fail**' for item in passed)} |")
    print(f"\n| µs a step, {os.cpu_count()} cores | no ranks | {' | '.join(f'cadence {c}' for c in CADENCES)} |")
    print("|---|---|" + "---|" * len(CADENCES))
    for size, row in costs.items():
        print(f"| {size} processes | {' | '.join(f'{cost:.1f}' for cost in row)} |")
    return int(failed > 0)


def _player(workers: Processes, folder: Path) -> Play:
    count = [0]

    def play(policy: Any, *scripts: Script, **options: Any) -> list[Played]:
        count[0] += 1
        policies = policy if isinstance(policy, list) else [policy] * len(scripts)
        return workers.play(folder / str(count[0]), policies, scripts, **options)

    return play


class _Closing:
    def __init__(self, workers: Processes) -> None:
        self.close = workers.end


def policy(*rules: str, cadence: int = 4) -> str:
    return f"Policy(constant(), rules=[{', '.join(rules)}], cadence={cadence})"


def updates(losses: Sequence[float], **more: float) -> Script:
    return [("update", {"loss": x, **more}) for x in losses]


def same(ranks: list[Played]) -> bool:
    """Whether all ranks had the same LRs and states at every step, and no error."""
    return all(
        rank.lrs == ranks[0].lrs and rank.states == ranks[0].states and rank.error == "" and rank.lrs for rank in ranks
    )


def told(ranks: list[Played], words: str) -> bool:
    """Whether all ranks raised the same error, with these words."""
    return all(rank.error == ranks[0].error and words in rank.error for rank in ranks)


def odd_one(size: int, script: Script, odd: Script) -> list[Script]:
    """The script for all ranks but the last."""
    return [*[script] * (size - 1), odd]


def decides_alike(play: Play, size: int) -> bool:
    run, lrs = lehr.start(f"Policy(constant(), rules=[{PLATEAU}])", lr=0.1), []
    for t in range(STEPS):
        total = sums = None
        for of_rank in NOISY[:size] if t % 4 == 3 else []:
            sums = None
            for x in of_rank[t - 3 : t + 1]:
                sums = x if sums is None else sums + x
            total = sums if total is None else total + sums
        run.step(**({} if total is None else {"loss": total / (4 * size)}))
        lrs.append(run.lrs)
    ranks = play(policy(PLATEAU), *map(updates, NOISY[:size]))
    return same(ranks) and ranks[0].lrs == lrs and len(ranks[0].events) > 0


def leaves_out_nan(play: Play, size: int) -> bool:
    sick = [list(losses) for losses in NOISY[:size]]
    sick[-1][5] = math.nan
    ranks = play(policy(PLATEAU, BAD), *map(updates, sick))
    window = [x for losses in sick for x in losses[4:8] if math.isfinite(x)]
    level = policy(f"when(loss.reaches({statistics.fmean(window) + 1e-9!r})).scale(0.5)")
    at = play(level, *[updates(losses[4:8]) for losses in sick])
    return same(ranks) and same(at) and at[0].lrs == [[0.1]] * 3 + [[0.05]]


def hears_nan_of_all(play: Play, size: int) -> bool:
    ranks = play(policy(BAD, cadence=2), *[updates([1.0, 1.0, math.nan, math.inf])] * size)
    return same(ranks) and ranks[0].lrs[2:] == [[0.1], [0.1 * 0.1]]


def notices_unlike_metric(play: Play, size: int) -> bool:
    scripts = odd_one(size, updates([1.0] * 8, acc=0.0), updates([1.0] * 8, acc=float(size)))
    ranks = play(policy(REACHES), *scripts)
    return same(ranks) and ranks[0].lrs[-1] == [0.05] and all(len(rank.warned) == 1 for rank in ranks)


def notices_lone_metric(play: Play, size: int) -> bool:
    scripts = [updates([1.0] * 8, acc=0.75), *[updates([1.0] * 8)] * (size - 1)]
    ranks = play(policy(REACHES), *scripts)
    return same(ranks) and ranks[0].lrs[-1] == [0.05] and all(len(rank.warned) == 1 for rank in ranks)


def is_quiet_about_like_metrics(play: Play, size: int) -> bool:
    ranks = play(policy(REACHES), *[updates([1.0] * 8, acc=0.75)] * size)
    return same(ranks) and all(rank.warned == [] for rank in ranks)


def tells_double_step(play: Play, size: int) -> bool:
    twice = [item for item in updates([1.0] * 4) for item in (item, ("step", {}))]
    return told(play(policy(PLATEAU), *odd_one(size, updates([1.0] * 8), twice)), "steps of the optimizer")


def takes_many_steps_of_a_wrapper(play: Play, size: int) -> bool:
    def wrapped(losses: Sequence[float]) -> Script:
        return [item for x in losses for item in [("update", {"loss": x}), *[("step", {"loss": x})] * (size - 1)]]

    plain = play(policy(PLATEAU), *map(updates, NOISY[:size]))
    ranks = play(policy(PLATEAU), *map(wrapped, NOISY[:size]), scheduler={"count": "updates"})
    return same(ranks) and ranks[0].lrs[size - 1 :: size] == plain[0].lrs and ranks[0].gathers[-1] == STEPS // 4


def tells_hand_edit(play: Play, size: int) -> bool:
    script = list(updates([1.0] * 8))
    return told(play(policy(PLATEAU), *odd_one(size, script, [script[0], ("edit", 0.02), *script[1:]])), "LR 0.02")


def adopts_hand_edit_of_all(play: Play, size: int) -> bool:
    script = list(updates([1.0] * 7))
    ranks = play(policy(PLATEAU), *[[script[0], ("edit", 0.02), *script[1:]]] * size)
    return same(ranks) and ranks[0].lrs[-1] == [0.02]


def tells_skipped_update(play: Play, size: int) -> bool:
    script = list(updates([1.0] * 8))
    odd = [("optimizer", None), ("skipped", None), *script]
    return told(play(policy(PLATEAU), *odd_one(size, script, odd)), "steps of the optimizer")


def tells_unlike_horizon(play: Play, size: int) -> bool:
    ranks = play(policy(PLATEAU), *[updates([1.0] * 8)] * size, steps=[*[100] * (size - 1), 101])
    return told(ranks, "policy, horizon or base values")


def tells_missing_rank(play: Play, size: int) -> bool:
    ranks = play(policy(PLATEAU), *odd_one(size, updates([1.0] * 8), updates([1.0] * 6)), own_group=10)
    return all("did not meet" in rank.error for rank in ranks[:-1]) and ranks[-1].error == ""


def tells_double_step_between_collectives(play: Play, size: int) -> bool:
    scripts = odd_one(size, [("train", 1)] * 4, [("train", 1), ("step", {})] * 4)
    ranks = play(policy(PLATEAU, cadence=2), *scripts, wrap="ddp", timeout=10, own_group=2)
    return "t = 2 after 1 step" in ranks[-1].error and all(rank.error for rank in ranks)


def speaks_at_fixed_steps_only(play: Play, size: int) -> bool:
    loud = [item for x in NOISY[0] for item in (("observe", {"acc": x}), ("update", {"loss": math.nan}))]
    ranks = play(policy(PLATEAU, REACHES), *odd_one(size, [("update", {})] * STEPS, loud))
    return all(rank.gathers[-1] == STEPS // 4 and rank.error == "" for rank in ranks)


def goes_on_with_other_sizes(play: Play, size: int) -> bool:
    state = play(policy(PLATEAU), *[updates(losses[:30]) for losses in NOISY[:size]])[0].states[-1]
    rest: Script = [("load", state), *updates(NOISY[0][30:])]
    others = [play(policy(PLATEAU), *[rest] * other) for other in range(1, size + 1)]
    return all(same(ranks) and ranks[0].lrs[0] == state["values"]["lr"] for ranks in others) and all(
        ranks[0].lrs == others[0][0].lrs for ranks in others
    )


def trains(wrap: str) -> Invariant:
    def trained(play: Play, size: int) -> bool:
        scripts = [[("train", size * t + rank) for t in range(STEPS)] for rank in range(size)]
        rules = ("when(loss.reaches(0.5)).scale(0.5)", "when(metric('norm', best='min').plateaus(1)).scale(0.9)")
        ranks = play(policy(*rules), *scripts, wrap=wrap)
        alike = all(rank.weights == ranks[0].weights and rank.warned == [] for rank in ranks)
        return same(ranks) and alike and len({lr for (lr,) in ranks[0].lrs}) > 1

    return trained


INVARIANTS: dict[str, Invariant] = {
    "unlike losses: LRs and states equal to the bit, at the mean's decisions": decides_alike,
    "NaN on one rank: left out on all": leaves_out_nan,
    "NaN on all ranks: heard by all at one step": hears_nan_of_all,
    "a metric that differs: noticed once on each rank, the mean decides": notices_unlike_metric,
    "a metric on rank 0 only: noticed once on each rank, heard by all": notices_lone_metric,
    "a metric alike on all ranks: no warning": is_quiet_about_like_metrics,
    "one rank steps twice: the same error on all": tells_double_step,
    "the same between DDP's collectives, group of our own: an error on all": tells_double_step_between_collectives,
    "a wrapper steps N-fold, count='updates': as single steps": takes_many_steps_of_a_wrapper,
    "a hand edit on one rank: the same error on all": tells_hand_edit,
    "a hand edit on all ranks: adopted": adopts_hand_edit_of_all,
    "an update skipped on one rank: the same error on all": tells_skipped_update,
    "another horizon on one rank: the same error on all": tells_unlike_horizon,
    "a rank that does not come: an error on the others within the limit": tells_missing_rank,
    "collectives at the cadence alone, whatever is observed": speaks_at_fixed_steps_only,
    "restart with every other number of ranks: the LR goes on": goes_on_with_other_sizes,
    "DDP trains with one LR and equal weights": trains("ddp"),
    "FSDP2 (fully_shard, CPU) trains with one LR and equal weights": trains("fsdp2"),
}
CADENCES = (1, 10, 100)


def _costs(play: Play, size: int, options: argparse.Namespace) -> list[float]:
    """µs a step: without ranks, then at each cadence."""
    script: Script = [("time", (options.steps, options.rounds))]
    plain = play(policy(PLATEAU, cadence=10), *[script] * size, scheduler={"ranks": False})
    runs = [play(policy(PLATEAU, cadence=cadence), *[script] * size) for cadence in CADENCES]
    return [min(ranks[0].times) for ranks in (plain, *runs)]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[2, 4, 8], help="numbers of processes")
    parser.add_argument("--steps", type=int, default=400, help="steps of a round of timing")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of timing")
    return parser.parse_args()


if __name__ == "__main__":
    start = time.monotonic()
    code = main()
    print(f"\n{time.monotonic() - start:.0f} s", file=sys.stderr)
    sys.exit(code)
