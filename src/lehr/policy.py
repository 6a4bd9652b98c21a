"""Policies: a schedule times rules, as a value; resolved for one run it is a pure state machine, the plan.

LR of a group = base LR × factor × gain: the factor comes from the schedule, the gain from the rules. `Plan.update` is
the one pure step: (state, observation) → (state, events).
"""

from __future__ import annotations

import functools as ft
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from lehr.errors import LehrError
from lehr.journal import Event
from lehr.lengths import Horizon, whole_steps
from lehr.rules import Begin, Observation, Rule, RuleState, Signal, Stop
from lehr.schedules import Curve, Schedule, constant
from lehr.schedules.schedule import Context, Extent
from lehr.schedules.shape import number
from lehr.spelling import Value

__all__ = ["Begun", "Bind", "Groups", "Plan", "Policy", "PolicyLike", "PolicyState", "bind", "groups", "tracks"]

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


class Begun(NamedTuple):
    """A schedule that a rule has begun, or that was anchored by a change of plan."""

    schedule: Schedule
    at: int  # its first step
    start: tuple[float, ...]  # the factor it begins from, one per group
    length: int | None  # its steps, if it ends


class PolicyState(NamedTuple):
    """All that a policy remembers."""

    step: int  # updates applied
    gains: tuple[float, ...]  # one per group
    rules: tuple[RuleState, ...]  # one per rule
    begun: Begun | None = None  # the plan in force, if it is not the policy's own
    stopped: bool = False  # a rule has stopped the run


@dataclass(frozen=True)
class Plan:
    """A policy resolved for one run: pure functions of its state. Make it with `Plan.of`."""

    policy: Policy
    horizon: Horizon
    bases: tuple[float, ...]
    rules: tuple[Rule, ...]
    curves: tuple[Curve, ...]  # one per group; the same object where groups share it

    @classmethod
    def of(cls, policy: Policy, horizon: Horizon, bases: tuple[float, ...]) -> Plan:
        """Resolve schedule and rules; everything that could be missing later is missed now."""
        for rule in policy.rules:
            if isinstance(rule.action, Begin):
                rule.action.schedule.resolve(horizon, lr=max(bases, default=1.0) or 1.0)
        for name, bound in (("min_lr", policy.min_lr), ("max_lr", policy.max_lr)):
            if isinstance(bound, tuple) and len(bound) != len(bases):
                raise LehrError(f"Policy({name}=...) has {len(bound)} numbers for {len(bases)} parameter groups")
        rules = tuple(rule.resolve(horizon) for rule in policy.rules)
        return cls(policy, horizon, bases, rules, _curves(policy.schedule, horizon, bases, (1.0,) * len(bases), None))

    @property
    def total(self) -> int | None:
        """Updates in the run: the horizon, or the schedule's own length."""
        return self.horizon.steps if self.horizon.steps is not None else self.curves[0].length

    @property
    def signals(self) -> tuple[Signal, ...]:
        """All that the rules read."""
        return tuple(dict.fromkeys(signal for rule in self.rules for signal in rule.trigger.signals()))

    def init(self) -> PolicyState:
        """The state before the first update."""
        return PolicyState(0, (1.0,) * len(self.bases), tuple(rule.init() for rule in self.rules))

    def done(self, state: PolicyState) -> bool:
        """Whether the run is over: stopped, at the horizon, or at the end of a begun fixed schedule."""
        begun = state.begun
        return (
            state.stopped
            or (self.total is not None and state.step >= self.total)
            or (begun is not None and begun.length is not None and state.step >= begun.at + begun.length)
        )

    def factors(self, state: PolicyState, first: int, count: int) -> list[np.ndarray[Any, np.dtype[np.float64]]]:
        """The factors of steps first … first + count − 1, one array per group (the same object where they agree)."""
        curves, offset = self.curves, 0
        if state.begun is not None:
            begun = state.begun
            curves, offset = _curves(begun.schedule, self.horizon, self.bases, begun.start, begun.length), begun.at
        steps = np.arange(first, first + count) - offset
        seen: dict[int, Any] = {}
        for curve in curves:
            if id(curve) not in seen:
                seen[id(curve)] = curve(steps)
        return [seen[id(curve)] for curve in curves]

    def lrs(self, state: PolicyState) -> tuple[float, ...]:
        """The LR of each group for the update `state.step`."""
        factors = [float(column[0]) for column in self.factors(state, state.step, 1)]
        return tuple(self.bounded(state.step, i, self.bases[i] * f * state.gains[i]) for i, f in enumerate(factors))

    def bounded(self, step: int, group: int, lr: float) -> float:
        """`lr` within the policy's bounds, which do not hold during the leading warm-up."""
        low, high = self.policy.min_lr, self.policy.max_lr
        if (low is None and high is None) or step < self.curves[0].warmup:
            return lr
        if high is not None:
            lr = min(lr, high[group] if isinstance(high, tuple) else high)
        return lr if low is None else max(lr, low[group] if isinstance(low, tuple) else low)

    def update(self, state: PolicyState, observation: Observation) -> tuple[PolicyState, tuple[Event, ...]]:
        """Show the rules an observation and do what they decide. Pure.

        An applied update advances the step first: actions take effect from the next update.
        """
        if observation.applied:
            state = state._replace(step=observation.step + 1)
        if observation.step < self.curves[0].warmup:
            return state, ()
        events: list[Event] = []
        for i, rule in enumerate(self.rules):
            memory, words = rule.update(state.rules[i], observation)
            state = state._replace(rules=(*state.rules[:i], memory, *state.rules[i + 1 :]))
            if words is not None:
                state, event = self._act(state, rule, self.policy.rules[i].text(), words)
                events.append(event)
        return state, tuple(events)

    def _act(self, state: PolicyState, rule: Rule, text: str, words: str) -> tuple[PolicyState, Event]:
        before = self.lrs(state)
        action = rule.action
        if isinstance(action, Stop):
            state = state._replace(stopped=True)
        elif isinstance(action, Begin):
            state, note = self._begin(state, action.schedule)
            words += note
        elif action is not None:
            gains = tuple(action.gain(g, lr) for g, lr in zip(state.gains, before, strict=True))
            state = state._replace(gains=gains)
        event = Event(
            step=state.step,
            kind="rule",
            rule=text,
            action=action.text() if action is not None else "",
            lr_before=before,
            lr_after=self.lrs(state),
            words=words,
        )
        return state, event

    def _begin(self, state: PolicyState, schedule: Schedule) -> tuple[PolicyState, str]:
        """The state with `schedule` begun at the next update, and a note if it had to be shrunk."""
        left = None if self.total is None else max(self.total - state.step, 1)
        extent = schedule.extent(Context(self.horizon, lr=self.bases[0] or 1.0))
        length, note = left, ""
        if not isinstance(extent, Extent):
            length = whole_steps(extent)
            if left is not None and length > left:
                note = f"; {schedule!r} is {length} steps long and was shrunk to the {left} left"
                length = left
        elif extent is not Extent.FILLING:
            length = None
        start = tuple(float(column[0]) for column in self.factors(state, state.step, 1))
        return state._replace(begun=Begun(schedule, state.step, start, length)), note


@ft.lru_cache(maxsize=64)  # a begun plan is a value in the state; its curves are made once
def _curves(
    schedule: Schedule, horizon: Horizon, bases: tuple[float, ...], starts: tuple[float, ...], length: int | None
) -> tuple[Curve, ...]:
    """One curve a group; groups share it unless it depends on their base LR or their start."""
    made: dict[tuple[float, float], Curve] = {}
    for base, start in zip(bases, starts, strict=True):
        key = (base if schedule.absolute else 0.0, start)
        if key not in made:
            made[key] = schedule.resolve(horizon, lr=base, start=start, length=length)
    return tuple(
        made[base if schedule.absolute else 0.0, start] for base, start in zip(bases, starts, strict=True)
    )


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
