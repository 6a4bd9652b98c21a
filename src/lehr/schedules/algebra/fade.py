"""One schedule into another, with an overlap in which the second takes over from the first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from lehr.errors import LehrError
from lehr.lengths import Length, LengthLike, as_length
from lehr.schedules.algebra.extents import boundaries, kind
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
            raise LehrError(f"{shown(self.before)} never ends, so nothing can follow it; give it a length")
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
        if not isinstance(first, Fraction) or second is Extent.FILLING:
            return second if second in (Extent.ENDLESS, Extent.OPEN) and isinstance(first, Fraction) else Extent.FILLING
        return second if isinstance(second, Extent) else first + second - self._overlap(context, first, second)

    def build(self, context: Context, start: float, length: int | None) -> Curve:
        """Both curves, the second from the end value of the first, and in the overlap the line between them."""
        begin, end, total = self._bounds(context, length)
        one = self.before.build(context, start, end)
        other = self.after.build(context, one(end), None if total is None else total - begin)
        width = max(end - begin, 1)

        def evaluate(t: Array) -> Array:
            xp = namespace(t)
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
        if isinstance(first, Fraction) and isinstance(second, Extent) and length is None:
            overlap = self._overlap(context, first, first)
            *_, begin, end = boundaries([first - overlap, overlap], None)
            return begin, end, None
        if not isinstance(first, Fraction):
            rest = Fraction(second) if isinstance(second, Fraction) else Fraction(0)
            overlap = self._overlap(context, rest, rest)
            sizes = [max((length or 0) - rest, Fraction(0)), overlap, rest - overlap]
        elif isinstance(second, Fraction):
            overlap = self._overlap(context, first, second)
            sizes = [first - overlap, overlap, second - overlap]
        else:
            overlap = self._overlap(context, first, first)
            sizes = [first - overlap, overlap, max((length or 0) - first, Fraction(0))]
        fixed = isinstance(first, Fraction) and isinstance(second, Fraction)
        _, begin, end, total = boundaries(sizes, length if fixed or sum(sizes) <= (length or 0) else None)
        return begin, end, total

    def _overlap(self, context: Context, first: Fraction, second: Fraction) -> Fraction:
        return min(context.measure(as_length(self.over, "over")), first, second)

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
