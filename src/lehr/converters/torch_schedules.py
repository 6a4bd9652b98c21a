"""torch's schedulers as schedules: one pure function each, with torch's arguments and without torch.

A schedule is a factor of the base LR. For `one_cycle_lr` and `cyclic_lr`, which name their LRs themselves, the base is
`max_lr`; `one_cycle_momentum` and `cyclic_momentum` are factors of `max_momentum`. Past its end each holds its value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from lehr.converters.torch_checks import Anneal, annealing, at_least_zero, from_zero
from lehr.converters.torch_cycles import cyclic_lr, cyclic_momentum, one_cycle_lr, one_cycle_momentum
from lehr.converters.torch_joined import chained, plateau_cuts, plateau_floor, reduce_lr_on_plateau, sequential
from lehr.errors import LehrError
from lehr.lengths import as_count
from lehr.schedules import (
    Schedule,
    constant,
    cosine,
    exponential,
    geometric,
    linear,
    multistep,
    of_step,
    piecewise,
    polynomial,
    step_decay,
    warmup,
)
from lehr.schedules.functions import Function

__all__ = [
    "Anneal",
    "chained",
    "constant_lr",
    "cosine_annealing_lr",
    "cosine_annealing_warm_restarts",
    "cyclic_lr",
    "cyclic_momentum",
    "exponential_lr",
    "lambda_lr",
    "linear_lr",
    "multi_step_lr",
    "multiplicative_lr",
    "one_cycle_lr",
    "one_cycle_momentum",
    "plateau_cuts",
    "plateau_floor",
    "polynomial_lr",
    "reduce_lr_on_plateau",
    "sequential",
    "step_lr",
    "swa_lr",
]

LARGEST_GROWTH = 1e30  # a rising exponential holds here
LONGEST_PRODUCT = 10_000_000  # steps of a product of a function's values


def constant_lr(factor: float = 1.0 / 3, total_iters: int = 5) -> Schedule:
    """`ConstantLR`: factor before `total_iters`, 1 from there on."""
    steps = from_zero(total_iters, "ConstantLR(total_iters=...)")
    at_least_zero(factor, "ConstantLR(factor=...)")
    return piecewise({0: factor, steps: 1.0}) if steps else constant()


def linear_lr(start_factor: float = 1.0 / 3, end_factor: float = 1.0, total_iters: int = 5) -> Schedule:
    """`LinearLR`: a line from `start_factor`, which may be 0, to `end_factor`; a rise to 1 is a warm-up."""
    steps = from_zero(total_iters, "LinearLR(total_iters=...)")
    start = at_least_zero(start_factor, "LinearLR(start_factor=...)")
    end = at_least_zero(end_factor, "LinearLR(end_factor=...)")
    if not steps:
        return constant(end)
    if end == 1 and start < 1:
        return warmup(steps, start=start, zero_start=True)
    return linear(steps, start=start, to=end)


def step_lr(step_size: int, gamma: float = 0.1) -> Schedule:
    """`StepLR`: γ^⌊t/step_size⌋."""
    size = as_count(step_size, "StepLR(step_size=...)")
    if at_least_zero(gamma, "StepLR(gamma=...)") <= 1:
        return step_decay(size, gamma)
    return _growth(gamma, size).staircase(size)


def multi_step_lr(milestones: Iterable[int], gamma: float = 0.1) -> Schedule:
    """`MultiStepLR`: γ^(milestones ≤ t), in any order; one given twice counts twice."""
    at = sorted(from_zero(item, "MultiStepLR(milestones=...)") for item in milestones)
    return multistep(at, at_least_zero(gamma, "MultiStepLR(gamma=...)")) if at else constant()


def exponential_lr(gamma: float) -> Schedule:
    """`ExponentialLR`: γ^t. A γ above 1 rises to 1e30 and holds there."""
    if at_least_zero(gamma, "ExponentialLR(gamma=...)") == 0:
        return piecewise({0: 1, 1: 0})
    return exponential(gamma) if gamma <= 1 else _growth(gamma, 1)


def polynomial_lr(total_iters: int = 5, power: float = 1.0) -> Schedule:
    """`PolynomialLR`: (1 − t/total_iters)^power, then 0."""
    steps = as_count(total_iters, "PolynomialLR(total_iters=...)")
    if at_least_zero(power, "PolynomialLR(power=...)") == 0:
        return constant()
    return polynomial(steps, power=power)


def cosine_annealing_lr(T_max: int, eta_min: float = 0.0) -> Schedule:
    """`CosineAnnealingLR`: half a cosine to `eta_min`, which holds after `T_max` (torch's rises again)."""
    return _cosine_to(as_count(T_max, "CosineAnnealingLR(T_max=...)"), eta_min, "CosineAnnealingLR(eta_min=...)")


def cosine_annealing_warm_restarts(
    T_0: int,
    T_mult: int = 1,
    eta_min: float = 0.0,
) -> Schedule:
    """`CosineAnnealingWarmRestarts`: cosines to `eta_min`, each `T_mult` times as long as the one before it."""
    name = "CosineAnnealingWarmRestarts"
    cycle = _cosine_to(as_count(T_0, f"{name}(T_0=...)"), eta_min, f"{name}(eta_min=...)")
    return cycle.repeat(stretch=as_count(T_mult, f"{name}(T_mult=...)"))


def lambda_lr(function: Callable[[int], Any] | Function | str) -> Schedule:
    """`LambdaLR`: f(t)."""
    return of_step(function)  # type: ignore[arg-type]  # a `Function` is what `shape` makes of either


def multiplicative_lr(function: Callable[[int], Any]) -> Callable[[int], float]:
    """`MultiplicativeLR`: the function t → ∏_{j=1..t} f(j), for `lambda_lr`; it remembers the products it made."""
    products = [1.0]

    def product(t: int) -> float:
        if t > LONGEST_PRODUCT:
            raise LehrError(f"MultiplicativeLR knows at most {LONGEST_PRODUCT} steps, was asked for step {t}")
        while len(products) <= t:
            products.append(products[-1] * float(function(len(products))))
        return products[t]

    return product


def swa_lr(
    swa_lr: float, anneal_epochs: int = 10, anneal_strategy: Anneal = "cos", start: float | None = None
) -> Schedule:
    """`SWALR`: from the present LR (or the factor `start`) to `swa_lr`, which holds."""
    steps = from_zero(anneal_epochs, "SWALR(anneal_epochs=...)")
    fall = annealing(anneal_strategy, "SWALR")
    return fall(steps, to_lr=at_least_zero(swa_lr, "SWALR(swa_lr=...)"), start=start)


def _cosine_to(steps: int, eta_min: float, what: str) -> Schedule:
    floor = at_least_zero(eta_min, what)
    return cosine(steps, to_lr=floor) if floor else cosine(steps)


def _growth(gamma: float, per: int) -> Schedule:
    """γ^(t/per) for γ > 1, up to where it would pass 1e30."""
    times = max(math.floor(math.log(LARGEST_GROWTH) / math.log(gamma)), 1)
    return geometric(times * per, to=gamma**times)
