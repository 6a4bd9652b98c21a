"""Parity with torch.optim.lr_scheduler and torch.optim.swa_utils.SWALR, stepped as in a training loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.optim import lr_scheduler
from torch.optim.swa_utils import SWALR

import lehr
from parity import agree, curve, differ
from parity_draws import FACTORS, LENGTHS, LRS, forty, lrs_of_updates
from parity_functions import FUNCTIONS

pytestmark = [pytest.mark.peers, pytest.mark.frameworks]
RATES = st.floats(0.05, 1)
SHAPES = {"cos": "cosine", "linear": "linear"}
BY_STEP = ["parity-halving", "parity-inverse", "parity-seesaw"]


def stepped(make: Callable[[torch.optim.Optimizer], Any], steps: int, lr: float) -> NDArray[np.float64]:
    """The LR that each update uses."""
    values: NDArray[np.float64] = lrs_of_updates(make, [lr], steps)[0]
    return values


@forty
@given(name=st.sampled_from(BY_STEP), lr=LRS)
def test_a_function_of_the_step(name: str, lr: float) -> None:
    theirs = stepped(lambda optimizer: lr_scheduler.LambdaLR(optimizer, FUNCTIONS[name]), 120, lr)
    agree("torch", "LambdaLR", theirs, curve("of_step('{name}')", 120, lr, name=name))


@forty
@given(name=st.sampled_from(BY_STEP), n=LENGTHS, lr=LRS)
def test_a_function_of_the_previous_lr(name: str, n: int, lr: float) -> None:
    theirs = stepped(lambda optimizer: lr_scheduler.MultiplicativeLR(optimizer, FUNCTIONS[name]), n + 1, lr)
    agree("torch", "MultiplicativeLR", theirs, curve("of_previous('{name}', {n})", n + 1, lr, name=name, n=n))


@forty
@given(n=LENGTHS, gamma=FACTORS, lr=LRS)
def test_steps(n: int, gamma: float, lr: float) -> None:
    theirs = stepped(lambda optimizer: lr_scheduler.StepLR(optimizer, n, gamma), 150, lr)
    agree("torch", "StepLR", theirs, curve("step_decay({n}, {gamma})", 150, lr, n=n, gamma=gamma))


@forty
@given(milestones=st.lists(LENGTHS, min_size=1, max_size=6), gamma=st.floats(0.01, 2), lr=LRS)
def test_milestones_in_any_order_and_more_than_once(milestones: list[int], gamma: float, lr: float) -> None:
    theirs = stepped(lambda optimizer: lr_scheduler.MultiStepLR(optimizer, sorted(milestones), gamma), 120, lr)
    ours = curve("multistep({milestones}, {gamma})", 120, lr, milestones=milestones, gamma=gamma)
    agree("torch", "MultiStepLR", theirs, ours)


@forty
@given(n=LENGTHS, factor=FACTORS, lr=LRS)
def test_a_constant_factor_for_a_while(n: int, factor: float, lr: float) -> None:
    assume(factor > 1e-3)  # torch divides by it at the end
    theirs = stepped(lambda optimizer: lr_scheduler.ConstantLR(optimizer, factor, n), n + 20, lr)
    ours = curve("piecewise({{0: {factor}, {n}: 1}})", n + 20, lr, factor=factor, n=n)
    agree("torch", "ConstantLR", theirs, ours)


@forty
@given(n=LENGTHS, start=st.floats(0.01, 1), end=FACTORS, lr=LRS)
def test_linear(n: int, start: float, end: float, lr: float) -> None:
    theirs = stepped(lambda optimizer: lr_scheduler.LinearLR(optimizer, start, end, n), n + 20, lr)
    ours = curve("linear({n}, start={start}, to={end})", n + 20, lr, n=n, start=start, end=end)
    agree("torch", "LinearLR", theirs, ours)


@forty
@given(n=LENGTHS, start=st.floats(0.01, 1), lr=LRS)
def test_linear_as_a_warmup(n: int, start: float, lr: float) -> None:
    theirs = stepped(lambda optimizer: lr_scheduler.LinearLR(optimizer, start, total_iters=n), n + 20, lr)
    agree("torch", "LinearLR", theirs, curve("warmup({n}, start={s}, zero_start=True)", n + 20, lr, n=n, s=start))


@forty
@given(gamma=RATES, lr=LRS)
def test_exponential(gamma: float, lr: float) -> None:
    theirs = stepped(lambda optimizer: lr_scheduler.ExponentialLR(optimizer, gamma), 150, lr)
    agree("torch", "ExponentialLR", theirs, curve("exponential({gamma})", 150, lr, gamma=gamma))


@forty
@given(gamma=st.floats(1.001, 1.2), n=LENGTHS, lr=LRS)
def test_exponential_growth_has_an_end(gamma: float, n: int, lr: float) -> None:
    theirs = stepped(lambda optimizer: lr_scheduler.ExponentialLR(optimizer, gamma), n + 1, lr)
    agree("torch", "ExponentialLR", theirs, curve("geometric({n}, to={to})", n + 1, lr, n=n, to=gamma**n))


@forty
@given(n=LENGTHS, power=st.floats(0.2, 4), lr=LRS)
def test_polynomial(n: int, power: float, lr: float) -> None:
    theirs = stepped(lambda optimizer: lr_scheduler.PolynomialLR(optimizer, n, power), n + 20, lr)
    agree("torch", "PolynomialLR", theirs, curve("polynomial({n}, power={power})", n + 20, lr, n=n, power=power))


@forty
@given(n=LENGTHS, floor=FACTORS, lr=LRS)
def test_cosine_and_its_wave_past_the_end(n: int, floor: float, lr: float) -> None:
    theirs = stepped(lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, n, floor * lr), 3 * n + 1, lr)
    ours = curve("cosine({n}, to_lr={floor})", n + 1, lr, n=n, floor=floor * lr)
    agree("torch", "CosineAnnealingLR", theirs[: n + 1], ours)
    wave = curve("cosine({wave}, cycles=1, to_lr={floor}).repeat()", 3 * n + 1, lr, wave=2 * n, floor=floor * lr)
    agree("torch", "CosineAnnealingLR", theirs, wave)


@forty
@given(n=st.integers(2, 100), floor=st.floats(0, 0.9), lr=LRS)
def test_cosine_stays_at_its_floor(n: int, floor: float, lr: float) -> None:
    steps = np.arange(2 * n + 1)
    definition = floor * lr + (lr - floor * lr) * (1 + np.cos(np.pi * np.minimum(steps, n) / n)) / 2
    theirs = stepped(lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, n, floor * lr), steps.size, lr)
    ours = curve("cosine({n}, to_lr={floor})", steps.size, lr, n=n, floor=floor * lr)
    differ("torch", "CosineAnnealingLR", "rises again after T_max", theirs, ours, definition)


@forty
@given(n=st.integers(1, 30), growth=st.integers(1, 3), floor=FACTORS, lr=LRS)
def test_warm_restarts(n: int, growth: int, floor: float, lr: float) -> None:
    theirs = stepped(
        lambda optimizer: lr_scheduler.CosineAnnealingWarmRestarts(optimizer, n, growth, floor * lr), 400, lr
    )
    ours = curve("cosine({n}, to_lr={floor}).repeat(stretch={m})", 400, lr, n=n, floor=floor * lr, m=growth)
    agree("torch", "CosineAnnealingWarmRestarts", theirs, ours)


@pytest.mark.parametrize(("n", "growth", "restart"), [(1, 3, 121), (1, 10, 111), (3, 3, 363), (7, 3, 847)])
def test_restarts_are_exact_where_torch_takes_a_logarithm(n: int, growth: int, restart: int) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = lr_scheduler.CosineAnnealingWarmRestarts(optimizer, n, growth)
    theirs, definition = [], []
    for epoch in range(restart + 5):
        scheduler.step(epoch)
        theirs.append(optimizer.param_groups[0]["lr"])
        since, period = epoch, n
        while since >= period:
            since, period = since - period, period * growth
        definition.append((1 + np.cos(np.pi * since / period)) / 2)
    ours = curve("cosine({n}).repeat(stretch={m})", restart + 5, 1.0, n=n, m=growth)
    fault = "step(epoch) finds the cycle by a rounded logarithm and misses the restart"
    differ("torch", "CosineAnnealingWarmRestarts", fault, theirs, ours, definition)


@forty
@given(n=LENGTHS, strategy=st.sampled_from(sorted(SHAPES)), floor=st.floats(0, 2), lr=LRS)
def test_swa_annealing(n: int, strategy: str, floor: float, lr: float) -> None:
    theirs = stepped(
        lambda optimizer: SWALR(optimizer, floor * lr, n, strategy),  # type: ignore[arg-type]
        n + 20,
        lr,
    )
    ours = curve("{shape}({n}, to_lr={floor})", n + 20, lr, shape=SHAPES[strategy], n=n, floor=floor * lr)
    agree("torch", "SWALR", theirs, ours)


@forty
@given(w=LENGTHS, n=LENGTHS, start=st.floats(0.01, 1), lr=LRS)
def test_a_sequence_of_warmup_and_cosine(w: int, n: int, start: float, lr: float) -> None:
    def make(optimizer: torch.optim.Optimizer) -> Any:
        warm = lr_scheduler.LinearLR(optimizer, start, total_iters=w)
        return lr_scheduler.SequentialLR(optimizer, [warm, lr_scheduler.CosineAnnealingLR(optimizer, n)], [w])

    ours = curve("warmup({w}, start={s}, zero_start=True).then(cosine({n}))", w + n, lr, w=w, s=start, n=n)
    agree("torch", "SequentialLR", stepped(make, w + n, lr), ours)


@forty
@given(a=LENGTHS, b=LENGTHS, every=LENGTHS, gamma=RATES, lr=LRS)
def test_a_sequence_of_three(a: int, b: int, every: int, gamma: float, lr: float) -> None:
    def make(optimizer: torch.optim.Optimizer) -> Any:
        parts = [
            lr_scheduler.ConstantLR(optimizer, 0.5, 1000),
            lr_scheduler.StepLR(optimizer, every, gamma),
            lr_scheduler.ExponentialLR(optimizer, gamma),
        ]
        return lr_scheduler.SequentialLR(optimizer, parts, [a, a + b])

    template = (
        "hold({a}).scaled(0.5).then(linear({b}, start=1, to=1) * step_decay({every}, {gamma}),"
        " constant() * exponential({gamma}))"
    )
    agree("torch", "SequentialLR", stepped(make, 200, lr), curve(template, 200, lr, a=a, b=b, every=every, gamma=gamma))


@forty
@given(n=LENGTHS, factor=st.floats(0.05, 1), gamma=RATES, every=LENGTHS, lr=LRS)
def test_a_chain_is_a_product(n: int, factor: float, gamma: float, every: int, lr: float) -> None:
    def make(optimizer: torch.optim.Optimizer) -> Any:
        return lr_scheduler.ChainedScheduler(
            [
                lr_scheduler.LinearLR(optimizer, factor, total_iters=n),
                lr_scheduler.ExponentialLR(optimizer, gamma),
                lr_scheduler.StepLR(optimizer, every, 0.5),
            ]
        )

    template = "warmup({n}, start={f}, zero_start=True).then(hold()) * exponential({gamma}) * step_decay({every}, 0.5)"
    ours = curve(template, 150, lr, n=n, f=factor, gamma=gamma, every=every)
    agree("torch", "ChainedScheduler", stepped(make, 150, lr), ours)


def test_a_sequence_begins_its_recursive_part_at_the_base_lr() -> None:
    def make(optimizer: torch.optim.Optimizer) -> Any:
        warm = lr_scheduler.ConstantLR(optimizer, 0.5, 10)
        halve = lr_scheduler.MultiplicativeLR(optimizer, FUNCTIONS["parity-seesaw"])
        return lr_scheduler.SequentialLR(optimizer, [warm, halve], [4])

    later = np.cumprod([1.0, *(1 + 0.01 * (-1) ** t for t in range(1, 20))])
    ours = curve(
        "hold({a}).scaled({f}).then(constant() * of_previous('parity-seesaw', {n}))", 24, 0.1, a=4, f=0.5, n=50
    )
    fault = "a MultiplicativeLR goes on from the part before it, where every other part begins at the base LR"
    definition = 0.1 * np.concatenate([np.full(4, 0.5), later])
    differ("torch", "SequentialLR", fault, stepped(make, 24, 0.1), ours, definition)


def test_a_sequence_keeps_its_one_cycle_out_of_other_parts() -> None:
    def make(optimizer: torch.optim.Optimizer) -> Any:
        hold = lr_scheduler.ConstantLR(optimizer, 1.0, 10)
        cycle = lr_scheduler.OneCycleLR(optimizer, 0.1, 11, pct_start=5 / 11, cycle_momentum=False)
        return lr_scheduler.SequentialLR(optimizer, [hold, cycle], [3])

    rise = 0.04 + 0.96 * (1 - np.cos(np.pi * np.arange(4) / 4)) / 2
    fall = 4e-6 + (1 - 4e-6) * (1 + np.cos(np.pi * np.arange(7) / 6)) / 2
    definition = 0.1 * np.concatenate([np.ones(3), rise, fall])
    run = lehr.Horizon(steps=13)
    ours = curve("hold({a}).then(one_cycle({up}))", 14, 0.1, horizon=run, a=3, up=4)
    fault = "a later OneCycleLR lowers the base LR of the parts before it"
    differ("torch", "SequentialLR", fault, stepped(make, 14, 0.1), ours, definition)


def test_a_chain_of_warmup_and_cosine_with_a_floor_is_their_product() -> None:
    def make(optimizer: torch.optim.Optimizer) -> Any:
        warm = lr_scheduler.LinearLR(optimizer, 0.1, total_iters=10)
        return lr_scheduler.ChainedScheduler([warm, lr_scheduler.CosineAnnealingLR(optimizer, 50, 0.01)])

    steps = np.arange(51)
    warm = 0.1 + 0.9 * np.minimum(steps / 10, 1)
    definition = warm * (0.01 + 0.09 * (1 + np.cos(np.pi * steps / 50)) / 2)
    template = "warmup({w}, start={s}, zero_start=True) * cosine({n}, to_lr={floor})"
    ours = curve(template, 51, 0.1, w=10, s=0.1, n=50, floor=0.01)
    fault = "a CosineAnnealingLR with a floor, being recursive, is not multiplied but mixed with the other"
    differ("torch", "ChainedScheduler", fault, stepped(make, 51, 0.1), ours, definition)
