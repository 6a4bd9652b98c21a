"""Triggers of an evaluated model: it performs at least so well, it stays within reach of its best."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

from lehr.errors import LehrError
from lehr.lengths import Horizon
from lehr.rules.common import method, percent, put, whole
from lehr.rules.estimators import bounded, noise_of
from lehr.rules.reaches import better
from lehr.rules.trigger import Observation, Reading, Smooth, Trigger
from lehr.schedules.schedule import number

if TYPE_CHECKING:
    from lehr.rules.signals import Signal

__all__ = ["AtLeast", "AtLeastState", "WithinBest", "WithinState", "at_least", "within_best"]


FEWEST = 8  # values of which the noise is known
LAST = 64  # values that the noise is taken from
ERROR = 0.05  # chance of taking noise for a fall, of all observations together


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

    It takes `sustained` observations in a row beyond both to leave; `~` of it is the rule's trigger. The best of n
    values is a lucky one, so the noise is 2·z·σ, with z the normal quantile of 1 − 0.05/n, raised for how well σ is
    known, and σ as in `improves_less_than`. It is known from 8 observations on; before, nothing is beyond it.

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
    seen: int = 0  # observations so far


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
            return state._replace(smooth=smooth), Reading(self._holds(state), False, state.words)
        best = value if state.best is None or better(self.signal, value, state.best) else state.best
        margin = self.tolerance * abs(best)
        if abs(value - best) > margin:  # only then need the noise be known, which costs more
            margin = max(margin, _noise(state.last, state.seen))
        worse = min(state.worse + 1, self.sustained) if abs(value - best) > margin else 0
        share = abs(value - best) / abs(best) if best else math.inf
        off = "as good as" if value == best else f"{percent(share)} worse than" if share < math.inf else "worse than"
        row = f", beyond {margin:.3g} for {worse} observation{'s' if worse > 1 else ''}" if worse else ""
        words = f"{self.signal.name} {value:.6g} is {off} its best, {best:.6g}{row}"
        last = (*state.last[-LAST + 1 :], bounded(value))
        acted = state.acted and worse < self.sustained
        state = WithinState(smooth, best, worse, last, words, acted, state.seen + 1)
        return state, Reading(self._holds(state), True, words)

    def _holds(self, state: WithinState) -> bool:
        return state.best is not None and state.worse < self.sustained and not state.acted

    def after_firing(self, state: WithinState) -> WithinState:
        """Quiet until it has been worse, unless it was another trigger of the rule that held."""
        return state._replace(acted=state.acted or self._holds(state))


def _noise(last: tuple[float, ...], seen: int) -> float:
    """How far a value lies from the best of so many by noise alone: 2·z·σ."""
    if len(last) < FEWEST:
        return math.inf
    noise = noise_of(last)
    rho = float(noise.rho[0])
    z = -NormalDist().inv_cdf(ERROR / (max(seen, len(last)) + 1))
    free = max(float(noise.known[0]) * (1 - rho**2) / (1 + rho**2) / 2, 4.0)
    return 2 * z * (1 + (z * z + 1) / (4 * free)) * float(noise.sd[0])
