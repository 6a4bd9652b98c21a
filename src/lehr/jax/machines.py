"""Triggers as machines of arrays: what `Trigger.init`, `update` and `after_firing` are, where JAX can trace them.

A machine joins the table by `@machine.register`; a trigger that has none is refused when a controller is made. State is
a tree of numbers of fixed shapes; every branch is a choice between numbers. The triggers of `lehr.rules` say what is
right, and `tests/test_jax_machines.py` holds each machine against its trigger, decision by decision.

None of the triggers here forgets its evidence when another rule changes the LR (those that do are tests of a trend and
of a level with noise, whose memory has no fixed size), so there is no `after_change`.
"""

from __future__ import annotations

import functools as ft
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp

from lehr.errors import LehrError
from lehr.jax.wide import choose, rounded
from lehr.rules import Signal, Trigger
from lehr.rules.trigger import Always, And, Not, Or

__all__ = ["Machine", "Number", "Reading", "Sight", "Smooth", "better", "finite", "heeds", "machine", "read", "smooth"]


class Number(NamedTuple):
    """What was reported under a name."""

    value: Any
    new: Any  # whether there was a report
    bad: Any = 0  # non-finite reports that a mean leaves out


class Sight(NamedTuple):
    """What a rule is shown: an observation."""

    step: Any
    numbers: Mapping[str, Number]
    applied: Any  # whether it is shown anything now
    lr: Any  # for the next update


class Reading(NamedTuple):
    """What a trigger says of it."""

    holds: Any
    fresh: Any  # whether the trigger looked
    by: Any = 1.0  # the factor it proposes for the LR


class Machine(NamedTuple):
    """A trigger in JAX."""

    init: Any
    update: Callable[[Any, Sight], tuple[Any, Reading]]
    after_firing: Callable[[Any], Any]


@ft.singledispatch
def machine(trigger: Trigger) -> Machine:
    """The machine of a resolved trigger.

    Raises:
        LehrError: it has none.
    """
    raise LehrError(f"{trigger!r} keeps a memory that grows, or asks the host")


def heeds(trigger: Trigger, sight: Sight) -> Any:
    """Whether there is anything for it in what is shown."""
    if isinstance(trigger, Always):
        return sight.applied
    if isinstance(trigger, And | Or):
        return heeds(trigger.left, sight) | heeds(trigger.right, sight)
    if isinstance(trigger, Not):
        return heeds(trigger.inner, sight)
    return ft.reduce(jnp.logical_or, [sight.numbers[signal.name].new for signal in trigger.signals()])


class Smooth(NamedTuple):
    """Memory of a smoothed signal, as `lehr.rules.trigger.Smooth`."""

    mean: Any = 0.0
    weight: Any = 0.0


def smooth(signal: Signal) -> Any:
    """The memory of a signal before anything was seen."""
    return () if signal.span is None else Smooth()


def read(signal: Signal, memory: Any, sight: Sight) -> tuple[Any, Number]:
    """The signal's value, smoothed if it is so; what is not finite passes the smoothing by."""
    number = sight.numbers[signal.name]
    if signal.span is None:
        return memory, number
    keep = 1.0 - 2.0 / (signal.span + 1.0)
    mean = rounded(keep * memory.mean) + rounded((1.0 - keep) * number.value)
    weight = rounded(keep * memory.weight) + (1.0 - keep)
    heard = number.new & finite(number.value)
    memory = choose(heard, Smooth(mean, weight), memory)
    return memory, number._replace(value=jnp.where(heard, mean / weight, number.value))


def finite(value: Any) -> Any:
    """Whether it is a number, and not infinite."""
    return jnp.isfinite(value)


def better(signal: Signal, a: Any, b: Any) -> Any:
    """Whether a is better than b."""
    return a > b if signal.best == "max" else a < b


@machine.register
def _(trigger: Always) -> Machine:
    return Machine((), lambda state, sight: (state, Reading(True, sight.applied)), lambda state: state)


class PairState(NamedTuple):
    """Memory of two joined triggers."""

    left: Any
    right: Any
    acted: Any = False


@machine.register
def _(trigger: And) -> Machine:
    one, two = machine(trigger.left), machine(trigger.right)

    def update(state: PairState, sight: Sight) -> tuple[PairState, Reading]:
        left, a = one.update(state.left, sight)
        right, b = two.update(state.right, sight)
        holds = a.holds & b.holds
        acted = state.acted & holds
        return PairState(left, right, acted), Reading(holds & ~acted, a.fresh | b.fresh)

    def after_firing(state: PairState) -> PairState:
        left = state.left if trigger.left.lasts else one.after_firing(state.left)
        right = state.right if trigger.right.lasts else two.after_firing(state.right)
        return PairState(left, right, jnp.asarray(trigger.lasts))

    return Machine(PairState(one.init, two.init), update, after_firing)


@machine.register
def _(trigger: Or) -> Machine:
    one, two = machine(trigger.left), machine(trigger.right)

    def update(state: PairState, sight: Sight) -> tuple[PairState, Reading]:
        left, a = one.update(state.left, sight)
        right, b = two.update(state.right, sight)
        holds = a.holds | b.holds
        # What only stands does not fire again because the other trigger looked.
        fresh = jnp.where(holds, (a.holds & a.fresh) | (b.holds & b.fresh), a.fresh | b.fresh)
        return PairState(left, right, state.acted), Reading(holds, fresh)

    def after_firing(state: PairState) -> PairState:
        return PairState(one.after_firing(state.left), two.after_firing(state.right), state.acted)

    return Machine(PairState(one.init, two.init), update, after_firing)


class NotState(NamedTuple):
    """Memory of `~trigger`."""

    inner: Any
    acted: Any = False
    stands: Any = False


@machine.register
def _(trigger: Not) -> Machine:
    within = machine(trigger.inner)

    def update(state: NotState, sight: Sight) -> tuple[NotState, Reading]:
        inner, reading = within.update(state.inner, sight)
        holds = jnp.asarray(reading.holds)
        acted = state.acted & ~holds
        stands = jnp.where(reading.fresh, ~holds, state.stands)
        return NotState(inner, acted, stands), Reading(stands & ~acted, reading.fresh)

    return Machine(NotState(within.init), update, lambda state: state._replace(acted=True))
