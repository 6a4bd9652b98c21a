"""Schedules from functions of the user: of the step, of the position in a segment, or times the previous value.

A function is called with one Python number at a time, and for no step beyond the next update, so any code will do.
Where JAX traces, it is called with the tracer itself, and must then be made of operations that JAX can trace.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lehr.errors import LehrError
from lehr.lengths import LengthLike
from lehr.schedules.functions import FunctionLike
from lehr.schedules.schedule import Array, Context, Curve, namespace, number
from lehr.schedules.shape import Form, check_positive, endless, fall, shape
from lehr.spelling import brief

__all__ = ["of_position", "of_previous", "of_step"]

LARGEST = 1e9  # of a value that a user's function gives
LONGEST_PRODUCT = 10_000_000
ROUNDING = 1e-9  # a share may be so far outside of 0 to 1


@shape
def of_step(function: FunctionLike, *, every: LengthLike = 1) -> Form:
    """Any function of the step: s·f(⌊t/every⌋).

    Args:
        function: f(int) → factor between 0 and 10^9, or the name under which `lehr.register` knows it.
        every: the unit in which f counts, a positive length: "1 epoch" for a function of the epoch.

    Raises:
        LehrError: not a function, an unknown name, an interval of zero, or (when evaluated) a value that is no factor.

    Example:
        >>> of_step(lambda t: 0.95**t, every=10).resolve()(25)
        0.9025

    Source: torch's LambdaLR.
    """
    check_positive("of_step", "every", every)
    call = _each(function, "of_step", LARGEST)

    def formula(context: Context) -> Callable[[Array, Any], Array]:
        interval = context.steps(every)  # type: ignore[arg-type]  # `shape` hands every length over as a Length
        return lambda t, xp: call(t // interval)

    return endless(formula, largest=LARGEST)


@shape
def of_position(
    function: FunctionLike,
    length: LengthLike | None = None,
    *,
    to: float = 0.0,
    to_lr: float | None = None,
    start: float | None = None,
) -> Form:
    """Any fall over a length: s·g + e·(1 − g) with g = f(x), x from 0 to 1.

    Args:
        function: f(float) → share between 0 and 1, plainly from f(0) = 1 to f(1) = 0; or the name under which
            `lehr.register` knows it.
        length: how long; without it, what is left of the run.
        to: the end value e, a factor of the base LR (never of the start), ≥ 0.
        to_lr: the same as an absolute LR; needs the base LR.
        start: the start s, a factor of the base LR; default: the end of what came before, 1 at the top.

    Raises:
        LehrError: not a function, an unknown name, a negative end or start, both `to` and `to_lr`, or (when evaluated)
            a value that is no share.

    Example:
        >>> of_position(lambda x: (1 - x) ** 3).resolve(steps=100)(50)
        0.125

    Source: timm's WSD scheduler takes such a function.
    """
    call = _each(function, "of_position", 1.0, ROUNDING)
    return fall(lambda x, rest, xp: call(x), length, to=to, to_lr=to_lr, start=start)


@shape
def of_previous(function: FunctionLike, length: LengthLike) -> Form:
    """Each value is a multiple of the one before it: s·∏_{j=1..t} f(j) over a length; then the value holds.

    Tabulated as far as it has been asked for.

    Args:
        function: f(int) → factor between 0 and 10^9, or the name under which `lehr.register` knows it.
        length: how long, at most ten million steps.

    Raises:
        LehrError: not a function, an unknown name, too long, or (when evaluated) a value that is no factor, or a
            product beyond 10^9.

    Example:
        >>> of_previous(lambda t: 0.5, 100).resolve()(3)
        0.125

    Source: torch's MultiplicativeLR.
    """
    call = _one(function, "of_previous", LARGEST)

    def build(context: Context, start: float, steps: int | None) -> Curve:
        if (steps or 0) > LONGEST_PRODUCT:
            raise LehrError(f"of_previous(length=...) must be at most {LONGEST_PRODUCT} steps, got {steps}")
        products = [1.0]

        def upto(count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
            for step in range(len(products), count + 1):  # one by one, so that it does not matter how far one has gone
                product = products[-1] * call(step)
                if product > LARGEST:
                    raise LehrError(
                        f"of_previous: the product must stay at most {LARGEST:g}, got {product:g} at {step}"
                    )
                products.append(product)
            return np.array(products)

        def evaluate(t: Array) -> Array:
            xp = namespace(t)
            last = steps or 0
            known = upto(min(int(t.max()), last) if xp is np and t.size else last)
            return start * xp.asarray(known)[xp.minimum(t, last)]

        return Curve(evaluate, steps, bound=start * LARGEST)

    return Form(length, build)  # type: ignore[arg-type]  # as above


def _one(function: Any, name: str, largest: float, slack: float = 0.0) -> Callable[[Any], float]:
    """The function of one number, and what it gives checked."""

    def one(x: Any) -> float:
        value = number(function.call(x), f"{name}: the value of the function at {x!r}")
        if not -slack <= value <= largest + slack:
            raise LehrError(
                f"{name}: the function must give a number between 0 and {largest:g}, got {value!r} at {x!r}"
            )
        return min(max(value, 0.0), largest)

    return one


def _each(function: Any, name: str, largest: float, slack: float = 0.0) -> Callable[[Array], Array]:
    """The function on an array: number by number, or, where JAX traces it, as a whole."""
    one = _one(function, name, largest, slack)

    def each(x: Array) -> Array:
        xp = namespace(x)
        try:
            numbers = np.asarray(x).tolist()
        except Exception:  # a tracer holds no numbers; JAX's own exceptions are not ours to import
            return _traced(x)
        return xp.asarray(np.array([one(item) for item in numbers], dtype=np.float64))

    def _traced(x: Array) -> Array:
        try:
            return function.call(x) * namespace(x).ones_like(x)
        except Exception as error:
            raise LehrError(
                f"{name}: under jax.jit the function is called with the tracer itself and must be made of operations "
                f"that JAX can trace, which this one is not: {brief(error)}"
            ) from error

    return each
