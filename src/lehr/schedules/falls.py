"""Less common segments: falls of other forms between two values over a length.

As in `decay`: x = i/n for local step i of a segment of n steps, s for the start and e for the end value (`to`).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lehr.errors import LehrError
from lehr.lengths import LengthLike
from lehr.schedules.schedule import Array, Context
from lehr.schedules.shape import Fall, Form, fall, geometric_blend, power, shape

__all__ = ["demon", "exp_cooldown", "exp_hyperbolic", "geometric", "hyperbolic", "quarter_cosine", "rex", "tanh"]


@shape
def quarter_cosine(
    length: LengthLike | None = None, *, to: float = 0.0, to_lr: float | None = None, start: float | None = None
) -> Form:
    """A quarter of a cosine, which falls ever faster: s·g + e·(1 − g) with g = cos(½πx).

    Args:
        length: how long; without it, what is left of the run.
        to: the end value e, a factor of the base LR (never of the start), ≥ 0.
        to_lr: the same as an absolute LR; needs the base LR.
        start: the start s, a factor of the base LR; default: the end of what came before, 1 at the top.

    Raises:
        LehrError: a negative end or start, or both `to` and `to_lr`.

    Example:
        >>> round(quarter_cosine().resolve(steps=90)(60), 6)
        0.5

    Source: torch-schedule-anything's cosine_annealing_with_warmup.
    """
    # sin(½π·rest) is the same number and lands on 0 exactly.
    return fall(lambda x, rest, xp: xp.sin(0.5 * xp.pi * rest), length, to=to, to_lr=to_lr, start=start)


@shape
def rex(
    length: LengthLike | None = None, *, to: float = 0.0, to_lr: float | None = None, start: float | None = None
) -> Form:
    """The reflected exponential: s·g + e·(1 − g) with g = (1 − x)/(1 − x/2); high for long, then down fast.

    Args:
        length: how long; without it, what is left of the run.
        to: the end value e, a factor of the base LR (never of the start), ≥ 0.
        to_lr: the same as an absolute LR; needs the base LR.
        start: the start s, a factor of the base LR; default: the end of what came before, 1 at the top.

    Raises:
        LehrError: a negative end or start, or both `to` and `to_lr`.

    Example:
        >>> round(rex().resolve(steps=100)(50), 6)
        0.666667

    Source: Chen, Wolfe & Kyrillidis 2021 (arXiv 2107.04197), equation 2.
    """
    return fall(lambda x, rest, xp: rest / (0.5 + 0.5 * rest), length, to=to, to_lr=to_lr, start=start)


@shape
def demon(
    length: LengthLike | None = None,
    *,
    beta: float = 0.9,
    to: float = 0.0,
    to_lr: float | None = None,
    start: float | None = None,
) -> Form:
    """Decaying momentum: s·g + e·(1 − g) with g = (1 − x)/((1 − β) + β(1 − x)); `rex` is this with β = ½.

    For the momentum of SGD or Adam's β₁: `bind(lr=cosine(), momentum=demon())`.

    Args:
        length: how long; without it, what is left of the run.
        beta: the momentum β that it starts from, at least 0 and at most 0.9999; the higher, the later it falls.
        to: the end value e, a factor of the base value (never of the start), ≥ 0.
        to_lr: the same as an absolute value; needs the base value.
        start: the start s, a factor of the base value; default: the end of what came before, 1 at the top.

    Raises:
        LehrError: beta outside its range, a negative end or start, or both `to` and `to_lr`.

    Example:
        >>> round(demon(beta=0.9).resolve(steps=100)(50), 6)
        0.909091

    Source: Chen, Wolfe, Li & Kyrillidis 2019 (arXiv 1910.04952), equation 1 (Demon).
    """
    if not 0 <= beta <= 0.9999:
        raise LehrError(f"demon(beta=...) must be between 0 and 0.9999, got {beta!r}")
    return fall(lambda x, rest, xp: rest / ((1.0 - beta) + beta * rest), length, to=to, to_lr=to_lr, start=start)


@shape
def tanh(
    length: LengthLike | None = None,
    *,
    lower: float = -7.0,
    upper: float = 3.0,
    to: float = 0.0,
    to_lr: float | None = None,
    start: float | None = None,
) -> Form:
    """A hyperbolic tangent, g = ½(1 − tanh v) with v = lower·(1 − x) + upper·x: s·g + e·(1 − g).

    It ends above e by what the tangent lacks there: by 0.25 % of s − e with the defaults.

    Args:
        length: how long; without it, what is left of the run.
        lower: the argument at the start, at least -100; the defaults are timm's.
        upper: the argument at the end, above `lower` and at most 100.
        to: the end value e, a factor of the base LR (never of the start), ≥ 0.
        to_lr: the same as an absolute LR; needs the base LR.
        start: the start s, a factor of the base LR; default: the end of what came before, 1 at the top.

    Raises:
        LehrError: lower and upper out of order or range, a negative end or start, or both `to` and `to_lr`.

    Example:
        >>> round(tanh().resolve(steps=100)(70), 6)
        0.5

    Source: Hsueh, Li & Wu 2019 (arXiv 1806.01593), equation 3.
    """
    if not -100 <= lower < upper <= 100:
        raise LehrError(f"tanh(lower=..., upper=...) must have -100 <= lower < upper <= 100, got {lower!r}, {upper!r}")
    return fall(
        lambda x, rest, xp: 0.5 * (1.0 - xp.tanh(lower * rest + upper * x)), length, to=to, to_lr=to_lr, start=start
    )


@shape
def exp_cooldown(
    length: LengthLike | None = None,
    *,
    ratio: float = 0.1,
    to: float = 0.0,
    to_lr: float | None = None,
    start: float | None = None,
) -> Form:
    """An exponential that lands: s·g + e·(1 − g) with g = (ratioˣ − ratio)/(1 − ratio).

    Args:
        length: how long; without it, what is left of the run.
        ratio: how bent, between 1e-9 and 0.999; timm's cool-down has 0.1, Megatron's 0.5.
        to: the end value e, a factor of the base LR (never of the start), ≥ 0.
        to_lr: the same as an absolute LR; needs the base LR.
        start: the start s, a factor of the base LR; default: the end of what came before, 1 at the top.

    Raises:
        LehrError: ratio outside its range, a negative end or start, or both `to` and `to_lr`.

    Example:
        >>> round(exp_cooldown(ratio=0.25).resolve(steps=100)(50), 6)
        0.333333

    Source: timm's WSD scheduler; Megatron-LM's WSD decay "exponential" (ratio=0.5).
    """
    if not 1e-9 <= ratio <= 0.999:
        raise LehrError(f"exp_cooldown(ratio=...) must be between 1e-9 and 0.999, got {ratio!r}")
    log = math.log(ratio)

    def g(x: Array, rest: Array, xp: Any) -> Array:
        # (ratioˣ − ratio)/(1 − ratio) without the difference of near numbers.
        return power(ratio, x) * xp.expm1(log * rest) / np.expm1(log)

    return fall(g, length, to=to, to_lr=to_lr, start=start)


@shape
def geometric(
    length: LengthLike | None = None,
    *,
    to: float | None = None,
    to_lr: float | None = None,
    start: float | None = None,
) -> Form:
    """The same factor at every step: s·(e/s)ˣ. A decay, or a growth with an end (`exponential` has neither).

    Args:
        length: how long; without it, what is left of the run.
        to: the end value e, a factor of the base LR (never of the start), > 0.
        to_lr: the same as an absolute LR; needs the base LR.
        start: the start s, a factor of the base LR; default: the end of what came before, 1 at the top. From a start of
            0 no factor leads away: it stays there until the end.

    Raises:
        LehrError: no end or one that is not positive, a negative start, or both `to` and `to_lr`.

    Example:
        >>> round(geometric(to=0.01).resolve(steps=100)(50), 6)
        0.1

    Source: fastai's SchedExp; the ramp of every LR range test.
    """
    _check_above_zero("geometric", to, to_lr)
    return fall(lambda x, rest, xp: rest, length, to=to or 0.0, to_lr=to_lr, start=start, blend=geometric_blend)


@shape
def hyperbolic(
    length: LengthLike | None = None,
    *,
    upper: LengthLike,
    to: float = 0.0,
    to_lr: float | None = None,
    start: float | None = None,
) -> Form:
    """A hyperbola whose beginning does not depend on the length: s·g + e·(1 − g), g = 1 + f(i) − f(0).

    f(i) = √((N − i)/U · (2 − (N + i)/U)) over N steps. It ends at e only if U = N, above it otherwise.

    Args:
        length: N; without it, what is left of the run.
        upper: U, at least N. Keep it when the run gets longer, and the curve begins as before; with U = N it is a line.
        to: the end value e, a factor of the base LR (never of the start), ≥ 0.
        to_lr: the same as an absolute LR; needs the base LR.
        start: the start s, a factor of the base LR; default: the end of what came before, 1 at the top.

    Raises:
        LehrError: a negative end or start, both `to` and `to_lr`, or (when resolved) U < N.

    Example:
        >>> round(hyperbolic(upper="200%").resolve(steps=100)(60), 6)
        0.623873

    Source: Kim 2024 (arXiv 2407.15200), equation 6 (HyperbolicLR).
    """
    return fall(_hyperbola("hyperbolic", upper), length, to=to, to_lr=to_lr, start=start, sized=True)


@shape
def exp_hyperbolic(
    length: LengthLike | None = None,
    *,
    upper: LengthLike,
    to: float | None = None,
    to_lr: float | None = None,
    start: float | None = None,
) -> Form:
    """The hyperbola of `hyperbolic` on a logarithmic scale: s^g·e^(1 − g).

    Args:
        length: N; without it, what is left of the run.
        upper: U, at least N; with U = N it is `geometric`.
        to: the end value e, a factor of the base LR (never of the start), > 0.
        to_lr: the same as an absolute LR; needs the base LR.
        start: the start s, a factor of the base LR; default: the end of what came before, 1 at the top.

    Raises:
        LehrError: no end or one that is not positive, a negative start, both `to` and `to_lr`, or U < N when resolved.

    Example:
        >>> round(exp_hyperbolic(upper="200%", to=0.01).resolve(steps=100)(60), 6)
        0.176907

    Source: Kim 2024 (arXiv 2407.15200), equation 8 (ExpHyperbolicLR).
    """
    _check_above_zero("exp_hyperbolic", to, to_lr)
    g = _hyperbola("exp_hyperbolic", upper)
    return fall(g, length, to=to or 0.0, to_lr=to_lr, start=start, sized=True, blend=geometric_blend)


def _hyperbola(name: str, upper: Any) -> Any:
    def sized(context: Context, steps: int) -> Fall:
        bound = float(context.measure(upper))
        if context.steps(upper) < steps:
            raise LehrError(
                f"{name}(upper=...) must be at least the length, got {bound:g} steps for a length of {steps}"
            )
        bound = max(bound, steps)  # a length below one step is one step
        ratio = steps / bound if steps else 1.0
        top = math.sqrt(ratio * (2.0 - ratio))

        def g(x: Array, rest: Array, xp: Any) -> Array:
            # 2 − (1 + x)·ratio, as 2·(1 − ratio) + rest·ratio: no difference of near numbers.
            return 1.0 - (top - xp.sqrt(rest * ratio * (2.0 * (1.0 - ratio) + rest * ratio)))

        return g

    return sized


def _check_above_zero(name: str, to: float | None, to_lr: float | None) -> None:
    if to is None and to_lr is None:
        raise LehrError(f"{name}(to=...) or {name}(to_lr=...) must say where it ends, above 0; give one of them")
    if (to if to_lr is None else to_lr) == 0 or to == 0:
        raise LehrError(
            f"{name}(to=...) must be above 0, got 0: no factor leads there; give the smallest LR that matters"
        )
