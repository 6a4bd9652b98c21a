"""What the checks look at: one policy of one parameter group in one run, and a sample of its curve.

A curve may be 10^12 steps long, so it is never tabulated: it is sampled at the seams of its parts and on a grid, and a
step that matters is then found exactly between two samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lehr.errors import LehrError
from lehr.lengths import Horizon, Length, whole_steps
from lehr.policy import Bind, Groups, Policy, PolicyLike
from lehr.schedules import Curve, Schedule
from lehr.schedules.algebra import Stretch
from lehr.schedules.shape import Shape
from lehr.spelling import shown
from lehr.text import as_policy

__all__ = ["Planned", "Subject", "leaves", "steps_in", "subjects"]

GRID = 2048  # samples at equal distances, and as many at equal ratios, for what happens early
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Subject:
    """A policy for one parameter group, and what is known of its run."""

    name: str  # of the group; empty if there is only one
    policy: Policy
    horizon: Horizon
    base: float | None = None  # the group's base LR
    low: float | None = None  # its least LR
    high: float | None = None  # its largest LR
    index: int | None = 0  # of the group; None if it is told by name

    @cached_property
    def missing(self) -> tuple[str, ...]:
        """The arguments that would have to be known to say which LR each step has."""
        schedule = self.policy.schedule
        facts = [self.horizon.lacks(length) for length in schedule.lengths()]
        facts += ["lr"] if schedule.absolute and not self.base else []
        facts += ["steps"] if self.horizon.steps is None else []
        return tuple(dict.fromkeys(fact for fact in facts if fact))

    @cached_property
    def obstacle(self) -> str:
        """Why the schedule cannot be resolved although all is known; empty if it can."""
        if self.missing:
            return ""
        try:
            self._curve()
        except LehrError as error:
            return str(error)
        return ""

    @cached_property
    def planned(self) -> Planned | None:
        """The curve over the run, if it can be known."""
        total = self.horizon.steps
        if self.missing or self.obstacle or total is None:
            return None
        return Planned(self, total, self._curve())

    def _curve(self) -> Curve:
        return self.policy.schedule.resolve(self.horizon, lr=self.base)


@dataclass(frozen=True)
class Planned:
    """The curve of a policy over a run of `total` steps, before any rule has acted.

    Its values are LRs within the policy's bounds if the base LR is known, else factors.
    """

    subject: Subject
    total: int
    curve: Curve

    @property
    def word(self) -> str:
        """What the values are."""
        return "factor" if self.subject.base is None else "LR"

    @property
    def floored(self) -> bool:
        """Whether a floor holds that cannot be seen in the values, as the base LR is not known."""
        return self.subject.base is None and bool(self.subject.low)

    @cached_property
    def steps(self) -> NDArray[np.int64]:
        """The sampled steps."""
        edges = [0, self.total - 1, self.curve.warmup - 1, self.curve.warmup]
        for part in self.curve.parts:
            edges += [edge for side in (part.start, part.stop) if side is not None for edge in (side - 1, side)]
        even, early = np.linspace(0, self.total - 1, GRID), np.geomspace(1, self.total, GRID) - 1
        within = [edge for edge in edges if 0 <= edge < self.total]
        sampled = np.concatenate((even, early)).astype(np.int64)
        return np.unique(np.concatenate((np.clip(sampled, 0, self.total - 1), np.array(within, dtype=np.int64))))

    @cached_property
    def values(self) -> Values:
        """The values at the sampled steps."""
        return self.over(self.steps)

    @cached_property
    def top(self) -> float:
        """The largest sampled factor, whatever the bounds are."""
        return float(np.max(self.curve(self.steps)))

    @cached_property
    def peak(self) -> float:
        """The largest sampled value."""
        return float(self.values.max())

    @property
    def last(self) -> float:
        """The value of the last update."""
        return float(self.values[-1])

    def at(self, step: int) -> float:
        """The value at one step."""
        return float(self.over(np.array([step]))[0])

    @cached_property
    def median(self) -> float:
        """The value that half of the run is below."""
        return float(np.median(self.over(np.linspace(0, self.total - 1, GRID).astype(np.int64))))

    def since(self, holds: Callable[[Values], NDArray[np.bool_]]) -> int | None:
        """The first step from which on `holds` is true up to the last update; None if it is not true there."""
        failing = np.flatnonzero(~holds(self.values))
        if not len(failing):
            return 0
        if failing[-1] == len(self.values) - 1:
            return None
        before, after = int(self.steps[failing[-1]]), int(self.steps[failing[-1] + 1])
        while after - before > 1:
            middle = (before + after) // 2
            before, after = (before, middle) if holds(self.over(np.array([middle])))[0] else (middle, after)
        return after

    def over(self, steps: NDArray[np.int64]) -> Values:
        """The values at any steps."""
        factors = np.asarray(self.curve(steps), dtype=np.float64)
        if self.subject.base is None:
            return factors
        lrs = self.subject.base * factors
        return np.where(steps < self.curve.warmup, lrs, np.clip(lrs, self.subject.low, self.subject.high))


def subjects(policy: PolicyLike | str, horizon: Horizon, lrs: Sequence[float] = ()) -> list[Subject]:
    """Every policy for the LR, with the base LR and the bounds of each of its groups.

    Raises:
        LehrError: the policy cannot be read, or several base LRs are given for groups that are not told by order.
    """
    found = []
    for name, policy_, index in _strands(as_policy(policy), "", len(lrs)):
        if index == _UNORDERED and len(lrs) > 1:
            raise LehrError(
                f"lr= must be one number for groups that are told by name, got {shown(list(lrs))}; "
                "check the policy of each group on its own"
            )
        found += list(_of_groups(name, policy_, horizon, lrs, index))
    return found


_EACH, _UNORDERED = -1, -2  # instead of a group's index: every group; not known which


def _strands(policy: PolicyLike, name: str, count: int, index: int = _EACH) -> Iterator[tuple[str, Policy, int]]:
    policy = as_policy(policy)
    if isinstance(policy, Groups):
        for name_, part, place in _shares(policy, count):
            yield from _strands(part, name_, count, place)
    elif isinstance(policy, Bind):
        for target, part in policy.members:
            if target == "lr":
                yield from _strands(part, name, count, index)
    else:
        yield name, policy, index


def _shares(policy: Groups, count: int) -> Iterator[tuple[str, PolicyLike, int]]:
    """Each group's name, policy and index; "default" beside indices is that of all other groups, if all are known."""
    taken = [key for key, _ in policy.members if isinstance(key, int)]
    by_order = all(isinstance(key, int) or key == "default" for key, _ in policy.members)
    for key, part in policy.members:
        if isinstance(key, int):
            yield f"group {key}", part, key
        elif by_order and count > 1:
            yield from ((f"group {k}", part, k) for k in range(count) if k not in taken)
        else:
            yield f"group {key}", part, _UNORDERED


def _of_groups(name: str, policy: Policy, horizon: Horizon, lrs: Sequence[float], index: int) -> Iterator[Subject]:
    """One subject for each group that the policy governs."""
    bounds = (policy.min_lr, policy.max_lr)
    if index >= 0 and len(lrs) > 1:
        if index >= len(lrs):
            raise LehrError(f"lr= has {len(lrs)} numbers, but the policy has a group {index}; give one for each group")
        lrs = [lrs[index]]
    count = max([len(lrs), 1, *(len(bound) for bound in bounds if isinstance(bound, tuple))])
    for k in range(count):
        base = None if not lrs else lrs[k] if len(lrs) > 1 else lrs[0]
        low, high = (bound[k] if isinstance(bound, tuple) else bound for bound in bounds)
        name_ = name or (f"group {k}" if count > 1 else "")
        place = None if index == _UNORDERED else k if index == _EACH else index
        yield Subject(name_, policy, horizon, base, low, high, place)


def leaves(value: Schedule, pace: float = 1.0) -> Iterator[tuple[Shape, float]]:
    """Every shape inside a schedule, and how many times as long its lengths are as written."""
    if isinstance(value, Shape):
        yield value, pace
        return
    pace *= value.k if isinstance(value, Stretch) else 1.0
    for member in _members(value):
        yield from leaves(member, pace)


def _members(value: Any) -> Iterator[Schedule]:
    for item in fields(value):
        content = getattr(value, item.name)
        yield from (
            part for part in (content if isinstance(content, tuple) else (content,)) if isinstance(part, Schedule)
        )


def steps_in(length: Length, horizon: Horizon) -> int | None:
    """The whole steps of a length; None if the horizon does not know, or observations are counted."""
    if length.unit == "observations" or horizon.lacks(length):
        return None
    return whole_steps(horizon.measure(length))
