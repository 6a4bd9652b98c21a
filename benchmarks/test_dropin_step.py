"""Cost of a drop-in scheduler's step beside torch's, for one parameter group.

`pytest benchmarks/test_dropin_step.py --benchmark-only --benchmark-disable-gc --benchmark-group-by=param:name`
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

from lehr.torch import dropin

MAKERS: dict[str, Callable[[ModuleType, torch.optim.Optimizer], Any]] = {
    "StepLR": lambda m, o: m.StepLR(o, 1000),
    "CosineAnnealingLR": lambda m, o: m.CosineAnnealingLR(o, 10**7),
    "SequentialLR": lambda m, o: m.SequentialLR(
        o, [m.LinearLR(o, 0.1, total_iters=100), m.CosineAnnealingLR(o, 10**7)], milestones=[100]
    ),
    "OneCycleLR": lambda m, o: m.OneCycleLR(o, 0.1, total_steps=10**7),
    "LambdaLR": lambda m, o: m.LambdaLR(o, lambda step: 0.5),
    "ReduceLROnPlateau": lambda m, o: m.ReduceLROnPlateau(o, patience=10**6),
}


@pytest.mark.parametrize("module", [lr_scheduler, dropin], ids=["torch", "lehr"])
@pytest.mark.parametrize("name", MAKERS)
def test_step(benchmark: Any, name: str, module: ModuleType) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1, momentum=0.9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a scheduler that steps without its optimizer warns at first
        scheduler = MAKERS[name](module, optimizer)
        step = (lambda: scheduler.step(1.0)) if name == "ReduceLROnPlateau" else scheduler.step
        for _ in range(200):
            step()
    benchmark.pedantic(step, rounds=100, iterations=100)
