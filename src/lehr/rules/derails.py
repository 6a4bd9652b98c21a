"""The trigger of a run that gives most of its progress back for good, or is no longer finite."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, cast

from lehr.errors import LehrError
from lehr.lengths import Horizon, Length, LengthLike
from lehr.rules.common import method, percent, put, whole
from lehr.rules.medians import NOISES, Level, count_of, positive_length, sign_of, steps_of
from lehr.rules.trigger import Observation, Reading, Smooth, Trigger
from lehr.schedules.schedule import number

if TYPE_CHECKING:
    from lehr.rules.signals import Signal

__all__ = ["Derails", "derails"]


def derails(
    signal: Signal,
    lost: float = 0.5,
    unrecovered: LengthLike = "5%",
    smooth: LengthLike = "3%",
    nonfinite: int = 3,
) -> Trigger:
    """Holds when most of the progress has been lost and stays so, or when the value is no longer finite.

    Slow to anger: spikes that recover are no reason. Progress is the way from the first value to the best level, in
    the logarithm where all are positive. A level is the median of up to 15 block means. What was gained and what is
    lost must both exceed four standard deviations of the best level. What is lost counts as recovered when half of
    `lost` is regained. It hears the leading warm-up too.

    Args:
        signal: what it reads.
        lost: the share of the progress that is given back, above 0 and at most 1.
        unrecovered: how long it must stay lost.
        smooth: the window of a level; it holds at least 5 observations.
        nonfinite: observations in a row that must be NaN or infinite.

    Example:
        >>> import lehr
        >>> lehr.when(lehr.loss.derails()).rollback(0.5).at_most(4)
        when(loss.derails()).rollback().at_most(4)

    Source: our choice, after runs at good LRs, which spike and recover.
    """
    return Derails(signal, lost, unrecovered, smooth, nonfinite)


class DerailsState(NamedTuple):
    """Memory of `derails`."""

    smooth: Smooth
    level: Level = Level()
    bad: int = 0  # non-finite values in a row
    begun: int | None = None  # step of the first of them
    best: float | None = None  # the best level so far
    noise: float = 0.0  # the standard deviation of that level
    since: int | None = None  # step from which too much of the progress has been lost
    holds: bool = False
    words: str = ""


@dataclass(frozen=True, repr=False)
class Derails(Trigger):
    """See `Signal.derails`."""

    signal: Signal
    lost: float = 0.5
    unrecovered: LengthLike | Length = "5%"
    smooth: LengthLike | Length = "3%"
    nonfinite: int = 3

    def __post_init__(self) -> None:
        lost = number(self.lost, "derails(lost=...)")
        if not 0 < lost <= 1:
            raise LehrError(f"derails(lost=...) must be a share between 0 and 1, got {lost!r}; half is 0.5")
        put(
            self,
            lost=lost,
            unrecovered=positive_length(self.unrecovered, "derails(unrecovered=...)"),
            smooth=positive_length(self.smooth, "derails(smooth=...)"),
            nonfinite=whole(self.nonfinite, "derails(nonfinite=...), a number of observations,", least=1),
        )

    def text(self, full: bool = False) -> str:
        """`signal.derails(...)`."""
        return method(self.signal, "derails", self, ("lost", "unrecovered", "smooth", "nonfinite"), full)

    def signals(self) -> tuple[Signal, ...]:
        """Its one signal."""
        return (self.signal,)

    @property
    def heeds_warmup(self) -> bool:
        """An LR that is too high does its harm there first."""
        return True

    def resolve(self, horizon: Horizon) -> Trigger:
        """With its lengths in steps."""
        return replace(self, unrecovered=steps_of(self.unrecovered, horizon), smooth=steps_of(self.smooth, horizon))

    def init(self) -> DerailsState:
        """Nothing seen."""
        return DerailsState(Smooth())

    def update(self, state: DerailsState, observation: Observation) -> tuple[DerailsState, Reading]:
        """Count non-finite values in a row; look at the level whenever a block closes."""
        smooth, value = self.signal.read(state.smooth, observation)
        state = state._replace(smooth=smooth)
        if value is None:
            return state, Reading(state.holds, False, state.words)
        if not math.isfinite(value):
            state = self._counted(state, observation, value)
            return state, Reading(state.holds, True, state.words, since=self._before(state))
        level, closed = state.level.add(observation.step, sign_of(self.signal) * value, count_of(self.smooth))
        state = state._replace(level=level, bad=0, begun=None, holds=state.holds and not state.bad)
        if closed and level.known:
            state = self._judged(state, observation.step)
        return state, Reading(state.holds, closed, state.words if state.holds else "", since=self._before(state))

    def _counted(self, state: DerailsState, observation: Observation, value: float) -> DerailsState:
        bad = state.bad + max(observation.bad.get(self.signal.name, 1), 1)
        begun = observation.step if state.begun is None else state.begun
        words = f"{self.signal.name} has been {value} in {bad} observation{'s' if bad > 1 else ''} in a row"
        holds = bad >= self.nonfinite
        return state._replace(bad=bad, begun=begun, holds=holds, words=words if holds else "")

    def _judged(self, state: DerailsState, step: int) -> DerailsState:
        level, now = state.level, state.level.now
        if state.best is None or now < state.best:
            return state._replace(best=now, noise=level.error, since=None, holds=False, words="")
        initial, best, noise = cast(float, level.initial), state.best, NOISES * state.noise
        share = _lost(initial, best, now)
        # What has begun is over when half of what may be lost is regained: a level trembles about the bound.
        bound = self.lost if state.since is None else self.lost / 2
        gone = share > bound and initial - best > noise and now - best > noise
        since = (step if state.since is None else state.since) if gone else None
        holds = since is not None and step - since >= count_of(self.unrecovered)
        words = ""
        if holds:
            sign = sign_of(self.signal)
            words = (
                f"{self.signal.name} has given back {percent(share)} of its progress ({sign * initial:.4g} → "
                f"{sign * best:.4g}, now {sign * now:.4g}) for {step - cast(int, since)} steps"
            )
        return state._replace(since=since, holds=holds, words=words)

    def _before(self, state: DerailsState) -> int | None:
        """The trouble began before it was seen: a level lags, and values grow before they overflow."""
        seen = [step for step in (state.begun, state.since) if step is not None]
        return max(min(seen) - count_of(self.smooth), 0) if seen else None

    def after_firing(self, state: DerailsState) -> DerailsState:
        """The evidence is forgotten; the initial level and the smoothing stay."""
        return DerailsState(state.smooth, state.level.forget())

    def after_rollback(self, state: DerailsState) -> DerailsState:
        """The same: what was seen belongs to a branch that was given up."""
        return self.after_firing(state)


def _lost(initial: float, best: float, now: float) -> float:
    """The share of the way from `initial` to `best` that has been given back: of its logarithm, where it has one."""
    if best >= initial:
        return 0.0
    if best > 0 and now > 0:
        return math.log(now / best) / math.log(initial / best)
    return (now - best) / (initial - best)
