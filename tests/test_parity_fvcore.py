"""Curves against fvcore: functions of `where`, the fraction of the run that is over."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity import agree, curve, differ
from parity_draws import FACTORS, LENGTHS, LRS, OPEN_FACTORS, forty

pytestmark = [pytest.mark.peers, pytest.mark.frameworks]

Scheduler = Callable[[float], float]


def peer() -> Any:
    return importlib.import_module("fvcore.common.param_scheduler")


def over(run: int, scheduler: Scheduler) -> list[float]:
    """The values of a run of that many updates."""
    return [scheduler(step / run) for step in range(run)]


def or_nan(scheduler: Scheduler, where: float) -> float:
    try:
        return scheduler(where)
    except (RuntimeError, IndexError):
        return np.nan


@forty
@given(run=LENGTHS, lr=LRS)
def test_constant(run: int, lr: float) -> None:
    agree(
        "fvcore", "ConstantParamScheduler", over(run, peer().ConstantParamScheduler(lr)), curve("constant()", run, lr)
    )


@forty
@given(run=LENGTHS, start=FACTORS, end=FACTORS, lr=LRS)
def test_cosine_falls_and_rises(run: int, start: float, end: float, lr: float) -> None:
    ours = curve("cosine({run}, start={initial}, to={end})", run, lr, run=run, initial=start, end=end)
    agree("fvcore", "CosineParamScheduler", over(run, peer().CosineParamScheduler(lr * start, lr * end)), ours)


@forty
@given(run=LENGTHS, start=FACTORS, end=FACTORS, lr=LRS)
def test_linear_falls_and_rises(run: int, start: float, end: float, lr: float) -> None:
    ours = curve("linear({run}, start={initial}, to={end})", run, lr, run=run, initial=start, end=end)
    agree("fvcore", "LinearParamScheduler", over(run, peer().LinearParamScheduler(lr * start, lr * end)), ours)


@forty
@given(run=LENGTHS, decay=OPEN_FACTORS, lr=LRS)
def test_exponential(run: int, decay: float, lr: float) -> None:
    ours = curve("exponential({decay}, per={run})", run, lr, run=run, decay=decay)
    agree("fvcore", "ExponentialParamScheduler", over(run, peer().ExponentialParamScheduler(lr, decay)), ours)


@forty
@given(run=LENGTHS, growth=st.floats(1, 50), lr=LRS)
def test_exponential_growth_over_the_run(run: int, growth: float, lr: float) -> None:
    ours = curve("geometric({run}, to={growth})", run, lr, run=run, growth=growth)
    agree("fvcore", "ExponentialParamScheduler", over(run, peer().ExponentialParamScheduler(lr, growth)), ours)


@forty
@given(run=LENGTHS, power=st.floats(0.1, 5), lr=LRS)
def test_polynomial_decay(run: int, power: float, lr: float) -> None:
    ours = curve("polynomial({run}, power={power})", run, lr, run=run, power=power)
    agree("fvcore", "PolynomialDecayParamScheduler", over(run, peer().PolynomialDecayParamScheduler(lr, power)), ours)


@forty
@given(sizes=st.lists(LENGTHS, min_size=1, max_size=5), lr=LRS, data=st.data())
def test_multi_step_with_milestones(sizes: list[int], lr: float, data: st.DataObject) -> None:
    values = data.draw(st.lists(FACTORS, min_size=len(sizes), max_size=len(sizes)))
    ends = list(itertools.accumulate(sizes))
    table = dict(zip([0, *ends[:-1]], values, strict=True))
    theirs = peer().MultiStepParamScheduler([lr * value for value in values], milestones=ends)
    ours = curve("piecewise({values})", ends[-1], lr, values=table)
    agree("fvcore", "MultiStepParamScheduler", over(ends[-1], theirs), ours)


@forty
@given(values=st.lists(FACTORS, min_size=1, max_size=6), every=LENGTHS, lr=LRS)
def test_equal_slices_under_both_names(values: list[float], every: int, lr: float) -> None:
    run = every * len(values)
    ours = curve("table({values}, every={every})", run, lr, values=values, every=every)
    lrs = [lr * value for value in values]
    agree("fvcore", "StepParamScheduler", over(run, peer().StepParamScheduler(run, lrs)), ours)
    agree("fvcore", "MultiStepParamScheduler", over(run, peer().MultiStepParamScheduler(lrs, num_updates=run)), ours)


@forty
@given(drops=st.integers(1, 6), every=LENGTHS, gamma=OPEN_FACTORS, lr=LRS)
def test_step_with_fixed_gamma(drops: int, every: int, gamma: float, lr: float) -> None:
    run = every * (drops + 1)
    theirs = peer().StepWithFixedGammaParamScheduler(lr, drops, gamma, run)
    ours = curve("step_decay({every}, {gamma})", run, lr, every=every, gamma=gamma)
    agree("fvcore", "StepWithFixedGammaParamScheduler", over(run, theirs), ours)


@forty
@given(a=LENGTHS, b=LENGTHS, c=LENGTHS, start=FACTORS, low=FACTORS, power=st.floats(0.1, 5), lr=LRS)
def test_composite_of_rescaled_parts(a: int, b: int, c: int, start: float, low: float, power: float, lr: float) -> None:
    run = a + b + c
    parts = [
        peer().LinearParamScheduler(lr * start, lr),
        peer().CosineParamScheduler(lr, lr * low),
        peer().PolynomialDecayParamScheduler(lr * low, power),
    ]
    theirs = peer().CompositeParamScheduler(parts, [a / run, b / run, c / run], ["rescaled"] * 3)
    template = "linear({a}, start={initial}, to=1).then(cosine({b}, to={low}), polynomial({c}, power={power}))"
    ours = curve(template, run, lr, a=a, initial=start, b=b, low=low, c=c, power=power)
    agree("fvcore", "CompositeParamScheduler", over(run, theirs), ours)


@forty
@given(a=LENGTHS, b=LENGTHS, low=FACTORS, decay=OPEN_FACTORS, lr=LRS)
def test_composite_of_fixed_parts_cuts_two_curves_of_the_whole_run(
    a: int, b: int, low: float, decay: float, lr: float
) -> None:
    run = a + b
    parts = [peer().CosineParamScheduler(lr, lr * low), peer().ExponentialParamScheduler(lr, decay)]
    theirs = peer().CompositeParamScheduler(parts, [a / run, b / run], ["fixed", "fixed"])
    template = "cosine({run}, to={low}) * piecewise({early}) + exponential({decay}, per={run}) * piecewise({late})"
    windows: dict[str, Any] = {"early": {0: 1, a: 0}, "late": {0: 0, a: 1}}
    ours = curve(template, run, lr, run=run, low=low, decay=decay, **windows)
    agree("fvcore", "CompositeParamScheduler", over(run, theirs), ours)


def test_the_last_value_of_three_schedulers_cannot_be_asked_for() -> None:
    lr, run, t = 0.1, 30, np.arange(31)
    fault = "raises at where=1.0, the end of the run"
    held = peer().ConstantParamScheduler(lr)
    theirs = [or_nan(held, step / run) for step in t]
    differ("fvcore", "ConstantParamScheduler", fault, theirs, curve("constant()", 31, lr), np.full(31, lr))

    table = peer().StepParamScheduler(run, [lr, lr * 0.3, lr * 0.1])
    theirs = [or_nan(table, step / run) for step in t]
    definition = lr * np.where(t < 10, 1.0, np.where(t < 20, 0.3, 0.1))
    ours = curve("table({values}, every={every})", 31, lr, values=[1, 0.3, 0.1], every=10)
    differ("fvcore", "StepParamScheduler", fault, theirs, ours, definition)

    drops = peer().StepWithFixedGammaParamScheduler(lr, 2, 0.5, run)
    theirs = [or_nan(drops, step / run) for step in t]
    definition = lr * 0.5 ** np.minimum(t // 10, 2)
    ours = curve("multistep({milestones}, {gamma})", 31, lr, milestones=[10, 20], gamma=0.5)
    differ("fvcore", "StepWithFixedGammaParamScheduler", fault, theirs, ours, definition)


def test_the_tolerance_of_where_moves_a_milestone_in_a_long_run() -> None:
    run, lr, milestone = 5_000_000, 0.1, 20
    theirs = peer().MultiStepParamScheduler([lr, lr * 0.1], num_updates=run, milestones=[milestone])
    ours = curve("multistep({milestones})", 40, lr, milestones=[milestone])
    definition = lr * np.where(np.arange(40) < milestone, 1.0, 0.1)
    fault = "a fixed tolerance of 1e-6 of the run: in a run of five million updates every milestone comes 5 early"
    differ("fvcore", "MultiStepParamScheduler", fault, [theirs(step / run) for step in range(40)], ours, definition)
