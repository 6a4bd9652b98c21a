"""Signals that say how far: `steers`, the action `follow`, the recipe `hypergradient`; and `spikes`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import lehr
from lehr.rules.trigger import Observation

alignment = lehr.metric("alignment", best="max")
norm = lehr.metric("norm", best="min")


def lrs_of(policy: Any, values: list[float], lr: float | list[float] = 0.1) -> list[list[float]]:
    """The LRs after each reported alignment."""
    run, after = lehr.start(policy, lr=lr, steps=len(values) + 1), []
    for value in values:
        run.step(alignment=value)
        after.append(run.lrs)
    return after


def test_following_is_the_product_of_one_plus_rate_times_the_value_for_every_group() -> None:
    values = [float(v) for v in np.random.default_rng(0).uniform(-1, 1, 50)]
    gains = np.cumprod(1 + 0.1 * np.array(values))
    policy = lehr.when(alignment.steers(0.1)).follow()
    expected = np.outer(gains, [0.1, 3.0])
    assert np.asarray(lrs_of(policy, values, [0.1, 3.0])) == pytest.approx(expected, rel=1e-12)


def test_the_recipe_raises_only_up_to_the_schedule_unless_asked() -> None:
    up, down = [1.0] * 40, [-1.0] * 400
    assert lrs_of(lehr.hypergradient(0.1), up)[-1] == [0.1]
    assert lrs_of(lehr.hypergradient(0.1, high=3.0), up)[-1] == pytest.approx([0.3], rel=1e-12)
    assert lrs_of(lehr.hypergradient(0.1, low=0.2), down)[-1] == pytest.approx([0.02], rel=1e-12)
    back = lrs_of(lehr.hypergradient(0.1), [-1.0] * 3 + [1.0] * 40)
    assert back[2] == pytest.approx([0.1 * 0.9**3], rel=1e-12)
    assert back[-1] == [0.1]  # what was cut may come back


def test_values_that_say_nothing_change_nothing_and_wild_ones_count_as_one() -> None:
    policy = lehr.when(alignment.steers(0.5)).follow()
    run = lehr.start(policy, lr=1.0, steps=10)
    for value in (0.0, math.nan, math.inf):
        run.step(alignment=value)
    assert run.lr == 1.0
    assert not [event for event in run.events if event.kind == "rule"]
    assert lrs_of(policy, [1e9, -1e9], 1.0) == [[1.5], [0.75]]


def test_the_rule_follows_the_explicit_hypergradient_on_a_quadratic() -> None:
    """From an LR 100 times too small, LR and parameters as in a loop written out; it gets further than without."""
    curvature = np.array([1.0, 0.3])

    def descend(rate: float) -> tuple[float, float]:
        run = lehr.start(lehr.hypergradient(rate, high=1000), lr=0.005, steps=100)
        theta, gain, last = np.array([3.0, -2.0]), 1.0, np.zeros(2)
        for _ in range(80):
            gradient = curvature * theta
            size = float(np.linalg.norm(gradient) * np.linalg.norm(last))
            cosine = float(-gradient @ last) / size if size else 0.0
            assert run.lr == pytest.approx(0.005 * gain, rel=1e-9)
            last = -run.lr * gradient
            theta = theta + last
            run.step(alignment=cosine)
            gain *= 1 + rate * cosine
        return gain, float(curvature @ theta**2) / 2

    gain, after = descend(0.05)
    assert gain > 10
    assert after < 0.1 * descend(1e-9)[1]


def test_a_smoothed_signal_steers_by_its_mean() -> None:
    policy = lehr.when(alignment.smoothed(3).steers(0.1)).follow()
    means, mean, weight = [], 0.0, 0.0
    for value in (1.0, -1.0, 0.5):
        mean, weight = 0.5 * mean + 0.5 * value, 0.5 * weight + 0.5
        means.append(mean / weight)
    expected = [[0.1 * k] for k in np.cumprod([1 + 0.1 * v for v in means])]
    assert np.asarray(lrs_of(policy, [1.0, -1.0, 0.5])) == pytest.approx(np.asarray(expected), rel=1e-12)


def test_the_journal_counts_a_row_of_changes_as_one_event() -> None:
    run = lehr.start(lehr.hypergradient(0.1), lr=0.1, steps=50)
    for _ in range(20):
        run.step(alignment=-0.5)
    (event,) = [event for event in run.events if event.kind == "rule"]
    assert event.times == 20
    assert "asks for 0.95 times the LR" in event.words


def spiked(values: list[float], **options: Any) -> list[int]:
    rule = lehr.when(norm.spikes(**options), shadow=True).scale(0.5)
    state, fired = rule.init(), []
    for step, value in enumerate(values):
        state, heard = rule.update(state, Observation(step, {"norm": value}, True))
        fired += [step] if heard is not None and heard.fires else []
    return fired


def spikes_loop(values: list[float], by: float, span: int) -> list[int]:
    """A weighted mean and variance of the logarithm, the weights written out for each value."""
    heard: list[float] = []
    weights = np.zeros(0)
    fired, spike = [], False
    for i, value in enumerate(values):
        x, before = math.log(value), spike
        if len(heard) >= span:
            mean = float(np.average(heard, weights=weights))
            spread = max(math.sqrt(np.average((np.array(heard) - mean) ** 2, weights=weights)), 0.01)
            spike = x - mean > by * spread
            fired += [i] if spike and not before else []  # once for a row of them
            x = min(max(x, mean - by * spread), mean + by * spread)
        share = max(1 / (len(heard) + 1), 2 / (span + 1))
        heard, weights = [*heard, x], np.append(weights * (1 - share), share)
    return fired


@pytest.mark.parametrize(("by", "span"), [(6.0, 50), (3.0, 50), (3.0, 10)])
def test_spikes_are_what_lies_far_from_the_weighted_mean_of_logarithms(by: float, span: int) -> None:
    rng = np.random.default_rng(2)
    values = np.exp(0.2 * rng.standard_normal(300) + np.linspace(1, -1, 300))
    values[[20, 50, 120, 200, 201]] *= 30
    found = spiked([float(v) for v in values], by=by, span=span)
    assert found == spikes_loop([float(v) for v in values], by, span)
    assert {50, 120, 200} <= set(found)
    assert not {20, 201} & set(found) or span < 20  # too early; the second of a row


def test_a_quiet_norm_never_spikes_whatever_its_scale() -> None:
    rng = np.random.default_rng(3)
    values = np.exp(0.3 * rng.standard_normal(5000))
    for scale in (1e-8, 1.0, 1e8):
        assert spiked([float(v) for v in scale * values]) == []
    assert spiked([1.0] * 300 + [1.05, 1.07, 1.0, 1.2]) == [301, 303]  # a spread of nothing counts as 1 %


REFUSED: list[tuple[Any, str]] = [
    (lambda: alignment.steers(1.0), "between 0 and 1"),
    (lambda: lehr.hypergradient(0.0), "between 0 and 1"),
    (lambda: lehr.hypergradient(0.1, signal="alignment"), "signal"),  # type: ignore[arg-type]
    (lambda: lehr.hypergradient(0.1, low=2), "low < high"),
    (lambda: lehr.when(alignment.reaches(0.5)).follow(), "how far"),
    (lambda: lehr.when(alignment.steers(0.1) & lehr.loss.reaches(1)).follow(), "how far"),
    (lambda: norm.spikes(by=0), "positive"),
    (lambda: norm.spikes(span=1), "at least 2"),
]


@pytest.mark.parametrize(("make", "says"), REFUSED)
def test_refused(make: Any, says: str) -> None:
    with pytest.raises(lehr.LehrError, match=says):
        make()


TEXTS = [
    "when(metric('alignment', best='max').steers(0.02)).follow().within(0.01, 1)",
    "when(metric('grad_norm', best='min').spikes(8, span=50), shadow=True).scale(0.5)",
]


@pytest.mark.parametrize("text", TEXTS)
def test_texts_read_back(text: str) -> None:
    assert repr(lehr.parse(text)) == text
    assert lehr.parse(lehr.parse(text).text(full=True)) == lehr.parse(text)


def test_the_recipe_is_read_from_a_text() -> None:
    assert lehr.parse("hypergradient(0.05, high=10)") == lehr.hypergradient(0.05, high=10)
