"""Segments: shapes between two values over a length, and the plain ones (constant, hold).

Write x = i/n for local step i of a segment of n steps, s for the start and e for the end value (`to`).
"""

from __future__ import annotations

from typing import Any

from lehr.errors import LehrError
from lehr.lengths import LengthLike
from lehr.schedules.schedule import Array, Context, Curve, Extent, namespace
from lehr.schedules.shape import Form, check_exponent, fall, raised, shape

__all__ = ["constant", "cosine", "hold", "linear", "one_minus_sqrt", "polynomial"]

MOST_WAVES = 10**6


@shape
def constant(value: float = 1.0) -> Form:
    """The same factor for ever: value.

    Args:
        value: a factor of the base LR, ≥ 0. It is not relative to the start; to keep the start use `hold`.

    Raises:
        LehrError: value < 0.

    Example:
        >>> constant(0.5).resolve()(123)
        0.5

    Source: every library's constant schedule.
    """
    if value < 0:
        raise LehrError(f"constant(value=...) must be at least 0, got {value!r}")

    def build(context: Context, start: float, steps: int | None) -> Curve:
        return Curve(lambda t: value * namespace(t).ones_like(t), None, bound=value)

    return Form(Extent.ENDLESS, build)


@shape
def hold(length: LengthLike | None = None) -> Form:
    """The start, kept: s.

    Args:
        length: how long. Without it, a hold before another schedule fills what is left, and a last one never ends.

    Example:
        >>> from lehr import linear, warmup
        >>> curve = warmup(10).then(hold(), linear(20)).resolve(steps=100)
        >>> curve(10), curve(80), curve(90)
        (1.0, 1.0, 0.5)

    Source: the stable part of warmup-stable-decay, Hu et al. 2024 (arXiv 2404.06395), section 4.
    """

    def build(context: Context, start: float, steps: int | None) -> Curve:
        return Curve(lambda t: start * namespace(t).ones_like(t), steps, bound=start)

    return Form(Extent.OPEN if length is None else length, build)  # type: ignore[arg-type]  # as in `warmup`


@shape
def linear(
    length: LengthLike | None = None, *, to: float = 0.0, to_lr: float | None = None, start: float | None = None
) -> Form:
    """A straight line: s·(1 − x) + e·x.

    Args:
        length: how long; without it, what is left of the run.
        to: the end value e, a factor of the base LR (never of the start), ≥ 0.
        to_lr: the same as an absolute LR; needs the base LR.
        start: the start s, a factor of the base LR; default: the end of what came before, 1 at the top.

    Raises:
        LehrError: a negative end or start, or both `to` and `to_lr`.

    Example:
        >>> linear().resolve(steps=100)(25)
        0.75

    Source: Defazio et al. 2023 (arXiv 2310.07831), equation 1.
    """
    return fall(lambda x, rest, xp: rest, length, to=to, to_lr=to_lr, start=start)


@shape
def cosine(
    length: LengthLike | None = None,
    *,
    power: float = 1.0,
    k: float = 1.0,
    cycles: float = 0.5,
    to: float = 0.0,
    to_lr: float | None = None,
    start: float | None = None,
) -> Form:
    """Half a cosine: s·g + e·(1 − g) with g = (½(1 + cos(2π·cycles·xᵏ)))^power, plainly ½(1 + cos πx).

    Past its end it keeps its last value (torch's and transformers' rise again).

    Args:
        length: how long; without it, what is left of the run.
        power: an exponent > 0 of the cosine; above 1 it falls earlier (optax calls it `exponent`).
        k: an exponent > 0 of the position; above 1 the LR stays high for longer (k-decay).
        cycles: waves, > 0 and at most 10^6; it ends at `to` if they are ½, 1½, 2½ … (transformers: `num_cycles`).
        to: the end value e, a factor of the base LR (never of the start), ≥ 0.
        to_lr: the same as an absolute LR; needs the base LR.
        start: the start s, a factor of the base LR; default: the end of what came before, 1 at the top.

    Raises:
        LehrError: power, k or cycles outside their range, a negative end or start, or both `to` and `to_lr`.

    Example:
        >>> cosine(to=0.1).resolve(steps=100)(100)
        0.1

    Source: Loshchilov & Hutter 2017 (arXiv 1608.03983), equation 5; k: Zhang & Li 2020 (arXiv 2004.05909), eq. 8.
    """
    check_exponent("cosine", "power", power)
    check_exponent("cosine", "k", k)
    if not 0 < cycles <= MOST_WAVES:
        raise LehrError(f"cosine(cycles=...) must be above 0 and at most {MOST_WAVES}, got {cycles!r}")

    def g(x: Array, rest: Array, xp: Any) -> Array:
        wave = 0.5 * (1.0 + xp.cos(xp.pi * (2.0 * cycles) * raised(x, k, xp)))
        return raised(wave, power, xp)

    return fall(g, length, to=to, to_lr=to_lr, start=start)


@shape
def polynomial(
    length: LengthLike | None = None,
    *,
    power: float = 2.0,
    k: float = 1.0,
    to: float = 0.0,
    to_lr: float | None = None,
    start: float | None = None,
) -> Form:
    """A power of the rest: s·g + e·(1 − g) with g = (1 − xᵏ)^power.

    Args:
        length: how long; without it, what is left of the run.
        power: the exponent, > 0; 1 is `linear`. The default 2 is our choice.
        k: an exponent > 0 of the position (k-decay); power=1 with k=2 is the cool-down 1 − x², with k=½ 1 − √x.
        to: the end value e, a factor of the base LR (never of the start), ≥ 0.
        to_lr: the same as an absolute LR; needs the base LR.
        start: the start s, a factor of the base LR; default: the end of what came before, 1 at the top.

    Raises:
        LehrError: power or k outside their range, a negative end or start, or both `to` and `to_lr`.

    Example:
        >>> polynomial(power=2).resolve(steps=100)(50)
        0.25

    Source: Chen et al. 2017 (arXiv 1606.00915), section 4.1 ("poly"); k: Zhang & Li 2020 (arXiv 2004.05909), eq. 6.
    """
    check_exponent("polynomial", "power", power)
    check_exponent("polynomial", "k", k)

    def g(x: Array, rest: Array, xp: Any) -> Array:
        return xp.power(rest if k == 1 else 1.0 - xp.power(x, k), power)

    return fall(g, length, to=to, to_lr=to_lr, start=start)


@shape
def one_minus_sqrt(
    length: LengthLike | None = None, *, to: float = 0.0, to_lr: float | None = None, start: float | None = None
) -> Form:
    """The cool-down that falls fast and lands slowly: s·g + e·(1 − g) with g = 1 − √x.

    Args:
        length: how long; without it, what is left of the run.
        to: the end value e, a factor of the base LR (never of the start), ≥ 0.
        to_lr: the same as an absolute LR; needs the base LR.
        start: the start s, a factor of the base LR; default: the end of what came before, 1 at the top.

    Raises:
        LehrError: a negative end or start, or both `to` and `to_lr`.

    Example:
        >>> one_minus_sqrt().resolve(steps=100)(25)
        0.5

    Source: Hägele et al. 2024 (arXiv 2405.18392), equation 2 ("1-sqrt").
    """
    return fall(lambda x, rest, xp: 1.0 - xp.sqrt(x), length, to=to, to_lr=to_lr, start=start)
