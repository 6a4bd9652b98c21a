"""Keras: a serialised learning-rate schedule or optimiser, and the arguments of `ReduceLROnPlateau`.

The base LR is the schedule's own peak; lr(t) is the schedule at `optimizer.iterations` = t.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

from lehr.checks.finding import Finding
from lehr.converters.arguments import Arguments
from lehr.converters.conversion import Conversion, Given, finding
from lehr.converters.parts import Plateau, base_lr, chain, horizon_of, length, plateau, rise, unending
from lehr.errors import LehrError
from lehr.policy import PolicyLike
from lehr.schedules import (
    Schedule,
    constant,
    cosine,
    exponential,
    growing_polynomial,
    inverse_time,
    linear,
    piecewise,
    polynomial,
    step_decay,
)
from lehr.spelling import shown

__all__ = ["CLASSES", "read"]

RATES = ("learning_rate", "lr")  # of an optimiser; older ones say "lr"

Made = tuple[PolicyLike, float | None, list[Finding]]
Reader = Callable[[Arguments, Given], Made]


def read(values: Mapping[str, Any], given: Given) -> Conversion:
    """A serialised schedule or optimiser (`class_name`, `config`), a bare `get_config()`, or a callback's arguments.

    Raises:
        LehrError: a class that is none of Keras's schedules, or a config that fits two of them.
    """
    config = values.get("config", values)
    if not isinstance(config, Mapping):
        raise LehrError(f"the config of a Keras object must be a dict, got {shown(config)}")
    if any(name in config for name in RATES):
        return _of_optimizer(config, given)
    kind = given.kind or values.get("class_name") or _class_of(config)
    if not isinstance(kind, str) or kind not in CLASSES:
        raise LehrError(f"Keras's {shown(kind)} is none of the schedules that can be read: {', '.join(CLASSES)}")
    args = Arguments(config, f"Keras's {kind}")
    policy, lr, notes = CLASSES[kind](args, given)
    args.all_read("name", "verbose", "dtype")
    lr, more = base_lr(lr, given, args.what)
    return Conversion(policy, "keras", lr, horizon_of(None, given), findings=(*notes, *more))


def _of_optimizer(config: Mapping[str, Any], given: Given) -> Conversion:
    """The optimiser's LR or schedule; Keras 2 divides either by 1 + decay·t."""
    args = Arguments(config, "the Keras optimiser")
    rate, decay = args.first(*RATES), args.number_or("decay", 0.0)
    if isinstance(rate, Mapping):
        found = read(rate, given)
    else:
        lr, notes = base_lr(args.needed(next(name for name in RATES if name in config)), given, "the optimiser")
        found = Conversion(constant(), "keras", lr, horizon_of(None, given), findings=tuple(notes))
    if not decay:
        return found
    if not isinstance(found.policy, Schedule):
        raise LehrError("the learning rate of a Keras optimiser must be a number or a schedule, got a callback")
    plain = not isinstance(rate, Mapping)
    return replace(found, policy=inverse_time(decay) if plain else unending(found.policy) * inverse_time(decay))


def _class_of(config: Mapping[str, Any]) -> str:
    """The class whose keys these are; the default `name` is the class."""
    keys = set(config) - {"name"}
    fitting = [kind for kind, own in KEYS.items() if keys and keys <= own[0] and own[1] <= keys]
    named = [kind for kind in fitting if kind == config.get("name")]
    if len(named or fitting) != 1:
        raise LehrError(
            f"a Keras config with the keys {', '.join(sorted(keys))} may be "
            f"{' or '.join(fitting) or 'no schedule of Keras'}; give convert(..., kind=...)"
        )
    return (named or fitting)[0]


def _start(args: Arguments) -> float:
    lr = args.needed("initial_learning_rate")
    if lr == 0:
        raise LehrError(f"initial_learning_rate of {args.what} must be above 0, got 0")
    return lr


def _decay_steps(args: Arguments, name: str = "decay_steps") -> float:
    steps = args.needed(name)
    if steps == 0:
        raise LehrError(f"{name} of {args.what} must be above 0, got 0")
    return steps


def _exponential(args: Arguments, given: Given) -> Made:
    lr, steps, rate = _start(args), _decay_steps(args), args.needed("decay_rate")
    if not 0 < rate <= 1:
        raise LehrError(
            f"decay_rate of {args.what} must be above 0 and at most 1, got {rate:g}: beyond 1 the LR grows for ever; "
            "for a growth over a length write lehr.geometric(n, to=...)"
        )
    if not args.flag("staircase"):
        return exponential(rate, per=length(steps)), lr, []
    return step_decay(_stair(steps, args), rate), lr, []


def _inverse_time(args: Arguments, given: Given) -> Made:
    lr, steps, rate = _start(args), _decay_steps(args), args.needed("decay_rate")
    curve = inverse_time(rate, per=length(steps))
    return (curve.staircase(_stair(steps, args)) if args.flag("staircase") else curve), lr, []


def _stair(steps: float, args: Arguments) -> int:
    if steps != int(steps):
        raise LehrError(f"decay_steps of {args.what} with staircase must be a whole number, got {steps!r}; round it")
    return int(steps)


def _polynomial(args: Arguments, given: Given) -> Made:
    lr, steps = _start(args), _decay_steps(args)
    end, power = args.number_or("end_learning_rate", 1e-4), args.number_or("power", 1.0)
    floor = {"to_lr": end} if end else {}
    if args.flag("cycle"):
        return growing_polynomial(length(steps), power=power, **floor), lr, []
    down = linear(length(steps), **floor) if power == 1 else polynomial(length(steps), power=power, **floor)
    return down, lr, _ends(steps, args)


def _ends(steps: float, args: Arguments) -> list[Finding]:
    if steps == int(steps):
        return []
    reason = f"{args.what} ends within step {steps:g}; Lehr's parts end at whole steps"
    return [finding("C104", "note", reason, f"the LR differs by at most {1 / steps:.2g} of the peak")]


def _cosine(args: Arguments, given: Given) -> Made:
    first, steps, floor = args.needed("initial_learning_rate"), _decay_steps(args), args.number_or("alpha", 0.0)
    target, warm = args.number("warmup_target"), args.number_or("warmup_steps", 0.0)
    down, notes = cosine(length(steps), to=floor), _ends(steps, args)
    if target is None:
        if warm:
            reason = f"warmup_steps={warm:g} has no effect without warmup_target, so there is no warm-up"
            notes.append(finding("C105", "warning", reason, "the policy has none either; set warmup_target for one"))
        return down, _start(args), notes
    if target == 0:
        raise LehrError(f"warmup_target of {args.what} must be above 0, got 0")
    return chain(rise(length(warm), start=first / target), down), target, notes


def _cosine_restarts(args: Arguments, given: Given) -> Made:
    lr, steps, floor = _start(args), _decay_steps(args, "first_decay_steps"), args.number_or("alpha", 0.0)
    grow, shrink = args.number_or("t_mul", 2.0), args.number_or("m_mul", 1.0)
    size, notes = length(steps), [] if grow == 1 else [_by_logarithm()]
    if steps != int(steps) or grow != int(grow):
        reason = f"cycles of {steps:g} steps that grow {grow:g}-fold do not end at whole steps, as Lehr's do"
        notes.append(finding("C104", "note", reason, "the LR differs by a step near the restarts"))
    if floor == 0 or shrink == 1:
        return cosine(size, to=floor).repeat(stretch=grow, scale=shrink), lr, notes
    peaks = cosine(size, start=1.0 - floor).repeat(stretch=grow, scale=shrink)
    return peaks + constant(floor), lr, notes


def _by_logarithm() -> Finding:
    return finding(
        "C103",
        "note",
        "Keras finds the number of the cycle by a logarithm in float32, which misses some restarts by a step",
        "the policy counts in integers and restarts where it should",
    )


def _piecewise(args: Arguments, given: Given) -> Made:
    bounds, values = args.numbers("boundaries"), args.numbers("values")
    if len(values) != len(bounds) + 1 or not bounds:
        raise LehrError(
            f"Keras's PiecewiseConstantDecay needs one value more than boundaries, got {len(values)} and {len(bounds)}"
        )
    lr = values[0] or max(values)
    if lr == 0:
        raise LehrError("Keras's PiecewiseConstantDecay must have a value above 0, got none")
    starts = [0, *(math.floor(bound) + 1 for bound in bounds)]
    told = "Keras still uses the old value at the boundary itself"
    note = finding("C102", "note", told, "the policy does so too: its values begin one step after the boundaries")
    return piecewise({step: value / lr for step, value in zip(starts, values, strict=True)}), lr, [note]


def _reduce_on_plateau(args: Arguments, given: Given) -> Made:
    name = str(args.get("monitor") or given.metric or "val_loss")
    best, notes = _direction(name, args.get("mode") or "auto")
    factor, patience, delta = (
        args.number_or("factor", 0.1),
        args.count_or("patience", 10),
        args.number_or("min_delta", 1e-4),
    )
    cooldown, least = args.count_or("cooldown", 0), args.number_or("min_lr", 0.0)
    if not 0 < factor < 1:
        raise LehrError(f"factor of {args.what} must be between 0 and 1, got {factor:g}")
    if cooldown:
        reason = f"cooldown={cooldown} keeps {cooldown - 1} observations from counting, as the last one counts already"
        notes.append(finding("C107", "note", reason, "flavor='keras' does as it does"))
    told = Plateau(name, best, factor, patience, delta, cooldown, least, "keras")
    return plateau(told), None, notes


def _direction(name: str, mode: str) -> tuple[Literal["min", "max"], list[Finding]]:
    """Keras's "auto" looks at the compiled metric; from the name alone only the common ones are read."""
    if mode in ("min", "max"):
        return ("max" if mode == "max" else "min"), []
    if "loss" in name:
        return "min", []
    if not any(word in name for word in ("acc", "auc", "precision", "recall")):
        raise LehrError(f"mode='auto' of ReduceLROnPlateau does not say which way {name!r} is better; give mode=")
    note = finding("C101", "note", f"mode='auto' of {name!r} is read as 'max'", "give mode= if that is not meant")
    return "max", [note]


CLASSES: dict[str, Reader] = {
    "CosineDecay": _cosine,
    "CosineDecayRestarts": _cosine_restarts,
    "ExponentialDecay": _exponential,
    "InverseTimeDecay": _inverse_time,
    "PiecewiseConstantDecay": _piecewise,
    "PolynomialDecay": _polynomial,
    "ReduceLROnPlateau": _reduce_on_plateau,
}

_RATE = {"initial_learning_rate", "decay_steps", "decay_rate"}
KEYS: dict[str, tuple[set[str], set[str]]] = {  # the keys that a class has, and those that it must have
    "CosineDecay": (
        {"initial_learning_rate", "decay_steps", "alpha", "warmup_target", "warmup_steps"},
        {"initial_learning_rate", "decay_steps"},
    ),
    "CosineDecayRestarts": (
        {"initial_learning_rate", "first_decay_steps", "t_mul", "m_mul", "alpha"},
        {"initial_learning_rate", "first_decay_steps"},
    ),
    "ExponentialDecay": (_RATE | {"staircase"}, _RATE),
    "InverseTimeDecay": (_RATE | {"staircase"}, _RATE),
    "PiecewiseConstantDecay": ({"boundaries", "values"}, {"boundaries", "values"}),
    "PolynomialDecay": (
        {"initial_learning_rate", "decay_steps", "end_learning_rate", "power", "cycle"},
        {"initial_learning_rate", "decay_steps"},
    ),
    "ReduceLROnPlateau": (
        {"monitor", "factor", "patience", "verbose", "mode", "min_delta", "cooldown", "min_lr"},
        {"monitor"},
    ),
}
