"""Operations on one schedule: clip, staircase, stretch and reverse."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from lehr.errors import LehrError
from lehr.lengths import Length, LengthLike, as_length
from lehr.schedules.algebra.extents import CUT, kind
from lehr.schedules.schedule import Array, Context, Curve, Extent, Part, Schedule, namespace, number
from lehr.spelling import call, shown

__all__ = ["Clip", "Reverse", "Staircase", "Stretch", "Wrapped", "receiver"]

OPERATORS = (" * ", " + ")


@dataclass(frozen=True, repr=False)
class Wrapped(Schedule):
    """What the operations on one schedule share."""

    inner: Schedule

    def extent(self, context: Context) -> Fraction | Extent:
        """That of the schedule inside."""
        return self.inner.extent(context)

    def lengths(self) -> Iterator[Length]:
        """Those of the schedule inside."""
        yield from self.inner.lengths()

    @property
    def fills(self) -> bool:
        """Whether the schedule inside lacks a length."""
        return self.inner.fills

    def leaves(self) -> Iterator[Schedule]:
        """Those of the schedule inside."""
        yield from self.inner.leaves()


@dataclass(frozen=True, repr=False)
class Clip(Wrapped):
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
        return f"{receiver(self.inner, full)}.{call(Schedule.clip, {'low': self.low, 'high': self.high}, full)}"

    def build(self, context: Context, start: float, length: int | None) -> Curve:
        """The inner curve, clipped."""
        curve = self.inner.build(context, start, length)
        bound = max(curve.bound, self.low)
        return replace(curve, evaluate=lambda t: namespace(t).clip(curve.evaluate(t), self.low, self.high), bound=bound)


@dataclass(frozen=True, repr=False)
class Staircase(Wrapped):
    """Sample and hold; made by `a.staircase(every)`."""

    every: LengthLike | Length

    def __post_init__(self) -> None:
        every = as_length(self.every, "staircase(every=...)")
        if every.amount == 0:
            raise LehrError("staircase(every=...) must be a positive length, got 0")
        object.__setattr__(self, "every", every)

    def text(self, full: bool = False) -> str:
        """`inner.staircase(every)`."""
        return f"{receiver(self.inner, full)}.{call(Schedule.staircase, {'every': self.every}, full)}"

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
class Stretch(Wrapped):
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
        return f"{receiver(self.inner, full)}.{call(Schedule.stretch, {'k': self.k}, full)}"

    def extent(self, context: Context) -> Fraction | Extent:
        """As long as the inner one, times k."""
        return self.inner.extent(context.stretched(Fraction(str(self.k))))

    def build(self, context: Context, start: float, length: int | None) -> Curve:
        """The inner curve in the stretched context."""
        return self.inner.build(context.stretched(Fraction(str(self.k))), start, length)


@dataclass(frozen=True, repr=False)
class Reverse(Wrapped):
    """Backwards; made by `a.reverse()`."""

    def __post_init__(self) -> None:
        if kind(self.inner) is Extent.ENDLESS:
            raise LehrError(f"{shown(self.inner)} never ends, so it has no reverse; give it a length: {CUT}")

    def text(self, full: bool = False) -> str:
        """`inner.reverse()`."""
        return f"{receiver(self.inner, full)}.reverse()"

    def extent(self, context: Context) -> Fraction | Extent:
        """As long as the inner one."""
        extent = self.inner.extent(context)
        return extent if isinstance(extent, Fraction) else Extent.FILLING

    def build(self, context: Context, start: float, length: int | None) -> Curve:
        """x(n − t): from the inner end value to the inner start."""
        curve = self.inner.build(context, start, length)
        n = (length or 0) if curve.length is None else curve.length  # what fills may have an endless tail

        def evaluate(t: Array) -> Array:
            return curve.evaluate(n - namespace(t).minimum(t, n))

        return replace(curve, evaluate=evaluate, length=n, warmup=0, parts=(Part(0, n, self.text()),))

    @property
    def fills(self) -> bool:
        """Whether the inner one lacks a length."""
        return kind(self.inner) is not None


def receiver(schedule: Schedule, full: bool) -> str:
    """The text of a schedule before a dot: in brackets if it is an operation between several."""
    return f"({schedule.text(full)})" if getattr(schedule, "symbol", None) in OPERATORS else schedule.text(full)
