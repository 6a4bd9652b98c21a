"""Streaming estimators of a noisy signal: robust values, noise, autocorrelation, level and trend.

Each is a pure function of a bounded memory, in constant amortised time. Values may be floats, or arrays of many runs
at once that report at the same steps: the simulator of `lehr calibrate` runs thousands of curves in one call.

The noise is taken as autoregressive of first order: sd σ, autocorrelation ρ. A mean of n observations then has the
variance σ²·τ/n with the integrated autocorrelation time τ = (1 + ρ)/(1 − ρ), and the slope of a line through n of them
at spacing 1 has 12·σ²·τ/n³. σ and ρ come from squared second differences y(t) − 2y(t−k) + y(t−2k) at five lags k,
whose mean is σ²·(6 − 8ρᵏ + 2ρ²ᵏ): a slope falls out of them, so that a steep descent does not pass for noise.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

__all__ = ["LAGS", "Bin", "Noise", "absorbed", "clipped", "noise_of", "windows"]

Values = Any  # a float, or an array of one value a run
Array = np.ndarray[Any, np.dtype[np.float64]]

RECENT = 15  # values that say what an outlier is
OUTLIER = 2.0  # in robust standard deviations (median absolute deviation · 1.4826)
LAGS = (1, 2, 4, 8, 16)
WEIGHTS = np.array([1.0, 1.0, 0.7, 0.5, 0.3])  # of the lags in the fit: fewer independent differences, less weight
JUMP = 6.0  # a squared difference counts at most so many times their mean: a bend of the curve is no noise
SETTLED = 8  # differences before that
KEPT = 512  # squared differences that their mean remembers
SPREAD = 12  # bins of one size, before the two oldest become one of twice the size
SIZES = 9  # sizes of bins: 12·(1 + 2 + … + 256) observations are remembered at most
RHO = np.linspace(0.0, 0.95, 96)


def clipped(recent: tuple[Values, ...], value: Values) -> tuple[tuple[Values, ...], Values]:
    """The last values, and `value` pulled to within two robust standard deviations of their median.

    The last fifteen are looked at, `value` among them. Where more than half of them are equal there is no scale, and
    nothing is pulled.

    Source: Hampel's identifier (Davies & Gather 1993, section 4), winsorising instead of replacing.
    """
    recent = (*recent[-RECENT + 1 :], value)
    if len(recent) < 3:
        return recent, value
    if isinstance(value, float):
        middle = _median(recent)
        reach = OUTLIER * 1.4826 * _median([abs(item - middle) for item in recent])
        return recent, value if reach == 0 else min(max(value, middle - reach), middle + reach)
    table = np.stack(recent)
    middles = np.median(table, axis=0)
    reaches = OUTLIER * 1.4826 * np.median(np.abs(table - middles), axis=0)
    return recent, np.where(reaches == 0, value, np.clip(value, middles - reaches, middles + reaches))


class Noise(NamedTuple):
    """Mean squared second differences at each lag, and the values that the next ones need."""

    last: tuple[Values, ...] = ()  # the last 33 values
    squares: tuple[Values, ...] = (0.0,) * len(LAGS)
    seen: tuple[int, ...] = (0,) * len(LAGS)  # differences at each lag, up to 512

    def after(self, value: Values) -> Noise:
        """With one more value."""
        last = (*self.last[-2 * LAGS[-1] :], value)
        squares, seen = list(self.squares), list(self.seen)
        for i, lag in enumerate(LAGS):
            if len(last) > 2 * lag:
                seen[i] = min(seen[i] + 1, KEPT)
                difference = value - 2.0 * last[-1 - lag] + last[-1 - 2 * lag]
                square = difference * difference
                if seen[i] > SETTLED:
                    square = _least(square, JUMP * squares[i])
                squares[i] = squares[i] + (square - squares[i]) / seen[i]
        return Noise(last, tuple(squares), tuple(seen))


def noise_of(noise: Noise) -> tuple[Array, Array, int]:
    """Variance σ² and autocorrelation ρ of each run, and from how many values.

    The logarithms of the mean squares are fitted by log σ² + log(6 − 8ρᵏ + 2ρ²ᵏ), with ρ on a grid from 0 to 0.95;
    then ρ is raised by its known bias, (1 + 3ρ)/n.

    Source: our choice; the difference estimator of the variance (Gasser, Sroka & Jennen-Steinmetz 1986) at several
    lags; bias of ρ: Kendall 1954.
    """
    count = noise.seen[0]
    used = [i for i, lag in enumerate(LAGS) if 4 * lag <= max(count, 4)]
    lags = np.array([LAGS[i] for i in used])
    weights = WEIGHTS[used] / WEIGHTS[used].sum()
    powers = RHO[:, None] ** lags
    squares = np.stack([np.atleast_1d(noise.squares[i]) for i in used], axis=-1)
    gaps = np.log(squares + 1e-300)[:, None, :] - np.log(6.0 - 8.0 * powers + 2.0 * powers**2)
    means = gaps @ weights
    best = np.argmin(((gaps - means[..., None]) ** 2) @ weights, axis=1)
    rho = RHO[best]
    rho = np.clip(rho + (1.0 + 3.0 * rho) / max(count, 1), 0.0, 0.95)
    return np.exp(means[np.arange(len(best)), best]), rho, count


#: Neighbouring observations as one: their number (a power of two), mean position and mean value.
Bin = tuple[int, float, Values]


def absorbed(bins: tuple[Bin, ...], at: float, value: Values) -> tuple[Bin, ...]:
    """The bins, oldest first, with one more observation: fine for the newest, ever coarser into the past.

    At most twelve of a size stay; then the two oldest become one of twice the size. A window that ends now and holds n
    observations so has bins of at most n/12 observations, and the memory grows as log n.

    Source: exponential histograms (Datar, Gionis, Indyk & Motwani 2002), with means for counts.
    """
    kept = [*bins, (1, at, value)]
    place, size = len(kept), 1
    while place > SPREAD:
        first = place - SPREAD - 1
        if kept[first][0] != size:
            break
        if size == 2 ** (SIZES - 1):
            del kept[first]
            break
        a, b = kept[first], kept[first + 1]
        kept[first : first + 2] = [(2 * size, (a[1] + b[1]) / 2, (a[2] + b[2]) / 2)]
        place, size = first + 1, 2 * size
    return tuple(kept)


def windows(bins: tuple[Bin, ...]) -> dict[str, Array]:
    """Lines fitted by least squares to every window that ends now and begins at a bin, shortest first.

    Returns:
        Columns of shape (windows, 1) or (windows, runs): "count" of observations, "middle" and "mean" of the positions
        (from now) and values, "slope" a unit of position, "spread" Σ(x − x̄)².
    """
    counts = np.array([float(count) for count, _, _ in reversed(bins)])[:, None]
    ats = np.array([at for _, at, _ in reversed(bins)])[:, None]
    values = np.stack([np.atleast_1d(mean) for _, _, mean in reversed(bins)])
    now, level = ats[0], values[0]
    x, y = ats - now, values - level
    n, sx, sy = (np.cumsum(counts * item, axis=0) for item in (np.ones_like(x), x, y))
    sxx, sxy = (np.cumsum(counts * x * item, axis=0) for item in (x, y))
    spread = sxx - sx * sx / n
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = (sxy - sx * sy / n) / spread
    return {
        "count": n,
        "middle": sx / n,
        "mean": sy / n + level,
        "slope": slope,
        "spread": spread,
    }


def _least(a: Values, b: Values) -> Values:
    return min(a, b) if isinstance(a, float) else np.minimum(a, b)


def _median(values: Any) -> float:
    ordered = sorted(values)
    half = len(ordered) // 2
    return float(ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2)
