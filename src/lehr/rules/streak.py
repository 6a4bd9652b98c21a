"""The trigger of a signal that improves time after time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from lehr.errors import LehrError
from lehr.lengths import Horizon
from lehr.rules.common import method, put, whole
from lehr.rules.trigger import Observation, Reading, Smooth, Trigger
from lehr.schedules.schedule import number

if TYPE_CHECKING:
    from lehr.rules.signals import Signal

__all__ = ["Streak", "StreakState", "improves_in_a_row"]


def improves_in_a_row(signal: Signal, times: int, margin: float = 1e-4) -> Trigger:
    """Holds when so many observations, one after the other, were each better than the best one before.

    After firing a new row begins; the best value stays. Non-finite values are left out. Noise ends a row soon, so
    smooth the signal.

    Args:
        signal: what it reads.
        times: observations in a row, at least 1.
        margin: of an improvement, relative, between 0 and 1.

    Example:
        >>> import lehr
        >>> lehr.when(lehr.loss.smoothed(50).improves_in_a_row(11)).scale(1.05).within(0.1, 4)
        when(loss.smoothed(50).improves_in_a_row(11)).scale(1.05).within(0.1, 4)

    Source: the rise of GreedyLR (arXiv 2512.14527); the relative margin is our choice.
    """
    return Streak(signal, times, margin)


class StreakState(NamedTuple):
    """Memory of `improves_in_a_row`."""

    smooth: Smooth
    best: float | None  # the best value so far
    row: int  # improvements on it, one after the other
    holds: bool
    words: str


@dataclass(frozen=True, repr=False)
class Streak(Trigger):
    """See `Signal.improves_in_a_row`."""

    signal: Signal
    times: int
    margin: float = 1e-4

    def __post_init__(self) -> None:
        times = whole(self.times, "improves_in_a_row(times), a number of observations,", least=1)
        margin = number(self.margin, "improves_in_a_row(margin=...)")
        if not 0 <= margin < 1:
            raise LehrError(f"improves_in_a_row(margin=...) must be between 0 and 1, got {margin!r}; 1 % is 0.01")
        put(self, times=times, margin=margin)

    def text(self, full: bool = False) -> str:
        """`signal.improves_in_a_row(...)`."""
        return method(self.signal, "improves_in_a_row", self, ("times", "margin"), full)

    def signals(self) -> tuple[Signal, ...]:
        """Its one signal."""
        return (self.signal,)

    def resolve(self, horizon: Horizon) -> Trigger:
        """Unchanged: it counts observations."""
        return self

    def init(self) -> StreakState:
        """Nothing seen."""
        return StreakState(Smooth(), None, 0, False, "")

    def update(self, state: StreakState, observation: Observation) -> tuple[StreakState, Reading]:
        """Count improvements on the best value; one observation without ends the row."""
        smooth, value = self.signal.read(state.smooth, observation)
        state = state._replace(smooth=smooth)
        if value is None or not math.isfinite(value):
            return state, Reading(state.holds, False, state.words)
        if state.best is None:
            return state._replace(best=value), Reading(False, True, "")
        gained = state.best - value if self.signal.best == "min" else value - state.best
        if not gained > self.margin * abs(state.best):
            return state._replace(row=0, holds=False, words=""), Reading(False, True, "")
        row = state.row + 1
        holds = row >= self.times
        words = f"{self.signal.name} has improved {row} times in a row (now {value:.6g})" if holds else ""
        return StreakState(smooth, value, row, holds, words), Reading(holds, True, words)

    def after_firing(self, state: StreakState) -> StreakState:
        """A new row begins; the best value stays, so that a fall back is not taken for a row of improvements."""
        return state._replace(row=0, holds=False, words="")
