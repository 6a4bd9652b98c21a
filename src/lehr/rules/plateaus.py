"""The trigger of a signal that stands still, as reduce-on-plateau counts it, in the meaning of each peer."""

from __future__ import annotations

import functools as ft
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from lehr.errors import LehrError
from lehr.lengths import Horizon
from lehr.rules.common import method, put, whole
from lehr.rules.counting import Counting, Tally
from lehr.rules.trigger import Observation, Reading, Smooth, Trigger
from lehr.schedules.schedule import number
from lehr.spelling import shown

if TYPE_CHECKING:
    from lehr.rules.signals import Signal

__all__ = ["FLAVORS", "Flavor", "MarginMode", "Plateaus", "PlateausState", "plateaus"]

Flavor = Literal["lehr", "torch", "keras", "optax", "paddle", "fastai"]
MarginMode = Literal["rel", "abs"]
NAN, INF = math.nan, math.inf


class Meaning(NamedTuple):
    """What a flavor means by the words of a reduce-on-plateau."""

    margins: dict[str, str]  # its margin modes, its own first: how it compares
    limit: Callable[[int], int]  # of the patience: how many observations without improvement act
    start: float  # see `Counting`
    finite: bool = False
    deaf: bool = False
    forgets: bool = False
    cooldown: bool = True  # whether it has one
    early: int = 0  # observations of a cooldown, at its end, that count already
    average: bool = False  # whether it averages
    single: bool = False


def _next(patience: int) -> int:
    """So many are tolerated, the next one acts."""
    return patience + 1


def _last(patience: int) -> int:
    """The last of so many acts."""
    return max(patience, 1)


def _exactly(patience: int) -> int:
    """Acts where the count is just that: with a patience of 0, at each improvement."""
    return patience


FLAVORS: dict[str, Meaning] = {
    "lehr": Meaning({"rel": "safe", "abs": "absolute"}, _next, NAN, finite=True, deaf=True, forgets=True, average=True),
    "torch": Meaning({"rel": "torch", "abs": "absolute"}, _next, INF),
    "keras": Meaning({"abs": "keras"}, _last, NAN, early=1),
    "optax": Meaning({"rel": "optax", "abs": "optax absolute"}, _exactly, INF, average=True, single=True),
    "paddle": Meaning({"rel": "paddle", "abs": "absolute"}, _next, NAN, deaf=True),
    "fastai": Meaning({"abs": "fastai"}, _last, INF, cooldown=False),
}


def plateaus(
    signal: Signal,
    patience: int,
    margin: float = 1e-4,
    flavor: Flavor = "lehr",
    cooldown: int = 0,
    margin_mode: MarginMode | None = None,
    average: int = 1,
) -> Trigger:
    """Holds when more than `patience` observations in a row were no improvement on the best one.

    An improvement is better than the best by more than margin·|best|, for negative values too. A non-finite value
    is neither an improvement nor the lack of one. After firing the evidence is forgotten, and observations of the
    cooldown are not heard.

    Args:
        signal: what it reads.
        patience: observations without improvement that are tolerated; the next one acts (as in torch).
        margin: relative, between 0 and 1; or absolute, at least 0.
        flavor: "lehr", or the words' meaning elsewhere, faults included. In all of these NaN is no improvement and
            the best value is kept after firing. "torch" and "paddle": a relative margin has the wrong sign for
            negative values. "optax": the same, and the patience-th observation acts. "keras" and "fastai": the
            margin is absolute, and the patience-th acts. In a cooldown torch, Keras and optax go on noting the
            best value, Paddle does not; Keras counts its last observation already; fastai has none. Keras and
            optax compare in float32.
        cooldown: observations after firing that do not count.
        margin_mode: "rel" or "abs". Default: "abs" for "keras" and "fastai", which know no other, else "rel".
        average: observations of which the mean is judged, side by side; "lehr" and "optax" only.

    Raises:
        LehrError: a number out of its range, or what the flavor does not have.

    Example:
        >>> import lehr
        >>> lehr.metric("val_loss", best="min").plateaus(5)
        metric('val_loss', best='min').plateaus(5)

    Source: torch's, Keras's, optax's, Paddle's and fastai's reduce-on-plateau; "lehr" is our choice.
    """
    return Plateaus(signal, patience, margin, flavor, cooldown, margin_mode, average)


class PlateausState(NamedTuple):
    """Memory of `plateaus`. What is not finite is kept as a text."""

    smooth: Smooth
    best: float | str | None  # the best value so far
    bad: int  # observations in a row without improvement
    holds: bool
    words: str
    pause: int = 0  # observations of the cooldown that are still to come
    mean: float | str = 0.0  # of the values gathered for the next judgement
    gathered: int = 0  # how many they are


@dataclass(frozen=True, repr=False)
class Plateaus(Trigger):
    """See `Signal.plateaus`."""

    signal: Signal
    patience: int
    margin: float = 1e-4
    flavor: str = "lehr"
    cooldown: int = 0
    margin_mode: str | None = None
    average: int = 1

    def __post_init__(self) -> None:
        patience = whole(self.patience, "plateaus(patience=...), a number of observations,", least=0)
        cooldown = whole(self.cooldown, "plateaus(cooldown=...), a number of observations,", least=0)
        average = whole(self.average, "plateaus(average=...), a number of observations,", least=1)
        margin = number(self.margin, "plateaus(margin=...)")
        if self.flavor not in tuple(FLAVORS):  # a tuple, as what was given may have no hash
            raise LehrError(f"plateaus(flavor=...) must be one of {_listed(FLAVORS)}, got {shown(self.flavor)}")
        meaning = FLAVORS[self.flavor]
        mode = next(iter(meaning.margins)) if self.margin_mode is None else self.margin_mode
        if mode not in tuple(meaning.margins):
            known = _listed(meaning.margins)
            raise LehrError(f"plateaus(margin_mode=...) of flavor={self.flavor!r} must be {known}, got {shown(mode)}")
        if margin < 0 or (margin >= 1 and mode == "rel"):
            raise LehrError(f"plateaus(margin=...) must be between 0 and 1, got {margin!r}; 1 % is 0.01")
        lacking = {
            "best='max'": self.flavor == "optax" and self.signal.best == "max",
            "cooldown": cooldown > 0 and not meaning.cooldown,
            "average": average > 1 and not meaning.average,
        }
        for what in (name for name, lacks in lacking.items() if lacks):
            raise LehrError(f"plateaus(flavor={self.flavor!r}) knows no {what}, as {self.flavor} does not; use 'lehr'")
        put(self, patience=patience, margin=margin, cooldown=cooldown, margin_mode=mode, average=average)

    def text(self, full: bool = False) -> str:
        """`signal.plateaus(...)`."""
        names = ["patience", "margin", "flavor", "cooldown", "margin_mode", "average"]
        if not full and self.margin_mode == next(iter(FLAVORS[self.flavor].margins)):
            names.remove("margin_mode")
        return method(self.signal, "plateaus", self, tuple(names), full)

    def signals(self) -> tuple[Signal, ...]:
        """Its one signal."""
        return (self.signal,)

    def resolve(self, horizon: Horizon) -> Trigger:
        """Unchanged: patience counts observations."""
        return self

    @ft.cached_property
    def counting(self) -> Counting:
        """How it counts."""
        meaning = FLAVORS[self.flavor]
        return Counting(
            better=meaning.margins[str(self.margin_mode)],  # it is named since the value was made
            margin=self.margin,
            sign=1.0 if self.signal.best == "min" else -1.0,
            limit=meaning.limit(self.patience),
            pause=max(self.cooldown - meaning.early, 0),
            average=self.average,
            start=meaning.start,
            finite=meaning.finite,
            deaf=meaning.deaf,
            forgets=meaning.forgets,
            single=meaning.single,
        )

    @property
    def fewest(self) -> int:
        """The fewest observations at which it can hold."""
        counting = self.counting
        first_is_best = math.isnan(counting.start)
        return max(counting.limit + first_is_best, 1) * self.average

    def init(self) -> PlateausState:
        """Nothing seen."""
        return PlateausState(Smooth(), None, 0, False, "")

    def update(self, state: PlateausState, observation: Observation) -> tuple[PlateausState, Reading]:
        """Count observations in a row that are no improvement."""
        smooth, value = self.signal.read(state.smooth, observation)
        state = state._replace(smooth=smooth)
        if value is None:
            return state, Reading(state.holds, False, state.words)
        counting = self.counting
        tally, judged, fires = counting.heard(_tally(counting, state), counting.sign * float(value))
        words = self._words(counting, tally, value) if fires else "" if judged else state.words
        state = _state(counting, tally, smooth, fires if judged else state.holds, words)
        return state, Reading(state.holds, judged, words)

    def after_firing(self, state: PlateausState) -> PlateausState:
        """The evidence is forgotten; the peers' flavors remember their best value, as they do."""
        counting = self.counting
        return _state(counting, counting.fired(_tally(counting, state)), state.smooth, False, "")

    def _words(self, counting: Counting, tally: Tally, value: float) -> str:
        known = f"{counting.sign * tally.best:.6g}" if math.isfinite(tally.best) else "nothing finite"
        many = "" if tally.bad == 1 else "s"
        what = f"observation{many}" if self.average == 1 else f"mean{many} of {self.average} observations"
        return f"{self.signal.name} has not improved on {known} in {tally.bad} {what} (now {value:.6g})"


def _tally(counting: Counting, state: PlateausState) -> Tally:
    """The tally of a memory."""
    best = counting.start if state.best is None else counting.sign * float(state.best)
    return Tally(best, state.bad, state.pause, counting.sign * float(state.mean), state.gathered)


def _state(counting: Counting, tally: Tally, smooth: Smooth, holds: bool, words: str) -> PlateausState:
    """The memory of a tally."""
    fresh = tally.best != tally.best or tally.best == counting.start
    best = None if fresh else _plain(counting.sign * tally.best)
    mean = _plain(counting.sign * tally.mean) if tally.gathered else 0.0
    return PlateausState(smooth, best, tally.bad, holds, words, tally.pause, mean, tally.gathered)


def _plain(value: float) -> float | str:
    """A state holds finite numbers only."""
    return value if math.isfinite(value) else str(value)


def _listed(names: Iterable[str]) -> str:
    return " or ".join(map(repr, names))
