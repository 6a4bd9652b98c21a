"""torch's composites and its plateau: schedules joined as torch means it, and the rule of the plateau."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from lehr.converters.parts import unending
from lehr.converters.torch_checks import from_zero
from lehr.errors import LehrError
from lehr.lengths import as_count
from lehr.rules import Rule, metric, when
from lehr.schedules import Schedule, constant, hold
from lehr.schedules.algebra import kind
from lehr.schedules.schedule import number
from lehr.schedules.shape import Shape

__all__ = ["chained", "plateau_cuts", "plateau_floor", "reduce_lr_on_plateau", "sequential"]

BAD = metric("num_bad_epochs", best="max")  # observations in a row without improvement, as torch counts them


def sequential(schedules: Sequence[Schedule], milestones: Sequence[int]) -> Schedule:
    """`SequentialLR`: each schedule from its own step 0 and from the base LR, the next one from each milestone on."""
    starts = [0, *(as_count(item, "SequentialLR(milestones=...)") for item in milestones)]
    if len(starts) != len(schedules) or not schedules:
        raise LehrError(
            f"SequentialLR needs one milestone less than schedulers, got {len(schedules)} schedulers and "
            f"{len(milestones)} milestones"
        )
    if any(later <= earlier for earlier, later in pairwise(starts)):
        raise LehrError(f"SequentialLR(milestones=...) must increase, got {list(milestones)}; sort them")
    phases: list[Schedule] = []
    for schedule, begin, end in zip(schedules, starts, [*starts[1:], None], strict=True):
        fresh = schedule if not phases or _ends_at_base(phases[-1]) else _from_base(schedule)
        phases.append(fresh if end is None else _cut(fresh, end - begin))
    first, *others = phases
    return first.then(*others) if others else first


def chained(schedules: Sequence[Schedule]) -> Schedule:
    """`ChainedScheduler`: the product; what has ended holds its value."""
    if any(kind(item) is not None for item in schedules):
        schedules = [unending(item) for item in schedules]
    first, *others = schedules
    for other in others:
        first = first * other
    return first


def reduce_lr_on_plateau(factor: float = 0.1, patience: int = 10) -> Rule:
    """`ReduceLROnPlateau` as a rule of `num_bad_epochs`, which the caller counts: see `lehr.torch.dropin.plateau`."""
    if not 0 < number(factor, "ReduceLROnPlateau(factor=...)") < 1:
        raise LehrError(f"ReduceLROnPlateau(factor=...) must be above 0 and below 1, got {factor!r}")
    tolerated = from_zero(patience, "ReduceLROnPlateau(patience=...)")
    return when(BAD.reaches(tolerated + 1)).every_time().scale(factor)


def plateau_cuts(lr: float, factor: float, eps: float) -> int:
    """How many reductions torch makes from `lr`, until the next one would be smaller than `eps`, which is above 0."""
    if lr * (1.0 - factor) <= eps:
        return 0
    # The last few are counted, as a logarithm may be off by a rounding.
    count = max(math.floor(math.log(eps / (lr * (1.0 - factor))) / math.log(factor)) - 2, 0)
    while lr * factor**count * (1.0 - factor) > eps:
        count += 1
    return count


def plateau_floor(lr: float, factor: float, min_lr: float, eps: float) -> float:
    """The LR at which torch's reductions end: at `min_lr`, or where the next one would be smaller than `eps`."""
    if lr <= min_lr:
        return lr
    if max(min_lr, eps) <= 0:
        return 0.0
    ends = [math.floor(math.log(min_lr / lr) / math.log(factor))] if min_lr > 0 else []
    ends += [plateau_cuts(lr, factor, eps)] if eps > 0 else []
    lr *= factor ** max(min(ends) - 2, 0)
    while (lower := max(lr * factor, min_lr)) and lr - lower > eps:
        lr = lower
    return lr


def _ends_at_base(phase: Schedule) -> bool:
    """Whether it hands over factor 1; asked of lines only, the usual warm-up, so that texts stay short."""
    line = isinstance(phase, Shape) and phase.name in ("warmup", "linear") and not phase.absolute
    return line and phase.resolve().end == 1.0


def _from_base(schedule: Schedule) -> Schedule:
    """The schedule begun at the base LR, whatever is handed over."""
    names_its_start = isinstance(schedule, Shape) and schedule.name in ("constant", "piecewise")
    return schedule if names_its_start else constant() * schedule


def _cut(schedule: Schedule, steps: int) -> Schedule:
    """Exactly so long: what is longer is cut off, what is shorter holds its end."""
    extent = kind(schedule)
    own = None if extent is not None else schedule.resolve(lr=1.0).length
    if own is not None and own <= steps:
        return schedule if own == steps else schedule.then(hold(steps - own))
    return unending(schedule) * hold(steps)
