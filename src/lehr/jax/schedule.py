"""A policy without rules as an optax schedule: a pure function of the count of updates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lehr.errors import LehrError
from lehr.jax.wide import in_64_bits
from lehr.lengths import Horizon, as_horizon
from lehr.plan import Plan
from lehr.policy import Policy, PolicyLike
from lehr.schedules.schedule import INT64_MAX, number
from lehr.spelling import shown
from lehr.text import as_policy

__all__ = ["base_lr", "schedule"]


def schedule(
    policy: PolicyLike | str,
    lr: float,
    *,
    steps: int | None = None,
    horizon: Horizon | None = None,
) -> Callable[[Any], jax.Array]:
    """An optax schedule: count of updates → LR; pass it wherever optax takes a `learning_rate`.

    It can be traced by `jit`, `scan`, `vmap`, `grad`. It computes in 64 bits, whatever JAX is set to, and rounds once:
    in float32 its LRs are those of `lehr.start` rounded to float32, at update 2**31 − 1 as at update 0.

    Args:
        policy: a schedule, its text, or a policy without rules (its bounds hold, outside the leading warm-up).
        lr: the base LR, ≥ 0.
        steps: updates in the run; short for `horizon=Horizon(steps=...)`, never both.
        horizon: the facts of the run.

    Returns:
        A function of an integer or an array of them; below 0 (`optax.join_schedules` asks) it is as at 0. Its values
        have JAX's default float type.

    Raises:
        LehrError: a policy that needs more than a count (rules, groups, hyperparameters), or cannot be resolved. From
            the function: counts that are not integers, or an LR that float32 cannot hold.

    Example:
        >>> import optax
        >>> rate = schedule("warmup(10).then(cosine())", lr=0.5, steps=100)
        >>> optimizer = optax.adamw(rate)
        >>> rate(9), rate(100)
        (Array(0.5, dtype=float32), Array(0., dtype=float32))
    """
    plan = Plan.of(_without_rules(policy), as_horizon(steps, horizon), (base_lr(lr, "schedule"),))
    (curve,), (base,), warmup, (low, high) = plan.curves, plan.bases, plan.warmup, plan.bounds(0)

    def rate(count: Any) -> jax.Array:
        """The LR of update `count`."""
        kind = jnp.asarray(0.0).dtype
        if base * curve.bound > float(np.finfo(kind).max):
            raise LehrError(f"this LR may grow to {base * curve.bound:.3g}, beyond {kind}; use .clip(high=...)")
        count = _counted(count)
        with in_64_bits():
            values = base * curve(count)
            if low is not None or high is not None:
                values = jnp.where(count < warmup, values, jnp.clip(values, low, high))
            return jnp.asarray(values, dtype=kind)

    return rate


def _without_rules(given: PolicyLike | str) -> Policy:
    policy = as_policy(given)
    if not isinstance(policy, Policy):
        raise LehrError(
            f"an optax schedule is one LR for all parameters, got {shown(policy)}; make one of each member and join "
            "them by label: optax.partition({'head': optax.adamw(schedule(...)), 'body': ...}, labels)"
        )
    if policy.rules:
        raise LehrError(
            f"an optax schedule hears nothing, and this policy has rules: {shown(policy)}; use lehr.jax.controller("
            "policy, ...), which decides inside jit, or lehr.jax.hosted(lehr.start(policy, ...)), which asks the host"
        )
    return policy


def base_lr(lr: Any, where: str) -> float:
    """The base LR, a number of the host.

    Raises:
        LehrError: it is an array, or negative.
    """
    if isinstance(lr, jax.Array):
        raise LehrError(
            f"{where}(lr=...) must be a number, got {lr}; write float(lr), or where it is traced (a sweep by vmap) "
            f"optax.chain(..., {where} with lr=1.0, optax.scale(lr))"
        )
    base = number(lr, f"{where}(lr=...)")
    if base < 0:
        raise LehrError(f"{where}(lr=...) must be at least 0, got {lr!r}")
    return base


def _counted(count: Any) -> jax.Array:
    """Counts as an array of JAX."""
    if isinstance(count, jax.Array):
        # What the host gave to `vmap` is still there with 64 bits, whatever its type says, until it is computed with.
        return jnp.maximum(count, jnp.zeros_like(count))
    count = np.asarray(count)
    if count.dtype.kind not in "iu" or (count.size and count.max() > INT64_MAX):
        raise LehrError(f"counts must be integers, got {shown(count)}; count updates from 0")
    with in_64_bits():
        return jnp.asarray(count)
