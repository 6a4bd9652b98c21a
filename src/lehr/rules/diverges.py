"""The trigger of a signal that is not finite."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from lehr.lengths import Horizon
from lehr.rules.trigger import Observation, Reading, Trigger

if TYPE_CHECKING:
    from lehr.rules.signals import Signal

__all__ = ["Diverges", "diverges"]


def diverges(signal: Signal) -> Trigger:
    """Holds when the value is NaN or infinite; again only after a finite one has come.

    Source: our choice.
    """
    return Diverges(signal)


class DivergesState(NamedTuple):
    """Memory of `diverges`."""

    holds: bool
    latched: bool  # it has fired for these non-finite values already


@dataclass(frozen=True, repr=False)
class Diverges(Trigger):
    """See `Signal.diverges`."""

    signal: Signal

    def text(self, full: bool = False) -> str:
        """`signal.diverges()`."""
        return f"{self.signal.text(full)}.diverges()"

    def signals(self) -> tuple[Signal, ...]:
        """Its one signal."""
        return (self.signal,)

    def resolve(self, horizon: Horizon) -> Trigger:
        """Unchanged."""
        return self

    def init(self) -> DivergesState:
        """Nothing seen."""
        return DivergesState(False, False)

    def update(self, state: DivergesState, observation: Observation) -> tuple[DivergesState, Reading]:
        """Holds from the first non-finite value of a row of them."""
        value = observation.numbers.get(self.signal.name)
        if value is None:
            return state, Reading(state.holds, False, "")
        if math.isfinite(value):
            return DivergesState(False, False), Reading(False, True, "")
        holds = not state.latched
        return DivergesState(holds, state.latched), Reading(holds, True, f"{self.signal.name} is {value}")

    def after_firing(self, state: DivergesState) -> DivergesState:
        """Quiet until a finite value has come, unless it was another trigger of the rule that held."""
        return DivergesState(False, state.latched or state.holds)
