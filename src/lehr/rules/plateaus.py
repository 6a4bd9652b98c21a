"""The trigger of a signal that stands still, as reduce-on-plateau counts it."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from lehr.errors import LehrError
from lehr.lengths import Horizon
from lehr.rules.common import method, put, whole
from lehr.rules.trigger import Observation, Reading, Smooth, Trigger
from lehr.schedules.schedule import number

if TYPE_CHECKING:
    from lehr.rules.signals import Signal

__all__ = ["Flavor", "Plateaus", "PlateausState"]

Flavor = Literal["lehr", "torch", "keras", "optax"]
FLAVORS = ("lehr", "torch", "keras", "optax")
LARGEST = sys.float_info.max


class PlateausState(NamedTuple):
    """Memory of `plateaus`."""

    smooth: Smooth
    best: float | None  # the best value so far
    bad: int  # observations in a row without improvement
    holds: bool
    words: str


@dataclass(frozen=True, repr=False)
class Plateaus(Trigger):
    """See `Signal.plateaus`."""

    signal: Signal
    patience: int
    margin: float = 1e-4
    flavor: str = "lehr"

    def __post_init__(self) -> None:
        patience = whole(self.patience, "plateaus(patience=...), a number of observations,", least=0)
        margin = number(self.margin, "plateaus(margin=...)")
        if margin < 0 or (margin >= 1 and self.flavor != "keras"):
            raise LehrError(f"plateaus(margin=...) must be between 0 and 1, got {margin!r}; 1 % is 0.01")
        if self.flavor not in FLAVORS:
            raise LehrError(f"plateaus(flavor=...) must be one of {', '.join(map(repr, FLAVORS))}, got {self.flavor!r}")
        if self.flavor == "optax" and self.signal.best == "max":
            raise LehrError("plateaus(flavor='optax') knows best='min' only, as optax does; use flavor='lehr'")
        put(self, patience=patience, margin=margin)

    def text(self, full: bool = False) -> str:
        """`signal.plateaus(...)`."""
        return method(self.signal, "plateaus", self, ("patience", "margin", "flavor"), full)

    def signals(self) -> tuple[Signal, ...]:
        """Its one signal."""
        return (self.signal,)

    def resolve(self, horizon: Horizon) -> Trigger:
        """Unchanged: patience counts observations."""
        return self

    def init(self) -> PlateausState:
        """Nothing seen."""
        return PlateausState(Smooth(), None, 0, False, "")

    def update(self, state: PlateausState, observation: Observation) -> tuple[PlateausState, Reading]:
        """Count observations in a row that are no improvement."""
        smooth, value = self.signal.read(state.smooth, observation)
        state = state._replace(smooth=smooth)
        if value is None or (self.flavor == "lehr" and not math.isfinite(value)):
            return state, Reading(state.holds, False, state.words)
        if self._improved(state.best, value):
            best = min(max(value, -LARGEST), LARGEST)  # a state holds finite numbers only; nothing is better than this
            return PlateausState(smooth, best, 0, False, ""), Reading(False, True, "")
        bad = state.bad + 1
        holds = bad > self.patience if self.flavor in ("lehr", "torch") else bad >= self.patience
        known = "nothing finite" if state.best is None else f"{state.best:.6g}"
        words = f"{self.signal.name} has not improved on {known} in {bad} observations (now {value:.6g})"
        state = state._replace(bad=bad, holds=holds, words=words if holds else "")
        return state, Reading(holds, True, state.words)

    def after_firing(self, state: PlateausState) -> PlateausState:
        """The evidence is forgotten; the peers' flavors remember their best value, as they do."""
        best = None if self.flavor == "lehr" else state.best
        return self.init()._replace(smooth=state.smooth, best=best)

    def _improved(self, best: float | None, value: float) -> bool:
        sign = 1.0 if self.signal.best == "min" else -1.0
        if best is None:
            return not math.isnan(value) and (self.flavor == "lehr" or sign * value < math.inf)
        if sign * best == -LARGEST:
            return False
        if self.flavor == "keras":
            return sign * value < sign * best - self.margin
        if self.flavor in ("torch", "optax"):  # the sign fault of negative metrics is theirs
            return sign * value < sign * best * (1.0 - sign * self.margin)
        return sign * (best - value) > self.margin * abs(best)
