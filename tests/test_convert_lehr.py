"""What runs a policy of Lehr already is converted to that policy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import lehr
from lehr.torch import Scheduler, dropin

MAKERS: dict[str, Callable[[torch.optim.Optimizer], Any]] = {
    "Scheduler": lambda optimizer: Scheduler(optimizer, "warmup('2%').then(cosine())", steps=50),
    "OneCycleLR": lambda optimizer: dropin.OneCycleLR(optimizer, [1.0, 2.0], 50, cycle_momentum=False),
    "StepLR": lambda optimizer: dropin.StepLR(optimizer, 3),
    "ReduceLROnPlateau": lambda optimizer: dropin.ReduceLROnPlateau(optimizer, patience=3),
}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("peer", [None, "torch"])
def test_a_scheduler_of_lehr_is_its_policy_its_base_lrs_and_its_horizon(name: str, peer: str | None) -> None:
    groups = [{"params": [torch.nn.Parameter(torch.ones(1))], "lr": lr} for lr in (0.1, 0.2)]
    optimizer = torch.optim.SGD(groups)
    scheduler = MAKERS[name](optimizer)
    found = lehr.convert(scheduler, peer=peer)
    assert (found.policy, found.peer, found.horizon) == (scheduler.policy, "lehr", scheduler.horizon)
    assert found.lr == ((1.0, 2.0) if name == "OneCycleLR" else (0.1, 0.2))


def test_a_controller_is_too_and_what_the_caller_gives_wins() -> None:
    run = lehr.start("groups(cosine(), hold())", lr=[0.1, 0.1], steps=50)
    found = lehr.convert(run)
    assert (found.policy, found.lr, found.horizon) == (run.policy, 0.1, run.horizon)
    again = lehr.convert(run, lr=0.3, steps=70, steps_per_epoch=7)
    assert (again.lr, again.horizon) == (0.3, lehr.Horizon(steps=70, steps_per_epoch=7))
