"""Where a signal stands: the median of up to 15 block means over a window.

Spikes, even heavy ones, do not move it, and the memory stays the same for a run of any length.
"""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, NamedTuple, cast

from lehr.errors import LehrError
from lehr.lengths import Horizon, Length, LengthLike, as_length
from lehr.rules.common import in_steps

if TYPE_CHECKING:
    from lehr.rules.signals import Signal

__all__ = ["NOISES", "Level", "count_of", "positive_length", "sign_of", "steps_of"]

BLOCKS = 15  # block means in a window
LEAST = 5  # of them, before anything is said
LARGEST = 1e290  # so that the sum of a block stays finite
NOISES = 4.0  # standard deviations that are more than noise


class Level(NamedTuple):
    """Where a signal stands; smaller is better."""

    initial: float | None = None  # the first value: later ones may already show the harm
    begin: int | None = None  # step at which the open block began
    total: float = 0.0  # sum of the values in it
    heard: int = 0  # number of values in it
    begins: tuple[int, ...] = ()  # steps at which the closed blocks of the window began
    means: tuple[float, ...] = ()  # their means

    def add(self, step: int, value: float, window: int) -> tuple[Level, bool]:
        """With one more value; and whether that closed a block."""
        value = min(max(value, -LARGEST), LARGEST)
        initial = value if self.initial is None else self.initial
        if self.begin is None:
            return Level(initial, step, value, 1), False
        if step < self.begin + max(window // BLOCKS, 1):
            return self._replace(total=self.total + value, heard=self.heard + 1), False
        begins, means = (*self.begins, self.begin), (*self.means, self.total / self.heard)
        old = sum(begin <= step - window for begin in begins)
        old = max(min(old, len(begins) - LEAST), len(begins) - BLOCKS, 0)
        return Level(initial, step, value, 1, begins[old:], means[old:]), True

    @property
    def known(self) -> bool:
        """Whether there is enough to speak of a level."""
        return len(self.means) >= LEAST

    @property
    def now(self) -> float:
        """The level."""
        return median(self.means)

    @property
    def noise(self) -> float:
        """The standard deviation of a block mean, by the median of successive differences: a trend is no noise."""
        return 1.4826 / math.sqrt(2) * median(abs(b - a) for a, b in pairwise(self.means))

    @property
    def error(self) -> float:
        """The standard deviation of the level, a median of independent block means."""
        return math.sqrt(math.pi / 2 / len(self.means)) * self.noise

    def forget(self) -> Level:
        """The initial level alone."""
        return Level(self.initial)


def sign_of(signal: Signal) -> float:
    """What turns its values so that smaller is better."""
    return 1.0 if signal.best == "min" else -1.0


def positive_length(given: LengthLike | Length, what: str) -> Length:
    """A length that is not 0, in any unit but observations."""
    length = as_length(given, what)
    if length.amount == 0:
        raise LehrError(f"{what} must be a positive length, got 0")
    return length


def steps_of(length: LengthLike | Length, horizon: Horizon) -> Length:
    """A trigger's length in whole steps."""
    return in_steps(cast(Length, length), horizon)  # so made when the value was


def count_of(length: LengthLike | Length) -> int:
    """The steps of a resolved trigger's length."""
    return int(cast(Length, length).amount)  # whole, as the trigger is resolved
