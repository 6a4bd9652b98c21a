"""One cell: make the workload, train it under its policy, come back with a row. Runs in a worker process.

Training is the plain loop that anybody would write around `lehr.torch.Scheduler`. Every `evaluate_every` updates, and
after the last one, the numbers on validation data go to the policy together with the loss of that update, as
`val_loss` and `val_<metric>`.

One thread and seeds that come from the cell make a run repeatable to the last bit on one machine.
"""

from __future__ import annotations

import math
import platform
import random
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

import lehr
from lehr import Bind, Groups, Policy, Rule
from lehr.errors import LehrError, LehrWarning
from lehr.policy import PolicyLike
from lehr.study.job import Job, Outcome
from lehr.study.prepare import find, message, one_thread, scheduler
from lehr.study.rows import Row, Status
from lehr.study.workloads import Split, Workload
from lehr.torch import Scheduler
from lehr.torch.evaluating import evaluating

EXPLODED = 1000.0  # times the first loss (at least 1): nothing comes back from there

Tell = Callable[[int, float, float], None]  # called after every update: updates applied, LR of the next one, loss


def run_cell(job: Job, tell: Tell) -> Outcome:
    """Train one cell; whatever happens inside the workload becomes a row."""
    one_thread()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", LehrWarning)
        try:
            row = _trained(job, tell)
        except Exception as error:  # the user's code may raise anything, and one cell must not end the study
            row = _row(job, "failed", message=message(error))
    return Outcome(row, tuple(dict.fromkeys(str(one.message) for one in caught if one.category is LehrWarning)))


def rules(policy: PolicyLike) -> list[Rule]:
    """All rules of a policy, those for single groups or hyperparameters included."""
    if isinstance(policy, Groups | Bind):
        return [rule for _, part in policy.members for rule in rules(part)]
    if isinstance(policy, Policy):
        return list(policy.rules)
    return [policy] if isinstance(policy, Rule) else []


def _trained(job: Job, tell: Tell) -> Row:
    workload = _made(job)
    policy = lehr.as_policy(job.cell.text)
    run = scheduler(workload, policy)
    with lehr.record(run, job.folder / job.trace, **_header(job)):
        status, last = _train(workload, run, job.facts.evaluate_every, tell)
        run.finish()
    fired = {repr(rule): 0 for rule in rules(policy)}
    for event in run.events:
        if event.kind == "rule":
            fired[event.rule] = fired.get(event.rule, 0) + event.times
    test = _measure(workload, "test") if status == "ok" else {}
    if not all(map(math.isfinite, test.values())):
        status, test, last = "diverged", {}, {}
    results = _numbers(workload.metric, "test", test) | _numbers(workload.metric, "validation", last)
    return _row(job, status, steps=run.t, fired=fired, **results)


def _train(workload: Workload, run: Scheduler, every: int, tell: Tell) -> tuple[Status, dict[str, float]]:
    """Run the updates; the status, and the last numbers on validation data."""
    first: float | None = None
    numbers: dict[str, float] = {}
    for batch in _exactly(workload.steps, workload.batches):
        loss = workload.loss(workload.model, batch)
        value = loss.item()
        first = value if first is None else first
        if not abs(value) <= EXPLODED * max(1.0, abs(first)):  # NaN included
            return "diverged", {}
        workload.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own
        workload.optimizer.step()
        applied = run.t + 1
        due = applied % every == 0 or applied == workload.steps
        numbers = _measure(workload, "validation") if due else {}
        if not all(map(math.isfinite, numbers.values())):
            return "diverged", {}
        run.step(loss=value, **_reported(numbers))
        tell(applied, run.lr, value)
        if run.done:
            break
    return "ok", numbers or _measure(workload, "validation")


def _measure(workload: Workload, split: Split) -> dict[str, float]:
    """The workload's numbers on a split: eval mode, no gradients, training's randomness untouched."""
    with evaluating(workload.model):
        numbers = workload.evaluate(workload.model, split)
    missing = {"loss", workload.metric} - numbers.keys()
    if missing:
        raise LehrError(f"evaluate must return 'loss' and {workload.metric!r}, got {sorted(numbers)}")
    return {"loss": float(numbers["loss"]), workload.metric: float(numbers[workload.metric])}


def _made(job: Job) -> Workload:
    """A fresh workload at the cell's peak, with every source of randomness seeded by the cell."""
    seed = job.cell.seed
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 — for workloads that use it
    torch.manual_seed(seed)
    workload = find(job.facts.spec)[1](seed)
    if workload.data_hash != job.facts.data_hash or workload.steps != job.facts.steps:
        raise LehrError("a workload must have the same data and number of steps for every seed, but they changed")
    for group in workload.optimizer.param_groups:
        group["lr"] = group["lr"] * job.cell.peak
    return workload


def _exactly(steps: int, batches: Any) -> Iterator[Any]:
    """The first `steps` batches; too few of them is an error, since the schedule was made for all."""
    count = 0
    for count, batch in enumerate(batches, start=1):
        yield batch
        if count == steps:
            return
    raise LehrError(f"batches must hold at least steps={steps}, got {count}; let them go on for more epochs")


def _header(job: Job) -> dict[str, Any]:
    """What the trace says of its origin, beside what `lehr.record` writes itself."""
    cell = job.cell
    return {
        "workload": cell.workload,
        "label": cell.policy,
        "peak": cell.peak,
        "seed": cell.seed,
        "role": cell.role,
        "data_hash": job.facts.data_hash,
    }


def _reported(numbers: dict[str, float]) -> dict[str, Any]:
    return {f"val_{name}": number for name, number in numbers.items()}


def _numbers(metric: str, split: Split, numbers: dict[str, float]) -> dict[str, Any]:
    return {f"{split}_loss": numbers.get("loss"), f"{split}_metric": numbers.get(metric)}


def _row(job: Job, status: Status, *, steps: int = 0, **results: Any) -> Row:
    cell, facts = job.cell, job.facts
    return Row(
        key=cell.key,
        workload=cell.workload,
        policy=cell.policy,
        text=cell.text,
        peak=cell.peak,
        lr=facts.lr * cell.peak,
        seed=cell.seed,
        role=cell.role,
        status=status,
        steps=steps,
        metric=facts.metric,
        best=facts.best,
        trace=job.trace,
        data_hash=facts.data_hash,
        python=platform.python_version(),
        torch=facts.torch,
        lehr=facts.lehr,
        **results,
    )
