"""Formulas of the step that never end: step decay, exponentials, roots, and values by hand.

Write t for the local step and s for the start.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from lehr.errors import LehrError
from lehr.lengths import LengthLike
from lehr.schedules.schedule import Array, Context, Curve, Extent, namespace
from lehr.schedules.shape import Form, endless, power, shape
from lehr.spelling import spell

__all__ = ["exponential", "inverse_sqrt", "inverse_time", "multistep", "piecewise", "step_decay"]

LARGEST_RATE = 1e12


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
    _check_positive("step_decay", "every", every)

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
    _check_positive("exponential", "per", per)

    def formula(context: Context) -> Callable[[Array, Any], Array]:
        period = float(context.measure(per))  # type: ignore[arg-type]  # as above
        return lambda t, xp: power(gamma, t / period)

    return endless(formula)


@shape
def inverse_time(rate: float, *, per: LengthLike = 1) -> Form:
    """Hyperbolic decay: s / (1 + rate·t/per).

    Args:
        rate: how fast, between 0 and 1e12.
        per: the unit of t, a positive length.

    Raises:
        LehrError: rate outside its range, or a period of zero.

    Example:
        >>> inverse_time(1.0, per=100).resolve()(100)
        0.5

    Source: Robbins & Monro 1951; Keras's InverseTimeDecay.
    """
    if not 0 <= rate <= LARGEST_RATE:
        raise LehrError(f"inverse_time(rate=...) must be between 0 and {LARGEST_RATE:g}, got {rate!r}")
    _check_positive("inverse_time", "per", per)

    def formula(context: Context) -> Callable[[Array, Any], Array]:
        slope = rate / float(context.measure(per))  # type: ignore[arg-type]  # as above
        return lambda t, xp: 1.0 / (1.0 + slope * t)

    return endless(formula)


@shape
def inverse_sqrt(timescale: LengthLike) -> Form:
    """Inverse square root: s·√(τ/(τ + t)).

    After a warm-up of w steps and with τ = w this is the classic √(w/t) of the global step.

    Args:
        timescale: τ, a positive length.

    Raises:
        LehrError: a timescale of zero.

    Example:
        >>> inverse_sqrt(100).resolve()(300)
        0.5

    Source: Vaswani et al. 2017 (arXiv 1706.03762), section 5.3; transformers' inverse_sqrt.
    """
    _check_positive("inverse_sqrt", "timescale", timescale)

    def formula(context: Context) -> Callable[[Array, Any], Array]:
        tau = float(context.measure(timescale))  # type: ignore[arg-type]  # as above
        return lambda t, xp: 1.0 / xp.sqrt(1.0 + t / tau)

    return endless(formula)


@shape
def multistep(milestones: Sequence[LengthLike], gamma: float = 0.1) -> Form:
    """Down by a factor at each milestone: s·γ^(number of milestones ≤ t). A milestone given twice counts twice.

    Args:
        milestones: when, in any order.
        gamma: the factor γ, 0 ≤ γ ≤ 1. The default 0.1 is that of torch's MultiStepLR.

    Raises:
        LehrError: no milestones, or gamma outside its range.

    Example:
        >>> multistep(["50%", "75%"], gamma=0.5).resolve(steps=100)(75)
        0.25

    Source: He et al. 2016 (arXiv 1512.03385), section 4.2; torch's MultiStepLR.
    """
    _check_gamma("multistep", gamma)
    if not milestones:
        raise LehrError("multistep(milestones=...) must hold at least one length, got none; or use constant()")

    def formula(context: Context) -> Callable[[Array, Any], Array]:
        steps = [context.steps(item) for item in milestones]  # type: ignore[arg-type]  # as above
        return lambda t, xp: power(gamma, sum(xp.where(t >= step, 1, 0) for step in steps))

    return endless(formula)


@shape
def piecewise(values: Mapping[LengthLike, float]) -> Form:
    """Values by hand: from each length on, the factor given for it; before the first, the start.

    Args:
        values: length → factor of the base LR (not of the start), each ≥ 0; lengths must increase. Two that a short
            run rounds to the same step are no error: the later holds.

    Raises:
        LehrError: no values, a negative one, or lengths that do not increase (different units are compared when
            resolved).

    Example:
        >>> curve = piecewise({0: 1.0, "30%": 0.1, "60%": 0.01}).resolve(steps=100)
        >>> curve(29), curve(30), curve(1000)
        (1.0, 0.1, 0.01)

    Source: Keras's PiecewiseConstantDecay (which still uses the old value at the boundary itself).
    """
    pairs: Any = values  # `shape` hands a mapping over as pairs of a Length and a float
    if not pairs or any(value < 0 for _, value in pairs):
        raise LehrError(f"piecewise(values=...) must hold at least one factor, none negative, got {spell(pairs)}")
    if any(b.unit == a.unit and b.amount <= a.amount for (a, _), (b, _) in pairwise(pairs)):
        raise LehrError(f"piecewise(values=...) must have increasing lengths, got {spell(pairs)}")

    def build(context: Context, start: float, length: int | None) -> Curve:
        knots = [(context.steps(key), value) for key, value in pairs]
        if any(later < earlier for (earlier, _), (later, _) in pairwise(knots)):
            raise LehrError(f"piecewise(values=...) must have increasing lengths, got steps {[k for k, _ in knots]}")

        def evaluate(t: Array) -> Array:
            xp = namespace(t)
            result = start * xp.ones_like(t)
            for step, value in knots:
                result = xp.where(t >= step, value, result)
            return result

        return Curve(evaluate, None, bound=max(start, *(value for _, value in knots)))

    return Form(Extent.ENDLESS, build)


def _check_gamma(name: str, gamma: float, zero: bool = True) -> None:
    if gamma > 1 or gamma < 0 or (gamma == 0 and not zero):
        range_ = "between 0 and 1" if zero else "above 0 and at most 1"
        raise LehrError(
            f"{name}(gamma=...) must be {range_}, got {gamma!r}: the LR after the period is gamma times that before"
        )


def _check_positive(name: str, argument: str, length: Any) -> None:
    if length.amount == 0:
        raise LehrError(f"{name}({argument}=...) must be a positive length, got {length.words()!r}")
