"""Signals: what a rule reads. A signal has a name, says which direction is better, and makes triggers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from keyword import iskeyword
from typing import Any, Literal

from lehr.errors import LehrError
from lehr.lengths import Length, LengthLike, as_length
from lehr.rules.common import whole
from lehr.rules.derails import derails
from lehr.rules.diverges import diverges
from lehr.rules.greedy import greedy_lr
from lehr.rules.improves import improves_less_than
from lehr.rules.levels import levels_off
from lehr.rules.performs import at_least, within_best
from lehr.rules.plateaus import plateaus
from lehr.rules.reaches import reaches
from lehr.rules.slope import stalls
from lehr.rules.spikes import spikes
from lehr.rules.steers import steers
from lehr.rules.sticks import sticks
from lehr.rules.streak import improves_in_a_row
from lehr.rules.trigger import Observation, Smooth
from lehr.spelling import Value, call

__all__ = ["Best", "Signal", "evaluation", "loss", "metric"]

Best = Literal["min", "max"]


@dataclass(frozen=True, repr=False)
class Signal(Value):
    """A named number that observations carry; made by `metric`, `evaluation` or `loss`."""

    name: str
    best: str
    every: Length | None = None  # an evaluation: how often Lehr calls the function
    span: int | None = None  # observations that the smoothing spans

    def text(self, full: bool = False) -> str:
        """The expression that makes it."""
        if self.every is not None:
            plain = call(evaluation, {"name": self.name, "every": self.every, "best": self.best}, full)
        elif self == loss or (self.name, self.best) == ("loss", "min"):
            plain = "loss"
        else:
            plain = call(metric, {"name": self.name, "best": self.best}, full)
        return plain if self.span is None else f"{plain}.{call(Signal.smoothed, {'span': self.span}, full)}"

    def __bool__(self) -> bool:
        raise LehrError(f"{self!r} has no truth value; make a trigger of it, such as .reaches(0.9)")

    def read(self, memory: Smooth, observation: Observation) -> tuple[Smooth, float | None]:
        """This signal's value in the observation (None: it is not there), smoothed if it is so."""
        value = observation.numbers.get(self.name)
        if value is None or self.span is None or not math.isfinite(value):
            return memory, value
        keep = 1.0 - 2.0 / (self.span + 1.0)
        memory = Smooth(keep * memory.mean + (1.0 - keep) * value, keep * memory.weight + (1.0 - keep))
        return memory, memory.mean / memory.weight

    def smoothed(self, span: int) -> Signal:
        """The exponential moving average with decay 1 − 2/(span + 1), unbiased from the first value on.

        Args:
            span: observations that the average spans, at least 1. Non-finite values are left out of it.

        Source: pandas' and TA's span convention; bias correction of Kingma & Ba 2015 (arXiv 1412.6980), section 3.
        """
        return replace(self, span=whole(span, "smoothed(span), a number of observations,", least=1))

    # The methods that make triggers; each stands in the file of its trigger.

    improves_less_than = improves_less_than
    reaches = reaches
    at_least = at_least
    within_best = within_best
    plateaus = plateaus
    derails = derails
    sticks = sticks
    improves_in_a_row = improves_in_a_row
    greedy_lr = greedy_lr
    steers = steers
    stalls = stalls
    levels_off = levels_off
    spikes = spikes
    diverges = diverges


def metric(name: str, *, best: Best) -> Signal:
    """A number that you report: `step(accuracy=0.9)` or `observe(accuracy=0.9)`.

    Args:
        name: as in the report; a Python name.
        best: "min" or "max", never guessed from the name.

    Raises:
        LehrError: a name that cannot be reported by keyword, or another direction.

    Example:
        >>> metric("val_loss", best="min")
        metric('val_loss', best='min')
    """
    _check(name, best, "metric")
    return Signal(name, best)


def evaluation(name: str, *, every: LengthLike, best: Best) -> Signal:
    """A number that Lehr itself obtains, by calling the function bound to `name` at start (`evaluate={name: fn}`).

    It is called inside `step()` after update t when t + 1 is a multiple of `every`.

    Args:
        name: of the function, and of the number in the trace.
        every: the cadence, a positive length.
        best: "min" or "max", never guessed from the name.

    Raises:
        LehrError: as `metric`, or a cadence of zero.

    Example:
        >>> evaluation("accuracy", every="1 epoch", best="max")
        evaluation('accuracy', every='1 epoch', best='max')
    """
    _check(name, best, "evaluation")
    cadence = as_length(every, "evaluation(every=...)")
    if cadence.amount == 0:
        raise LehrError("evaluation(every=...) must be a positive length, got 0")
    return Signal(name, best, cadence)


def _check(name: Any, best: Any, function: str) -> None:
    if not isinstance(name, str) or not name.isidentifier() or iskeyword(name) or name in ("applied", "self"):
        raise LehrError(f"{function}(name) must be a name that step(name=...) can report, got {name!r}")
    if best not in ("min", "max"):
        raise LehrError(f"{function}({name!r}, best=...) must be 'min' or 'max', got {best!r}")


loss = Signal("loss", "min")
