"""Rules: modifiers, limits and texts, one transition at a time."""

from __future__ import annotations

import copy
from typing import Any

import pytest

import lehr
from lehr.rules import Heard, Observation, RuleState
from lehr.rules.reaches import ReachesState
from lehr.rules.trigger import Smooth

loss = lehr.loss
low = lehr.when(loss.reaches(0.5)).scale(0.5).every_time()  # fires whenever the loss is at most 0.5
always = lehr.when(lehr.always()).scale(0.5)
HORIZON = lehr.Horizon(steps=200, steps_per_epoch=10)


def firings(rule: lehr.Rule, steps: Any, value: float = 0.1) -> list[int]:
    """The steps at which the resolved rule fires, if it sees the loss at the given ones."""
    rule = rule.resolve(HORIZON)
    state, fired = rule.init(), []
    for step in steps:
        state, heard = rule.update(state, Observation(step, {"loss": value}, True))
        fired += [step] if heard is not None else []
    return fired


MODIFIERS: list[tuple[str, lehr.Rule, Any, list[int]]] = [
    ("plain", low, range(4), [0, 1, 2, 3]),
    ("after steps", low.after(2), range(4), [2, 3]),
    ("after zero steps", low.after(0), range(3), [0, 1, 2]),
    ("after a share of the run", low.after("1%"), range(4), [2, 3]),
    ("after an epoch", low.after("1 epoch"), range(8, 12), [10, 11]),
    ("after observations", low.after("2 observations"), range(0, 50, 10), [20, 30, 40]),
    ("rest in steps", low.rest(2), range(8), [0, 3, 6]),
    ("rest in steps, seldom seen", low.rest(15), range(0, 60, 10), [0, 20, 40]),
    ("rest in observations", low.rest("2 observations"), range(0, 80, 10), [0, 30, 60]),
    ("no rest", low.rest(0), range(3), [0, 1, 2]),
    ("at most", low.at_most(2), range(6), [0, 1]),
    ("all three", low.after(3).rest(1).at_most(3), range(12), [3, 5, 7]),
    ("begin once", lehr.when(loss.reaches(0.5)).begin(lehr.linear(5)).every_time(), range(4), [0]),
    ("begin twice", lehr.when(loss.reaches(0.5)).begin(lehr.linear(5)).every_time().at_most(2), range(4), [0, 1]),
    ("stop once", lehr.when(loss.reaches(0.5)).stop().every_time(), range(4), [0]),
    ("always", always.after(1).rest(1), range(6), [1, 3, 5]),
]


@pytest.mark.parametrize(("rule", "steps", "fired"), [r[1:] for r in MODIFIERS], ids=[r[0] for r in MODIFIERS])
def test_modifiers(rule: lehr.Rule, steps: Any, fired: list[int]) -> None:
    assert firings(rule, steps) == fired


def test_observations_of_other_names_do_not_count() -> None:
    rule = low.after("2 observations").resolve(HORIZON)
    state = rule.init()
    state, _ = rule.update(state, Observation(0, {"accuracy": 0.1}, True))
    assert state == rule.init()


def test_a_resting_rule_is_not_shown_what_happens() -> None:
    """A plateau during the rest is not counted; the patience begins after it."""
    rule = lehr.when(loss.plateaus(1)).scale(0.5)
    assert firings(rule, range(9), 1.0) == [2, 5, 8]
    assert firings(rule.rest(2), range(11), 1.0) == [2, 7]


def test_one_transition_in_full() -> None:
    rule = lehr.when(loss.reaches(0.5)).scale(0.5).rest("3 observations").resolve(HORIZON)
    state = RuleState(ReachesState(Smooth(), False, False, ""), fired=2, last=4, seen=9, quiet=0)
    after, heard = rule.update(state, Observation(40, {"loss": 0.4}, True))
    assert heard == Heard(True, None, "loss 0.4 reached 0.5")
    assert after == RuleState(ReachesState(Smooth(), False, True, "", row=1), fired=3, last=40, seen=10, quiet=3)
    later, heard = rule.update(after, Observation(41, {"loss": 0.9}, True))
    assert (later, heard) == (after._replace(seen=11, quiet=2), None)


def test_update_changes_neither_state_nor_observation() -> None:
    rule = low.rest(2).resolve(HORIZON)
    state, numbers = rule.init(), {"loss": 0.1, "other": 3.0}
    kept = copy.deepcopy(state)
    assert rule.update(state, Observation(0, numbers, True)) == rule.update(state, Observation(0, numbers, True))
    assert (state, numbers) == (kept, {"loss": 0.1, "other": 3.0})


def test_modifiers_make_new_values_and_commute() -> None:
    base = lehr.when(loss.reaches(0.5)).scale(0.5)
    assert base.rest(5).at_most(2) == base.at_most(2).rest(5)
    assert base.rest(5) != base
    assert hash(base.rest(5)) == hash(base.rest("5 steps"))
    assert repr(base) == "when(loss.reaches(0.5)).scale(0.5)"


def test_a_rule_needs_an_action_before_a_policy_takes_it() -> None:
    with pytest.raises(lehr.LehrError, match=r"add one, such as .scale\(0.5\)"):
        lehr.Policy(lehr.constant(), [lehr.when(loss.reaches(0.5))])


TEXTS = [
    "when(loss.reaches(0.5)).scale(0.5)",
    "when(loss.reaches(0.5)).saturate(0.5)",
    "when(loss.reaches(0.5)).saturate(0.5, eps=0.001)",
    "when(always()).relax(0.01)",
    "when(loss.diverges()).scale(0.1).after('10%').rest('2 epochs').at_most(3).every_time()",
    "when(metric('acc', best='max').plateaus(5) & loss.improves_less_than(0.01, '3 observations')).stop()",
    "when(loss.plateaus(3) | loss.diverges()).begin(linear('10%', to=0.1).then(hold())).at_most(2)",
]


@pytest.mark.parametrize("text", TEXTS)
def test_text_round_trip(text: str) -> None:
    rule = lehr.parse(text)
    assert lehr.parse(repr(rule)) == rule
    assert lehr.parse(rule.text(full=True)) == rule
    assert "eps=1e-08" in rule.text(full=True) or "saturate(0.5)" not in text


REFUSED: list[tuple[str, Any, str]] = [
    ("truth", lambda: bool(low), "no truth value"),
    ("when a signal", lambda: lehr.when(loss), "trigger"),  # type: ignore[arg-type]
    ("when a text", lambda: lehr.when("loss < 1"), "trigger"),  # type: ignore[arg-type]
    ("at most zero", lambda: low.at_most(0), "at least 1"),
    ("at most in steps", lambda: low.at_most("3 steps"), "whole number"),  # type: ignore[arg-type]
    ("a negative rest", lambda: low.rest(-1), "0"),
    ("rest as a share", lambda: low.rest(0.1), "10%"),
    ("after a week", lambda: low.after("1 week"), "unit"),
]


@pytest.mark.parametrize(("make", "says"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refused(make: Any, says: str) -> None:
    with pytest.raises(lehr.LehrError, match=says):
        make()


def test_lengths_need_their_horizon() -> None:
    with pytest.raises(lehr.LehrError, match="steps_per_epoch"):
        low.rest("1 epoch").resolve(lehr.Horizon(steps=10))
