"""Counting a standstill: the one pure core of every reduce-on-plateau, parametrised by what its peers mean.

A value is compared with the best one so far; those that are no improvement are counted in a row; at `limit` of them
the rule fires, and a pause begins. The arithmetic is written once and works on one run (floats) and on many runs side
by side (arrays, one element a run). Values are *costs*: smaller is better, so a signal with best="max" comes with its
sign turned, which is exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

__all__ = ["BETTER", "Count", "Counting", "Tally", "choose"]

INF = math.inf


def _single(x: Any) -> Any:
    """Rounded to float32. One operation in float64, so rounded, is the same operation in float32."""
    with np.errstate(over="ignore"):
        rounded = np.float32(x)
    return rounded.astype(np.float64) if rounded.ndim else float(rounded)


BETTER: dict[str, Callable[[Any, Any, float, float], Any]] = {  # of a cost, the best one, the margin, the sign
    # The same as torch's, to the last bit, wherever that moves the bar the right way.
    "safe": lambda cost, best, margin, sign: cost < best * choose(best < 0, 1.0 + margin, 1.0 - margin),
    "torch": lambda cost, best, margin, sign: cost < best * (1.0 - sign * margin),
    "paddle": lambda cost, best, margin, sign: cost < best - sign * (best * margin),
    "optax": lambda cost, best, margin, sign: cost < _single(best * _single(1.0 - margin)),
    "absolute": lambda cost, best, margin, sign: cost < best - margin,
    "fastai": lambda cost, best, margin, sign: cost + margin < best,
    "keras": lambda cost, best, margin, sign: _single(cost + margin) < _single(best),
    "optax absolute": lambda cost, best, margin, sign: cost < _single(best - _single(margin)),
}


class Tally(NamedTuple):
    """What is remembered: of one run as numbers, of many as arrays."""

    best: Any  # the least cost so far; NaN: none yet
    bad: Any = 0  # judgements in a row without improvement
    pause: Any = 0  # judgements of the pause that are still to come
    mean: Any = 0.0  # of the costs gathered for the next judgement
    gathered: Any = 0  # how many they are


class Count(NamedTuple):
    """What came of one value."""

    tally: Tally
    judged: Any  # whether a judgement was made
    fires: Any


@dataclass(frozen=True)
class Counting:
    """What the words of a reduce-on-plateau mean."""

    better: str  # a name of BETTER
    margin: float
    sign: float  # 1 where the signal itself is a cost, -1 where it was turned
    limit: int  # bad judgements in a row that fire; at 0 an improvement does
    pause: int = 0  # judgements after a firing at which nothing is counted
    average: int = 1  # values a judgement is the mean of
    start: float = math.nan  # the best before anything was seen; NaN: the first value is an improvement, whatever it is
    finite: bool = False  # what is not finite is passed over
    deaf: bool = False  # in a pause not even the best is noted
    forgets: bool = False  # the best, on firing
    single: bool = False  # in float32

    def init(self) -> Tally:
        """Nothing seen."""
        return Tally(self.start)

    def heard(self, tally: Tally, cost: Any) -> Count:
        """Gather a cost, and judge the mean where it is complete."""
        rounded = _single if self.single else _as_it_is
        cost = rounded(cost)
        if self.average == 1:
            full = True
            after, fires = self._judged(tally, cost)
        else:
            gathered = tally.gathered + 1
            mean = rounded(rounded(tally.gathered * tally.mean + cost) / gathered)  # a fused product, as XLA's
            full = gathered == self.average
            after, fires = self._judged(tally, mean)
            after = choose(full, after, tally._replace(mean=mean, gathered=gathered))
        if self.finite:
            heard = abs(cost) < INF  # false for NaN too
            after, full = choose(heard, after, tally), full & heard
        return Count(after, full, full & fires)

    def fired(self, tally: Tally) -> Tally:
        """The tally after the rule has fired."""
        return Tally(self.start if self.forgets else tally.best, pause=self.pause)

    def _judged(self, tally: Tally, cost: Any) -> tuple[Tally, Any]:
        paused = tally.pause > 0
        unset = tally.best != tally.best
        improved = unset | BETTER[self.better](cost, tally.best, self.margin, self.sign)
        if self.deaf:
            improved = choose(paused, False, improved)
        bad = choose(improved | paused, 0, tally.bad + 1)
        # Nothing is better than a NaN that came first, nor than minus infinity.
        best = choose(improved, choose(cost != cost, -INF, cost), tally.best)
        reached = bad >= self.limit if self.limit else bad == 0
        after = Tally(best, bad, choose(paused, tally.pause - 1, tally.pause))
        return after, choose(paused, False, reached)


def choose(condition: Any, a: Any, b: Any) -> Any:
    """`a` where the condition holds, else `b`: of one run, or of each of many."""
    if condition is True or condition is False:
        return a if condition else b
    if isinstance(a, Tally):
        return Tally(*(np.where(condition, *pair) for pair in zip(a, b, strict=True)))
    return np.where(condition, a, b)


def _as_it_is(x: Any) -> Any:
    return x
