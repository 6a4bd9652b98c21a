"""`lehr.calibrate`: the noise of a log, trials with it, and what is recommended."""

from __future__ import annotations

import importlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import lehr
from lehr.calibration import Noise, curves
from lehr.errors import LehrError
from lehr.lengths import Horizon, as_length
from lehr.residuals import noise_in
from lehr.rules.lanes import first_firings
from lehr.rules.plateaus import Plateaus
from lehr.trials import Setting, Trials, in_observations, standstills

Floats = NDArray[np.float64]


def shape(kind: str, count: int) -> Floats:
    u = np.arange(count) / count
    shapes: dict[str, Any] = {
        "flat": np.ones(count),
        "power law": 1 + 1.5 / np.sqrt(1 + 60 * u),
        "steep": 1 + 9 * np.exp(-u / 0.02),
        "bend": 1 + np.exp(-np.minimum(u, 0.3) / 0.15),
    }
    values: Floats = shapes[kind]
    return values


def recorded(noise: Noise, kind: str = "power law", count: int = 2000, seed: int = 0) -> Floats:
    values: Floats = shape(kind, count) * (1 + noise.draw(1, count, np.random.default_rng(seed))[0])
    return values


def log_of(values: Floats, every: int = 1, **header: Any) -> lehr.Trace:
    """A log with a report every so many steps."""
    steps: Floats = np.arange(every - 1.0, every * len(values), every)
    return lehr.Trace(header, {"step": steps, "lr": np.full(len(values), 0.1), "loss": values})


def heavy() -> tuple[float, ...]:
    drawn = np.random.default_rng(9).standard_t(4, 20_000)
    return tuple(((drawn - drawn.mean()) / drawn.std()).tolist())


# The noise


@pytest.mark.parametrize("kind", ["flat", "power law", "steep", "bend"])
@pytest.mark.parametrize("rho", [0.0, 0.3, 0.8])
def test_noise_is_found_whatever_the_curve(rho: float, kind: str) -> None:
    found = [noise_in(recorded(Noise(0.02, rho=rho), kind, seed=seed)) for seed in range(5)]
    assert np.mean([noise.rho for noise in found]) == pytest.approx(rho, abs=0.03)
    # The steepest fall is not followed to the end: up to a tenth more noise is seen there.
    assert np.median([noise.sd for noise in found]) == pytest.approx(0.02, rel=0.15 if kind == "steep" else 0.05)


def test_noise_is_found_in_a_few_hundred_values_within_a_fifth() -> None:
    true = Noise(0.02, rho=0.8)
    found = [noise_in(recorded(true, count=300, seed=seed)) for seed in range(12)]
    assert np.median([noise.sd for noise in found]) == pytest.approx(0.02, rel=0.2)
    assert np.mean([noise.rho for noise in found]) == pytest.approx(0.8, abs=0.08)


def test_heavy_tails_are_kept() -> None:
    true = Noise(0.05, rho=0.3, innovations=heavy())
    found = noise_in(recorded(true, count=4000))
    assert found.rho == pytest.approx(0.3, abs=0.08)
    again, known = (noise.draw(200, 500, np.random.default_rng(3)) for noise in (found, true))
    assert again.std() == pytest.approx(known.std(), rel=0.08)
    for far in (0.01, 0.1, 0.9, 0.99):
        assert np.quantile(again, far) == pytest.approx(np.quantile(known, far), rel=0.12)
    assert np.quantile(again, 0.99) / np.quantile(again, 0.9) > 2.1, "1.8 for the normal distribution"


@pytest.mark.parametrize("rho", [0.0, 0.8])
def test_spikes_are_told_from_the_noise(rho: float) -> None:
    true = Noise(0.02, rho=rho, spikes=0.04, height=0.3)
    found = noise_in(recorded(true, count=4000))
    assert found.rho == pytest.approx(rho, abs=0.04)
    assert found.sd == pytest.approx(0.02, rel=0.15)
    assert found.spikes == pytest.approx(0.04 * np.exp(-0.08 / 0.3), abs=0.01), "spikes below 4 sd are none"
    assert np.mean(np.array(found.heights) > 0) > 0.98
    assert found.spikes * np.mean(found.heights) == pytest.approx(0.04 * 0.3, rel=0.15)
    assert found.long_run == pytest.approx(true.long_run, rel=0.2)


def test_spikes_downwards_stay_downwards() -> None:
    found = noise_in(recorded(Noise(0.02, rho=0.5, spikes=0.05, heights=(-0.3, -0.2)), count=2000))
    assert np.mean(found.heights) == pytest.approx(-0.25, abs=0.02)


def test_jumps_that_the_noise_remembers_are_no_spikes() -> None:
    rare = tuple([0.0] * 50 + [7.0, -7.0])
    jumps = Noise(0.05, rho=0.8, innovations=tuple((np.array(rare) + np.tile([0.2, -0.2], 26)).tolist()))
    found = noise_in(recorded(jumps, count=3000))
    assert found.heights == ()
    assert max(found.innovations) > 4


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        (np.ones(49), "from 50 values on, got 49"),
        (np.linspace(1, -1, 200), "a level of one sign, but it goes from 1 to -1"),
        (np.linspace(2, 1, 200), "no noise"),
    ],
)
def test_what_has_no_noise_to_tell_is_refused(values: Floats, fault: str) -> None:
    with pytest.raises(LehrError, match=fault):
        noise_in(values)


# The trials


def trials(noise: Noise, **changes: Any) -> Trials:
    known: dict[str, Any] = {
        "length": 400,
        "improvement": 0.01,
        "window": as_length("10%", "over"),
        "runs": 60,
        "seed": 1,
        "best": "min",
        "sign": 1,
        "horizon": Horizon(steps=400),
        "spacing": Fraction(1),
    }
    return Trials(noise, Setting(**(known | changes)))


def apart(one: float, other: float, runs: int) -> float:
    """How many standard errors two shares of as many runs are apart."""
    middle = (one + other) / 2
    return abs(one - other) / float(np.sqrt(2 * middle * (1 - middle) / runs))


@pytest.mark.parametrize(
    "true",
    [
        Noise(0.02),
        Noise(0.02, rho=0.8),
        Noise(0.05, rho=0.3, innovations=heavy()),
        Noise(0.02, rho=0.8, spikes=0.04, height=0.3),
    ],
)
def test_trials_with_the_noise_that_was_found_come_to_the_rates_of_the_true_noise(true: Noise) -> None:
    found = noise_in(recorded(true, count=4000))
    for trigger in (lehr.loss.plateaus(30), lehr.loss.smoothed(20).plateaus(20)):
        one, other = (trials(noise, seed=seed).of(trigger) for seed, noise in enumerate((true, found)))
        assert 0.05 < one.premature < 0.95, "or there would be nothing to compare"
        assert apart(one.premature, other.premature, one.runs) < 3


def test_trials_that_take_correlated_noise_for_white_come_to_other_rates() -> None:
    true = Noise(0.02, rho=0.8)
    found = noise_in(recorded(true, count=4000))
    white = Noise(found.sd, innovations=found.innovations)
    smooth = lehr.loss.smoothed(20).plateaus(30)
    one, right, wrong = (trials(noise, seed=i).of(smooth) for i, noise in enumerate((true, found, white)))
    assert apart(one.premature, right.premature, one.runs) < 3
    assert apart(one.premature, wrong.premature, one.runs) > 5
    assert trials(white).needed < 0.6 * trials(true).needed


@pytest.mark.parametrize(
    "text",
    [
        "loss.plateaus(0)",
        "loss.plateaus(7)",
        "loss.plateaus(7, margin=0.02)",
        "loss.smoothed(9).plateaus(7)",
        "loss.plateaus(7, flavor='torch')",
        "loss.plateaus(7, flavor='keras')",
        "loss.plateaus(7, flavor='optax')",
        "metric('accuracy', best='max').plateaus(7)",
    ],
)
def test_rows_without_improvement_say_when_each_plateau_first_fires(text: str) -> None:
    trigger = lehr.parse(text)
    assert isinstance(trigger, Plateaus)
    values = curves(Noise(0.03), length=120, over=10, runs=6, seed=2, best=trigger.signal.best)["plateau"].values
    reached = standstills(trigger, values) >= trigger.counting.limit
    expected = first_firings(trigger, values)
    assert np.where(reached.any(axis=1), reached.argmax(axis=1), -1).tolist() == expected.tolist()
    assert (expected >= 0).any()


def test_the_patience_found_is_the_smallest_that_is_seldom_too_early() -> None:
    tried = trials(Noise(0.02))
    found = tried.patience(Plateaus(lehr.loss, 0)).at(0.05)
    assert tried.of(found).premature <= 0.05
    assert tried.of(lehr.loss.plateaus(found.patience - 1)).premature > 0.05


def test_the_longest_rows_say_how_often_each_patience_is_too_early() -> None:
    tried = trials(Noise(0.02), runs=200)
    longest = tried.patience(Plateaus(lehr.loss, 0)).longest
    for patience in range(1, 120):
        assert np.mean(longest > patience) == tried.of(lehr.loss.plateaus(patience)).premature


def test_the_curve_over_patience_is_that_of_single_trials() -> None:
    tried = trials(Noise(0.02))
    found = tried.patience(Plateaus(lehr.loss, 0))
    assert (np.diff(found.premature) <= 0).all()
    for i in (len(found.patience) // 2, -5):
        row = tried.of(lehr.loss.plateaus(int(found.patience[i])))
        assert (row.premature, row.low, row.high, row.delay) == (
            found.premature[i],
            found.low[i],
            found.high[i],
            found.delay[i],
        )


@pytest.mark.parametrize(
    ("text", "heard"),
    [
        ("loss.improves_less_than(0.01, '10%')", "loss.improves_less_than(0.01, 20)"),
        ("loss.improves_less_than(0.01, 600)", "loss.improves_less_than(0.01, 12)"),
        ("loss.improves_less_than(0.01, '30 observations')", "loss.improves_less_than(0.01, '30 observations')"),
        ("loss.plateaus(3) & ~loss.stalls('5%')", "loss.plateaus(3) & ~loss.stalls(10)"),
    ],
)
def test_lengths_count_as_many_observations_as_there_are_in_them(text: str, heard: str) -> None:
    found = in_observations(lehr.parse(text), Horizon(steps=10_000), Fraction(50))
    assert found == lehr.parse(heard)


@pytest.mark.parametrize(("best", "sign"), [("max", 1), ("min", -1), ("max", -1)])
def test_signals_that_rise_or_lie_below_zero_fare_as_losses_do(best: Any, sign: int) -> None:
    signal = lehr.metric("reward", best=best)
    plain = trials(Noise(0.02)).of(lehr.loss.plateaus(30))
    other = trials(Noise(0.02), best=best, sign=sign).of(signal.plateaus(30))
    assert apart(plain.premature, other.premature, plain.runs) < 3
    assert other.delay == pytest.approx(plain.delay, rel=0.3)


# The whole


def test_it_says_what_it_took_how_triggers_do_and_what_to_write() -> None:
    found = lehr.calibrate(log_of(recorded(Noise(0.01), count=400)), over="20%", runs=20)
    assert found.noise.sd == pytest.approx(0.01, rel=0.15)
    assert (found.count, found.setting.length, found.setting.over) == (400, 400, 80)
    assert found.needed == pytest.approx((12 * 1.645**2 * found.noise.long_run * 80**2 / 0.01**2) ** (1 / 3))
    assert found.decidable
    assert all(row.times == row.delay / found.needed for row in found.tried if np.isfinite(row.delay))
    by_text = {repr(row.trigger): row for row in found.tried}
    assert by_text["loss.plateaus(5)"].premature > 0.5
    assert by_text["loss.improves_less_than(0.01, '20%')"].premature <= 0.05
    said = str(found)
    for row in found.recommended:
        assert row.premature <= 0.05
        assert row.low <= row.premature <= row.high
        assert lehr.parse(repr(row.trigger)) == row.trigger
        assert repr(row.trigger) in said
    delays = [row.delay for row in found.recommended]
    assert delays == sorted(delays)
    assert f"write {found.recommended[0].trigger!r}" in said


def test_more_noise_asks_for_more_patience_and_a_coarser_question() -> None:
    quiet, loud = (
        lehr.calibrate(log_of(recorded(Noise(sd, rho=0.5), count=400)), over="20%", runs=20) for sd in (0.003, 0.05)
    )

    def patience(found: lehr.Calibration) -> int:
        return min(r.trigger.patience for r in found.recommended if isinstance(r.trigger, Plateaus))

    assert patience(quiet) < patience(loud)
    assert not loud.decidable
    assert "too few are left when it turns flat in the middle; ask for" in str(loud)
    # n* grows as δ^(−2/3): with the share that it names, a quarter of the run would do.
    easier = (loud.coarser / 0.01) ** (-2 / 3) * loud.needed
    assert easier == pytest.approx(100)
    assert "it asks for 1 % over" in loud.advice()[-1]
    assert loud.recommended[-1].delay <= 100
    assert not any("it asks" in line for line in loud.advice()[:-1])


def test_noise_beyond_all_means_is_said_to_be_so() -> None:
    found = lehr.calibrate(
        log_of(recorded(Noise(0.2, rho=0.9), "flat", count=100)), triggers=["loss.plateaus(5)"], runs=20
    )
    assert found.recommended == ()
    assert found.advice()[0].startswith("no patience and no window keeps to 5 %")


def test_a_report_every_fifty_steps_counts_as_one_observation() -> None:
    values = recorded(Noise(0.01), count=200)
    triggers = ["loss.plateaus(10)", "loss.improves_less_than(0.01, '20%')"]
    each, sparse = (lehr.calibrate(log_of(values, every), triggers=triggers, over="20%", runs=20) for every in (1, 50))
    assert sparse.setting.horizon.steps == 10_000
    assert sparse.tried == each.tried
    steps = lehr.calibrate(log_of(values, 50), triggers=triggers, over=2000, runs=20)
    assert steps.tried == each.tried


def test_the_trials_are_as_long_as_the_run_that_the_log_is_the_begin_of() -> None:
    log = log_of(recorded(Noise(0.01), count=100), every=10, horizon={"steps": 3000, "steps_per_epoch": 100})
    found = lehr.calibrate(log, triggers=["loss.plateaus(10)"], over="3 epochs", runs=20)
    assert (found.setting.length, found.setting.over) == (300, 30)
    assert "the log holds 100 of the run's 300 observations" in found.notes[0]


def test_the_triggers_of_a_policy_are_tried_and_others_named() -> None:
    policy = lehr.Policy(
        lehr.constant(),
        rules=[
            lehr.parse("when(loss.plateaus(12)).scale(0.5)"),
            lehr.parse("when(metric('accuracy', best='max').reaches(0.9)).stop()"),
        ],
    )
    log = log_of(recorded(Noise(0.01), count=200))
    found = lehr.calibrate(log, policy=policy, signal=lehr.loss, runs=20)
    assert [repr(row.trigger) for row in found.tried] == ["loss.plateaus(12)"]
    assert "reaches(0.9) is not tried" in found.notes[0]
    with pytest.raises(LehrError, match="several signals"):
        lehr.calibrate(log, policy=policy)
    nine = lehr.parse("when(loss.plateaus(9)).scale(0.5)")
    both = lehr.calibrate(log, policy=lehr.groups(head=nine, default=lehr.constant()), runs=20)
    assert [repr(row.trigger) for row in both.tried] == ["loss.plateaus(9)"]


def test_the_signal_is_what_the_policy_reads() -> None:
    log = log_of(recorded(Noise(0.01), count=200))
    log.columns["val"] = np.where(np.arange(200) % 2, np.nan, 1 / log.columns["loss"])
    found = lehr.calibrate(log, policy="when(metric('val', best='max').plateaus(4)).scale(0.5)", runs=20)
    assert found.signal == lehr.metric("val", best="max")
    assert (found.count, found.setting.length, found.setting.best) == (100, 100, "max")
    assert lehr.calibrate(log, signal="metric('val', best='max')", runs=20).signal == found.signal


def test_long_runs_are_tried_less_often_and_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module("lehr.calibrate"), "MOST", 4 * 200 * 25)
    found = lehr.calibrate(log_of(recorded(Noise(0.01), count=200)), triggers=["loss.plateaus(9)"])
    assert found.setting.runs == 25
    assert found.tried[0].runs == 100
    assert "25 runs of each family were tried instead of 200, as a run has 200 observations" in found.notes


def test_the_same_seed_gives_the_same_answer() -> None:
    log = log_of(recorded(Noise(0.01), count=200))
    one, two, other = (
        lehr.calibrate(log, triggers=["loss.plateaus(20)"], runs=20, seed=seed).tried for seed in (3, 3, 4)
    )
    assert one == two
    assert one != other


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"signal": "val_loss"}, "metric\\('val_loss', best='min'\\)"),
        ({"signal": lehr.metric("val_loss", best="min")}, "no column 'val_loss'; there are loss"),
        ({"signal": "loss.plateaus(3)"}, "must be a signal"),
        ({"improvement": 0.0}, "a share between 0 and 1"),
        ({"improvement": 1}, "a share between 0 and 1"),
        ({"over": "10 parsecs"}, "over="),
        ({"over": "2 epochs"}, "steps_per_epoch"),
        ({"runs": 5}, "at least 20"),
        ({"runs": "many"}, "at least 20"),
        ({"triggers": ["loss"]}, "takes triggers"),
        ({"policy": "cosine()"}, "no rule to try"),
    ],
)
def test_what_cannot_be_is_refused(arguments: dict[str, Any], fault: str) -> None:
    with pytest.raises(LehrError, match=fault):
        lehr.calibrate(log_of(recorded(Noise(0.01), count=100)), **arguments)


def test_a_log_too_long_to_try_is_refused_with_the_remedy(tmp_path: Path) -> None:
    log = log_of(recorded(Noise(0.01), count=100), horizon={"steps": 1_000_000})
    with pytest.raises(LehrError, match=r"means of every 100 of them, .*cadence"):
        lehr.calibrate(log)
