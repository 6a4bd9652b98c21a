"""Signals: what a rule reads. A signal has a name, says which direction is better, and makes triggers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from keyword import iskeyword
from typing import Any, Literal

from lehr.errors import LehrError
from lehr.lengths import Length, LengthLike, as_length
from lehr.rules.common import whole
from lehr.rules.diverges import Diverges
from lehr.rules.improves import ImprovesLessThan
from lehr.rules.plateaus import Flavor, Plateaus
from lehr.rules.reaches import Reaches
from lehr.rules.trigger import Observation, Smooth, Trigger
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

    def improves_less_than(self, improvement: float, over: LengthLike, test: Literal["means"] = "means") -> Trigger:
        """Holds when the mean over a window is less than `improvement` better than that over the window before.

        Windows lie side by side, so each pair is looked at once. (mean before − mean) / |mean before|, with the sign
        turned for best="max", is compared; a worse mean is a negative improvement. The evidence is forgotten after
        firing. Non-finite values are left out.

        Args:
            improvement: a share between 0 and 1; 1 % is 0.01.
            over: the window, a length in any unit, observations included.
            test: "means", the two-window mean test.

        Example:
            >>> import lehr
            >>> lehr.loss.improves_less_than(0.01, over="200 steps")
            loss.improves_less_than(0.01, 200)

        Source: our choice; the plainest reading of "the loss falls too slowly".
        """
        return ImprovesLessThan(self, improvement, over, test)

    def reaches(self, threshold: float, rearm: float | None = None) -> Trigger:
        """Holds when the value is as good as `threshold` or better; fires once.

        Args:
            threshold: in the unit of the signal.
            rearm: a worse value; when the signal is worse than that, the trigger can fire again. Default: never.

        Example:
            >>> import lehr
            >>> lehr.metric("accuracy", best="max").reaches(0.95, rearm=0.9)
            metric('accuracy', best='max').reaches(0.95, rearm=0.9)

        Source: our choice; a latch with hysteresis, as in any thermostat.
        """
        return Reaches(self, threshold, rearm)

    def plateaus(self, patience: int, margin: float = 1e-4, flavor: Flavor = "lehr") -> Trigger:
        """Holds when more than `patience` observations in a row were no improvement on the best one.

        An improvement is better than the best by more than margin·|best|, for negative values too. A non-finite value
        is neither an improvement nor the lack of one. The evidence is forgotten after firing.

        Args:
            patience: observations without improvement that are tolerated; the next one acts (as in torch).
            margin: relative, between 0 and 1.
            flavor: "lehr"; or the word's meaning elsewhere: "torch" and "optax" (relative margin of the wrong sign for
                negative values, NaN is bad; optax acts at the patience-th), "keras" (absolute margin, acts at the
                patience-th, NaN is bad). They keep their best value after firing.

        Example:
            >>> import lehr
            >>> lehr.metric("val_loss", best="min").plateaus(5)
            metric('val_loss', best='min').plateaus(5)

        Source: torch's, Keras's and optax's reduce-on-plateau; the rule for negative values is our choice.
        """
        return Plateaus(self, patience, margin, flavor)

    def diverges(self) -> Trigger:
        """Holds when the value is NaN or infinite; again only after a finite one has come.

        Source: our choice.
        """
        return Diverges(self)


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
