"""The trigger of a signal that reaches a threshold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

from lehr.errors import LehrError
from lehr.lengths import Horizon
from lehr.rules.common import method, percent, put, whole
from lehr.rules.estimators import clipped, noise_of
from lehr.rules.trigger import Observation, Reading, Smooth, Trigger
from lehr.schedules.schedule import number

if TYPE_CHECKING:
    from lehr.rules.signals import Signal

__all__ = ["Reaches", "ReachesState", "better", "bound", "reaches"]


LARGEST = 1e150  # so that squares of differences are finite
LEAST = 8  # observations before anything is said with confidence
LAST = 24  # observations that the means are taken over, at most


def reaches(
    signal: Signal,
    threshold: float,
    rearm: float | None = None,
    *,
    confidence: float | None = None,
    sustained: int = 1,
) -> Trigger:
    """Holds when the value is as good as `threshold` or better; fires once.

    Args:
        signal: what it reads.
        threshold: in the unit of the signal.
        rearm: a worse value; when the signal is worse than that, the trigger can fire again. Default: never.
        confidence: between 0.5 and 1; the level of the signal, not one lucky value, must have reached it: one of
            the means of the last 2 to 24 observations has a one-sided confidence bound beyond the threshold, with
            noise and autocorrelation estimated. It takes 8 observations.
        sustained: so many observations in a row must have reached it; not together with `confidence`.

    Example:
        >>> import lehr
        >>> lehr.metric("accuracy", best="max").reaches(0.95, rearm=0.9, sustained=2)
        metric('accuracy', best='max').reaches(0.95, rearm=0.9, sustained=2)

    Source: our choice; a latch with hysteresis, as in any thermostat.
    """
    return Reaches(signal, threshold, rearm, confidence, sustained)


class ReachesState(NamedTuple):
    """Memory of `reaches`."""

    smooth: Smooth
    holds: bool  # whether the threshold is reached now, and the latch is open
    latched: bool  # it has fired and was not re-armed
    words: str
    row: int = 0  # observations in a row that reached it
    recent: tuple[float, ...] = ()  # the last values, those that tell an outlier
    last: tuple[float, ...] = ()  # the last values, outliers pulled in


@dataclass(frozen=True, repr=False)
class Reaches(Trigger):
    """See `Signal.reaches`."""

    signal: Signal
    threshold: float
    rearm: float | None = None
    confidence: float | None = None
    sustained: int = 1

    def __post_init__(self) -> None:
        threshold = number(self.threshold, "reaches(threshold)")
        rearm = None if self.rearm is None else number(self.rearm, "reaches(rearm=...)")
        confidence = None if self.confidence is None else number(self.confidence, "reaches(confidence=...)")
        sustained = whole(self.sustained, "reaches(sustained=...), a number of observations,", least=1)
        if rearm is not None and not better(self.signal, threshold, rearm):
            raise LehrError(
                f"reaches(rearm=...) must be worse than the threshold {threshold!r} (best={self.signal.best!r}), "
                f"got {rearm!r}"
            )
        if confidence is not None and not 0.5 < confidence < 1:
            raise LehrError(
                f"reaches(confidence=...) must be between 0.5 and 1, got {confidence!r}; 95 % is 0.95, and without it "
                "every value counts as it is"
            )
        if confidence is not None and sustained > 1:
            raise LehrError("reaches(...) takes confidence= or sustained=, not both; confidence looks at many values")
        put(self, threshold=threshold, rearm=rearm, confidence=confidence, sustained=sustained)

    def text(self, full: bool = False) -> str:
        """`signal.reaches(...)`."""
        return method(self.signal, "reaches", self, ("threshold", "rearm", "confidence", "sustained"), full)

    def signals(self) -> tuple[Signal, ...]:
        """Its one signal."""
        return (self.signal,)

    def resolve(self, horizon: Horizon) -> Trigger:
        """Unchanged: nothing in it is a length."""
        return self

    def init(self) -> ReachesState:
        """The latch open."""
        return ReachesState(Smooth(), False, False, "")

    def update(self, state: ReachesState, observation: Observation) -> tuple[ReachesState, Reading]:
        """Compare the value with the threshold; open the latch again beyond `rearm`."""
        smooth, value = self.signal.read(state.smooth, observation)
        state = state._replace(smooth=smooth)
        if value is None or not math.isfinite(value):
            return state, Reading(state.holds, False, state.words)
        latched = state.latched and not (self.rearm is not None and better(self.signal, self.rearm, value))
        state, words = self._reached(state, value) if self.confidence is None else self._shown(state, value)
        holds = bool(words) and not latched
        state = state._replace(holds=holds, latched=latched, words=words if holds else "")
        return state, Reading(holds, True, state.words)

    def after_firing(self, state: ReachesState) -> ReachesState:
        """The latch closed, unless it was another trigger of the rule that held."""
        return state._replace(holds=False, latched=state.latched or state.holds, words="")

    def after_change(self, state: ReachesState) -> ReachesState:
        """Values under another LR are no evidence of the level under this one."""
        return state if self.confidence is None else state._replace(recent=(), last=())

    def _reached(self, state: ReachesState, value: float) -> tuple[ReachesState, str]:
        reached = value == self.threshold or better(self.signal, value, self.threshold)
        row = state.row + 1 if reached else 0
        words = f"{self.signal.name} {value:.6g} reached {self.threshold:.6g}"
        words += f" {row} times in a row" if self.sustained > 1 else ""
        return state._replace(row=min(row, self.sustained)), words if row >= self.sustained else ""

    def _likely(self, last: tuple[float, ...]) -> bool:
        """Whether a mean has reached the threshold at all: the noise, which costs more, need be known only then."""
        total, sign = 0.0, 1.0 if self.signal.best == "max" else -1.0
        for n, value in enumerate(reversed(last), 1):
            total += value
            if n > 1 and sign * total / n > sign * self.threshold:
                return True
        return False

    def _shown(self, state: ReachesState, value: float) -> tuple[ReachesState, str]:
        """Of the means of the last 2, 3, … values, has one a confidence bound beyond the threshold?"""
        recent, inside = clipped(state.recent, min(max(value, -LARGEST), LARGEST))
        state = state._replace(recent=recent, last=(*state.last[-LAST + 1 :], inside))
        if len(state.last) < LEAST or not self._likely(state.last):
            return state, ""
        low, mean, count = bound(state.last, self.confidence or 0.5, self.signal.best)
        if not (low == self.threshold or better(self.signal, low, self.threshold)):
            return state, ""
        return state, (
            f"{self.signal.name} {mean:.6g}, the mean of {count} observations, reached {self.threshold:.6g} with "
            f"{percent(self.confidence or 0.5)} confidence (bound {low:.6g})"
        )


def better(signal: Signal, a: float, b: float) -> bool:
    """Whether a is better than b."""
    return a > b if signal.best == "max" else a < b


def bound(last: tuple[float, ...], confidence: float, best: str) -> tuple[float, float, int]:
    """The level that the signal has at least, with its mean and number of observations.

    The best of the one-sided bounds mean ∓ z·σ·√(τ/n) over the means of the last n = 2, 3, … values, with the error
    shared among them. For a signal that improves the mean lags behind its level, so the bound is on the safe side.
    """
    noise = noise_of(last)
    sd, count = math.sqrt(float(noise.long_run[0])), float(noise.known[0])
    z = -NormalDist().inv_cdf((1 - confidence) / (len(last) - 1))
    z *= 1 + (z * z + 1) / (2 * max(count, 8.0))  # Student's t, to first order
    sign = 1.0 if best == "max" else -1.0
    total, found = last[-1], (-math.inf, last[-1], 1)
    for n in range(2, len(last) + 1):
        total += last[-n]
        found = max(found, (sign * total / n - z * sd / math.sqrt(n), total / n, n))
    return sign * found[0], found[1], found[2]
