"""Reports in JAX: what a call of `update` was told, and its sums from one cadence point to the next."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp

from lehr.errors import LehrError
from lehr.jax.machines import Number, finite
from lehr.jax.wide import choose

__all__ = ["Report", "Sum", "Window", "gathered", "numbers", "report"]


class Report(NamedTuple):
    """A number that is new at some updates only; made by `report`."""

    value: Any
    when: Any


def report(value: Any, when: Any) -> Report:
    """A number for the rules that is not new at every update, such as a metric of a validation every 100 steps.

    A plain number given to `update` is always a report, NaN and infinity too: `diverges()` is their trigger.

    Args:
        value: one number; it is not looked at where `when` is false.
        when: a flag, or an array of one.

    Example:
        >>> import lehr.jax
        >>> policy = lehr.when(lehr.metric("val_loss", best="min").plateaus(3)).scale(0.5)
        >>> tx = lehr.jax.controller(policy, lr=0.1, steps=1000)
        >>> state = tx.init(1.0)
        >>> updates, state = tx.update(1.0, state, val_loss=lehr.jax.report(0.7, when=False))
    """
    return Report(value, when)


def numbers(given: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Number]:
    """What was reported of these signals, in 64 bits; `value` is the loss.

    Raises:
        LehrError: more than one number under a name, or the loss twice.
    """
    if "value" in given and "loss" in given:
        raise LehrError("update(value=..., loss=...) gives the loss twice; keep value=")
    found: dict[str, Number] = {}
    for name in names:
        key = "value" if name == "loss" and "value" in given else name
        item = given.get(key)
        value, when = item if isinstance(item, Report) else (item, item is not None)
        array = jnp.asarray(0.0 if value is None else value)
        if array.size != 1 or jnp.size(when) != 1:
            raise LehrError(f"{key} must be one number, got an array of the shape {array.shape}; give its .mean()")
        found[name] = Number(array.reshape(()), jnp.asarray(when, dtype=bool).reshape(()))
    return found


class Sum(NamedTuple):
    """As `lehr.gather.Sum`."""

    total: Any = 0.0
    finite: Any = 0
    bad: Any = 0
    low: Any = math.inf
    high: Any = -math.inf

    def plus(self, value: Any) -> Sum:
        """One report more."""
        low, high = jnp.minimum(self.low, value), jnp.maximum(self.high, value)
        more = Sum(self.total + value, self.finite + 1, self.bad, low, high)
        return choose(finite(value), more, self._replace(bad=self.bad + 1))

    @property
    def number(self) -> Number:
        """What the rules hear of it: the mean of the finite reports, NaN if there are none."""
        mean = jnp.clip(self.total / self.finite, self.low, self.high)
        return Number(jnp.where(self.finite > 0, mean, math.nan), self.finite + self.bad > 0, self.bad)


class Window(NamedTuple):
    """What was reported since the rules last heard of the run; -1: nothing."""

    sums: dict[str, Sum]
    since: Any = -1


def gathered(window: Window, step: Any, new: Mapping[str, Number], awake: int) -> Window:
    """The window with the reports of a step, if anybody will hear of them."""
    heard = {name: number.new & (step >= awake) for name, number in new.items()}
    since = window.since
    sums = dict(window.sums)
    for name, number in new.items():
        since = jnp.where(heard[name] & (since < 0), step, since)
        sums[name] = choose(heard[name], sums[name].plus(number.value), sums[name])
    return Window(sums, since)
