"""One schedule into another, with an overlap in which the second takes over from the first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from lehr.errors import LehrError
from lehr.lengths import Length, LengthLike, as_length
from lehr.schedules.algebra.extents import CUT, boundaries, kind
from lehr.schedules.algebra.wrapped import receiver
from lehr.schedules.schedule import Array, Context, Curve, Extent, Part, Schedule, namespace
from lehr.spelling import shown, spell

__all__ = ["Fade"]


@dataclass(frozen=True, repr=False)
class Fade(Schedule):
    """A sequence of two whose seam is a blend; made by `a.fade(b, over)`."""

    before: Schedule
    after: Schedule
    over: LengthLike | Length

    def __post_init__(self) -> None:
        if not isinstance(self.after, Schedule):
            raise LehrError(f"a.fade(b, over) must be given a schedule, got {shown(self.after)}")
        object.__setattr__(self, "over", as_length(self.over, "fade(over=...)"))
        first, second = kind(self.before), kind(self.after)
        if first is Extent.ENDLESS:
            raise LehrError(f"{shown(self.before)} never ends, so nothing can follow it; give it a length: {CUT}")
        if first is not None and second is Extent.FILLING:
            raise LehrError(
                f"at most one side of a fade may lack a length, got {shown(self.before)} and {shown(self.after)}; "
                'give one a length such as "10%"'
            )

    def text(self, full: bool = False) -> str:
        """`before.fade(after, over)`."""
        return f"{receiver(self.before, full)}.fade({self.after.text(full)}, {spell(self.over, full)})"

    def extent(self, context: Context) -> Fraction | Extent:
        """Both less the overlap; filling if one fills, else as the second says."""
        first, second = self.before.extent(context), self.after.extent(context)
        if not isinstance(first, Fraction):
            return Extent.FILLING
        if isinstance(second, Extent):
            return second
        return first + second - min(context.measure(as_length(self.over, "over")), first, second)

    def build(self, context: Context, start: float, length: int | None) -> Curve:
        """Both curves, the second from the end value of the first, and in the overlap the line between them."""
        begin, end, total = self._bounds(context, length)
        one = self.before.build(context, start, end)
        other = self.after.build(context, one(end), None if total is None else total - begin)
        width = max(end - begin, 1)

        def evaluate(t: Array) -> Array:
            xp = namespace(t)
            t = t if total is None else xp.minimum(t, total)
            late = xp.clip((t - begin) / width, 0.0, 1.0) if end > begin else xp.where(t < begin, 0.0, 1.0)
            a, b = one.evaluate(xp.minimum(t, end)), other.evaluate(xp.maximum(t - begin, 0))
            return xp.clip(a * (1.0 - late) + b * late, xp.minimum(a, b), xp.maximum(a, b))

        return Curve(
            evaluate,
            total,
            max(one.bound, other.bound),
            min(one.warmup, begin),
            max(one.largest, other.largest, end, total or 0),
            (Part(0, total, self.text()),),
        )

    def _bounds(self, context: Context, length: int | None) -> tuple[int, int, int | None]:
        """Where the second begins, where the first ends, and where all of it ends if it does."""
        first, second = self.before.extent(context), self.after.extent(context)
        a = first if isinstance(first, Fraction) else None
        b = second if isinstance(second, Fraction) else None
        over, whole = context.measure(as_length(self.over, "over")), Fraction(length or 0)
        if b is None and second is not Extent.FILLING and (a is None or length is None):  # the second never ends
            ends = whole if a is None else a
            *_, begin, end = boundaries([ends - min(over, ends), min(over, ends)], length)
            return begin, end, None
        over = min(over, *(size for size in (a, b) if size is not None))
        exact = a is not None and b is not None
        a = max(whole - (b or 0), Fraction(0)) + over if a is None else a
        b = max(whole - a, Fraction(0)) + over if b is None else b
        sizes = [a - over, over, b - over]
        _, begin, end, total = boundaries(sizes, length if exact or sum(sizes) <= whole else None)
        return begin, end, total

    def lengths(self) -> Iterator[Length]:
        """Those of both, and the overlap."""
        yield from self.before.lengths()
        yield from self.after.lengths()
        yield as_length(self.over, "over")

    def leaves(self) -> Iterator[Schedule]:
        """Those of both."""
        yield from self.before.leaves()
        yield from self.after.leaves()

    @property
    def fills(self) -> bool:
        """Whether one of both takes the steps that are left."""
        return kind(self) is Extent.FILLING
