"""Formulas of the step against their textbook forms, written out one step at a time."""

import math

import numpy as np
import pytest

from lehr.errors import LehrError
from lehr.lengths import Horizon
from lehr.schedules import (
    Schedule,
    exponential,
    inverse_sqrt,
    inverse_time,
    linear,
    multistep,
    piecewise,
    step_decay,
    warmup,
)

STEPS = np.arange(500)
HORIZON = Horizon(steps=400, steps_per_epoch=40, samples_per_step=8, tokens_per_step=256)


@pytest.mark.parametrize("every", [1, 2, 7, 30, 499, 1000])
@pytest.mark.parametrize("gamma", [0.0, 0.1, 0.5, 0.97, 1.0])
def test_step_decay_multiplies_once_an_interval(every: int, gamma: float) -> None:
    expected, rate = [], 1.0
    for t in range(500):
        if t and t % every == 0:
            rate *= gamma
        expected.append(rate if rate >= np.finfo(float).tiny else 0.0)
    assert step_decay(every, gamma).resolve()(STEPS) == pytest.approx(expected, rel=1e-12, abs=1e-300)


@pytest.mark.parametrize("gamma", [0.5, 0.95, 0.9999, 1.0])
def test_exponential_is_the_recurrence_of_one_factor_a_step(gamma: float) -> None:
    expected, rate = [], 1.0
    for _ in range(500):
        expected.append(rate)
        rate *= gamma
    assert exponential(gamma).resolve()(STEPS) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("per", "steps"), [(40, 40.0), ("1 epoch", 40.0), ("10%", 40.0), ("100 samples", 12.5), ("640 tokens", 2.5)]
)
def test_a_period_need_not_be_a_whole_number_of_steps(per: int | str, steps: float) -> None:
    decay, hyperbola = exponential(0.9, per=per).resolve(HORIZON), inverse_time(2.0, per=per).resolve(HORIZON)
    assert decay(STEPS) == pytest.approx([0.9 ** (t / steps) for t in range(500)], rel=1e-12)
    assert hyperbola(STEPS) == pytest.approx([1 / (1 + 2 * t / steps) for t in range(500)], rel=1e-12)


@pytest.mark.parametrize("rate", [0.0, 0.001, 1.0, 1e12])
def test_inverse_time(rate: float) -> None:
    assert inverse_time(rate).resolve()(STEPS) == pytest.approx([1 / (1 + rate * t) for t in range(500)], rel=1e-12)
    assert inverse_time(rate).resolve()(2**63 - 1) == pytest.approx(1 / (1 + rate * (2**63 - 1)), rel=1e-12)


@pytest.mark.parametrize("tau", [1, 10, 4000])
def test_inverse_sqrt(tau: int) -> None:
    expected = [math.sqrt(tau / (tau + t)) for t in range(500)]
    assert inverse_sqrt(tau).resolve()(STEPS) == pytest.approx(expected, rel=1e-12)


def test_after_a_warm_up_as_long_inverse_sqrt_is_that_of_the_transformer() -> None:
    curve = warmup(100).then(inverse_sqrt(100)).resolve()
    steps = np.arange(100, 5000)
    assert curve(steps) == pytest.approx([math.sqrt(100 / t) for t in steps.tolist()], rel=1e-12)


def test_multistep_counts_the_milestones_reached_in_any_order_and_twice() -> None:
    milestones = [300, 100, 100, 20]
    expected = [0.5 ** sum(t >= milestone for milestone in milestones) for t in range(500)]
    assert multistep(milestones, gamma=0.5).resolve()(STEPS).tolist() == expected


def test_multistep_takes_milestones_of_every_unit() -> None:
    curve = multistep(["10%", "2 epochs", "960 samples", "40960 tokens", 200], 0.1).resolve(HORIZON)
    assert [t for t in range(1, 400) if curve(t) < curve(t - 1)] == [40, 80, 120, 160, 200]


def test_piecewise_holds_each_value_from_its_length_on() -> None:
    curve = piecewise({"10%": 0.5, "2 epochs": 0.25, 200: 1.5}).resolve(HORIZON, start=0.75)
    expected = [0.75 if t < 40 else 0.5 if t < 80 else 0.25 if t < 200 else 1.5 for t in range(500)]
    assert curve(STEPS).tolist() == expected


def test_piecewise_in_a_run_so_short_that_two_lengths_meet_has_the_later_value() -> None:
    assert [piecewise({"30%": 0.5, "60%": 0.25}).resolve(steps=1)(t) for t in range(3)] == [1.0, 0.25, 0.25]


def test_piecewise_of_different_units_that_go_backwards_is_refused_when_resolved() -> None:
    schedule = piecewise({"50%": 0.5, 100: 0.25})
    assert schedule.resolve(steps=100)(60) == 0.5
    with pytest.raises(LehrError, match=r"increasing lengths, got steps \[200, 100\]"):
        schedule.resolve(steps=400)


def test_the_start_scales_formulas_but_not_values_given_by_hand() -> None:
    for schedule in (step_decay(3), exponential(0.9), inverse_time(0.1), inverse_sqrt(9), multistep([3, 7])):
        assert schedule.resolve(start=0.5)(STEPS) == pytest.approx(0.5 * schedule.resolve()(STEPS), rel=1e-15)
    assert piecewise({3: 0.25}).resolve(start=0.5)(3) == 0.25


@pytest.mark.parametrize(
    "schedule",
    [exponential(0.5), step_decay(1, 0.1), multistep(range(500)), exponential(0.9, per="1e-12 epochs")],
    ids=repr,
)
def test_what_becomes_too_small_for_a_float_is_exactly_zero_without_a_warning(schedule: Schedule) -> None:
    curve = schedule.resolve(HORIZON)
    with np.errstate(all="raise"):
        values = curve(np.array([0, 1, 400, 2000, 10**6, 10**12, 2**63 - 1]))
    assert values[0] in (1.0, 0.1)
    assert values[-1] == 0.0
    assert ((values == 0) | (values >= np.finfo(float).tiny)).all()


@pytest.mark.parametrize("schedule", [exponential(0.9, per="1e-12 epochs"), linear(10).stretch(1e-6)], ids=repr)
def test_an_absurdly_short_length_is_still_a_length(schedule: Schedule) -> None:
    curve = schedule.resolve(HORIZON)
    assert curve(0) == 1.0
    assert curve(1) == 0.0
