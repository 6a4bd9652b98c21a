"""Triggers of an evaluated model: it performs at least so well, it stays within reach of its best."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from lehr.errors import LehrError
from lehr.lengths import Horizon
from lehr.rules.common import method, percent, put, whole
from lehr.rules.estimators import noise_of
from lehr.rules.reaches import better
from lehr.rules.trigger import Observation, Reading, Smooth, Trigger
from lehr.schedules.schedule import number

if TYPE_CHECKING:
    from lehr.rules.signals import Signal

__all__ = ["AtLeast", "AtLeastState", "WithinBest", "WithinState", "at_least", "within_best"]


LARGEST = 1e150  # so that squares of differences are finite
FEWEST = 4  # values of which the noise is known
LAST = 64  # values that the noise is taken from


def at_least(signal: Signal, threshold: float) -> Trigger:
    """Holds while the value is as good as `threshold` or better; fires each time that it comes to be so.

    Unlike `reaches` it is not latched for good: it is a state, to be joined with others or turned round.

    Args:
        signal: what it reads.
        threshold: in the unit of the signal; for best="min" the value must be at most that.

    Example:
        >>> import lehr
        >>> good = lehr.evaluation("accuracy", every=100, best="max").at_least(0.9)
        >>> lehr.when(good & lehr.loss.plateaus(5)).scale(0.1)
        when(evaluation('accuracy', every=100, best='max').at_least(0.9) & loss.plateaus(5)).scale(0.1)

    Source: our choice.
    """
    return AtLeast(signal, threshold)


class AtLeastState(NamedTuple):
    """Memory of `at_least`."""

    smooth: Smooth
    holds: bool
    acted: bool  # it has fired, and the signal has not been worse since
    words: str


@dataclass(frozen=True, repr=False)
class AtLeast(Trigger):
    """See `Signal.at_least`."""

    signal: Signal
    threshold: float

    def __post_init__(self) -> None:
        put(self, threshold=number(self.threshold, "at_least(threshold)"))

    def text(self, full: bool = False) -> str:
        """`signal.at_least(...)`."""
        return method(self.signal, "at_least", self, ("threshold",), full)

    def signals(self) -> tuple[Signal, ...]:
        """Its one signal."""
        return (self.signal,)

    def resolve(self, horizon: Horizon) -> Trigger:
        """Unchanged: nothing in it is a length."""
        return self

    @property
    def lasts(self) -> bool:
        """It is a state."""
        return True

    def init(self) -> AtLeastState:
        """Nothing seen."""
        return AtLeastState(Smooth(), False, False, "")

    def update(self, state: AtLeastState, observation: Observation) -> tuple[AtLeastState, Reading]:
        """Compare the value with the threshold."""
        smooth, value = self.signal.read(state.smooth, observation)
        state = state._replace(smooth=smooth)
        if value is None or not math.isfinite(value):
            return state, Reading(state.holds and not state.acted, False, state.words)
        holds = value == self.threshold or better(self.signal, value, self.threshold)
        words = f"{self.signal.name} {value:.6g} is {'as good as' if holds else 'worse than'} {self.threshold:.6g}"
        state = AtLeastState(smooth, holds, state.acted and holds, words)
        return state, Reading(holds and not state.acted, True, words)

    def after_firing(self, state: AtLeastState) -> AtLeastState:
        """Quiet until it has been worse, unless it was another trigger of the rule that held."""
        return state._replace(acted=state.acted or state.holds)


def within_best(signal: Signal, tolerance: float, sustained: int = 2) -> Trigger:
    """Holds while the value is within tolerance·|best| of its best so far, or within its noise.

    It takes `sustained` observations in a row beyond both to leave; `~` of it is the rule's trigger. The noise is
    that of the difference of two values: 2.5·√2·σ, with σ as in `improves_less_than`.

    Args:
        signal: what it reads.
        tolerance: a share between 0 and 1; 1 % is 0.01.
        sustained: observations, at least 1.

    Example:
        >>> import lehr
        >>> accuracy = lehr.evaluation("accuracy", every="1 epoch", best="max")
        >>> lehr.when(~accuracy.within_best(0.02)).scale(0.5)
        when(~evaluation('accuracy', every='1 epoch', best='max').within_best(0.02)).scale(0.5)

    Source: our choice.
    """
    return WithinBest(signal, tolerance, sustained)


class WithinState(NamedTuple):
    """Memory of `within_best`."""

    smooth: Smooth
    best: float | None
    worse: int  # observations in a row beyond the tolerance and the noise
    last: tuple[float, ...]  # the last values
    words: str
    acted: bool = False  # it has fired, and the signal has not been worse since


@dataclass(frozen=True, repr=False)
class WithinBest(Trigger):
    """See `Signal.within_best`."""

    signal: Signal
    tolerance: float
    sustained: int = 2

    def __post_init__(self) -> None:
        tolerance = number(self.tolerance, "within_best(tolerance)")
        if not 0 <= tolerance < 1:
            raise LehrError(f"within_best(tolerance) must be a share between 0 and 1, got {tolerance!r}; 1 % is 0.01")
        sustained = whole(self.sustained, "within_best(sustained=...), a number of observations,", least=1)
        put(self, tolerance=tolerance, sustained=sustained)

    def text(self, full: bool = False) -> str:
        """`signal.within_best(...)`."""
        return method(self.signal, "within_best", self, ("tolerance", "sustained"), full)

    def signals(self) -> tuple[Signal, ...]:
        """Its one signal."""
        return (self.signal,)

    def resolve(self, horizon: Horizon) -> Trigger:
        """Unchanged: nothing in it is a length."""
        return self

    @property
    def lasts(self) -> bool:
        """It is a state."""
        return True

    def init(self) -> WithinState:
        """Nothing seen."""
        return WithinState(Smooth(), None, 0, (), "")

    def update(self, state: WithinState, observation: Observation) -> tuple[WithinState, Reading]:
        """Compare the value with the best one so far."""
        smooth, value = self.signal.read(state.smooth, observation)
        if value is None or not math.isfinite(value):
            return state._replace(smooth=smooth), Reading(state.worse < self.sustained, False, state.words)
        best = value if state.best is None or better(self.signal, value, state.best) else state.best
        margin = max(self.tolerance * abs(best), _noise(state.last))
        worse = min(state.worse + 1, self.sustained) if abs(value - best) > margin else 0
        share = f"{percent(abs(value - best) / abs(best))} worse than" if best and value != best else "as good as"
        row = f", beyond {margin:.3g} for {worse} observations" if worse else ""
        words = f"{self.signal.name} {value:.6g} is {share} its best, {best:.6g}{row}"
        state = WithinState(smooth, best, worse, (*state.last[-LAST + 1 :], min(max(value, -LARGEST), LARGEST)), words)
        return state, Reading(worse < self.sustained, True, words)

    def after_firing(self, state: WithinState) -> WithinState:
        """Unchanged: it is a state, not an event."""
        return state


def _noise(last: tuple[float, ...]) -> float:
    """How far apart two values lie by noise alone: 2.5·√2·σ."""
    return 0.0 if len(last) < FEWEST else 2.5 * math.sqrt(2.0) * float(noise_of(last).sd[0])
