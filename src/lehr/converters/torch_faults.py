"""What torch's schedulers do otherwise than their schedule says, and what they do beside the LR."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lehr.checks.finding import Finding
from lehr.converters import torch_schedules as torch
from lehr.converters.conversion import finding
from lehr.converters.torch_scheduler import OWN_BASE, Scheduler

__all__ = ["faults"]

OVERWRITES = (*OWN_BASE, "LambdaLR", "CosineAnnealingWarmRestarts")  # in a chain they ignore the others
JOINED = ("SequentialLR", "ChainedScheduler")


def faults(told: Scheduler) -> list[Finding]:
    """Findings about a scheduler and all inside it."""
    notes = [*_progress(told)]
    for item in told.all():
        notes += [*_alone(item), *_momentum(item)]
    if told.kind == "SequentialLR" or any(item.kind == "SequentialLR" for item in told.all()):
        notes += _sequence(told)
    if told.kind == "ChainedScheduler" and len(told.inside) > 1:
        notes += _chain(told)
    return notes


def _progress(told: Scheduler) -> Iterator[Finding]:
    if told.steps > 0:
        reason = f"this scheduler has done {told.steps} steps already; the policy is its whole curve, from step 0"
        yield finding("C108", "note", reason, f"to go on from there, let the run begin at step {told.steps}")


def _alone(told: Scheduler) -> Iterator[Finding]:
    if told.kind == "CosineAnnealingLR":
        reason = f"torch's CosineAnnealingLR rises again after T_max={told.values.get('T_max')}, back to the base LR"
        yield finding("C102", "note", reason, "the policy holds eta_min; for cycles write lehr.cosine(n).repeat()")
    if told.kind == "OneCycleLR":
        total = told.values.get("total_steps")
        reason = f"torch's OneCycleLR takes a step {total} at which the LR goes up again, and then raises an error"
        yield finding("C102", "note", reason, "the policy holds its last value")
        if told.way_up <= 0:
            reason = "the way up of this OneCycleLR has less than one step, so torch begins beyond the peak"
            yield finding("C103", "warning", reason, "the policy begins at the peak; give pct_start more than 1/steps")
    if told.kind in ("LambdaLR", "MultiplicativeLR"):
        reason = f"the function of this {told.kind} has no text, so the policy runs but cannot be saved"
        yield finding("C109", "note", reason, "register it: lehr.register('name', function), and of_step('name')")


def _momentum(told: Scheduler) -> Iterator[Finding]:
    if told.kind not in OWN_BASE or not told.values.get("cycle_momentum"):
        return
    remedy = "add it with lehr.bind(lr=..., momentum=...)"
    if told.groups and "base_momentum" in told.groups[0]:
        low, high = float(told.groups[0]["base_momentum"]), float(told.groups[0]["max_momentum"])
        key = "betas[0]" if told.values.get("use_beta1") else "momentum"
        text = torch.one_cycle_momentum if told.kind == "OneCycleLR" else torch.cyclic_momentum
        remedy = f"set the optimiser's {key} to {high:g} and {_bound(told, key, text, low, high)}"
    yield finding("C202", "warning", f"{told.kind} also cycles the momentum, which is not converted", remedy)


def _bound(told: Scheduler, key: str, make: Any, low: float, high: float) -> str:
    values = told.values
    if told.kind == "OneCycleLR":
        phases, total = values["_schedule_phases"], values["total_steps"]
        share = (told.way_up + 1) / total
        kind = "linear" if values.get("_anneal_func_type") == "linear" else "cos"
        schedule = make(total, share, kind, low, high, len(phases) == 3)
    elif values.get("_scale_fn_custom") is None and values.get("mode") == "triangular":
        up = round(values["total_size"] * values["step_ratio"])
        schedule = make(low, high, up, round(values["total_size"]) - up)
    else:
        return f"write its cycle between {high:g} and {low:g} by hand"
    return f"write lehr.bind({{'lr': ..., '{key}': {schedule!r}}})"


def _sequence(told: Scheduler) -> Iterator[Finding]:
    for outer in told.all():
        if outer.kind != "SequentialLR":
            continue
        kinds = [item.kind for item in outer.inside]
        own = next((kind for kind in kinds if kind in OWN_BASE), None)
        if own and len(set(kinds)) > 1:
            reason = f"the {own} inside overwrites the base LR, so in torch the other parts run at its first LR"
            yield finding("C103", "warning", reason, "the policy gives every part its own LR; check the base LR")
        if "MultiplicativeLR" in kinds[1:]:
            reason = "torch's MultiplicativeLR as a later part goes on from the LR before it, times its factor at once"
            yield finding("C103", "warning", reason, "the policy begins it at the base LR, as all other parts")
        if any(kind in JOINED for kind in kinds[1:]):
            reason = "torch raises NotImplementedError where a joined scheduler is a later part"
            yield finding("C103", "note", reason, "the policy simply goes on with it")


def _chain(told: Scheduler) -> Iterator[Finding]:
    ignoring = sorted({item.kind for item in told.inside if item.kind in OVERWRITES})
    if ignoring:
        reason = f"in torch's chain {' and '.join(ignoring)} ignores the other schedulers, and the LR goes to and fro"
        yield finding("C103", "warning", reason, "the policy is the product of all of them")
    if any(item.kind == "CosineAnnealingLR" and item.values.get("eta_min") for item in told.inside):
        reason = "in torch's chain the eta_min of CosineAnnealingLR is mixed with the other factors step by step"
        yield finding("C103", "warning", reason, "the policy is the product, with eta_min as a factor of the base LR")
