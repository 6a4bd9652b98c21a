"""The trigger of a signal of which no fall can be shown, by the slope of a line."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from lehr.errors import LehrError
from lehr.lengths import RULE_UNITS, Horizon, Length, LengthLike, as_length
from lehr.rules.common import in_steps, method, put
from lehr.rules.trigger import Observation, Reading, Smooth, Trigger
from lehr.schedules.schedule import number

if TYPE_CHECKING:
    from lehr.rules.signals import Signal

__all__ = ["Stalls", "StallsState", "chance_of_fall", "stalls"]

MOST = 2000  # values kept; a longer window is kept as the means of blocks
LARGEST = 1e140  # so that sums of squares of differences are finite
LOOKS = 200  # times that a full window is tested while it is renewed once


def stalls(
    signal: Signal,
    over: LengthLike = "2000 observations",
    probability: float = 0.51,
    discard: float = 0.1,
    forget: float = 0.3,
) -> Trigger:
    """Holds when a line through a full window shows no improvement: P(slope < 0) below `probability`, twice.

    P = Φ(−b/se), with the least-squares slope b and se² = 12·RSS/((n − 2)(n³ − n)). It is asked again without the
    worst values, so that a late spike alone does not count. A full window is tested 200 times while it is renewed
    once. Residuals are taken as independent: with autocorrelated noise it fires too early.

    Args:
        signal: what it reads.
        over: the window, a length in any unit, observations included; beyond 2000 the means of blocks are kept.
        probability: between 0.5 and 1.
        discard: the share of worst values that the second test leaves out.
        forget: the share of oldest values that is forgotten after firing; 1 is all of them.

    Example:
        >>> import lehr
        >>> lehr.when(lehr.loss.stalls("20%")).scale(0.1)
        when(loss.stalls('20%')).scale(0.1)

    Source: dlib's trainer (davisking/dlib, `running_gradient.h`, `trainer.h`), which forgets 400 + over/10 values,
        30 % of its 2000; windows in units of the run are our choice.
    """
    return Stalls(signal, over, probability, discard, forget)


class StallsState(NamedTuple):
    """Memory of `stalls`. A position is a step, or a number of observations where the window counts those."""

    smooth: Smooth
    heard: int  # finite values so far
    since: int | None  # position at which the evidence begins
    begins: tuple[int, ...]  # position at which each block begins
    means: tuple[float, ...]  # mean of each block
    begin: int  # position at which the open block begins
    total: float  # sum of its values
    filled: int  # their number
    fresh: tuple[tuple[int, float], ...]  # blocks closed since the last test: position and mean
    holds: bool
    words: str


@dataclass(frozen=True, repr=False)
class Stalls(Trigger):
    """See `Signal.stalls`."""

    signal: Signal
    over: LengthLike | Length = "2000 observations"
    probability: float = 0.51
    discard: float = 0.1
    forget: float = 0.3

    def __post_init__(self) -> None:
        over = as_length(self.over, "stalls(over)", RULE_UNITS)
        if over.amount == 0:
            raise LehrError("stalls(over) must be a positive length, got 0")
        shares = {name: number(getattr(self, name), f"stalls({name}=...)") for name in RANGES}
        for name, (low, high) in RANGES.items():
            if not low <= shares[name] <= high:
                raise LehrError(f"stalls({name}=...) must be between {low} and {high}, got {shares[name]!r}")
        put(self, over=over, **shares)

    @property
    def window(self) -> Length:
        """The window as a length."""
        return cast(Length, self.over)  # so made when the value was

    @property
    def size(self) -> int:
        """The window in steps or observations."""
        return int(self.window.amount)  # whole, as the trigger is resolved

    @property
    def stride(self) -> int:
        """Blocks from one test to the next; they join the others together, as that is what costs."""
        return self.size // self.block // LOOKS + 1

    @property
    def block(self) -> int:
        """Steps or observations in a block."""
        return -(-self.size // MOST)

    def text(self, full: bool = False) -> str:
        """`signal.stalls(...)`."""
        return method(self.signal, "stalls", self, ("over", *RANGES), full)

    def signals(self) -> tuple[Signal, ...]:
        """Its one signal."""
        return (self.signal,)

    def resolve(self, horizon: Horizon) -> Trigger:
        """With the window in steps, unless it counts observations."""
        return replace(self, over=in_steps(self.window, horizon))

    def init(self) -> StallsState:
        """Nothing seen."""
        return StallsState(Smooth(), 0, None, (), (), 0, 0.0, 0, (), False, "")

    def update(self, state: StallsState, observation: Observation) -> tuple[StallsState, Reading]:
        """Keep the value; now and then test the slope of a full window."""
        smooth, value = self.signal.read(state.smooth, observation)
        state = state._replace(smooth=smooth)
        if value is None or not math.isfinite(value):
            return state, Reading(state.holds, False, state.words)
        value = min(max(value, -LARGEST), LARGEST)
        at = state.heard if self.window.unit == "observations" else observation.step
        state = self._add(state._replace(heard=state.heard + 1), at, value)
        if len(state.fresh) < self.stride:
            return state, Reading(state.holds, False, state.words)
        state = self._joined(state, at)
        full = state.since is not None and at - state.since + 1 >= self.size
        words = self._stalled(state) if full else ""
        state = state._replace(holds=bool(words), words=words)
        return state, Reading(state.holds, full, words)

    def after_firing(self, state: StallsState) -> StallsState:
        """The oldest part of the evidence is forgotten, unless it was another trigger of the rule that held."""
        if not state.holds:
            return state
        gone = math.ceil(self.forget * len(state.means))
        begins = state.begins[gone:]
        since = next(iter(begins), next((begin for begin, _ in state.fresh), None))
        return state._replace(since=since, begins=begins, means=state.means[gone:], holds=False, words="")

    def _add(self, state: StallsState, at: int, value: float) -> StallsState:
        if state.filled and at - state.begin >= self.block:  # its last step brought no observation
            state = self._close(state)
        begin = state.begin if state.filled else at
        since = at if state.since is None else state.since
        state = state._replace(since=since, begin=begin, total=state.total + value, filled=state.filled + 1)
        return self._close(state) if at + 1 - begin >= self.block else state

    def _close(self, state: StallsState) -> StallsState:
        closed = (state.begin, state.total / state.filled)
        return state._replace(fresh=(*state.fresh, closed), total=0.0, filled=0)

    def _joined(self, state: StallsState, at: int) -> StallsState:
        """The fresh blocks join the others; those that the window has left behind go."""
        begins = state.begins + tuple(begin for begin, _ in state.fresh)
        means = state.means + tuple(mean for _, mean in state.fresh)
        gone = next((i for i, begin in enumerate(begins) if begin > at - self.size), len(begins))
        return state._replace(begins=begins[gone:], means=means[gone:], fresh=())

    def _stalled(self, state: StallsState) -> str:
        """The evidence in words if no fall can be shown, not even without the worst values; else empty."""
        if len(state.means) < 3:
            return ""
        values = np.asarray(state.means) * (1.0 if self.signal.best == "min" else -1.0)
        chance = chance_of_fall(values)
        if chance >= self.probability:
            return ""
        upper = np.sort(values)[math.floor((len(values) - 1) * (1.0 - self.discard) + 0.5)]
        robust = chance_of_fall(values[values <= upper])
        if robust >= self.probability:
            return ""
        return (
            f"{self.signal.name} has stalled over {self.window.words()}: it improves with probability "
            f"{chance:.3g}, and {robust:.3g} without the worst {100 * self.discard:.3g} %"
        )


RANGES = {"probability": (0.5, 1.0), "discard": (0.0, 0.9), "forget": (0.0, 1.0)}


def chance_of_fall(values: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    """Φ(−b/se) of the least-squares slope b with se² = 12·RSS/((n − 2)(n³ − n)); ½ if there is neither.

    Fewer than 3 values say nothing: ½.
    """
    n = len(values)
    if n < 3:
        return 0.5
    x = np.arange(n) - (n - 1) / 2.0
    y = values - values[0]  # exact zeros where nothing changes
    y = y - y.mean()
    spread = (n**3 - n) / 12.0
    slope = float(x @ y) / spread
    rest = y - slope * x
    se = math.sqrt(float(rest @ rest) / (n - 2) / spread)
    if se == 0.0:
        return 0.5 if slope == 0 else float(slope < 0)
    return 0.5 * math.erfc(slope / se / math.sqrt(2.0))
