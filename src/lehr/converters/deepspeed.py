"""DeepSpeed: the `scheduler` and `optimizer` of its config.

lr(t) is what DeepSpeed's formula gives for batch iteration t. Write n for the warm-up, T for the total steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, NamedTuple

from lehr.checks.finding import Finding
from lehr.converters.arguments import Arguments
from lehr.converters.conversion import Conversion, Given, finding
from lehr.converters.parts import base_lr, chain, horizon_of, left, length, rise, share
from lehr.errors import LehrError
from lehr.lengths import LengthLike
from lehr.schedules import Schedule, cosine, hold, inverse_time, linear, piecewise
from lehr.spelling import shown

__all__ = ["TYPES", "read"]

MOST_STAIRS = 10_000


class Made(NamedTuple):
    """A schedule with its base LR, the run's steps as far as it says them, and findings."""

    schedule: Schedule
    lr: float | None
    total: int | None = None
    notes: tuple[Finding, ...] = ()


Reader = Callable[[Arguments, float | None, Given], Made]


def read(values: Mapping[str, Any], given: Given) -> Conversion:
    """A DeepSpeed config, or its `scheduler` part.

    Raises:
        LehrError: no scheduler, an unknown one, "auto" where a number is needed, or a parameter that it does not have.
    """
    scheduler = values.get("scheduler", values)
    kind = scheduler.get("type") if isinstance(scheduler, Mapping) else None
    if not isinstance(kind, str) or kind not in TYPES:
        raise LehrError(
            f"a DeepSpeed config needs scheduler.type, one of {', '.join(TYPES)}, got {shown(kind)}; without a "
            "scheduler DeepSpeed leaves the LR alone"
        )
    optimizer = values.get("optimizer")
    settings = (optimizer.get("params") or {}) if isinstance(optimizer, Mapping) else {}
    said = Arguments(_without_auto(settings), "optimizer.params").number("lr")
    args = Arguments(_without_auto(_filled(scheduler.get("params") or {}, given)), f"DeepSpeed's {kind}")
    made = TYPES[kind](args, said, given)
    args.all_read("last_batch_iteration")
    horizon = horizon_of(made.total, given)
    return Conversion(made.schedule, "deepspeed", made.lr, horizon, findings=made.notes)


def _filled(params: Mapping[str, Any], given: Given) -> dict[str, Any]:
    """The parameters; what transformers' Trainer would fill in ("auto") is taken from the caller."""
    known = {"warmup_max_lr": given.lr, "warmup_min_lr": 0.0, "total_num_steps": given.steps}
    lacking = [name for name, value in params.items() if value == "auto" and known.get(name) is None]
    if lacking:
        raise LehrError(
            f'{", ".join(lacking)} of the DeepSpeed scheduler is "auto", which transformers\' Trainer fills in; write '
            "the numbers into the config (lr= and steps= stand in for warmup_max_lr and total_num_steps)"
        )
    return {name: known[name] if value == "auto" else value for name, value in params.items()}


def _without_auto(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if value != "auto"}


def _warmup_lr(args: Arguments, said: float | None, given: Given) -> Made:
    low, high = args.number_or("warmup_min_lr", 0.0), args.number("warmup_max_lr")
    peak, notes = _peak(said if high is None else high, said, given, args.what)
    count, log, more = _warming(args)
    up = _up(count, log, share(low, peak, "warmup_min_lr", args.what))
    return Made(chain(up, hold()), peak, None, (*notes, *more, _late()))


def _warmup_decay_lr(args: Arguments, said: float | None, given: Given) -> Made:
    total, high = args.counted("total_num_steps", 1), args.number("warmup_max_lr")
    low, default = args.number_or("warmup_min_lr", 0.0), high is None
    peak, notes = _peak(1e-3 if high is None else high, said, given, args.what, default)
    count, log, more = _warming(args)
    floor = share(low, peak, "warmup_min_lr", args.what)
    rest = left(total, count, horizon_of(total, given))
    return Made(chain(_up(count, log, floor), linear(rest, to=floor)), peak, total, (*notes, *more, _late()))


def _warmup_cosine_lr(args: Arguments, said: float | None, given: Given) -> Made:
    total, first = args.counted("total_num_steps", 1), args.number_or("warmup_min_ratio", 0.0)
    floor = args.number_or("cos_min_ratio", 1e-4)
    peak, notes = _peak(said, said, given, args.what)
    count, log, more = _warming(args)
    down = cosine(max(total - count, 0), to=floor)
    if log:  # the logarithm is at its peak at step n − 1, and from there the cosine counts
        up = rise(count - 1, "log", start=first)
        return Made(chain(up, down), peak, total, (*notes, *more, _late()))
    reason = f"the linear warm-up of {count} steps is followed by the cosine's second value, so the peak is never used"
    skipped = finding("C103", "warning", reason, "the policy goes through the peak and ends one step later")
    down = cosine(left(total, count, horizon_of(total, given)), to=floor)
    return Made(chain(_up(count, log, first), down), peak, total, (*notes, *more, skipped, _late()))


def _warming(args: Arguments) -> tuple[int, bool, list[Finding]]:
    """The steps of the warm-up, whether it is logarithmic, and findings."""
    count, kind = args.count_or("warmup_num_steps", 1000, 1), args.get("warmup_type")
    notes = []
    if count < 2:
        reason = f"warmup_num_steps={count} of {args.what} is raised to 2"
        notes.append(finding("C102", "note", reason, "the policy does so too; leave the scheduler out for no warm-up"))
    if kind not in (None, "log", "linear"):
        reason = f"{args.what} does not know warmup_type={kind!r} and takes 'log'"
        notes.append(finding("C105", "warning", reason, "the policy does so too; write 'log' or 'linear'"))
    return max(count, 2), kind != "linear", notes


def _up(count: int, log: bool, start: float) -> Schedule | None:
    """ln(t + 1)/ln n, or t/n."""
    return rise(count, "log" if log else "linear", start=start, zero_start=not log)


def _peak(
    peak: float | None, said: float | None, given: Given, what: str, default: bool = False
) -> tuple[float | None, list[Finding]]:
    """The base LR, which is the scheduler's peak."""
    lr, notes = base_lr(peak, given, what)
    if given.lr is None and said is not None and peak is not None and said != peak:
        source = f"the default warmup_max_lr={peak:g}" if default else f"the scheduler's {peak:g}"
        reason = f"optimizer.params.lr={said:g} never takes effect: {source} replaces it"
        notes.append(
            finding("C105", "warning", reason, f"the policy keeps {peak:g}; give lr={said:g} if that is meant")
        )
    return lr, notes


def _late() -> Finding:
    return finding(
        "C103",
        "note",
        "DeepSpeed steps its scheduler after the update, so it uses the value of step 0 twice and is one update late",
        "the policy's LR of update t is DeepSpeed's of step t",
    )


def _one_cycle(args: Arguments, said: float | None, given: Given) -> Made:
    low, high = args.needed("cycle_min_lr"), args.needed("cycle_max_lr")
    peak, notes = _peak(high, said, given, args.what)
    up = args.count_or("cycle_first_step_size", 2000, 1)
    down = args.count_or("cycle_second_step_size", up, 1)
    stairs = args.count_or("cycle_first_stair_count", 0)
    stairs_down = args.count_or("cycle_second_stair_count", stairs)
    rate, size = args.number_or("decay_lr_rate", 0.0), args.number_or("decay_step_size", 0.0)
    floor = share(low, peak, "cycle_min_lr", args.what)
    tail = inverse_time(rate, per=length(size)) if rate and size else None
    notes += _momentum(args, up, down)
    rising = _stairs_up(up, stairs, floor) if stairs else rise(up, start=floor)
    falling = _stairs_down(down, stairs_down, floor) if stairs_down else linear(down, to=floor)
    return Made(chain(rising, falling, tail), peak, None, tuple(notes))


def _stairs_up(steps: int, stairs: int, floor: float) -> Schedule:
    """⌊t·stairs/steps⌋/stairs of the way up: stair k begins at ⌈k·steps/stairs⌉."""
    _check_stairs(stairs)
    begins: dict[LengthLike, float] = {
        -(-k * steps // stairs): floor + (1.0 - floor) * k / stairs for k in range(stairs + 1)
    }
    return piecewise(begins) * hold(steps)


def _stairs_down(steps: int, stairs: int, floor: float) -> Schedule:
    """⌊(steps − t)·stairs/steps⌋/stairs of the way: stair k begins after step steps − (k + 1)·steps/stairs."""
    _check_stairs(stairs)
    begins: dict[LengthLike, float] = {}
    for k in range(stairs - 1, -1, -1):
        begins[math.floor(steps - Fraction((k + 1) * steps, stairs)) + 1] = floor + (1.0 - floor) * k / stairs
    return piecewise(begins | {steps: floor}) * hold(steps)


def _check_stairs(stairs: int) -> None:
    if stairs > MOST_STAIRS:
        raise LehrError(f"OneCycle of DeepSpeed is read with at most {MOST_STAIRS} stairs, got {stairs}")


def _momentum(args: Arguments, up: int, down: int) -> list[Finding]:
    cycles = args.get("cycle_momentum")
    low, high = args.number_or("cycle_min_mom", 0.8), args.number_or("cycle_max_mom", 0.9)
    args.get("decay_mom_rate")
    if cycles is False or not low <= high > 0:
        return []
    reason = f"OneCycle also cycles betas[0] between {high:g} and {low:g} and sets beta2 to 0.99; that is not converted"
    text = f"linear({up}, to={low / high:.6g}).then(linear({down}, to=1))"
    return [
        finding("C202", "warning", reason, f"set betas=({high:g}, 0.99) and bind({{'lr': ..., 'betas[0]': {text}}})")
    ]


def _range_test(args: Arguments, said: float | None, given: Given) -> Made:
    low, size = args.number_or("lr_range_test_min_lr", 1e-3), args.count_or("lr_range_test_step_size", 2000, 1)
    rate, stairs = args.number_or("lr_range_test_step_rate", 1.0), args.flag("lr_range_test_staircase")
    if given.steps is None:
        raise LehrError("LRRangeTest rises for ever, and a policy needs an end; give convert(..., steps=...)")
    lr, notes = _peak(low, said, given, args.what)
    whole = -(-given.steps // size) * size if stairs else given.steps
    up = linear(whole, to=1.0 + rate * whole / size)
    return Made(up.staircase(size) if stairs else up, lr, None, tuple(notes))


TYPES: dict[str, Reader] = {
    "LRRangeTest": _range_test,
    "OneCycle": _one_cycle,
    "WarmupCosineLR": _warmup_cosine_lr,
    "WarmupDecayLR": _warmup_decay_lr,
    "WarmupLR": _warmup_lr,
}
