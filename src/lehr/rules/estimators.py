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

__all__ = ["KEPT", "LAGS", "Bin", "Noise", "absorbed", "bounded", "clipped", "noise_of", "windows"]

Values = Any  # a float, or an array of one value a run
Array = np.ndarray[Any, np.dtype[np.float64]]

LARGEST = 1e150
RECENT = 15  # values that say what an outlier is
OUTLIER = 2.0  # in robust standard deviations (median absolute deviation · 1.4826)
LAGS = (1, 2, 4, 8, 16)
WEIGHTS = np.array([1.0, 1.0, 0.7, 0.5, 0.3])  # of the lags in the fit: fewer independent differences, less weight
KEPT = 512  # values that the noise is estimated from
EIGHTHS = 8
SHORTEST = 4  # lags in an eighth: fewer would take noise for curvature
TRIMMED = 0.2  # share of the largest squared differences that is left out: a bend of the curve is no noise
SHRUNK = 0.4377  # mean of the other 80 % of the squares of a normal variable
CAUTION = 2.0  # standard errors by which the autocorrelation is taken higher than estimated
SPREAD = 12  # bins of one size, before the two oldest become one of twice the size
SIZES = 9  # sizes of bins: 12·(1 + 2 + … + 256) observations are remembered at most
RHO = np.linspace(0.0, 0.95, 96)


def bounded(value: float) -> float:
    """A finite value within ±1e150, so that squares of differences are finite."""
    return min(max(value, -LARGEST), LARGEST)


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
    """The noise of each run, an entry a run.

    Attributes:
        sd: σ, of one observation.
        rho: ρ, taken two standard errors higher than estimated.
        known: values that it was estimated from.
    """

    sd: Array
    rho: Array
    known: Array

    @property
    def times(self) -> Array:
        """τ = (1 + ρ)/(1 − ρ), the integrated autocorrelation time."""
        times: Array = (1 + self.rho) / (1 - self.rho)
        return times

    @property
    def long_run(self) -> Array:
        """σ²·τ: the variance of a mean, times the number in it."""
        long_run: Array = self.sd**2 * self.times
        return long_run


def noise_of(last: tuple[Values, ...]) -> Noise:
    """The noise in the last values.

    The logarithms of the mean squared differences at lag k, without their median over each eighth (the curvature of
    the truth) and without the largest 20 % (the bend at the end of a fall is among them), are fitted by
    log σ² + log(6 − 8ρᵏ + 2ρ²ᵏ), with ρ on a grid from 0 to 0.95; then ρ is raised by its known bias, (1 + 3ρ)/n, and
    by two standard errors, √((1 − ρ²)/n).

    Args:
        last: at least three values, oldest first.

    Source: our choice; the difference estimator of the variance (Gasser, Sroka & Jennen-Steinmetz 1986) at several
    lags; bias of ρ: Kendall 1954.
    """
    values = np.array([np.atleast_1d(value) for value in last])
    known = len(values) - 2
    used = [i for i, lag in enumerate(LAGS) if 4 * lag <= max(known, 4)]
    lags, weights = np.array([LAGS[i] for i in used]), WEIGHTS[used] / WEIGHTS[used].sum()
    squares = [_trimmed(_straightened(values[2 * k :] - 2 * values[k:-k] + values[: -2 * k], k)) for k in lags.tolist()]
    powers = RHO[:, None] ** lags
    gaps = np.log(np.array(squares).T + 1e-300)[:, None, :] - np.log(6 - 8 * powers + 2 * powers**2)
    means = gaps @ weights
    best = np.argmin(((gaps - means[..., None]) ** 2) @ weights, axis=1)
    rho = np.clip(RHO[best] + (1 + 3 * RHO[best]) / known, 0.0, 0.95)
    sd = np.exp(means[np.arange(len(best)), best] / 2)
    return Noise(sd, np.minimum(rho + CAUTION * np.sqrt((1 - rho**2) / known), 0.97), np.full(len(sd), float(known)))


def _straightened(differences: Array, lag: int) -> Array:
    """Without their median over each eighth: that is the curvature of the truth; noise has none that lasts."""
    parts = min(len(differences) // (SHORTEST * lag), EIGHTHS)
    if parts < 2:
        return differences
    size = len(differences) // parts
    eighths = differences[-size * parts :].reshape(parts, size, -1)
    return (eighths - np.median(eighths, axis=1, keepdims=True)).reshape(size * parts, -1)


def _trimmed(differences: Array) -> Array:
    squares = differences**2
    kept = max(round((1 - TRIMMED) * len(squares)), 1)
    trimmed: Array = np.partition(squares, kept - 1, axis=0)[:kept].mean(axis=0) / SHRUNK
    return trimmed


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


def _median(values: Any) -> float:
    ordered = sorted(values)
    half = len(ordered) // 2
    return float(ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2)
