"""What a curve comes to, in a few numbers: its peak, its end, its area, and the members that made it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lehr.difference import Difference
from lehr.errors import LehrError
from lehr.lengths import Horizon
from lehr.policy import Bind, Groups, Policy, PolicyLike
from lehr.schedules import Curve
from lehr.schedules.schedule import Part
from lehr.text import as_policy

__all__ = ["Facts", "Strand", "diff", "facts_of", "horizon_of", "planned", "strands", "unseen"]

DEFAULT_STEPS = 1000
MOST_STEPS = 10_000_000  # a curve of so many takes a few seconds and 0.7 GB


@dataclass(frozen=True)
class Facts:
    """The numbers of a planned curve over one run; values are LRs, or factors where no LR was given.

    A rule can change all of them while the run goes; these are the plan's.
    """

    steps: int  # updates in the run
    peak: float  # the largest value
    peak_step: int  # where it is reached first
    first: float  # value of the first update
    final: float  # value of the last update
    area: float  # mean of value / peak over the run: 1 for a constant, ½ for cosine to zero
    above_half: float  # share of the steps with more than half of the peak
    warmup: int  # steps of the leading warm-up
    parts: tuple[Part, ...]  # which member of the schedule governs which steps


@dataclass(frozen=True)
class Strand:
    """One curve of a policy: a policy for groups or hyperparameters has several."""

    name: str  # of the group or hyperparameter; empty if there is only one
    policy: Policy
    target: str = "lr"  # the hyperparameter that it governs

    def base(self, lr: float | None) -> float | None:
        """The base that values are drawn with: of other hyperparameters than the LR, factors are drawn."""
        return lr if self.target == "lr" else None

    @property
    def label(self) -> str:
        """How the curve is called: the text of its schedule, behind the name if there is one."""
        text = repr(self.policy.schedule) if self.is_plain else repr(self.policy)
        return f"{self.name}: {text}" if self.name else text

    @property
    def is_plain(self) -> bool:
        """Whether it is a schedule and nothing else."""
        return self.policy == Policy(self.policy.schedule)


def strands(policy: PolicyLike | str) -> list[Strand]:
    """The curves of a policy or its text.

    Raises:
        LehrError: it cannot be read as a policy.
    """
    return list(_strands(as_policy(policy), ""))


def _strands(policy: PolicyLike, name: str, target: str = "lr") -> Iterator[Strand]:
    policy = as_policy(policy)
    if isinstance(policy, Groups | Bind):
        for member, part in policy.members:
            own = f"group {member}" if isinstance(member, int) else member
            inner = str(member) if isinstance(policy, Bind) else target
            yield from _strands(part, f"{name} {own}".strip(), inner)
    else:
        yield Strand(name, policy, target)


def horizon_of(steps: int | None = None, horizon: Horizon | None = None) -> Horizon:
    """The run to look at: 1000 steps unless something else is said.

    Raises:
        LehrError: both are given, or the horizon does not say how long the run is.
    """
    if horizon is None:
        return Horizon(steps=DEFAULT_STEPS if steps is None else steps)
    if steps is not None or horizon.steps is None:
        raise LehrError(f"give either steps= or a horizon that knows its steps, got steps={steps} and {horizon}")
    return horizon


def planned(policy: Policy, horizon: Horizon, lr: float | None = None) -> tuple[Curve, NDArray[np.float64]]:
    """The curve of a policy's schedule, and its value at every step of the run.

    Values are factors, or LRs if `lr` is given; then the policy's bounds hold, outside the leading warm-up.

    Raises:
        LehrError: the schedule cannot be resolved, the LR is not a positive number, or the run has too many steps.
    """
    if (horizon.steps or 0) > MOST_STEPS:
        raise LehrError(
            f"a curve is looked at over at most {MOST_STEPS} steps, got {horizon.steps}; scale the run down"
        )
    if lr is not None and not (np.isfinite(lr) and lr > 0):
        raise LehrError(f"the base LR must be a positive number, got {lr!r}; for example 3e-4")
    curve = policy.resolve(horizon, lr=lr)
    values = np.asarray(curve(np.arange(horizon.steps or 0)), dtype=np.float64)
    return curve, values if lr is None else _bounded(policy, curve, values * lr)


def _bounded(policy: Policy, curve: Curve, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values within the policy's bounds; of bounds for several groups, those of the first."""
    low, high = (bound[0] if isinstance(bound, tuple) else bound for bound in (policy.min_lr, policy.max_lr))
    if low is None and high is None:
        return values
    return np.where(np.arange(len(values)) < curve.warmup, values, np.clip(values, low, high))


def diff(
    one: PolicyLike | str,
    other: PolicyLike | str,
    *,
    steps: int | None = None,
    horizon: Horizon | None = None,
    lr: float | None = None,
) -> Difference:
    """Where two policies part, over one run. Rules react to a run, so only the schedules are compared.

    Args:
        one: a policy, schedule, rule or text; for one group and one hyperparameter.
        other: the other.
        steps: updates in the run; default 1000.
        horizon: the run, instead of `steps`, for lengths in epochs, samples or tokens.
        lr: base LR; default: factors of it are compared.

    Raises:
        LehrError: a policy for several groups or hyperparameters, or one that cannot be read or resolved.

    Example:
        >>> import lehr
        >>> print(lehr.diff("cosine()", "cosine(to=0.1)", steps=1000))
        they first differ at step 1
        most at step 999: 2.467e-06 → 0.1 (× 4.053e+04)
        at step 999: 2.467e-06 → 0.1 (× 4.053e+04)
        area: × 1.1
    """
    run, found = horizon_of(steps, horizon), (strands(one), strands(other))
    if any(len(curves) > 1 for curves in found):
        raise LehrError("diff compares one curve with another; give the policies of one group and one hyperparameter")
    before, after = (planned(curves[0].policy, run, curves[0].base(lr))[1] for curves in found)
    notes = unseen(found[0][0].policy, found[1][0].policy, lr)
    return Difference(np.arange(len(before)), before, after, notes=notes)


def unseen(one: Policy, other: Policy, lr: float | None) -> tuple[str, ...]:
    """What differs between two policies and is not in their curves, in words."""
    found = []
    if one.rules != other.rules:
        found.append("their rules differ; rules react to the run, so they are not in the curves")
    bounds = [(policy.min_lr, policy.max_lr) for policy in (one, other)]
    if bounds[0] != bounds[1] and (lr is None or any(isinstance(item, tuple) for pair in bounds for item in pair)):
        found.append("their bounds differ; without one base LR for one group they are not in the curves")
    return tuple(found)


def facts_of(curve: Curve, values: NDArray[np.float64]) -> Facts:
    """The facts of a curve.

    Args:
        curve: says its warm-up and its parts.
        values: its value at every step of the run, at least one.
    """
    peak = float(values.max())
    return Facts(
        steps=len(values),
        peak=peak,
        peak_step=int(values.argmax()),
        first=float(values[0]),
        final=float(values[-1]),
        area=float(values.mean()) / peak if peak else 0.0,
        above_half=float(np.mean(values > peak / 2)),
        warmup=min(curve.warmup, len(values)),
        parts=tuple(part for part in curve.parts if part.start < len(values)),
    )
