"""Drop-in schedulers in recipes written for torch's: resuming by hand, copies, the attributes of torch's classes."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler as theirs
from torch.optim import swa_utils

import lehr
from lehr import LehrError
from lehr.torch import dropin as ours

pytestmark = pytest.mark.frameworks


def sgd(lr: float = 0.1) -> Any:
    return torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=lr, momentum=0.9)


def near(values: Any) -> Any:
    return pytest.approx(values, rel=1e-12, abs=1e-15)


def falling(t: int) -> float:
    return 1 - t / 20


def lrs(scheduler: Any, steps: int, *report: float) -> list[float]:
    """The LR after each of so many steps."""
    used = []
    for _ in range(steps):
        scheduler.optimizer.step()
        scheduler.step(*report)
        used.append(float(scheduler.optimizer.param_groups[0]["lr"]))
    return used


SINGLE: dict[str, Callable[[ModuleType, Any], Any]] = {
    "ConstantLR": lambda of, o: of.ConstantLR(o, 0.5, 9),
    "LinearLR": lambda of, o: of.LinearLR(o, 0.1, total_iters=9),
    "StepLR": lambda of, o: of.StepLR(o, 3, 0.5),
    "MultiStepLR": lambda of, o: of.MultiStepLR(o, [7, 3], 0.5),
    "ExponentialLR": lambda of, o: of.ExponentialLR(o, 0.9),
    "PolynomialLR": lambda of, o: of.PolynomialLR(o, 12, 2.0),
    "CosineAnnealingLR": lambda of, o: of.CosineAnnealingLR(o, 15, 0.01),
    "CosineAnnealingWarmRestarts": lambda of, o: of.CosineAnnealingWarmRestarts(o, 2, 2, 0.01),
    "LambdaLR": lambda of, o: of.LambdaLR(o, falling),
    "MultiplicativeLR": lambda of, o: of.MultiplicativeLR(o, falling),
    "SWALR": lambda of, o: (ours if of is ours else swa_utils).SWALR(o, 0.05, 9),
    "CyclicLR": lambda of, o: of.CyclicLR(o, 0.01, 0.2, 3, 2, "triangular2"),
    "OneCycleLR": lambda of, o: of.OneCycleLR(o, 0.5, 20),
    "SequentialLR": lambda of, o: of.SequentialLR(o, [of.LinearLR(o, 0.1), of.CosineAnnealingLR(o, 9)], [5]),
    "ChainedScheduler": lambda of, o: of.ChainedScheduler([of.LinearLR(o, 0.1), of.ExponentialLR(o, 0.9)]),
}


# Resuming


@pytest.mark.parametrize("name", SINGLE)
def test_a_state_of_torch_s_own_says_how_to_go_on(name: str) -> None:
    before = SINGLE[name](theirs, sgd())
    lrs(before, 6)
    scheduler = SINGLE[name](ours, sgd())
    with pytest.raises(LehrError, match="original LRs") as error:
        scheduler.load_state_dict(before.state_dict())
    (step,) = re.findall(r"call step\((\d+)\)", str(error.value))
    scheduler.step(int(step))
    scheduler.optimizer.load_state_dict(before.optimizer.state_dict())
    assert lrs(scheduler, 5) == near(lrs(before, 5))


@pytest.mark.parametrize("reports", [1, 2, 4, 5])
def test_a_state_of_torch_s_own_plateau_says_how_to_go_on(reports: int) -> None:
    def build(of: ModuleType, optimizer: Any) -> Any:
        return of.ReduceLROnPlateau(optimizer, factor=0.5, patience=1, cooldown=2)

    before = build(theirs, sgd())
    lrs(before, reports, 1.0)
    with pytest.raises(LehrError, match="load the optimiser, build") as error:
        build(ours, sgd()).load_state_dict(before.state_dict())
    optimizer = sgd()
    optimizer.load_state_dict(before.optimizer.state_dict())
    scheduler = build(ours, optimizer)
    for name, value in re.findall(r"(\w+)=([\d.]+)", str(error.value)):
        setattr(scheduler, name, float(value) if name == "best" else int(value))
    assert lrs(scheduler, 9, 1.0) == near(lrs(before, 9, 1.0))


@pytest.mark.parametrize("done", [0, 2])
@pytest.mark.parametrize("start", [0, 1, 10])
@pytest.mark.parametrize("name", ["LambdaLR", "OneCycleLR", "CosineAnnealingWarmRestarts"])
def test_after_last_epoch_was_set_the_next_step_goes_on_from_there(name: str, start: int, done: int) -> None:
    whole = SINGLE[name](theirs, sgd())
    wanted = [float(whole.optimizer.param_groups[0]["lr"]), *lrs(whole, 14)][start : start + 4]
    scheduler = SINGLE[name](ours, sgd())
    lrs(scheduler, done)
    scheduler.last_epoch = start - 1
    assert lrs(scheduler, 4) == near(wanted)
    assert scheduler.last_epoch == scheduler.t == start + 3


def test_a_restored_optimizer_leaves_the_last_epoch_that_was_set() -> None:
    scheduler = ours.LambdaLR(sgd(), falling)
    scheduler.last_epoch = 9
    scheduler.optimizer.load_state_dict(copy.deepcopy(scheduler.optimizer.state_dict()))
    assert lrs(scheduler, 1) == near([0.05])


def test_base_lrs_that_are_set_are_refused_with_the_remedy() -> None:
    scheduler = ours.LambdaLR(sgd(), falling)
    with pytest.raises(LehrError, match="multiply the LR"):
        scheduler.base_lrs = [0.2]
    scheduler.optimizer.param_groups[0]["lr"] *= 2
    assert lrs(scheduler, 3) == near([0.2 * falling(t) for t in (1, 2, 3)])


@pytest.mark.parametrize("epoch", [0.0, 4.0, 4])
def test_a_whole_number_may_be_a_float(epoch: float) -> None:
    scheduler = ours.CosineAnnealingWarmRestarts(sgd(), 5)
    scheduler.step(epoch)
    assert scheduler.last_epoch == epoch


# Classes


@pytest.mark.parametrize("method", ["get_lr", "_get_closed_form_lr"])
def test_a_class_with_an_lr_of_its_own_is_refused_with_the_remedy(method: str) -> None:
    with pytest.raises(LehrError, match=rf"Warm\.{method} would never be called.*LambdaLR"):
        type("Warm", (ours.CosineAnnealingLR,), {method: lambda self: [0.5]})


def test_a_class_may_change_the_rest() -> None:
    class Named(ours.StepLR):
        name = "cuts"

    assert lrs(Named(sgd(), 1, 0.5), 2) == near([0.05, 0.025])


# Copies


def pickled(item: Any) -> Any:
    return pickle.loads(pickle.dumps(item))


COPIES: list[tuple[str, Callable[[Any], Any]]] = [(name, copy.deepcopy) for name in SINGLE]
COPIES += [(name, pickled) for name in SINGLE if name != "MultiplicativeLR"]  # which makes a function of the user's


@pytest.mark.parametrize("done", [0, 6])
@pytest.mark.parametrize(("name", "copied"), COPIES)
def test_a_copy_goes_on_by_itself(name: str, copied: Any, done: int) -> None:
    scheduler = SINGLE[name](ours, sgd())
    lrs(scheduler, done)
    other = copied(scheduler)
    assert other.optimizer is not scheduler.optimizer
    values = lrs(other, 5)
    assert scheduler.last_epoch == done
    assert values == lrs(scheduler, 5)


def test_a_copy_of_a_plateau_goes_on_by_itself() -> None:
    scheduler = ours.ReduceLROnPlateau(sgd(), factor=0.5, patience=1)
    lrs(scheduler, 2, 1.0)
    other = copy.deepcopy(scheduler)
    assert lrs(other, 3, 1.0) == lrs(scheduler, 3, 1.0) == near([0.05, 0.05, 0.025])


def test_a_copied_part_is_a_part() -> None:
    scheduler = copy.deepcopy(SINGLE["SequentialLR"](ours, sgd()))
    with pytest.raises(LehrError, match="part of a SequentialLR"):
        scheduler._schedulers[0].step()


# torch's attributes


@pytest.mark.parametrize("mult", [1, 2, 3])
def test_warm_restarts_say_where_in_the_cosine_they_are(mult: int) -> None:
    pair = [of.CosineAnnealingWarmRestarts(sgd(), 3, mult) for of in (theirs, ours)]
    for _ in range(30):
        assert (pair[1].T_cur, pair[1].T_i) == (pair[0].T_cur, pair[0].T_i)
        for scheduler in pair:
            lrs(scheduler, 1)


@pytest.mark.parametrize("down", [None, 6])
def test_a_cycle_says_its_size(down: int | None) -> None:
    pair = [of.CyclicLR(sgd(), 0.01, 0.2, 3, down) for of in (theirs, ours)]
    for name in ("max_lrs", "total_size", "step_ratio"):
        assert getattr(pair[1], name) == getattr(pair[0], name)


def test_a_plateau_says_its_least_lrs() -> None:
    for of in (theirs, ours):
        assert of.ReduceLROnPlateau(sgd(), min_lr=0.01).min_lrs == [0.01]


def test_torch_s_old_name_finds_the_schedulers() -> None:
    assert isinstance(ours.StepLR(sgd(), 3), ours._LRScheduler)
    assert isinstance(lehr.torch.Scheduler(sgd(), "constant()"), ours._LRScheduler)
