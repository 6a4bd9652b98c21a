"""Simulation: a policy against recorded or synthetic observations, without a framework and without a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from lehr.controller import start
from lehr.errors import LehrError
from lehr.lengths import Horizon
from lehr.policy import PolicyLike
from lehr.trace import Trace

__all__ = ["simulate"]


def simulate(
    policy: PolicyLike | str,
    *,
    lr: float | Sequence[float] = 1.0,
    steps: int | None = None,
    horizon: Horizon | None = None,
    observations: Mapping[str, ArrayLike] | None = None,
) -> Trace:
    """Run a policy over given observations.

    Args:
        policy: a policy, schedule, rule or text.
        lr: the base LR, one number or one per group.
        steps: updates in the run; or `horizon`.
        horizon: the facts of the run.
        observations: name → values of updates 0, 1, 2, …; NaN where nothing was reported. A name that the policy
            evaluates is read at its cadence.

    Returns:
        The trace that a real run with these observations would have left.

    Raises:
        LehrError: no length of the run is known, or an observation has fewer values than the run has steps.

    Example:
        >>> trace = simulate("step_decay(2, 0.5)", lr=0.1, steps=4)
        >>> trace.columns["lr"].tolist()
        [0.1, 0.1, 0.05, 0.05]
    """
    given = {name: np.asarray(values, dtype=float) for name, values in (observations or {}).items()}
    step = [0]
    evaluate = {name: (lambda values=values: float(values[step[0]])) for name, values in given.items()}
    run = start(policy, lr=lr, steps=steps, horizon=horizon, evaluate=evaluate)
    total = run.horizon.steps
    if total is None:
        raise LehrError("simulate needs to know how long the run is; give steps= or horizon=")
    for name, values in given.items():
        if len(values) < total:
            raise LehrError(f"observations[{name!r}] has {len(values)} values for a run of {total} steps")
    evaluated = {name for name, _ in run._evaluations}
    rows: list[tuple[int, list[float], Mapping[str, float]]] = []
    run.subscribe(lambda t, lrs, numbers: rows.append((t, lrs, numbers)), on="steps")
    while not run.done:
        step[0] = run.t
        now = {name: float(values[run.t]) for name, values in given.items() if name not in evaluated}
        run.advance(1, {name: value for name, value in now.items() if not np.isnan(value)})
    run.finish()
    columns = {"step": np.array([float(t) for t, _, _ in rows])}
    for k in range(len(run.lrs)):
        columns[f"lr.{k}" if k else "lr"] = np.array([lrs[k] for _, lrs, _ in rows])
    for name in given:
        columns[name] = np.array([numbers.get(name, np.nan) for _, _, numbers in rows])
    return Trace({"policy": run.policy.text(full=True)}, columns, list(run.events))
