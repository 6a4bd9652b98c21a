"""Thresholds, states of the evaluated model, their joins and opposites, ladders: against cases made by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest

import lehr
from lehr.rules.trigger import Observation, Trigger

ACCURACY = lehr.metric("accuracy", best="max")
ERROR = lehr.metric("error", best="min")
NAN = math.nan


def fired(rule: Any, reports: Iterable[dict[str, float]]) -> list[int]:
    """The updates at which the rule fires."""
    rule = rule if isinstance(rule, lehr.Rule) else lehr.when(rule).scale(0.5)
    state, steps = rule.init(), []
    for t, numbers in enumerate(reports):
        state, heard = rule.update(state, Observation(t, numbers, True))
        steps += [t] if heard is not None and heard.fires else []
    return steps


def of(name: str, values: Sequence[float | None]) -> list[dict[str, float]]:
    return [{} if value is None else {name: value} for value in values]


def holds(trigger: Trigger, reports: Iterable[dict[str, float]]) -> list[bool]:
    state, found = trigger.init(), []
    for t, numbers in enumerate(reports):
        state, reading = trigger.update(state, Observation(t, numbers, True))
        found.append(reading.holds)
    return found


# at_least


@pytest.mark.parametrize(
    ("values", "steps"),
    [
        ([0.5, 0.89, 0.9], [2]),
        ([0.9, 0.95, 0.99], [0]),
        ([0.9, 0.8, 0.95, 0.95, 0.1, 0.9], [0, 2, 5]),
        ([0.9, NAN, math.inf, -math.inf, 0.95, 0.8, 0.9], [0, 6]),
        ([NAN, None, None], []),
    ],
)
def test_at_least_fires_each_time_that_it_comes_to_be_so(values: list[float], steps: list[int]) -> None:
    assert fired(ACCURACY.at_least(0.9), of("accuracy", values)) == steps
    turned = [None if value is None else -value for value in values]
    assert fired(ERROR.at_least(-0.9), of("error", turned)) == steps


def test_a_state_goes_on_when_the_event_it_is_joined_with_has_been_acted_on() -> None:
    """The loss stands; each fourth value after the first is a plateau of three, and each is acted on."""
    reports = [{"loss": 1.0, "accuracy": 0.6} for _ in range(16)]
    alone = fired(lehr.loss.plateaus(3), reports)
    assert alone == [4, 9, 14]
    assert fired(lehr.loss.plateaus(3) & ACCURACY.at_least(0.5), reports) == alone
    assert fired(ACCURACY.at_least(0.5) & lehr.loss.plateaus(3), reports) == alone
    assert fired(lehr.loss.plateaus(3) & ~ACCURACY.at_least(0.9), reports) == alone
    assert fired(lehr.loss.plateaus(3) & ACCURACY.within_best(0.1), reports) == alone
    assert fired(lehr.loss.plateaus(3) & ACCURACY.at_least(0.7), reports) == []


def test_two_states_fire_each_time_that_they_come_to_be_so_together() -> None:
    both = ACCURACY.at_least(0.5) & ERROR.at_least(0.2)
    pairs = [(0.6, 0.9), (0.6, 0.1), (0.7, 0.1), (0.4, 0.1), (0.6, 0.1), (0.6, 0.3), (0.6, 0.2)]
    assert fired(both, [{"accuracy": a, "error": e} for a, e in pairs]) == [1, 4, 6]


# ~


def test_the_opposite_stands_until_the_trigger_looks_again() -> None:
    reports = [{"loss": 1.0, **({"accuracy": 0.5} if t == 0 else {})} for t in range(6)]
    assert fired(lehr.loss.plateaus(3) & ~ACCURACY.at_least(0.9), reports) == [4]
    assert fired(lehr.loss.plateaus(3) & ~ACCURACY.at_least(0.9), reports[1:]) == [], "it has never looked"


def test_the_opposite_fires_once_and_again_after_the_trigger_has_held() -> None:
    assert fired(~ACCURACY.at_least(0.9), of("accuracy", [0.5, 0.6, NAN, 0.95, 0.7, 0.7])) == [0, 4]


def test_the_opposite_of_a_join_holds_where_the_join_does_not() -> None:
    a, b = ACCURACY.at_least(0.5), ERROR.at_least(0.5)
    reports = [{"accuracy": x, "error": y} for x in (0.4, 0.6) for y in (0.4, 0.6)]
    truth = [(report["accuracy"] >= 0.5, report["error"] <= 0.5) for report in reports]
    assert holds(~(a | b), reports) == [not (x or y) for x, y in truth]
    assert holds(~(a & b), reports) == [not (x and y) for x, y in truth]
    assert holds(~~a, reports) == [x for x, _ in truth]


def test_the_opposite_of_undecided_is_undecided() -> None:
    """After 24 values the noise is as large as the signal; later the signal improves beyond doubt."""
    trigger = ~lehr.loss.improves_less_than(0.01, over=50)
    random = np.random.default_rng(0)
    vague = of("loss", (10 + 3 * random.standard_normal(60)).tolist())
    assert fired(trigger, vague) == []
    clear = of("loss", (10 - 0.1 * np.arange(60) + 0.01 * random.standard_normal(60)).tolist())
    assert len(fired(trigger, clear)) == 1


def test_a_verdict_of_one_side_is_not_taken_for_that_of_a_join() -> None:
    """The accuracy makes the rule fire while the loss is undecided."""
    random = np.random.default_rng(0)
    rule = lehr.when(lehr.loss.improves_less_than(0.01, over=50) | ACCURACY.reaches(0.9)).scale(0.5)
    run = lehr.start(lehr.Policy(lehr.constant(), [rule]), lr=0.1, steps=60)
    for t in range(40):
        run.step(loss=float(10 + 3 * random.standard_normal()), accuracy=0.95 if t == 30 else 0.5)
    kinds = [(event.kind, event.verdict) for event in run.events]
    assert ("verdict", "undecided") in kinds
    assert ("rule", "") in kinds
    assert ("rule", "undecided") not in kinds


# within_best


def test_within_best_is_left_by_a_fall_that_is_no_noise_and_that_lasts() -> None:
    values = [0.8, 0.9] * 2 + [0.9] * 12
    assert fired(~ACCURACY.within_best(0.05), of("accuracy", [*values, 0.5, 0.9, 0.5])) == []
    assert fired(~ACCURACY.within_best(0.05), of("accuracy", [*values, 0.5, 0.5, 0.5])) == [17]
    assert fired(~ACCURACY.within_best(0.05, sustained=1), of("accuracy", [*values, 0.5, 0.5])) == [16]
    assert fired(~ACCURACY.within_best(0.5), of("accuracy", [*values, 0.5, 0.5, 0.5])) == []
    assert fired(~ERROR.within_best(0.05), of("error", [1.0] * 16 + [1.06] * 2)) == [17]
    assert fired(~ERROR.within_best(0.05), of("error", [1.0] * 16 + [1.04] * 2)) == []


def test_within_best_fires_once_while_it_lasts() -> None:
    values = [0.9] * 12 + [0.5] * 2 + [0.9] * 3
    assert fired(ACCURACY.within_best(0.05), of("accuracy", values)) == [0, 14]


def test_nothing_is_within_its_best_before_anything_was_seen() -> None:
    assert holds(ACCURACY.within_best(0.05), of("accuracy", [None, NAN, 0.5])) == [False, False, True]


# reaches


def test_sustained_takes_so_many_in_a_row_on_both_sides_of_the_hysteresis() -> None:
    trigger = ACCURACY.reaches(0.9, rearm=0.8, sustained=2)
    values = [0.9, 0.1, 0.9, 0.95, 0.7, 0.9, 0.9, 0.7, 0.7, 0.95, 0.95]
    assert fired(trigger, of("accuracy", values)) == [3, 10], "one value below 0.8 is not enough to arm it again"


def test_with_confidence_one_bad_value_does_not_arm_it_again() -> None:
    high = [0.95 + 0.001 * math.sin(9 * i) for i in range(60)]
    trigger = ACCURACY.reaches(0.9, rearm=0.8, confidence=0.9)
    once = fired(trigger, of("accuracy", high))
    assert len(once) == 1
    assert fired(trigger, of("accuracy", [*high[:40], 0.5, *high[40:]])) == once
    low = [0.5 + 0.001 * math.sin(9 * i) for i in range(60)]
    again = fired(trigger, of("accuracy", [*high, *low, *high]))
    assert len(again) == 2
    assert again[1] > 120


def noise(runs: int, steps: int, rho: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Autoregressive noise of standard deviation 1, a row a run."""
    random = np.random.default_rng(11)
    values = random.standard_normal((steps, runs))
    for t in range(1, steps):
        values[t] = rho * values[t - 1] + math.sqrt(1 - rho**2) * values[t]
    return values.T


def share_of_runs(trigger: Trigger, values: np.ndarray[Any, Any]) -> float:
    return float(np.mean([bool(fired(trigger, of("accuracy", run.tolist()))) for run in values]))


RUNS = 50
SLACK = 1.64 * math.sqrt(0.1 * 0.9 / RUNS)  # of a share of 10 %, one-sided 95 %


@pytest.mark.parametrize("rho", [0.0, 0.8])
def test_a_level_just_below_is_taken_for_the_threshold_in_no_more_runs_than_said(rho: float) -> None:
    below = 0.8999 + 0.02 * noise(RUNS, 200, rho)
    assert share_of_runs(ACCURACY.reaches(0.9, confidence=0.9), below) <= 0.1 + SLACK


def test_without_confidence_it_is_taken_for_it_nearly_always() -> None:
    assert share_of_runs(ACCURACY.reaches(0.9), 0.8999 + 0.02 * noise(RUNS, 200, 0.0)) == 1
    assert share_of_runs(ACCURACY.reaches(0.9, sustained=2), 0.8999 + 0.02 * noise(RUNS, 200, 0.0)) > 0.9


def test_a_level_above_is_seen() -> None:
    assert share_of_runs(ACCURACY.reaches(0.9, confidence=0.9), 0.94 + 0.02 * noise(40, 100, 0.0)) == 1


@pytest.mark.parametrize("rho", [0.0, 0.8])
def test_noise_about_a_level_is_no_fall_from_the_best(rho: float) -> None:
    steady = 0.9 + 0.02 * noise(RUNS, 80, rho)
    assert share_of_runs(~ACCURACY.within_best(0.0), steady) <= 0.05 + SLACK
    fallen = steady.copy()
    fallen[:, 60:] -= 0.5
    assert share_of_runs(~ACCURACY.within_best(0.0), fallen) > 0.9


# Ladders


def gain_after(values: Sequence[float], **how: Any) -> float:
    rules = lehr.ladder(ACCURACY, {0.90: 0.5, 0.95: 0.1}, **how)
    run = lehr.start(lehr.Policy(lehr.constant(), rules), lr=1.0, steps=len(values) + 1)
    for value in values:
        run.step(accuracy=value)
    return run.lr


@pytest.mark.parametrize(
    ("values", "gain"),
    [([0.8], 1.0), ([0.9], 0.5), ([0.9, 0.8, 0.92], 0.5), ([0.9, 0.95], 0.1), ([0.96], 0.1), ([0.96, 0.2, 0.99], 0.1)],
)
def test_a_ladder_ends_at_the_factor_of_the_best_rung_reached(values: list[float], gain: float) -> None:
    assert gain_after(values) == pytest.approx(gain, rel=1e-12)
    doubled = [value for value in values for _ in range(2)]
    assert gain_after(doubled, sustained=2) == pytest.approx(gain, rel=1e-12)


@pytest.mark.parametrize(
    ("rungs", "how", "said"),
    [
        ({}, {}, "threshold → factor"),
        ({0.95: 0.5, 0.9: 0.1}, {}, "from worse to better"),
        ({0.9: 0.1, 0.95: 0.5}, {}, "must fall"),
        ({0.9: 0.5, 0.95: 0.0}, {}, "positive"),
        ({0.9: 0.5}, {"rearm": 0.8}, "takes no rearm="),
    ],
)
def test_a_ladder_that_cannot_be_is_refused(rungs: dict[float, float], how: dict[str, float], said: str) -> None:
    with pytest.raises(lehr.LehrError, match=said):
        lehr.ladder(ACCURACY, rungs, **how)


# Resume


@pytest.mark.parametrize(
    "text",
    [
        "when(loss.plateaus(3) & ~metric('accuracy', best='max').at_least(0.9)).scale(0.5)",
        "when(metric('accuracy', best='max').at_least(0.4) & loss.at_least(2)).scale(0.5)",
        "when(metric('accuracy', best='max').reaches(0.6, rearm=0.4, confidence=0.9)).scale(0.5)",
        "when(metric('accuracy', best='max').reaches(0.6, rearm=0.4, sustained=3)).scale(0.5)",
        "when(~metric('accuracy', best='max').within_best(0.1)).scale(0.5)",
    ],
)
def test_a_resume_in_the_middle_goes_on_bit_by_bit(text: str) -> None:
    policy = lehr.Policy(lehr.constant(), [lehr.parse(text)])
    values = (np.repeat([0.8, 0.3, 0.8], 40) + 0.02 * noise(1, 120, 0.0)[0]).tolist()
    whole = lehr.start(policy, lr=0.1, steps=121)
    lrs, states = [], []
    for t, value in enumerate(values):
        states.append(json.dumps(whole.state_dict(), allow_nan=False))
        whole.step(loss=1.0, accuracy=value) if t % 3 else whole.step(loss=1.0)
        lrs.append(whole.lr)
    assert lrs[-1] < 0.1
    for cut in range(0, 120, 17):
        again = lehr.start(policy, lr=0.1, steps=121)
        again.load_state_dict(json.loads(states[cut]))
        for t in range(cut, 120):
            again.step(loss=1.0, accuracy=values[t]) if t % 3 else again.step(loss=1.0)
            assert again.lr == lrs[t]
