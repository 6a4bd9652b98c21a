"""transformers: the arguments of `get_scheduler`, and a `TrainingArguments` json."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lehr.checks.finding import Finding
from lehr.converters.arguments import Arguments
from lehr.converters.conversion import Conversion, Given, finding
from lehr.converters.parts import base_lr
from lehr.converters.transformers import of_arguments
from lehr.errors import LehrError
from lehr.lengths import LengthLike
from lehr.spelling import brief, shown

__all__ = ["read"]

ABOUT_STEPS = ("num_warmup_steps", "num_training_steps", "scheduler_specific_kwargs")
OF_DIFFUSERS = {"lr_scheduler": "constant", "lr_warmup_steps": 500}
OF_TRAINER = {"learning_rate": 5e-5, "lr_scheduler_type": "linear", "num_train_epochs": 3.0}


def read(values: Mapping[str, Any], given: Given) -> Conversion:
    """The arguments of `get_scheduler`, or a `TrainingArguments` json.

    Raises:
        LehrError: an unknown schedule, or arguments that it does not have.
    """
    if any(values.get(name) is not None for name in OF_DIFFUSERS):
        return _of_diffusers(values, given)
    trainer = not any(name in values for name in ABOUT_STEPS) and "name" not in values
    return _of_trainer(values, given) if trainer else _of_get_scheduler(values, given)


def _of_get_scheduler(values: Mapping[str, Any], given: Given) -> Conversion:
    args = Arguments(values, "get_scheduler")
    name = str(getattr(args.first("name", "lr_scheduler_type"), "value", args.first("name", "lr_scheduler_type")))
    extra = _own(args.first("scheduler_specific_kwargs", "lr_scheduler_kwargs"))
    said = args.number("learning_rate") if args.has("learning_rate") else args.number("lr")
    warm, total = args.count("num_warmup_steps"), args.count("num_training_steps", 1)
    args.all_read("optimizer", "last_epoch")
    if warm is None and name not in ("constant", "reduce_lr_on_plateau", "greedy"):
        raise LehrError(f"{name} needs num_warmup_steps; add it (0 for none)")
    lr, notes = base_lr(said, given, "the source")
    return of_arguments(name, warm or 0, total, extra, lr, given, notes)


def _of_trainer(values: Mapping[str, Any], given: Given) -> Conversion:
    args = Arguments(values, "TrainingArguments", OF_TRAINER)
    type_ = args.get("lr_scheduler_type")
    name = str(getattr(type_, "value", type_)).removeprefix("SchedulerType.").lower()
    extra = _own(args.get("lr_scheduler_kwargs"))
    lr, notes = base_lr(args.number("learning_rate"), given, "TrainingArguments")
    if not args.has("lr_scheduler_type"):
        notes.append(_by_default("transformers", "lr_scheduler_type=linear"))
    asked, epochs = args.number("max_steps", -1.0), args.number("num_train_epochs")
    asked = args.number("max_train_steps", 1.0) if asked is None else asked  # of the scripts without a Trainer
    total = int(asked) if asked is not None and asked > 0 else given.steps
    if total is None and given.steps_per_epoch is not None and epochs is not None:
        total = math.ceil(epochs * given.steps_per_epoch)
    best, monitored = args.get("greater_is_better"), args.get("metric_for_best_model")
    if monitored is not None and given.metric is None:
        given = given._replace(metric=_reported(str(monitored)))
    if best is True and name == "reduce_lr_on_plateau" and extra.get("mode", "min") == "min":
        notes.append(_wrong_way(given.metric))
    warm = _trainer_warmup(args, total)
    notes += args.unread_about_lr("optim") + _by_deepspeed(args)
    found = of_arguments(name, warm, total, extra, lr, given, notes)
    by_epochs = None if asked is not None and asked > 0 else epochs
    return Conversion(found.policy, found.peer, found.lr, found.horizon, by_epochs, found.findings)


def _of_diffusers(values: Mapping[str, Any], given: Given) -> Conversion:
    """The flags of diffusers' training scripts."""
    args = Arguments(values, "diffusers' training script", OF_DIFFUSERS)
    name, epochs = str(args.get("lr_scheduler")), args.number("num_train_epochs")
    taken = [f"{key}={value}" for key, value in OF_DIFFUSERS.items() if not args.has(key)]
    lr, notes = base_lr(args.number("learning_rate"), given, "the source")
    if taken:
        notes.append(_by_default("diffusers", ", ".join(taken)))
    if args.flag("scale_lr"):
        reason = "scale_lr multiplies the LR by the batch size, the accumulation and the processes"
        notes.append(finding("C106", "warning", reason, "give the LR that it makes: convert(..., lr=...)"))
    total = args.count("max_train_steps", 1) or given.steps
    if total is None and given.steps_per_epoch is not None and epochs is not None:
        total = math.ceil(epochs * given.steps_per_epoch)
    cycles, power = args.number("lr_num_cycles"), args.number("lr_power")
    extra = {"cosine_with_restarts": {"num_cycles": cycles}, "polynomial": {"power": power}}.get(name, {})
    extra = {key: value for key, value in extra.items() if value is not None}
    warm = args.count_or("lr_warmup_steps", 0)
    notes += args.unread_about_lr("optim")
    found = of_arguments(name, warm, total, extra, lr, given, notes)
    return replace(found, epochs=None if args.has("max_train_steps") else epochs)


def _by_default(peer: str, taken: str) -> Finding:
    reason = f"{peer}' defaults are taken for what the source does not say: {taken}"
    return finding("C101", "note", reason, "name them in the source if they are not meant")


def _own(given: Any) -> Mapping[str, Any]:
    """The schedule's own arguments, a dict or the JSON of one."""
    try:
        read = json.loads(given) if isinstance(given, str) and given else given or {}
    except ValueError as error:
        raise LehrError(f"the schedule's own arguments must be JSON, got {shown(given)}: {brief(error)}") from None
    if not isinstance(read, Mapping):
        raise LehrError(f"the schedule's own arguments must be a dict, got {shown(given)}")
    return read


def _reported(name: str) -> str:
    return name if name.startswith("eval_") else f"eval_{name}"


def _wrong_way(name: str | None) -> Finding:
    return finding(
        "C204",
        "error",
        f"greater_is_better is true for {name}, but reduce_lr_on_plateau waits for a lower value (mode='min')",
        "set lr_scheduler_kwargs={'mode': 'max'}, or write best='max' in the policy",
    )


def _trainer_warmup(args: Arguments, total: int | None) -> LengthLike:
    """`warmup_steps` (a share of the run below 1), before `warmup_ratio`."""
    steps, ratio = args.number_or("warmup_steps", 0.0), args.number_or("warmup_ratio", 0.0)
    if steps >= 1:
        return int(steps)
    part = steps or ratio
    if part > 1:
        raise LehrError(f"warmup_ratio of TrainingArguments must be at most 1, got {part:g}")
    if total is None:
        return f"{100 * part:.12g}%" if part else 0
    return math.ceil(total * part)


def _by_deepspeed(args: Arguments) -> list[Finding]:
    config = args.get("deepspeed")
    if isinstance(config, str) and config:
        reason = f"the DeepSpeed config {config} may have a scheduler, which takes the place of lr_scheduler_type"
        return [finding("C106", "warning", reason, "convert that file too")]
    if not isinstance(config, Mapping) or "scheduler" not in config:
        return []
    reason = "the DeepSpeed config inside has a scheduler, which takes the place of lr_scheduler_type"
    return [finding("C203", "error", reason, "convert the DeepSpeed config instead")]
