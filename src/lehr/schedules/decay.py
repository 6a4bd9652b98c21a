"""Segments: shapes between two values over a length, and the plain ones (constant, hold, warm-up).

Write x = i/n for local step i of a segment of n steps, s for the start and e for the end value (`to`).
"""

from __future__ import annotations

from dataclasses import replace

from lehr.errors import LehrError
from lehr.lengths import LengthLike
from lehr.schedules.schedule import Array, Context, Curve, Extent, namespace
from lehr.schedules.shape import Form, fall, segment, shape

__all__ = ["constant", "cosine", "hold", "linear", "one_minus_sqrt", "polynomial", "warmup"]


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
    length: LengthLike | None = None, *, to: float = 0.0, to_lr: float | None = None, start: float | None = None
) -> Form:
    """Half a cosine: s·g + e·(1 − g) with g = ½(1 + cos πx). Past its end it stays at e (torch's rises again).

    Args:
        length: how long; without it, what is left of the run.
        to: the end value e, a factor of the base LR (never of the start), ≥ 0.
        to_lr: the same as an absolute LR; needs the base LR.
        start: the start s, a factor of the base LR; default: the end of what came before, 1 at the top.

    Raises:
        LehrError: a negative end or start, or both `to` and `to_lr`.

    Example:
        >>> cosine(to=0.1).resolve(steps=100)(100)
        0.1

    Source: Loshchilov & Hutter 2017 (arXiv 1608.03983), equation 5.
    """
    return fall(lambda x, rest, xp: 0.5 * (1.0 + xp.cos(xp.pi * x)), length, to=to, to_lr=to_lr, start=start)


@shape
def polynomial(
    length: LengthLike | None = None,
    *,
    power: float = 2.0,
    to: float = 0.0,
    to_lr: float | None = None,
    start: float | None = None,
) -> Form:
    """A power of the rest: s·g + e·(1 − g) with g = (1 − x)^power.

    Args:
        length: how long; without it, what is left of the run.
        power: the exponent, > 0; 1 is `linear`. The default 2 is our choice.
        to: the end value e, a factor of the base LR (never of the start), ≥ 0.
        to_lr: the same as an absolute LR; needs the base LR.
        start: the start s, a factor of the base LR; default: the end of what came before, 1 at the top.

    Raises:
        LehrError: power ≤ 0, a negative end or start, or both `to` and `to_lr`.

    Example:
        >>> polynomial(power=2).resolve(steps=100)(50)
        0.25

    Source: Chen et al. 2017 (arXiv 1606.00915), section 4.1 ("poly").
    """
    if power <= 0:
        raise LehrError(f"polynomial(power=...) must be positive, got {power!r}")
    return fall(lambda x, rest, xp: xp.power(rest, power), length, to=to, to_lr=to_lr, start=start)


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


@shape
def warmup(length: LengthLike, *, start: float = 0.0, zero_start: bool = False) -> Form:
    """A linear rise to the value passed down (1 at the top): start + (s − start)·(i + 1)/n.

    The first update is not wasted at zero; `zero_start=True` gives i/n, as optax and transformers do. While the leading
    warm-up lasts, rules sleep and `min_lr`/`max_lr` do not hold.

    Args:
        length: how long.
        start: the factor it rises from, ≥ 0.
        zero_start: whether the first update has exactly the factor `start`.

    Raises:
        LehrError: start < 0.

    Example:
        >>> curve = warmup(4).resolve()
        >>> [curve(t) for t in range(5)]
        [0.25, 0.5, 0.75, 1.0, 1.0]

    Source: Goyal et al. 2017 (arXiv 1706.02677), section 2.2 ("gradual warmup").
    """
    if start < 0:
        raise LehrError(f"warmup(start=...) must be at least 0, got {start!r}")

    def build(context: Context, passed: float, steps: int | None) -> Curve:
        low, high = min(start, passed), max(start, passed)

        def value(x: Array, rest: Array) -> Array:
            return namespace(x).clip(start * rest + passed * x, low, high)

        return replace(segment(value, steps or 0, bound=high, ahead=0 if zero_start else 1), warmup=steps or 0)

    return Form(length, build)  # type: ignore[arg-type]  # `shape` hands every length over as a Length
