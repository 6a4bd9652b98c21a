"""What the operations share: how long members are together, and where they begin and end in whole steps."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from itertools import accumulate
from typing import TypeVar

from lehr.lengths import Horizon, half_up
from lehr.schedules.schedule import Context, Extent, Schedule

__all__ = ["CUT", "before_others", "boundaries", "fixed_steps", "kind"]

E = TypeVar("E")

CUT = "hold(100) * ... has 100 steps"  # how what never ends gets a length


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


def before_others(extents: Iterable[E]) -> list[E | Extent]:
    """The extents of a sequence's members, where an open one fills unless it is the last."""
    *early, last = extents
    return [*(Extent.FILLING if item is Extent.OPEN else item for item in early), last]


def fixed_steps(extents: Iterable[Fraction | Extent]) -> Fraction:
    """The sum of the extents that are lengths."""
    return sum((item for item in extents if isinstance(item, Fraction)), Fraction(0))
