"""The trigger of a signal that itself says by how much the LR shall change."""

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

__all__ = ["Steers", "SteersState", "steers"]


def steers(signal: Signal, rate: float) -> Trigger:
    """Holds at every value that is not 0, and proposes LR·(1 + rate·value), for the action `follow`.

    Values beyond −1 and 1 count as those. Non-finite values are left out.

    Args:
        signal: what it reads.
        rate: between 0 and 1; the share by which the LR changes at most.

    Example:
        >>> import lehr
        >>> lehr.when(lehr.metric("alignment", best="max").steers(0.02)).follow().within(0.01, 1)
        when(metric('alignment', best='max').steers(0.02)).follow().within(0.01, 1)

    Source: multiplicative hypergradient descent (Baydin et al. 2018, arXiv 1703.04782); see `hypergradient`.
    """
    return Steers(signal, rate)


class SteersState(NamedTuple):
    """Memory of `steers`."""

    smooth: Smooth


@dataclass(frozen=True, repr=False)
class Steers(Trigger):
    """See `Signal.steers`."""

    signal: Signal
    rate: float

    def __post_init__(self) -> None:
        rate = number(self.rate, "steers(rate)")
        if not 0 < rate < 1:
            raise LehrError(f"steers(rate) must be between 0 and 1, got {rate!r}; the LR changes by this share at most")
        put(self, rate=rate)

    @property
    def proposes(self) -> bool:
        """A factor that follows from the value."""
        return True

    def text(self, full: bool = False) -> str:
        """`signal.steers(rate)`."""
        return method(self.signal, "steers", self, ("rate",), full)

    def signals(self) -> tuple[Signal, ...]:
        """Its one signal."""
        return (self.signal,)

    def resolve(self, horizon: Horizon) -> Trigger:
        """Unchanged."""
        return self

    def init(self) -> SteersState:
        """Nothing seen."""
        return SteersState(Smooth())

    def update(self, state: SteersState, observation: Observation) -> tuple[SteersState, Reading]:
        """Holds at every value that is not 0, and proposes the factor 1 + rate·value."""
        smooth, value = self.signal.read(state.smooth, observation)
        state = SteersState(smooth)
        if value is None or not math.isfinite(value) or value == 0:
            return state, Reading(False, value is not None, "")
        factor = 1.0 + self.rate * min(max(value, -1.0), 1.0)
        words = f"{self.signal.name} is {value:.4g}, which asks for {factor:.6g} times the LR"
        return state, Reading(True, True, words, by=(factor,))

    def after_firing(self, state: SteersState) -> SteersState:
        """Unchanged: every value speaks for itself."""
        return state
