"""The algebra: sequence, product, repeat, clip, staircase and stretch, closed under composition.

`then` and `*` are stored flat, so that associativity is equality of values.
"""

from __future__ import annotations

import functools as ft
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import accumulate, chain
from operator import mul
from typing import Any, TypeVar

import numpy as np

from lehr.errors import LehrError
from lehr.lengths import Horizon, Length, LengthLike, as_count, as_length, half_up, whole_steps
from lehr.schedules.schedule import INT64_MAX, Array, Context, Curve, Extent, Part, Schedule, namespace, number
from lehr.schedules.shape import power
from lehr.spelling import call, shown

__all__ = ["Clip", "Product", "Repeat", "Sequence", "Staircase", "Stretch"]

E = TypeVar("E")

MOST_CYCLES = 10**6  # in one repeat that ends
MOST_CURVES = 1000  # the same if each cycle has another length
LAST_END = 2**62  # for ever ends here: a cycle that would end later does not begin, the value holds


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
                raise LehrError(
                    f"a.then(b) must be given schedules, got {shown(member)}; rules belong in Policy(rules=[...])"
                )
        flat = [part for m in members for part in (m.members if isinstance(m, Sequence) else (m,))]
        kinds = [kind(part) for part in flat]
        filling = [part for part, how in zip(flat, _before_others(kinds), strict=True) if how is Extent.FILLING]
        if len(filling) > 1:
            raise LehrError(
                f"at most one member of a sequence may lack a length, got {len(filling)}: "
                f'{", ".join(map(shown, filling))}; give all but one a length such as "10%"'
            )
        for part, how in zip(flat[:-1], kinds, strict=False):
            if how is Extent.ENDLESS:
                raise LehrError(f"{shown(part)} never ends, so nothing can follow it; put it last")
        return cls(tuple(flat))

    def text(self, full: bool = False) -> str:
        """`first.then(second).then(…)` prints flat, as `first.then(second, third)`."""
        first, *rest = self.members
        return f"{_receiver(first, full)}.then({', '.join(item.text(full) for item in rest)})"

    def extent(self, context: Context) -> Fraction | Extent:
        """The sum, unless a member fills or the last one is open or never ends."""
        extents = _before_others([member.extent(context) for member in self.members])
        if Extent.FILLING in extents:
            return Extent.FILLING
        return extents[-1] if isinstance(extents[-1], Extent) else _fixed(extents)

    def build(self, context: Context, start: float, length: int | None) -> Curve:
        """Members side by side; each begins at the end value of the one before it."""
        bounds = self._bounds(context, length)
        curves: list[Curve] = []
        ends = [*bounds[1:], None][: len(self.members)]
        for member, begin, end in zip(self.members, bounds, ends, strict=False):
            size = None if end is None else end - begin
            curves.append(member.build(context, start, size))
            start = start if size is None else curves[-1](size)
        offsets = bounds[: len(curves)]

        def evaluate(t: Array) -> Array:
            xp = namespace(t)
            first, last = _touched(t, offsets)
            value = None
            for i in range(last, first - 1, -1):
                end = ends[i]
                local = xp.clip(t - offsets[i], 0, None if end is None else end - offsets[i])
                own = curves[i].evaluate(local)
                value = own if value is None else xp.where(t < end, own, value)
            return value

        total = bounds[-1] if len(bounds) > len(curves) else None
        bound = max(curve.bound for curve in curves)
        largest = max([*bounds, *(curve.largest for curve in curves)])
        parts = tuple(chain.from_iterable(map(_placed, curves, offsets, ends)))
        return Curve(evaluate, total, bound, _leading_warmup(curves, offsets, ends), largest, parts)

    def _bounds(self, context: Context, length: int | None) -> list[int]:
        """Where the members begin, and where the last one ends if it does.

        What the fixed members leave of `length` is for the one that fills; if they need more, they have it.
        """
        extents = _before_others([member.extent(context) for member in self.members])
        if length is not None and extents[-1] is Extent.OPEN and Extent.FILLING not in extents:
            extents[-1] = Extent.FILLING  # it ends before something else, so its hold fills
        fixed = _fixed(extents)
        if Extent.FILLING in extents:
            left = max((length or 0) - fixed, Fraction(0))
            extents = [left if item is Extent.FILLING else item for item in extents]
            length = max(length or 0, whole_steps(fixed))
        elif isinstance(extents[-1], Extent):
            length = None
        return boundaries([item for item in extents if isinstance(item, Fraction)], length)

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
        """Filling if a factor fills, else the longest fixed factor, else open if a factor is, else endless."""
        extents = [member.extent(context) for member in self.members]
        if Extent.FILLING in extents:
            return Extent.FILLING
        fixed = [item for item in extents if isinstance(item, Fraction)]
        return max(fixed) if fixed else Extent.OPEN if Extent.OPEN in extents else Extent.ENDLESS

    def build(self, context: Context, start: float, length: int | None) -> Curve:
        """The first factor gets the start, the others begin at 1; shorter ones hold their end value."""
        extent = self.extent(context)
        curves = []
        for i, member in enumerate(self.members):
            own = member.extent(context)
            if own is Extent.FILLING or own == extent:
                steps = length
            else:
                steps = whole_steps(own) if isinstance(own, Fraction) else None
            curves.append(member.build(context, start if i == 0 else 1.0, steps))

        def evaluate(t: Array) -> Array:
            local = t if length is None else namespace(t).minimum(t, length)
            return ft.reduce(lambda a, b: a * b, [curve.evaluate(local) for curve in curves])

        largest = max(length or 0, *(curve.largest for curve in curves))
        bound = max(accumulate((curve.bound for curve in curves), mul))
        warm = max(curve.warmup for curve in curves)
        return Curve(evaluate, length, bound, warm, largest, (Part(0, length, self.text()),))

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
            raise LehrError(f"{shown(self.inner)} never ends, so it cannot repeat; give it a length or put it last")
        for name, value in (("times", count), ("stretch_by", ratio), ("scale", scale)):
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
        bound = max(curve.bound, self.low)
        return replace(curve, evaluate=lambda t: namespace(t).clip(curve.evaluate(t), self.low, self.high), bound=bound)


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
            raise LehrError(
                f"{shown(self.inner)} takes the steps that are left, so there is nothing to stretch; give it a length"
            )
        object.__setattr__(self, "k", k)

    def text(self, full: bool = False) -> str:
        """`inner.stretch(k)`."""
        return f"{_receiver(self.inner, full)}.{call(Schedule.stretch, {'k': self.k}, full)}"

    def extent(self, context: Context) -> Fraction | Extent:
        """As long as the inner one, times k."""
        return self.inner.extent(context.stretched(Fraction(str(self.k))))

    def build(self, context: Context, start: float, length: int | None) -> Curve:
        """The inner curve in the stretched context."""
        return self.inner.build(context.stretched(Fraction(str(self.k))), start, length)


def kind(schedule: Schedule) -> Extent | None:
    """How a schedule's length is found, or None if it has one; known without a horizon."""
    known = Horizon(steps=10**6, steps_per_epoch=10**3, samples_per_step=1, tokens_per_step=1)
    extent = schedule.extent(Context(known, lr=1.0))
    return extent if isinstance(extent, Extent) else None


def boundaries(sizes: list[Fraction], total: int | None) -> list[int]:
    """Where parts of exact sizes begin and end, in whole steps: rounded cumulatively, half up.

    Parts that would end elsewhere than at `total` shrink or grow in proportion. A positive size has at least one step,
    which its neighbour gives.
    """
    reached = sum(sizes, Fraction(0))
    if total is not None and reached > 0 and half_up(reached) != total:
        sizes = [size * total / reached for size in sizes]
    bounds = [0]
    for end, size in zip(accumulate(sizes), sizes, strict=True):
        bounds.append(max(half_up(end), bounds[-1] + (size > 0)))
    if total is not None:
        bounds[-1] = total
        for i in range(len(sizes) - 1, 0, -1):
            bounds[i] = max(min(bounds[i], bounds[i + 1] - (sizes[i] > 0)), 0)
    return bounds


def _before_others(extents: Iterable[E]) -> list[E | Extent]:
    """The extents of a sequence's members, where an open one fills unless it is the last."""
    *early, last = extents
    return [*(Extent.FILLING if item is Extent.OPEN else item for item in early), last]


def _fixed(extents: Iterable[Fraction | Extent]) -> Fraction:
    return sum((item for item in extents if isinstance(item, Fraction)), Fraction(0))


def _receiver(schedule: Schedule, full: bool) -> str:
    return f"({schedule.text(full)})" if isinstance(schedule, Product) else schedule.text(full)


def _touched(t: Array, offsets: list[int]) -> tuple[int, int]:
    """The first and the last member that governs any of the steps; a traced array is asked nothing."""
    if not isinstance(t, np.ndarray) or not t.size:
        return 0, len(offsets) - 1
    return max(bisect_right(offsets, t.min()) - 1, 0), max(bisect_right(offsets, t.max()) - 1, 0)


def _leading_warmup(curves: list[Curve], begins: list[int], ends: list[int | None]) -> int:
    """Steps of warm-up before anything else comes; one may follow another."""
    warm = 0
    for curve, begin, end in zip(curves, begins, ends, strict=True):
        if warm == begin:
            warm += curve.warmup if end is None else min(curve.warmup, end - begin)
    return warm


def _placed(curve: Curve, begin: int, end: int | None) -> Iterator[Part]:
    """The parts of a sequence's member that begins and ends there; what did not fit is cut off."""
    for part in curve.parts:
        start, stop = part.start + begin, None if part.stop is None else part.stop + begin
        if end is None or start <= end:
            yield Part(start, stop if end is None else end if stop is None else min(stop, end), part.text)


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
