"""The noise of a recorded signal: what is left of it when its trend is taken away, as a share of its level.

The trend is a robust line through a window about each of many places, wider as the run goes on, as curves bend less and
less. What is left is taken as autoregressive of first order; its innovations are kept as they are, so that curves drawn
with them have the tails and the skew of the log. Spikes that leave no echo are none of them, and are kept apart.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lehr.calibration import Noise
from lehr.errors import LehrError
from lehr.rules.estimators import LAGS

__all__ = ["FEWEST", "noise_in", "trend_of"]

Floats = NDArray[np.float64]
FEWEST = 50  # values from which a noise can be told
SKIPPED = 0.05  # the share of the log, at its begin, in which most curves fall too steeply to be followed
NARROWEST, WIDEST = 31, 0.15  # of a window: values, and a share of the log
PLACES = 100  # at which a line is fitted
ROUNDS = 4  # of reweighting
CUT = 4.685  # robust standard deviations at which a value has no weight: Tukey's biweight
SPIKE = 4.0  # robust standard deviations by which a spike stands out from its neighbours
ECHO = 0.25  # what the next value must keep of a jump at least, for it to be no spike
TINY = 1e-12  # a share of the level that is rounding
RHO = np.linspace(0.0, 0.99, 199)


def trend_of(values: Floats) -> Floats:
    """The trend of a noisy curve: between lines fitted to windows, each by weights that leave outliers out.

    Source: robust local regression (Cleveland 1979), with windows that widen and lines between few places.
    """
    count = len(values)
    places = np.unique(np.linspace(0, count - 1, min(PLACES, count)).round())
    levels = np.array([_level(values, place) for place in places])
    trend: Floats = np.interp(np.arange(count), places, levels)
    return trend


def _level(values: Floats, place: float) -> float:
    """Of the line fitted about a place."""
    count = len(values)
    width = int(min(count, max(NARROWEST, min(place, WIDEST * count))))
    begin = int(np.clip(round(place - width / 2), 0, count - width))
    y = values[begin : begin + width]
    x = (np.arange(begin, begin + width) - place) / width
    near = (1 - np.minimum(np.abs(x) / np.abs(x).max(), 1) ** 3) ** 3 + 1e-9
    weights = near
    level = 0.0
    for _ in range(ROUNDS):
        total, mx, my = weights.sum(), (weights * x).sum(), (weights * y).sum()
        spread = (weights * x * x).sum() - mx * mx / total
        slope = ((weights * x * y).sum() - mx * my / total) / max(spread, 1e-300)
        level = float((my - slope * mx) / total)
        left = y - level - slope * x
        scale = CUT * 1.4826 * float(np.median(np.abs(left)))
        if scale == 0:
            break
        weights = near * np.maximum(1 - (left / scale) ** 2, 0) ** 2 + 1e-12
    return level


def noise_in(values: Any) -> Noise:
    """The noise of a signal, relative to its level.

    ρ is that of the normal scores of what is left, so that single spikes do not hide it, and raised by its known bias;
    σ is √(mean e²/(1 − ρ²)) of the innovations e(t) = r(t) − ρ·r(t−1), which the drawn noise has, standardised. Values
    that stand out from their six neighbours are spikes beside the noise, unless the values after them mostly keep ρ/2
    (and ¼) of them or more.

    Args:
        values: of the signal, oldest first, finite; at least 50 of them.

    Raises:
        LehrError: too few values, none that differ, or values of both signs.

    Example:
        >>> import numpy as np
        >>> values = (2 - np.arange(2000) / 2000) * (1 + 0.05 * np.random.default_rng(0).standard_normal(2000))
        >>> noise = noise_in(values)
        >>> round(noise.sd, 3), round(noise.rho, 1)
        (0.05, 0.0)

    Source: our choice; second differences at several lags as in `lehr.estimate`; bias of ρ: Kendall 1954.
    """
    series = np.asarray(values, dtype=np.float64)
    if len(series) < FEWEST:
        raise LehrError(
            f"the noise of a signal can be told from {FEWEST} values on, got {len(series)}; give a longer log, or a "
            "signal that is reported more often"
        )
    trend = trend_of(series)
    if trend.min() <= 0 <= trend.max():
        raise LehrError(
            f"shares of a level need a level of one sign, but it goes from {trend[0]:.4g} to {trend[-1]:.4g}; "
            "report a number that stays above zero"
        )
    left = ((series - trend) / np.abs(trend))[int(SKIPPED * len(series)) :]
    if np.median(np.abs(left)) < TINY:
        raise LehrError("the signal has no noise: more than half of its values lie on its trend; any patience will do")
    core, heights = _parted(left)
    rho = _autocorrelation(core)
    fresh = core[1:] - rho * core[:-1]
    fresh = fresh - fresh.mean()
    spread = float(fresh.std())
    return Noise(
        sd=spread / float(np.sqrt(1 - rho**2)),
        rho=rho,
        spikes=len(heights) / len(left),
        height=float(np.mean(heights)) if len(heights) else 0.0,
        innovations=tuple((fresh / spread).tolist()),
        heights=tuple(heights.tolist()),
    )


def _parted(left: Floats) -> tuple[Floats, Floats]:
    """What is left without its spikes, and their heights; no heights if they are of a piece with the rest."""
    around = np.lib.stride_tricks.sliding_window_view(left, 7)
    stands = np.abs(around[:, 3] - np.median(np.delete(around, 3, axis=1), axis=1))
    out = np.zeros(len(left), dtype=bool)
    out[3:-3] = stands > SPIKE * 1.4826 * np.median(stands)
    if not out.any():
        return left, left[:0]
    places = np.arange(len(left))
    core = np.where(out, np.interp(places, places[~out], left[~out]), left)
    at = places[out]
    echo = np.median((left[at + 1] - left[at - 1]) / (left[at] - left[at - 1]))
    if echo >= max(_autocorrelation(core) / 2, ECHO):
        return left, left[:0]
    return core, (left - core)[out]


def _autocorrelation(left: Floats) -> float:
    """ρ of which the mean squared second differences at five lags, σ²·(6 − 8ρᵏ + 2ρ²ᵏ), come nearest to those found."""
    count = len(left)
    ranks = np.empty(count)
    ranks[np.argsort(left, kind="stable")] = (np.arange(count) + 0.5) / count
    inverse = NormalDist().inv_cdf
    scores = np.array([inverse(rank) for rank in ranks.tolist()])
    lags = np.array(LAGS)
    squares = [((scores[2 * k :] - 2 * scores[k:-k] + scores[: -2 * k]) ** 2).mean() for k in LAGS]
    powers = RHO[:, None] ** lags
    gaps = np.log(squares) - np.log(6 - 8 * powers + 2 * powers**2)
    weights = 1 / np.sqrt(lags)
    means = gaps @ weights / weights.sum()
    rho = RHO[np.argmin(((gaps - means[:, None]) ** 2) @ weights)]
    return float(min(rho + (1 + 3 * rho) / count, RHO[-1]))
