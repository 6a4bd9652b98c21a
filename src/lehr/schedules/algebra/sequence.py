"""One schedule after another. Stored flat, so that associativity is equality of values."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain

import numpy as np

from lehr.errors import LehrError
from lehr.lengths import Length, whole_steps
from lehr.schedules.algebra.extents import CUT, before_others, boundaries, fixed_steps, kind
from lehr.schedules.algebra.wrapped import receiver
from lehr.schedules.schedule import Array, Context, Curve, Extent, Part, Schedule, namespace
from lehr.spelling import shown

__all__ = ["Sequence"]


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
        filling = [part for part, how in zip(flat, before_others(kinds), strict=True) if how is Extent.FILLING]
        if len(filling) > 1:
            raise LehrError(
                f"at most one member of a sequence may lack a length, got {len(filling)}: "
                f'{", ".join(map(shown, filling))}; give all but one a length such as "10%"'
            )
        for part, how in zip(flat[:-1], kinds, strict=False):
            if how is Extent.ENDLESS:
                raise LehrError(
                    f"{shown(part)} never ends, so nothing can follow it; put it last, or give it a length: {CUT}"
                )
        return cls(tuple(flat))

    def text(self, full: bool = False) -> str:
        """`first.then(second).then(…)` prints flat, as `first.then(second, third)`."""
        first, *rest = self.members
        return f"{receiver(first, full)}.then({', '.join(item.text(full) for item in rest)})"

    def extent(self, context: Context) -> Fraction | Extent:
        """The sum, unless a member fills or the last one is open or never ends."""
        extents = before_others([member.extent(context) for member in self.members])
        if Extent.FILLING in extents:
            return Extent.FILLING
        return extents[-1] if isinstance(extents[-1], Extent) else fixed_steps(extents)

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
        extents = before_others([member.extent(context) for member in self.members])
        if length is not None and extents[-1] is Extent.OPEN and Extent.FILLING not in extents:
            extents[-1] = Extent.FILLING  # it ends before something else, so its hold fills
        fixed = fixed_steps(extents)
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

    def leaves(self) -> Iterator[Schedule]:
        """Those of all members."""
        for member in self.members:
            yield from member.leaves()


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
