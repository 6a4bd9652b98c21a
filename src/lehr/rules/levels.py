"""The trigger of a distance that has stopped growing: the iterates wander about an optimum."""

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

__all__ = ["LevelsOff", "LevelsState", "levels_off"]


def levels_off(signal: Signal, slope: float = 0.6, ratio: float = 1.5, burn_in: int = 5) -> Trigger:
    """Holds when the signal grows more slowly than n^slope, n being the steps since it was measured anew.

    For the squared distance to a starting point, which `lehr.torch.Distance` measures: it grows as n or faster
    while training gets somewhere, and levels off when it wanders about an optimum. Looked at when n passes a power
    of `ratio`. After firing it waits until the distance is measured from a new point. Weights that drift keep the
    slope up, so in deep nets it fires late: take it as corroborating evidence.

    Args:
        signal: what it reads.
        slope: between 0 and 1.
        ratio: of the steps at two checkpoints, above 1 and at most 10.
        burn_in: checkpoints that only count.

    Example:
        >>> import lehr
        >>> lehr.when(lehr.metric("distance", best="max").levels_off()).scale(0.5)
        when(metric('distance', best='max').levels_off()).scale(0.5)

    Source: Pesme, Dieuleveut & Flammarion 2020 (arXiv 2007.00534), the distance-based diagnostic, with q = 1.5 and
        the threshold 0.6; the burn-in is our choice.
    """
    return LevelsOff(signal, slope, ratio, burn_in)


class LevelsState(NamedTuple):
    """Memory of `levels_off`. n counts steps since the evidence began, the first report being n = 1."""

    smooth: Smooth
    begin: int | None  # step of the first report
    checks: int  # checkpoints passed
    n: int  # at the last checkpoint
    log: float  # logarithm of the value there
    ceiling: float | None  # after a firing: reports wait until one is below it
    holds: bool
    words: str


@dataclass(frozen=True, repr=False)
class LevelsOff(Trigger):
    """See `Signal.levels_off`."""

    signal: Signal
    slope: float = 0.6
    ratio: float = 1.5
    burn_in: int = 5

    def __post_init__(self) -> None:
        slope, ratio = number(self.slope, "levels_off(slope=...)"), number(self.ratio, "levels_off(ratio=...)")
        burn_in = whole(self.burn_in, "levels_off(burn_in=...), a number of checkpoints,", least=1)
        if not 0 < slope < 1:
            raise LehrError(f"levels_off(slope=...) must be between 0 and 1, got {slope!r}; 1 is diffusion, 0 a level")
        if not 1 < ratio <= 10:
            raise LehrError(f"levels_off(ratio=...) must be above 1 and at most 10, got {ratio!r}")
        put(self, slope=slope, ratio=ratio, burn_in=burn_in)

    def text(self, full: bool = False) -> str:
        """`signal.levels_off(...)`."""
        return method(self.signal, "levels_off", self, ("slope", "ratio", "burn_in"), full)

    def signals(self) -> tuple[Signal, ...]:
        """Its one signal."""
        return (self.signal,)

    def resolve(self, horizon: Horizon) -> Trigger:
        """Unchanged: the checkpoints are ratios of steps."""
        return self

    def init(self) -> LevelsState:
        """Nothing seen."""
        return LevelsState(Smooth(), None, 0, 0, 0.0, None, False, "")

    def update(self, state: LevelsState, observation: Observation) -> tuple[LevelsState, Reading]:
        """At a checkpoint compare the value with that at the one before."""
        smooth, value = self.signal.read(state.smooth, observation)
        state = state._replace(smooth=smooth)
        unheard = Reading(state.holds, False, state.words)
        if value is None or not (math.isfinite(value) and value > 0):
            return state, unheard
        if state.ceiling is not None and value >= state.ceiling:
            return state, unheard  # still measured from the old starting point
        begin = observation.step if state.begin is None else state.begin
        state = state._replace(begin=begin, ceiling=None)
        n, checks = observation.step - begin + 1, state.checks
        if n < self._checkpoint(checks):
            return state, unheard
        slope = (math.log(value) - state.log) / math.log(n / state.n) if state.n else math.inf
        holds = checks >= self.burn_in and slope < self.slope
        words = f"{self.signal.name} grew as n^{slope:.2g} from step {state.n} to {n} of its measure" if holds else ""
        while self._checkpoint(checks) <= n:
            checks += 1
        state = state._replace(checks=checks, n=n, log=math.log(value), holds=holds, words=words)
        return state, Reading(holds, True, words)

    def after_firing(self, state: LevelsState) -> LevelsState:
        """All begins anew, once the signal is measured anew: when a value is below half of the last one."""
        if not state.holds:
            return state
        return self.init()._replace(smooth=state.smooth, ceiling=0.5 * math.exp(state.log))

    def _checkpoint(self, k: int) -> int:
        return math.ceil(self.ratio**k)
