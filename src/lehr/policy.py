"""Policies: a schedule times rules, as a value; for one group, for several (`groups`), for several targets (`bind`)."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from keyword import iskeyword
from typing import Any

import numpy as np

from lehr.errors import LehrError
from lehr.lengths import Horizon, Length, LengthLike, as_length
from lehr.rules import Rule
from lehr.rules.common import put
from lehr.schedules import Curve, Schedule, constant
from lehr.schedules.shape import number
from lehr.spelling import Value, shown, spell

__all__ = ["Bind", "Facts", "Groups", "Policy", "PolicyLike", "bind", "groups", "tracks"]

Bound = float | tuple[float, ...] | None
Facts = Mapping[str, Any]  # of a parameter group: its "name", and numbers

TARGET = re.compile(r"[A-Za-z_]\w*(\[\d\])?")
COMPARISON = re.compile(r"\s*([A-Za-z_]\w*)\s*(==|!=|<=|>=|<|>)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*")
COMPARE = {
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}


@dataclass(frozen=True, repr=False, init=False)
class Policy(Value):
    """A schedule times any number of rules, within bounds.

    Args:
        schedule: the open loop.
        rules: the closed loop; each must have an action. All see the same observation, in this order.
        min_lr: the least LR that is written, one number or one per group; the schedule's own values are bounded too,
            except during the leading warm-up.
        max_lr: the largest, likewise.
        cadence: how often the rules hear of the run, a positive length in any unit but observations. After update t,
            if t + 1 is a multiple of it, they hear the mean of all finite reports of each name since the last time (NaN
            if none was finite), and how many were not. So what is reported in between is heard at most cadence − 1
            steps later, a loss on a GPU is read once a cadence, and many ranks speak with each other once a cadence.
            Default: every report is heard at once; `cadence=1` differs in that `observe` waits for its update. Counts
            of observations (patience, `"5 observations"`) count what the rules hear.

    Raises:
        LehrError: not a schedule, a rule without an action, bounds that are negative or crossed, or a cadence of zero.

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
    cadence: Length | None

    def __init__(
        self,
        schedule: Schedule,
        rules: list[Rule] | tuple[Rule, ...] = (),
        *,
        min_lr: float | list[float] | tuple[float, ...] | None = None,
        max_lr: float | list[float] | tuple[float, ...] | None = None,
        cadence: LengthLike | Length | None = None,
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
        beat = None if cadence is None else as_length(cadence, "Policy(cadence=...)")
        if beat is not None and beat.amount == 0:
            raise LehrError("Policy(cadence=...) must be a positive length, got 0; leave it out to hear every report")
        put(self, schedule=schedule, rules=tuple(rules), min_lr=low, max_lr=high, cadence=beat)

    def text(self, full: bool = False) -> str:
        """`Policy(schedule, rules=[...], min_lr=..., max_lr=..., cadence=...)`."""
        parts = [self.schedule.text(full)]
        if self.rules or full:
            parts.append(f"rules=[{', '.join(rule.text(full) for rule in self.rules)}]")
        for name, value in (("min_lr", self.min_lr), ("max_lr", self.max_lr)):
            if value is not None or full:
                parts.append(f"{name}={list(value) if isinstance(value, tuple) else value!r}")
        if self.cadence is not None or full:
            parts.append(f"cadence={spell(self.cadence)}")
        return f"Policy({', '.join(parts)})"

    def resolve(self, horizon: Horizon | None = None, *, steps: int | None = None, lr: float | None = None) -> Curve:
        """The curve of its schedule; see `Schedule.resolve`."""
        return self.schedule.resolve(horizon, steps=steps, lr=lr)


@dataclass(frozen=True, repr=False)
class Groups(Value):
    """A policy for each parameter group; made by `groups(...)`."""

    members: tuple[tuple[str | int, PolicyLike], ...]
    ordered: bool = False

    def text(self, full: bool = False) -> str:
        """`groups(p0, p1)`, `groups(head=p, default=q)` or `groups({0: p, "head*": q})`."""
        if self.ordered:
            return f"groups({', '.join(policy.text(full) for _, policy in self.members)})"
        return f"groups({_named(self.members, full)})"

    def of(self, group: Facts, index: int, count: int) -> PolicyLike:
        """The policy of the group at `index` of `count`; of several that match, the first.

        Raises:
            LehrError: no member matches it.
        """
        if self.ordered:
            if len(self.members) != count:
                raise LehrError(f"groups(...) by order has {len(self.members)} policies for {count} parameter groups")
            return self.members[index][1]
        for key, policy in self.members:
            if key != "default" and _matches(key, group, index):
                return policy
        members = dict(self.members)
        if "default" in members:
            return members["default"]
        raise LehrError(
            f"parameter group {index} is named {group.get('name', '')!r} and no policy is for it; there are "
            f'{", ".join(map(repr, members))}. Give groups(..., default=policy), or set group["name"]'
        )


@dataclass(frozen=True, repr=False)
class Bind(Value):
    """A policy for each hyperparameter; made by `bind(...)`."""

    members: tuple[tuple[str, PolicyLike], ...]

    def text(self, full: bool = False) -> str:
        """`bind(lr=p, momentum=s)` or `bind({"lr": p, "betas[0]": s})`."""
        return f"bind({_named(self.members, full)})"


PolicyLike = Policy | Groups | Bind | Schedule | Rule


def groups(*by_order: PolicyLike | Mapping[str | int, PolicyLike], **by_name: PolicyLike) -> Groups:
    """A policy for each parameter group of the optimiser.

    Args:
        by_order: one policy (or schedule, or rule) a group, in the optimiser's order. Or one dict, whose keys say which
            groups are meant: an index; a pattern of `group["name"]` such as "head*"; a comparison of a hyperparameter
            with a number such as "weight_decay == 0" (==, !=, <, <=, >, >=); "default" for all others. The first that
            matches counts.
        by_name: by `group["name"]`; `default` is for all others.

    Raises:
        LehrError: none, several kinds at once, a key that is none of these, or something that is no policy.

    Example:
        >>> import lehr
        >>> groups(head=lehr.cosine(), default=lehr.constant(0.1))
        groups(head=cosine(), default=constant(0.1))
        >>> groups({0: lehr.constant(0.1), "weight_decay == 0": lehr.linear(), "default": lehr.cosine()})
        groups({0: constant(0.1), 'weight_decay == 0': linear(), 'default': cosine()})
    """
    by_key = by_order[0] if len(by_order) == 1 and isinstance(by_order[0], Mapping) else None
    if bool(by_order) == bool(by_name):
        raise LehrError("groups(...) takes policies by order or by name: groups(p0, p1) or groups(head=p, default=q)")
    members: tuple[tuple[Any, Any], ...] = tuple(by_name.items())
    if by_key is not None:
        members = tuple(by_key.items())
    elif by_order:
        members = tuple(enumerate(by_order))
    if not members:
        raise LehrError("groups({...}) needs at least one policy, got an empty dict")
    for key, policy in members:
        _check_key(key)
        _check_policy(policy, f"groups({key}=...)")
    return Groups(members, ordered=bool(by_order) and by_key is None)


def bind(targets: Mapping[str, PolicyLike] | None = None, /, **by_name: PolicyLike) -> Bind:
    """A policy for each hyperparameter of the optimiser's groups; each value is base × factor × gain, as the LR is.

    Args:
        targets: by the name in the group, as a dict: needed for one of several numbers, such as "betas[0]".
        by_name: the same as arguments: `lr`, `momentum`, `weight_decay`, …

    Raises:
        LehrError: none, something that is no policy, a name that is none, one given twice, or a `bind` inside a `bind`.

    Example:
        >>> import lehr
        >>> bind(lr=lehr.cosine(), momentum=lehr.linear(to=0.9))
        bind(lr=cosine(), momentum=linear(to=0.9))
        >>> bind({"lr": lehr.cosine(), "betas[0]": lehr.linear(to=0.9)})
        bind({'lr': cosine(), 'betas[0]': linear(to=0.9)})
    """
    if targets is not None and not isinstance(targets, Mapping):
        raise LehrError(f'bind(...) takes names or a dict: bind(lr=p) or bind({{"betas[0]": p}}), got {shown(targets)}')
    members = (*(targets or {}).items(), *by_name.items())
    if not members:
        raise LehrError("bind(...) needs at least one hyperparameter, such as bind(lr=cosine(), momentum=constant())")
    for name, policy in members:
        if not isinstance(name, str) or not TARGET.fullmatch(name):
            raise LehrError(f'bind(...) must name hyperparameters such as "momentum" or "betas[0]", got {shown(name)}')
        _check_policy(policy, f"bind({name}=...)")
    if len({name for name, _ in members}) < len(members):
        raise LehrError(f"bind(...) names a hyperparameter twice: {', '.join(name for name, _ in members)}; keep one")
    return Bind(members)


def tracks(policy: PolicyLike, groups: Sequence[Facts]) -> list[tuple[str, Policy, tuple[int, ...]]]:
    """What governs what: (hyperparameter, policy, indices of groups), groups under one policy together.

    Args:
        policy: of the run.
        groups: what is known of each parameter group: its "name", and numbers that policies may compare.

    Raises:
        LehrError: a group is governed by nothing, or a hyperparameter twice.
    """
    changing = _compared(policy) & {"lr", *_targets(policy)}
    if changing:
        name = min(changing)
        raise LehrError(f"groups(...) compares {name!r}, which this policy changes in the run; use an index or a name")
    found: dict[tuple[str, Policy], list[int]] = {}
    for index in range(len(groups)):
        for target, part in _governing(policy, groups, index, None):
            found.setdefault((target, part), []).append(index)
    return [(target, part, tuple(indices)) for (target, part), indices in found.items()]


def _governing(
    policy: PolicyLike, groups: Sequence[Facts], index: int, target: str | None
) -> Iterator[tuple[str, Policy]]:
    if isinstance(policy, Groups):
        yield from _governing(policy.of(groups[index], index, len(groups)), groups, index, target)
    elif isinstance(policy, Bind):
        if target is not None:
            raise LehrError(f"bind(...) inside bind({target}=...) names a hyperparameter twice; keep one bind")
        for name, part in policy.members:
            yield from _governing(part, groups, index, name)
    elif isinstance(policy, Policy):
        yield target or "lr", policy
    elif isinstance(policy, Schedule):
        yield target or "lr", Policy(policy)
    else:
        yield target or "lr", Policy(constant(), [policy])


def _named(members: tuple[tuple[str | int, PolicyLike], ...], full: bool) -> str:
    """Members as keyword arguments where all keys can be, else as a dict."""
    if all(isinstance(key, str) and key.isidentifier() and not iskeyword(key) for key, _ in members):
        return ", ".join(f"{key}={policy.text(full)}" for key, policy in members)
    return "{" + ", ".join(f"{key!r}: {policy.text(full)}" for key, policy in members) + "}"


def _compared(policy: PolicyLike) -> set[str]:
    """The hyperparameters that are compared with numbers to choose groups."""
    if not isinstance(policy, Groups | Bind):
        return set()
    keys = [COMPARISON.fullmatch(key) for key, _ in policy.members if isinstance(key, str)]
    return {key[1] for key in keys if key}.union(*(_compared(part) for _, part in policy.members))


def _targets(policy: PolicyLike) -> set[str]:
    """The hyperparameters that are bound, as their names in a group."""
    if not isinstance(policy, Groups | Bind):
        return set()
    own = {name.partition("[")[0] for name, _ in policy.members} if isinstance(policy, Bind) else set()
    return own.union(*(_targets(part) for _, part in policy.members))


def _matches(key: str | int, group: Facts, index: int) -> bool:
    if isinstance(key, int):
        return key == index
    compared = COMPARISON.fullmatch(key)
    if compared is None:
        return fnmatchcase(str(group.get("name", "")), key)
    value = group.get(compared[1])
    if value is None:
        raise LehrError(f"groups({{{key!r}: ...}}): parameter group {index} has no {compared[1]!r}")
    return bool(COMPARE[compared[2]](value, float(compared[3])))


def _check_key(key: Any) -> None:
    if isinstance(key, bool) or not isinstance(key, int | str) or (isinstance(key, int) and key < 0):
        raise LehrError(
            f'the keys of groups({{...}}) must be indices, patterns of names such as "head*" or comparisons such as '
            f'"weight_decay == 0", got {shown(key)}'
        )
    compared = COMPARISON.fullmatch(key) if isinstance(key, str) else None
    if compared is not None and compared[1] == "lr":
        raise LehrError(f"groups({{{key!r}: ...}}) compares the LR, which changes in the run; use an index or a name")
    if compared is None and isinstance(key, str) and any(sign in key for sign in "=<>!"):
        raise LehrError(f'groups({{{key!r}: ...}}): a comparison is a name, a sign and a number: "weight_decay == 0"')


def _check_policy(value: Any, what: str) -> None:
    if not isinstance(value, Policy | Groups | Bind | Schedule | Rule):
        raise LehrError(
            f"{what} must be a policy, a schedule or a rule, got {shown(value)}; lehr.parse(text) reads a text"
        )


def _bound(value: Any, name: str) -> Bound:
    if value is None:
        return None
    value = value.tolist() if isinstance(value, np.ndarray) else value
    numbers = [number(item, f"Policy({name}=...)") for item in (value if isinstance(value, list | tuple) else [value])]
    if not numbers or min(numbers) < 0:
        raise LehrError(f"Policy({name}=...) must be at least 0, got {value!r}")
    return tuple(numbers) if isinstance(value, list | tuple) else numbers[0]
