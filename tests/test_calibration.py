"""Synthetic curves, their noise, and the scores of triggers on them."""

from __future__ import annotations

import numpy as np
import pytest

from lehr.calibration import FAMILIES, Noise, curves, fewest, flat_since, outcome, trial, wilson


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.8])
def test_noise_has_the_spread_the_autocorrelation_and_the_long_run_variance_that_it_says(rho: float) -> None:
    noise = Noise(0.02, rho=rho)
    drawn = noise.draw(400, 1000, np.random.default_rng(0))
    assert drawn.std() == pytest.approx(0.02, rel=0.02)
    for lag in (1, 3):
        assert np.mean(drawn[:, lag:] * drawn[:, :-lag]) / drawn.var() == pytest.approx(rho**lag, abs=0.01)
    # 400 means of 1000: their variance is known to 7 %.
    assert 1000 * drawn.mean(axis=1).var() == pytest.approx(noise.long_run, rel=0.22)


def test_spikes_come_on_top_and_count_in_the_long_run() -> None:
    noise = Noise(0.01, spikes=0.1, height=0.5)
    drawn = noise.draw(200, 1000, np.random.default_rng(1))
    assert np.mean(drawn > 0.05) == pytest.approx(0.1 * np.exp(-0.1), abs=0.003)
    assert drawn.var() == pytest.approx(noise.long_run, rel=0.03)
    assert drawn.mean() == pytest.approx(0.05, abs=0.002)


def test_spikes_are_drawn_from_the_heights_given() -> None:
    noise = Noise(0.001, spikes=0.2, heights=(-0.5, 0.3, 0.3))
    drawn = noise.draw(100, 500, np.random.default_rng(4))
    assert np.mean(drawn < -0.4) == pytest.approx(0.2 / 3, abs=0.005)
    assert np.mean(drawn > 0.2) == pytest.approx(0.4 / 3, abs=0.006)
    assert drawn.var() == pytest.approx(noise.long_run, rel=0.03)


def test_noise_is_drawn_from_the_innovations_given() -> None:
    two = Noise(0.1, innovations=(-2.0, 0.5, 0.5, 0.5, 0.5))  # mean 0, variance 1
    drawn = two.draw(50, 400, np.random.default_rng(2))
    assert set(np.unique(drawn.round(12))) == {-0.2, 0.05}
    assert np.mean(drawn < 0) == pytest.approx(0.2, abs=0.01)
    assert "0.5" not in repr(two), "thousands of innovations do not belong in a repr"


@pytest.mark.parametrize(("best", "sign"), [("min", 1), ("max", 1), ("min", -1), ("max", -1)])
def test_curves_improve_at_first_in_their_direction_and_keep_their_sign(best: str, sign: int) -> None:
    drawn = curves(Noise(0.01), length=100, over=10, runs=5, seed=0, best=best, sign=sign)
    assert list(drawn) == list(FAMILIES)
    for found in drawn.values():
        assert found.truth.shape == (5, 110)
        assert found.values.shape == (5, 100)
        assert (np.sign(found.truth) == sign).all()
        step = found.truth[:, 10] - found.truth[:, 0]
        assert (step < 0).all() if best == "min" else (step > 0).all()
        relative = (found.values - found.truth[:, :100]) / found.truth[:, :100]
        assert relative.std() == pytest.approx(0.01, rel=0.1)


def test_families_are_flat_when_they_should_be() -> None:
    drawn = curves(Noise(0.01), length=600, over=60, runs=50, seed=0)
    since = {name: flat_since(found.truth, 60, 0.01) for name, found in drawn.items()}
    assert (since["line"] == 600).all()  # it falls by 5 % or more over 60 to its very end
    assert drawn["line"].truth[0, [0, 300]] == pytest.approx([2.0, 1.5])
    for name in ("plateau", "overfit"):  # they turn between a quarter and a half of the run
        assert ((since[name] > 150 - 60) & (since[name] <= 300)).all()
    assert (drawn["plateau"].truth[:, -1] == drawn["plateau"].truth[:, 310]).all()
    assert (drawn["overfit"].truth[:, 600] > drawn["overfit"].truth[:, 310]).all()


def test_firings_are_scored_as_by_hand() -> None:
    # Over 2: (8−2)/8, (4−1)/4, (2−1)/2, then 0: flat from observation 3 of 6 on.
    truth = np.array([[8.0, 4, 2, 1, 1, 1, 1, 1]] * 4)
    assert flat_since(truth, 2, 0.1).tolist() == [3, 3, 3, 3]
    first = np.array([-1, 2, 3, 5])  # never, one too early, at once, two late
    assert outcome(first, truth, 2, 0.1, needed=1.5) == (4, 0.25, 2.0, 3, 1 / 3, 3)
    runs, premature, delay, late, missed, decidable = outcome(first, truth, 2, 0.1, needed=1.6)
    assert (runs, premature, delay, late, decidable) == (4, 0.25, 2.0, 3, 0)
    assert np.isnan(missed), "where 2 n* or less were left nothing is missed"


def test_a_curve_that_never_is_flat_can_only_be_called_too_early() -> None:
    truth = np.array([[64.0, 32, 16, 8, 4]] * 2)
    scored = outcome(np.array([3, -1]), truth, 1, 0.1, needed=1.0)
    assert (scored.premature, scored.late, scored.decidable) == (0.5, 0, 0)
    assert np.isnan(scored.delay)
    assert np.isnan(scored.missed)


def test_scores_of_curves_that_rise_are_those_of_their_mirror_images() -> None:
    falls = np.array([[8.0, 4, 2, 1, 1, 1, 1, 1]])
    asked = (np.array([4]), 2, 0.1, 1.0)
    assert outcome(asked[0], falls, *asked[1:]) == outcome(asked[0], -falls, *asked[1:], best="max")
    assert outcome(asked[0], 1 / falls, *asked[1:], best="max") == outcome(asked[0], falls, *asked[1:])
    assert flat_since(1 / falls, 2, 0.1, best="min").tolist() == [0], "for the other direction it is worsening"


def test_fewest_is_the_formula_worked_by_hand() -> None:
    # 12 · 1.645² · 0.02² · 9 · 60² / 0.01² = 12 · 2.706025 · 0.0036 · 3.6e7 = 4 208 410, and its cube root
    assert fewest(Noise(0.02, rho=0.8), over=60, improvement=0.01) == pytest.approx(161.45, abs=0.01)


def test_with_so_few_observations_a_slope_is_just_known_well_enough() -> None:
    noise, over, improvement = Noise(0.05, rho=0.5), 100, 0.02
    count = round(fewest(noise, over=over, improvement=improvement))
    drawn = noise.draw(4000, count, np.random.default_rng(3))
    slopes = np.polyfit(np.arange(count), drawn.T, 1)[0]
    assert 1.645 * slopes.std() * over == pytest.approx(improvement, rel=0.06)


def test_wilsons_bounds_are_where_the_share_seen_is_196_standard_errors_away() -> None:
    for share, count in ((0.05, 800), (0.5, 40), (0.0, 100), (1.0, 100)):
        low, high = wilson(share, count)
        for bound in (low, high):
            if 1e-9 < bound < 1 - 1e-9:
                error = np.sqrt(bound * (1 - bound) / count)
                assert abs(share - bound) == pytest.approx(1.96 * error, rel=1e-9)
        assert low - 1e-9 <= share <= high + 1e-9


def test_a_trial_shows_every_trigger_the_same_curves() -> None:
    seen: list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]] = []

    def never(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> list[int]:
        seen.append(values)
        return [-1] * len(values)

    for _ in range(2):
        found = trial(never, Noise(0.01), length=50, over=5, improvement=0.01, runs=3, seed=7)
    assert all((a == b).all() for a, b in zip(seen[:4], seen[4:], strict=True))
    assert [outcome.premature for outcome in found.values()] == [0.0] * 4
    assert found["plateau"].missed == 1.0
    assert np.isinf(found["plateau"].delay)
