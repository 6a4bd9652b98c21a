"""Fewer points for the eye: a curve of any length in a few hundred points that draw the same picture.

A curve that is smooth or made of pieces (most learning rates) loses every point that lies on the straight line between
its neighbours, within 1/4000 of the range: jumps, corners and extremes stay exactly where they are. A curve that
is too rough for that keeps the first, lowest, highest and last point of each of many narrow windows, so that its
envelope stays. A noisy loss is drawn as a running mean: ten raw losses on one chart are ten smears.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["envelope", "simplified", "smoothed", "thinned"]

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

EYE = 4000  # a chart has fewer points in height: a 4000th of the range cannot be seen


def thinned(y: ArrayLike, limit: int = 400, log_decades: float = 0.0) -> Indices:
    """Choose the points of `y` (equally spaced, finite) to draw; their indices, increasing.

    Args:
        y: the values.
        limit: about how many points to keep at most.
        log_decades: when positive, the picture must also hold on a log axis over this many decades below the maximum,
            and values read between the points must be right within half a percent.
    """
    values = np.asarray(y, dtype=np.float64)
    if len(values) <= 3:
        return np.arange(len(values))
    tolerance = np.full(len(values), np.ptp(values) / EYE)
    if log_decades <= 0 or values.max() <= 0:
        return _thin_one(values, tolerance, limit)
    floored = np.maximum(values, values.max() * 10.0**-log_decades)
    as_read = _thin_one(values, np.minimum(tolerance, floored / 200), limit)
    as_seen = _thin_one(np.log10(floored), np.full(len(values), log_decades / EYE), limit)
    return np.union1d(as_read, as_seen)


def _thin_one(values: Floats, tolerance: Floats, limit: int) -> Indices:
    kept = simplified(values, tolerance, limit)
    return envelope(values, limit) if kept is None else kept


def simplified(values: Floats, tolerance: Floats, limit: int) -> Indices | None:
    """Indices whose straight connections stay within `tolerance` of every value; None if it takes more than `limit`.

    Douglas and Peucker's method (Cartographica 10, 1973) with vertical distances: a schedule is a function of the step.

    Args:
        values: at least one.
        tolerance: how far from each value a connection may be.
        limit: when to give up.
    """
    corners = sorted({0, int(values.argmin()), int(values.argmax()), len(values) - 1})
    kept = set(corners)
    open_spans = list(itertools.pairwise(corners))
    while open_spans and len(kept) <= limit:
        left, right = open_spans.pop()
        excess = _excess(values, tolerance, left, right)
        if excess.size and excess.max() > 0:
            worst = left + 1 + int(excess.argmax())
            kept.add(worst)
            open_spans += [(left, worst), (worst, right)]
    return np.array(sorted(kept), dtype=np.intp) if len(kept) <= limit else None


def _excess(values: Floats, tolerance: Floats, left: int, right: int) -> Floats:
    """By how much each value between two others is too far from their connection."""
    position = np.arange(1, right - left) / (right - left)
    chord = values[left] + (values[right] - values[left]) * position
    excess: Floats = np.abs(values[left + 1 : right] - chord) - tolerance[left + 1 : right]
    return excess


def envelope(values: Floats, limit: int) -> Indices:
    """First, lowest, highest and last index of each of `limit` / 4 windows of equal width."""
    windows = np.array_split(np.arange(len(values)), max(1, limit // 4))
    kept = [[w[0], w[values[w].argmin()], w[values[w].argmax()], w[-1]] for w in windows if len(w)]
    return np.unique(np.concatenate(kept)).astype(np.intp)


def smoothed(x: ArrayLike, y: ArrayLike, points: int = 200, share: float = 1 / 20) -> tuple[Floats, Floats]:
    """A running mean of y at `points` of its places, each over `share` of all values around it.

    At both ends the window is the half that exists.

    Args:
        x: finite, increasing.
        y: finite.
        points: how many places at most.
        share: width of the window, as a share of the length.
    """
    steps, values = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    reach = round(len(values) * share / 2)
    places = np.unique(np.linspace(0, len(values) - 1, min(points, len(values))).round().astype(int))
    # each window is summed by itself: a cumulative sum never recovers from one value of 1e30
    means = [values[max(0, i - reach) : i + reach + 1].mean() for i in places]
    return steps[places], np.array(means, dtype=np.float64)
