"""Triggers, one transition at a time; evidence of `improves_less_than` against windows cut by hand."""

from __future__ import annotations

import copy
import json
import math
import random
from collections.abc import Iterable
from typing import Any

import pytest

import lehr
from lehr.rules.improves import LessState
from lehr.rules.reaches import ReachesState
from lehr.rules.trigger import Observation, Reading, Smooth, Trigger

loss = lehr.loss
acc = lehr.metric("accuracy", best="max")
NAN, INF = math.nan, math.inf


def verdicts(trigger: Trigger, values: Iterable[Any], name: str = "loss", every: int = 1) -> str:
    """`!` where the trigger holds at a look, `.` where it looks in vain, ` ` where it does not look; no rule fires."""
    state, line = trigger.init(), ""
    for i, value in enumerate(values):
        numbers = {} if value is None else {name: value}
        state, reading = trigger.update(state, Observation(i * every, numbers, True))
        line += " " if not reading.fresh else "!" if reading.holds else "."
    return line


def firings(rule: lehr.Rule, values: Iterable[Any], name: str = "loss", every: int = 1) -> list[int]:
    """The steps at which the rule fires."""
    state, fired = rule.init(), []
    for i, value in enumerate(values):
        numbers = {} if value is None else {name: value}
        state, heard = rule.update(state, Observation(i * every, numbers, True))
        if heard is not None:
            fired.append(i * every)
    return fired


# improves_less_than

WINDOWS: list[tuple[str, Trigger, list[Any], int, str]] = [
    ("looks when the second window is full", loss.improves_less_than(0.1, 2, test="means"), [4, 4, 4, 4], 1, " . !"),
    ("a fast fall", loss.improves_less_than(0.1, 2, test="means"), [4, 4, 3, 3], 1, " . ."),
    ("exactly the share is enough", loss.improves_less_than(0.25, 2, test="means"), [4, 4, 3, 3], 1, " . ."),
    ("a rise is a negative improvement", loss.improves_less_than(0.0, 1, test="means"), [1, 2], 1, ".!"),
    ("equal is enough for zero", loss.improves_less_than(0.0, 1, test="means"), [1, 1], 1, ".."),
    ("negative values fall fast", loss.improves_less_than(0.1, 1, test="means"), [-1, -2], 1, ".."),
    ("negative values rise", loss.improves_less_than(0.1, 1, test="means"), [-2, -1], 1, ".!"),
    ("negative values fall slowly", loss.improves_less_than(0.1, 1, test="means"), [-100, -101], 1, ".!"),
    ("from zero down is any share", loss.improves_less_than(0.9, 1, test="means"), [0, -1], 1, ".."),
    ("from zero up", loss.improves_less_than(0.1, 1, test="means"), [0, 1], 1, ".!"),
    ("at zero", loss.improves_less_than(0.1, 1, test="means"), [0, 0], 1, ".!"),
    (
        "what is not finite is left out",
        loss.improves_less_than(0.1, 2, test="means"),
        [4, NAN, 4, INF, 3, 3],
        1,
        "  . !.",
    ),
    (
        "what is not reported",
        loss.improves_less_than(0.1, "2 observations", test="means"),
        [4, None, 4, None, 4, 4],
        1,
        "  .  !",
    ),
    ("in observations", loss.improves_less_than(0.1, "2 observations", test="means"), [4, 4, 4, 4], 50, " . !"),
    (
        "a window ends without an observation at its end",
        loss.improves_less_than(0.1, 10, test="means"),
        [4, 4, 4, 4, 4],
        6,
        "  . !",
    ),
    (
        "seldom seen, each is compared with the one before when the next comes",
        loss.improves_less_than(0.1, 10, test="means"),
        [4, 4, 2, 2],
        25,
        " .!.",
    ),
]


@pytest.mark.parametrize(("trigger", "values", "every", "line"), [r[1:] for r in WINDOWS], ids=[r[0] for r in WINDOWS])
def test_improves_less_than(trigger: Trigger, values: list[Any], every: int, line: str) -> None:
    assert verdicts(trigger, values, every=every) == line


def test_improvement_of_a_metric_is_a_rise() -> None:
    assert verdicts(acc.improves_less_than(0.1, 1, test="means"), [0.5, 0.6, 0.6], "accuracy") == "..!"


def test_one_transition_in_full() -> None:
    state = LessState(Smooth(), begin=10, total=6.0, heard=2, before=4.0, holds=False, words="")
    after, reading = loss.improves_less_than(0.5, 3, test="means").update(state, Observation(12, {"loss": 3.0}, True))
    words = "loss improved 25 % over 3 steps, less than 50 % (mean 4 → 3)"
    assert after == LessState(Smooth(), begin=13, total=0.0, heard=0, before=3.0, holds=True, words=words)
    assert reading == Reading(True, True, words)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("window", [1, 3, 10])
def test_dense_windows_are_means_side_by_side(seed: int, window: int) -> None:
    rng = random.Random(seed)
    values = [rng.gauss(3, 1) for _ in range(60)]
    means = [math.fsum(values[i : i + window]) / window for i in range(0, 60 - window + 1, window)]
    slow = [(k + 1) * window - 1 for k in range(1, len(means)) if (means[k - 1] - means[k]) / abs(means[k - 1]) < 0.05]
    line = verdicts(loss.improves_less_than(0.05, window, test="means"), values)
    assert [step for step, mark in enumerate(line) if mark == "!"] == slow


def test_the_evidence_is_forgotten_after_firing() -> None:
    rule = lehr.when(loss.improves_less_than(0.1, 5, test="means")).scale(0.5)
    assert firings(rule, [1.0] * 40) == [9, 19, 29, 39]  # two new windows each time
    assert firings(rule.every_time(), [1.0] * 40) == [9, 14, 19, 24, 29, 34, 39]  # the literal reading


def test_after_a_gap_windows_are_whole_again() -> None:
    """Windows without any observation are passed over; dense values after a gap fill whole windows."""
    trigger, state, looks = loss.improves_less_than(0.5, 10, test="means"), None, []
    state = trigger.init()
    for step in [0, 1, *range(1000, 1040)]:
        state, reading = trigger.update(state, Observation(step, {"loss": 1.0}, True))
        looks += [step] if reading.fresh else []
    assert looks == [1000, 1009, 1019, 1029, 1039]


def test_a_late_verdict_is_not_covered_up() -> None:
    """The window that ended in a gap is compared, though the value after the gap fills a window of its own."""
    trigger = loss.improves_less_than(0.5, 10, test="means")
    state = trigger.init()
    for step in range(10):
        state, _ = trigger.update(state, Observation(step, {"loss": 4.0}, True))
    for step in (10, 11):
        state, reading = trigger.update(state, Observation(step, {"loss": 4.0}, True))
        assert not reading.fresh
    _, reading = trigger.update(state, Observation(29, {"loss": 1.0}, True))
    assert reading.holds
    assert reading.words == "loss improved 0 % over 10 steps, less than 50 % (mean 4 → 4)"


# reaches


@pytest.mark.parametrize(
    ("trigger", "values", "fired"),
    [
        (loss.reaches(0.5), [1, 0.6, 0.5, 0.4], [2]),
        (loss.reaches(-1.0), [0, -0.5, -1.5], [2]),
        (loss.reaches(0.5), [NAN, -INF, 0.4], [2]),  # not finite: neither reached nor not
        (loss.reaches(0.5, rearm=1.0), [0.4, 0.8, 0.4, 1.0, 0.4, 1.1, 0.4], [0, 6]),
        (loss.reaches(0.5, rearm=1.0), [0.4, NAN, INF, 0.4], [0]),
    ],
)
def test_reaches_is_latched(trigger: Trigger, values: list[float], fired: list[int]) -> None:
    assert firings(lehr.when(trigger).scale(0.5), values) == fired


def test_reaches_of_a_metric_is_from_below_and_at_every_time_when_literal() -> None:
    rule = lehr.when(acc.reaches(0.9)).scale(0.5)
    values = [0.8, 0.9, 0.95, 0.7, 0.91]
    assert firings(rule, values, "accuracy") == [1]
    assert firings(rule.every_time(), values, "accuracy") == [1, 2, 4]


def test_reaches_one_transition_in_full() -> None:
    before = ReachesState(Smooth(), holds=False, latched=True, words="")
    after, reading = loss.reaches(0.5, rearm=1.0).update(before, Observation(3, {"loss": 1.5}, True))
    assert (after, reading) == (ReachesState(Smooth(), False, False, ""), Reading(False, True, ""))


# diverges


def test_diverges_fires_once_for_each_row_of_values_that_are_not_finite() -> None:
    rule = lehr.when(loss.diverges()).scale(0.1)
    values = [1.0, NAN, INF, -INF, 1.0, 1e300, -INF, 2.0]
    assert firings(rule, values) == [1, 6]
    assert firings(rule.every_time(), values) == [1, 2, 3, 6]


# joined


def test_and_joins_a_standing_verdict_with_a_fresh_one() -> None:
    both = acc.reaches(0.9) & loss.improves_less_than(0.1, 2, test="means")
    rule, fired = lehr.when(both).scale(0.5), []
    state = rule.init()
    for step in range(12):
        numbers = {"loss": 1.0} | ({"accuracy": 0.95} if step == 5 else {})
        state, heard = rule.update(state, Observation(step, numbers, True))
        fired += [(step, heard.words)] if heard else []
    flat = "loss improved 0 % over 2 steps, less than 10 % (mean 1 → 1)"
    assert fired == [(5, f"accuracy 0.95 reached 0.9 and {flat}")]


def test_or_fires_for_either_and_does_not_repeat_a_standing_verdict() -> None:
    either = loss.reaches(0.5) | acc.reaches(0.9)
    state, marks = either.init(), ""
    for numbers in ({"loss": 0.4}, {"accuracy": 0.1}, {"accuracy": 0.95}):
        state, reading = either.update(state, Observation(0, numbers, True))
        marks += "!" if reading.holds and reading.fresh else "."
    assert marks == "!.!"


def test_or_leaves_the_latch_of_the_other_trigger_open() -> None:
    """What has not held is not spent: a reached accuracy must not hide a later divergence, or another threshold."""
    rule = lehr.when(acc.reaches(0.9) | loss.diverges() | loss.reaches(0.5)).scale(0.5)
    state, fired = rule.init(), []
    seen = [
        {"accuracy": 0.95, "loss": 1.0},
        {"loss": NAN},
        {"loss": NAN},
        {"loss": 0.4},
        {"accuracy": 0.99, "loss": 0.3},
    ]
    for step, numbers in enumerate(seen):
        state, heard = rule.update(state, Observation(step, numbers, True))
        fired += [step] if heard else []
    assert fired == [0, 1, 3]


def test_always_holds_after_every_applied_update_whatever_is_reported() -> None:
    for trigger in (lehr.always(), lehr.always() | loss.reaches(0.1)):
        rule = lehr.when(trigger).relax(0.1)
        state, fired = rule.init(), []
        for step, (numbers, applied) in enumerate(
            [({}, True), ({"x": 1.0}, False), ({}, False), ({"loss": 2.0}, True)]
        ):
            state, heard = rule.update(state, Observation(step, numbers, applied))
            fired += [step] if heard else []
        assert fired == [0, 3]


# common to all

EVERY = [
    "loss.improves_less_than(0.01, '5 observations', test='means')",
    "loss.smoothed(3).improves_less_than(0.01, 4, test='means')",
    "loss.reaches(0.5, rearm=0.7)",
    "loss.plateaus(1)",
    "loss.plateaus(1, margin=0.01, flavor='keras')",
    "loss.plateaus(1, flavor='torch')",
    "loss.plateaus(1, flavor='optax')",
    "loss.diverges()",
    "always()",
    "loss.reaches(0.5) & loss.plateaus(1) | loss.diverges()",
    "(loss.reaches(0.5) | loss.plateaus(1)) & loss.diverges()",
    "loss.reaches(0.5) & (loss.reaches(0.4) & loss.reaches(0.3))",
    "loss.reaches(0.5) | (loss.reaches(0.4) | loss.reaches(0.3))",
]


@pytest.mark.parametrize("text", EVERY)
def test_text_round_trip(text: str) -> None:
    trigger = lehr.parse(text)
    assert repr(trigger) == text
    assert lehr.parse(trigger.text(full=True)) == trigger
    assert trigger.text(full=True) == lehr.parse(trigger.text(full=True)).text(full=True)


@pytest.mark.parametrize("text", EVERY)
def test_transitions_are_pure(text: str) -> None:
    trigger: Trigger = lehr.parse(text)
    state = trigger.init()
    for step, value in enumerate([1.0, 1.0, NAN, 0.6, 0.6, INF, 0.4, 0.4, 0.9, 0.9]):
        observation = Observation(step, {"loss": value}, True)
        kept, numbers = copy.deepcopy(state), dict(observation.numbers)
        first, second = trigger.update(state, observation), trigger.update(state, observation)
        assert repr(first) == repr(second)
        assert state == kept
        assert repr(observation.numbers) == repr(numbers)
        assert trigger.after_firing(first[0]) == trigger.after_firing(first[0])
        state = first[0]


@pytest.mark.parametrize("text", EVERY)
def test_what_is_not_finite_never_enters_the_memory(text: str) -> None:
    trigger: Trigger = lehr.parse(text)
    state = trigger.init()
    for step, value in enumerate([INF, NAN, -INF, 1.0, NAN, -INF, INF, 0.2, -INF]):
        state, _ = trigger.update(state, Observation(step, {"loss": value}, True))
        assert all(math.isfinite(item) for item in _numbers(state))


def _numbers(state: Any) -> list[float]:
    if isinstance(state, tuple):
        return [number for item in state for number in _numbers(item)]
    return [state] if isinstance(state, float) else []


REFUSED: list[tuple[str, Any, str]] = [
    ("percent", lambda: loss.improves_less_than(5, "200 steps", test="means"), "1 % is 0.01"),
    ("negative", lambda: loss.improves_less_than(-0.1, 200, test="means"), "share"),
    ("no window", lambda: loss.improves_less_than(0.1, 0, test="means"), "positive"),
    ("share as a window", lambda: loss.improves_less_than(0.1, 0.2, test="means"), "20%"),
    ("another test", lambda: loss.improves_less_than(0.1, 5, test="slope"), "means"),  # type: ignore[arg-type]
    ("NaN", lambda: loss.reaches(NAN), "finite"),
    ("a text", lambda: loss.reaches("0.5"), "finite"),  # type: ignore[arg-type]
    ("rearm on the wrong side", lambda: loss.reaches(0.5, rearm=0.4), "worse than"),
    ("rearm on the wrong side of a metric", lambda: acc.reaches(0.5, rearm=0.6), "worse than"),
    ("rearm equal", lambda: loss.reaches(0.5, rearm=0.5), "worse than"),
    ("fractional patience", lambda: loss.plateaus(2.5), "whole"),  # type: ignore[arg-type]
    ("margin in percent", lambda: loss.plateaus(3, margin=5), "1 % is 0.01"),
    ("unknown flavor", lambda: loss.plateaus(3, flavor="timm"), "'keras'"),  # type: ignore[arg-type]
    ("optax knows min only", lambda: acc.plateaus(3, flavor="optax"), "no best='max'"),
    ("and of Python", lambda: bool(loss.reaches(1) and acc.reaches(1)), "&"),
    ("not of Python", lambda: not loss.reaches(1), "&"),
    ("a signal in a join", lambda: loss.reaches(1) | acc, "triggers"),  # type: ignore[operator]
    ("a number in a join", lambda: loss.reaches(1) & 3, "triggers"),  # type: ignore[operator]
]


@pytest.mark.parametrize(("make", "says"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refused(make: Any, says: str) -> None:
    with pytest.raises(lehr.LehrError, match=says):
        make()


# Statistical sanity: fixed seeds, and one case that must fail


def share_of_windows(slope: float, seed: int, windows: int = 400, width: int = 20) -> float:
    """How often `improves_less_than(0.01)` holds, of all pairs of windows, on a noisy line."""
    rng = random.Random(seed)
    values = [10.0 - slope * i + rng.gauss(0, 0.5) for i in range(windows * width)]
    line = verdicts(loss.improves_less_than(0.01, width, test="means"), values)
    return line.count("!") / (line.count("!") + line.count(".") - 1)


def test_a_flat_noisy_loss_is_slow_in_half_of_the_windows_or_more() -> None:
    # The difference of two window means is symmetric about 0 on a flat loss, and 0 is less than 1 %.
    shares = [share_of_windows(0.0, seed) for seed in range(5)]
    assert min(shares) > 0.5
    assert max(shares) < 0.9  # and it is noise, not a rule that always fires


def test_a_steep_noisy_loss_is_never_slow() -> None:
    rng = random.Random(0)
    values = [10.0 * 0.99**i * (1 + rng.gauss(0, 0.02)) for i in range(800)]  # 18 % a window, noise of 0.4 % in a mean
    assert "!" not in verdicts(loss.improves_less_than(0.01, 20, test="means"), values)


def test_the_claim_about_flat_losses_fails_for_a_loss_that_falls() -> None:
    with pytest.raises(AssertionError):
        assert share_of_windows(0.02, 0, windows=20) > 0.5


def test_the_means_test_says_no_infinite_share_and_stays_finite() -> None:
    for values in ([0.0] * 4 + [1.0] * 4, [1e-300] * 4 + [1e300] * 4, [1.7e308] * 8):
        rule = lehr.when(lehr.loss.improves_less_than(0.01, over=4, test="means")).scale(0.5)
        run = lehr.start(lehr.Policy(lehr.constant(), [rule]), lr=0.1, steps=8)
        for value in values:
            run.step(loss=value)
            json.dumps(run.state_dict(), allow_nan=False)
        assert run.lr == 0.05
        assert "inf" not in str(run.events)
        assert "nan" not in str(run.events)
