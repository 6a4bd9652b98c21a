"""A policy that is put in force: the groups it is given, its tracks, and what they ask of those who run them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

from lehr.errors import LehrError
from lehr.lengths import Horizon, whole_steps
from lehr.plan import Plan, Track
from lehr.policy import Bind, Facts, Groups, Policy, tracks
from lehr.rules import Rule

__all__ = ["as_base", "by_hand", "evaluations", "given_groups", "resolved"]

Bases = Mapping[str, tuple[float, ...]]


def given_groups(lr: Any, names: Sequence[str] | None, hyper: Mapping[str, Any]) -> tuple[Bases, list[Facts]]:
    """The base values of each hyperparameter, one per group, and the groups; from the arguments of `start`.

    Raises:
        LehrError: they are not for as many groups, or are no base values.
    """
    lrs = list(lr) if _is_list(lr) else [lr]
    if not lrs or (names is not None and len(names) != len(lrs)):
        raise LehrError(f"start(lr=..., names=...) needs one LR and one name for each group, got {lr!r} and {names!r}")
    bases = {"lr": tuple(as_base(value, "lr") for value in lrs)}
    for name, given in hyper.items():
        if not _is_list(given) or len(given) != len(lrs):
            raise LehrError(f"hyper[{name!r}] must have one value for each of {len(lrs)} groups, got {given!r}")
        bases[name] = tuple(as_base(value, name) for value in given)
    called = names or [""] * len(lrs)
    return bases, [{"name": name, **{key: bases[key][i] for key in bases}} for i, name in enumerate(called)]


def as_base(value: Any, name: str) -> float:
    """A base value of a group.

    Raises:
        LehrError: it cannot be one.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value) or value < 0:
        raise LehrError(f"the base {name} of a group must be a finite number of at least 0, got {value!r}")
    return float(value)


def resolved(
    policy: Policy | Groups | Bind,
    horizon: Horizon,
    bases: Bases,
    groups: Sequence[Facts],
    evaluated: Sequence[str],
    carried_out: bool,
) -> list[Track]:
    """The tracks of a policy, before the first update.

    Args:
        policy: to be resolved.
        horizon: of the run.
        bases: of each hyperparameter, one value per group.
        groups: what is known of them.
        evaluated: the names for which there are functions of evaluation.
        carried_out: whether somebody can restore weights.

    Raises:
        LehrError: something that it needs is missing.
    """
    found = []
    for target, part, indices in tracks(policy, groups):
        if target not in bases:
            raise LehrError(f"bind({target}=...) needs the base {target} of each group, and they have none")
        plan = Plan.of(part, horizon, tuple(bases[target][i] for i in indices))
        found.append(Track(target, indices, plan, plan.init()))
    restoring = by_hand(found)
    if restoring and not carried_out:
        raise LehrError(
            f"{restoring[0]!r} restores weights, which needs an adapter that holds snapshots: "
            "lehr.torch.Scheduler(..., model=model, snapshots=...), or your own: start(..., carry_out=function)"
        )
    for name in sorted({name for name, _ in evaluations(found, horizon)}.difference(evaluated)):
        raise LehrError(
            f"evaluation({name!r}, ...) needs its function: give evaluate={{{name!r}: function}} at the start"
        )
    return found


def evaluations(of: Sequence[Track], horizon: Horizon) -> set[tuple[str, int]]:
    """The names of what is evaluated, each with the updates between two evaluations."""
    signals = (signal for track in of for signal in track.plan.signals)
    return {(each.name, whole_steps(horizon.measure(each.every))) for each in signals if each.every is not None}


def by_hand(of: Sequence[Track]) -> list[Rule]:
    """The rules whose actions somebody must carry out by hand: they restore weights."""
    rules = [rule for track in of for rule in track.plan.policy.rules if not rule.shadow]
    return [rule for rule in rules if getattr(rule.action, "by_hand", False)]


def _is_list(given: Any) -> bool:
    return isinstance(given, Sequence | np.ndarray) and not isinstance(given, str)
