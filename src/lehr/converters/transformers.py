"""transformers' schedules by their names: each is a function of the step, times the base LR.

Write w for the warm-up and T for the training steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, Literal, NamedTuple

from lehr.checks.finding import Finding
from lehr.converters.arguments import Arguments
from lehr.converters.conversion import Conversion, Given, finding
from lehr.converters.parts import Plateau, chain, horizon_of, left, length, plateau, rise
from lehr.converters.torch_plateau import plateau_of
from lehr.errors import LehrError
from lehr.lengths import Horizon, LengthLike
from lehr.policy import PolicyLike
from lehr.schedules import Schedule, constant, cosine, hold, inverse_sqrt, linear, one_minus_sqrt, polynomial, warmup
from lehr.spelling import shown

__all__ = ["NAMES", "of_arguments", "of_partial"]


class Run(NamedTuple):
    """What a schedule's function is called with."""

    name: str
    warm: LengthLike
    total: int | None
    horizon: Horizon | None
    lr: float | None

    @property
    def warm_steps(self) -> int:
        """The warm-up in steps."""
        if not isinstance(self.warm, int):
            raise LehrError(f"{self.name} needs the number of training steps to place its parts; give steps=...")
        return self.warm

    @property
    def rest(self) -> int | None:
        """What is left after the warm-up; None where it fills the run."""
        return left(self.total, self.warm if isinstance(self.warm, int) else 0, self.horizon)

    @property
    def steps(self) -> int:
        """The training steps, which must be known."""
        if self.total is None:
            raise LehrError(f"{self.name} needs num_training_steps (or max_steps); add it, or give steps=...")
        return self.total


Made = tuple[PolicyLike, list[Finding]]


def of_partial(function: Any, lr: float | None) -> Conversion | None:
    """The schedule of a LambdaLR that transformers made, from the `partial` that is its function; else None."""
    inner, arguments = getattr(function, "func", function), dict(getattr(function, "keywords", None) or {})
    name = FUNCTIONS.get(getattr(inner, "__name__", ""))
    if name is None or not str(inner.__module__).startswith("transformers."):
        return None
    if name == "cosine" and "min_lr_rate" in arguments:
        name = "cosine_with_min_lr"
    arguments.pop("lr_init", None)
    warm, total = int(arguments.pop("num_warmup_steps", 0)), arguments.pop("num_training_steps", None)
    extra = {key: value for key, value in arguments.items() if value is not None}
    return of_arguments(name, warm, total, extra, lr, Given(), [])


def of_arguments(
    name: str,
    warm: LengthLike,
    total: int | None,
    extra: Mapping[str, Any],
    lr: float | None,
    given: Given,
    notes: list[Finding],
) -> Conversion:
    """The schedule `name` with its own arguments `extra`."""
    if name not in NAMES:
        raise LehrError(f"transformers has no schedule {shown(name)}; it has {', '.join(NAMES)}")
    horizon = horizon_of(total, given)
    args = Arguments(extra, f"transformers' {name}")
    policy, found = NAMES[name](Run(name, warm, total, horizon, lr), args, given)
    args.all_read("last_epoch", "verbose")
    return Conversion(policy, "transformers", lr, horizon, findings=(*notes, *found))


def _constant(run: Run, args: Arguments, given: Given) -> Made:
    return constant(), []


def _constant_with_warmup(run: Run, args: Arguments, given: Given) -> Made:
    return chain(rise(run.warm), hold()), []


def _linear(run: Run, args: Arguments, given: Given) -> Made:
    return chain(rise(run.warm), linear(run.rest)), []


def _cosine(run: Run, args: Arguments, given: Given) -> Made:
    cycles = _cycles(args)
    return chain(rise(run.warm), cosine(run.rest, cycles=cycles)), _past_the_end(run.name, cycles)


def _cosine_with_restarts(run: Run, args: Arguments, given: Given) -> Made:
    count = args.count_or("num_cycles", 1, 1)
    if count == 1:
        return chain(rise(run.warm), cosine(run.rest)), []
    notes = []
    if run.total is not None and isinstance(run.warm, int) and (run.total - run.warm) % count:
        size = (run.total - run.warm) / count
        reason = f"a cycle of transformers' has {size:.6g} steps; Lehr's cycles have whole steps"
        notes.append(finding("C104", "note", reason, f"the LR differs by at most {2 / size:.2g} of the peak, but for"
                             " the steps at the restarts"))  # fmt: skip
    return chain(rise(run.warm), _cycle(run, count).repeat(count)), notes


def _cycle(run: Run, count: int) -> Schedule:
    """One cycle: filling where all of them fill the run."""
    return cosine(None if run.rest is None else length(Fraction(run.rest, count)))


def _polynomial(run: Run, args: Arguments, given: Given) -> Made:
    end, power = args.number_or("lr_end", 1e-7), args.number_or("power", 1.0)
    if run.lr is not None and not end < run.lr:
        raise LehrError(f"transformers' polynomial needs lr_end below the base LR, got {end:g} and {run.lr:g}")
    down = linear(run.rest, to_lr=end) if power == 1 else polynomial(run.rest, power=power, to_lr=end)
    return chain(rise(run.warm), down), []


def _inverse_sqrt(run: Run, args: Arguments, given: Given) -> Made:
    scale = args.count("timescale", 1)
    return chain(rise(run.warm), inverse_sqrt(scale or run.warm or 10_000)), []


def _cosine_with_min_lr(run: Run, args: Arguments, given: Given) -> Made:
    cycles, floor = _cycles(args), _floor(args)
    return chain(rise(run.warm), cosine(run.rest, cycles=cycles, **floor)), _past_the_end(run.name, cycles)


def _cosine_warmup_with_min_lr(run: Run, args: Arguments, given: Given) -> Made:
    """Its peak is at step w − 1, from where the cosine counts."""
    cycles, floor, first = _cycles(args), _floor(args), args.number("warmup_lr_rate")
    warm, total = run.warm_steps, run.steps
    notes = _past_the_end(run.name, cycles)
    if warm == 0:
        reason = f"without a warm-up its first update is one step of {total} down the curve and the peak is never used"
        notes.append(finding("C103", "warning", reason, "the policy begins at the peak"))
        return cosine(total, cycles=cycles, **floor), notes
    up = rise(warm - 1, start=1 / warm if first is None else first)
    if warm == 1 and first is not None:
        reason = f"its warm-up of one step begins at {first:g} and the cosine one step down"
        notes.append(finding("C103", "warning", reason, "the policy goes through the peak at step 1"))
        up = warmup(1, start=first, zero_start=True)
    return chain(up, cosine(max(total - warm, 0), cycles=cycles, **floor)), notes


def _warmup_stable_decay(run: Run, args: Arguments, given: Given) -> Made:
    shapes: dict[str, Literal["linear", "cosine", "1-sqrt"]] = {n: n for n in ("linear", "cosine", "1-sqrt")}
    rising = shapes[args.word("warmup_type", shapes) or "linear"]
    falling = shapes[args.word("decay_type", shapes) or "cosine"]
    floor, cycles = args.number_or("min_lr_ratio", 0.0), _cycles(args)
    decay, stable = args.counted("num_decay_steps"), args.count("num_stable_steps")
    if stable is None and run.steps - run.warm_steps - decay < 0:
        raise LehrError(
            f"the warm-up of {run.warm} and the decay of {decay} steps are longer than the {run.steps} steps of the run"
        )
    notes = []
    if stable is not None and run.total is not None and run.warm_steps + stable + decay != run.total:
        reason = (
            f"its parts have {run.warm_steps + stable + decay} steps, num_training_steps is {run.total}; "
            "transformers goes by the parts"
        )
        notes.append(finding("C102", "note", reason, "the policy does so too"))
    up = rise(run.warm, rising, start=floor)
    if stable is None and run.rest is not None:
        stable = run.steps - run.warm_steps - decay
    middle = hold(stable)
    if falling == "cosine":
        ending = constant(floor) if cycles % 1 != 0.5 else None
        return chain(up, middle, cosine(decay, cycles=cycles, to=floor), ending), notes
    down = linear(decay, to=floor) if falling == "linear" else one_minus_sqrt(decay, to=floor)
    return chain(up, middle, down), notes


def _reduce_lr_on_plateau(run: Run, args: Arguments, given: Given) -> Made:
    return plateau_of(args, given._replace(metric=given.metric or "eval_loss"), run.lr)


def _greedy(run: Run, args: Arguments, given: Given) -> Made:
    """Its cuts alone: an absolute threshold, and a cut after more than `patience` observations without improvement."""
    mode, by = args.word("mode", ("min", "max")), args.word("threshold_mode", ("abs", "rel"))
    for name in ("warmup", "max_lr", "eps", "smooth", "window_size", "reset_start"):
        args.get(name)
    factor, least = args.number_or("factor", 0.95), args.number_or("min_lr", 1e-3)
    patience, margin = args.count_or("patience", 10), args.number_or("threshold", 1e-6)
    if not 0 < factor < 1:
        raise LehrError(f"factor of {args.what} must be between 0 and 1, got {factor:g}")
    raising = "GreedyLR also raises the LR after good observations, up to max_lr; Lehr has no such rule"
    remedy = "the policy has only the cuts; raise the base LR if it was too low"
    notes = [finding("C203", "error", raising, remedy)]
    if run.lr is not None and least > run.lr:
        reason = f"GreedyLR's min_lr={least:g} is above the base LR {run.lr:g}: it could never cut, only raise"
        notes.append(finding("C105", "warning", reason, "the policy has no min_lr; set one below the base LR"))
        least = 0.0
    told = Plateau(
        name=given.metric or "eval_loss",
        best="max" if mode == "max" else "min",
        factor=factor,
        patience=patience,
        margin=margin,
        cooldown=args.count_or("cooldown", 0),
        least=least,
        flavor="torch",
        mode="rel" if by == "rel" else "abs",
    )
    return plateau(told), notes


def _cycles(args: Arguments) -> float:
    return args.number_or("num_cycles", 0.5)


def _floor(args: Arguments) -> dict[str, float]:
    lr, rate = args.number("min_lr"), args.number("min_lr_rate")
    if (lr is None) == (rate is None):
        raise LehrError(f"{args.what} needs min_lr or min_lr_rate, one of them, got {lr!r} and {rate!r}")
    return {"to": rate} if rate is not None else {"to_lr": lr or 0.0}


def _past_the_end(name: str, cycles: float) -> list[Finding]:
    later = 50 * (1 + math.cos(2 * math.pi * cycles * 1.1))
    reason = f"transformers' {name} goes on past its end: 10 % later its wave is at {later:.2g} % of its height"
    return [finding("C102", "note", reason, "the policy holds its end value")]


NAMES: dict[str, Callable[[Run, Arguments, Given], Made]] = {
    "constant": _constant,
    "constant_with_warmup": _constant_with_warmup,
    "cosine": _cosine,
    "cosine_warmup_with_min_lr": _cosine_warmup_with_min_lr,
    "cosine_with_min_lr": _cosine_with_min_lr,
    "cosine_with_restarts": _cosine_with_restarts,
    "greedy": _greedy,
    "inverse_sqrt": _inverse_sqrt,
    "linear": _linear,
    "polynomial": _polynomial,
    "reduce_lr_on_plateau": _reduce_lr_on_plateau,
    "warmup_stable_decay": _warmup_stable_decay,
}
FUNCTIONS = {
    "_get_constant_lambda": "constant",
    "_get_constant_schedule_with_warmup_lr_lambda": "constant_with_warmup",
    "_get_linear_schedule_with_warmup_lr_lambda": "linear",
    "_get_cosine_schedule_with_warmup_lr_lambda": "cosine",
    "_get_cosine_with_hard_restarts_schedule_with_warmup_lr_lambda": "cosine_with_restarts",
    "_get_polynomial_decay_schedule_with_warmup_lr_lambda": "polynomial",
    "_get_inverse_sqrt_schedule_lr_lambda": "inverse_sqrt",
    "_get_cosine_with_min_lr_schedule_with_warmup_lr_rate_lambda": "cosine_warmup_with_min_lr",
    "_get_wsd_scheduler_lambda": "warmup_stable_decay",
}
