"""Cost of `Scheduler.step()` per update, as a ratio to the floor (writing `group["lr"]` from a list) and beside torch.

    pytest benchmarks/test_scheduler_step.py --benchmark-only --benchmark-disable-gc

The last test interleaves the three in short rounds, so that whatever else the machine does hits all of them alike; its
ratios are the figures to quote.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR

import lehr
from lehr.torch import Scheduler

STEPS = 10**7
POLICY = "warmup('1%').then(cosine())"
GROUPS = [1, 10, 100]
Step = Callable[[], Any]


def optimizer(groups: int) -> torch.optim.Optimizer:
    return torch.optim.SGD([{"params": [torch.nn.Parameter(torch.ones(1))]} for _ in range(groups)], lr=0.1)


def floor(groups: int) -> Step:
    """The least that a scheduler in Python can do: take the next number of a list and write it."""
    values = (0.1 * lehr.parse(POLICY).resolve(steps=STEPS)(np.arange(2_000_000))).tolist()
    param_groups = optimizer(groups).param_groups
    position = [0]

    def step() -> None:
        position[0] += 1
        value = values[position[0]]
        for group in param_groups:
            group["lr"] = value

    return step


def ours(groups: int) -> Step:
    own = optimizer(groups)
    scheduler = Scheduler(own, POLICY, steps=STEPS)
    for _ in range(5):  # past the calls in which misuse is watched for
        own.step()
        scheduler.step()
    return scheduler.step


def torchs(groups: int) -> Step:
    warnings.simplefilter("ignore")  # it wants to see optimizer.step()
    return CosineAnnealingLR(optimizer(groups), STEPS).step


MAKERS = {"floor": floor, "lehr": ours, "torch": torchs}


@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize("name", MAKERS)
def test_step(benchmark: Any, name: str, groups: int) -> None:
    benchmark.group = f"{groups} parameter groups"
    benchmark.pedantic(MAKERS[name](groups), rounds=50, iterations=1000 if groups < 100 else 200)


@pytest.mark.parametrize("groups", GROUPS)
def test_paired_ratio(benchmark: Any, capsys: pytest.CaptureFixture[str], groups: int) -> None:
    steps = {name: make(groups) for name, make in MAKERS.items()}
    calls = 4096 if groups < 100 else 512  # a whole table of the scheduler's, so that making it is counted
    rounds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(60):
        for name, step in steps.items():
            begin = time.thread_time_ns()
            for _ in range(calls):
                step()
            rounds[name].append((time.thread_time_ns() - begin) / calls)
    ratios = {
        name: statistics.median(a / b for a, b in zip(rounds[name], rounds["floor"], strict=True)) for name in steps
    }
    benchmark.extra_info.update(ratios)
    with capsys.disabled():
        nanoseconds = {name: round(statistics.median(times)) for name, times in rounds.items()}
        print(f"\n{groups:4} groups: " + ", ".join(f"{n} {nanoseconds[n]} ns ({ratios[n]:.2f}x)" for n in steps))
    benchmark.pedantic(steps["lehr"], rounds=5, iterations=100)
