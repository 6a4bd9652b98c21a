"""timm: the arguments of its training script and of `create_scheduler`.

t is the epoch, or the update with `sched_on_updates`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Literal

from lehr.checks.finding import Finding
from lehr.converters.arguments import Arguments
from lehr.converters.conversion import Conversion, Given, finding
from lehr.converters.parts import Plateau, base_lr, horizon_of, plateau, rise
from lehr.converters.timm_schedules import SCHEDULES, Plan
from lehr.errors import LehrError
from lehr.lengths import LARGEST
from lehr.policy import PolicyLike

__all__ = ["read"]

OF_CREATE_SCHEDULER: dict[str, Any] = {
    "sched": "cosine",
    "epochs": 100,
    "decay_epochs": 30,
    "decay_milestones": [30, 60],
    "warmup_epochs": 5,
    "patience_epochs": 10,
    "decay_rate": 0.1,
    "min_lr": 0.0,
    "warmup_lr": 1e-5,
    "lr_cycle_mul": 1.0,
    "lr_cycle_decay": 0.1,
    "lr_cycle_limit": 1,
    "lr_k_decay": 1.0,
    "eval_metric": "top1",
}
OF_TRAIN_SCRIPT = OF_CREATE_SCHEDULER | {
    "epochs": 300,
    "decay_epochs": None,
    "decay_milestones": [90, 180, 270],
    "lr_cycle_decay": 0.5,
}
HARMLESS = (  # of other schedules than the one that is chosen, or read where they matter
    *OF_CREATE_SCHEDULER,
    "cooldown_epochs",
    "layer_decay_min_scale",
    "layer_decay_no_opt_scale",
    "lr_base",
    "lr_base_scale",
    "lr_base_size",
    "lr_decay_fn",
    "lr_noise_pct",
    "lr_noise_std",
    "lr_stable_timescale",
)


def read(values: Mapping[str, Any], given: Given, *, script: bool) -> Conversion:
    """The arguments; `script`: as flags of its training script, whose defaults differ from `create_scheduler`'s.

    Raises:
        LehrError: an unknown schedule, or arguments that timm refuses or that cannot be placed.
    """
    args = Arguments(values, "timm", OF_TRAIN_SCRIPT if script else OF_CREATE_SCHEDULER)
    name = args.word("sched", (*SCHEDULES, "plateau")) or "cosine"
    lr, notes = base_lr(args.number("lr"), given, "timm's lr")
    if lr is None and args.number("lr_base") is not None:
        notes.append(_by_batch(args))
    by_update = args.flag("sched_on_updates")
    if by_update and given.steps_per_epoch is None:
        raise LehrError("sched_on_updates counts updates, and an epoch's are not known; give steps_per_epoch=...")
    unit, per = ("steps", given.steps_per_epoch or 1) if by_update else ("epochs", 1)
    plan = Plan(
        args,
        unit,
        per,
        args.amount("epochs") or Fraction(0),
        args.amount("warmup_epochs") or Fraction(0),
        args.flag("warmup_prefix"),
        args.number_or("min_lr", 0.0),
        lr,
    )
    if not plan.epochs or (plan.warm * per).denominator != 1 or (plan.epochs * per).denominator != 1:
        raise LehrError(
            f"timm counts whole {unit}: epochs of at least 1 and warmup_epochs must be such, got "
            f"{float(plan.epochs):g} and {float(plan.warm):g}"
        )
    notes += _defaults(values, args, name, plan.warm > 0)
    policy: PolicyLike
    if name == "plateau":
        policy, total, more = _plateau(plan, given)
        notes += more
    else:
        schedule, total = SCHEDULES[name](plan)
        total += args.amount("cooldown_epochs") or 0
        policy = schedule if by_update else schedule.staircase("1 epoch")
        notes += _about(name, plan)
    if total > LARGEST:
        raise LehrError(f"the epochs of timm's run must be at most 1e18, got more than {LARGEST:.0e}")
    notes += _not_converted(args)
    steps = None if given.steps_per_epoch is None else math.ceil(total * given.steps_per_epoch)
    horizon = horizon_of(steps, given)
    return Conversion(policy, "timm", lr, horizon, float(total), tuple(notes + args.unread_about_lr(*HARMLESS)))


def _by_batch(args: Arguments) -> Finding:
    reason = f"lr_base={args.number('lr_base'):g} is scaled by the global batch size, which is not in the source"
    return finding("C106", "warning", reason, "give the LR that timm logs: convert(..., lr=...)")


def _defaults(values: Mapping[str, Any], args: Arguments, name: str, warm: bool) -> list[Finding]:
    """The defaults that shape the LR and are easily forgotten."""
    names = ["epochs", "warmup_epochs", *(["warmup_lr"] if warm else [])]
    names += {"step": ["decay_epochs", "decay_rate"], "multistep": ["decay_milestones", "decay_rate"],
              "poly": ["decay_rate"], "plateau": ["decay_rate", "patience_epochs"]}.get(name, [])  # fmt: skip
    taken = [f"{item}={args.defaults[item] or 90}" for item in names if values.get(item) is None]
    if not taken:
        return []
    reason = f"timm's defaults are taken for what the source does not say: {', '.join(taken)}"
    return [finding("C101", "note", reason, "name them in the source if they are not meant")]


def _plateau(plan: Plan, given: Given) -> tuple[PolicyLike, Fraction, list[Finding]]:
    name = given.metric or str(plan.args.get("eval_metric"))
    factor, patience = plan.args.needed("decay_rate"), plan.args.counted("patience_epochs")
    up = rise(plan.units(plan.warm), start=plan.first) if plan.warm else None
    best: Literal["min", "max"] = "min" if "loss" in name else "max"
    told = Plateau(name, best, factor, patience, 1e-4, 0, plan.low, "torch")
    reason = f"timm waits for {name} (eval_metric) to stand still, where better is {best}"
    note = finding("C107", "note", reason, f"report it once an epoch: run.observe({name}=...)")
    return plateau(told, up.staircase("1 epoch") if up else None), plan.epochs, [note]


def _about(name: str, plan: Plan) -> list[Finding]:
    notes = []
    grow, cycles = plan.args.number_or("lr_cycle_mul", 1.0), plan.args.count_or("lr_cycle_limit", 1)
    if name in ("cosine", "poly", "tanh") and cycles > 1 and grow != int(grow):
        reason = f"cycles that grow {grow:g}-fold do not end at whole {plan.unit}, as Lehr's do at whole steps"
        notes.append(finding("C104", "note", reason, "the LR differs by a step near the restarts"))
    if plan.low and name in ("step", "multistep"):
        reason = f"timm's {name} schedule ignores min_lr={plan.low:g}"
        notes.append(
            finding("C105", "warning", reason, f"the policy does so too; write Policy(..., min_lr={plan.low:g})")
        )
    if plan.warm and not plan.prefix and name not in ("wsd", "rsqrt"):
        reason = (
            f"the warm-up of {float(plan.warm):g} epochs lies over the beginning of the schedule (warmup_prefix is off)"
        )
        notes.append(
            finding("C102", "note", reason, "the policy does so too; warmup(...).then(...) is the plainer form")
        )
    if name == "multistep":
        reason = "timm's multistep has cut the LR already one epoch (or update) before each milestone"
        notes.append(finding("C102", "note", reason, "the policy does so too"))
    return notes


def _not_converted(args: Arguments) -> list[Finding]:
    notes = []
    if args.get("lr_noise") is not None:
        pct = args.number_or("lr_noise_pct", 0.67)
        reason = "lr_noise draws from torch's generator, so the same noise cannot be had; it is not converted"
        remedy = f"multiply the policy with lehr.noise({pct:g}, every='1 epoch')"
        notes.append(finding("C203", "error", reason, remedy))
    if args.number("layer_decay") not in (None, 1.0):
        reason = (
            f"layer_decay={args.number('layer_decay'):g} gives each layer an LR of its own; the policy has none of it"
        )
        notes.append(finding("C202", "warning", reason, "keep timm's parameter groups: each keeps its own base LR"))
    return notes
