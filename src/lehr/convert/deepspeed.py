"""DeepSpeed: the `scheduler` and `optimizer` of its config.

lr(t) is what DeepSpeed's formula gives for batch iteration t. Write n for the warm-up, T for the total steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, NamedTuple

from lehr.checks.finding import Finding
from lehr.convert.arguments import Arguments
from lehr.convert.conversion import Conversion, Given, finding
from lehr.convert.parts import base_lr, chain, horizon_of, left, length, rise, share
from lehr.errors import LehrError
from lehr.schedules import Schedule, cosine, hold, inverse_time, linear, piecewise
from lehr.spelling import shown

__all__ = ["TYPES", "read"]


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
            "the number into the config, or give convert(..., lr=..., steps=...)"
        )
    return {name: known[name] if value == "auto" else value for name, value in params.items()}


def _without_auto(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if value != "auto"}


def _warmup_lr(args: Arguments, said: float | None, given: Given) -> Made:
    low, high = args.number("warmup_min_lr") or 0.0, args.number("warmup_max_lr")
    peak, notes = _peak(said if high is None else high, said, given, args.what)
    count, log, more = _warming(args)
    up = _up(count, log, share(low, peak, "warmup_min_lr", args.what))
    return Made(chain(up, hold()), peak, None, (*notes, *more, _late()))


def _warmup_decay_lr(args: Arguments, said: float | None, given: Given) -> Made:
    total, high = args.counted("total_num_steps", 1), args.number("warmup_max_lr")
    low, default = args.number("warmup_min_lr") or 0.0, high is None
    peak, notes = _peak(1e-3 if high is None else high, said, given, args.what, default)
    count, log, more = _warming(args)
    floor = share(low, peak, "warmup_min_lr", args.what)
    rest = left(total, count, horizon_of(total, given))
    return Made(chain(_up(count, log, floor), linear(rest, to=floor)), peak, total, (*notes, *more, _late()))


def _warmup_cosine_lr(args: Arguments, said: float | None, given: Given) -> Made:
    total, first = args.counted("total_num_steps", 1), args.number("warmup_min_ratio") or 0.0
    floor = args.number("cos_min_ratio")
    floor = 1e-4 if floor is None else floor
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
    count, kind = args.count("warmup_num_steps", 1), args.get("warmup_type")
    count, notes = 1000 if count is None else count, []
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
    first = args.count("cycle_first_step_size", 1)
    up = 2000 if first is None else first
    second, rate = args.count("cycle_second_step_size", 1), args.number("decay_lr_rate") or 0.0
    down, size = up if second is None else second, args.number("decay_step_size") or 0.0
    stairs = args.count("cycle_first_stair_count") or 0
    stairs_down = args.count("cycle_second_stair_count")
    floor = share(low, peak, "cycle_min_lr", args.what)
    tail = inverse_time(rate, per=length(size)) if rate and size else None
    stairs_down = stairs if stairs_down is None else stairs_down
    notes += _momentum(args, up, down)
    if not stairs and not stairs_down:
        return Made(chain(rise(up, start=floor), linear(down, to=floor), tail), peak, None, tuple(notes))
    steps = _stairs(up, down, stairs, stairs_down, floor)
    if tail is not None:
        steps = steps * hold(up + down).then(tail)
    return Made(steps, peak, None, tuple(notes))


def _stairs(up: int, down: int, stairs: int, stairs_down: int, floor: float) -> Schedule:
    """Both halves as values by hand: a stair of the way up begins at ⌈k·up/stairs⌉, down it is the one below."""
    knots: dict[int, float] = {}
    for i in range(up) if not stairs else (-(-k * up // stairs) for k in range(stairs)):
        knots[i] = floor + (1.0 - floor) * (i * (stairs or up) // up) / (stairs or up)
    knots[up] = 1.0
    steps = stairs_down or down
    firsts = (
        range(1, down) if not stairs_down else (_first_of(level, down, steps) for level in range(steps - 1, -1, -1))
    )
    for j in firsts:
        if 0 < j < down:
            knots[up + j] = floor + (1.0 - floor) * ((down - j) * steps // down) / steps
    knots[up + down] = floor
    return piecewise(dict(sorted(knots.items())))


def _first_of(level: int, down: int, steps: int) -> int:
    """The first step on the way down with ⌊(down − j)·steps/down⌋ = level."""
    bound = down - Fraction((level + 1) * down, steps)
    return int(bound) + 1


def _momentum(args: Arguments, up: int, down: int) -> list[Finding]:
    cycles = args.get("cycle_momentum")
    low, high = args.number("cycle_min_mom"), args.number("cycle_max_mom")
    args.get("decay_mom_rate")
    low, high = 0.8 if low is None else low, 0.9 if high is None else high
    if cycles is False:
        return []
    reason = f"OneCycle also cycles betas[0] between {high:g} and {low:g} and sets beta2 to 0.99; that is not converted"
    text = f"linear({up}, to={low / high:.6g}).then(linear({down}, to=1))"
    return [
        finding("C202", "warning", reason, f"set betas=({high:g}, 0.99) and bind({{'lr': ..., 'betas[0]': {text}}})")
    ]


def _range_test(args: Arguments, said: float | None, given: Given) -> Made:
    low, size = args.number("lr_range_test_min_lr"), args.count("lr_range_test_step_size", 1)
    rate, stairs = args.number("lr_range_test_step_rate"), args.flag("lr_range_test_staircase")
    low, size, rate = 1e-3 if low is None else low, 2000 if size is None else size, 1.0 if rate is None else rate
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
