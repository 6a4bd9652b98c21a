"""`resolve`: what it takes, what it refuses, and how a schedule is stretched or shrunk to a given length."""

from typing import Any

import numpy as np
import pytest

from lehr.errors import LehrError
from lehr.lengths import Horizon
from lehr.schedules import constant, cosine, exponential, hold, linear, step_decay, warmup
from lehr.text import parse


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"horizon": 100}, "horizon= must be a Horizon, got 100; for a number of steps write steps="),
        ({"horizon": Horizon(steps=5), "steps": 5}, "give steps= or horizon=, not both"),
        ({"steps": 0}, r"Horizon\(steps=\.\.\.\) must be a whole number of at least 1 .*, got 0"),
        ({"steps": "10%"}, "must be a whole number of at least 1 .*, got '10%'"),
        ({"steps": 100, "start": -0.1}, r"resolve\(start=\.\.\.\) must be at least 0, got -0.1"),
        ({"steps": 100, "start": float("nan")}, r"resolve\(start=\.\.\.\) must be a finite number, got nan"),
        ({"steps": 100, "lr": float("inf")}, r"resolve\(lr=\.\.\.\) must be a finite number, got inf"),
        ({"steps": 100, "lr": "0.1"}, r"resolve\(lr=\.\.\.\) must be a finite number, got '0.1'"),
        ({"steps": 100, "length": 0}, r"resolve\(length=\.\.\.\) must be a whole number of at least 1 .*, got 0"),
        ({}, r"a part without a length in cosine\(\) needs steps"),
    ],
)
def test_what_resolve_cannot_use_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(LehrError, match=message):
        cosine().resolve(**arguments)


@pytest.mark.parametrize("lr", [None, 0.0, -0.1])
def test_to_lr_needs_a_base_rate(lr: float | None) -> None:
    with pytest.raises(LehrError, match=r"to_lr=1e-05 needs the base LR, got .*; give resolve\(\.\.\., lr=\.\.\.\)"):
        cosine(10, to_lr=1e-5).resolve(lr=lr)


def test_only_what_needs_a_horizon_asks_for_one() -> None:
    assert cosine(10).resolve()(5) == pytest.approx(0.5)
    assert exponential(0.5).resolve()(1) == 0.5
    assert cosine("1 epoch").resolve(Horizon(steps_per_epoch=8)).length == 8


def test_a_schedule_with_a_length_is_stretched_or_shrunk_to_another_as_a_whole() -> None:
    steps = np.arange(120)
    plan = warmup(20).then(hold(40), linear(40))
    assert np.array_equal(plan.resolve(length=50)(steps), warmup(10).then(hold(20), linear(20)).resolve()(steps))
    assert np.array_equal(plan.resolve(length=100)(steps), plan.resolve()(steps))
    assert plan.resolve(length=37).length == 37
    product = linear(100) * step_decay(30)
    assert np.array_equal(product.resolve(length=50)(steps), (linear(50) * step_decay(15)).resolve()(steps))
    assert linear(10).repeat(3, stretch=2).resolve(length=7).length == 7


def test_a_filling_one_fills_it_and_an_endless_one_does_not_end() -> None:
    steps = np.arange(120)
    assert np.array_equal(
        warmup(10).then(cosine()).resolve(steps=999, length=60)(steps)[:60],
        warmup(10).then(cosine()).resolve(steps=60)(steps)[:60],
    )
    assert constant().resolve(length=50).length is None
    assert warmup(10).then(hold()).resolve(length=50).length is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cosine(1e18).repeat(100)", r"may count to 2\*\*63 - 1 steps, this one counts to 1e\+20"),
        ("cosine(10).repeat(1000, stretch=2)", r"may count to 2\*\*63 - 1 steps"),
        ("linear(1e18).stretch(1e6)", r"may count to 2\*\*63 - 1 steps"),
        ("linear(1e18)" + ".then(linear(1e18))" * 10, r"may count to 2\*\*63 - 1 steps"),
        ("exponential(0.5)" + ".stretch(1e-6)" * 20, "stretched to between 1e-100 and 1e100 times its length"),
        ("constant(1e200) * constant(1e200)", r"a factor may be at most 1e\+300, that of this schedule may reach inf"),
        ("constant(1e301)", r"a factor may be at most 1e\+300, that of this schedule may reach 1e\+301"),
        ("linear(10, to_lr=1e200)", r"a factor may be at most 1e\+300, that of this schedule may reach"),
    ],
)
def test_what_floats_and_integers_cannot_hold_is_refused_when_it_is_resolved(text: str, message: str) -> None:
    with pytest.raises(LehrError, match=message):
        parse(text).resolve(lr=1e-200)


def test_nesting_costs_no_more_than_its_depth() -> None:
    plan = linear(10)
    for _ in range(40):
        plan = warmup(3).then(plan).repeat(2)
    assert parse(repr(plan)) == plan
    assert plan.resolve()(10**6) >= 0


def test_a_factor_too_small_is_zero_even_where_numpy_is_told_to_raise() -> None:
    with np.errstate(all="raise"):
        assert (exponential(1e-200) * exponential(1e-200)).resolve()(1) == 0.0
        assert constant(1e-320).resolve()(0) == 0.0


@pytest.mark.parametrize(
    "steps", [[0, 1, 2], (0, 1, 2), range(3), np.arange(3, dtype=np.int8)], ids=lambda s: type(s).__name__
)
def test_any_sequence_of_integers_is_an_array_of_steps(steps: Any) -> None:
    assert linear(2).resolve()(steps).tolist() == [1.0, 0.5, 0.0]
