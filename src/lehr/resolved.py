"""A policy that is put in force: its tracks, and what they ask of those who run them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lehr.errors import LehrError
from lehr.lengths import Horizon, whole_steps
from lehr.plan import Plan, Track
from lehr.policy import Bind, Facts, Groups, Policy, tracks
from lehr.rules import Rule

__all__ = ["by_hand", "evaluations", "resolved"]


def resolved(
    policy: Policy | Groups | Bind,
    horizon: Horizon,
    bases: Mapping[str, tuple[float, ...]],
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
