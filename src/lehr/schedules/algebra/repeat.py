"""Cycles of one schedule, each found in O(1) if they are equal and in O(log n) if they grow."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from operator import mul
from typing import Any

import numpy as np

from lehr.errors import LehrError
from lehr.lengths import as_count, whole_steps
from lehr.schedules.algebra.extents import CUT, boundaries, kind
from lehr.schedules.algebra.wrapped import Wrapped, receiver
from lehr.schedules.schedule import INT64_MAX, Array, Context, Curve, Extent, Part, Schedule, namespace, number
from lehr.schedules.shape import power
from lehr.spelling import call, shown

__all__ = ["Repeat"]

MOST_CYCLES = 10**6  # in one repeat that ends
MOST_CURVES = 1000  # the same if each cycle has another length
LAST_END = 2**62  # for ever ends here: a cycle that would end later does not begin, the value holds


@dataclass(frozen=True, repr=False)
class Repeat(Wrapped):
    """Cycles of one schedule; made by `a.repeat(...)`."""

    times: int | None = None
    stretch_by: float = 1.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        count = None if self.times is None else as_count(self.times, "repeat(times=...)")
        ratio, scale = number(self.stretch_by, "repeat(stretch=...)"), number(self.scale, "repeat(scale=...)")
        if count is not None and count > (MOST_CYCLES if ratio == 1 else MOST_CURVES):
            raise LehrError(
                f"repeat(times=...) must be at most {MOST_CYCLES}, and at most {MOST_CURVES} with a stretch, "
                f"got {count}; None is for ever"
            )
        if not 0.01 <= ratio <= 1000 or not 0 < scale <= 1:
            raise LehrError(
                f"repeat(stretch=..., scale=...) must have 0.01 <= stretch <= 1000 and 0 < scale <= 1, "
                f"got stretch={ratio!r}, scale={scale!r}"
            )
        if count is None and kind(self.inner) is not None:
            raise LehrError(
                f"repeat() for ever needs a schedule with a length, got {shown(self.inner)}; say how many times"
            )
        if count is None and ratio != 1 and ratio < 1.05:
            raise LehrError(f"repeat() for ever needs stretch=1 or stretch >= 1.05, got {ratio!r}; say how many times")
        if kind(self.inner) is Extent.ENDLESS:
            raise LehrError(f"{shown(self.inner)} never ends, so it cannot repeat; give it a length: {CUT}")
        for name, value in (("times", count), ("stretch_by", ratio), ("scale", scale)):
            object.__setattr__(self, name, value)

    def text(self, full: bool = False) -> str:
        """`inner.repeat(...)`."""
        arguments = {"times": self.times, "stretch": self.stretch_by, "scale": self.scale}
        return f"{receiver(self.inner, full)}.{call(Schedule.repeat, arguments, full)}"

    def extent(self, context: Context) -> Fraction | Extent:
        """The sum of the cycles."""
        one = self.inner.extent(context)
        if not isinstance(one, Fraction):
            return Extent.FILLING
        if self.times is None:
            return Extent.ENDLESS
        return one * _geometric(self._ratio, self.times)

    def build(self, context: Context, start: float, length: int | None) -> Curve:
        """Cycle boundaries in whole steps; a cycle's curve is built once for each different length."""
        one = self.inner.extent(context)
        if not isinstance(one, Fraction):
            one = Fraction(length or 0) / _geometric(self._ratio, self.times or 1)
        if self.times is None:
            one, length = Fraction(whole_steps(one)), None
        if one == 0 and self.times is None:
            raise LehrError(f"repeat() for ever needs a schedule of at least one step, got {shown(self.inner)}")
        cycles = self._equal(one, length) or self._table(one, length)
        curves = [self.inner.build(context.stretched(grown), start, size) for size, grown in cycles.sizes]
        total = None if self.times is None else cycles.bounds[-1] if cycles.bounds is not None else length

        def evaluate(t: Array) -> Array:
            xp = namespace(t)
            cycle, local, which = cycles.locate(t if total is None else xp.minimum(t, total), xp)
            first, *others = np.unique(which) if xp is np and t.size else range(len(curves))
            value = curves[first].evaluate(local)
            for i in others:
                value = xp.where(which == i, curves[i].evaluate(local), value)
            return value if self.scale == 1 else value * power(self.scale, cycle)

        bound = max(curve.bound for curve in curves)
        largest = max([*(cycles.bounds or [total or 0]), *(curve.largest for curve in curves)])
        return Curve(evaluate, total, bound, curves[0].warmup, largest, (Part(0, total, self.text()),))

    @property
    def fills(self) -> bool:
        """Whether the cycle lacks a length."""
        return kind(self.inner) is not None

    @property
    def _ratio(self) -> Fraction:
        return Fraction(str(self.stretch_by))

    def _equal(self, one: Fraction, length: int | None) -> _Cycles | None:
        """Equal whole cycles need no table, however many there are."""
        uneven = self._ratio != 1 or one.denominator != 1 or one == 0
        if uneven or (length is not None and length != one * (self.times or 1)):
            return None
        return _Cycles([(int(one), Fraction(1))], None, self.times)

    def _table(self, one: Fraction, length: int | None) -> _Cycles:
        exact = _cycle_lengths(one, self._ratio, self.times)
        bounds = boundaries(exact, length)
        grown = accumulate([self._ratio] * (len(exact) - 1), mul, initial=Fraction(1))
        sizes = [(b - a, g) for a, b, g in zip(bounds, bounds[1:], grown, strict=False)]
        return _Cycles(sizes, bounds, self.times)


class _Cycles:
    """Where cycles begin: equal ones by division, others by a table of boundaries and a binary search."""

    def __init__(self, sizes: list[tuple[int, Fraction]], bounds: list[int] | None, times: int | None) -> None:
        self.sizes = list(dict.fromkeys(sizes))
        self.bounds = bounds
        self.times = times
        if bounds is not None:
            order = {size: i for i, size in enumerate(self.sizes)}
            self._which = np.array([order[size] for size in sizes])
            self._starts = np.array([min(bound, INT64_MAX) for bound in bounds[:-1]])  # a larger one is refused later

    def locate(self, t: Array, xp: Any) -> tuple[Array, Array, Array]:
        """The number of the cycle, the local step, and which of the different cycle curves holds."""
        if self.bounds is None:
            size = self.sizes[0][0]
            cycle = t // size if self.times is None else xp.minimum(t // size, self.times - 1)
            return cycle, t - cycle * size, xp.zeros_like(t)
        starts = xp.asarray(self._starts)
        cycle = xp.searchsorted(starts, t, side="right") - 1
        return cycle, t - starts[cycle], xp.asarray(self._which)[cycle]


def _geometric(ratio: Fraction, times: int) -> Fraction:
    """1 + ratio + … + ratio^(times − 1)."""
    return Fraction(times) if ratio == 1 else (ratio**times - 1) / (ratio - 1)


def _cycle_lengths(one: Fraction, ratio: Fraction, times: int | None) -> list[Fraction]:
    """The exact lengths of all cycles, or of those that end by step 2^62."""
    if times is not None:
        return list(accumulate([ratio] * (times - 1), mul, initial=one))
    lengths, end = [one], one
    while (end := end + lengths[-1] * ratio) <= LAST_END:
        lengths.append(lengths[-1] * ratio)
    return lengths
