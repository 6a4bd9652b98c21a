"""Powers of time: decays that slow down but never end.

Write t for the local step, τ for a timescale and s for the start.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from lehr.errors import LehrError
from lehr.lengths import LengthLike, whole_steps
from lehr.schedules.schedule import Array, Context, Curve, Extent, namespace
from lehr.schedules.shape import Form, check_ends, check_exponent, check_positive, endless, raised, shape

__all__ = ["growing_polynomial", "inverse_sqrt", "inverse_time", "noam", "power_law"]

LARGEST_RATE = 1e12


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
    check_positive("inverse_time", "per", per)

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
    check_positive("inverse_sqrt", "timescale", timescale)

    def formula(context: Context) -> Callable[[Array, Any], Array]:
        tau = float(context.measure(timescale))  # type: ignore[arg-type]  # as above
        return lambda t, xp: 1.0 / xp.sqrt(1.0 + t / tau)

    return endless(formula)


@shape
def power_law(timescale: LengthLike, exponent: float = 0.5) -> Form:
    """A power of time: s·(1 + t/τ)^(−exponent).

    After a warm-up of w steps and with τ = w this is (w/t)^exponent of the global step. An LR that falls as a power of
    the tokens seen is `hold("n tokens").then(power_law("n tokens", a))`: min(peak, c·tokens^(−a)).

    Args:
        timescale: τ, a positive length.
        exponent: above 0; ½ is `inverse_sqrt`, 1 is `inverse_time`.

    Raises:
        LehrError: a timescale of zero, or an exponent outside its range.

    Example:
        >>> power_law(100, exponent=2).resolve()(100)
        0.25

    Source: Shen et al. 2024 (arXiv 2408.13359), equation 5; NeMo's NoamHoldAnnealing.
    """
    check_positive("power_law", "timescale", timescale)
    check_exponent("power_law", "exponent", exponent)

    def formula(context: Context) -> Callable[[Array, Any], Array]:
        tau = float(context.measure(timescale))  # type: ignore[arg-type]  # as above
        return lambda t, xp: xp.power(1.0 / (1.0 + t / tau), exponent)

    return endless(formula)


@shape
def noam(warmup: LengthLike, *, d_model: float | None = None, zero_start: bool = False) -> Form:
    """The Transformer's schedule: s·d^(−½)·min(u^(−½), u·w^(−3/2)) with u = t + 1; without d its peak is s.

    Args:
        warmup: w, a positive length; u = w has the peak.
        d_model: the model's width d, at least 1; the LR is then absolute for a base LR of 1.
        zero_start: whether u = t, so that the first update has an LR of 0.

    Raises:
        LehrError: a warm-up of zero, or a width below 1.

    Example:
        >>> curve = noam(100).resolve()
        >>> curve(99), curve(399)
        (1.0, 0.5)

    Source: Vaswani et al. 2017 (arXiv 1706.03762), equation 3.
    """
    check_positive("noam", "warmup", warmup)
    if d_model is not None and not 1 <= d_model <= LARGEST_RATE:
        raise LehrError(f"noam(d_model=...) must be between 1 and {LARGEST_RATE:g}, got {d_model!r}")

    def build(context: Context, start: float, steps: int | None) -> Curve:
        w = float(context.measure(warmup))  # type: ignore[arg-type]  # as above
        peak = start if d_model is None else start / math.sqrt(d_model * w)

        def evaluate(t: Array) -> Array:
            xp = namespace(t)
            u = t * 1.0 if zero_start else t + 1.0
            return peak * xp.minimum(u / w, 1.0 / xp.sqrt(xp.maximum(u, 1.0) / w))

        warm = whole_steps(context.measure(warmup))  # type: ignore[arg-type]  # as above
        return Curve(evaluate, None, bound=peak * max(1.0, math.sqrt(w)), warmup=warm)

    return Form(Extent.ENDLESS, build)


@shape
def growing_polynomial(length: LengthLike, *, power: float = 1.0, to: float = 0.0, to_lr: float | None = None) -> Form:
    """A polynomial whose end moves on when it is reached: e + (s − e)·(1 − t/(T·max(1, ⌈t/T⌉)))^power.

    It falls to e at T, 2T, 3T, … and begins again lower each time.

    Args:
        length: T, a positive length.
        power: the exponent, > 0.
        to: the end value e, a factor of the base LR (never of the start), ≥ 0.
        to_lr: the same as an absolute LR; needs the base LR.

    Raises:
        LehrError: a length of zero, power outside its range, a negative end, or both `to` and `to_lr`.

    Example:
        >>> curve = growing_polynomial(100).resolve()
        >>> curve(50), curve(100), curve(150)
        (0.5, 0.0, 0.25)

    Source: Keras's and TensorFlow's PolynomialDecay with cycle=True.
    """
    check_positive("growing_polynomial", "length", length)
    check_exponent("growing_polynomial", "power", power)
    check_ends(to=to, to_lr=to_lr)

    def build(context: Context, start: float, steps: int | None) -> Curve:
        period = context.steps(length)  # type: ignore[arg-type]  # as above
        end = context.factor(to, to_lr) or 0.0

        def evaluate(t: Array) -> Array:
            xp = namespace(t)
            rest = (period - t % period) % period  # steps to the next end
            g = raised(xp.where(t == 0, 1.0, rest / xp.maximum(t * 1.0 + rest, 1.0)), power, xp)
            return xp.clip(start * g + end * (1.0 - g), min(start, end), max(start, end))

        return Curve(evaluate, None, bound=max(start, end))

    return Form(Extent.ENDLESS, build, absolute=to_lr is not None)
