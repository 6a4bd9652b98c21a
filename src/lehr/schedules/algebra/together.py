"""Several schedules at once: product, sum, least, largest. Stored flat: associativity is equality of values."""

from __future__ import annotations

import functools as ft
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar, Self

from lehr.errors import LehrError
from lehr.lengths import Length, whole_steps
from lehr.schedules.schedule import Array, Context, Curve, Extent, Part, Schedule, namespace
from lehr.spelling import shown

__all__ = ["Maximum", "Minimum", "Product", "Sum", "Together", "maximum", "minimum"]


@dataclass(frozen=True, repr=False)
class Together(Schedule):
    """Members at the same time. As long as the longest fixed one; a filling one fills, an endless one has no say."""

    members: tuple[Schedule, ...]

    symbol: ClassVar[str]

    @classmethod
    def of(cls, *members: Schedule) -> Self:
        """The flat combination of `members`."""
        return cls(tuple(p for m in members for p in (m.members if type(m) is cls else (m,))))

    def text(self, full: bool = False) -> str:
        """The members with the operator between them; a sum inside a product is in brackets."""
        texts = (member.text(full) for member in self.members)
        return self.symbol.join(
            f"({text})" if isinstance(member, Sum) else text for member, text in zip(self.members, texts, strict=True)
        )

    @abstractmethod
    def join(self, a: Array, b: Array) -> Array:
        """Two values as one."""

    def starts(self, start: float) -> list[float]:
        """The start that each member gets."""
        return [start] * len(self.members)

    def bound(self, bounds: list[float]) -> float:
        """What no value is above, and nothing computed on the way."""
        return max(bounds)

    def extent(self, context: Context) -> Fraction | Extent:
        """Filling if a member fills, else the longest fixed member, else open if a member is, else endless."""
        extents = [member.extent(context) for member in self.members]
        if Extent.FILLING in extents:
            return Extent.FILLING
        fixed = [item for item in extents if isinstance(item, Fraction)]
        return max(fixed) if fixed else Extent.OPEN if Extent.OPEN in extents else Extent.ENDLESS

    def build(self, context: Context, start: float, length: int | None) -> Curve:
        """The members side by side; shorter ones hold their end value."""
        extent = self.extent(context)
        curves = []
        for member, own_start in zip(self.members, self.starts(start), strict=True):
            own = member.extent(context)
            if own is Extent.FILLING or own == extent:
                steps = length
            else:
                steps = whole_steps(own) if isinstance(own, Fraction) else None
            curves.append(member.build(context, own_start, steps))

        def evaluate(t: Array) -> Array:
            local = t if length is None else namespace(t).minimum(t, length)
            return ft.reduce(self.join, [curve.evaluate(local) for curve in curves])

        largest = max(length or 0, *(curve.largest for curve in curves))
        bound = self.bound([curve.bound for curve in curves])
        warm = max(curve.warmup for curve in curves)
        return Curve(evaluate, length, bound, warm, largest, (Part(0, length, self.text()),))

    def lengths(self) -> Iterator[Length]:
        """Those of all members."""
        for member in self.members:
            yield from member.lengths()

    def leaves(self) -> Iterator[Schedule]:
        """Those of all members."""
        for member in self.members:
            yield from member.leaves()

    @property
    def fills(self) -> bool:
        """Whether a member fills."""
        return any(member.fills for member in self.members)


@dataclass(frozen=True, repr=False)
class Product(Together):
    """Factors multiplied; made by `a * b`. The first gets the start, the others begin at 1."""

    symbol = " * "

    def join(self, a: Array, b: Array) -> Array:
        """The product."""
        return a * b

    def starts(self, start: float) -> list[float]:
        """The start, and 1 for the others."""
        return [start] + [1.0] * (len(self.members) - 1)

    def bound(self, bounds: list[float]) -> float:
        """The largest of the products on the way."""
        product = largest = bounds[0]
        for bound in bounds[1:]:
            product *= bound
            largest = max(largest, product)
        return largest


@dataclass(frozen=True, repr=False)
class Sum(Together):
    """Terms added; made by `a + b`. Every term gets the start."""

    symbol = " + "

    def join(self, a: Array, b: Array) -> Array:
        """The sum."""
        return a + b

    def bound(self, bounds: list[float]) -> float:
        """The sum, with room for its rounding."""
        return sum(bounds) * (1.0 + 1e-12)


@dataclass(frozen=True, repr=False)
class Minimum(Together):
    """The least at every step; made by `minimum(a, b)`. Every member gets the start."""

    symbol = ", "

    def text(self, full: bool = False) -> str:
        """`minimum(a, b)`."""
        return f"minimum({self.symbol.join(member.text(full) for member in self.members)})"

    def join(self, a: Array, b: Array) -> Array:
        """The smaller one."""
        return namespace(a).minimum(a, b)


@dataclass(frozen=True, repr=False)
class Maximum(Together):
    """The largest at every step; made by `maximum(a, b)`. Every member gets the start."""

    symbol = ", "

    def text(self, full: bool = False) -> str:
        """`maximum(a, b)`."""
        return f"maximum({self.symbol.join(member.text(full) for member in self.members)})"

    def join(self, a: Array, b: Array) -> Array:
        """The larger one."""
        return namespace(a).maximum(a, b)


def minimum(*schedules: Schedule) -> Minimum:
    """The least of several schedules at every step; each begins at the start that is passed down.

    Args:
        schedules: at least two. The result is as long as the longest with a length of its own.

    Raises:
        LehrError: fewer than two, or something that is no schedule.

    Example:
        >>> import lehr
        >>> minimum(lehr.constant(0.5), lehr.linear()).resolve(steps=100)(75)
        0.25
    """
    return Minimum.of(*_schedules("minimum", schedules))


def maximum(*schedules: Schedule) -> Maximum:
    """The largest of several schedules at every step; each begins at the start that is passed down.

    Args:
        schedules: at least two. The result is as long as the longest with a length of its own.

    Raises:
        LehrError: fewer than two, or something that is no schedule.

    Example:
        >>> import lehr
        >>> maximum(lehr.constant(0.5), lehr.linear()).resolve(steps=100)(75)
        0.5
    """
    return Maximum.of(*_schedules("maximum", schedules))


def _schedules(name: str, given: tuple[Any, ...]) -> tuple[Schedule, ...]:
    if len(given) < 2:
        raise LehrError(f"{name}(a, b, ...) needs at least two schedules, got {len(given)}")
    for item in given:
        if not isinstance(item, Schedule):
            raise LehrError(
                f"{name}(a, b, ...) must be given schedules, got {shown(item)}; a number is constant(number)"
            )
    return given
