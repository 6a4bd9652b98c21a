"""Functions of the user: how they are named, called no sooner than needed, saved by name, and refused when wrong."""

from __future__ import annotations

import json
import pickle
from typing import Any

import numpy as np
import pytest

import lehr
from lehr.schedules.functions import registered


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A name that no other test takes."""
    return f"test.{request.node.name.replace('[', '.').replace(']', '')}"[:80]


def test_an_unregistered_function_runs_and_prints_but_cannot_be_saved() -> None:
    schedule = lehr.of_step(lambda t: 1 / (1 + t))
    run = lehr.start(schedule, lr=0.1, steps=5)
    run.step()
    assert run.lr == 0.05
    assert "of_step(<function" in repr(schedule)
    remedy = r'is not registered, so what uses it cannot be saved; say lehr.register\("a name", function\)'
    with pytest.raises(lehr.LehrError, match=remedy):
        run.state_dict()
    with pytest.raises(lehr.LehrError, match=remedy):
        pickle.dumps(schedule)


def test_a_registered_one_is_saved_by_its_name_and_found_again(name: str) -> None:
    def third(t: float) -> float:
        return float(3.0**-t)

    assert lehr.register(name, third) is third
    assert registered(name)
    schedule = lehr.of_step(third, every=2)
    assert repr(schedule) == f"of_step({name!r}, every=2)"
    assert lehr.parse(repr(schedule)) == schedule == pickle.loads(pickle.dumps(schedule))
    run = lehr.start(schedule, lr=1.0, steps=9)
    for _ in range(4):
        run.step()
    again = lehr.start(f"of_step({name!r}, every=2)", lr=1.0, steps=9)
    again.load_state_dict(json.loads(json.dumps(run.state_dict())))
    assert again.lr == run.lr == 3.0**-2


def test_a_name_is_taken_once_unless_it_is_said(name: str) -> None:
    first = lehr.register(name, lambda t: 1.0)
    lehr.register(name, first)  # the same again is no harm
    with pytest.raises(lehr.LehrError, match=r"is registered as function .*replace=True"):
        lehr.register(name, lambda t: 0.5)
    before = lehr.of_step(name)
    lehr.register(name, lambda t: 0.5, replace=True)
    assert before.resolve()(3) == 1.0  # a value does not change
    assert lehr.of_step(name).resolve()(3) == 0.5
    assert before != lehr.of_step(name)


@pytest.mark.parametrize("wrong", ["", "1st", "a b", "a'b", "x" * 81, None, 7])
def test_what_is_no_name(wrong: Any) -> None:
    with pytest.raises(lehr.LehrError, match="must be a short name"):
        lehr.register(wrong, float)


def test_what_is_no_function_and_what_is_no_known_name() -> None:
    with pytest.raises(lehr.LehrError, match=r"must be given a function, got 0\.5"):
        lehr.register("half", 0.5)  # type: ignore[arg-type]
    with pytest.raises(lehr.LehrError, match=r"must be a function or the name of a registered one, got 0\.5"):
        lehr.of_step(0.5)  # type: ignore[arg-type]
    with pytest.raises(lehr.LehrError, match=r"registered as .example\.cubi.; did you mean .example\.cubic."):
        lehr.of_position("example.cubi")
    with pytest.raises(lehr.LehrError, match="before"):
        lehr.of_previous("nothing like it", 3)


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf"), 1e10, None, "0.5", True])
@pytest.mark.parametrize("make", [lehr.of_step, lambda f: lehr.of_position(f, 9), lambda f: lehr.of_previous(f, 9)])
def test_a_value_that_is_no_factor_is_refused_with_its_step(make: Any, value: Any) -> None:
    curve = make(lambda t: value).resolve()
    with pytest.raises(lehr.LehrError, match=r"the (value of the )?function.* at "):
        curve(5)


def test_a_share_beyond_the_span_is_refused() -> None:
    with pytest.raises(lehr.LehrError, match=r"between 0 and 1, got 1\.5 at 0\.5"):
        lehr.of_position(lambda x: 1.5 if x == 0.5 else 1 - x, 10).resolve()(5)


def test_a_function_is_asked_for_no_step_before_it_is_needed() -> None:
    """A list of the user's own ends with his run."""
    rates = [1.0, 0.5, 0.25, 0.125]
    run = lehr.start(lehr.warmup(1).then(lehr.of_step(lambda t: rates[t])), lr=1.0)
    seen = []
    for _ in range(4):
        seen.append(run.lr)
        run.step()
    assert seen == [1.0, 1.0, 0.5, 0.25]
    assert run.lr == 0.125
    run.step()
    with pytest.raises(IndexError):
        run.lr


def test_the_product_is_tabulated_in_parts_that_do_not_show() -> None:
    calls: list[int] = []

    def factor(t: int) -> float:
        calls.append(t)
        return 1 - 1e-4 / t

    curve = lehr.of_previous(factor, 10_000).resolve()
    assert curve(3) == pytest.approx((1 - 1e-4) * (1 - 5e-5) * (1 - 1e-4 / 3), rel=1e-15)
    assert calls == [1, 2, 3]  # no sooner than needed
    whole = curve(np.arange(10_001))
    assert calls == list(range(1, 10_001))
    assert [curve(t) for t in (0, 4095, 4096, 4097, 9999, 10_000, 10**9)] == [
        *whole[[0, 4095, 4096, 4097, 9999, 10_000]],
        whole[-1],
    ]
    with pytest.raises(lehr.LehrError, match="must stay at most 1e\\+09, got 1e\\+12 at 4"):
        lehr.of_previous(lambda t: 1e3, 100).resolve()(50)
    with pytest.raises(lehr.LehrError, match="at most 10000000 steps, got 100000000"):
        lehr.of_previous(lambda t: 1.0, 10**8).resolve()


def test_two_functions_make_two_values() -> None:
    def one(t: float) -> float:
        return 1.0

    def two(t: float) -> float:
        return 1.0

    assert lehr.of_step(one) == lehr.of_step(one) != lehr.of_step(two)
    assert hash(lehr.of_step(one)) == hash(lehr.of_step(one))


def test_a_share_that_is_out_of_its_span_by_a_rounding_is_clipped() -> None:
    curve = lehr.of_position(lambda x: 1 - (1.1 * 1.1 * x) / 1.21).resolve(steps=100)
    assert curve(100) == 0.0


def test_a_function_registered_after_the_schedule_was_made_has_its_name(name: str) -> None:
    def late(t: float) -> float:
        return 1.0

    schedule = lehr.of_step(late)
    lehr.register(name, late)
    assert repr(schedule) == f"of_step({name!r})"
    assert lehr.parse(repr(schedule)) == schedule
