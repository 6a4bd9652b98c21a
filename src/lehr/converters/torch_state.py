"""torch: scheduler objects and their state dicts, read by class name and attributes, without torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from lehr.converters import torch_schedules as torch
from lehr.converters import transformers
from lehr.converters.arguments import Arguments
from lehr.converters.conversion import BaseLR, Conversion, Given, finding
from lehr.converters.parts import horizon_of
from lehr.converters.torch_faults import faults
from lehr.converters.torch_plateau import plateau_of
from lehr.converters.torch_scheduler import OWN_BASE, Scheduler
from lehr.converters.transformers import of_partial
from lehr.errors import LehrError
from lehr.lengths import as_count
from lehr.policy import Policy, PolicyLike, groups
from lehr.schedules import Schedule
from lehr.spelling import shown

__all__ = ["KINDS", "inside", "is_scheduler", "kinds_of", "read_object", "read_state"]

STEPS = "last_epoch"  # in the state dict of each scheduler of torch
MOST = 10**6  # milestones at most, of one kind
GREEDY = ("mode", "factor", "patience", "cooldown", "min_lr")

KINDS: dict[str, set[str]] = {  # the keys by which a state dict is known
    "StepLR": {"step_size", "gamma"},
    "MultiStepLR": {"milestones", "gamma"},
    "ConstantLR": {"factor", "total_iters"},
    "LinearLR": {"start_factor", "end_factor", "total_iters"},
    "ExponentialLR": {"gamma"},
    "PolynomialLR": {"total_iters", "power"},
    "CosineAnnealingLR": {"T_max", "eta_min"},
    "CosineAnnealingWarmRestarts": {"T_0", "T_mult", "eta_min"},
    "CyclicLR": {"total_size", "step_ratio", "gamma"},
    "OneCycleLR": {"total_steps", "_schedule_phases"},
    "ReduceLROnPlateau": {"factor", "patience", "threshold"},
    "GreedyLR": {"factor", "patience", "threshold", "num_good_epochs"},
    "SWALR": {"anneal_epochs"},
    "LambdaLR": {"lr_lambdas"},
    "MultiplicativeLR": {"lr_lambdas"},
    "ChainedScheduler": {"_schedulers"},
    "SequentialLR": {"_schedulers", "_milestones"},
}


class Read(NamedTuple):
    """A schedule and the base LRs that its factors are of."""

    schedule: Schedule
    lrs: tuple[float, ...]


def is_scheduler(source: Any) -> bool:
    """Whether this is a scheduler object of torch (or of transformers)."""
    return type(source).__name__ in KINDS and callable(getattr(source, "state_dict", None))


def kinds_of(values: Mapping[str, Any]) -> list[str]:
    """The classes whose state dict this may be."""
    fitting = [kind for kind, keys in KINDS.items() if keys <= set(values)]
    return [kind for kind in fitting if not any(KINDS[kind] < KINDS[other] for other in fitting)]


def inside(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The one state dict of a scheduler that a checkpoint holds, also in a list; what holds none, as it is.

    Raises:
        LehrError: it holds several.
    """
    if kinds_of(values):
        return values
    listed = [(key, item) for key, held in values.items() for item in (held if isinstance(held, list) else [held])]
    found = [(key, item) for key, item in listed if isinstance(item, Mapping) and STEPS in item and kinds_of(item)]
    if len(found) > 1:
        raise LehrError(f"the checkpoint holds the states of {len(found)} schedulers, {_keys(found)}; give one of them")
    return found[0][1] if found else values


def _keys(found: list[tuple[str, Mapping[str, Any]]]) -> str:
    return ", ".join(f"{key!r}" for key, _ in found)


def read_object(source: Any, given: Given) -> Conversion:
    """A scheduler object, with the LRs of its optimiser.

    Raises:
        LehrError: something in it cannot be said as a policy.
    """
    return _read(_of_object(source), given)


def read_state(values: Mapping[str, Any], given: Given) -> Conversion:
    """A state dict, which does not say its class: it is known by its keys.

    Raises:
        LehrError: no class or several have these keys, or the state dict lacks what the class needs.
    """
    return _read(_of_state(values, given.kind), given)


def _of_object(source: Any) -> Scheduler:
    values = vars(source)
    held = getattr(values.get("optimizer"), "param_groups", ())
    inside = tuple(_of_object(item) for item in values.get("_schedulers", ()))
    if type(source).__name__ not in KINDS:
        raise LehrError(f"{type(source).__name__} is none of torch's schedulers that can be read: {', '.join(KINDS)}")
    return Scheduler(type(source).__name__, values, held, inside)


def _of_state(values: Mapping[str, Any], kind: str | None) -> Scheduler:
    fitting = kinds_of(values)
    if kind is None and len(fitting) != 1:
        names = " or ".join(fitting) or "no scheduler of torch"
        raise LehrError(f"a state dict does not say its class, and this may be {names}; give convert(..., kind=...)")
    if kind is not None and kind not in fitting:
        raise LehrError(f"kind={kind!r} needs a state dict with the keys {', '.join(sorted(KINDS.get(kind, ())))}")
    told = Scheduler(kind or fitting[0], values)
    held = told.listed("_schedulers")
    if not all(isinstance(item, Mapping) for item in held):
        raise LehrError(f"_schedulers of {told.kind} must be state dicts, got {shown(held)}")
    return told._replace(inside=tuple(_of_state(item, None) for item in held))


def _read(told: Scheduler, given: Given) -> Conversion:
    if told.kind in ("ReduceLROnPlateau", "GreedyLR"):
        return _of_plateau(told, given)
    made = of_partial(_functions(told)[0], given.lr or next(iter(told.base), None)) if told.kind == "LambdaLR" else None
    if made is not None:
        notes = (*faults(told._replace(kind="")), *made.findings)
        return Conversion(made.policy, "torch", _one(told.base, given), made.horizon, findings=notes)
    policy: PolicyLike
    if told.kind == "LambdaLR" and len({id(item) for item in _functions(told)}) > 1:
        policy, lrs = groups(*(torch.lambda_lr(item) for item in _functions(told))), told.base
    else:
        policy, lrs = _schedule(told)
    total = as_count(told.take("total_steps")[0], "total_steps") if told.kind == "OneCycleLR" else None
    return Conversion(policy, "torch", _one(lrs, given), horizon_of(total, given), findings=tuple(faults(told)))


def _of_plateau(told: Scheduler, given: Given) -> Conversion:
    lrs = told.of_groups("lr") if told.groups else told.lrs("_last_lr")
    lr = _one(lrs, given)
    floors = list(told.lrs("min_lrs")) or [0.0]
    values = {**told.values, "min_lr": floors[0]}
    if told.kind == "GreedyLR":
        extra = {name: values[name] for name in GREEDY if name in values}
        made = transformers.of_arguments("greedy", 0, None, extra, lr if isinstance(lr, float) else None, given, [])
        return Conversion(made.policy, "torch", lr, horizon_of(None, given), findings=made.findings)
    found, notes = plateau_of(
        Arguments(values, "torch's ReduceLROnPlateau"), given, lr if isinstance(lr, float) else None
    )
    if len(set(floors)) > 1:
        found = Policy(found.schedule, found.rules, min_lr=floors)
    if told.steps > 0:
        reason = "it has seen observations already, and may have cut the LR that is taken for the base LR"
        notes.append(finding("C108", "warning", reason, "give the LR that the run began with: convert(..., lr=...)"))
    return Conversion(found, "torch", lr, horizon_of(None, given), findings=tuple(notes))


def _one(lrs: tuple[float, ...], given: Given) -> BaseLR:
    if given.lr is not None:
        return given.lr
    return None if not lrs else lrs[0] if len(set(lrs)) == 1 else lrs


def _schedule(told: Scheduler) -> Read:
    """The schedule of one scheduler, with all that are inside."""
    if told.kind in SINGLE:
        return Read(*SINGLE[told.kind](told))
    if not told.inside:
        raise LehrError(
            f"{told.kind} cannot be read here; inside a joined scheduler are other schedulers of the LR alone"
        )
    lrs = told.base
    parts = [_rebased(_schedule(item), lrs, item) for item in told.inside]
    if told.kind == "SequentialLR":
        return Read(torch.sequential(parts, told.listed("_milestones")), lrs)
    return Read(torch.chained(parts), lrs)


def _rebased(part: Read, lrs: tuple[float, ...], told: Scheduler) -> Schedule:
    """The part as a factor of the base LR of the whole, where its own is another."""
    if told.kind not in OWN_BASE or not lrs or not part.lrs:
        return part.schedule
    ratios = {own / base for own, base in zip(part.lrs, lrs, strict=True)}
    if len(ratios) != 1:
        raise LehrError(f"{told.kind} has another relation to the base LR in each group; convert each group by itself")
    ratio = ratios.pop()
    return part.schedule if ratio == 1 else part.schedule.scaled(ratio)


def _plain(make: Callable[..., Schedule], *names: str) -> Callable[[Scheduler], tuple[Schedule, tuple[float, ...]]]:
    return lambda told: (make(*(told.number(name) for name in names)), told.base)


def _multi_step(told: Scheduler) -> tuple[Schedule, tuple[float, ...]]:
    (found,) = told.take("milestones")
    if not isinstance(found, Mapping | list | tuple):
        raise LehrError(f"milestones of MultiStepLR must be a counter or a list, got {shown(found)}")
    counted = found.items() if isinstance(found, Mapping) else ((item, 1) for item in found)
    milestones = [at for key, count in counted for at in [_whole(told, key)] * _whole(told, count)]
    return torch.multi_step_lr(milestones, told.number("gamma")), told.base


def _whole(told: Scheduler, value: Any) -> int:
    """A whole number; JSON makes a text of it where it is a key."""
    read = float(value) if isinstance(value, str) and value.isdigit() else told.as_number(value, "milestones")
    if read != int(read) or not 0 <= read <= MOST:
        raise LehrError(f"milestones of MultiStepLR must be whole numbers from 0 to {MOST}, got {shown(value)}")
    return int(read)


def _one_cycle(told: Scheduler) -> tuple[Schedule, tuple[float, ...]]:
    total = as_count(told.take("total_steps")[0], "total_steps of OneCycleLR")
    peaks, first, last = told.of_groups("max_lr"), told.of_groups("initial_lr")[0], told.of_groups("min_lr")[0]
    if told.values.get("base_lrs"):  # the optimiser's initial_lr may be another scheduler's
        first = told.lrs("base_lrs")[0]
    kind = str(told.values.get("_anneal_func_type") or getattr(told.values.get("anneal_func"), "__name__", ""))
    strategy: torch.Anneal = "linear" if "linear" in kind else "cos"
    three = len(told.listed("_schedule_phases")) == 3
    return torch.one_cycle_lr(total, (told.way_up + 1) / total, strategy, peaks[0] / first, first / last, three), peaks


def _cyclic(told: Scheduler) -> tuple[Schedule, tuple[float, ...]]:
    total, share = told.number("total_size"), told.number("step_ratio")
    low, high = told.lrs("base_lrs"), told.lrs("max_lrs")
    if not low or len(low) != len(high) or min(high) <= 0 or len({a / b for a, b in zip(low, high, strict=True)}) != 1:
        raise LehrError(
            f"CyclicLR must have the same base_lr/max_lr in each group, got {low} and {high}; convert each by itself"
        )
    mode, gamma = str(told.values.get("mode", "triangular")), told.number("gamma")
    scale, count = told.values.get("_scale_fn_custom"), str(told.values.get("scale_mode", "cycle"))
    up = round(total * share)
    return torch.cyclic_lr(low[0], high[0], up, round(total) - up, mode, gamma, scale, count), high


def _swa(told: Scheduler) -> tuple[Schedule, tuple[float, ...]]:
    (epochs,) = told.take("anneal_epochs")
    levels = set(told.of_groups("swa_lr"))
    if len(levels) != 1:
        raise LehrError("SWALR has another swa_lr in each group; convert each group by itself")
    kind = str(told.values.get("_anneal_strategy") or getattr(told.values.get("anneal_func"), "__name__", ""))
    return torch.swa_lr(levels.pop(), epochs, "linear" if "linear" in kind else "cos"), told.base


def _lambda(told: Scheduler) -> tuple[Schedule, tuple[float, ...]]:
    made = of_partial(_functions(told)[0], next(iter(told.base), None))
    if made is not None and isinstance(made.policy, Schedule):
        return made.policy, told.base
    return torch.lambda_lr(_only_function(told)), told.base


def _multiplicative(told: Scheduler) -> tuple[Schedule, tuple[float, ...]]:
    return torch.lambda_lr(torch.multiplicative_lr(_only_function(told))), told.base


def _functions(told: Scheduler) -> list[Any]:
    found = told.listed("lr_lambdas")
    if not found or not all(callable(item) for item in found):
        raise LehrError(f"the state dict of {told.kind} does not hold its functions; give the scheduler itself")
    return found


def _only_function(told: Scheduler) -> Any:
    found = _functions(told)
    if len({id(item) for item in found}) != 1:
        raise LehrError(
            f"{told.kind} has a function a group; convert each by itself and join them with lehr.groups(...)"
        )
    return found[0]


SINGLE: dict[str, Callable[[Scheduler], tuple[Schedule, tuple[float, ...]]]] = {
    "StepLR": _plain(torch.step_lr, "step_size", "gamma"),
    "MultiStepLR": _multi_step,
    "ConstantLR": _plain(torch.constant_lr, "factor", "total_iters"),
    "LinearLR": _plain(torch.linear_lr, "start_factor", "end_factor", "total_iters"),
    "ExponentialLR": _plain(torch.exponential_lr, "gamma"),
    "PolynomialLR": _plain(torch.polynomial_lr, "total_iters", "power"),
    "CosineAnnealingLR": _plain(torch.cosine_annealing_lr, "T_max", "eta_min"),
    "CosineAnnealingWarmRestarts": _plain(torch.cosine_annealing_warm_restarts, "T_0", "T_mult", "eta_min"),
    "CyclicLR": _cyclic,
    "OneCycleLR": _one_cycle,
    "SWALR": _swa,
    "LambdaLR": _lambda,
    "MultiplicativeLR": _multiplicative,
}
