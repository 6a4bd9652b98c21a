"""The same factor again and again: step decay, milestones, exponential decay.

Write t for the local step and s for the start.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lehr.errors import LehrError
from lehr.lengths import LengthLike
from lehr.schedules.schedule import Array, Context
from lehr.schedules.shape import Form, check_positive, endless, power, shape

__all__ = ["exponential", "multistep", "step_decay"]

LARGEST_GAMMA = 1e6
LARGEST_LOG = 690.0  # e^690 is just below the largest factor


@shape
def step_decay(every: LengthLike, gamma: float = 0.1) -> Form:
    """Down by a factor at equal intervals: s·γ^⌊t/every⌋.

    Args:
        every: the interval, positive.
        gamma: the factor γ, 0 ≤ γ ≤ 1. The default 0.1 is that of torch's StepLR.

    Raises:
        LehrError: an interval of zero, or gamma outside its range.

    Example:
        >>> step_decay(every=30, gamma=0.5).resolve()(60)
        0.25

    Source: He et al. 2016 (arXiv 1512.03385), section 3.4.
    """
    _check_gamma("step_decay", gamma)
    check_positive("step_decay", "every", every)

    def formula(context: Context) -> Callable[[Array, Any], Array]:
        interval = context.steps(every)  # type: ignore[arg-type]  # `shape` hands every length over as a Length
        return lambda t, xp: power(gamma, t // interval)

    return endless(formula)


@shape
def exponential(gamma: float, *, per: LengthLike = 1) -> Form:
    """Exponential decay: s·γ^(t/per).

    Args:
        gamma: the factor γ that applies once per `per`, 0 < γ ≤ 1.
        per: the length after which γ has been applied once, positive; it need not be a whole number of steps.

    Raises:
        LehrError: gamma outside its range (growth for ever has no finite end), or a period of zero.

    Example:
        >>> from lehr import Horizon
        >>> round(exponential(0.95, per="1 epoch").resolve(Horizon(steps_per_epoch=10))(20), 6)
        0.9025

    Source: torch's ExponentialLR (per=1), Keras's ExponentialDecay (per=decay_steps).
    """
    _check_gamma("exponential", gamma, zero=False)
    check_positive("exponential", "per", per)

    def formula(context: Context) -> Callable[[Array, Any], Array]:
        period = float(context.measure(per))  # type: ignore[arg-type]  # as above
        return lambda t, xp: power(gamma, t / period)

    return endless(formula)


@shape
def multistep(milestones: Sequence[LengthLike], gamma: float = 0.1) -> Form:
    """Down (or up) by a factor at each milestone: s·γ^(number of milestones ≤ t). One given twice counts twice.

    Args:
        milestones: when, in any order.
        gamma: the factor γ, at least 0. The default 0.1 is that of torch's MultiStepLR.

    Raises:
        LehrError: no milestones, gamma outside its range, or (when resolved) a product beyond 1e300.

    Example:
        >>> multistep(["50%", "75%"], gamma=0.5).resolve(steps=100)(75)
        0.25

    Source: He et al. 2016 (arXiv 1512.03385), section 4.2; torch's MultiStepLR.
    """
    if not 0 <= gamma <= LARGEST_GAMMA:
        raise LehrError(f"multistep(gamma=...) must be between 0 and {LARGEST_GAMMA:g}, got {gamma!r}")
    if not milestones:
        raise LehrError("multistep(milestones=...) must hold at least one length, got none; or use constant()")
    if gamma > 1 and len(milestones) * math.log(gamma) > LARGEST_LOG:
        raise LehrError(f"multistep: {gamma!r} to the power of {len(milestones)} milestones is beyond 1e300")
    factors = np.power(np.full(len(milestones) + 1, gamma), np.arange(len(milestones) + 1))

    def formula(context: Context) -> Callable[[Array, Any], Array]:
        steps = np.sort([context.steps(item) for item in milestones])  # type: ignore[arg-type]  # as above
        return lambda t, xp: xp.asarray(factors)[xp.searchsorted(xp.asarray(steps), t, side="right")]

    return endless(formula, largest=float(factors.max()))


def _check_gamma(name: str, gamma: float, zero: bool = True) -> None:
    if gamma > 1 or gamma < 0 or (gamma == 0 and not zero):
        range_ = "between 0 and 1" if zero else "above 0 and at most 1"
        raise LehrError(
            f"{name}(gamma=...) must be {range_}, got {gamma!r}: the LR after the period is gamma times that before"
        )
