"""Policies: a schedule times rules, as a value; for one group, for several (`groups`), for several targets (`bind`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from lehr.errors import LehrError
from lehr.lengths import Horizon
from lehr.rules import Rule
from lehr.schedules import Curve, Schedule, constant
from lehr.schedules.shape import number
from lehr.spelling import Value

__all__ = ["Bind", "Groups", "Policy", "PolicyLike", "bind", "groups", "tracks"]

Bound = float | tuple[float, ...] | None


@dataclass(frozen=True, repr=False, init=False)
class Policy(Value):
    """A schedule times any number of rules, within bounds.

    Args:
        schedule: the open loop.
        rules: the closed loop; each must have an action. All see the same observation, in this order.
        min_lr: the least LR that is written, one number or one per group; the schedule's own values are bounded too,
            except during the leading warm-up.
        max_lr: the largest, likewise.

    Raises:
        LehrError: not a schedule, a rule without an action, or bounds that are negative or crossed.

    Example:
        >>> import lehr
        >>> slow = lehr.when(lehr.loss.improves_less_than(0.01, over="200 steps")).scale(0.5)
        >>> Policy(lehr.constant(), rules=[slow], min_lr=1e-6)
        Policy(constant(), rules=[when(loss.improves_less_than(0.01, 200)).scale(0.5)], min_lr=1e-06)
    """

    schedule: Schedule
    rules: tuple[Rule, ...]
    min_lr: Bound
    max_lr: Bound

    def __init__(
        self,
        schedule: Schedule,
        rules: list[Rule] | tuple[Rule, ...] = (),
        *,
        min_lr: float | list[float] | tuple[float, ...] | None = None,
        max_lr: float | list[float] | tuple[float, ...] | None = None,
    ) -> None:
        if not isinstance(schedule, Schedule):
            raise LehrError(f"Policy(schedule) must be a schedule such as cosine(), got {schedule!r}")
        if isinstance(rules, Rule) or not isinstance(rules, list | tuple):
            raise LehrError(f"Policy(rules=...) must be a list of rules, got {rules!r}; write rules=[...]")
        for rule in rules:
            if not isinstance(rule, Rule) or rule.action is None:
                raise LehrError(
                    f"Policy(rules=...) needs rules with an action, got {rule!r}; add one, such as .scale(0.5)"
                )
        low, high = _bound(min_lr, "min_lr"), _bound(max_lr, "max_lr")
        if isinstance(low, tuple) and isinstance(high, tuple) and len(low) != len(high):
            raise LehrError(f"Policy(min_lr=..., max_lr=...) must have one number per group each, got {low} and {high}")
        if low is not None and high is not None and np.any(np.asarray(low) > np.asarray(high)):
            raise LehrError(f"Policy(min_lr=..., max_lr=...) must have min_lr <= max_lr, got {low!r} and {high!r}")
        for name, value in (("schedule", schedule), ("rules", tuple(rules)), ("min_lr", low), ("max_lr", high)):
            object.__setattr__(self, name, value)

    def text(self, full: bool = False) -> str:
        """`Policy(schedule, rules=[...], min_lr=..., max_lr=...)`."""
        parts = [self.schedule.text(full)]
        if self.rules or full:
            parts.append(f"rules=[{', '.join(rule.text(full) for rule in self.rules)}]")
        for name, value in (("min_lr", self.min_lr), ("max_lr", self.max_lr)):
            if value is not None or full:
                parts.append(f"{name}={list(value) if isinstance(value, tuple) else value!r}")
        return f"Policy({', '.join(parts)})"

    def resolve(self, horizon: Horizon | None = None, *, steps: int | None = None, lr: float | None = None) -> Curve:
        """The curve of its schedule; see `Schedule.resolve`."""
        return self.schedule.resolve(horizon, steps=steps, lr=lr)


@dataclass(frozen=True, repr=False)
class Groups(Value):
    """A policy for each parameter group; made by `groups(...)`."""

    members: tuple[tuple[str | int, PolicyLike], ...]

    def text(self, full: bool = False) -> str:
        """`groups(p0, p1)` or `groups(head=p, default=q)`."""
        inside = [p.text(full) if isinstance(name, int) else f"{name}={p.text(full)}" for name, p in self.members]
        return f"groups({', '.join(inside)})"

    def of(self, name: str, index: int, count: int) -> PolicyLike:
        """The policy of the group `name` at `index` of `count`.

        Raises:
            LehrError: no member matches it.
        """
        members = dict(self.members)
        if 0 in members:
            if len(members) != count:
                raise LehrError(f"groups(...) by order has {len(members)} policies for {count} parameter groups")
            return members[index]
        if name in members:
            return members[name]
        if "default" in members:
            return members["default"]
        raise LehrError(
            f"parameter group {index} is named {name!r} and no policy is; named are {', '.join(map(repr, members))}. "
            'Give groups(..., default=policy), or set group["name"]'
        )


@dataclass(frozen=True, repr=False)
class Bind(Value):
    """A policy for each hyperparameter; made by `bind(...)`."""

    members: tuple[tuple[str, PolicyLike], ...]

    def text(self, full: bool = False) -> str:
        """`bind(lr=p, momentum=s)`."""
        return f"bind({', '.join(f'{name}={policy.text(full)}' for name, policy in self.members)})"


PolicyLike = Policy | Groups | Bind | Schedule | Rule


def groups(*by_order: PolicyLike, **by_name: PolicyLike) -> Groups:
    """A policy for each parameter group of the optimiser.

    Args:
        by_order: one policy (or schedule, or rule) a group, in the optimiser's order.
        by_name: by `group["name"]`; `default` is for all others.

    Raises:
        LehrError: none, both kinds, or something that is no policy.

    Example:
        >>> import lehr
        >>> groups(head=lehr.cosine(), default=lehr.constant(0.1))
        groups(head=cosine(), default=constant(0.1))
    """
    if bool(by_order) == bool(by_name):
        raise LehrError("groups(...) takes policies by order or by name: groups(p0, p1) or groups(head=p, default=q)")
    members = tuple(enumerate(by_order)) + tuple(by_name.items())
    for name, policy in members:
        _check_policy(policy, f"groups({name}=...)")
    return Groups(members)


def bind(**targets: PolicyLike) -> Bind:
    """A policy for each hyperparameter of the optimiser's groups; each value is base × factor × gain, as the LR is.

    Args:
        targets: by the name in the group: `lr`, `momentum`, `weight_decay`, …

    Raises:
        LehrError: none, or something that is no policy, or a `bind` inside a `bind`.

    Example:
        >>> import lehr
        >>> bind(lr=lehr.cosine(), momentum=lehr.linear(to=0.9))
        bind(lr=cosine(), momentum=linear(to=0.9))
    """
    if not targets:
        raise LehrError("bind(...) needs at least one hyperparameter, such as bind(lr=cosine(), momentum=constant())")
    for name, policy in targets.items():
        _check_policy(policy, f"bind({name}=...)")
    return Bind(tuple(targets.items()))


def tracks(policy: PolicyLike, names: tuple[str, ...]) -> list[tuple[str, Policy, tuple[int, ...]]]:
    """What governs what: (hyperparameter, policy, indices of groups), groups under one policy together.

    Raises:
        LehrError: a group is governed by nothing, or a hyperparameter twice.
    """
    found: dict[tuple[str, Policy], list[int]] = {}
    for index in range(len(names)):
        for target, part in _governing(policy, names, index, None):
            found.setdefault((target, part), []).append(index)
    return [(target, part, tuple(indices)) for (target, part), indices in found.items()]


def _governing(
    policy: PolicyLike, names: tuple[str, ...], index: int, target: str | None
) -> Iterator[tuple[str, Policy]]:
    if isinstance(policy, Groups):
        yield from _governing(policy.of(names[index], index, len(names)), names, index, target)
    elif isinstance(policy, Bind):
        if target is not None:
            raise LehrError(f"bind(...) inside bind({target}=...) names a hyperparameter twice; keep one bind")
        for name, part in policy.members:
            yield from _governing(part, names, index, name)
    elif isinstance(policy, Policy):
        yield target or "lr", policy
    elif isinstance(policy, Schedule):
        yield target or "lr", Policy(policy)
    else:
        yield target or "lr", Policy(constant(), [policy])


def _check_policy(value: Any, what: str) -> None:
    if not isinstance(value, Policy | Groups | Bind | Schedule | Rule):
        raise LehrError(f"{what} must be a policy, a schedule or a rule, got {value!r}; lehr.parse(text) reads a text")


def _bound(value: Any, name: str) -> Bound:
    if value is None:
        return None
    numbers = [number(item, f"Policy({name}=...)") for item in (value if isinstance(value, list | tuple) else [value])]
    if not numbers or min(numbers) < 0:
        raise LehrError(f"Policy({name}=...) must be at least 0, got {value!r}")
    return tuple(numbers) if isinstance(value, list | tuple) else numbers[0]
