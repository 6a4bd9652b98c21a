"""The trigger of a signal that improves too slowly."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, cast

from lehr.errors import LehrError
from lehr.lengths import RULE_UNITS, Horizon, Length, LengthLike, as_length
from lehr.rules.common import in_steps, method, percent, put
from lehr.rules.trigger import Observation, Reading, Smooth, Trigger
from lehr.schedules.schedule import number

if TYPE_CHECKING:
    from lehr.rules.signals import Signal

__all__ = ["ImprovesLessThan", "LessState"]


class LessState(NamedTuple):
    """Memory of `improves_less_than`."""

    smooth: Smooth
    begin: int | None  # step at which the present window began
    total: float  # sum of the values in it
    heard: int  # number of values in it
    before: float | None  # mean of the window before
    holds: bool  # the standing verdict
    words: str


@dataclass(frozen=True, repr=False)
class ImprovesLessThan(Trigger):
    """See `Signal.improves_less_than`."""

    signal: Signal
    improvement: float
    over: LengthLike | Length
    test: str = "means"

    def __post_init__(self) -> None:
        share = number(self.improvement, "improves_less_than(improvement=...)")
        over = as_length(self.over, "improves_less_than(over=...)", RULE_UNITS)
        if not 0 <= share < 1:
            raise LehrError(
                f"improves_less_than(improvement=...) must be a share between 0 and 1, got {share!r}; 1 % is 0.01"
            )
        if over.amount == 0:
            raise LehrError("improves_less_than(over=...) must be a positive length, got 0")
        if self.test != "means":
            raise LehrError(f"improves_less_than(test=...) must be 'means', got {self.test!r}")
        put(self, improvement=share, over=over)

    @property
    def window(self) -> Length:
        """The window as a length."""
        return cast(Length, self.over)  # so made when the value was

    def text(self, full: bool = False) -> str:
        """`signal.improves_less_than(...)`."""
        return method(self.signal, "improves_less_than", self, ("improvement", "over", "test"), full)

    def signals(self) -> tuple[Signal, ...]:
        """Its one signal."""
        return (self.signal,)

    def resolve(self, horizon: Horizon) -> Trigger:
        """With the window in steps, unless it counts observations."""
        return replace(self, over=in_steps(self.window, horizon))

    def init(self) -> LessState:
        """No window yet."""
        return LessState(Smooth(), None, 0.0, 0, None, False, "")

    def update(self, state: LessState, observation: Observation) -> tuple[LessState, Reading]:
        """Add the value to its window; at the end of a window compare it with the one before."""
        smooth, value = self.signal.read(state.smooth, observation)
        state = state._replace(smooth=smooth)
        if value is None or not math.isfinite(value):
            return state, Reading(state.holds, False, state.words)
        late = self._is_over(state, observation.step)  # the window ended without an observation at its last step
        if late:
            state = self._close(state)
        begin = self._began(state, observation.step)
        state = state._replace(begin=begin, total=state.total + value, heard=state.heard + 1)
        # A verdict of the window that ended late is not covered up: this one then closes at the next observation.
        closes = self._is_over(state, observation.step + 1) and not (late and state.holds)
        if closes:
            state = self._close(state)
        return state, Reading(state.holds, late or closes, state.words)

    def after_firing(self, state: LessState) -> LessState:
        """The evidence is forgotten; the smoothing stays."""
        return self.init()._replace(smooth=state.smooth)

    def _is_over(self, state: LessState, step: int) -> bool:
        if state.begin is None or state.heard == 0:
            return False
        size = int(self.window.amount)  # whole, as the trigger is resolved
        return state.heard >= size if self.window.unit == "observations" else step >= state.begin + size

    def _began(self, state: LessState, step: int) -> int:
        """The step at which the window that holds `step` began; windows without an observation are passed over."""
        if state.begin is None:
            return step
        if self.window.unit == "observations" or state.heard or step < state.begin:
            return state.begin
        return step - (step - state.begin) % int(self.window.amount)

    def _close(self, state: LessState) -> LessState:
        mean = state.total / state.heard
        begin = None if self.window.unit == "observations" else (state.begin or 0) + int(self.window.amount)
        fresh = state._replace(begin=begin, total=0.0, heard=0, before=mean, holds=False, words="")
        if state.before is None:
            return fresh
        gained = (state.before - mean) if self.signal.best == "min" else (mean - state.before)
        share = gained / abs(state.before) if state.before else math.copysign(math.inf, gained) if gained else 0.0
        if share >= self.improvement:
            return fresh
        asked, over = percent(self.improvement), self.window.words()
        found = f"improved {percent(share)} over {over}, less than {asked}"
        if share < 0:
            found = f"got {percent(-share)} worse over {over}, not {asked} better"
        words = f"{self.signal.name} {found} (mean {state.before:.4g} → {mean:.4g})"
        return fresh._replace(holds=True, words=words)
