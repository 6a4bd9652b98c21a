"""The trigger of a signal that reaches a threshold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

from lehr.errors import LehrError
from lehr.lengths import Horizon
from lehr.rules.common import method, percent, put, whole
from lehr.rules.estimators import bounded, clipped, noise_of
from lehr.rules.trigger import Observation, Reading, Smooth, Trigger
from lehr.schedules.schedule import number

if TYPE_CHECKING:
    from lehr.rules.signals import Signal

__all__ = ["Reaches", "ReachesState", "better", "bound", "reaches"]


LEAST = 8  # observations before anything is said with confidence
LAST = 128  # observations that the noise is taken from
LONGEST = 64  # observations that a mean is taken over, at most
TIMES = 4.0  # a mean, and the noise, is of so many integrated autocorrelation times at least
STAY = 0.848  # chance that noise of autocorrelation 0.8, long on one side of its level, stays there (simulated)
ROWS = 46.0  # so that 200 observations of it have such a row with a quarter of the error
LOOKS = 2.0  # the error is shared among this many times the means: calibrated over 200 looks


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
        rearm: a worse value; when the signal is worse than that, as often in a row or as surely as it must be as
            good as the threshold, the trigger can fire again. Default: never.
        confidence: between 0.5 and 1; the level of the signal, not one lucky value, must have reached it: one of
            the means of the last 2 to 64 observations has a one-sided confidence bound beyond the threshold, with
            noise and autocorrelation estimated; or so many in a row have reached it as noise with an autocorrelation
            of 0.8 does not do (39 with 0.9, 53 with 0.99). It takes 8 observations. At a level just worse than the
            threshold it is wrong in at most 1 − confidence of the runs of 200 observations, measured with
            autocorrelations up to 0.8.
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
    away: int = 0  # while it is latched: observations in a row that were worse than `rearm`


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

    @property
    def enough(self) -> int:
        """Observations in a row that settle it, whatever the noise."""
        if self.confidence is None:
            return self.sustained
        return math.ceil(1 + math.log((1 - self.confidence) / ROWS) / math.log(STAY))

    def init(self) -> ReachesState:
        """The latch open."""
        return ReachesState(Smooth(), False, False, "")

    def update(self, state: ReachesState, observation: Observation) -> tuple[ReachesState, Reading]:
        """Compare the value with the threshold; open the latch again beyond `rearm`."""
        smooth, value = self.signal.read(state.smooth, observation)
        state = state._replace(smooth=smooth)
        if value is None or not math.isfinite(value):
            return state, Reading(state.holds, False, state.words)
        reached = value == self.threshold or better(self.signal, value, self.threshold)
        worse = state.latched and self.rearm is not None and better(self.signal, self.rearm, value)
        row, away = (min(n + 1, self.enough) if so else 0 for n, so in ((state.row, reached), (state.away, worse)))
        state = state._replace(row=row, away=away)
        state, words, left = self._counted(state, value) if self.confidence is None else self._shown(state, value)
        latched = state.latched and not left
        holds = bool(words) and not latched
        away = state.away if latched else 0
        state = state._replace(holds=holds, latched=latched, words=words if holds else "", away=away)
        return state, Reading(holds, True, state.words)

    def after_firing(self, state: ReachesState) -> ReachesState:
        """The latch closed, unless it was another trigger of the rule that held."""
        return self.after_change(state)._replace(holds=False, latched=state.latched or state.holds, words="")

    def after_change(self, state: ReachesState) -> ReachesState:
        """Values under another LR are no evidence of the level under this one."""
        return state if self.confidence is None else state._replace(recent=(), last=(), row=0, away=0)

    def _counted(self, state: ReachesState, value: float) -> tuple[ReachesState, str, bool]:
        """The evidence, in words, that the threshold is reached; and whether the signal is beyond `rearm`."""
        words = f"{self.signal.name} {value:.6g} reached {self.threshold:.6g}"
        words += f" {state.row} times in a row" if self.sustained > 1 else ""
        return state, words if state.row >= self.enough else "", state.away >= self.enough

    def _likely(self, last: tuple[float, ...]) -> bool:
        """Whether a mean has reached the threshold at all: the noise, which costs more, need be known only then."""
        total, sign = 0.0, 1.0 if self.signal.best == "max" else -1.0
        for n, value in enumerate(reversed(last[-LONGEST:]), 1):
            total += value
            if n > 1 and sign * total / n > sign * self.threshold:
                return True
        return False

    def _shown(self, state: ReachesState, value: float) -> tuple[ReachesState, str, bool]:
        """The same: of the means of the last 2, 3, … values, has one a confidence bound beyond the number?"""
        recent, inside = clipped(state.recent, bounded(value))
        state = state._replace(recent=recent, last=(*state.last[-LAST + 1 :], inside))
        if state.latched:  # what counts now is the way back; what was before it has had its say
            left = state.away >= self.enough or self._below(state.last)
            return self.after_change(state) if left else state, "", left
        if state.row >= self.enough:
            words = f"{self.signal.name} {value:.6g} reached {self.threshold:.6g} {state.row} times in a row, which is "
            return state, f"{words}more than noise does ({percent(self.confidence or 0.5)} confidence)", False
        if len(state.last) < LEAST or not self._likely(state.last):
            return state, "", False
        low, mean, count = bound(state.last, self.confidence or 0.5, self.signal.best)
        if not (low == self.threshold or better(self.signal, low, self.threshold)):
            return state, "", False
        words = (
            f"{self.signal.name} {mean:.6g}, the mean of {count} observations, reached {self.threshold:.6g} with "
            f"{percent(self.confidence or 0.5)} confidence (bound {low:.6g})"
        )
        return state, words, False

    def _below(self, last: tuple[float, ...]) -> bool:
        """Whether the level is shown to be worse than `rearm`."""
        if self.rearm is None or len(last) < LEAST:
            return False
        most, _, _ = bound(last, self.confidence or 0.5, "min" if self.signal.best == "max" else "max")
        return better(self.signal, self.rearm, most)


def better(signal: Signal, a: float, b: float) -> bool:
    """Whether a is better than b."""
    return a > b if signal.best == "max" else a < b


def bound(last: tuple[float, ...], confidence: float, best: str) -> tuple[float, float, int]:
    """The level that the signal has at least, with its mean and number of observations.

    The best of the one-sided bounds mean ∓ z·σ·√(τ/n) over the means of the last n = 2, 3, … values, with the error
    shared among them and the looks to come. For a signal that improves the mean lags behind its level, so the bound is
    on the safe side. Where there are too few values for their autocorrelation time τ, nothing is known: the bound is
    infinite.
    """
    noise = noise_of(last)
    sd, rho, fewest = math.sqrt(float(noise.long_run[0])), float(noise.rho[0]), TIMES * float(noise.times[0])
    longest = min(len(last), LONGEST)
    z = -NormalDist().inv_cdf((1 - confidence) / (LOOKS * (longest - 1)))
    free = max(float(noise.known[0]) * (1 - rho**2) / (1 + rho**2) / 2, 4.0)
    z *= 1 + (z * z + 1) / (4 * free)  # Student's t, to first order in 1/free
    sign = 1.0 if best == "max" else -1.0
    total, found = last[-1], (-math.inf, last[-1], 1)
    for n in range(2, longest + 1):
        total += last[-n]
        if n < fewest:
            continue
        found = max(found, (sign * total / n - z * sd / math.sqrt(n), total / n, n))
    return sign * found[0], found[1], found[2]
