"""The trigger of a signal that jumps far out of what it usually is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from lehr.errors import LehrError
from lehr.lengths import Horizon
from lehr.rules.common import method, put, whole
from lehr.rules.trigger import Observation, Reading, Smooth, Trigger
from lehr.schedules.schedule import number

if TYPE_CHECKING:
    from lehr.rules.signals import Signal

__all__ = ["Spikes", "SpikesState", "spikes"]

LEAST = 0.01  # a spread of less than 1 % counts as 1 %


def spikes(signal: Signal, by: float = 6.0, span: int = 200) -> Trigger:
    """Holds when the logarithm of a positive value is more than `by` standard deviations worse than usual.

    Once for a row of them: again only after an ordinary value.
    For a norm of the gradient, to journal what happened or to stop; ordinary spikes recover, so do not cut the LR
    for them. Mean and variance are moving ones over the span, into which a spike enters cut to `by` deviations.
    Values that are not positive are left out.

    Args:
        signal: what it reads.
        by: standard deviations; a spread of less than 1 % counts as 1 %.
        span: observations, at least 2; before so many were heard it does not hold.

    Example:
        >>> import lehr
        >>> lehr.when(lehr.metric("grad_norm", best="min").spikes(8), shadow=True).scale(0.5)
        when(metric('grad_norm', best='min').spikes(8), shadow=True).scale(0.5)

    Source: ZClip (arXiv 2504.02507) for the clipped moments; the logarithm is our choice.
    """
    return Spikes(signal, by, span)


class SpikesState(NamedTuple):
    """Memory of `spikes`."""

    smooth: Smooth
    heard: int  # values so far
    mean: float  # of the logarithm, over the span
    variance: float  # likewise
    holds: bool
    latched: bool  # it has fired for this row of spikes already
    words: str


@dataclass(frozen=True, repr=False)
class Spikes(Trigger):
    """See `Signal.spikes`."""

    signal: Signal
    by: float = 6.0
    span: int = 200

    def __post_init__(self) -> None:
        by, span = number(self.by, "spikes(by=...)"), whole(self.span, "spikes(span=...), in observations,", least=2)
        if by <= 0:
            raise LehrError(f"spikes(by=...) must be a positive number of standard deviations, got {by!r}")
        put(self, by=by, span=span)

    def text(self, full: bool = False) -> str:
        """`signal.spikes(...)`."""
        return method(self.signal, "spikes", self, ("by", "span"), full)

    def signals(self) -> tuple[Signal, ...]:
        """Its one signal."""
        return (self.signal,)

    def resolve(self, horizon: Horizon) -> Trigger:
        """Unchanged: the span counts observations."""
        return self

    def init(self) -> SpikesState:
        """Nothing seen."""
        return SpikesState(Smooth(), 0, 0.0, 0.0, False, False, "")

    def update(self, state: SpikesState, observation: Observation) -> tuple[SpikesState, Reading]:
        """Compare the logarithm with its own mean; a spike enters that mean as no more than a spike needs to be."""
        smooth, value = self.signal.read(state.smooth, observation)
        state = state._replace(smooth=smooth)
        if value is None or not (math.isfinite(value) and value > 0):
            return state, Reading(state.holds, False, state.words)
        away = math.log(value) - state.mean
        edge = self.by * max(math.sqrt(state.variance), LEAST)
        known = state.heard >= self.span
        spike = known and (away if self.signal.best == "min" else -away) > edge
        holds = spike and not state.latched
        words = f"{self.signal.name} is {value:.4g}, usually {math.exp(state.mean):.4g}" if holds else ""
        if known:
            away = min(max(away, -edge), edge)
        share = max(1.0 / (state.heard + 1), 2.0 / (self.span + 1.0))  # a plain mean until the span is filled
        mean = state.mean + share * away
        variance = (1.0 - share) * (state.variance + share * away * away)
        state = SpikesState(smooth, state.heard + 1, mean, variance, holds, spike and state.latched, words)
        return state, Reading(holds, True, words)

    def after_firing(self, state: SpikesState) -> SpikesState:
        """Quiet until an ordinary value has come, unless it was another trigger of the rule that held."""
        return state._replace(holds=False, latched=state.latched or state.holds, words="")
