"""Schedules that are not smooth on purpose: Chebyshev steps in fractal order, and seeded noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lehr.errors import LehrError
from lehr.lengths import LengthLike
from lehr.schedules.schedule import Array, Context, Curve, Extent, namespace
from lehr.schedules.shape import Form, check_positive, endless, shape

__all__ = ["chebyshev", "noise"]

GOLDEN = 0x9E3779B9


@shape
def chebyshev(
    length: LengthLike | None = None, *, low: float = 0.05, high: float = 1.0, start: float | None = None
) -> Form:
    """Chebyshev steps in fractal order: s/(c − r·cos((j + ½)π/N)), c = (high + low)/2, r = (high − low)/2.

    N is the power of two that is at least the length, and j runs through the permutation that is made from [0] by
    replacing [p₀, p₁, …] with [p₀, 2m−1−p₀, p₁, 2m−1−p₁, …], m its size. Past the end the last value holds. Each value
    is found in O(log N).

    Args:
        length: how long; without it, what is left of the run.
        low: the lower end of the curvatures, > 0; the largest factor is near 1/low.
        high: the upper end, above `low` and at most 10^6; the least factor is near 1/high.
        start: s, a factor of the base LR; default: the end of what came before, 1 at the top.

    Raises:
        LehrError: low and high out of order or range, or a negative start.

    Example:
        >>> round(chebyshev().resolve(steps=8)(0), 3)
        16.913

    Source: Agarwal, Goel & Zhang 2021 (arXiv 2103.01338), section 3.
    """
    if not 1e-9 <= low < high <= 1e6:
        raise LehrError(f"chebyshev(low=..., high=...) must have 1e-9 <= low < high <= 1e6, got {low!r} and {high!r}")
    if start is not None and start < 0:
        raise LehrError(f"start= must be at least 0 (an LR is never negative), got {start!r}")

    def build(context: Context, passed: float, steps: int | None) -> Curve:
        first = passed if start is None else start
        levels = max((steps or 1) - 1, 0).bit_length()
        nodes = 2**levels

        def evaluate(t: Array) -> Array:
            xp = namespace(t)
            j = xp.minimum(t, max((steps or 1) - 1, 0))
            place = xp.zeros_like(j)
            for level in range(1, levels + 1):
                place = xp.where((j >> (levels - level)) & 1 == 1, 2**level - 1 - place, place)
            # c − r·cos θ, as low + (high − low)·sin²(θ/2): no difference of near numbers.
            half = xp.sin((place + 0.5) * (0.5 * xp.pi / nodes))
            return first / (low + (high - low) * half * half)

        return Curve(evaluate, steps, bound=first / low, largest=nodes - 1)

    return Form(Extent.FILLING if length is None else length, build)  # type: ignore[arg-type]  # `shape` hands a Length


@shape
def noise(amount: float, *, every: LengthLike = 1, seed: int = 0) -> Form:
    """Multiplicative noise that is the same in every run: s·(1 + amount·u), u uniform in [−1, 1).

    u is a hash of (seed, ⌊t/every⌋), so that any step is found at once. For a product: `cosine() * noise(0.1)`.

    Args:
        amount: how strong, at least 0 and below 1.
        every: how long one value of u lasts, a positive length.
        seed: which noise, between 0 and 2^32 − 1.

    Raises:
        LehrError: amount, every or seed outside their range.

    Example:
        >>> curve = noise(0.1, seed=7).resolve()
        >>> 0.9 <= curve(3) <= 1.1, curve(3) == curve(3), curve(3) == curve(4)
        (True, True, False)

    Source: our choice; timm's schedulers add noise of this kind. The hash is Wellons's lowbias32.
    """
    if not 0 <= amount < 1:
        raise LehrError(f"noise(amount=...) must be at least 0 and below 1, got {amount!r}")
    check_positive("noise", "every", every)

    def formula(context: Context) -> Callable[[Array, Any], Array]:
        interval = context.steps(every)  # type: ignore[arg-type]  # `shape` hands every length over as a Length
        salt = int(_mixed(np.array([seed ^ GOLDEN], dtype=np.uint32))[0])  # the hash of 0 is 0

        def value(t: Array, xp: Any) -> Array:
            n = t // interval
            low, high = n.astype(xp.uint32), ((n >> 16) >> 16).astype(xp.uint32)
            bits = _mixed(low ^ _mixed(high ^ xp.uint32(salt))) >> xp.uint32(8)
            return 1.0 + amount * (bits * (2.0**-23) - 1.0)

        return value

    return endless(formula, largest=1.0 + amount)


def _mixed(x: Array) -> Array:
    """A bijection of 32 bits that spreads every bit over all (integer overflow is meant)."""
    u = namespace(x).uint32
    x = (x ^ (x >> u(16))) * u(0x7FEB352D)
    x = (x ^ (x >> u(15))) * u(0x846CA68B)
    return x ^ (x >> u(16))
