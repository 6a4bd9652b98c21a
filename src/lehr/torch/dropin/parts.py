"""What torch's schedulers do, as values: a part for each hyperparameter of each group, and how parts are joined.

Free of torch. A scheduler of torch's may name LRs itself (`OneCycleLR`), so a part has a base of its own; joined, all
are factors of one base: the optimiser's LR as it was before any scheduler touched it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lehr.converters import torch_schedules as convert
from lehr.converters.torch_checks import over
from lehr.errors import LehrError
from lehr.policy import Policy, PolicyLike, bind, groups
from lehr.rules import Rule
from lehr.schedules import Curve, Schedule, constant

__all__ = ["Originals", "Part", "Parts", "bases", "in_chain", "in_sequence", "policy", "rebased"]

Originals = Mapping[str, tuple[float, ...]]  # hyperparameter → its value in each group, before any scheduler


@dataclass(frozen=True)
class Part:
    """What governs one hyperparameter of one group: base × schedule, times the gain of the rules.

    Attributes:
        base: the value that factor 1 means.
        schedule: factors of it.
        rules: of the LR.
        floor: the least LR that is written.
        onward: makes the schedule from the factor that the phase before it used last (SWALR anneals from there).
    """

    base: float
    schedule: Schedule
    rules: tuple[Rule, ...] = ()
    floor: float | None = None
    onward: Callable[[float], Schedule] | None = None

    def of_base(self, base: float, what: str) -> Schedule:
        """The schedule as factors of another base."""
        if base == self.base:
            return self.schedule
        if base <= 0:
            raise LehrError(f"{what}: the LR of the optimiser is 0, so nothing can be a factor of it; give it an LR")
        return self.schedule.scaled(over(self.base, base))


Parts = tuple[Mapping[str, Part], ...]  # one mapping a group: hyperparameter → part


def policy(parts: Parts) -> PolicyLike:
    """The policy of the parts; groups with equal parts share it, and a late group follows the last."""
    targets = list(dict.fromkeys(target for group in parts for target in group))
    of_target = {target: _by_group([_policy(group[target]) for group in parts]) for target in targets}
    return of_target["lr"] if targets == ["lr"] else bind(of_target)


def bases(parts: Parts) -> dict[str, tuple[float, ...]]:
    """The bases of each hyperparameter."""
    return {target: tuple(group[target].base for group in parts) for target in parts[0]}


def rebased(parts: Parts, now: Originals, name: str) -> Parts:
    """The same parts as factors of the bases that a run has."""
    return tuple(
        {
            target: replace(part, base=now[target][i], schedule=part.of_base(now[target][i], name))
            for target, part in group.items()
        }
        for i, group in enumerate(parts)
    )


def in_sequence(members: Sequence[Parts], milestones: Sequence[int], originals: Originals) -> Parts:
    """One after another, each from its own step 0 and from the base LR. A rule acts from its phase on; it must be last.

    A hyperparameter that only some of them govern has the optimiser's value in the phases of the others.
    """
    return _joined(members, originals, "SequentialLR", lambda parts: _sequence(parts, milestones))


def in_chain(members: Sequence[Parts], originals: Originals) -> Parts:
    """All at once: the product of the factors."""
    return _joined(members, originals, "ChainedScheduler", _chain)


def _joined(members: Sequence[Parts], originals: Originals, name: str, join: Callable[[Sequence[Part]], Part]) -> Parts:
    targets = list(dict.fromkeys(target for member in members for target in member[0]))
    joined = []
    for i in range(len(members[0])):
        group = {}
        for target in targets:
            of_members = [member[i].get(target) for member in members]
            group[target] = join(_of_one_base(of_members, originals[target][i], name))
        joined.append(group)
    return tuple(joined)


def _of_one_base(parts: Sequence[Part | None], original: float, name: str) -> list[Part]:
    """The parts as factors of the optimiser's value, or, where that is 0 (momentum), of the first part's base."""
    base = original or next((part.base for part in parts if part is not None), 0.0)
    idle = Part(base, constant(over(original, base) if base else 1.0))
    return [idle if part is None else replace(part, base=base, schedule=part.of_base(base, name)) for part in parts]


def _sequence(parts: Sequence[Part], milestones: Sequence[int]) -> Part:
    for part in parts[:-1]:
        if part.rules:
            raise LehrError("ReduceLROnPlateau in a SequentialLR goes on to the end of the run; put it last")
    schedules = [parts[0].schedule]
    for i, part in enumerate(parts[1:]):
        schedule = part.schedule
        if part.onward is not None:
            before = convert.sequential(schedules, milestones[:i])
            schedule = part.onward(before.resolve(lr=part.base)(milestones[i] - 1))
        schedules.append(schedule)
    last = parts[-1]
    if last.floor is not None and milestones:
        _check_floor(convert.sequential(schedules, milestones).resolve(lr=last.base), milestones[-1], last)
    rules = tuple(rule.after(milestones[-1]) for rule in last.rules) if milestones else last.rules
    return Part(last.base, convert.sequential(schedules, milestones), rules, last.floor)


def _check_floor(curve: Curve, until: int, part: Part) -> None:
    """The floor of a plateau holds outside the warm-up; it must not lift the LR of the phases before."""
    before = curve(np.arange(curve.warmup, until)) * part.base
    if before.size and before.min() < (part.floor or 0.0):
        raise LehrError(
            f"ReduceLROnPlateau(min_lr={part.floor:g}) would lift the phases before it, which go down to "
            f"{before.min():g}; give a lower min_lr"
        )


def _chain(parts: Sequence[Part]) -> Part:
    floors = [part.floor for part in parts if part.floor is not None]
    if any(part.onward is not None for part in parts):
        raise LehrError("SWALR goes to an LR of its own, so it is no factor of a ChainedScheduler; use SequentialLR")
    rules = tuple(rule for part in parts for rule in part.rules)
    return Part(
        parts[0].base, convert.chained([part.schedule for part in parts]), rules, max(floors) if floors else None
    )


def _policy(part: Part) -> PolicyLike:
    if not part.rules and part.floor is None:
        return part.schedule
    return Policy(part.schedule, part.rules, min_lr=part.floor)


def _by_group(policies: Sequence[PolicyLike]) -> PolicyLike:
    last = policies[-1]
    if all(item == last for item in policies):
        return last
    return groups({**dict(enumerate(policies)), "default": last})
