import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lehr.report.thin import Floats, Indices, envelope, simplified, smoothed, thinned


def redrawn(y: Floats, kept: Indices) -> Floats:
    """The picture that the kept points draw."""
    drawn: Floats = np.interp(np.arange(len(y)), kept, y[kept])
    return drawn


@pytest.mark.parametrize("shape", ["constant", "line", "step", "cosine", "warmup"])
def test_a_schedule_needs_few_points_and_keeps_its_picture(shape: str) -> None:
    t = np.arange(50_000) / 50_000
    curves = {
        "constant": np.ones_like(t),
        "line": 1 - t,
        "step": 0.1 ** np.floor(t / 0.3),
        "cosine": 0.5 * (1 + np.cos(np.pi * t)),
        "warmup": np.minimum(1, 50 * t),
    }
    kept = thinned(curves[shape])
    assert len(kept) < 80
    assert np.abs(redrawn(curves[shape], kept) - curves[shape]).max() <= np.ptp(curves[shape]) / 4000


def test_both_sides_of_a_jump_are_kept() -> None:
    y = np.where(np.arange(10_000) < 1234, 1.0, 0.1)
    assert thinned(y).tolist() == [0, 1233, 1234, 9999]


def test_a_line_of_noise_keeps_its_envelope_within_the_limit() -> None:
    y = np.random.default_rng(0).normal(size=20_000)
    kept = thinned(y, limit=400)
    assert len(kept) <= 400
    assert {0, len(y) - 1, int(y.argmin()), int(y.argmax())} <= set(kept.tolist())


def test_a_log_axis_gets_the_points_that_it_needs() -> None:
    y = 1 - np.arange(1000) / 1000
    linear, log = thinned(y), thinned(y, log_decades=3)
    assert linear.tolist() == [0, 999]
    assert np.abs(redrawn(np.log10(y), log) - np.log10(y)).max() <= 3 / 4000


def test_small_values_between_the_points_can_be_read() -> None:
    y = 1e-4 ** (np.arange(1000) / 999)
    assert np.abs(redrawn(y, thinned(y)) / y - 1).max() > 0.1
    assert np.abs(redrawn(y, thinned(y, log_decades=4)) / y - 1).max() <= 1 / 200


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200), st.integers(8, 100))
def test_first_last_lowest_and_highest_always_stay(values: list[float], limit: int) -> None:
    y = np.array(values)
    kept = thinned(y, limit)
    assert kept[0] == 0
    assert kept[-1] == len(y) - 1
    assert np.all(np.diff(kept) > 0)
    assert y[kept].min() == y.min()
    assert y[kept].max() == y.max()


@given(st.lists(st.floats(-10, 10), min_size=4, max_size=100), st.floats(0, 5))
def test_simplified_stays_within_its_tolerance(values: list[float], tolerance: float) -> None:
    y = np.array(values)
    kept = simplified(y, np.full(len(y), tolerance), limit=1000)
    assert kept is not None
    assert np.abs(redrawn(y, kept) - y).max() <= tolerance + 1e-9


def test_simplified_gives_up_at_its_limit() -> None:
    assert simplified(np.tile([0.0, 1.0], 100), np.full(200, 0.1), limit=20) is None


def test_the_envelope_of_a_short_curve_is_the_curve() -> None:
    assert envelope(np.array([3.0, 1.0, 2.0]), 400).tolist() == [0, 1, 2]


def test_smoothed_is_the_mean_around_each_place() -> None:
    x, y = smoothed(np.arange(1000), np.tile([0.0, 2.0], 500), points=100, share=0.1)
    assert len(x) == 100
    assert (x[0], x[-1]) == (0, 999)
    assert np.abs(y - 1).max() < 0.02


def test_smoothed_sees_a_spike_only_near_it() -> None:
    values = np.ones(1000)
    values[500] = 1e30
    x, y = smoothed(np.arange(1000), values)
    assert np.all(y[np.abs(x - 500) > 26] == 1)
    assert y.max() > 1e28


def test_nothing_smoothed_is_nothing() -> None:
    x, y = smoothed(np.array([]), np.array([]))
    assert len(x) == len(y) == 0
