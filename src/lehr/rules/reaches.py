"""The trigger of a signal that reaches a threshold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from lehr.errors import LehrError
from lehr.lengths import Horizon
from lehr.rules.common import method, put
from lehr.rules.trigger import Observation, Reading, Smooth, Trigger
from lehr.schedules.schedule import number

if TYPE_CHECKING:
    from lehr.rules.signals import Signal

__all__ = ["Reaches", "ReachesState"]


class ReachesState(NamedTuple):
    """Memory of `reaches`."""

    smooth: Smooth
    holds: bool  # whether the threshold is reached now, and the latch is open
    latched: bool  # it has fired and was not re-armed
    words: str


@dataclass(frozen=True, repr=False)
class Reaches(Trigger):
    """See `Signal.reaches`."""

    signal: Signal
    threshold: float
    rearm: float | None = None

    def __post_init__(self) -> None:
        threshold = number(self.threshold, "reaches(threshold)")
        rearm = None if self.rearm is None else number(self.rearm, "reaches(rearm=...)")
        if rearm is not None and not self._better(threshold, rearm):
            raise LehrError(
                f"reaches(rearm=...) must be worse than the threshold {threshold!r} (best={self.signal.best!r}), "
                f"got {rearm!r}"
            )
        put(self, threshold=threshold, rearm=rearm)

    def text(self, full: bool = False) -> str:
        """`signal.reaches(...)`."""
        return method(self.signal, "reaches", self, ("threshold", "rearm"), full)

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
        latched = state.latched and not (self.rearm is not None and self._better(self.rearm, value))
        holds = not latched and (value == self.threshold or self._better(value, self.threshold))
        words = f"{self.signal.name} {value:.6g} reached {self.threshold:.6g}" if holds else ""
        return ReachesState(smooth, holds, latched, words), Reading(holds, True, words)

    def after_firing(self, state: ReachesState) -> ReachesState:
        """The latch closed, unless it was another trigger of the rule that held."""
        return state._replace(holds=False, latched=state.latched or state.holds, words="")

    def _better(self, a: float, b: float) -> bool:
        return a > b if self.signal.best == "max" else a < b
