"""torch's cycles as schedules: factors of `max_lr`, and of `max_momentum`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from lehr.converters.torch_checks import Anneal, annealing, at_least_zero, named, over
from lehr.errors import LehrError
from lehr.lengths import LengthLike, as_count
from lehr.schedules import Schedule, constant, cosine, cyclic, linear, of_step, piecewise
from lehr.schedules.schedule import number
from lehr.spelling import shown

__all__ = ["cyclic_lr", "cyclic_momentum", "one_cycle_lr", "one_cycle_momentum"]

Scale = Callable[[float], Any]


def one_cycle_lr(
    total_steps: int,
    pct_start: float = 0.3,
    anneal_strategy: Anneal = "cos",
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    three_phase: bool = False,
) -> Schedule:
    """`OneCycleLR`, a factor of `max_lr`: up from 1/div_factor, down to 1/(div_factor·final_div_factor), held there.

    The peak lies at step pct_start·total_steps − 1, or at step 0 if that is before it (torch starts beyond the peak).
    """
    for name, value in (("div_factor", div_factor), ("final_div_factor", final_div_factor)):
        if not number(value, f"OneCycleLR({name}=...)") > 0:
            raise LehrError(f"OneCycleLR({name}=...) must be positive, got {value!r}")
    low = 1 / div_factor
    return _one_cycle((low, 1.0, low / final_div_factor), total_steps, pct_start, anneal_strategy, three_phase)


def one_cycle_momentum(
    total_steps: int,
    pct_start: float = 0.3,
    anneal_strategy: Anneal = "cos",
    base_momentum: float = 0.85,
    max_momentum: float = 0.95,
    three_phase: bool = False,
) -> Schedule:
    """The momentum of `OneCycleLR`, a factor of `max_momentum`: against the LR, down to `base_momentum` and back."""
    low = _ratio(base_momentum, max_momentum, "OneCycleLR")
    return _one_cycle((1.0, low, 1.0), total_steps, pct_start, anneal_strategy, three_phase)


def cyclic_lr(
    base_lr: float,
    max_lr: float,
    step_size_up: int = 2000,
    step_size_down: int | None = None,
    mode: str = "triangular",
    gamma: float = 1.0,
    scale_fn: Scale | None = None,
    scale_mode: str = "cycle",
) -> Schedule:
    """`CyclicLR`, a factor of `max_lr`: triangles from `base_lr`, their height scaled by the mode or by `scale_fn`."""
    low, (up, down) = _low(base_lr, max_lr), _sizes(step_size_up, step_size_down)
    if low == 1:
        return constant()
    if scale_fn is None:
        return cyclic(up, down, low=low, mode=mode, gamma=gamma if mode == "exp_range" else 1.0)
    scale = of_step(named(f"CyclicLR.{_title(scale_fn)}", scale_fn))
    if _by_cycle(scale_mode):
        scale = of_step(named(f"CyclicLR.cycle.{_title(scale_fn)}", _OfCycle(scale_fn)), every=up + down)
    triangles = linear(up, start=0, to=1).then(linear(down)).repeat()
    return constant(low) + (triangles * scale).scaled(1 - low)


def cyclic_momentum(
    base_momentum: float = 0.8,
    max_momentum: float = 0.9,
    step_size_up: int = 2000,
    step_size_down: int | None = None,
    mode: str = "triangular",
    gamma: float = 1.0,
    scale_fn: Scale | None = None,
    scale_mode: str = "cycle",
) -> Schedule:
    """The momentum of `CyclicLR`, a factor of `max_momentum`: against the LR, down to `base_momentum` and back."""
    low, (up, down) = _ratio(base_momentum, max_momentum, "CyclicLR"), _sizes(step_size_up, step_size_down)
    if scale_fn is None and mode == "triangular":
        return linear(up, start=1, to=low).then(linear(down, to=1)).repeat()
    momentum = _Momentum(low, up, down, mode, gamma, scale_fn, _by_cycle(scale_mode))
    title = f"{mode}.{gamma!r}" if scale_fn is None else _title(scale_fn)
    return of_step(named(f"CyclicLR.momentum.{low!r}.{up}.{down}.{title}", momentum))


@dataclass(frozen=True)
class _OfCycle:
    """The user's function of the cycle; torch counts cycles from 1."""

    scale_fn: Scale

    def __call__(self, cycle: int) -> float:
        return float(self.scale_fn(cycle + 1))


@dataclass(frozen=True)
class _Momentum:
    """1 − (1 − low)·triangle·scale."""

    low: float
    up: int
    down: int
    mode: str
    gamma: float
    scale_fn: Scale | None
    by_cycle: bool

    def __call__(self, step: int) -> float:
        cycle, i = divmod(step, self.up + self.down)
        height = i / self.up if i <= self.up else (self.up + self.down - i) / self.down
        if self.scale_fn is not None:
            scale = float(self.scale_fn(cycle + 1 if self.by_cycle else step))
        else:
            scale = 0.5**cycle if self.mode == "triangular2" else self.gamma**step
        return 1 - (1 - self.low) * height * scale


def _one_cycle(
    values: tuple[float, float, float], total_steps: int, pct_start: float, strategy: Anneal, three_phase: bool
) -> Schedule:
    """From the first value to the second at the peak, and on to the third; with three phases by way of the first."""
    total = as_count(total_steps, "OneCycleLR(total_steps=...)")
    if not 0 <= number(pct_start, "OneCycleLR(pct_start=...)") <= 1:
        raise LehrError(f"OneCycleLR(pct_start=...) must be between 0 and 1, got {pct_start!r}")
    between: Literal["cosine", "linear"] = "cosine" if annealing(strategy, "OneCycleLR") is cosine else "linear"
    first, peak, last = values
    top, back, end = float(pct_start) * total - 1, 2 * float(pct_start) * total - 2, float(total - 1)
    knots = [(0.0, first), (top, peak), (end, last)]
    if three_phase:
        if top <= 0 or back > end:
            raise LehrError(
                f"OneCycleLR(three_phase=True) needs 1/total_steps < pct_start <= 1/2, got pct_start={pct_start!r} "
                f"with total_steps={total}"
            )
        knots.insert(2, (back, first))
    if top <= 0:
        knots = [(0.0, peak), (end, last)]
    reached = [(at, value) for i, (at, value) in enumerate(knots) if i == 0 or at > knots[i - 1][0]]
    return piecewise({_place(at): value for at, value in reached}, between)


def _place(at: float) -> LengthLike:
    return int(at) if at.is_integer() else f"{at!r} steps"


def _sizes(up: int, down: int | None) -> tuple[int, int]:
    rise = as_count(up, "CyclicLR(step_size_up=...)")
    return rise, rise if down is None else as_count(down, "CyclicLR(step_size_down=...)")


def _low(base_lr: float, max_lr: float) -> float:
    low, high = at_least_zero(base_lr, "CyclicLR(base_lr=...)"), at_least_zero(max_lr, "CyclicLR(max_lr=...)")
    if not 0 < high >= low:
        raise LehrError(f"CyclicLR needs 0 <= base_lr <= max_lr and max_lr > 0, got {base_lr!r} and {max_lr!r}")
    return over(low, high)


def _by_cycle(scale_mode: str) -> bool:
    if scale_mode not in ("cycle", "iterations"):
        raise LehrError(f"CyclicLR(scale_mode=...) must be 'cycle' or 'iterations', got {shown(scale_mode)}")
    return scale_mode == "cycle"


def _ratio(base_momentum: float, max_momentum: float, name: str) -> float:
    low = at_least_zero(base_momentum, f"{name}(base_momentum=...)")
    if not 0 < number(max_momentum, f"{name}(max_momentum=...)") < 1 or low >= 1:
        raise LehrError(f"{name} needs momenta of at least 0 and below 1, got {base_momentum!r} and {max_momentum!r}")
    return over(low, max_momentum)


def _title(function: Any) -> str:
    return str(getattr(function, "__qualname__", type(function).__qualname__))
