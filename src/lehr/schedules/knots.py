"""Values by hand: factors at given steps or at equal intervals, held or interpolated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from lehr.errors import LehrError
from lehr.lengths import LengthLike
from lehr.schedules.schedule import INT64_MAX, Array, Context, Curve, Extent, namespace
from lehr.schedules.shape import Form, check_positive, shape
from lehr.spelling import spell

__all__ = ["piecewise", "table"]

LONGEST_TABLE = 40_000  # so that its text can always be read back

Knots = list[tuple[Fraction, float]]


@shape
def piecewise(values: Mapping[LengthLike, float], between: Literal["step", "linear", "cosine"] = "step") -> Form:
    """Values by hand: from each length on, the factor given for it; before the first, the start.

    Args:
        values: length → factor of the base LR (not of the start), each ≥ 0; lengths must increase. Two that a short
            run rounds to the same step are no error: the later holds.
        between: "step" holds each value until the next; "linear" and "cosine" go from one to the next, beginning with
            the start at step 0. Their lengths are not rounded to whole steps. The last value holds for ever.

    Raises:
        LehrError: no values, a negative one, or lengths that do not increase (different units are compared when
            resolved).

    Example:
        >>> curve = piecewise({0: 1.0, "30%": 0.1, "60%": 0.01}).resolve(steps=100)
        >>> curve(29), curve(30), curve(1000)
        (1.0, 0.1, 0.01)
        >>> piecewise({10: 1.0, 30: 0.5}, "linear").resolve(start=0.0)(20)
        0.75

    Source: Keras's PiecewiseConstantDecay (which still uses the old value at the boundary itself); optax's
        piecewise_interpolate_schedule.
    """
    pairs: Any = values  # `shape` hands a mapping over as pairs of a Length and a float
    if not pairs or any(value < 0 for _, value in pairs):
        raise LehrError(f"piecewise(values=...) must hold at least one factor, none negative, got {spell(pairs)}")
    if any(b.unit == a.unit and b.amount <= a.amount for (a, _), (b, _) in pairwise(pairs)):
        raise LehrError(f"piecewise(values=...) must have increasing lengths, got {spell(pairs)}")

    def build(context: Context, start: float, length: int | None) -> Curve:
        if between == "step":
            knots = [(Fraction(context.steps(key)), value) for key, value in pairs]
        else:
            knots = [(context.measure(key), value) for key, value in pairs]
        if any(later < earlier for (earlier, _), (later, _) in pairwise(knots)):
            places = [float(at) for at, _ in knots]
            raise LehrError(f"piecewise(values=...) must have increasing lengths, got steps {spell(tuple(places))}")
        return _through([(Fraction(0), start), *knots], between)

    return Form(Extent.ENDLESS, build)


@shape
def table(
    values: Sequence[float], *, every: LengthLike = 1, between: Literal["step", "linear", "cosine"] = "step"
) -> Form:
    """Values by hand at equal intervals: the i-th factor at i·every; the last one holds for ever.

    Args:
        values: factors of the base LR (not of the start), each ≥ 0, at most 40,000.
        every: the interval, a positive length.
        between: "step" holds each value until the next; "linear" and "cosine" go from one to the next, and their
            places are not rounded to whole steps.

    Raises:
        LehrError: no values, too many, a negative one, or an interval of zero.

    Example:
        >>> table([1, 0.5, 0.1], every=10).resolve()(15)
        0.5

    Source: dlib's set_learning_rate_schedule.
    """
    if not 0 < len(values) <= LONGEST_TABLE or min(values) < 0:
        raise LehrError(f"table(values=...) must hold 1 to {LONGEST_TABLE} factors, none negative, got {len(values)}")
    check_positive("table", "every", every)

    def build(context: Context, start: float, length: int | None) -> Curve:
        interval = context.measure(every)  # type: ignore[arg-type]  # `shape` hands every length over as a Length
        if between == "step":
            interval = Fraction(context.steps(every))  # type: ignore[arg-type]  # as above
        return _through([(i * interval, value) for i, value in enumerate(values)], between)

    return Form(Extent.ENDLESS, build)


def _through(knots: Knots, between: str) -> Curve:
    """The curve through knots that do not go back; of several at one place the last counts."""
    factors = np.array([value for _, value in knots])
    floors = np.array([min(int(at), INT64_MAX) for at, _ in knots])
    broken = np.array([float(at % 1) for at, _ in knots])
    firsts = floors + (broken > 0)  # the first whole step at or after each
    widths = np.array([float(b - a) or 1.0 for (a, _), (b, _) in pairwise(knots)] + [1.0])

    def evaluate(t: Array) -> Array:
        xp = namespace(t)
        i = xp.searchsorted(xp.asarray(firsts), t, side="right") - 1
        here = xp.asarray(factors)[i]
        if between == "step":
            return here
        there = xp.asarray(factors)[xp.minimum(i + 1, len(factors) - 1)]
        x = xp.clip(((t - xp.asarray(floors)[i]) - xp.asarray(broken)[i]) / xp.asarray(widths)[i], 0.0, 1.0)
        g = 1.0 - x if between == "linear" else 0.5 * (1.0 + xp.cos(xp.pi * x))
        return xp.clip(here * g + there * (1.0 - g), xp.minimum(here, there), xp.maximum(here, there))

    return Curve(evaluate, None, bound=float(factors.max()), largest=int(floors.max()))
