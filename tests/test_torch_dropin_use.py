"""The drop-in schedulers in programs written for torch's: side by side, with trainers, and as Lehr schedulers."""

from __future__ import annotations

import gc
import math
import weakref
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler, swa_utils

import lehr
from lehr import LehrError
from lehr.torch import dropin

pytestmark = pytest.mark.frameworks


def sgd(*lrs: float, momentum: float = 0.0) -> Any:
    groups = [{"params": [torch.nn.Parameter(torch.ones(1))], "lr": lr} for lr in lrs or (0.1,)]
    return torch.optim.SGD(groups, momentum=momentum)


def lrs(optimizer: Any) -> list[float]:
    return [float(group["lr"]) for group in optimizer.param_groups]


# Side by side


def side_by_side(of: ModuleType) -> list[list[float]]:
    optimizer = sgd(0.1, 0.03)
    schedulers = [of.ConstantLR(optimizer, 0.5, 4), of.ExponentialLR(optimizer, 0.9), of.StepLR(optimizer, 3, 0.2)]
    rows = [lrs(optimizer)]
    for _ in range(10):
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
        rows.append(lrs(optimizer))
    return rows


def test_schedulers_stepped_one_after_another_multiply() -> None:
    for row, own in zip(side_by_side(lr_scheduler), side_by_side(dropin), strict=True):
        assert own == pytest.approx(row, rel=1e-12)


def test_a_plateau_beside_a_schedule_cuts_it() -> None:
    def run(of: ModuleType) -> list[float]:
        optimizer = sgd()
        schedule, plateau = of.ExponentialLR(optimizer, 0.9), of.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
        rows = []
        for loss in [1.0, 0.9, 0.9, 0.9, 0.9, 0.9, 0.5, 0.5, 0.5, 0.5]:
            optimizer.step()
            schedule.step()
            plateau.step(loss)
            rows += lrs(optimizer)
        return rows

    assert run(dropin) == pytest.approx(run(lr_scheduler), rel=1e-12)


@pytest.mark.parametrize("strategy", ["cos", "linear"])
def test_an_anneal_built_early_begins_where_the_other_scheduler_stopped(strategy: Any) -> None:
    """The loop of torch's own documentation of SWALR."""

    def run(schedulers: ModuleType, swa: ModuleType) -> list[list[float]]:
        optimizer = sgd(0.1, 0.03)
        scheduler = schedulers.ExponentialLR(optimizer, 0.9)
        anneal = swa.SWALR(optimizer, [0.05, 0.2], anneal_epochs=5, anneal_strategy=strategy)
        rows = []
        for epoch in range(20):
            rows.append(lrs(optimizer))
            optimizer.step()
            anneal.step() if epoch > 8 else scheduler.step()
        return rows

    for row, own in zip(run(lr_scheduler, swa_utils), run(dropin, dropin), strict=True):
        assert own == pytest.approx(row, rel=1e-12)


def test_side_by_side_they_resume_bit_for_bit() -> None:
    def build() -> tuple[Any, list[Any]]:
        optimizer = sgd(0.1, 0.03)
        parts = [
            dropin.LinearLR(optimizer, 0.1),
            dropin.ExponentialLR(optimizer, 0.9),
            dropin.SWALR(optimizer, 0.02, 3),
        ]
        return optimizer, parts

    def drive(optimizer: Any, schedulers: list[Any], first: int, last: int) -> list[list[float]]:
        rows = []
        for t in range(first, last):
            rows.append(lrs(optimizer))
            optimizer.step()
            for scheduler in schedulers[2:] if t >= 8 else schedulers[:2]:
                scheduler.step()
        return rows

    whole = drive(*build(), 0, 14)
    for cut in range(14):
        optimizer, schedulers = build()
        drive(optimizer, schedulers, 0, cut)
        again, others = build()
        for scheduler, other in zip(schedulers, others, strict=True):
            other.load_state_dict(scheduler.state_dict())
        again.load_state_dict(optimizer.state_dict())
        assert drive(again, others, cut, 14) == whole[cut:], cut


def test_a_second_run_on_the_same_optimizer_goes_on_from_its_lr() -> None:
    optimizer = sgd()
    first = dropin.ExponentialLR(optimizer, 0.5)
    optimizer.step()
    first.step()
    del first
    second = dropin.ExponentialLR(optimizer, 0.5)
    assert lrs(optimizer) == second.base_lrs == [0.05]


# In trainers


def test_trainers_find_torch_s_classes() -> None:
    plateau = dropin.ReduceLROnPlateau(sgd())
    assert isinstance(plateau, lr_scheduler.ReduceLROnPlateau)
    for scheduler in (plateau, dropin.StepLR(sgd(), 3)):
        assert isinstance(scheduler, dropin.LRScheduler)
        assert isinstance(scheduler, lr_scheduler.LRScheduler)
        assert isinstance(scheduler, lehr.torch.Scheduler)


TOLD = ["best", "num_bad_epochs", "cooldown_counter", "in_cooldown", "last_epoch", "patience", "cooldown"]
TOLD += ["factor", "mode", "threshold", "threshold_mode", "eps"]


def test_a_plateau_tells_what_torch_s_tells() -> None:
    reports = [1.0, 0.5, 0.6, 0.7, 0.8, 0.4]
    schedulers = [of.ReduceLROnPlateau(sgd(), patience=1, cooldown=2) for of in (lr_scheduler, dropin)]
    for report in reports:
        told = []
        for scheduler in schedulers:
            scheduler.optimizer.step()
            scheduler.step(torch.tensor(report))
            told.append([getattr(scheduler, name) for name in TOLD])
        assert told[0] == told[1]
    schedulers[1]._reset()
    assert (schedulers[1].best, schedulers[1].num_bad_epochs) == (math.inf, 0)


def test_whoever_subscribes_hears_the_metric() -> None:
    scheduler = dropin.ReduceLROnPlateau(sgd())
    heard: list[Any] = []
    scheduler.subscribe(lambda step, lrs, numbers: heard.append((step, dict(numbers))), on="steps")
    scheduler.optimizer.step()
    scheduler.step(0.5)
    assert heard == [(0, {"num_bad_epochs": 0.0, "metrics": 0.5})]


def test_a_plateau_refuses_an_epoch() -> None:
    with pytest.raises(LehrError, match="epoch"):
        dropin.ReduceLROnPlateau(sgd()).step(0.5, 3)


def test_the_groups_say_their_initial_lr() -> None:
    optimizer = sgd(0.1, 0.3)
    parts = [dropin.LinearLR(optimizer, 0.1), dropin.OneCycleLR(optimizer, 1.0, 10, cycle_momentum=False)]
    scheduler = dropin.SequentialLR(optimizer, parts, [5])
    assert [group["initial_lr"] for group in optimizer.param_groups] == [0.1, 0.3]
    optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))], "lr": 0.2})
    optimizer.step()
    scheduler.step()
    assert optimizer.param_groups[2]["initial_lr"] == 0.2


# As Lehr schedulers


def test_a_drop_in_says_its_policy_and_its_reasons() -> None:
    optimizer = sgd(0.1, 0.1)
    parts = [dropin.LinearLR(optimizer, 0.1), dropin.CosineAnnealingLR(optimizer, 95)]
    scheduler = dropin.SequentialLR(optimizer, parts, [5])
    assert repr(scheduler.policy) == "Policy(warmup(5, start=0.1, zero_start=True).then(cosine(95)))"
    assert lehr.parse(repr(scheduler.policy)) == scheduler.policy
    assert "factor 0.1" in scheduler.why()
    assert repr(scheduler) == f"SequentialLR({scheduler.policy!r}, t=0)"


def test_the_run_is_done_at_the_end_of_the_schedule() -> None:
    scheduler = dropin.CosineAnnealingLR(sgd(), 3)
    for done in (False, False, True):
        scheduler.optimizer.step()
        scheduler.step()
        assert scheduler.done == done


def test_an_lr_changed_by_hand_stays_a_factor() -> None:
    scheduler = dropin.ExponentialLR(sgd(), 0.5)
    scheduler.optimizer.param_groups[0]["lr"] *= 0.1
    scheduler.optimizer.step()
    scheduler.step()
    assert scheduler.get_last_lr() == pytest.approx([0.005])
    assert scheduler.events[0].kind == "edit"


def test_an_argument_that_cannot_be_leaves_the_old_one() -> None:
    scheduler = dropin.CosineAnnealingLR(sgd(), 10)
    with pytest.raises(LehrError, match="T_max"):
        scheduler.T_max = 0
    assert scheduler.T_max == 10
    assert repr(scheduler.policy) == "Policy(cosine(10))"


def test_an_argument_can_be_set_after_a_group_has_joined() -> None:
    scheduler = dropin.CosineAnnealingLR(sgd(), 10)
    scheduler.optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))], "lr": 0.2})
    scheduler.T_max = 20
    scheduler.optimizer.step()
    scheduler.step()
    assert scheduler.get_last_lr() == pytest.approx([lr * (1 + math.cos(math.pi / 20)) / 2 for lr in (0.1, 0.2)])


loose: Any = dropin  # so that wrong arguments can be given


def test_a_peak_set_in_mid_run_is_the_new_peak() -> None:
    optimizer, other = sgd(momentum=0.9), sgd(momentum=0.9)
    scheduler, wanted = dropin.OneCycleLR(optimizer, 1.0, 10), dropin.OneCycleLR(other, 2.0, 10, max_momentum=0.9)
    for step in range(9):
        if step == 4:
            scheduler.max_lr = 2.0
            scheduler.max_momentum = 0.9
        for item in (scheduler, wanted):
            item.optimizer.step()
            item.step()
    assert lrs(optimizer) == pytest.approx(lrs(other))
    assert optimizer.param_groups[0]["momentum"] == pytest.approx(other.param_groups[0]["momentum"])


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda o: loose.LambdaLR(o, [lambda t: 1.0]), "one function for each of 2"),
        (lambda o: loose.OneCycleLR(o, [1.0], 10), r"max_lr=\.\.\.\) must be one number or 2"),
        (lambda o: loose.SWALR(o, "high"), "swa_lr"),
        (lambda o: loose.SWALR(o, 0.1, anneal_strategy="cosine"), "'cos' or 'linear'"),
        (lambda o: loose.OneCycleLR(o, 1.0), "total_steps"),
        (lambda o: loose.OneCycleLR(o, 1.0, 10, pct_start=0.9, three_phase=True), "three_phase"),
        (lambda o: loose.OneCycleLR(o, 1.0, 10, base_momentum=1.5), "momenta"),
        (lambda o: loose.CyclicLR(o, 0.1, 0.2, mode="square"), "mode"),
        (lambda o: loose.CyclicLR(o, 0.1, 0.2, scale_fn=lambda x: x, scale_mode="epoch"), "scale_mode"),
        (lambda o: loose.ReduceLROnPlateau(o, mode="least"), "mode"),
        (lambda o: loose.ReduceLROnPlateau(o, threshold=-1.0), "threshold"),
        (lambda o: loose.ReduceLROnPlateau(o, factor=1.0), "factor"),
        (lambda o: loose.StepLR([o], 10), r"StepLR\(optimizer\)"),
    ],
)
def test_a_wrong_argument_is_refused_by_name(build: Any, words: str) -> None:
    with pytest.raises(LehrError, match=words):
        build(sgd(0.1, 0.3, momentum=0.9))


def test_momentum_is_asked_of_an_optimizer_that_has_it() -> None:
    rprop = torch.optim.Adagrad([torch.nn.Parameter(torch.ones(1))])
    with pytest.raises(LehrError, match="cycle_momentum=False"):
        dropin.OneCycleLR(rprop, 1.0, 10)


def power_of(rate: float) -> Callable[[int], float]:
    return lambda t: rate**t


def test_states_of_two_functions_are_told_apart() -> None:
    """Of one name in the program, and on two optimisers."""

    def build(rates: list[float]) -> list[Any]:
        return [dropin.LambdaLR(sgd(), power_of(rate)) for rate in rates]

    saved = [scheduler.state_dict() for scheduler in build([0.5, 0.9])]
    again = build([0.5, 0.9])
    for scheduler, state in zip(again, saved, strict=True):
        scheduler.load_state_dict(state)
        scheduler.optimizer.step()
        scheduler.step()
    assert [scheduler.get_last_lr() for scheduler in again] == [pytest.approx([0.05]), pytest.approx([0.09])]


def test_nothing_keeps_a_scheduler_or_its_optimizer_alive() -> None:
    gc.collect()
    gc.disable()
    try:
        optimizer = sgd(momentum=0.9)
        parts = [dropin.LambdaLR(optimizer, lambda t: 1.0), dropin.OneCycleLR(optimizer, 1.0, 10)]
        scheduler = dropin.SequentialLR(optimizer, parts, [5])
        held = [weakref.ref(item) for item in (scheduler, *parts, optimizer)]
        del scheduler, parts
        assert [reference() for reference in held[:3]] == [None] * 3
        del optimizer
        gc.collect()  # torch's optimisers hold themselves
        assert held[3]() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("factor", [0.5, 1 - 1e-9])
def test_a_plateau_without_eps_reduces_without_end_and_is_built_at_once(factor: float) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    scheduler = dropin.ReduceLROnPlateau(optimizer, factor=factor, patience=0, eps=0.0)
    for _ in range(60):
        optimizer.step()
        scheduler.step(1.0)
    assert scheduler.get_last_lr()[0] == pytest.approx(0.1 * factor**59, rel=1e-12)
    low = dropin.ReduceLROnPlateau(optimizer, factor=factor, patience=0, eps=0.0, min_lr=1e-9)
    assert "min_lr" in repr(low.policy)
