"""The triggers of a guard, slow to anger: a run that is stuck where it began, and one that gives its progress back.

Both compare levels: a level is the median of up to 15 block means over a window, so that spikes, even heavy ones, do
not move it, and the memory stays the same for a run of any length. Both hear the leading warm-up too: an LR that is too
high does its harm there first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, NamedTuple, cast

from lehr.errors import LehrError
from lehr.lengths import Horizon, Length, LengthLike, as_length
from lehr.rules.common import in_steps, method, percent, put, whole
from lehr.rules.trigger import Observation, Reading, Smooth, Trigger
from lehr.schedules.schedule import number

if TYPE_CHECKING:
    from lehr.rules.signals import Signal

__all__ = ["Derails", "Sticks"]

BLOCKS = 15  # block means in a window
LEAST = 5  # of observations and of block means, before anything is said
LARGEST = 1e290  # so that the sum of a block stays finite
RISEN = 0.5  # share of the initial level by which a block mean must be worse for a run to have risen
LEFT = 0.15  # share of it that must be gained for a run to have left it
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
        put(self, after=_length(self.after, "sticks(after=...)"), smooth=_length(self.smooth, "sticks(smooth=...)"))

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
        return replace(self, after=_in_steps(self.after, horizon), smooth=_in_steps(self.smooth, horizon))

    def init(self) -> SticksState:
        """Nothing seen."""
        return SticksState(Smooth())

    def update(self, state: SticksState, observation: Observation) -> tuple[SticksState, Reading]:
        """Look at the level whenever a block closes."""
        smooth, value = self.signal.read(state.smooth, observation)
        state = state._replace(smooth=smooth)
        if value is None or not math.isfinite(value):
            return state, Reading(state.holds, False, state.words)
        level, closed = state.level.add(observation.step, _sign(self.signal) * value, _steps(self.smooth))
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
        holds = since is not None and step - since >= _steps(self.after)
        words = ""
        if holds:
            sign = _sign(self.signal)
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
            unrecovered=_length(self.unrecovered, "derails(unrecovered=...)"),
            smooth=_length(self.smooth, "derails(smooth=...)"),
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
        return replace(self, unrecovered=_in_steps(self.unrecovered, horizon), smooth=_in_steps(self.smooth, horizon))

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
        level, closed = state.level.add(observation.step, _sign(self.signal) * value, _steps(self.smooth))
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
        holds = since is not None and step - since >= _steps(self.unrecovered)
        words = ""
        if holds:
            sign = _sign(self.signal)
            words = (
                f"{self.signal.name} has given back {percent(share)} of its progress ({sign * initial:.4g} → "
                f"{sign * best:.4g}, now {sign * now:.4g}) for {step - cast(int, since)} steps"
            )
        return state._replace(since=since, holds=holds, words=words)

    def _before(self, state: DerailsState) -> int | None:
        """The trouble began before it was seen: a level lags, and values grow before they overflow."""
        seen = [step for step in (state.begun, state.since) if step is not None]
        return max(min(seen) - _steps(self.smooth), 0) if seen else None

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


def _sign(signal: Signal) -> float:
    return 1.0 if signal.best == "min" else -1.0


def _length(given: LengthLike | Length, what: str) -> Length:
    length = as_length(given, what)
    if length.amount == 0:
        raise LehrError(f"{what} must be a positive length, got 0")
    return length


def _in_steps(length: LengthLike | Length, horizon: Horizon) -> Length:
    return in_steps(cast(Length, length), horizon)  # so made when the value was


def _steps(length: LengthLike | Length) -> int:
    return int(cast(Length, length).amount)  # whole, as the trigger is resolved
