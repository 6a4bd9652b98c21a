"""The trigger of a run that is stuck at its initial level, because its LR is far too high."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, cast

from lehr.lengths import Horizon, Length, LengthLike
from lehr.rules.common import method, put
from lehr.rules.medians import NOISES, Level, count_of, positive_length, sign_of, steps_of
from lehr.rules.trigger import Observation, Reading, Smooth, Trigger

if TYPE_CHECKING:
    from lehr.rules.signals import Signal

__all__ = ["Sticks", "sticks"]

RISEN = 0.5  # share of the initial level by which a block mean must be worse for a run to have risen
LEFT = 0.15  # share of it that must be gained for a run to have left it


def sticks(signal: Signal, after: LengthLike = "4%", smooth: LengthLike = "3%") -> Trigger:
    """Holds when the value has been no better than the first one for as long as `after`, though not for slowness.

    That is the mark of an LR that is far too high: training has destroyed the weights and learns nothing since.
    "No better" is a level that is less than 15 % better than the first value. Before that the value must have been
    worse, by a block mean that is worse by 50 %, or better, by a level that was better by 15 %; both by four
    standard deviations. A run that never moves is left alone: it may need a higher LR. It hears the leading warm-up
    too.

    Args:
        signal: what it reads.
        after: how long.
        smooth: the window of a level; it holds at least 5 observations.

    Example:
        >>> import lehr
        >>> lehr.when(lehr.loss.sticks()).rollback(0.25, to="start")
        when(loss.sticks()).rollback(0.25, to='start')

    Source: our choice.
    """
    return Sticks(signal, after, smooth)


class SticksState(NamedTuple):
    """Memory of `sticks`."""

    smooth: Smooth
    level: Level = Level()
    worst: float | None = None  # the worst block mean
    best: float | None = None  # the best level
    since: int | None = None  # step from which it has been no better than at the beginning
    holds: bool = False
    words: str = ""


@dataclass(frozen=True, repr=False)
class Sticks(Trigger):
    """See `Signal.sticks`."""

    signal: Signal
    after: LengthLike | Length = "4%"
    smooth: LengthLike | Length = "3%"

    def __post_init__(self) -> None:
        put(
            self,
            after=positive_length(self.after, "sticks(after=...)"),
            smooth=positive_length(self.smooth, "sticks(smooth=...)"),
        )

    def text(self, full: bool = False) -> str:
        """`signal.sticks(...)`."""
        return method(self.signal, "sticks", self, ("after", "smooth"), full)

    def signals(self) -> tuple[Signal, ...]:
        """Its one signal."""
        return (self.signal,)

    @property
    def heeds_warmup(self) -> bool:
        """An LR that is too high does its harm there first."""
        return True

    def resolve(self, horizon: Horizon) -> Trigger:
        """With its lengths in steps."""
        return replace(self, after=steps_of(self.after, horizon), smooth=steps_of(self.smooth, horizon))

    def init(self) -> SticksState:
        """Nothing seen."""
        return SticksState(Smooth())

    def update(self, state: SticksState, observation: Observation) -> tuple[SticksState, Reading]:
        """Look at the level whenever a block closes."""
        smooth, value = self.signal.read(state.smooth, observation)
        state = state._replace(smooth=smooth)
        if value is None or not math.isfinite(value):
            return state, Reading(state.holds, False, state.words)
        level, closed = state.level.add(observation.step, sign_of(self.signal) * value, count_of(self.smooth))
        state = state._replace(level=level)
        if closed:
            state = self._judged(state, observation.step)
        return state, Reading(state.holds, closed, state.words, since=state.since)

    def _judged(self, state: SticksState, step: int) -> SticksState:
        level = state.level
        worst = level.means[-1] if state.worst is None else max(state.worst, level.means[-1])
        if not level.known:
            return state._replace(worst=worst)
        initial, now = cast(float, level.initial), level.now
        best = now if state.best is None else min(state.best, now)
        # A run that never left its initial level may just be slow, and would need a higher LR.
        risen = worst > initial + max(RISEN * abs(initial), NOISES * level.noise)
        left = best < initial - max(LEFT * abs(initial), NOISES * level.error)
        stuck = (risen or left) and now > initial - LEFT * abs(initial)
        since = (step if state.since is None else state.since) if stuck else None
        holds = since is not None and step - since >= count_of(self.after)
        words = ""
        if holds:
            sign = sign_of(self.signal)
            words = (
                f"{self.signal.name} has been no better than it began ({sign * initial:.4g}, now {sign * now:.4g}) for "
                f"{step - cast(int, since)} steps, {'having been worse' if risen else 'all progress lost'}"
            )
        return state._replace(worst=worst, best=best, since=since, holds=holds, words=words)

    def after_firing(self, state: SticksState) -> SticksState:
        """The evidence is forgotten; the initial level and the smoothing stay."""
        return SticksState(state.smooth, state.level.forget())

    def after_rollback(self, state: SticksState) -> SticksState:
        """The same: what was seen belongs to a branch that was given up."""
        return self.after_firing(state)
