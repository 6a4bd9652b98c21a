"""timm's schedules, each with its warm-up and its length in epochs.

Write w for the warm-up and T for `epochs`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from itertools import count, takewhile
from typing import NamedTuple

from lehr.converters.arguments import Arguments
from lehr.converters.parts import begun_inside, chain, length, rise, share
from lehr.errors import LehrError
from lehr.lengths import LengthLike
from lehr.schedules import (
    Schedule,
    constant,
    cosine,
    exp_cooldown,
    hold,
    inverse_sqrt,
    linear,
    multistep,
    one_minus_sqrt,
    polynomial,
    step_decay,
    tanh,
)

__all__ = ["SCHEDULES", "Plan"]

MOST_CUTS, MOST_CYCLES = 10_000, 1000


class Plan(NamedTuple):
    """The arguments that most schedules share; lengths in epochs."""

    args: Arguments
    unit: str
    per: int  # units in an epoch
    epochs: Fraction
    warm: Fraction
    prefix: bool
    low: float
    lr: float | None

    def units(self, epochs: Fraction) -> LengthLike:
        """So many epochs as a length in the unit of the schedule."""
        return length(epochs * self.per, self.unit)

    @property
    def first(self) -> float:
        """The factor at which the warm-up starts."""
        return share(self.args.number_or("warmup_lr", 0.0), self.lr, "warmup_lr", "timm")

    def floor(self, **more: float) -> dict[str, float]:
        """`min_lr`, as arguments of a segment."""
        return more | ({"to_lr": self.low} if self.low else {})

    def warmed(self, after: Schedule, *, to_curve: bool = False) -> Schedule:
        """The schedule with its warm-up: before it, or over its beginning (up to 1, or up to the curve)."""
        if not self.warm:
            return after
        if self.prefix:
            return chain(rise(self.units(self.warm), start=self.first), after)
        return begun_inside(int(self.warm * self.per), after, self.unit, self.first, self.lr, to_curve)


Made = tuple[Schedule, Fraction]  # the schedule, and its length in epochs


def _cosine(plan: Plan) -> Made:
    k = plan.args.number_or("lr_k_decay", 1.0)
    return _cycles(plan, lambda size, **ends: cosine(size, k=k, **ends))


def _poly(plan: Plan) -> Made:
    power, k = plan.args.needed("decay_rate"), plan.args.number_or("lr_k_decay", 1.0)
    return _cycles(plan, lambda size, **ends: polynomial(size, power=power, k=k, **ends))


def _tanh(plan: Plan) -> Made:
    return _cycles(plan, tanh, ends_above=True)


def _cycles(plan: Plan, one: Callable[..., Schedule], ends_above: bool = False) -> Made:
    """Cycles that grow by `lr_cycle_mul` with peaks that shrink by `lr_cycle_decay`, then `min_lr`.

    `ends_above`: a cycle ends a little above `min_lr`, so that the LR jumps down at the end.
    """
    size = plan.units(plan.epochs)
    cycles, grow = plan.args.count_or("lr_cycle_limit", 1, 1), plan.args.number_or("lr_cycle_mul", 1.0)
    if cycles > MOST_CYCLES:
        raise LehrError(f"timm's cycles are read up to {MOST_CYCLES} of them, got lr_cycle_limit={cycles}")
    shrink = plan.args.number("lr_cycle_decay")
    shrink = 1.0 if shrink is None or cycles == 1 else shrink
    curve = one(size, **plan.floor())
    if cycles > 1 and (shrink == 1 or not plan.low):
        curve = curve.repeat(cycles, stretch=grow, scale=shrink)
    elif cycles > 1:  # the peaks shrink, the floor does not
        risen = one(size, start=0.0, **plan.floor()).repeat(cycles, stretch=grow)
        curve = one(size).repeat(cycles, stretch=grow, scale=shrink) + risen
    if ends_above:
        curve = curve.then(constant(share(plan.low, plan.lr, "min_lr", "timm")))
    ratio = Fraction(str(grow))
    total = plan.epochs * sum((ratio**i for i in range(cycles)), Fraction(0))
    return plan.warmed(curve, to_curve=ends_above), total + (plan.warm if plan.prefix else 0)


def _step(plan: Plan) -> Made:
    asked, rate = plan.args.amount("decay_epochs"), plan.args.needed("decay_rate")
    every = Fraction(90) if asked is None else asked
    if not every:
        raise LehrError("decay_epochs of timm's step schedule must be above 0, got 0")
    total = plan.epochs + (plan.warm if plan.prefix else 0)
    units = every * plan.per
    if units.denominator == 1:
        return plan.warmed(step_decay(length(units, plan.unit), rate)), total
    if plan.epochs * plan.per / units > MOST_CUTS:
        raise LehrError(f"decay_epochs of timm's step schedule makes more than {MOST_CUTS} cuts, got {float(every):g}")
    firsts = takewhile(lambda at: at < plan.epochs * plan.per, (math.ceil(i * units) for i in count(1)))
    points = [length(Fraction(at), plan.unit) for at in firsts]
    return plan.warmed(multistep(points, rate) if points else hold()), total


def _multistep(plan: Plan) -> Made:
    rate = plan.args.needed("decay_rate")
    points = [Fraction(str(item)) * plan.per - 1 for item in plan.args.numbers("decay_milestones")]
    if not points:
        raise LehrError("timm's multistep schedule needs decay_milestones, got none")
    curve = multistep([length(Fraction(max(math.ceil(at), 0)), plan.unit) for at in points], rate)
    return plan.warmed(curve), plan.epochs + (plan.warm if plan.prefix else 0)


def _wsd(plan: Plan) -> Made:
    return _stable_decay(plan, "1-sqrt", None)


def _rsqrt(plan: Plan) -> Made:
    scale = plan.args.amount("lr_stable_timescale") or plan.warm
    if not scale:
        raise LehrError("timm's rsqrt needs lr_stable_timescale where there is no warm-up; add it")
    return _stable_decay(plan, "linear", inverse_sqrt(plan.units(scale)))


def _stable_decay(plan: Plan, usual: str, stable: Schedule | None) -> Made:
    """The warm-up is always before the rest; without `warmup_prefix` the rest is shorter by it."""
    plan.args.get("lr_stable_timescale")
    rest = (plan.epochs if plan.prefix else plan.epochs - plan.warm) * plan.per
    wished = plan.args.amount("decay_epochs")
    asked = Fraction(1, 5) if wished is None else wished
    decay = round(float(asked * rest if asked < 1 else asked * plan.per))
    if not 0 < decay <= rest:
        raise LehrError(f"timm needs a decay of 1 to {float(rest):g} {plan.unit} here, got {decay}; see decay_epochs")
    size, flat = length(Fraction(decay), plan.unit), length(rest - decay, plan.unit)
    shapes: dict[str, Callable[..., Schedule]] = {
        "1-sqrt": one_minus_sqrt,
        "linear": linear,
        "cosine": cosine,
        "power": one_minus_sqrt,
        "exp": exp_cooldown,
    }
    shape = shapes[plan.args.word("lr_decay_fn", shapes) or usual]
    before = hold(flat) if rest > decay else None
    if stable is None:
        body = chain(before, shape(size, **plan.floor()))
    elif not plan.low:
        body = stable * chain(before, shape(size))
    else:  # floor + (stable − floor)·g, with a stable part that is never below the floor
        floor = share(plan.low, plan.lr, "min_lr", "timm")
        rising = chain(None if before is None else before.scaled(0.0), shape(size, start=0.0, to=floor))
        body = stable.clip(floor) * chain(before, shape(size)) + rising
    total = plan.warm + rest / plan.per
    return chain(rise(plan.units(plan.warm), start=plan.first) if plan.warm else None, body), total


SCHEDULES: dict[str, Callable[[Plan], Made]] = {
    "cosine": _cosine,
    "multistep": _multistep,
    "poly": _poly,
    "rsqrt": _rsqrt,
    "step": _step,
    "tanh": _tanh,
    "wsd": _wsd,
}
