"""Recurrences as they are written in formulas, in a form that needs no previous value.

`compounding` is α_t = α_{t−1}·γ^t and `cosine_product` is α_t = α_{t−1}·(1 + γ·cos(πt/T)); both start at α_0.
"""

from __future__ import annotations

import functools as ft
from collections.abc import Callable
from typing import Any

import numpy as np

from lehr.errors import LehrError
from lehr.lengths import LengthLike
from lehr.schedules.schedule import Array, Context, Curve, Extent, namespace
from lehr.schedules.shape import Form, endless, power, shape

__all__ = ["compounding", "cosine_product"]

LONGEST_TABLE = 10_000_000
LARGEST_LOG = 690.0  # e^690 is just below LARGEST_FACTOR


@shape
def compounding(gamma: float) -> Form:
    """α_t = α_{t−1}·γ^t, that is s·γ^(t(t+1)/2): a decay that itself accelerates.

    Args:
        gamma: γ, 0 < γ ≤ 1. It acts hard: with 0.999 the LR is below a thousandth of the base after 118 steps.

    Raises:
        LehrError: gamma outside its range.

    Example:
        >>> round(compounding(0.5).resolve()(2), 6)
        0.125

    Source: the recurrence as commonly written; its closed form is ours. Stretched by k, t becomes t/k.
    """
    if not 0 < gamma <= 1:
        raise LehrError(f"compounding(gamma=...) must be above 0 and at most 1, got {gamma!r}")

    def formula(context: Context) -> Callable[[Array, Any], Array]:
        pace = float(context.stretch)

        def value(t: Array, xp: Any) -> Array:
            u = t / pace
            return power(gamma, u * (u + 1.0) / 2.0)

        return value

    return endless(formula)


@shape
def cosine_product(gamma: float, period: LengthLike = "100%") -> Form:
    """α_t = α_{t−1}·(1 + γ·cos(πt/T)): s·∏_{j=1..t} (1 + γ·cos(πj/T)).

    It rises for the first half of T, falls back, and loses a little in every 2T. Tabulated over one cycle of 2T steps
    when first used; any step is then read at random.

    Args:
        gamma: γ, −1 < γ < 1.
        period: T, a positive length of at most ten million steps; default: the whole run.

    Raises:
        LehrError: gamma outside its range, a period of zero or too long, or (when resolved) a product that leaves the
            range of floats: about γ·T/π < 690 must hold.

    Example:
        >>> round(cosine_product(0.01, 1000).resolve()(500), 2)
        23.71

    Source: the recurrence as commonly written.
    """
    if not -1 < gamma < 1:
        raise LehrError(f"cosine_product(gamma=...) must be above -1 and below 1, got {gamma!r}")
    if period.amount == 0:  # type: ignore[union-attr]  # `shape` hands every length over as a Length
        raise LehrError("cosine_product(period=...) must be a positive length, got 0")

    def build(context: Context, start: float, steps: int | None) -> Curve:
        half = context.steps(period)  # type: ignore[arg-type]  # as above
        if half > LONGEST_TABLE:
            raise LehrError(f"cosine_product(period=...) must be at most {LONGEST_TABLE} steps, got {half}")
        log_peak = abs(gamma) * (0.5 / np.sin(np.pi / (2 * half)) + 0.5)  # log(1 + x) ≤ x; Dirichlet's kernel sums x
        if log_peak > LARGEST_LOG:
            log_peak = np.log(_table(gamma, half)[0].max())  # only now is the exact check worth its cost

        def evaluate(t: Array) -> Array:
            factors, cycle = _table(gamma, half)
            xp = namespace(t)
            return start * (xp.asarray(factors)[t % (2 * half)] * power(cycle, t // (2 * half)))

        return Curve(evaluate, None, bound=start * float(np.exp(log_peak)))

    return Form(Extent.ENDLESS, build)


@ft.lru_cache(maxsize=8)
def _table(gamma: float, half: int) -> tuple[np.ndarray[Any, np.dtype[np.float64]], float]:
    """The factors of one cycle of 2T steps, and the factor of a whole cycle (at most 1)."""
    j = np.arange(1, 2 * half + 1)
    # Summed in extended precision where there is one: the sum of a million logarithms loses digits.
    logs = np.cumsum(np.log1p(gamma * np.cos(np.pi * (j / half))), dtype=np.longdouble)
    if logs.max() > LARGEST_LOG:
        raise LehrError(
            f"cosine_product(gamma={gamma}, period={half}) grows to e^{float(logs.max()):.0f}, beyond any float; "
            "take a smaller gamma or a shorter period (about gamma * period / 3.14 must stay below 690)"
        )
    factors = np.exp(np.concatenate(([0.0], logs[:-1]))).astype(np.float64)
    factors.setflags(write=False)
    return factors, float(np.exp(min(logs[-1], np.longdouble(0.0))))
