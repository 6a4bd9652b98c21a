"""The gate: what no rule may do, whatever it reads, by properties over random rules and random signals."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import lehr
from lehr.rules.trend import LEAST

STEPS = 70
LOSS = (
    "improves_less_than(0.02, over=30)",
    "improves_less_than(0.05, over=8, test='means')",
    "plateaus(3)",
    "diverges()",
)
ACCURACY = ("reaches(0.7)", "reaches(0.6, rearm=0.4, sustained=2)", "reaches(0.6, confidence=0.8)", "at_least(0.5)")
ODD = (math.nan, math.inf, -math.inf, 0.0, -1.0, 1e308, -1e308, 5e-324)

triggers = st.recursive(
    st.one_of(
        st.sampled_from([f"loss.{t}" for t in LOSS]),
        st.sampled_from([f"loss.smoothed(4).{t}" for t in LOSS[:3]]),
        st.sampled_from([f"metric('accuracy', best='max').{t}" for t in (*ACCURACY, "within_best(0.1)")]),
    ),
    lambda inner: st.one_of(
        inner.map(lambda a: f"~({a})"),
        st.tuples(inner, st.sampled_from("&|"), inner).map(lambda t: f"({t[0]}) {t[1]} ({t[2]})"),
    ),
    max_leaves=3,
)
cuts = st.sampled_from([".scale(0.5)", ".scale(0.93)", ".relax(0.3)", ".saturate(0.7)", ".scale(0.2).rest(9)"])
modifiers = st.sampled_from(["", ".after(20)", ".at_most(2)", ".rest('4 observations')", ".within(0.3, 1)"])
rules = st.tuples(triggers, cuts, modifiers).map(lambda t: f"when({t[0]}){t[1]}{t[2]}")


@st.composite
def reports(draw: st.DrawFn) -> list[dict[str, Any]]:
    """A loss and an accuracy with noise, jumps, gaps and what no number should be."""
    random = np.random.default_rng(draw(st.integers(0, 2**31)))
    noise, fall = draw(st.sampled_from([0.0, 0.01, 0.5])), draw(st.sampled_from([0.0, 0.02, -0.02]))
    t = np.arange(STEPS)
    table = {
        "loss": 2 - fall * t + noise * random.standard_normal(STEPS),
        "accuracy": 0.5 + 0.3 * np.sin(t / draw(st.sampled_from([3, 9, 40]))) + noise * random.standard_normal(STEPS),
    }
    odd = draw(st.sampled_from([0.0, 0.1, 0.5]))
    gap = draw(st.sampled_from([0.0, 0.5]))
    rows = []
    for i in range(STEPS):
        row = {name: float(values[i]) for name, values in table.items() if random.random() >= gap}
        rows.append({n: float(random.choice(ODD)) if random.random() < odd else v for n, v in row.items()})
    return rows


def ran(
    texts: list[str], rows: list[dict[str, Any]], shadow: bool = False, twice: bool = False, **how: Any
) -> tuple[list[float], lehr.Controller]:
    """The LRs of a run, and the run."""
    named = [lehr.parse(text) for text in texts]
    made = [lehr.when(rule.trigger, shadow=True).scale(0.5) for rule in named] if shadow else named
    run = lehr.start(lehr.Policy(lehr.parse(how.pop("schedule", "constant()")), made, **how), lr=0.1, steps=STEPS + 1)
    lrs = []
    for row in rows:
        lrs.append(run.lr)
        for _ in range(2 if twice else 0):
            run.observe(**row)
        run.step(**({} if twice else row))
    return [*lrs, run.lr], run


some = st.lists(rules, min_size=1, max_size=2)
few = settings(max_examples=25)


@few
@given(some, reports(), st.sampled_from([0.5, 2.0]))
def test_the_lr_stays_within_its_bounds(texts: list[str], rows: list[dict[str, Any]], k: float) -> None:
    raising = [*texts, f"when(loss.plateaus(1)).scale({k})"]
    lrs, _ = ran(raising, rows, min_lr=0.03, max_lr=0.4)
    assert min(lrs) >= 0.03
    assert max(lrs) <= 0.4


@few
@given(some, reports())
def test_rules_that_cut_never_raise(texts: list[str], rows: list[dict[str, Any]]) -> None:
    lrs, run = ran(texts, rows)
    assert all(b <= a for a, b in itertools.pairwise(lrs))
    assert all(math.isfinite(lr) and lr > 0 for lr in lrs)
    json.dumps(run.state_dict(), allow_nan=False)
    for step in range(0, STEPS + 1, 23):
        assert run.why(step)


@few
@given(some, reports())
def test_undecided_never_acts(texts: list[str], rows: list[dict[str, Any]]) -> None:
    _, run = ran(texts, rows)
    assert all(event.verdict != "undecided" for event in run.events if event.kind == "rule")


@few
@given(some, reports())
def test_a_report_at_a_step_that_comes_twice_is_heard_once(texts: list[str], rows: list[dict[str, Any]]) -> None:
    """Of the same run one hears each number twice before the update, the other once with it."""
    loss_only = [{name: value for name, value in row.items() if name == "loss"} for row in rows]
    assert ran(texts, loss_only, twice=True)[0] == ran(texts, loss_only)[0]


@few
@given(some, reports())
def test_rules_sleep_in_the_leading_warm_up(texts: list[str], rows: list[dict[str, Any]]) -> None:
    lrs, run = ran(texts, rows, schedule="warmup(40).then(constant())")
    assert lrs[:40] == pytest.approx([0.1 * (t + 1) / 40 for t in range(40)], rel=1e-12)
    assert not [event for event in run.events if event.step <= 40 and event.kind != "warning"]


@few
@given(some, reports())
def test_a_shadow_changes_nothing(texts: list[str], rows: list[dict[str, Any]]) -> None:
    lrs, run = ran(texts, rows, shadow=True)
    assert set(lrs) == {0.1}
    assert {event.kind for event in run.events} <= {"shadow", "verdict", "warning"}
    acting = "when(loss.plateaus(2)).scale(0.5)"
    shadows = [lehr.when(lehr.parse(text).trigger, shadow=True).scale(0.5) for text in texts]
    both = lehr.start(lehr.Policy(lehr.constant(), [lehr.parse(acting), *shadows]), lr=0.1, steps=STEPS + 1)
    for row in rows:
        both.step(**row)
    assert both.lr == ran([acting], rows)[0][-1]


@few
@given(reports(), st.integers(2, 300), st.sampled_from([0.001, 0.1, 0.9]))
def test_an_action_of_the_trend_test_has_a_window_of_its_own(
    rows: list[dict[str, Any]], over: int, improvement: float
) -> None:
    _, run = ran([f"when(loss.improves_less_than({improvement}, over={over})).scale(0.9)"], rows * 4)
    steps = [step for event in run.events if event.kind == "rule" for step in range(event.step, event.end + 1)]
    bin_ = max(over // 64, 1)
    assert all(b - a >= LEAST * bin_ - bin_ + 1 for a, b in itertools.pairwise(steps))


def test_the_properties_above_see_rules_that_act() -> None:
    """Otherwise they would hold in vain."""
    rows = [{"loss": 1.0 + 0.01 * math.sin(9 * t), "accuracy": 0.9} for t in range(STEPS)]
    for text in (*(f"loss.{t}" for t in LOSS[:3]), *(f"metric('accuracy', best='max').{t}" for t in ACCURACY)):
        assert ran([f"when({text}).scale(0.5)"], rows)[0][-1] < 0.1, text
    many = [{"loss": row["loss"]} for row in rows] * 4
    _, run = ran(["when(loss.improves_less_than(0.1, over=30)).scale(0.9)"], many)
    assert sum(event.kind == "rule" for event in run.events) > 2
