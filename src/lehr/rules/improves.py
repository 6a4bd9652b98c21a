"""The trigger of a signal that improves too slowly."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

from lehr.errors import LehrError
from lehr.lengths import RULE_UNITS, Horizon, Length, LengthLike, as_length
from lehr.rules.common import in_steps, method, percent, put
from lehr.rules.estimators import bounded
from lehr.rules.trend import LEAST, RISK, Estimate, TrendState, estimated, heard
from lehr.rules.trigger import Observation, Reading, Smooth, Trigger, Verdict
from lehr.schedules.schedule import number

if TYPE_CHECKING:
    from lehr.rules.signals import Signal

__all__ = ["ImprovesLessThan", "LessState", "TrendMemory", "improves_less_than"]

BINS = 64  # bins of the trend test in a window `over`: finer it need not look, and costs no more


def improves_less_than(
    signal: Signal, improvement: float, over: LengthLike, test: Literal["trend", "means"] = "trend", risk: float = RISK
) -> Trigger:
    """Holds when it is shown that the signal improves by less than `improvement` over a window.

    With test="trend" a line is fitted to every window that ends now, and the trigger holds where the upper
    confidence bound of the improvement over `over`, as a share of the level (of the noise, where that is larger),
    is below `improvement`. Noise and autocorrelation are estimated, spikes pulled in. Its verdict is *flat*,
    *worsening*, *improving*, or *undecided*, which never acts; it takes at least 24 observations. Evidence is
    forgotten after firing, and when another rule or a hand changes the LR by more than 5 %.

    With test="means" it compares the mean over a window with that over the window before, side by side, so that
    each pair is looked at once: (mean before − mean)/|mean before|, with the sign turned for best="max". A worse
    mean is a negative improvement. Noise larger than the improvement makes it fire.

    Args:
        signal: what it reads.
        improvement: a share between 0 and 1; 1 % is 0.01.
        over: the window, a length in any unit, observations included.
        test: "trend" or "means".
        risk: of the trend test: the chance of firing on a signal that improves exactly as asked, in a stretch of
            ten times `over`; between 0 and 0.5.

    Example:
        >>> import lehr
        >>> lehr.loss.improves_less_than(0.01, over="200 steps")
        loss.improves_less_than(0.01, 200)

    Source: our choice; the trend test is that of `lehr.estimate`, the means the plainest reading of "the loss falls
    too slowly".
    """
    return ImprovesLessThan(signal, improvement, over, test, risk)


class LessState(NamedTuple):
    """Memory of `improves_less_than`."""

    smooth: Smooth
    begin: int | None  # step at which the present window began
    total: float  # sum of the values in it
    heard: int  # number of values in it
    before: float | None  # mean of the window before
    holds: bool  # the standing verdict
    words: str


class TrendMemory(NamedTuple):
    """Memory of `improves_less_than(test="trend")`."""

    smooth: Smooth
    bin: int | None = None  # position at which the bin of the present observations begins
    total: float = 0.0  # sum of the values in it
    heard: int = 0  # number of values in it
    seen: int = 0  # values so far, the position where `over` counts observations
    trend: TrendState = TrendState()
    verdict: Verdict = ""
    words: str = ""


@dataclass(frozen=True, repr=False)
class ImprovesLessThan(Trigger):
    """See `Signal.improves_less_than`."""

    signal: Signal
    improvement: float
    over: LengthLike | Length
    test: str = "trend"
    risk: float = RISK

    def __post_init__(self) -> None:
        share = number(self.improvement, "improves_less_than(improvement=...)")
        over = as_length(self.over, "improves_less_than(over=...)", RULE_UNITS)
        risk = number(self.risk, "improves_less_than(risk=...)")
        if not 0 <= share < 1:
            raise LehrError(
                f"improves_less_than(improvement=...) must be a share between 0 and 1, got {share!r}; 1 % is 0.01"
            )
        if over.amount == 0:
            raise LehrError("improves_less_than(over=...) must be a positive length, got 0")
        if self.test not in ("trend", "means"):
            raise LehrError(f"improves_less_than(test=...) must be 'trend' or 'means', got {self.test!r}")
        if self.test == "trend" and share == 0:
            raise LehrError(
                "improves_less_than(0, test='trend') can never be shown: give a small share such as 0.001, "
                "or test='means'"
            )
        if not 0 < risk < 0.5:
            raise LehrError(f"improves_less_than(risk=...) must be between 0 and 0.5, got {risk!r}; 5 % is 0.05")
        put(self, improvement=share, over=over, risk=risk)

    @property
    def window(self) -> Length:
        """The window as a length."""
        return cast(Length, self.over)  # so made when the value was

    @property
    def width(self) -> int:
        """Of a bin of the trend test, in steps or observations, once the window is so."""
        return max(int(self.window.amount) // BINS, 1)

    def fewest(self, size: int) -> int:
        """Steps (or observations) that it must see before it can fire, with a window of `size` of them."""
        return 2 * size if self.test == "means" else LEAST * max(size // BINS, 1)

    def text(self, full: bool = False) -> str:
        """`signal.improves_less_than(...)`."""
        return method(self.signal, "improves_less_than", self, ("improvement", "over", "test", "risk"), full)

    def signals(self) -> tuple[Signal, ...]:
        """Its one signal."""
        return (self.signal,)

    def resolve(self, horizon: Horizon) -> Trigger:
        """With the window in steps, unless it counts observations."""
        return replace(self, over=in_steps(self.window, horizon))

    def init(self) -> LessState | TrendMemory:
        """Nothing seen."""
        return TrendMemory(Smooth()) if self.test == "trend" else LessState(Smooth(), None, 0.0, 0, None, False, "")

    def update(self, state: Any, observation: Observation) -> tuple[Any, Reading]:
        """Add the value to its window or bin; judge when one is full."""
        smooth, value = self.signal.read(state.smooth, observation)
        state = state._replace(smooth=smooth)
        if self.test == "trend":
            return self._judged(state, observation.step, value)
        return self._compared(state, observation.step, value)

    def after_firing(self, state: Any) -> Any:
        """The evidence is forgotten; the smoothing stays."""
        return self.init()._replace(smooth=state.smooth)

    def after_change(self, state: Any) -> Any:
        """Values under another LR are no evidence of the trend under this one."""
        return self.after_firing(state) if self.test == "trend" else state

    # The trend

    def _judged(self, state: TrendMemory, step: int, value: float | None) -> tuple[TrendMemory, Reading]:
        if value is None or not math.isfinite(value):
            return state, self._reading(state, False)
        value = bounded(value)
        width = self.width
        at = state.seen if self.window.unit == "observations" else step
        begin = at // width * width
        looked = False
        if state.heard and state.bin != begin:  # its last observation came before its last step
            state, looked = self._closed(state)
        state = state._replace(bin=begin, total=state.total + value, heard=state.heard + 1, seen=state.seen + 1)
        if (at + 1) % width == 0:
            state, again = self._closed(state)
            looked = looked or again
        return state, self._reading(state, looked)

    def _closed(self, state: TrendMemory) -> tuple[TrendMemory, bool]:
        """A bin is full: its mean is an observation of the trend."""
        at = (state.bin or 0) + self.width / 2
        trend, look = heard(state.trend, at, state.total / state.heard)
        state = state._replace(bin=None, total=0.0, heard=0, trend=trend)
        if not look:
            return state, False
        found = estimated(trend, self.improvement, float(self.window.amount), self.risk, self.signal.best)
        verdict = cast(Verdict, str(found.verdict[0]))
        return state._replace(verdict=verdict, words=self._words(found, state.seen / trend.seen)), True

    def _words(self, found: Estimate, each: float) -> str:
        """What was found, of bins of `each` observations."""
        rate, low, high, noise, rho, level = (
            float(column[0])
            for column in (found.rate, found.rate_low, found.rate_high, found.noise, found.autocorrelation, found.level)
        )
        moved = f"improves {percent(rate)}" if rate >= 0 else f"gets {percent(-rate)} worse"
        bound = f"at least {percent(low)}" if found.verdict[0] == "improving" else f"at most {percent(high)}"
        means = f" (of means of {each:.3g})" if each > 1 else ""
        words = (
            f"{self.signal.name} {moved} per {self.window.words()} ({bound}, asked {percent(self.improvement)}), "
            f"from {int(found.count[0]) * each:.0f} observations at {level:.4g}, noise {noise:.2g}{means}, "
            f"autocorrelation {rho:.2f}"
        )
        if found.verdict[0] == "undecided":
            needed = float(found.needed[0]) * each
            many = f"about {needed:.0f}" if needed < 1e6 else "more than a million"
            words += f": undecided, {many} more observations needed"
        return words

    def _reading(self, state: TrendMemory, fresh: bool) -> Reading:
        return Reading(state.verdict in ("flat", "worsening"), fresh, state.words, state.verdict)

    # Two means

    def _compared(self, state: LessState, step: int, value: float | None) -> tuple[LessState, Reading]:
        if value is None or not math.isfinite(value):
            return state, Reading(state.holds, False, state.words)
        value = bounded(value)
        late = self._is_over(state, step)  # the window ended without an observation at its last step
        if late:
            state = self._close(state)
        state = state._replace(begin=self._began(state, step), total=state.total + value, heard=state.heard + 1)
        # A verdict of the window that ended late is not covered up: this one then closes at the next observation.
        closes = self._is_over(state, step + 1) and not (late and state.holds)
        if closes:
            state = self._close(state)
        return state, Reading(state.holds, late or closes, state.words)

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
            by = f"{percent(-share)} " if share > -math.inf else ""  # of next to nothing everything is infinitely more
            found = f"got {by}worse over {over}, not {asked} better"
        words = f"{self.signal.name} {found} (mean {state.before:.4g} → {mean:.4g})"
        return fresh._replace(holds=True, words=words)
