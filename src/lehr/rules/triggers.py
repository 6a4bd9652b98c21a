"""The triggers of a signal: it improves too slowly, reaches a threshold, stands still, is not finite."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

from lehr.errors import LehrError
from lehr.lengths import RULE_UNITS, Horizon, Length, LengthLike, as_length, whole_steps
from lehr.rules.trigger import Observation, Reading, Smooth, Trigger
from lehr.schedules.schedule import number
from lehr.spelling import call, shown

if TYPE_CHECKING:
    from lehr.rules.signals import Signal

__all__ = ["Diverges", "Flavor", "ImprovesLessThan", "Plateaus", "Reaches", "in_steps", "whole"]

Flavor = Literal["lehr", "torch", "keras", "optax"]
FLAVORS = ("lehr", "torch", "keras", "optax")
LARGEST = sys.float_info.max


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
        _set(self, improvement=share, over=over)

    @property
    def window(self) -> Length:
        """The window as a length."""
        return cast(Length, self.over)  # so made when the value was

    def text(self, full: bool = False) -> str:
        """`signal.improves_less_than(...)`."""
        return _method(self.signal, "improves_less_than", self, ("improvement", "over", "test"), full)

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
        asked, over = _percent(self.improvement), self.window.words()
        found = f"improved {_percent(share)} over {over}, less than {asked}"
        if share < 0:
            found = f"got {_percent(-share)} worse over {over}, not {asked} better"
        words = f"{self.signal.name} {found} (mean {state.before:.4g} → {mean:.4g})"
        return fresh._replace(holds=True, words=words)


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
        _set(self, threshold=threshold, rearm=rearm)

    def text(self, full: bool = False) -> str:
        """`signal.reaches(...)`."""
        return _method(self.signal, "reaches", self, ("threshold", "rearm"), full)

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
        _set(self, patience=patience, margin=margin)

    def text(self, full: bool = False) -> str:
        """`signal.plateaus(...)`."""
        return _method(self.signal, "plateaus", self, ("patience", "margin", "flavor"), full)

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


def in_steps(length: Length, horizon: Horizon) -> Length:
    """The length in whole steps; observations stay what they are."""
    if length.unit == "observations":
        return length
    return as_length(whole_steps(horizon.measure(length)), "a length")


def whole(value: Any, what: str, least: int) -> int:
    """A count of observations or firings: a whole number without a unit."""
    number = float(value) if not isinstance(value, bool) and isinstance(value, Real) else math.nan
    if not (math.isfinite(number) and number == int(number) and number >= least):
        raise LehrError(f"{what} must be a whole number of at least {least}, got {shown(value)}")
    return int(number)


def _set(value: Any, **fields: Any) -> None:
    for name, content in fields.items():
        object.__setattr__(value, name, content)


def _method(signal: Signal, name: str, trigger: Any, names: tuple[str, ...], full: bool) -> str:
    arguments = {item: getattr(trigger, item) for item in names}
    return f"{signal.text(full)}.{call(getattr(type(signal), name), arguments, full)}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
