"""The algebra: sequence, product, repeat, clip, staircase and stretch, closed under composition.

`then` and `*` are stored flat, so that associativity is equality of values.
"""

from __future__ import annotations

import functools as ft
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import accumulate
from typing import Any

import numpy as np

from lehr.errors import LehrError
from lehr.lengths import Length, LengthLike, as_length, half_up, whole_steps
from lehr.schedules.schedule import INT64_MAX, Array, Context, Curve, Extent, Part, Schedule, namespace
from lehr.schedules.shape import number, power
from lehr.spelling import call

__all__ = ["Clip", "Product", "Repeat", "Sequence", "Staircase", "Stretch"]

MOST_CURVES = 1000  # cycles of different lengths in one repeat


@dataclass(frozen=True, repr=False)
class Sequence(Schedule):
    """One schedule after another; made by `a.then(b)`."""

    members: tuple[Schedule, ...]

    @classmethod
    def of(cls, *members: Schedule) -> Sequence:
        """The flat sequence of `members`.

        Raises:
            LehrError: a member is not a schedule, an endless one is not last, or more than one lacks a length.
        """
        if len(members) < 2:
            raise LehrError("a.then(b) needs at least one schedule to follow, got none")
        for member in members:
            if not isinstance(member, Schedule):
                raise LehrError(f"a.then(b) must be given schedules, got {member!r}; rules belong in Policy(rules=[...])")
        flat = [part for m in members for part in (m.members if isinstance(m, Sequence) else (m,))]
        filling = [part for i, part in enumerate(flat) if _filling(part, last=i == len(flat) - 1)]
        if len(filling) > 1:
            raise LehrError(
                f"at most one member of a sequence may lack a length, got {len(filling)}: "
                f"{', '.join(map(repr, filling))}; give all but one a length such as \"10%\""
            )
        for part in flat[:-1]:
            if kind(part) is Extent.ENDLESS:
                raise LehrError(f"{part!r} never ends, so nothing can follow it; put it last")
        return cls(tuple(flat))

    def text(self, full: bool = False) -> str:
        """`first.then(second).then(…)` prints flat, as `first.then(second, third)`."""
        first, *rest = self.members
        return f"{_receiver(first, full)}.then({', '.join(item.text(full) for item in rest)})"

    def extent(self, context: Context) -> Fraction | Extent:
        """The sum, unless a member fills or the last one never ends."""
        extents = [member.extent(context) for member in self.members]
        if any(_filling(m, last=i == len(extents) - 1) for i, m in enumerate(self.members)):
            return Extent.FILLING
        if isinstance(extents[-1], Extent):
            return Extent.ENDLESS
        return sum((item for item in extents if isinstance(item, Fraction)), Fraction(0))

    def build(self, context: Context, start: float, length: int | None) -> Curve:
        """Members side by side; each begins at the end value of the one before it."""
        bounds = self._bounds(context, length)
        curves: list[Curve] = []
        for member, begin, end in zip(self.members, bounds, [*bounds[1:], None], strict=False):
            curves.append(member.build(context, start, None if end is None else end - begin))
            start = curves[-1].end if end is not None else start
        offsets = bounds[: len(curves)]

        def evaluate(t: Array) -> Array:
            xp = namespace(t)
            first, last = _touched(t, offsets)
            value = curves[last].evaluate(xp.maximum(t - offsets[last], 0))
            for i in range(last - 1, first - 1, -1):
                local = xp.clip(t - offsets[i], 0, offsets[i + 1] - offsets[i])
                value = xp.where(t < offsets[i + 1], curves[i].evaluate(local), value)
            return value

        total = bounds[-1] if len(bounds) > len(curves) else None
        largest = max([*bounds, *(curve.largest for curve in curves)])
        parts = tuple(_shift(p, offset) for c, offset in zip(curves, offsets, strict=True) for p in c.parts)
        warm = curves[0].warmup
        if warm and warm == curves[0].length and len(curves) > 1:
            warm += curves[1].warmup if offsets[1] == warm else 0
        return Curve(evaluate, total, warm, largest, parts)

    def _bounds(self, context: Context, length: int | None) -> list[int]:
        """Where the members begin, and where the last one ends if it does; rounded cumulatively, half up."""
        exact = [member.extent(context) for member in self.members]
        fixed = sum((item for item in exact if isinstance(item, Fraction)), Fraction(0))
        last = len(exact) - 1
        sizes: list[Fraction | None] = []
        for i, (member, item) in enumerate(zip(self.members, exact, strict=True)):
            if isinstance(item, Fraction):
                sizes.append(item)
            elif _filling(member, last=i == last):
                sizes.append(max(Fraction(length or 0) - fixed, Fraction(1)))
            else:
                sizes.append(None)
        bounds, total = [0], Fraction(0)
        for size in sizes:
            if size is None:
                break
            total += size
            bounds.append(max(half_up(total), bounds[-1] + (1 if size > 0 else 0)))
        if sizes[-1] is not None and length is not None and length != bounds[-1]:
            bounds = _fit(bounds, length)
        return bounds

    def lengths(self) -> Iterator[Length]:
        """Those of all members."""
        for member in self.members:
            yield from member.lengths()

    @property
    def fills(self) -> bool:
        """Whether a member fills."""
        return kind(self) is Extent.FILLING

    @property
    def absolute(self) -> bool:
        """Whether a member has a `to_lr`."""
        return any(member.absolute for member in self.members)


@dataclass(frozen=True, repr=False)
class Product(Schedule):
    """Factors multiplied; made by `a * b`. As long as its longest fixed factor; a filling factor fills."""

    members: tuple[Schedule, ...]

    @classmethod
    def of(cls, *members: Schedule) -> Product:
        """The flat product of `members`."""
        return cls(tuple(p for m in members for p in (m.members if isinstance(m, Product) else (m,))))

    def text(self, full: bool = False) -> str:
        """`a * b`."""
        return " * ".join(member.text(full) for member in self.members)

    def extent(self, context: Context) -> Fraction | Extent:
        """Filling if a factor fills, else the longest fixed factor, else endless."""
        extents = [member.extent(context) for member in self.members]
        if Extent.FILLING in extents:
            return Extent.FILLING
        return max((item for item in extents if isinstance(item, Fraction)), default=Extent.ENDLESS)

    def build(self, context: Context, start: float, length: int | None) -> Curve:
        """The first factor gets the start, the others begin at 1; shorter ones hold their end value."""
        curves = []
        for i, member in enumerate(self.members):
            own = member.extent(context)
            steps = whole_steps(own) if isinstance(own, Fraction) else length if own is Extent.FILLING else None
            if length is not None and steps is not None:
                steps = length if own == self.extent(context) else min(steps, length)
            curves.append(member.build(context, start if i == 0 else 1.0, steps))

        def evaluate(t: Array) -> Array:
            local = t if length is None else namespace(t).minimum(t, length)
            return ft.reduce(lambda a, b: a * b, [curve.evaluate(local) for curve in curves])

        largest = max(length or 0, *(curve.largest for curve in curves))
        warm = max(curve.warmup for curve in curves)
        return Curve(evaluate, length, warm, largest, (Part(0, length, self.text()),))

    def lengths(self) -> Iterator[Length]:
        """Those of all factors."""
        for member in self.members:
            yield from member.lengths()

    @property
    def fills(self) -> bool:
        """Whether a factor fills."""
        return any(member.fills for member in self.members)

    @property
    def absolute(self) -> bool:
        """Whether a factor has a `to_lr`."""
        return any(member.absolute for member in self.members)


@dataclass(frozen=True, repr=False)
class _Wrapped(Schedule):
    """What the operations on one schedule share."""

    inner: Schedule

    def extent(self, context: Context) -> Fraction | Extent:
        return self.inner.extent(context)

    def lengths(self) -> Iterator[Length]:
        yield from self.inner.lengths()

    @property
    def fills(self) -> bool:
        return self.inner.fills

    @property
    def absolute(self) -> bool:
        return self.inner.absolute


@dataclass(frozen=True, repr=False)
class Repeat(_Wrapped):
    """Cycles of one schedule; made by `a.repeat(...)`."""

    times: int | None = None
    stretch_by: float = 1.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        count = None if self.times is None else as_length(self.times, "repeat(times=...)", ("steps",)).amount
        ratio, scale = number(self.stretch_by, "repeat(stretch=...)"), number(self.scale, "repeat(scale=...)")
        if count is not None and not 1 <= count <= 10**6:
            raise LehrError(f"repeat(times=...) must be between 1 and 1000000, got {self.times!r}; None is for ever")
        if not 0.01 <= ratio <= 1000 or not 0 < scale <= 1:
            raise LehrError(
                f"repeat(stretch=..., scale=...) must have 0.01 <= stretch <= 1000 and 0 < scale <= 1, "
                f"got stretch={ratio!r}, scale={scale!r}"
            )
        if count is None and kind(self.inner) is not None:
            raise LehrError(f"repeat() for ever needs a schedule with a length, got {self.inner!r}; say how many times")
        if count is None and ratio != 1 and ratio < 1.05:
            raise LehrError(f"repeat() for ever needs stretch=1 or stretch >= 1.05, got {ratio!r}; say how many times")
        if kind(self.inner) is Extent.ENDLESS:
            raise LehrError(f"{self.inner!r} never ends, so it cannot repeat; give it a length or put it last")
        for name, value in (("times", count if count is None else int(count)), ("stretch_by", ratio), ("scale", scale)):
            object.__setattr__(self, name, value)

    def text(self, full: bool = False) -> str:
        """`inner.repeat(...)`."""
        arguments = {"times": self.times, "stretch": self.stretch_by, "scale": self.scale}
        return f"{_receiver(self.inner, full)}.{call(Schedule.repeat, arguments, full)}"

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
            one = Fraction(whole_steps(one))
        if one == 0:
            raise LehrError(f"{self!r} cannot repeat a schedule of no steps; give {self.inner!r} a positive length")
        cycles = self._equal(one, length) or self._table(one, length)
        curves = [self.inner.build(context.stretched(grown), start, size) for size, grown in cycles.sizes]
        total = None if self.times is None else cycles.bounds[-1] if cycles.bounds is not None else length

        def evaluate(t: Array) -> Array:
            xp = namespace(t)
            cycle, local, which = cycles.locate(t if total is None else xp.minimum(t, total), xp)
            value = curves[0].evaluate(local)
            for i, curve in enumerate(curves[1:], 1):
                value = xp.where(which == i, curve.evaluate(local), value)
            return value if self.scale == 1 else value * power(self.scale, cycle)

        bounds = cycles.bounds or []
        largest = max([total or 0, *(c.largest for c in curves), *(b for b in bounds if b < INT64_MAX)])
        return Curve(evaluate, total, curves[0].warmup, largest, (Part(0, total, self.text()),))

    @property
    def fills(self) -> bool:
        """Whether the cycle lacks a length."""
        return kind(self.inner) is not None

    @property
    def _ratio(self) -> Fraction:
        return Fraction(str(self.stretch_by))

    def _equal(self, one: Fraction, length: int | None) -> _Cycles | None:
        """Equal whole cycles need no table, however many there are."""
        if self._ratio != 1 or one.denominator != 1 or (length is not None and length != one * (self.times or 1)):
            return None
        return _Cycles([(int(one), Fraction(1))], None, self.times)

    def _table(self, one: Fraction, length: int | None) -> _Cycles:
        exact = _cycle_lengths(one, self._ratio, self.times)
        bounds = [0]
        for total, size in zip(accumulate(exact), exact, strict=True):
            bounds.append(max(half_up(total), bounds[-1] + (1 if size > 0 else 0)))
        if length is not None and bounds[-1] != length:
            bounds = _fit(bounds, length)
        grown = [self._ratio**i for i in range(len(exact))] if self._ratio != 1 else [Fraction(1)] * len(exact)
        sizes = [(b - a, g) for a, b, g in zip(bounds, bounds[1:], grown, strict=False)]
        if len(set(sizes)) > MOST_CURVES:
            raise LehrError(f"{self!r} has {len(set(sizes))} cycles of different lengths; at most {MOST_CURVES}")
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
            self._starts = np.array([min(bound, INT64_MAX) for bound in bounds[:-1]])

    def locate(self, t: Array, xp: Any) -> tuple[Array, Array, Array]:
        """The number of the cycle, the local step, and which of the different cycle curves holds."""
        if self.bounds is None:
            size = self.sizes[0][0]
            cycle = t // size if self.times is None else xp.minimum(t // size, self.times - 1)
            return cycle, t - cycle * size, xp.zeros_like(t)
        starts = xp.asarray(np.minimum(self._starts, xp.iinfo(t.dtype).max))
        cycle = xp.searchsorted(starts, t, side="right") - 1
        return cycle, t - starts[cycle], xp.asarray(self._which)[cycle]


@dataclass(frozen=True, repr=False)
class Clip(_Wrapped):
    """Values between two bounds; made by `a.clip(low, high)`."""

    low: float = 0.0
    high: float | None = None

    def __post_init__(self) -> None:
        low = number(self.low, "clip(low=...)")
        high = None if self.high is None else number(self.high, "clip(high=...)")
        if low < 0 or (high is not None and high < low):
            raise LehrError(f"clip(low, high) must have 0 <= low <= high, got {low!r} and {high!r}")
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)

    def text(self, full: bool = False) -> str:
        """`inner.clip(...)`."""
        return f"{_receiver(self.inner, full)}.{call(Schedule.clip, {'low': self.low, 'high': self.high}, full)}"

    def build(self, context: Context, start: float, length: int | None) -> Curve:
        """The inner curve, clipped."""
        curve = self.inner.build(context, start, length)
        return replace(curve, evaluate=lambda t: namespace(t).clip(curve.evaluate(t), self.low, self.high))


@dataclass(frozen=True, repr=False)
class Staircase(_Wrapped):
    """Sample and hold; made by `a.staircase(every)`."""

    every: LengthLike | Length

    def __post_init__(self) -> None:
        every = as_length(self.every, "staircase(every=...)")
        if every.amount == 0:
            raise LehrError("staircase(every=...) must be a positive length, got 0")
        object.__setattr__(self, "every", every)

    def text(self, full: bool = False) -> str:
        """`inner.staircase(every)`."""
        return f"{_receiver(self.inner, full)}.{call(Schedule.staircase, {'every': self.every}, full)}"

    def build(self, context: Context, start: float, length: int | None) -> Curve:
        """x(n·⌊t/n⌋) up to the end, the end value after it."""
        curve = self.inner.build(context, start, length)
        every = context.steps(as_length(self.every, "every"))

        def evaluate(t: Array) -> Array:
            sample = t // every * every
            return curve.evaluate(sample if curve.length is None else namespace(t).where(t < curve.length, sample, t))

        return replace(curve, evaluate=evaluate, largest=max(curve.largest, every))

    def lengths(self) -> Iterator[Length]:
        """Those inside, and the stair's."""
        yield from self.inner.lengths()
        yield as_length(self.every, "every")


@dataclass(frozen=True, repr=False)
class Stretch(_Wrapped):
    """Lengths multiplied; made by `a.stretch(k)`."""

    k: float = 1.0

    def __post_init__(self) -> None:
        k = number(self.k, "stretch(k)")
        if not 1e-6 <= k <= 1e6:
            raise LehrError(f"stretch(k) must be between 1e-6 and 1e6, got {k!r}")
        if self.inner.fills:
            raise LehrError(f"{self.inner!r} takes the steps that are left, so it has no length to stretch; give it one")
        object.__setattr__(self, "k", k)

    def text(self, full: bool = False) -> str:
        """`inner.stretch(k)`."""
        return f"{_receiver(self.inner, full)}.{call(Schedule.stretch, {'k': self.k}, full)}"

    def extent(self, context: Context) -> Fraction | Extent:
        """k times as long."""
        return self.inner.extent(context.stretched(Fraction(str(self.k))))

    def build(self, context: Context, start: float, length: int | None) -> Curve:
        """The inner curve in the stretched context."""
        return self.inner.build(context.stretched(Fraction(str(self.k))), start, length)


def kind(schedule: Schedule) -> Extent | None:
    """How a schedule's length is found, or None if it has one; known without a horizon."""
    from lehr.lengths import Horizon

    known = Horizon(steps=10**6, steps_per_epoch=10**3, samples_per_step=1, tokens_per_step=1)
    extent = schedule.extent(Context(known, lr=1.0))
    return extent if isinstance(extent, Extent) else None


def _filling(schedule: Schedule, last: bool) -> bool:
    extent = kind(schedule)
    return extent is Extent.FILLING or (extent is Extent.OPEN and not last)


def _receiver(schedule: Schedule, full: bool) -> str:
    return f"({schedule.text(full)})" if isinstance(schedule, Product) else schedule.text(full)


def _touched(t: Array, offsets: list[int]) -> tuple[int, int]:
    """The first and the last member that governs any of the steps; a traced array is asked nothing."""
    if not isinstance(t, np.ndarray) or not t.size:
        return 0, len(offsets) - 1
    return max(bisect_right(offsets, t.min()) - 1, 0), max(bisect_right(offsets, t.max()) - 1, 0)


def _shift(part: Part, offset: int) -> Part:
    return Part(part.start + offset, None if part.stop is None else part.stop + offset, part.text)


def _fit(bounds: list[int], length: int) -> list[int]:
    """Boundaries shrunk or grown to end at `length`, in proportion, rounded half up."""
    share = Fraction(length, bounds[-1]) if bounds[-1] else Fraction(0)
    return [half_up(bound * share) for bound in bounds]


def _geometric(ratio: Fraction, times: int) -> Fraction:
    """1 + ratio + … + ratio^(times − 1)."""
    return Fraction(times) if ratio == 1 else (ratio**times - 1) / (ratio - 1)


def _cycle_lengths(one: Fraction, ratio: Fraction, times: int | None) -> list[Fraction]:
    """The exact lengths of all cycles, or of those that begin before step 2^63."""
    if times is not None:
        return [one * ratio**i for i in range(times)]
    lengths = [one]
    while sum(lengths) <= INT64_MAX:
        lengths.append(lengths[-1] * ratio)
    return lengths
