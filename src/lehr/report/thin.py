"""Fewer points for the eye: a curve of any length in a few hundred points that draw the same picture.

A curve that is smooth or made of pieces (most learning rates) loses every point that lies on the straight line between
its neighbours, within 1/4000 of the range: jumps, corners and extremes stay exactly where they are. A curve that
is too rough for that keeps the first, lowest, highest and last point of each of many narrow windows, so that its
envelope stays. A noisy loss is drawn as a running mean: ten raw losses on one chart are ten smears.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["envelope", "simplified", "smoothed", "thinned"]

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


def thinned(y: ArrayLike, limit: int = 400, log_decades: float = 0.0) -> Indices:
    """Choose the points of `y` (equally spaced, finite) to draw; their indices, increasing.

    Args:
        y: the values.
        limit: about how many points to keep at most.
        log_decades: when positive, the picture must also hold on a log axis over this many decades below the maximum.
    """
    values = np.asarray(y, dtype=np.float64)
    if len(values) <= 3:
        return np.arange(len(values))
    pictures = [values]
    if log_decades > 0 and values.max() > 0:
        pictures.append(np.log10(np.maximum(values, values.max() * 10.0**-log_decades)))
    kept = [_thin_one(picture, limit) for picture in pictures]
    return np.unique(np.concatenate(kept))


def _thin_one(values: Floats, limit: int) -> Indices:
    tolerance = float(np.ptp(values)) / 4000
    kept = simplified(values, tolerance, limit)
    return envelope(values, limit) if kept is None else kept


def simplified(values: Floats, tolerance: float, limit: int) -> Indices | None:
    """Indices whose straight connections stay within `tolerance` of every value; None when more than `limit` are needed.

    Douglas and Peucker's method (Cartographica 10, 1973) with vertical distances: a schedule is a function of the step.
    """
    corners = sorted({0, int(values.argmin()), int(values.argmax()), len(values) - 1})
    kept = set(corners)
    open_spans = list(zip(corners, corners[1:], strict=False))
    while open_spans:
        left, right = open_spans.pop()
        worst, gap = _farthest(values, left, right)
        if gap > tolerance:
            kept.add(worst)
            open_spans += [(left, worst), (worst, right)]
        if len(kept) > limit:
            return None
    return np.array(sorted(kept), dtype=np.intp)


def _farthest(values: Floats, left: int, right: int) -> tuple[int, float]:
    """The index between two others that is farthest from their connection, and how far it is."""
    if right - left < 2:
        return left, 0.0
    position = np.arange(1, right - left) / (right - left)
    chord = values[left] + (values[right] - values[left]) * position
    gaps = np.abs(values[left + 1 : right] - chord)
    worst = int(gaps.argmax())
    return left + 1 + worst, float(gaps[worst])


def envelope(values: Floats, limit: int) -> Indices:
    """First, lowest, highest and last index of each of `limit` / 4 windows of equal width."""
    windows = np.array_split(np.arange(len(values)), max(1, limit // 4))
    kept = [[w[0], w[values[w].argmin()], w[values[w].argmax()], w[-1]] for w in windows if len(w)]
    return np.unique(np.concatenate(kept)).astype(np.intp)


def smoothed(x: ArrayLike, y: ArrayLike, points: int = 200, share: float = 1 / 40) -> tuple[Floats, Floats]:
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
