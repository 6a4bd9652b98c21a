"""What the readers of several peers share: lengths, warm-ups, floors, plateaus."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal, NamedTuple

import numpy as np

from lehr.checks.finding import Finding
from lehr.converters.conversion import Given, finding
from lehr.errors import LehrError
from lehr.lengths import Horizon, LengthLike, whole_steps
from lehr.policy import Policy
from lehr.rules import metric, reduce_on_plateau
from lehr.rules.plateaus import Flavor, MarginMode
from lehr.schedules import Curve, Schedule, constant, hold, minimum, piecewise, warmup
from lehr.schedules.algebra import kind

__all__ = [
    "Plateau",
    "base_lr",
    "begun_inside",
    "chain",
    "horizon_of",
    "left",
    "length",
    "plateau",
    "rise",
    "share",
    "unending",
    "whole",
]

MOST_STEPS = 10**6  # of a warm-up that is looked at step by step


def length(amount: float | Fraction, unit: str = "steps") -> LengthLike:
    """A length: a plain integer for whole steps, else a text."""
    exact = Fraction(str(amount)) if isinstance(amount, float) else Fraction(amount)
    if unit == "steps" and exact.denominator == 1:
        return int(exact)
    return f"{int(exact)} {unit}" if exact.denominator == 1 else f"{float(exact)!r} {unit}"


def chain(*parts: Schedule | None) -> Schedule:
    """One after another; parts that are None are left out."""
    present = [part for part in parts if part is not None]
    if not present:
        return constant()
    return present[0] if len(present) == 1 else present[0].then(*present[1:])


def rise(
    steps: LengthLike,
    shape: Literal["linear", "cosine", "1-sqrt", "quadratic", "log"] = "linear",
    *,
    start: float = 0.0,
    zero_start: bool = True,
) -> Schedule | None:
    """A warm-up, or None where it has no length."""
    return warmup(steps, shape, start=start, zero_start=zero_start) if steps else None


def unending(schedule: Schedule) -> Schedule:
    """A schedule that does not end before the run: one with a length of its own holds its last value."""
    return schedule if kind(schedule) is not None else schedule.then(hold())


def left(total: int | None, used: int, horizon: Horizon | None) -> int | None:
    """The length of the last part: None, so that it fills, where the run ends with it."""
    if total is None or (horizon is not None and horizon.steps == total):
        return None
    return max(total - used, 0)


def share(lr: float, base: float | None, name: str, what: str) -> float:
    """An absolute LR as a factor of the base LR."""
    if lr == 0:
        return 0.0
    if not base:
        raise LehrError(f"{name}={lr:g} of {what} is an LR, and the base LR is not known; give convert(..., lr=...)")
    return lr / base


def base_lr(said: float | None, given: Given, what: str) -> tuple[float | None, list[Finding]]:
    """The base LR, and a finding where the source and the caller disagree."""
    if given.lr is None or said is None or given.lr == said:
        return (said if given.lr is None else given.lr), []
    reason = f"{what} says a base LR of {said:g}, and lr={given.lr:g} was given; the latter is taken"
    return given.lr, [finding("C101", "note", reason, "leave out lr= to take the source's")]


def horizon_of(total: int | None, given: Given, **facts: int | None) -> Horizon | None:
    """The run: what the caller says, else what the source says."""
    steps = total if given.steps is None else given.steps
    known = {name: value for name, value in facts.items() if value is not None}
    if given.steps_per_epoch is not None:
        known["steps_per_epoch"] = given.steps_per_epoch
    return None if steps is None and not known else Horizon(steps=steps, **known)


def begun_inside(
    count: int, after: Schedule, unit: str, start: float, lr: float | None, to_curve: bool = False
) -> Schedule:
    """A warm-up of `count` whole units over the beginning of `after`, which counts from 0 as if there were none.

    It rises to 1, or to the curve. It is the lower of the two wherever that is the same thing, and a switch from one
    to the other elsewhere.
    """
    seam = length(count, unit)
    if after.absolute and not lr:
        raise LehrError("a warm-up inside a schedule with a floor needs the base LR; give convert(..., lr=...)")
    curve = after.resolve(Horizon(steps_per_epoch=1) if unit == "epochs" else Horizon(), lr=lr)
    top = curve(count) if to_curve else 1.0
    warm: Schedule = warmup(seam, start=start / top if top else 0.0, zero_start=True)
    if top == 1 and _stays_below(count, curve, start):
        return minimum(warm if curve.length is not None else warm.then(hold()), after)
    rising = warm if top == 1 else warm.scaled(top)
    unending = after if curve.length is None else after.then(hold())
    return (rising * piecewise({seam: 0.0})).then(hold()) + piecewise({0: 0.0, seam: 1.0}) * unending


def _stays_below(count: int, curve: Curve, start: float) -> bool:
    """Whether the straight line from `start` to 1 over `count` units is never above the curve."""
    if count > MOST_STEPS or start > 1:
        return False
    units = np.arange(count)
    return bool(np.all(start + (1.0 - start) * units / count <= curve(units)))


def whole(amount: Fraction, shortest: Fraction, name: str, of: str) -> tuple[int, list[Finding]]:
    """An amount of steps, rounded as Lehr does, and a finding where that changes something.

    `shortest` is the shorter of the parts at this end: what the LR changes in a step there is at most π/2 of 1 in it.
    """
    steps = whole_steps(amount)
    if steps == amount:
        return steps, []
    off = 1.6 * float(abs(amount - steps)) / max(float(shortest), 1.0)
    reason = f"{name} of {of} ends within step {float(amount):g}; Lehr's parts end at whole steps, here at {steps}"
    return steps, [finding("C104", "note", reason, f"the LR differs by at most {off:.1e} of the peak")]


class Plateau(NamedTuple):
    """The numbers of a reduce-on-plateau callback."""

    name: str
    best: Literal["min", "max"]
    factor: float
    patience: int
    margin: float
    cooldown: int
    least: float
    flavor: Flavor
    mode: MarginMode | None = None  # of the margin; None: the flavor's own


def plateau(told: Plateau, before: Schedule | None = None) -> Policy:
    """The policy that cuts the LR when a metric stands still."""
    rule = reduce_on_plateau(
        metric(told.name, best=told.best),
        factor=told.factor,
        patience=told.patience,
        threshold=told.margin,
        threshold_mode=told.mode,
        cooldown=told.cooldown,
        flavor=told.flavor,
    )
    schedule = constant() if before is None else chain(before, hold())
    return Policy(schedule, [rule], min_lr=told.least or None)
