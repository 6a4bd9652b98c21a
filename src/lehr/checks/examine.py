"""`check`: what looks wrong in a policy, before it trains and after."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from numbers import Real
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from lehr.checks.catalogue import CURVE, LOADER, LOG, POLICY
from lehr.checks.finding import SEVERITIES, Finding
from lehr.checks.loader_checks import Loading
from lehr.checks.log_checks import Column, Finished
from lehr.checks.row import Check
from lehr.checks.subject import Subject, subjects
from lehr.errors import LehrError
from lehr.lengths import Horizon, as_horizon
from lehr.logs import read_trace
from lehr.policy import PolicyLike
from lehr.spelling import shown
from lehr.text import as_policy
from lehr.trace import Trace

__all__ = ["check"]

FACTS = tuple(field.name for field in fields(Horizon))
T = TypeVar("T")


def check(
    policy: PolicyLike | str | None = None,
    *,
    steps: int | None = None,
    horizon: Horizon | None = None,
    lr: float | Sequence[float] | Column | None = None,
    loader: Any = None,
    epochs: float | None = None,
    accumulate: int = 1,
    world_size: int = 1,
    log: Trace | str | Path | None = None,
) -> list[Finding]:
    """What looks wrong in a policy, the worst first: against its run, against a data loader, against a log.

    Nothing is guessed: a check that needs a fact which was not given finds nothing.

    Args:
        policy: a policy, schedule, rule or text; None: the one that `log` names.
        steps: updates in the run; or `horizon`.
        horizon: the facts of the run; those that it lacks are taken from `log`.
        lr: the base LR, one number or one per group.
        loader: what the run reads, anything with a length in batches.
        epochs: passes over the loader that are meant.
        accumulate: micro-batches in one update.
        world_size: ranks that share the loader's batches.
        log: the trace of a finished run, or the path of any log that `lehr.read_trace` reads.

    Returns:
        The findings, sorted by severity and code; `docs/checks.md` lists all.

    Raises:
        LehrError: neither a policy nor a log, something that is no policy, or an LR that is not positive.

    Example:
        >>> for finding in check("linear(to=1e-6)", steps=1000, lr=3e-4):
        ...     print(finding.code, finding.reason)
        LR205 linear(to=1e-06) has to=1e-06, which is a factor of the base LR: an LR of 3e-10
    """
    trace = log if isinstance(log, Trace) or log is None else read_trace(log)
    known = _horizon(steps, horizon, trace, Loading(Horizon(), loader, epochs, accumulate, world_size))
    lrs = _bases(lr)
    read, obstacle = _logged_policy(trace) if policy is None else (as_policy(policy), "")
    found = [] if read is None else subjects(read, known, lrs)
    findings = _of_groups(found)
    findings += _looked(LOADER, Loading(known, loader, epochs, accumulate, world_size))
    if trace is not None:
        findings += _looked(LOG, Finished(trace, tuple(found), known.steps, obstacle))
    return sorted(dict.fromkeys(findings), key=lambda finding: (SEVERITIES.index(finding.severity), finding.code))


def _logged_policy(trace: Trace | None) -> tuple[PolicyLike | None, str]:
    """The policy that a log names, or why it cannot be read here."""
    text = None if trace is None else trace.header.get("policy")
    if not isinstance(text, str):
        raise LehrError(
            "check needs a policy, or a log whose header names one; give check(policy, ...) or check(log=...)"
        )
    try:
        return as_policy(text), ""
    except LehrError as error:
        return None, str(error)


def _bases(lr: float | Sequence[float] | Column | None) -> list[float]:
    plain: Any = lr.tolist() if isinstance(lr, np.ndarray) else [] if lr is None else lr
    given = list(plain) if isinstance(plain, Sequence) and not isinstance(plain, str) else [plain]
    for value in given:
        if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < math.inf:
            raise LehrError(f"check(lr=...) must be a positive number, got {shown(value)}; for example 3e-4")
    return [float(value) for value in given]


def _horizon(steps: int | None, horizon: Horizon | None, trace: Trace | None, loading: Loading) -> Horizon:
    """The facts of the run: as they are given, else as the log says, else as the loader makes them."""
    given = as_horizon(steps, horizon)
    horizon = replace(given, **{name: fact for name, fact in _logged(trace) if getattr(given, name) is None})
    epoch = loading.epoch if loading.loader is not None else None
    if horizon.steps_per_epoch is None and epoch is not None:
        horizon = replace(horizon, steps_per_epoch=epoch)
    if horizon.steps is None and loading.epochs is not None:
        horizon = replace(horizon, epochs=loading.epochs)
    return horizon


def _logged(trace: Trace | None) -> list[tuple[str, int]]:
    """The facts of the run that the header of a log names; older ones name the steps alone."""
    header = {} if trace is None else trace.header
    horizon = header.get("horizon")
    told: dict[str, Any] = {"steps": header.get("steps")} | (horizon if isinstance(horizon, dict) else {})
    return [(name, told[name]) for name in FACTS if isinstance(told.get(name), int)]


def _of_groups(found: Sequence[Subject]) -> list[Finding]:
    """The findings of every group; those that not all groups share say whose they are."""
    each = [_looked(POLICY, subject) + (_looked(CURVE, run) if (run := subject.planned) else []) for subject in found]
    shared = set.intersection(*map(set, each)) if each else set()
    return [
        finding
        if finding in shared or not subject.name
        else replace(finding, reason=f"{subject.name}: {finding.reason}")
        for subject, findings in zip(found, each, strict=True)
        for finding in findings
    ]


def _looked(checks: Iterable[Check[T]], subject: T) -> list[Finding]:
    return [finding for row in checks for finding in row.findings(subject)]
