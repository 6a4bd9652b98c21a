"""The estimators and the trend test, against sums made by hand, known noise and known trends."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest

import lehr
from lehr.errors import LehrError
from lehr.rules import Observation
from lehr.rules.estimators import SIZES, SPREAD, Bin, absorbed, clipped, noise_of, windows
from lehr.rules.improves import TrendMemory
from lehr.rules.lanes import first_firings
from lehr.rules.trend import TrendState, estimated, heard


def autoregressive(rho: float, runs: int, length: int, seed: int) -> Any:
    """Noise of sd 1 and autocorrelation ρ, a run a row."""
    fresh = np.random.default_rng(seed).standard_normal((length + 100, runs))
    noise = fresh.copy()
    for i in range(1, len(noise)):
        noise[i] = rho * noise[i - 1] + math.sqrt(1 - rho**2) * fresh[i]
    return noise[100:].T


# bins and lines


@pytest.mark.parametrize("count", [1, 5, 13, 14, 40, 333, 5000])
def test_bins_hold_every_observation_once_and_their_number_grows_as_a_logarithm(count: int) -> None:
    values = np.random.default_rng(0).standard_normal(count)
    bins: tuple[Bin, ...] = ()
    for at, value in enumerate(values.tolist()):
        bins = absorbed(bins, float(at), value)
    sizes = [size for size, _, _ in bins]
    assert sizes == sorted(sizes, reverse=True)
    assert max(sizes.count(size) for size in set(sizes)) <= SPREAD
    assert len(bins) <= SPREAD * SIZES
    begin = count - sum(sizes)
    for size, middle, mean in bins:
        assert middle == pytest.approx(np.arange(begin, begin + size).mean(), rel=1e-12)
        assert mean == pytest.approx(values[begin : begin + size].mean(), rel=1e-9, abs=1e-12)
        begin += size
    assert begin == count


def test_only_what_lies_far_back_is_let_go() -> None:
    bins: tuple[Bin, ...] = ()
    for at in range(8000):
        bins = absorbed(bins, float(at), 0.0)
    assert 11 * (2**SIZES - 1) < sum(size for size, _, _ in bins) <= 12 * (2**SIZES - 1)


def test_lines_are_those_of_least_squares() -> None:
    """Fresh observations lie in bins of one each, so the fit is exactly NumPy's."""
    random = np.random.default_rng(1)
    at = np.cumsum(random.integers(1, 9, SPREAD)).astype(float)
    values = 3 - 0.01 * at + random.standard_normal(SPREAD)
    bins: tuple[Bin, ...] = ()
    for place, value in zip(at.tolist(), values.tolist(), strict=True):
        bins = absorbed(bins, place, value)
    found = windows(bins)
    for n in range(3, SPREAD + 1):
        slope, _ = np.polyfit(at[-n:], values[-n:], 1)
        assert found["slope"][n - 1, 0] == pytest.approx(slope, rel=1e-9)
        assert found["mean"][n - 1, 0] == pytest.approx(values[-n:].mean(), rel=1e-12)
        assert found["count"][n - 1, 0] == n


def test_lines_through_bins_are_nearly_those_through_all_observations() -> None:
    random = np.random.default_rng(2)
    values = 2 - np.arange(500) / 500 + 0.05 * random.standard_normal(500)
    bins: tuple[Bin, ...] = ()
    for at, value in enumerate(values.tolist()):
        bins = absorbed(bins, float(at), value)
    found = windows(bins)
    for i in range(40, len(bins)):
        n = int(found["count"][i, 0])
        slope, _ = np.polyfit(np.arange(n), values[-n:], 1)
        error = 0.05 * math.sqrt(12 / n**3)
        assert abs(found["slope"][i, 0] - slope) < 0.25 * error


# noise


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.8])
@pytest.mark.parametrize("slope", [0.0, 0.5])
def test_noise_and_autocorrelation_are_found_and_no_slope_passes_for_noise(rho: float, slope: float) -> None:
    values = slope * np.arange(400) + autoregressive(rho, 300, 400, seed=3)
    noise = noise_of(tuple(values.T))
    assert set(noise.known) == {398}
    assert np.median(noise.rho) == pytest.approx(rho + 2 * math.sqrt((1 - rho**2) / 398), abs=0.06)
    assert np.median(noise.sd) == pytest.approx(1.0, abs=0.1)
    below = np.mean(noise.long_run < (1 + rho) / (1 - rho))
    assert below < 0.35, "the variance of a mean is taken for too large rather than for too small"


def test_a_bend_of_the_curve_does_not_pass_for_noise() -> None:
    """A fall of four standard deviations an observation that ends at once: the lags across the bend are left out."""
    t = np.arange(512)
    values = autoregressive(0.0, 100, 512, seed=18) + 4.0 * np.maximum(300 - t, 0)
    noise = noise_of(tuple(values.T))
    assert np.median(noise.sd) == pytest.approx(1.0, abs=0.15)
    assert np.median(noise.rho) < 0.35


@pytest.mark.parametrize("sd", [0.003, 0.02])
def test_a_curve_does_not_pass_for_autocorrelation(sd: float) -> None:
    t = np.arange(400)
    values = 0.4 + 2 * np.exp(-t / 100) + sd * autoregressive(0.0, 100, 400, seed=20)
    noise = noise_of(tuple(values.T))
    assert np.median(noise.sd) == pytest.approx(sd, rel=0.15)
    assert np.median(noise.rho) < 0.4


def test_a_spike_is_pulled_in_and_a_value_among_equals_is_left() -> None:
    random = np.random.default_rng(4)
    recent: tuple[Any, ...] = ()
    for value in random.standard_normal(30).tolist():
        recent, _ = clipped(recent, value)
    looked_at = np.array((*recent[1:], 1e6))
    middle = np.median(looked_at)
    spread = 1.4826 * np.median(np.abs(looked_at - middle))
    assert clipped(recent, 1e6)[1] == pytest.approx(middle + 2 * spread, rel=1e-12)
    assert clipped((1.0,) * 14, 5.0)[1] == 5.0


def test_many_runs_at_once_are_each_run_by_itself() -> None:
    values = 1 + 0.05 * autoregressive(0.5, 6, 300, seed=5)
    values[2, 100] = 9.0
    together = TrendState()
    apart = [TrendState() for _ in values]
    for at, column in enumerate(values.T):
        together, look = heard(together, float(at), column)
        for i, value in enumerate(column.tolist()):
            apart[i], looks = heard(apart[i], float(at), value)
            assert looks == look
        if look and at > 30:
            both = estimated(together, 0.01, 60.0)
            for i, state in enumerate(apart):
                one = estimated(state, 0.01, 60.0)
                assert [str(one.verdict[0])] == [str(both.verdict[i])]
                assert np.array([c[0] for c in one[1:]]) == pytest.approx([c[i] for c in both[1:]], rel=1e-9, abs=1e-12)


# the test

CASES = [
    ("a steep fall", lambda t: 2 - t / 400, 0.01, "improving"),
    ("a level", lambda t: 1 + 0 * t, 0.01, "flat"),
    ("a fall slower than asked", lambda t: 1 - 0.001 * t / 100, 0.02, "flat"),
    ("a rise", lambda t: 1 + t / 400, 0.01, "worsening"),
    ("noise too large", lambda t: 1 + 0 * t, 3.0, "undecided"),
    ("a level below zero", lambda t: -1 + 0 * t, 0.01, "flat"),
    ("a fall below zero", lambda t: -1 - t / 400, 0.01, "improving"),
    ("a level about zero", lambda t: 0 * t, 0.0001, "undecided"),
]


@pytest.mark.parametrize(("name", "truth", "sd", "verdict"), CASES, ids=[case[0] for case in CASES])
@pytest.mark.parametrize("best", ["min", "max"])
def test_verdicts(name: str, truth: Any, sd: float, verdict: str, best: Any) -> None:
    t = np.arange(400.0)
    sign = 1 if best == "min" else -1
    values = sign * (truth(t) + sd * np.random.default_rng(6).standard_normal(400))
    assert lehr.estimate(values, over=100, best=best).verdict == verdict


def test_what_is_estimated_is_what_was_put_in() -> None:
    """Level 1.5, an improvement of 2 % per 100 steps, noise 0.004, autocorrelation 0.5."""
    t = np.arange(0, 2000, 2.0)
    values = 1.5 * (1 - 0.0002 * (t - t[-1])) + 0.004 * autoregressive(0.5, 1, len(t), seed=7)[0]
    found = lehr.estimate(values, at=t, over=100, improvement=0.005)
    assert found.verdict == "improving"
    assert found.level_low < 1.5 < found.level_high
    assert found.rate_low < 0.02 < found.rate_high
    assert found.noise == pytest.approx(0.004, rel=0.2)
    assert found.autocorrelation == pytest.approx(0.58, abs=0.15)  # two standard errors higher
    assert found.needed == 0


def test_undecided_says_about_how_many_more_are_needed() -> None:
    """At n observations the half width is z·σ·√(12/n³)·H: it falls to δ at n·(half width/δ)^⅔."""
    random = np.random.default_rng(8)
    values = 1 + 0.1 * random.standard_normal(4000)
    found = lehr.estimate(values[:150], over=60)
    assert found.verdict == "undecided"
    decided = next(n for n in range(160, 4000, 10) if lehr.estimate(values[:n], over=60).verdict == "flat")
    assert 0.4 < decided / (150 + found.needed) < 2.5


@pytest.mark.parametrize(
    ("values", "how", "message"),
    [
        ([1.0, 2.0], {"over": 5}, "at least 3 finite"),
        ([1.0, math.nan, 2.0, math.inf], {"over": 5}, "at least 3 finite"),
        ([1.0, 2.0, 3.0], {"over": 5, "at": [1, 2]}, "one entry a value"),
        ([1.0, 2.0, 3.0], {"over": 0}, "over=...\\) must be above 0"),
        ([1.0, 2.0, 3.0], {"over": 5, "improvement": 0.0}, "improvement=...\\) must be above 0"),
        ([1.0, 2.0, 3.0], {"over": 5, "risk": 0.5}, "below 0.5, got 0.5"),
        ([1.0, 2.0, 3.0], {"over": 5, "best": "low"}, "'min' or 'max', got 'low'"),
    ],
)
def test_estimate_refuses(values: Any, how: Any, message: str) -> None:
    with pytest.raises(LehrError, match=message):
        lehr.estimate(values, **how)


# the rule

slow = lehr.loss.improves_less_than(0.01, over=60, risk=0.05)


def verdicts(values: Any, trigger: Any = slow) -> list[str]:
    """The verdict at each observation."""
    trigger = trigger.resolve(lehr.Horizon(steps=len(values)))
    state, said = trigger.init(), []
    for step, value in enumerate(values):
        state, reading = trigger.update(state, Observation(step, {"loss": float(value)}, True))
        said.append(reading.verdict)
        assert reading.holds == (reading.verdict in ("flat", "worsening"))
    return said


def test_it_tells_a_fall_from_a_plateau() -> None:
    t = np.arange(600)
    said = verdicts(np.maximum(2 - t / 200, 1) + 0.01 * np.random.default_rng(9).standard_normal(600))
    assert "flat" not in said[:200]
    assert said[150] == "improving"
    assert said[-1] == "flat"
    assert "flat" in said[200:300]


def test_non_finite_values_are_no_evidence() -> None:
    values = np.maximum(2 - np.arange(600) / 200, 1) + 0.01 * np.random.default_rng(10).standard_normal(600)
    trigger = slow.resolve(lehr.Horizon(steps=600))
    plain, broken = trigger.init(), trigger.init()
    for step, value in enumerate(values):
        plain, _ = trigger.update(plain, Observation(step, {"loss": float(value)}, True))
        for bad in (math.nan, math.inf):
            broken, reading = trigger.update(broken, Observation(step, {"loss": bad}, True))
            assert not reading.fresh
        broken, _ = trigger.update(broken, Observation(step, {"loss": float(value)}, True))
    assert plain == broken


def test_evidence_is_forgotten_after_firing_and_when_the_lr_changes() -> None:
    trigger = slow.resolve(lehr.Horizon(steps=100))
    state = trigger.init()
    for step in range(50):
        state, _ = trigger.update(state, Observation(step, {"loss": 1.0 + step % 3 / 100}, True))
    assert trigger.after_firing(state) == trigger.after_change(state) == trigger.init()
    means = lehr.loss.improves_less_than(0.01, over=60, test="means").resolve(lehr.Horizon(steps=100))
    before, _ = means.update(means.init(), Observation(0, {"loss": 1.0}, True))
    assert means.after_change(before) == before


def test_another_rules_cut_and_a_hand_begin_the_evidence_anew() -> None:
    cut = lehr.when(lehr.metric("signal", best="max").reaches(1)).scale(0.5)
    run = lehr.start(lehr.Policy(lehr.constant(), [lehr.when(slow).scale(0.5), cut]), lr=0.1, steps=200)
    for value in (1 + 0.05 * autoregressive(0.5, 1, 60, seed=17)[0]).tolist():
        run.step(loss=value)
    kept = run._tracks[0].state.rules[0].trigger
    assert kept.trend.seen == 60
    run.step(loss=1.0, signal=1.0)
    assert run._tracks[0].state.rules[0].trigger == TrendMemory(kept.smooth)


def test_a_rule_that_acts_a_little_at_every_update_leaves_the_evidence() -> None:
    rules = [lehr.when(lehr.always()).relax(0.001), lehr.when(slow).scale(0.5)]
    run = lehr.start(lehr.Policy(lehr.constant(), rules), lr=0.1, steps=300)
    for value in (1 + 0.005 * autoregressive(0.0, 1, 300, seed=19)[0]).tolist():
        run.step(loss=value)
    assert any(event.action == "scale(0.5)" for event in run.events)


def test_bins_of_a_long_window_are_the_means_of_its_steps() -> None:
    """640 steps in 64 bins: ten reports, or one that stands for them, are one observation."""
    trigger = lehr.loss.improves_less_than(0.01, over=640).resolve(lehr.Horizon(steps=2000))
    values = np.random.default_rng(11).standard_normal(200)
    state = trigger.init()
    for step, value in enumerate(values.tolist()):
        state, _ = trigger.update(state, Observation(step, {"loss": value}, True))
    means = values.reshape(20, 10).mean(axis=1).tolist()
    assert state.trend.seen == 20
    assert state.trend.recent == pytest.approx(means[-15:], rel=1e-12)
    one = trigger.init()
    for i, value in enumerate(means):
        one, _ = trigger.update(one, Observation(10 * i, {"loss": value}, True))
    one, _ = trigger.update(one, Observation(200, {"loss": 0.0}, True))  # only now it is known that the last bin ended
    assert one.trend.recent == pytest.approx(means[-15:], rel=1e-12)


def test_memory_is_bounded_and_plain() -> None:
    trigger = lehr.loss.improves_less_than(0.01, over=50).resolve(lehr.Horizon(steps=10**6))
    random, state, sizes = np.random.default_rng(12), trigger.init(), []
    for step, value in enumerate(random.standard_normal(9000).tolist()):
        state, _ = trigger.update(state, Observation(step, {"loss": value}, True))
        if step in (4500, 8999):
            sizes.append(len(json.dumps(state)))
    assert sizes[1] < 1.1 * sizes[0] < 20_000


def test_the_batch_fires_where_the_rule_fires() -> None:
    random = np.random.default_rng(13)
    t = np.arange(800)
    values = np.maximum(2 - t / random.uniform(50, 200, (5, 1)), 1) + 0.005 * random.standard_normal((5, 800))
    for trigger in (
        slow,
        lehr.loss.improves_less_than(0.02, over=200),
        lehr.loss.improves_less_than(0.01, "50 observations"),
    ):
        alone = []
        for run in values:
            said = verdicts(run, trigger)
            alone.append(next((i for i, verdict in enumerate(said) if verdict in ("flat", "worsening")), -1))
        assert first_firings(trigger, values).tolist() == alone
        assert max(alone) > -1


# the risk


def share(trigger: Any, truth: Any, rho: float, sd: float, runs: int, seed: int) -> float:
    """Of runs about a truth, those in which the trigger fires."""
    values = truth * (1 + sd * autoregressive(rho, runs, len(truth), seed))
    return float((first_firings(trigger, values) >= 0).mean())


@pytest.mark.parametrize(("rho", "sd"), [(0.0, 0.005), (0.3, 0.02), (0.8, 0.02)])
def test_the_risk_holds_where_it_is_hardest_to_keep(rho: float, sd: float) -> None:
    """A signal that improves exactly as asked for the whole of ten windows: at most 5 %, plus three standard errors."""
    boundary = 0.99 ** (np.arange(600) / 60)
    assert share(slow, boundary, rho, sd, runs=500, seed=14) < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 500)


def test_a_test_that_takes_noise_for_white_would_not_keep_its_risk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same, with the autocorrelation left out of the account: what must fail does."""
    from lehr.rules import trend

    monkeypatch.setattr(trend, "noise_of", lambda last: noise_of(last)._replace(rho=np.zeros(1)))
    boundary = 0.99 ** (np.arange(600) / 60)
    assert share(slow, boundary, 0.8, 0.02, runs=200, seed=14) > 0.5


def test_a_larger_risk_decides_sooner_and_errs_more_often() -> None:
    boundary = 0.99 ** (np.arange(600) / 60)
    bold = dataclasses.replace(slow, risk=0.4)  # type: ignore[type-var]  # a dataclass
    assert share(bold, boundary, 0.0, 0.02, 300, 15) > share(slow, boundary, 0.0, 0.02, 300, 15)
    flat = 1 + 0.03 * autoregressive(0.0, 100, 600, seed=16)
    assert np.median(first_firings(bold, flat)) < np.median(first_firings(slow, flat))


def test_a_bin_that_is_open_when_the_plan_changes_stays_where_it_is() -> None:
    """The window is a share of the run, so its bins grow with the run; positions are steps before and after."""
    policy = lehr.Policy(lehr.constant(), [lehr.when(lehr.loss.improves_less_than(0.5, over="50%")).scale(0.5)])
    run = lehr.start(policy, lr=0.1, steps=256)  # bins of 2 steps
    for t in range(21):
        run.step(loss=1.0 - 0.01 * t)
    run.replan(policy, steps=2560)  # bins of 20
    for t in range(21, 61):
        run.step(loss=1.0 - 0.01 * t)
    ((_, _, state),) = run.states
    places = [at for _, at, _ in state.rules[0].trigger.trend.bins]
    assert places == [*range(1, 20, 2), 30.0, 50.0]


def test_the_sentence_counts_observations_not_steps() -> None:
    """Bins of 10 steps with 2 observations each."""
    run = lehr.start(
        lehr.Policy(lehr.constant(), [lehr.when(lehr.loss.improves_less_than(0.01, over=640)).scale(0.5)]),
        lr=0.1,
        steps=300,
    )
    for t in range(241):
        numbers: dict[str, Any] = {"loss": 1 + 0.01 * math.sin(9 * t)} if t % 5 == 0 else {}
        run.step(**numbers)
    (event,) = run.events
    assert event.kind == "verdict"
    assert "from 48 observations" in event.words
    assert "of means of 2)" in event.words
