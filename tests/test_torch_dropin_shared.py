"""Several drop-in schedulers at work on one optimiser, beside torch's: resuming in every order, notebooks, folds."""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler as theirs
from torch.optim import swa_utils

from lehr import LehrError
from lehr.torch import dropin as ours

pytestmark = pytest.mark.frameworks

STEPS = 16


def sgd(*lrs: float) -> Any:
    groups = [{"params": [torch.nn.Parameter(torch.ones(1))], "lr": lr} for lr in lrs or (0.1, 0.02)]
    return torch.optim.SGD(groups, momentum=0.9)


def near(values: Any) -> Any:
    return pytest.approx(values, rel=1e-12, abs=1e-15)


def anneal(of: ModuleType, optimizer: Any) -> Any:
    return (ours if of is ours else swa_utils).SWALR(optimizer, 0.05, 4)


TOGETHER: dict[str, Callable[[ModuleType, Any], list[Any]]] = {
    "chained by hand": lambda of, o: [of.ExponentialLR(o, 0.95), of.MultiStepLR(o, [3, 8], 0.1)],
    "warm-up, then cosine": lambda of, o: [of.LinearLR(o, 0.1, total_iters=5), of.CosineAnnealingLR(o, 20)],
    "warm-up, then plateau": lambda of, o: [
        of.LinearLR(o, 0.1, total_iters=5),
        of.ReduceLROnPlateau(o, factor=0.5, patience=1),
    ],
    "cosine, then anneal": lambda of, o: [of.CosineAnnealingLR(o, 30), anneal(of, o)],
}


def step(name: str, schedulers: list[Any], epoch: int) -> None:
    """As a user's loop does."""
    first, second = schedulers
    first.optimizer.step()
    if name == "chained by hand":
        first.step()
        second.step()
    elif epoch < (9 if name == "cosine, then anneal" else 5):
        first.step()
    else:
        second.step(*([1.0] if name == "warm-up, then plateau" else []))


def drive(name: str, schedulers: list[Any], first: int, last: int) -> list[list[float]]:
    used = []
    for epoch in range(first, last):
        used.append([float(group["lr"]) for group in schedulers[0].optimizer.param_groups])
        step(name, schedulers, epoch)
    return used


def saved(schedulers: list[Any]) -> tuple[Any, list[Any]]:
    return copy.deepcopy((schedulers[0].optimizer.state_dict(), [item.state_dict() for item in schedulers]))


def optimizer_before_all(name: str, of: ModuleType, state: Any) -> list[Any]:
    optimizer = sgd()
    optimizer.load_state_dict(state[0])
    schedulers = TOGETHER[name](of, optimizer)
    load(schedulers, state)
    return schedulers


def optimizer_first(name: str, of: ModuleType, state: Any) -> list[Any]:
    schedulers = TOGETHER[name](of, sgd())
    schedulers[0].optimizer.load_state_dict(state[0])
    load(schedulers, state)
    return schedulers


def optimizer_last(name: str, of: ModuleType, state: Any) -> list[Any]:
    schedulers = TOGETHER[name](of, sgd())
    load(schedulers, state)
    schedulers[0].optimizer.load_state_dict(state[0])
    return schedulers


def without_the_optimizer(name: str, of: ModuleType, state: Any) -> list[Any]:
    schedulers = TOGETHER[name](of, sgd())
    load(schedulers, state)
    return schedulers


def back_from_later_on(name: str, of: ModuleType, state: Any) -> list[Any]:
    schedulers = TOGETHER[name](of, sgd())
    drive(name, schedulers, 0, 13)
    schedulers[0].optimizer.load_state_dict(state[0])
    load(schedulers, state)
    return schedulers


def load(schedulers: list[Any], state: Any) -> None:
    for scheduler, item in zip(schedulers, state[1], strict=True):
        scheduler.load_state_dict(item)


ORDERS = [optimizer_before_all, optimizer_first, optimizer_last, without_the_optimizer, back_from_later_on]


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: order.__name__)
@pytest.mark.parametrize("name", TOGETHER)
def test_together_they_resume_in_any_order(name: str, order: Any) -> None:
    wanted = drive(name, TOGETHER[name](theirs, sgd()), 0, STEPS)
    for cut in range(STEPS):
        schedulers = TOGETHER[name](ours, sgd())
        whole = drive(name, schedulers, 0, cut)
        state = saved(schedulers)
        resumed = drive(name, order(name, ours, state), cut, STEPS)
        assert resumed == drive(name, schedulers, cut, STEPS), cut  # bit for bit
        for row, theirs_row in zip(whole + resumed, wanted, strict=True):
            assert row == near(theirs_row)


def test_together_with_a_tensor_they_resume_in_any_order() -> None:
    def build() -> list[Any]:
        optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(1))], lr=torch.tensor(0.1))
        return [ours.ExponentialLR(optimizer, 0.95), ours.MultiStepLR(optimizer, [3, 8], 0.1)]

    schedulers = build()
    drive("chained by hand", schedulers, 0, 5)
    state = saved(schedulers)
    whole = drive("chained by hand", schedulers, 5, STEPS)
    for optimizer_is_last in (False, True):
        again = build()
        for now in (False, True):
            if now == optimizer_is_last:
                again[0].optimizer.load_state_dict(state[0])
            else:
                load(again, state)
        assert drive("chained by hand", again, 5, STEPS) == whole


def test_a_base_that_was_changed_is_still_an_error_beside_others() -> None:
    schedulers = TOGETHER["chained by hand"](ours, sgd())
    drive("chained by hand", schedulers, 0, 5)
    again = TOGETHER["chained by hand"](ours, sgd(0.07, 0.02))
    with pytest.raises(LehrError, match=r"0\.1.*saved.*0\.07"):
        load(again, saved(schedulers))


# A scheduler built anew


def anew(of: ModuleType, build: Callable[[ModuleType, Any], Any], first_steps: int) -> list[float]:
    """A cell of a notebook, run again: the old scheduler is still there while the new one is built."""
    scheduler = build(of, sgd(0.1))
    optimizer = scheduler.optimizer
    for _ in range(first_steps):
        optimizer.step()
        scheduler.step()
    scheduler = build(of, optimizer)
    used = []
    for _ in range(14):
        used.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return used


CELLS: dict[str, Callable[[ModuleType, Any], Any]] = {
    "warm-up": lambda of, o: of.LambdaLR(o, lambda t: min(1.0, (t + 1) / 10)),
    "warm-up from zero": lambda of, o: of.LambdaLR(o, lambda t: min(1.0, t / 10)),
    "up and down to zero": lambda of, o: of.LambdaLR(o, lambda t: t / 4 if t < 4 else max(0.0, (12 - t) / 8)),
    "warm restarts": lambda of, o: of.CosineAnnealingWarmRestarts(o, 5, 2),
    "product": lambda of, o: of.MultiplicativeLR(o, lambda t: 0.9),
}


@pytest.mark.parametrize("first_steps", [0, 3, 12])
@pytest.mark.parametrize("cell", CELLS)
def test_a_cell_that_is_run_again_does_as_torch_does(cell: str, first_steps: int) -> None:
    assert anew(ours, CELLS[cell], first_steps) == near(anew(theirs, CELLS[cell], first_steps))


def folds(of: ModuleType) -> list[float]:
    optimizer = sgd(0.1)
    fresh = copy.deepcopy(optimizer.state_dict())
    used = []
    for _ in range(2):
        optimizer.load_state_dict(fresh)
        scheduler = of.CosineAnnealingLR(optimizer, 3)
        for _ in range(3):
            used.append(float(optimizer.param_groups[0]["lr"]))
            optimizer.step()
            scheduler.step()
    return used


def test_each_fold_begins_at_the_lr_of_the_fresh_optimizer() -> None:
    for of in (theirs, ours):  # torch is right
        assert folds(of) == near([0.1, 0.075, 0.025] * 2)
