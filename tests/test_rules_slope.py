"""`stalls`: dlib's slope test, against an independent regression on slices."""

from __future__ import annotations

import json
import math
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

import lehr
from lehr.rules.slope import chance_of_fall
from lehr.rules.trigger import Observation, Trigger

m = lehr.metric("m", best="min")
Values = np.ndarray[Any, np.dtype[np.float64]]


def probability(values: Values) -> float:
    """P(slope < 0) under a normal law, from NumPy's fit; `probability_gradient_less_than(0)` in dlib."""
    (slope, _), covariance = np.polyfit(np.arange(len(values)), values, 1, cov=True)
    return NormalDist().cdf(-float(slope) / math.sqrt(covariance[0, 0]))


def without_worst(values: Values, share: float) -> Values:
    """The values up to the upper quantile, found by position in the sorted list as dlib does."""
    place = int(np.floor((len(values) - 1) * (1 - share) + 0.5))
    return np.asarray(values[values <= np.partition(values, place)[place]])


def stalled(values: Values, share: float = 0.1, least: float = 0.51) -> bool:
    return probability(values) < least and probability(without_worst(values, share)) < least


def fired(trigger: Trigger, values: Any, every: int = 1, steps: int = 10**6) -> list[int]:
    rule = lehr.when(trigger).scale(0.5).resolve(lehr.Horizon(steps=steps))
    state, found = rule.init(), []
    for i, value in enumerate(values):
        state, heard = rule.update(state, Observation(i * every, {"m": float(value)}, True))
        found += [i * every] if heard is not None and heard.fires else []
    return found


def curve(seed: int, n: int, fall: float, noise: float, spikes: float = 0.0) -> Values:
    rng = np.random.default_rng(seed)
    values = 1 + np.exp(-fall * np.arange(n)) + noise * rng.standard_normal(n)
    return np.asarray(values + (rng.random(n) < spikes) * rng.exponential(2, n))


@pytest.mark.parametrize("n", [3, 4, 10, 500, 2000])
@pytest.mark.parametrize("fall", [0.0, 0.001, 0.1])
def test_the_chance_of_a_fall_is_that_of_a_regression_with_its_covariance(n: int, fall: float) -> None:
    for seed in range(10):
        values = curve(seed, n, fall, 0.1)
        assert chance_of_fall(values) == pytest.approx(probability(values), rel=1e-9, abs=1e-15)
        assert chance_of_fall(1e6 + values) == pytest.approx(probability(1e6 + values), rel=1e-4, abs=1e-9)


def test_without_any_noise_the_chance_is_a_half_or_certain() -> None:
    assert chance_of_fall(np.full(50, 0.1)) == 0.5
    assert chance_of_fall(np.arange(50.0)) < 1e-12
    assert chance_of_fall(-np.arange(50.0)) > 1 - 1e-12
    assert chance_of_fall(np.array([2.0, 1.0])) == 0.5  # two points say nothing of their noise


@pytest.mark.parametrize("fall", [0.0, 0.005, 0.05])
@pytest.mark.parametrize(("spikes", "window"), [(0.0, 60), (0.05, 60), (0.05, 65)])
def test_it_fires_exactly_where_a_regression_finds_no_fall_in_the_last_window(
    fall: float, spikes: float, window: int
) -> None:
    met: list[int] = []
    for seed in range(8):
        values = curve(seed, 400, fall, 0.05, spikes)
        expected, since, i = [], 0, window - 1
        while i < len(values):
            if i - since + 1 >= window and stalled(values[i + 1 - window : i + 1]):
                expected.append(i)
                since = i + 1 - window + math.ceil(0.3 * window)  # the oldest 30 % are forgotten
            i += 1
        length = f"{window} observations"
        assert fired(m.stalls(length), values) == expected, seed
        assert fired(lehr.metric("m", best="max").stalls(length), -values) == expected, seed
        met += expected
    assert met or fall == 0.005  # where it fires hardly ever, the agreement is on not firing


def test_a_steady_fall_never_stalls_and_a_standstill_does() -> None:
    falling = 10 - 0.01 * np.arange(900) + 0.05 * np.random.default_rng(0).standard_normal(900)
    assert fired(m.stalls("200 observations"), falling) == []
    assert fired(m.stalls("200 observations"), np.full(900, 3.0))[0] == 199


def test_a_late_burst_is_no_standstill_as_the_second_test_leaves_out_the_worst() -> None:
    values = 10 - 0.005 * np.arange(300.0)
    values[-15:] += 5.0
    assert probability(values[-200:]) < 0.51  # the plain test is deceived
    assert fired(m.stalls("200 observations"), values) == []
    assert fired(m.stalls("200 observations", discard=0), values) != []


@pytest.mark.parametrize(("forget", "again"), [(0.0, 201), (0.3, 259), (0.5, 299), (1.0, 399)])
def test_after_firing_the_oldest_share_is_forgotten_before_it_fires_again(forget: float, again: int) -> None:
    """A window of 200 is tested at every second value, so with nothing forgotten it fires again two later."""
    assert fired(m.stalls("200 observations", forget=forget), np.full(420, 1.0))[:2] == [199, again]


def test_a_window_in_steps_is_full_by_the_steps_whatever_the_number_of_reports() -> None:
    assert fired(m.stalls(150), np.full(100, 1.0), every=10)[0] == 150
    assert fired(m.stalls("10%"), np.full(100, 1.0), every=10, steps=1500)[0] == 150


def test_a_long_window_is_judged_by_the_means_of_at_most_2000_blocks() -> None:
    """10,000 steps are 2000 blocks of 5, tested after every 11 of them."""
    rng = np.random.default_rng(1)
    values = np.maximum(2 - np.arange(25_000) / 5000, 0.0) + 0.1 * rng.standard_normal(25_000)
    blocks = values.reshape(-1, 5).mean(axis=1)
    ends = range(55, 25_001, 55)
    expected = next(n - 1 for n in ends if n >= 10_000 and stalled(blocks[(n - 10_000) // 5 : n // 5]))
    rule = lehr.when(m.stalls(10_000)).scale(0.5).resolve(lehr.Horizon(steps=10**6))
    state, found = rule.init(), None
    for step, value in enumerate(values):
        state, heard = rule.update(state, Observation(step, {"m": float(value)}, True))
        assert len(state.trigger.means) <= 2000
        found = step if found is None and heard is not None and heard.fires else found
    assert found == expected
    assert expected > 15_000  # the fall ends at 10,000


def test_a_block_holds_the_reports_of_its_own_steps_only() -> None:
    """Blocks of 2 steps, a report every 3: each value stands alone."""
    rule = lehr.when(m.stalls(4000)).scale(0.5).resolve(lehr.Horizon(steps=10**6))
    state = rule.init()
    for i in range(30):
        state, _ = rule.update(state, Observation(3 * i, {"m": float(i)}, True))
    memory = state.trigger
    assert [*memory.means, *(mean for _, mean in memory.fresh), memory.total] == [float(i) for i in range(30)]


def test_values_that_are_not_finite_are_left_out() -> None:
    values = curve(3, 300, 0.0, 0.05)
    holes = [v for pair in zip(values, [math.nan, math.inf, -math.inf] * 100, strict=True) for v in pair]
    assert fired(m.stalls("60 observations"), holes) == [2 * i for i in fired(m.stalls("60 observations"), values)]


def test_a_resume_at_any_step_goes_on_the_same() -> None:
    policy = lehr.Policy(lehr.constant(), [lehr.when(m.stalls("40 observations")).scale(0.5)])
    values = curve(5, 150, 0.2, 0.05)

    def onward(run: lehr.Controller, some: Values) -> list[float]:
        lrs = []
        for value in some:
            run.step(m=float(value))
            lrs.append(run.lr)
        return lrs

    whole = onward(lehr.start(policy, lr=1.0, steps=200), values)
    assert whole[-1] < 1
    for cut in range(0, 150, 13):
        first = lehr.start(policy, lr=1.0, steps=200)
        onward(first, values[:cut])
        second = lehr.start(policy, lr=1.0, steps=200)
        second.load_state_dict(json.loads(json.dumps(first.state_dict(), allow_nan=False)))
        assert onward(second, values[cut:]) == whole[cut:], cut


REFUSED: list[tuple[Any, str]] = [
    (lambda: m.stalls(0), "positive"),
    (lambda: m.stalls(probability=0.4), "between 0.5"),
    (lambda: m.stalls(discard=1.0), "between 0"),
    (lambda: m.stalls(forget=-0.1), "between 0"),
    (lambda: m.stalls(0.3), "30%"),
]


@pytest.mark.parametrize(("make", "says"), REFUSED)
def test_refused(make: Any, says: str) -> None:
    with pytest.raises(lehr.LehrError, match=says):
        make()


@pytest.mark.parametrize("text", ["when(loss.stalls()).scale(0.1)", "when(loss.stalls('20%', forget=1)).scale(0.1)"])
def test_texts_read_back(text: str) -> None:
    assert repr(lehr.parse(text)) == text
    assert lehr.parse(lehr.parse(text).text(full=True)) == lehr.parse(text)


@pytest.mark.parametrize("values", [[1e308, -1e308] * 40, [1.7e308] * 80, [1e-300] * 40 + [1e300] * 40])
def test_numbers_beyond_all_measure_are_no_overflow(values: list[float]) -> None:
    run = lehr.start(
        lehr.Policy(lehr.constant(), [lehr.when(lehr.loss.stalls("20 observations")).scale(0.5)]), lr=0.1, steps=80
    )
    for value in values:
        run.step(loss=value)
    json.dumps(run.state_dict(), allow_nan=False)
    assert "inf" not in str(run.events)
