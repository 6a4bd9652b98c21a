"""Segments against their textbook formulas, written out one step at a time with `math`."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from lehr.schedules import constant, cosine, hold, linear, one_minus_sqrt, polynomial, warmup
from lehr.schedules.schedule import Schedule

FALLS: dict[str, tuple[Callable[..., Schedule], Callable[[float], float]]] = {
    "linear": (linear, lambda x: 1 - x),
    "cosine": (cosine, lambda x: (1 + math.cos(math.pi * x)) / 2),
    "polynomial": (polynomial, lambda x: (1 - x) ** 2),
    "one_minus_sqrt": (one_minus_sqrt, lambda x: 1 - math.sqrt(x)),
}
named_falls = pytest.mark.parametrize("name", FALLS)


@named_falls
@pytest.mark.parametrize("steps", [1, 2, 3, 10, 97, 1000])
@pytest.mark.parametrize(("start", "to"), [(1.0, 0.0), (1.0, 0.1), (0.3, 0.02), (0.1, 1.0), (0.0, 0.5)])
def test_a_fall_blends_its_start_into_its_end(name: str, steps: int, start: float, to: float) -> None:
    make, g = FALLS[name]
    expected = [start * g(i / steps) + to * (1 - g(i / steps)) for i in range(steps + 1)]
    curve = make(steps, start=start, to=to).resolve()
    assert curve.length == steps
    assert curve(np.arange(steps + 1)) == pytest.approx(expected, abs=1e-15, rel=1e-12)


@named_falls
@pytest.mark.parametrize("steps", [1, 3, 7, 1000, 99_991, 10**12, 10**18])
@pytest.mark.parametrize(("start", "to"), [(1.0, 0.0), (0.7, 0.1), (0.1, 0.3), (1 / 3, 1e-7)])
def test_its_ends_are_exact_and_nothing_lies_outside_them(name: str, steps: int, start: float, to: float) -> None:
    curve = FALLS[name][0](steps, start=start, to=to).resolve()
    assert curve(0) == start
    assert curve(steps) == curve(steps + 1) == curve(2**63 - 1) == to
    values = curve(np.unique(np.linspace(0, steps, 500).astype(np.int64)))
    assert values.min() == min(start, to)
    assert values.max() == max(start, to)
    assert (np.diff(values) * (1 if to > start else -1) >= 0).all()


@named_falls
def test_without_a_length_it_takes_the_run(name: str) -> None:
    make = FALLS[name][0]
    steps = np.arange(200)
    assert np.array_equal(make().resolve(steps=123)(steps), make(123).resolve()(steps))


@named_falls
def test_to_lr_is_the_end_as_an_absolute_rate(name: str) -> None:
    make = FALLS[name][0]
    steps = np.arange(120)
    assert np.array_equal(make(100, to_lr=0.05).resolve(lr=0.25)(steps), make(100, to=0.2).resolve()(steps))
    assert make(100, to_lr=0.0).resolve(lr=0.1)(100) == 0.0


@pytest.mark.parametrize("power", [0.25, 0.5, 1.0, 2.0, 3.7, 20.0])
def test_the_power_of_a_polynomial(power: float) -> None:
    expected = [(1 - i / 50) ** power for i in range(51)]
    assert polynomial(50, power=power).resolve()(np.arange(51)) == pytest.approx(expected, abs=1e-12)


def test_a_polynomial_of_power_one_is_linear() -> None:
    steps = np.arange(60)
    assert np.array_equal(polynomial(50, power=1).resolve()(steps), linear(50).resolve()(steps))


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 97])
def test_a_warm_up_ends_one_step_early_so_that_no_update_is_wasted(steps: int) -> None:
    curve = warmup(steps).resolve()
    assert curve(np.arange(steps + 3)) == pytest.approx([min((i + 1) / steps, 1) for i in range(steps + 3)], abs=1e-15)
    assert curve(0) == 1 / steps
    assert curve(steps - 1) == curve(steps) == 1.0
    assert curve.warmup == curve.length == steps


def test_a_warm_up_may_begin_at_zero_or_at_a_start() -> None:
    assert [warmup(4, zero_start=True).resolve()(t) for t in range(6)] == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    assert [warmup(4, start=0.2).resolve()(t) for t in range(5)] == pytest.approx([0.4, 0.6, 0.8, 1.0, 1.0], abs=1e-15)
    assert [warmup(2, start=0.2, zero_start=True).resolve()(t) for t in range(3)] == pytest.approx([0.2, 0.6, 1.0])


def test_a_warm_up_rises_to_the_start_that_it_is_given() -> None:
    assert [warmup(4).resolve(start=0.5)(t) for t in range(5)] == [0.125, 0.25, 0.375, 0.5, 0.5]


def test_a_segment_of_no_steps_is_over_at_once() -> None:
    assert linear(0, to=0.3).resolve()(0) == 0.3
    assert warmup(0).resolve()(0) == 1.0
    assert hold(0).resolve(start=0.4)(0) == 0.4
    assert warmup(0).then(linear(2)).resolve()(1) == 0.5


def test_constant_is_absolute_and_hold_keeps_the_start() -> None:
    assert constant(0.3).resolve(start=0.5)(7) == 0.3
    assert hold().resolve(start=0.5)(7) == 0.5
    assert constant().resolve().length is None
    assert hold().resolve().length is None
    assert hold(10).resolve().length == 10
