"""Megatron-LM: its flags for the LR, in iterations or in samples.

Write w for the warm-up and D for the decay length, which includes it; after D the LR is `min_lr`.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, NamedTuple

from lehr.checks.finding import Finding
from lehr.converters.arguments import Arguments
from lehr.converters.conversion import Conversion, Given, finding
from lehr.converters.parts import base_lr, chain, horizon_of, left, rise, share, whole
from lehr.errors import LehrError
from lehr.lengths import Horizon
from lehr.schedules import (
    Schedule,
    cosine,
    exp_cooldown,
    hold,
    inverse_sqrt,
    linear,
    minimum,
    one_minus_sqrt,
    piecewise,
)

__all__ = ["STYLES", "read"]

STYLES = ("constant", "linear", "cosine", "inverse-square-root", "WSD")
COOLDOWNS = ("exponential", "linear", "cosine", "minus_sqrt")
DEFAULTS = {"lr_decay_style": "linear", "lr_wsd_decay_style": "exponential"}
HARMLESS = ("use_checkpoint_opt_param_scheduler", "override_opt_param_scheduler", "lr_scheduler_type")


class Lengths(NamedTuple):
    """All lengths in steps, exact."""

    run: int | None
    warm: Fraction
    decay: Fraction
    cooldown: Fraction | None
    samples: int | None  # in an update, where the flags count samples


def read(values: Mapping[str, Any], given: Given) -> Conversion:
    """Megatron's flags, as a mapping of their names with underscores.

    Raises:
        LehrError: a length or the LR is missing, or the flags contradict each other.
    """
    args = Arguments(values, "Megatron", DEFAULTS)
    style, cooldown = args.word("lr_decay_style", STYLES), args.word("lr_wsd_decay_style", COOLDOWNS)
    low, first = args.number_or("min_lr", 0.0), args.number_or("lr_warmup_init", 0.0)
    lr, notes = base_lr(args.number("lr"), given, "Megatron's --lr")
    if lr is not None and max(low, first) > lr:
        raise LehrError(f"Megatron needs min_lr and lr_warmup_init at most lr={lr:g}, got {low:g} and {first:g}")
    told = _lengths(args, given)
    if not told.warm < told.decay:
        raise LehrError(
            f"Megatron's warm-up must end before its decay does, got {_s(told.warm)} and {_s(told.decay)} steps"
        )
    horizon = horizon_of(told.run, given, samples_per_step=told.samples)
    warm, more = whole(told.warm, min(told.warm, told.decay - told.warm), "the warm-up", "Megatron")
    total, again = whole(told.decay, told.decay - told.warm, "the decay", "Megatron")
    notes += [*more, *again]
    up = rise(warm, start=share(first, lr, "lr_warmup_init", "Megatron"))
    if style == "WSD":
        tail, again = _cool(str(cooldown), told, warm, total, low, horizon)
        notes += again
    else:
        tail = _fall(str(style), warm, total, low, lr, horizon)
        notes += _first_sample(args) if style == "inverse-square-root" and not warm else []
    notes += _not_converted(args) + args.unread_about_lr(*HARMLESS)
    return Conversion(chain(up, tail), "megatron", lr, horizon, findings=tuple(notes))


def _lengths(args: Arguments, given: Given) -> Lengths:
    iterations, samples = args.count("train_iters", 1), args.count("train_samples", 1)
    batch = args.count("global_batch_size", 1)
    if (iterations is None) == (samples is None):
        if iterations is not None or given.steps is None:
            raise LehrError(
                f"Megatron needs train_iters or train_samples, one of them, got {iterations} and {samples}; "
                "add it, or give convert(..., steps=...)"
            )
        iterations = given.steps
    unit, run = ("iters", iterations) if samples is None else ("samples", samples)
    if unit == "samples" and batch is None:
        raise LehrError("train_samples becomes steps by global_batch_size, which is not in the source; add it")
    other = "samples" if unit == "iters" else "iters"
    for name in (f"lr_decay_{other}", f"lr_warmup_{other}", f"lr_wsd_decay_{other}"):
        if args.number(name):
            raise LehrError(f"Megatron refuses {name} beside train_{unit}; give it in {unit}")
    per = Fraction(batch or 1) if unit == "samples" else Fraction(1)
    decay = args.amount(f"lr_decay_{unit}") or Fraction(run or 1)
    part, warm = args.amount("lr_warmup_fraction"), args.amount(f"lr_warmup_{unit}")
    if part is not None and warm:
        raise LehrError("Megatron takes lr_warmup_fraction or a length of the warm-up, not both")
    warm = part * decay if part is not None else warm or Fraction(0)
    cooldown = args.amount(f"lr_wsd_decay_{unit}")
    steps = iterations if samples is None else samples // (batch or 1)
    in_samples = batch if unit == "samples" else None
    return Lengths(steps, warm / per, decay / per, None if cooldown is None else cooldown / per, in_samples)


def _fall(style: str, warm: int, total: int, low: float, lr: float | None, horizon: Horizon | None) -> Schedule:
    rest = left(total, warm, horizon)
    if style == "constant":
        return hold()
    if style == "linear":
        return linear(rest, to_lr=low) if low else linear(rest)
    if style == "cosine":
        return cosine(rest, to_lr=low) if low else cosine(rest)
    floor = share(low, lr, "min_lr", "Megatron")
    root = inverse_sqrt(warm) if warm else hold(1).then(inverse_sqrt(1))
    root = root.clip(floor) if floor else root
    if horizon is not None and horizon.steps is not None and horizon.steps <= total + 1:
        return root
    return minimum(root, piecewise({total + 1 - warm: floor}))


def _cool(
    style: str, told: Lengths, warm: int, total: int, low: float, horizon: Horizon | None
) -> tuple[Schedule, list[Finding]]:
    if told.cooldown is None:
        raise LehrError("Megatron's WSD needs lr_wsd_decay_iters (or _samples), which is not in the source; add it")
    cooldown, notes = whole(told.cooldown, told.cooldown, "the cool-down", "Megatron")
    stable = total - warm - cooldown
    if stable < 0:
        raise LehrError(
            f"the warm-up of {warm} and the cool-down of {cooldown} steps are longer than the decay of {total}, where "
            "Megatron's LR jumps; shorten one of them"
        )
    floor = {"to_lr": low} if low else {}
    shapes = {
        "exponential": exp_cooldown(cooldown, ratio=0.5, **floor),
        "linear": linear(cooldown, **floor),
        "cosine": cosine(cooldown, **floor),
        "minus_sqrt": one_minus_sqrt(cooldown, **floor),
    }
    return hold(left(total, total - stable, horizon)).then(shapes[style]), notes


def _first_sample(args: Arguments) -> list[Finding]:
    """Megatron counts in samples, and its root takes the place of a missing warm-up by one of them."""
    batch = args.count("global_batch_size", 1)
    if batch == 1:
        return []
    share = "1/√global_batch_size" if batch is None else f"{batch**-0.5:.2g}"
    reason = (
        f"without a warm-up Megatron's root counts from the first sample: its second update has {share} of the peak"
    )
    return [finding("C103", "warning", reason, "the policy counts from the first update; give a warm-up")]


def _not_converted(args: Arguments) -> list[Finding]:
    """Flags known to change the LR of some groups, or what a step is, or the weight decay."""
    told = {
        "decoupled_lr": "gives the first and last layer an LR of their own",
        "decoupled_min_lr": "gives the first and last layer a floor of their own",
        "head_lr_mult": "multiplies the LR of the head",
        "rampup_batch_size": "changes the samples in an update, by which Megatron counts its schedule",
        "lr_warmup_tokens": "counts the warm-up in tokens",
        "lr_decay_tokens": "counts the decay in tokens",
        "warmup": "is an old flag that Megatron refuses",
    }
    notes = [
        finding("C203", "error", f"{name} {words}; that is not converted", "write it into the policy (lehr.groups)")
        for name, words in told.items()
        if args.get(name) not in (None, False, 1, 1.0, "1", "1.0")
    ]
    if args.get("weight_decay_incr_style") not in (None, "constant"):
        reason = "the weight decay has a schedule of its own, which is not converted"
        notes.append(finding("C202", "warning", reason, "write it as lehr.bind(lr=..., weight_decay=...)"))
    return notes


def _s(amount: Fraction) -> str:
    return f"{float(amount):g}"
