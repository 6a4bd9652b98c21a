"""Rules in JAX: `Rule.update` and the actions on the gain, of arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

import lehr.jax.counts
import lehr.jax.medians
import lehr.jax.triggers  # noqa: F401  # the machines of all three join the table
from lehr.errors import LehrError
from lehr.jax.machines import Sight, heeds, machine
from lehr.jax.wide import choose, rounded
from lehr.rules import Begin, Follow, Rollback, Rule, Scale
from lehr.rules.actions import Relax, Saturate

__all__ = ["LARGEST_GAIN", "RuleMemory", "Step", "change", "check", "stepper"]

LARGEST_GAIN = 1e30  # so that an LR stays a finite float32


class RuleMemory(NamedTuple):
    """As `lehr.rules.RuleState`; -1: never."""

    trigger: Any
    fired: Any = 0  # how often
    last: Any = -1  # the update after which it last fired
    seen: Any = 0  # observations with something for its trigger
    quiet: Any = 0  # such observations for which it still rests


Step = Callable[[RuleMemory, Sight], tuple[RuleMemory, Any, Any]]  # the memory, whether it fires, the factor proposed


def check(rule: Rule, resolved: Rule) -> None:
    """Refuse what cannot be done inside jit.

    Raises:
        LehrError: the rule asks for it; the text names rule and remedy.
    """
    reason = ""
    try:
        machine(resolved.trigger)
    except LehrError as refused:
        reason = str(refused)
    if any(signal.every is not None for signal in rule.trigger.signals()):
        reason = "evaluation(...) calls a function of yours on the host; report the number, and read it by metric(...)"
    if not rule.shadow and isinstance(rule.action, Begin):
        reason = "begin(...) makes another curve when it fires"
    if not rule.shadow and (isinstance(rule.action, Rollback) or getattr(rule.action, "by_hand", False)):
        reason = "it restores weights, which lie outside of the optimiser's state"
    if reason:
        raise LehrError(
            f"{rule!r} cannot run inside jit: {reason}. Run it on the host: lehr.jax.hosted(lehr.start(policy, ...))"
        )


def stepper(rule: Rule) -> tuple[RuleMemory, Step]:
    """The memory of a resolved rule before anything was seen, and its transition."""
    trigger = machine(rule.trigger)
    pause = 0 if rule.pause is None else int(rule.pause.amount)
    rests = pause if rule.pause is not None and rule.pause.unit == "observations" else 0
    steps = 0 if rests else pause

    def asleep(state: RuleMemory, step: Any) -> Any:
        sleeps = state.quiet > 0
        if rule.not_before is not None:
            position = state.seen if rule.not_before.unit == "observations" else step + 1
            sleeps |= position <= int(rule.not_before.amount)
        if steps:
            sleeps |= (state.last >= 0) & (step <= state.last + steps)
        return sleeps

    def update(state: RuleMemory, sight: Sight) -> tuple[RuleMemory, Any, Any]:
        heard = heeds(rule.trigger, sight)
        seen = state._replace(seen=state.seen + 1)
        over = jnp.asarray(False) if rule.limit is None else state.fired >= rule.limit
        sleeps = asleep(seen, sight.step)
        memory, reading = trigger.update(state.trigger, sight)
        fires = jnp.asarray(reading.holds) & reading.fresh
        left = memory if rule.literal else choose(fires, trigger.after_firing(memory), memory)
        awake = RuleMemory(
            left,
            seen.fired + fires,
            jnp.where(fires, sight.step, state.last),
            seen.seen,
            jnp.where(fires, rests, state.quiet),
        )
        resting = seen._replace(quiet=jnp.maximum(state.quiet - 1, 0))
        after = choose(over, seen, choose(sleeps, resting, awake))
        acts = heard & ~over & ~sleeps & fires
        return choose(heard, after, state), acts, reading.by

    return RuleMemory(trigger.init), update


def change(rule: Rule, gain: Any, lr: Any, by: Any) -> Any:
    """The gain after the rule's action, of one LR."""
    action, wanted = rule.action, gain
    if isinstance(action, Scale | Follow):
        wanted = jnp.minimum(gain * (action.k if isinstance(action, Scale) else by), LARGEST_GAIN)
    elif isinstance(action, Saturate):
        wanted = gain * jnp.minimum(1.0, action.eta * lr / (lr + action.eps))
    elif isinstance(action, Relax):
        wanted = gain * (1.0 - action.eta * lr / (lr + action.eps))
    if isinstance(action, Saturate | Relax):
        wanted = jnp.where(lr > 0, wanted, gain)
    wanted = rounded(wanted)
    if rule.bounds is None:
        return wanted
    low, high = rule.bounds
    return jnp.minimum(jnp.maximum(wanted, jnp.minimum(gain, low)), jnp.maximum(gain, high))
