"""Triggers on curves with a given noise: how often too early, how late, how often not at all."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lehr.calibration import Noise, curves, fewest, flat_since, scored, wilson
from lehr.lengths import Horizon, Length, half_up
from lehr.rules import Trigger
from lehr.rules.common import percent
from lehr.rules.counting import Tally
from lehr.rules.improves import ImprovesLessThan
from lehr.rules.lanes import first_firings
from lehr.rules.plateaus import Plateaus

__all__ = ["Patience", "Setting", "Trials", "Tried", "in_observations", "standstills"]

COMING = ("plateau", "overfit")  # families that come to be flat; a power law does so more slowly than one could tell
SLOW = 300_000  # numbers, about, for a trigger that hears a run after the other
POINTS = 40  # of a curve over patience
NEVER = 2**30
Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Streaks = NDArray[np.int32]


@dataclass(frozen=True)
class Setting:
    """What the trials are.

    Attributes:
        length: observations in a run.
        improvement: δ, a share.
        window: H, as it was asked.
        runs: of each family.
        seed: of the curves.
        best: "min" or "max".
        sign: of the level, 1 or -1.
        horizon: the facts of the run, in steps.
        spacing: steps from an observation to the next.
    """

    length: int
    improvement: float
    window: Length
    runs: int
    seed: int
    best: str
    sign: int
    horizon: Horizon
    spacing: Fraction

    @property
    def over(self) -> int:
        """H in observations, at least 1."""
        return _observed(self.window, self.horizon, self.spacing)


class Tried(NamedTuple):
    """How a trigger did."""

    trigger: Trigger
    runs: int
    premature: float  # share of all runs, and its 95 % interval
    low: float
    high: float
    delay: float  # median, in observations; infinite if it mostly never fired; NaN if it was always too early
    times: float  # the delay in units of n*
    missed: float  # share of the runs in which it could be decided; NaN where there are none

    def words(self) -> str:
        """How it did, in a sentence."""
        early = f"too early in {percent(round(self.premature, 3))} of the runs"
        if math.isnan(self.delay):
            return early
        if math.isinf(self.delay):
            return f"{early}, and mostly never on flat curves"
        missed = "" if math.isnan(self.missed) else f", {100 * self.missed:.0f} % missed"
        return f"{early}, median delay {self.delay:.0f} observations or {self.times:.1f} n*{missed}"


class Patience(NamedTuple):
    """What patience brings; a column an entry a patience."""

    trigger: Plateaus  # with a patience of 0
    patience: Counts
    premature: Floats
    low: Floats
    high: Floats
    delay: Floats
    longest: Counts  # in each run: the most observations in a row without improvement, before it was flat

    def at(self, share: float) -> Plateaus:
        """The trigger with the smallest patience, at least 1, that is premature in at most this share of the runs."""
        ordered = np.sort(self.longest)
        return replace(self.trigger, patience=max(int(ordered[-int(share * len(ordered)) - 1]), 1))


class Trials:
    """Curves with a noise, on which triggers are tried."""

    def __init__(self, noise: Noise, setting: Setting) -> None:
        s = setting
        self.setting, self.over = s, s.over
        self.needed = fewest(noise, over=self.over, improvement=s.improvement)
        drawn = curves(noise, length=s.length, over=self.over, runs=s.runs, seed=s.seed, best=s.best, sign=s.sign)
        flat = [flat_since(found.truth, self.over, s.improvement, s.best) for found in drawn.values()]
        self._since = np.concatenate(flat)
        self._values = np.concatenate([found.values for found in drawn.values()])
        self._coming = np.repeat([name in COMING for name in drawn], s.runs)
        self._standing: dict[Plateaus, Streaks] = {}
        self._tried: dict[Trigger, Tried] = {}

    def of(self, trigger: Trigger) -> Tried:
        """Try a trigger as it is written for the user's run, its lengths in steps or shares of the run."""
        if trigger not in self._tried:
            self._tried[trigger] = self._of(trigger)
        return self._tried[trigger]

    def _of(self, trigger: Trigger) -> Tried:
        heard = in_observations(trigger, self.setting.horizon, self.setting.spacing)
        if isinstance(heard, Plateaus) and _is_plain(heard):
            return self._scored(trigger, _first(self._stands(heard), heard.counting.limit), slice(None))
        quick = isinstance(heard, Plateaus | ImprovesLessThan) and heard.signal.span is None
        quick = quick and getattr(heard, "test", "trend") == "trend"
        every = 1 if quick else -(-self._values.size // SLOW)
        some = slice(None, None, every)
        return self._scored(trigger, first_firings(heard, self._values[some]), some)

    def patience(self, trigger: Plateaus) -> Patience:
        """What patience brings, all patiences at once: what is counted does not depend on it before it has fired."""
        s = self.setting
        standing = self._stands(trigger)
        since = self._since
        longest = np.where(since > 0, standing[np.arange(len(since)), np.maximum(since - 1, 0)], 0).astype(np.int64)
        grid = np.unique(np.geomspace(1, max(s.length // 2, 2), POINTS).round().astype(np.int64))
        rows = [self._scored(trigger, _first(standing, int(k) + 1), slice(None)) for k in grid]
        premature, low, high, delay = np.array([(row.premature, row.low, row.high, row.delay) for row in rows]).T
        return Patience(trigger, grid, premature, low, high, delay, longest)

    def _stands(self, trigger: Plateaus) -> Streaks:
        key = replace(trigger, patience=1)
        if key not in self._standing:
            self._standing[key] = standstills(key, self._values)
        return self._standing[key]

    def _scored(self, trigger: Trigger, first: Counts, some: slice) -> Tried:
        since, coming = self._since[some], self._coming[some]
        asked = (self.setting.length, self.needed)
        every, late = scored(first, since, *asked), scored(first[coming], since[coming], *asked)
        low, high = wilson(every.premature, every.runs)
        times = late.delay / self.needed
        return Tried(trigger, every.runs, every.premature, low, high, late.delay, times, late.missed)


def standstills(trigger: Plateaus, values: Floats) -> Streaks:
    """The most observations in a row without improvement up to each one, if the trigger never fires.

    It first fires where this reaches its limit, whatever its patience is.

    Args:
        trigger: one that judges each observation by itself.
        values: finite, of shape (runs, length).
    """
    counting = replace(trigger.counting, limit=NEVER)
    tally = Tally(*(np.full(len(values), fresh) for fresh in counting.init()))
    most = np.zeros(values.shape, dtype=np.int32)
    for step, heard in enumerate(_smoothed(values.T, trigger.signal.span)):
        tally = counting.heard(tally, counting.sign * heard).tally
        most[:, step] = np.maximum(most[:, step - 1], tally.bad) if step else tally.bad
    return most


def _smoothed(rows: Floats, span: int | None) -> Iterator[Floats]:
    """A step after another, as a signal reads them."""
    keep = 0.0 if span is None else 1.0 - 2.0 / (span + 1.0)
    mean, weight = np.zeros(rows.shape[1]), 0.0
    for row in rows:
        mean, weight = keep * mean + (1.0 - keep) * row, keep * weight + (1.0 - keep)
        yield np.ascontiguousarray(row) if span is None else mean / weight


def _first(standing: Streaks, limit: int) -> Counts:
    """Where a row that only grows first reaches the limit; -1 where it does not."""
    below = (standing < limit).sum(axis=1)
    first: Counts = np.where(below < standing.shape[1], below, -1)
    return first


def _is_plain(trigger: Plateaus) -> bool:
    """Whether it counts each observation, and from one on."""
    return trigger.average == 1 and trigger.counting.limit >= 1


def in_observations(trigger: Trigger, horizon: Horizon, spacing: Fraction) -> Trigger:
    """The trigger as it hears a log of which every entry is an observation: steps become as many as there are in them.

    Example:
        >>> import lehr
        >>> in_observations(lehr.loss.improves_less_than(0.01, "10%"), Horizon(steps=10_000), Fraction(50))
        loss.improves_less_than(0.01, 20)
    """
    return _counted(trigger.resolve(horizon), spacing)


def _counted(trigger: Trigger, spacing: Fraction) -> Trigger:
    changed: dict[str, Length | Trigger] = {}
    for field in fields(trigger):  # type: ignore[arg-type]  # triggers are dataclasses
        value = getattr(trigger, field.name)
        if isinstance(value, Trigger):
            changed[field.name] = _counted(value, spacing)
        elif isinstance(value, Length) and value.unit == "steps":
            changed[field.name] = Length(Fraction(max(half_up(value.amount / spacing), 1)), "steps")
    return replace(trigger, **changed) if changed else trigger  # type: ignore[type-var]  # as above


def _observed(window: Length, horizon: Horizon, spacing: Fraction) -> int:
    amount = window.amount if window.unit == "observations" else horizon.measure(window) / spacing
    return max(half_up(amount), 1)
