"""Is the guard slow to anger, and does it rescue runs whose LR is far too high? Real training tasks.

    python benchmarks/guard.py --seeds 3

A cell is a task with SGD (momentum 0.9) or AdamW. The tasks are the built-in workloads flights and pybytes (cut to 400
updates), and the built-in digits in two forms: "shifted", a ReLU net at batch 64 whose images are moved by up to one
pixel, so that it cannot fit them by heart; and "digits" itself, batch 8 with its weight decay. Every run begins with a
warm-up over 5 % and falls linearly to 0. The best LR of a cell is found by climbing a grid of factors of 2 on the mean
validation loss of two seeds that are then put aside.

Healthy: runs at the best LR with the guard, on fresh seeds; it must not fire. Rescue: runs at 2, 8 and 32 times the
best LR, with the guard and without, and those at the best LR, on the same seeds; test loss at the end. The ratio is the
geometric mean over seeds of (loss with the guard) / (loss at the best LR), with its 95 % t-interval. One process, one
thread.
"""

from __future__ import annotations

import argparse
import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import t as student

import lehr
from lehr.errors import LehrWarning
from lehr.study.workloads import Split, Workload, find
from lehr.study.workloads.digits import digits
from lehr.torch import Scheduler

TUNING, HEALTHY, RESCUE = 1000, 2000, 3000  # first seed of each kind
TOO_HIGH = (2, 8, 32)
SCHEDULE = "warmup('5%').then(linear())"
LIMIT = 1e4  # a loss beyond it counts as this much, so that a mean can be taken

Optimizer = Callable[[Iterable[torch.nn.Parameter], float], torch.optim.Optimizer]
SGD: Optimizer = lambda parameters, lr: torch.optim.SGD(parameters, lr, momentum=0.9)  # noqa: E731
DECAYED: Optimizer = lambda parameters, lr: torch.optim.SGD(parameters, lr, momentum=0.9, weight_decay=7e-3)  # noqa: E731
ADAMW: Optimizer = lambda parameters, lr: torch.optim.AdamW(parameters, lr)  # noqa: E731


class Cell(NamedTuple):
    """A workload, an optimiser, the updates of a run, and where the climb to the best LR begins."""

    workload: str
    name: str
    make: Optimizer
    steps: int
    lr: float


CELLS = (
    Cell("shifted", "SGD", SGD, 1000, 0.04),
    Cell("shifted", "AdamW", ADAMW, 1000, 0.004),
    Cell("flights", "SGD", SGD, 1000, 0.08),
    Cell("flights", "AdamW", ADAMW, 1000, 0.02),
    Cell("pybytes", "SGD", SGD, 400, 0.4),
    Cell("pybytes", "AdamW", ADAMW, 400, 0.01),
    Cell("digits", "SGD", DECAYED, 1600, 0.08),
)


class Run(NamedTuple):
    """What came of a run."""

    loss: float  # on held-out data, at the end
    fires: list[lehr.Event]


def shifted(seed: int) -> Workload:
    """The digits, each batch moved by up to one pixel in both directions."""
    workload = find("digits")[1](seed)
    table, draw = digits().train, torch.Generator().manual_seed(seed)

    def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        while True:
            rows = torch.randint(len(table), (64,), generator=draw)
            right, down = torch.randint(-1, 2, (2,), generator=draw).tolist()
            images = table.inputs[rows].reshape(-1, 8, 8).roll((down, right), (1, 2)).flatten(1)
            yield images + 0.1 * torch.randn(images.shape, generator=draw), table.targets[rows]

    torch.manual_seed(seed)
    layers = [torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 128), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers, torch.nn.Linear(128, 10))
    return replace(workload, model=model, batches=batches())


MAKERS = {name: find(name)[1] for name in ("flights", "pybytes", "digits")} | {"shifted": shifted}


def train(cell: Cell, lr: float, seed: int, guarded: bool, split: Split) -> Run:
    """A bare loop around `Scheduler`."""
    workload = MAKERS[cell.workload](seed)
    torch.manual_seed(seed)
    optimizer = cell.make(workload.model.parameters(), lr)
    policy = lehr.Policy(lehr.parse(SCHEDULE), rules=lehr.guard() if guarded else [])
    run = Scheduler(optimizer, policy, steps=cell.steps, model=workload.model, snapshots=guarded)
    for _, batch in zip(range(cell.steps), workload.batches, strict=False):
        loss = workload.loss(workload.model, batch)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own
        optimizer.step()
        run.step(loss=loss.detach())
    workload.model.eval()
    with torch.no_grad():
        found = workload.evaluate(workload.model, split)["loss"]
    return Run(found if math.isfinite(found) else math.inf, [event for event in run.events if event.kind == "rule"])


def best_lr(cell: Cell) -> float:
    """Climb the grid until both neighbours are worse."""
    known: dict[int, float] = {}

    def mean(power: int) -> float:
        if power not in known:
            seeds = range(TUNING, TUNING + 2)
            runs = [train(cell, cell.lr * 2.0**power, seed, False, "validation") for seed in seeds]
            known[power] = float(np.mean([run.loss for run in runs]))
        return known[power]

    at = 0
    while (step := min((-1, 0, 1), key=lambda step: mean(at + step))) != 0:
        at += step
    print(
        f"{cell.workload} {cell.name}: " + ", ".join(f"{cell.lr * 2.0**p:.3g}: {known[p]:.4g}" for p in sorted(known))
    )
    return cell.lr * 2.0**at


def ratio(runs: list[Run], reference: list[Run]) -> str:
    """Geometric mean over seeds of the losses' ratio, with its 95 % interval."""
    logs = np.log([min(a.loss, LIMIT) / b.loss for a, b in zip(runs, reference, strict=True)])
    half = student.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / math.sqrt(len(logs))
    low, middle, high = np.exp([logs.mean() - half, logs.mean(), logs.mean() + half])
    return f"{middle:.3g} [{low:.3g}, {high:.3g}]"


def mean(runs: list[Run]) -> str:
    """Mean loss of the runs that came to one, and how many did not."""
    finite = [run.loss for run in runs if run.loss < LIMIT]
    lost = len(runs) - len(finite)
    text = f"{np.mean(finite):.4g}" if finite else "none"
    return f"{text} ({lost} of {len(runs)} diverged)" if lost else text


def healthy(cell: Cell, lr: float, seeds: int) -> tuple[int, int]:
    """Runs at the best LR, and how often the guard fired in them."""
    runs = [train(cell, lr, HEALTHY + k, True, "test") for k in range(seeds)]
    for run in runs:
        for event in run.fires:
            print(f"    false: {event}", flush=True)
    return len(runs), sum(len(run.fires) for run in runs)


def rescue(cell: Cell, lr: float, seeds: int, verbose: bool) -> list[str]:
    """A line of the table for each LR that is too high."""
    chosen = range(RESCUE, RESCUE + seeds)
    best = [train(cell, lr, seed, False, "test") for seed in chosen]
    lines = []
    for factor in TOO_HIGH:
        bare = [train(cell, lr * factor, seed, False, "test") for seed in chosen]
        guarded = [train(cell, lr * factor, seed, True, "test") for seed in chosen]
        fires = ", ".join(str(len(run.fires)) for run in guarded)
        cells = [f"{cell.workload} {cell.name}", f"{factor}×", mean(best), mean(bare), mean(guarded)]
        lines.append("| " + " | ".join([*cells, ratio(bare, best), ratio(guarded, best), fires]) + " |")
        print(lines[-1], flush=True)
        if verbose:
            for run in guarded:
                print(f"    {run.loss:.4g}: " + "\n        ".join(map(str, run.fires)), flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cells", nargs="*", help="such as digits/SGD; default: all")
    parser.add_argument("--seeds", type=int, default=3, help="fresh seeds of each rescue (at least 2)")
    parser.add_argument("--healthy", type=int, default=9, help="healthy runs of each cell")
    parser.add_argument("--verbose", action="store_true", help="print what the guard did")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", LehrWarning)
    start = time.process_time()
    runs = fires = 0
    lines, counts = [], []
    for cell in CELLS:
        if options.cells and f"{cell.workload}/{cell.name}" not in options.cells:
            continue
        lr = best_lr(cell)
        print(f"best LR {lr:.3g}", flush=True)
        of_cell = healthy(cell, lr, options.healthy)
        runs, fires = runs + of_cell[0], fires + of_cell[1]
        counts.append(f"| {cell.workload} {cell.name} | {lr:.3g} | {of_cell[0]} | {of_cell[1]} |")
        lines += rescue(cell, lr, options.seeds, options.verbose)
    print("\n| task | best LR | healthy runs | fires |\n|---|---|---|---|\n" + "\n".join(counts))
    print(f"\n{fires} fires in {runs} healthy runs at the best LR\n")
    print("| task | LR | at the best LR | without guard | with guard | without / best | with / best | fires a seed |")
    print("|---|---|---|---|---|---|---|---|")
    print("\n".join(lines))
    print(f"\n{time.process_time() - start:.0f} CPU s")


if __name__ == "__main__":
    main()
