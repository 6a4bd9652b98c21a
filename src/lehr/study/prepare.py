"""Before any training: what a workload is, and whether the policies can run on it. Runs in a worker process."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import traceback
from collections.abc import Sequence
from pathlib import Path

import torch

import lehr
from lehr.errors import LehrError
from lehr.policy import PolicyLike
from lehr.study import workloads
from lehr.study.design import Facts
from lehr.study.policies import NamedPolicy
from lehr.study.workloads import Maker, Workload
from lehr.torch import Scheduler

REPORTS = 20  # on validation data in a run, where the workload does not say otherwise


def describe(name: str) -> Facts:
    """The facts of a workload, found by making it once.

    Raises:
        LehrError: There is no such workload, or it cannot be made.
    """
    one_thread()
    try:
        known_as, make = find(name)
        workload = make(0)
    except LehrError:
        raise
    except Exception as error:
        raise LehrError(f"workload {name!r} must be made by its function, but that raised {message(error)}") from error
    return _facts(known_as, name, workload)


def fitting(name: str, policies: Sequence[NamedPolicy]) -> tuple[NamedPolicy, ...]:
    """The policies with their texts as Lehr spells them, each set up on the workload once to see that it can run.

    Raises:
        LehrError: A policy does not parse, or cannot run on this workload.
    """
    return tuple(_fitting(name, policy) for policy in policies)


def one_thread() -> None:
    """Make torch use one thread: as many runs as workers go on at once, and sums have one order."""
    torch.set_num_threads(1)


@functools.cache
def find(name: str) -> tuple[str, Maker]:
    """Found once a process, so that a user's file keeps what it has cached."""
    return workloads.find(name)


def _fitting(name: str, policy: NamedPolicy) -> NamedPolicy:
    try:
        value = lehr.parse(policy.text)
        scheduler(find(name)[1](0), value)
    except LehrError as error:
        raise LehrError(f"policy {policy.label!r} cannot run on {name}: {error}") from error
    return NamedPolicy(policy.label, repr(value))


def scheduler(workload: Workload, policy: PolicyLike) -> Scheduler:
    """The policy on the workload's optimiser; an evaluation of the workload's metric is one on validation data."""
    return Scheduler(
        workload.optimizer,
        policy,
        horizon=lehr.Horizon(steps=workload.steps, steps_per_epoch=workload.steps_per_epoch),
        evaluate={workload.metric: lambda model: workload.evaluate(model, "validation")[workload.metric]},
        model=workload.model,
    )


def _facts(known_as: str, spec: str, workload: Workload) -> Facts:
    return Facts(
        name=known_as,
        spec=spec,
        steps=workload.steps,
        lr=float(workload.optimizer.param_groups[0]["lr"]),
        metric=workload.metric,
        best=workload.best,
        threshold=workload.threshold,
        steps_per_epoch=workload.steps_per_epoch,
        evaluate_every=workload.evaluate_every or max(1, workload.steps // REPORTS),
        data_hash=workload.data_hash,
        code_hash=_code_hash(spec),
        about=workload.about,
        torch=torch.__version__,
        lehr=lehr.__version__,
    )


def _code_hash(name: str) -> str:
    """Hash of the file that defines a workload: a changed task is another task."""
    if name in workloads.BUILT_IN:
        found = importlib.util.find_spec(f"{workloads.__name__}.{name}")
        path = found.origin if found and found.origin else ""
    else:
        path = name.rpartition(":")[0]
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]


def message(error: Exception) -> str:
    """The error and the line that raised it, as in 'ValueError: too long (train.py, line 12)'."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"
