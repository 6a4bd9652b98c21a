"""The trigger that counts as transformers' GreedyLR does: up after a row of improvements, down after a standstill."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from lehr.errors import LehrError
from lehr.lengths import Horizon
from lehr.rules.common import method, put, whole
from lehr.rules.trigger import Observation, Reading, Trigger
from lehr.schedules.schedule import number

if TYPE_CHECKING:
    from lehr.rules.signals import Signal

__all__ = ["Greedy", "GreedyState", "greedy_lr"]

Stored = float | str  # a number; one that is not finite is stored as its text
NEAR = 1.0 + 1e-9  # an LR is base × factor × gain, so its last digits are not those of a bound


def greedy_lr(
    signal: Signal,
    factor: float = 0.95,
    patience: int = 10,
    threshold: float = 1e-6,
    threshold_mode: Literal["abs", "rel"] = "abs",
    cooldown: int = 0,
    warmup: int = 0,
    min_lr: float = 1e-3,
    max_lr: float = 1.0,
    eps: float = 1e-8,
    average: int = 1,
    reset_start: int = 500,
) -> Trigger:
    """Decides as transformers' GreedyLR, for the action `follow`; `greedy` is the recipe without its faults.

    Above `patience` improvements in a row: LR ← min(LR/factor, max_lr); above `patience` observations without:
    LR ← max(LR·factor, min_lr). Bounds are LRs, so an LR below `min_lr` can only rise. NaN is no improvement. Made
    for a constant schedule, as there.

    Args:
        signal: what it reads.
        factor: between 0 and 1.
        patience: observations in a row that are tolerated.
        threshold: margin of an improvement.
        threshold_mode: "abs", or "rel", which has the wrong sign for negative values.
        cooldown: observations after a cut that do not count.
        warmup: observations after a rise that do not count.
        min_lr: the floor, an LR.
        max_lr: the ceiling, an LR.
        eps: a change of no more than that is not made; an LR.
        average: observations of which the running mean is judged (`smooth=True, window_size=...` there).
        reset_start: cuts at the floor after which the LR starts afresh.

    Example:
        >>> import lehr
        >>> lehr.when(lehr.metric("val_loss", best="min").greedy_lr(cooldown=5)).follow()
        when(metric('val_loss', best='min').greedy_lr(cooldown=5)).follow()

    Source: transformers 5.23, `GreedyLR`; arXiv 2512.14527.
    """
    return Greedy(
        signal,
        factor,
        patience,
        threshold,
        threshold_mode,
        cooldown,
        warmup,
        min_lr,
        max_lr,
        eps,
        average,
        reset_start,
    )


class GreedyState(NamedTuple):
    """Memory of `greedy_lr`."""

    best: Stored | None  # the best value so far
    good: int  # improvements in a row
    bad: int  # observations in a row without
    wait: int  # observations that still do not count
    floored: int  # cuts that left all LRs at the floor, since the last rise
    window: tuple[Stored, ...]  # the values that are averaged
    total: Stored  # their running sum
    first: tuple[float, ...]  # the LRs to which it resets


@dataclass(frozen=True, repr=False)
class Greedy(Trigger):
    """See `Signal.greedy_lr`."""

    signal: Signal
    factor: float = 0.95
    patience: int = 10
    threshold: float = 1e-6
    threshold_mode: str = "abs"
    cooldown: int = 0
    warmup: int = 0
    min_lr: float = 1e-3
    max_lr: float = 1.0
    eps: float = 1e-8
    average: int = 1
    reset_start: int = 500

    def __post_init__(self) -> None:
        counts = {"patience": 0, "cooldown": 0, "warmup": 0, "average": 1, "reset_start": 1}
        numbers = {name: number(getattr(self, name), f"greedy_lr({name}=...)") for name in NUMBERS}
        for name, value in numbers.items():
            if value < 0:
                raise LehrError(f"greedy_lr({name}=...) must be at least 0, got {value!r}")
        if not 0 < numbers["factor"] < 1:
            raise LehrError(f"greedy_lr(factor=...) must be above 0 and below 1, got {self.factor!r}")
        if self.threshold_mode not in ("rel", "abs"):
            raise LehrError(f"greedy_lr(threshold_mode=...) must be 'rel' or 'abs', got {self.threshold_mode!r}")
        wholes = {
            name: whole(getattr(self, name), f"greedy_lr({name}=...), a number of observations,", least)
            for name, least in counts.items()
        }
        put(self, **numbers, **wholes)

    @property
    def proposes(self) -> bool:
        """By how much: up, down, or back to the first LR."""
        return True

    @property
    def heeds_lrs(self) -> bool:
        """Its bounds are LRs."""
        return True

    def text(self, full: bool = False) -> str:
        """`signal.greedy_lr(...)`."""
        return method(self.signal, "greedy_lr", self, FIELDS, full)

    def signals(self) -> tuple[Signal, ...]:
        """Its one signal."""
        return (self.signal,)

    def resolve(self, horizon: Horizon) -> Trigger:
        """Unchanged: all counts are observations."""
        return self

    def init(self) -> GreedyState:
        """Nothing seen."""
        return GreedyState(None, 0, 0, 0, 0, (), 0.0, ())

    def update(self, state: GreedyState, observation: Observation) -> tuple[GreedyState, Reading]:
        """Count, and propose a change where the peer makes one; one of no more than eps is none."""
        value = observation.numbers.get(self.signal.name)
        if value is None:
            return state, Reading(False, False, "")
        lrs = observation.lrs
        state, value = self._averaged(state._replace(first=state.first or lrs), value)
        if state.wait:
            return state._replace(wait=state.wait - 1), Reading(False, True, "")
        if self._better(value, state.best):
            state = state._replace(best=_stored(value), good=state.good + 1, bad=0)
        else:
            state = state._replace(good=0, bad=state.bad + 1)
        if state.good > self.patience:
            words = f"{self.signal.name} has improved {state.good} times in a row (now {value:.6g})"
            state = state._replace(good=0, wait=self.warmup, floored=0)
            return state, _reading(lrs, tuple(self._raised(lr) for lr in lrs), words)
        if state.bad > self.patience:
            words = f"{self.signal.name} has not improved in {state.bad} observations (now {value:.6g})"
            return self._down(state._replace(bad=0, wait=self.cooldown), lrs, words)
        return state, Reading(False, True, "")

    def after_firing(self, state: GreedyState) -> GreedyState:
        """Unchanged: the counts have begun anew, and the best value stays, as there."""
        return state

    def _down(self, state: GreedyState, lrs: tuple[float, ...], words: str) -> tuple[GreedyState, Reading]:
        cut = tuple(self._cut(lr) for lr in lrs)
        if any(lr > self.min_lr * NEAR for lr in cut):
            return state, _reading(lrs, cut, words)
        if state.floored + 1 < self.reset_start:
            return state._replace(floored=state.floored + 1), _reading(lrs, cut, words)
        back = self.init()._replace(first=state.first, wait=self.cooldown)
        return back, _reading(lrs, state.first, f"the LR has been at its floor for {self.reset_start} cuts; it resets")

    def _averaged(self, state: GreedyState, value: float) -> tuple[GreedyState, float]:
        """The running mean of the last `average` values, by a running sum, in which NaN stays for ever."""
        if self.average == 1:
            return state, value
        total, window = float(state.total) + value, (*state.window, _stored(value))
        if len(window) > self.average:
            total, window = total - float(window[0]), window[1:]
        return state._replace(total=_stored(total), window=window), total / len(window)

    def _better(self, value: float, best: Stored | None) -> bool:
        sign = 1.0 if self.signal.best == "min" else -1.0
        known = sign * math.inf if best is None else float(best)
        if self.threshold_mode == "abs":
            return sign * value < sign * known - self.threshold
        return sign * value < sign * (known * (1.0 - sign * self.threshold))  # the fault of negative values is theirs

    def _raised(self, lr: float) -> float:
        new = min(lr / self.factor, self.max_lr)
        return new if new - lr > self.eps else lr

    def _cut(self, lr: float) -> float:
        new = max(lr * self.factor, self.min_lr)
        return new if lr - new > self.eps else lr


NUMBERS = ("factor", "threshold", "min_lr", "max_lr", "eps")
FIELDS = tuple(name for name in Greedy.__dataclass_fields__ if name != "signal")


def _reading(lrs: tuple[float, ...], wanted: tuple[float, ...], words: str) -> Reading:
    by = tuple(new / old if old else 1.0 for old, new in zip(lrs, wanted, strict=True))
    changed = any(new != old for old, new in zip(lrs, wanted, strict=True))
    return Reading(changed, True, words if changed else "", by=by)


def _stored(value: float) -> Stored:
    return value if math.isfinite(value) else repr(value)
