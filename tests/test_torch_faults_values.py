"""Live faults of torch's single schedulers: values past the end, bad arguments, metrics, late groups, warnings."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler as theirs

from lehr import LehrError, LehrWarning
from lehr.torch import dropin as ours

pytestmark = pytest.mark.frameworks


def sgd(*lrs: float, momentum: float = 0.0) -> Any:
    groups = [{"params": [torch.nn.Parameter(torch.ones(1))], "lr": lr} for lr in lrs or (0.1,)]
    return torch.optim.SGD(groups, momentum=momentum)


def lrs(scheduler: Any, steps: int, *reports: float) -> list[float]:
    """The LR of the first group at the start and after every step."""
    used = [float(scheduler.optimizer.param_groups[0]["lr"])]
    for i in range(steps):
        scheduler.optimizer.step()
        scheduler.step(*reports[i : i + 1])
        used.append(float(scheduler.optimizer.param_groups[0]["lr"]))
    return used


def near(values: list[float]) -> Any:
    return pytest.approx(values, rel=1e-12, abs=1e-15)


def cycle(of: ModuleType, **arguments: Any) -> Any:
    return of.OneCycleLR(sgd(), 1.0, 10, cycle_momentum=False, **arguments)


# Past the end


def test_a_one_cycle_holds_past_its_end() -> None:
    end = 1 / 25 / 1e4
    for strategy, turned in (("cos", 0.0495), ("linear", -0.143)):
        scheduler = cycle(theirs, anneal_strategy=strategy)
        assert lrs(scheduler, 10)[9:] == pytest.approx([end, turned], rel=1e-2)  # up again; or below 0
        with pytest.raises(ValueError, match="Tried to step 11 times"):
            lrs(scheduler, 1)
        assert lrs(cycle(ours, anneal_strategy=strategy), 30)[9:] == near([end] * 22)


def test_a_cosine_holds_past_its_end() -> None:
    assert lrs(theirs.CosineAnnealingLR(sgd(), 10, 0.01), 20)[-1] == pytest.approx(0.1)
    assert lrs(ours.CosineAnnealingLR(sgd(), 10, 0.01), 20)[10:] == near([0.01] * 11)


def test_a_function_that_turns_negative_is_zero_there() -> None:
    assert lrs(theirs.LambdaLR(sgd(), lambda t: 1 - t / 4), 6) == near([0.1, 0.075, 0.05, 0.025, 0.0, -0.025, -0.05])
    scheduler = ours.LambdaLR(sgd(), lambda t: 1 - t / 4)
    assert lrs(scheduler, 4) == near([0.1, 0.075, 0.05, 0.025, 0.0])
    with pytest.warns(LehrWarning, match="no LR is negative"):
        assert lrs(scheduler, 1) == [0.0, 0.0]
    assert lrs(scheduler, 2) == [0.0] * 3


def test_an_error_of_a_function_comes_when_its_step_is_reached() -> None:
    factors = [1.0, 0.5, 0.25]
    for of in (theirs, ours):  # torch is right here
        scheduler = of.LambdaLR(sgd(), lambda t: factors[t])
        assert lrs(scheduler, 2) == near([0.1, 0.05, 0.025])
        with pytest.raises(IndexError):
            lrs(scheduler, 1)


# Arguments


def test_the_peak_of_a_one_cycle_is_reached_however_early_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        cycle(theirs, pct_start=0.1)  # a rise of one step
    assert max(lrs(cycle(theirs, pct_start=0.01), 9)) < 0.99  # the peak lies before the first step
    for share in (0.1, 0.01, 0.0):
        values = lrs(cycle(ours, pct_start=share), 9)
        low = 1 / 25 / 1e4
        assert values == near([low + (1 - low) * (1 + math.cos(math.pi * t / 9)) / 2 for t in range(10)])


@pytest.mark.parametrize("share", [0, 1])
def test_a_share_may_be_a_whole_number(share: int) -> None:
    with pytest.raises(ValueError, match="Expected float between 0 and 1"):
        cycle(theirs, pct_start=share)
    assert max(lrs(cycle(ours, pct_start=share), 9)) == pytest.approx(1.0)


def test_a_warm_up_may_begin_at_zero() -> None:
    with pytest.raises(ValueError, match="greater than 0"):
        theirs.LinearLR(sgd(), start_factor=0.0)
    assert lrs(ours.LinearLR(sgd(), start_factor=0.0, total_iters=4), 5) == near([0, 0.025, 0.05, 0.075, 0.1, 0.1])


def test_a_constant_factor_may_be_zero() -> None:
    with pytest.raises(ZeroDivisionError):
        lrs(theirs.ConstantLR(sgd(), factor=0.0, total_iters=2), 2)
    assert lrs(ours.ConstantLR(sgd(), factor=0.0, total_iters=2), 3) == near([0.0, 0.0, 0.1, 0.1])


@pytest.mark.parametrize("name", ["LinearLR", "ConstantLR"])
def test_a_warm_up_of_no_steps_is_over(name: str) -> None:
    assert lrs(getattr(theirs, name)(sgd(), 0.5, total_iters=0), 3) == near([0.05] * 4)  # for ever
    assert lrs(getattr(ours, name)(sgd(), 0.5, total_iters=0), 3) == near([0.1] * 4)


BAD: dict[str, Callable[[ModuleType], Any]] = {
    "no steps between cuts": lambda of: of.StepLR(sgd(), 0),
    "cuts going back": lambda of: of.StepLR(sgd(), -3),
    "a cut at a part of a step": lambda of: of.MultiStepLR(sgd(), [2.5]),
    "a cut before the start": lambda of: of.MultiStepLR(sgd(), [-2]),
    "a negative factor": lambda of: of.ExponentialLR(sgd(), -0.5),
    "a factor that is not finite": lambda of: of.StepLR(sgd(), 3, math.nan),
    "no steps to anneal": lambda of: of.CosineAnnealingLR(sgd(), 0),
    "negative steps to anneal": lambda of: of.CosineAnnealingLR(sgd(), -5),
    "a negative floor": lambda of: of.CosineAnnealingLR(sgd(), 5, -0.1),
    "no steps to fall": lambda of: of.PolynomialLR(sgd(), 0),
    "no way down": lambda of: of.CyclicLR(sgd(), 0.1, 0.01, cycle_momentum=False),
    "no patience": lambda of: of.ReduceLROnPlateau(sgd(), patience=-1),
    "a reduction to nothing": lambda of: of.ReduceLROnPlateau(sgd(), factor=-0.5),
    "a negative divisor": lambda of: cycle(of, div_factor=-1.0),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_argument_is_refused_at_once(fault: str) -> None:
    BAD[fault](theirs)  # not a word
    with pytest.raises(LehrError, match=r"LR\w*\(|CyclicLR needs|ReduceLROnPlateau\("):
        BAD[fault](ours)


def test_an_error_names_the_argument() -> None:
    with pytest.raises(ZeroDivisionError, match="float division by zero"):
        theirs.CyclicLR(sgd(), 0.01, 0.1, 0, cycle_momentum=False)
    with pytest.raises(LehrError, match="step_size_up"):
        ours.CyclicLR(sgd(), 0.01, 0.1, 0, cycle_momentum=False)
    with pytest.raises(TypeError, match="'float' object is not callable"):
        theirs.LambdaLR(sgd(), 0.5)  # type: ignore[arg-type]
    with pytest.raises(LehrError, match="lr_lambda"):
        ours.LambdaLR(sgd(), 0.5)  # type: ignore[arg-type]


def test_milestones_may_come_in_any_order() -> None:
    for of in (theirs, ours):  # torch is right
        assert lrs(of.MultiStepLR(sgd(), [5, 2]), 6) == near([0.1] * 2 + [0.01] * 3 + [0.001] * 2)


@pytest.mark.filterwarnings("ignore:The epoch parameter")
@pytest.mark.parametrize(("first", "mult", "epoch"), [(1, 3, 121), (1, 10, 111), (1, 10, 111_111)])
def test_every_restart_begins_at_the_peak(first: int, mult: int, epoch: int) -> None:
    assert sum(first * mult**k for k in range(20)) > epoch
    assert epoch in [sum(first * mult**k for k in range(n)) for n in range(12)]  # a restart
    values = {}
    for of in (theirs, ours):
        scheduler = of.CosineAnnealingWarmRestarts(sgd(), first, mult)
        scheduler.optimizer.step()
        scheduler.step(epoch)
        values[of] = scheduler.get_last_lr()[0]
    assert values[theirs] == pytest.approx(0.0, abs=1e-9)  # at the floor: the logarithm was rounded
    assert values[ours] == 0.1


def test_a_float32_lr_does_not_drift() -> None:
    errors = {}
    for of in (theirs, ours):
        parameters = [torch.nn.Parameter(torch.ones(1))]
        optimizer = torch.optim.AdamW(parameters, lr=torch.tensor(0.1))
        scheduler = of.CosineAnnealingLR(optimizer, 20_000)
        for _ in range(10_000):
            optimizer.step()
            scheduler.step()
        errors[of] = abs(float(optimizer.param_groups[0]["lr"]) / 0.05 - 1)
    assert errors[theirs] > 5e-7
    assert errors[ours] < 6e-8  # the nearest float32


# Plateaus


def plateau(of: ModuleType, **arguments: Any) -> Any:
    return of.ReduceLROnPlateau(sgd(), **({"factor": 0.5, "patience": 1} | arguments))


def test_a_flat_negative_metric_is_a_plateau() -> None:
    flat = [-1.0] * 4
    assert lrs(plateau(theirs, threshold=0.01), 4, *flat) == [0.1] * 5
    assert lrs(plateau(ours, threshold=0.01), 4, *flat) == near([0.1, 0.1, 0.1, 0.05, 0.05])


def test_a_worse_negative_metric_is_no_best() -> None:
    for of, best in ((theirs, -95.0), (ours, -100.0)):
        scheduler = plateau(of, threshold=0.1)
        lrs(scheduler, 2, -100.0, -95.0)
        assert scheduler.best == best


@pytest.mark.parametrize("mode", ["min", "max"])
def test_metrics_of_either_sign_are_judged_alike(mode: str) -> None:
    """torch's own decisions on positive metrics, mirrored: the other mode on their negatives."""
    positive = [1.0, 0.9, 0.89, 0.885, 0.88, 0.5, 0.51, 0.49, 0.5, 0.6, 0.7, 0.7, 1.2, 1.2, 1.2, 1.2]
    other = "max" if mode == "min" else "min"
    wanted = lrs(plateau(theirs, mode=mode, threshold=0.05), 16, *positive)
    negative = [-value for value in positive]
    assert len(set(wanted)) > 2
    assert lrs(plateau(theirs, mode=other, threshold=0.05), 16, *negative) != near(wanted)
    assert lrs(plateau(ours, mode=other, threshold=0.05), 16, *negative) == near(wanted)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_metric_that_is_not_finite_is_no_report(value: float) -> None:
    falling = [1.0, 0.9, value, value, value, value, 0.8, 0.7, 0.6, 0.5]
    assert min(lrs(plateau(theirs), 10, *falling)) < 0.1  # it is bad, or the best for ever
    assert lrs(plateau(ours), 10, *falling) == [0.1] * 11
    stalled = [1.0, 1.0, value, value, 1.0]
    assert lrs(plateau(ours), 5, *stalled) == near([0.1] * 5 + [0.05])


# Late groups

LATE: dict[str, Callable[[ModuleType, Any], Any]] = {
    "LambdaLR": lambda of, o: of.LambdaLR(o, lambda t: 0.9**t),
    "CosineAnnealingWarmRestarts": lambda of, o: of.CosineAnnealingWarmRestarts(o, 10),
    "OneCycleLR": lambda of, o: of.OneCycleLR(o, 1.0, 20, cycle_momentum=False),
}


# After 5 steps, of the base LR; a one cycle has reached its peak of 1.0 at step 5.
LATE_FACTORS = {"LambdaLR": 0.9**5, "CosineAnnealingWarmRestarts": 0.5, "OneCycleLR": 1.0}
LATE_PEAK = {"OneCycleLR": 1.0}


@pytest.mark.parametrize("name", LATE)
def test_a_late_group_follows_the_plan(name: str) -> None:
    for of in (theirs, ours):
        scheduler = LATE[name](of, sgd())
        lrs(scheduler, 3)
        scheduler.optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))], "lr": 0.2})
        if of is theirs:
            with pytest.raises((ValueError, KeyError)):
                lrs(scheduler, 1)
            continue
        lrs(scheduler, 2)
        first, late = scheduler.get_last_lr()
        assert [first, late] == near([LATE_FACTORS[name] * base for base in (LATE_PEAK.get(name, 0.1), 0.2)])
        again = LATE[name](of, sgd(0.1, 0.2))
        again.load_state_dict(scheduler.state_dict(), on_change="keep_saved")  # a new one cycle has max_lr for both
        assert again.get_last_lr() == [first, late]


def test_a_late_group_of_a_plateau_is_reduced_with_the_others() -> None:
    for of in (theirs, ours):  # torch is right
        scheduler = of.ReduceLROnPlateau(sgd(0.1, 0.3), factor=0.5, patience=0)
        lrs(scheduler, 2, 1.0, 1.0)
        scheduler.optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))], "lr": 0.2})
        lrs(scheduler, 1, 1.0)
        assert scheduler.get_last_lr() == near([0.025, 0.075, 0.1])


# Updates that are skipped, and warnings


def test_a_skipped_update_does_not_count() -> None:
    def skipping(of: ModuleType, **skipped: Any) -> list[float]:
        optimizer = sgd()
        scheduler = of.StepLR(optimizer, 1, 0.5)
        scaler = torch.amp.GradScaler("cpu")
        loss = optimizer.param_groups[0]["params"][0].sum() * math.inf
        scaler.scale(loss).backward()
        scaler.step(optimizer)  # the gradients are not finite: no update
        scaler.update()
        scheduler.step(**skipped)
        lr: list[float] = scheduler.get_last_lr()
        return lr

    with pytest.warns(UserWarning, match="Detected call of"):
        assert skipping(theirs) == near([0.05])  # half of the LR is lost, and the warning is not true
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert skipping(ours, applied=False) == [0.1]
    with pytest.warns(LehrWarning, match="applied=False"):
        skipping(ours)


def test_a_wrapped_optimizer_is_no_reason_to_warn() -> None:
    for of in (theirs, ours):
        scheduler = of.StepLR(sgd(), 1)
        optimizer = scheduler.optimizer
        optimizer.step = functools.partial(type(optimizer).step, optimizer)  # as accelerators and profilers do
        optimizer.step()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            scheduler.step()
        assert bool(caught) == (of is theirs)


def test_many_updates_between_two_steps_are_an_epoch() -> None:
    for of in (theirs, ours):  # torch is right
        scheduler = of.StepLR(sgd(), 2)
        for _ in range(4):
            for _ in range(10):
                scheduler.optimizer.step()
            scheduler.step()
        assert scheduler.get_last_lr() == near([0.001])
