"""How much a schedule matters on each built-in workload: best constant LR against best decaying one.

    python benchmarks/workload_gaps.py digits flights pybytes --seeds 5

Every curve begins with the same warm-up, 5 % of the run. The peak is chosen out of ×1/3, ×1, ×3 by the mean validation
loss on seeds that are then put aside, and so is the better one of cosine and linear; the table shows test loss on fresh
seeds. The gap is in seed standard deviations, the root mean square of the two. One process, one thread, no part of
Lehr but the workloads: the numbers do not depend on the code that a study then runs on them.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import torch

from lehr.study.workloads import BUILT_IN, Maker, Split, Workload, find

PEAKS = (1 / 3, 1.0, 3.0)
TUNING, RANKING = 1000, 2000  # first seed of each kind
CURVES: dict[str, Callable[[float], float]] = {  # of the part of the run after the warm-up, 0 to 1
    "constant": lambda part: 1.0,
    "cosine": lambda part: (1 + math.cos(math.pi * part)) / 2,
    "linear": lambda part: 1 - part,
}


class Arm(NamedTuple):
    """One curve at one peak."""

    curve: str
    peak: float  # times the workload's own LR


def factor(curve: str, step: int, steps: int) -> float:
    """Factor of the peak LR that update `step` uses."""
    warmup = steps // 20
    return (step + 1) / warmup if step < warmup else CURVES[curve]((step - warmup) / (steps - warmup))


def train(workload: Workload, arm: Arm) -> None:
    """A bare loop."""
    base = [group["lr"] for group in workload.optimizer.param_groups]
    for step, batch in zip(range(workload.steps), workload.batches, strict=False):
        for group, lr in zip(workload.optimizer.param_groups, base, strict=True):
            group["lr"] = lr * arm.peak * factor(arm.curve, step, workload.steps)
        loss = workload.loss(workload.model, batch)
        workload.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own
        workload.optimizer.step()


def losses(make: Maker, arm: Arm, seeds: Iterable[int], split: Split) -> np.ndarray:
    """Loss on a split after a run, one a seed; infinite where it diverged."""
    found = []
    for seed in seeds:
        workload = make(seed)
        train(workload, arm)
        workload.model.eval()
        with torch.no_grad():
            loss = workload.evaluate(workload.model, split)["loss"]
        found.append(loss if math.isfinite(loss) else math.inf)
    return np.array(found)


def best(make: Maker, curves: Iterable[str], seeds: range) -> Arm:
    """The curve and peak of the least mean validation loss."""
    arms = [Arm(curve, peak) for curve in curves for peak in PEAKS]
    means = []
    for arm in arms:
        found = losses(make, arm, seeds, "validation")
        means.append(found.mean())
        print(f"    {arm.curve} ×{arm.peak:.3g}: validation {' '.join(f'{loss:.4g}' for loss in found)}", flush=True)
    return arms[int(np.argmin(means))]


def measure(name: str, tuning_seeds: int, seeds: int) -> str:
    """One line of the table."""
    _, make = find(name)
    lr = make(0).optimizer.param_groups[0]["lr"]
    cells, found = [name], []
    for curves in (["constant"], ["cosine", "linear"]):
        arm = best(make, curves, range(TUNING, TUNING + tuning_seeds))
        start = time.process_time()
        found.append(losses(make, arm, range(RANKING, RANKING + seeds), "test"))
        seconds = (time.process_time() - start) / seeds
        cells.append(f"{arm.curve}, {arm.peak * lr:.3g} (×{arm.peak:.3g})")
        cells.append(f"{found[-1].mean():.4g} ± {found[-1].std(ddof=1):.2g}")
    spread = math.sqrt(np.mean([losses.var(ddof=1) for losses in found]))
    return "| " + " | ".join([*cells, f"{(found[0].mean() - found[1].mean()) / spread:.1f}", f"{seconds:.2g}"]) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", default=list(BUILT_IN), help="names, or file.py:function")
    parser.add_argument("--seeds", type=int, default=5, help="fresh seeds the gap is measured on (at least 2)")
    parser.add_argument("--tuning-seeds", type=int, default=3, help="seeds the peaks are chosen on")
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = []
    for name in options.workloads:
        print(name, flush=True)
        lines.append(measure(name, options.tuning_seeds, options.seeds))
    print("\n| workload | constant: LR | test loss | decaying: LR | test loss | gap / sd | CPU s a run |")
    print("|---|---|---|---|---|---|---|")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
