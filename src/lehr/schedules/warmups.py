"""Warm-ups: rises to the value that is passed down, and factors that rise for ever (multiply them with a schedule).

While the leading warm-up of a policy lasts, rules sleep and `min_lr`/`max_lr` do not hold.
"""

from __future__ import annotations

import functools as ft
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from lehr.errors import LehrError
from lehr.lengths import LengthLike, whole_steps
from lehr.schedules.schedule import Array, Context, Curve, Extent, namespace
from lehr.schedules.shape import Form, check_positive, segment, shape

__all__ = ["exponential_warmup", "radam_warmup", "warmup"]

Rise = Callable[[Array, Array, Any], Array]  # r(x, rest, xp), from 0 to 1

RISES: dict[str, Rise] = {
    "linear": lambda x, rest, xp: x,
    "cosine": lambda x, rest, xp: 0.5 * (1.0 - xp.cos(xp.pi * x)),
    "1-sqrt": lambda x, rest, xp: 1.0 - xp.sqrt(rest),
    "quadratic": lambda x, rest, xp: x * x,
}


@shape
def warmup(
    length: LengthLike,
    shape: Literal["linear", "cosine", "1-sqrt", "quadratic", "log"] = "linear",
    *,
    start: float = 0.0,
    zero_start: bool = False,
) -> Form:
    """A rise to the value passed down (1 at the top): start·(1 − r) + s·r, with r of x = (i + 1)/n.

    The first update is not wasted at zero; `zero_start=True` takes x = i/n, as optax and transformers do.

    Args:
        length: how long.
        shape: "linear" r = x; "cosine" r = ½(1 − cos πx); "1-sqrt" r = 1 − √(1 − x); "quadratic" r = x²; "log"
            r = ln(i + 1)/ln n, which begins at 0 in both conventions (ln(n + 1) with `zero_start`).
        start: the factor it rises from, ≥ 0; a larger one than s makes it a fall ("inverse warm-up").
        zero_start: whether the first update has exactly the factor `start`.

    Raises:
        LehrError: start < 0, or an unknown shape.

    Example:
        >>> curve = warmup(4).resolve()
        >>> [curve(t) for t in range(5)]
        [0.25, 0.5, 0.75, 1.0, 1.0]

    Source: Goyal et al. 2017 (arXiv 1706.02677), section 2.2 ("gradual warmup"); the other rises: transformers' and
        DeepSpeed's warm-ups.
    """
    if start < 0:
        raise LehrError(f"warmup(start=...) must be at least 0, got {start!r}")

    def build(context: Context, passed: float, steps: int | None) -> Curve:
        low, high = min(start, passed), max(start, passed)
        rise = RISES.get(shape) or _logarithm(steps or 0, zero_start)

        def value(x: Array, rest: Array) -> Array:
            xp = namespace(x)
            r = rise(x, rest, xp)
            left = rest if shape == "linear" else 1.0 - r
            return xp.clip(start * left + passed * r, low, high)

        return replace(segment(value, steps or 0, bound=high, ahead=0 if zero_start else 1), warmup=steps or 0)

    return Form(length, build)  # type: ignore[arg-type]  # `shape` hands every length over as a Length


def _logarithm(steps: int, zero_start: bool) -> Rise:
    if steps + zero_start <= 1:
        return lambda x, rest, xp: xp.ones_like(x)
    last = math.log(steps + zero_start)
    return lambda x, rest, xp: xp.clip(xp.log(xp.maximum(x * steps, 1.0 - zero_start) + zero_start) / last, 0.0, 1.0)


@shape
def exponential_warmup(timescale: LengthLike) -> Form:
    """A factor that saturates, s·(1 − e^(−(t + 1)/τ)), to multiply a schedule with.

    It counts as the leading warm-up for 2τ steps, the length of the linear warm-up that the source finds to be alike.

    Args:
        timescale: τ, a positive length.

    Raises:
        LehrError: a timescale of zero.

    Example:
        >>> round(exponential_warmup(1000).resolve()(999), 6)
        0.632121

    Source: Ma & Yarats 2021 (arXiv 1910.04209), equation 10.
    """
    check_positive("exponential_warmup", "timescale", timescale)

    def build(context: Context, start: float, steps: int | None) -> Curve:
        tau = float(context.measure(timescale))  # type: ignore[arg-type]  # as above
        warm = whole_steps(2 * context.measure(timescale))  # type: ignore[arg-type]  # as above

        def evaluate(t: Array) -> Array:
            return -start * namespace(t).expm1(-(t + 1.0) / tau)

        return Curve(evaluate, None, bound=start, warmup=warm)

    return Form(Extent.ENDLESS, build)


@shape
def radam_warmup(beta2: float = 0.999) -> Form:
    """RAdam's rectification as a factor: s·√((ρ−4)(ρ−2)ρ∞ / ((ρ∞−4)(ρ∞−2)ρ)).

    Here ρ = ρ∞ − 2uβ₂ᵘ/(1 − β₂ᵘ) and ρ∞ = 2/(1 − β₂) − 1; u counts from the first one with ρ > 4, so that every step
    has a factor. It counts as the leading warm-up for 2/(1 − β₂) steps, the length of the linear warm-up that the
    source of `exponential_warmup` finds to be alike.

    Args:
        beta2: Adam's β₂, between 0.61 and 0.9999.

    Raises:
        LehrError: beta2 outside its range.

    Example:
        >>> round(radam_warmup(0.999).resolve()(0), 5)
        0.01731

    Source: Liu et al. 2020 (arXiv 1908.03265), algorithm 2; the offset as in pytorch-warmup.
    """
    if not 0.61 <= beta2 <= 0.9999:
        raise LehrError(f"radam_warmup(beta2=...) must be between 0.61 and 0.9999, got {beta2!r}")

    def build(context: Context, start: float, steps: int | None) -> Curve:
        pace = float(context.stretch)

        def evaluate(t: Array) -> Array:
            xp = namespace(t)
            factors = _rectified(beta2)
            u = xp.minimum(t if pace == 1 else xp.floor(t / pace), len(factors) - 1)
            return start * xp.asarray(factors)[u.astype(xp.asarray(0).dtype)]

        # 2/(1 − 0.999) is 1999.9999999999982 in floats.
        return Curve(evaluate, None, bound=start, warmup=int(round(2.0 / (1.0 - beta2), 6) * pace))

    return Form(Extent.ENDLESS, build)


@ft.lru_cache(maxsize=8)
def _rectified(beta2: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The factors until they are 1 to the last bit; in extended precision, as ρ is a difference of near numbers."""
    beta = np.longdouble(beta2)
    last = 2 / (1 - beta) - 1
    u = np.arange(1, int(60 / (1 - beta2)), dtype=np.longdouble)
    decayed = beta**u
    rho = last - 2 * u * decayed / (1 - decayed)
    rho = rho[np.argmax(rho > 4) :]
    factors: np.ndarray[Any, np.dtype[np.float64]] = np.sqrt(
        (rho - 4) * (rho - 2) * last / ((last - 4) * (last - 2) * rho)
    ).astype(np.float64)
    factors[-1] = 1.0
    factors.setflags(write=False)
    return factors
