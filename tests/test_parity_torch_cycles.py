"""Parity with torch's CyclicLR and OneCycleLR, stepped as in a training loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.optim import lr_scheduler

import lehr
from parity import agree, curve, differ
from parity_draws import LENGTHS, LRS, forty, lrs_of_updates
from parity_functions import FUNCTIONS

pytestmark = [pytest.mark.peers, pytest.mark.frameworks]
RATES = st.floats(0.05, 1)
LOWS = st.floats(0, 0.99)
SHAPES = {"cos": "cosine", "linear": "linear"}


def stepped(make: Callable[[torch.optim.Optimizer], Any], steps: int, lr: float) -> NDArray[np.float64]:
    """The LR that each update uses."""
    values: NDArray[np.float64] = lrs_of_updates(make, [lr], steps)[0]
    return values


@forty
@given(
    up=st.integers(1, 40),
    down=st.integers(1, 40),
    low=LOWS,
    mode=st.sampled_from(["triangular", "triangular2"]),
    lr=LRS,
)
def test_cycles(up: int, down: int, low: float, mode: str, lr: float) -> None:
    ours = curve("cyclic({up}, {down}, low={low}, mode='{mode}')", 200, lr, up=up, down=down, low=low, mode=mode)
    agree("torch", "CyclicLR", cyclic(lr, low, step_size_up=up, step_size_down=down, mode=mode), ours)


@forty
@given(up=st.integers(1, 40), down=st.integers(1, 40), low=LOWS, gamma=RATES, lr=LRS)
def test_cycles_that_decay(up: int, down: int, low: float, gamma: float, lr: float) -> None:
    template = "cyclic({up}, {down}, low={low}, mode='exp_range', gamma={gamma})"
    ours = curve(template, 200, lr, up=up, down=down, low=low, gamma=gamma)
    theirs = cyclic(lr, low, step_size_up=up, step_size_down=down, mode="exp_range", gamma=gamma)
    agree("torch", "CyclicLR", theirs, ours)


@forty
@given(up=st.integers(1, 40), down=st.integers(1, 40), low=LOWS, per_cycle=st.booleans(), lr=LRS)
def test_cycles_scaled_by_a_function(up: int, down: int, low: float, per_cycle: bool, lr: float) -> None:
    template = "constant({low}) + cyclic({up}, {down}).scaled({height}) * of_step('parity-inverse', every={every})"
    every = up + down if per_cycle else 1
    ours = curve(template, 200, lr, low=low, up=up, down=down, height=1 - low, every=every)
    first = 1 if per_cycle else 0  # torch counts cycles from 1
    theirs = cyclic(
        lr,
        low,
        step_size_up=up,
        step_size_down=down,
        scale_fn=lambda x: FUNCTIONS["parity-inverse"](x - first),
        scale_mode="cycle" if per_cycle else "iterations",
    )
    agree("torch", "CyclicLR", theirs, ours)


def cyclic(lr: float, low: float, **arguments: Any) -> NDArray[np.float64]:
    """200 steps of torch's CyclicLR between low·lr and lr."""
    return stepped(
        lambda optimizer: lr_scheduler.CyclicLR(optimizer, low * lr, lr, cycle_momentum=False, **arguments), 200, lr
    )


def one_cycle(lr: float, total: int, steps: int, **arguments: Any) -> NDArray[np.float64]:
    """Torch's OneCycleLR over a number of steps."""
    return stepped(
        lambda optimizer: lr_scheduler.OneCycleLR(optimizer, lr, total, cycle_momentum=False, **arguments), steps, lr
    )


@forty
@given(
    total=st.integers(4, 200),
    share=st.floats(0.05, 0.95),
    strategy=st.sampled_from(sorted(SHAPES)),
    div=st.floats(1, 100),
    final=st.floats(1, 1e6),
    lr=LRS,
)
def test_one_cycle_with_a_peak_between_steps(
    total: int, share: float, strategy: str, div: float, final: float, lr: float
) -> None:
    top = share * total - 1
    assume(0.01 < top < total - 1.01)
    theirs = one_cycle(
        lr, total, total, pct_start=share, anneal_strategy=strategy, div_factor=div, final_div_factor=final
    )
    template = "piecewise({{0: {low}, '{top} steps': 1, {last}: {end}}}, between='{shape}')"
    shape = SHAPES[strategy]
    ours = curve(template, total, lr, low=1 / div, top=top, last=total - 1, end=1 / (div * final), shape=shape)
    agree("torch", "OneCycleLR", theirs, ours)


@forty
@given(up=LENGTHS, down=LENGTHS, strategy=st.sampled_from(sorted(SHAPES)), lr=LRS)
def test_one_cycle_with_a_peak_at_a_step(up: int, down: int, strategy: str, lr: float) -> None:
    total = up + down + 1
    share = (up + 1) / total
    assume(share * total == up + 1)
    theirs = one_cycle(lr, total, total, pct_start=share, anneal_strategy=strategy)
    run = lehr.Horizon(steps=up + down)
    ours = curve("one_cycle({up}, shape='{shape}')", total, lr, horizon=run, up=up, shape=SHAPES[strategy])
    agree("torch", "OneCycleLR", theirs, ours)


@forty
@given(up=LENGTHS, tail=LENGTHS, strategy=st.sampled_from(sorted(SHAPES)), lr=LRS)
def test_one_cycle_of_three_phases_that_end_at_steps(up: int, tail: int, strategy: str, lr: float) -> None:
    total = 2 * up + tail + 2
    share = (up + 1) / total
    assume(share * total == up + 1)
    theirs = one_cycle(lr, total, total, pct_start=share, anneal_strategy=strategy, three_phase=True)
    run, shape = lehr.Horizon(steps=total - 1), SHAPES[strategy]
    ours = curve("one_cycle({up}, {down}, shape='{shape}')", total, lr, horizon=run, up=up, down=up, shape=shape)
    agree("torch", "OneCycleLR", theirs, ours)


@forty
@given(total=st.integers(4, 200), share=st.floats(0.05, 0.48), strategy=st.sampled_from(sorted(SHAPES)), lr=LRS)
def test_one_cycle_of_three_phases(total: int, share: float, strategy: str, lr: float) -> None:
    top, back = share * total - 1, 2 * share * total - 2
    assume(top > 0.01)
    theirs = one_cycle(lr, total, total, pct_start=share, anneal_strategy=strategy, three_phase=True)
    template = "piecewise({{0: 0.04, '{top} steps': 1, '{back} steps': 0.04, {last}: 4e-06}}, between='{shape}')"
    ours = curve(template, total, lr, top=top, back=back, last=total - 1, shape=SHAPES[strategy])
    agree("torch", "OneCycleLR", theirs, ours)


@pytest.mark.parametrize(
    ("strategy", "fault"),
    [("cos", "the update after the last rises again"), ("linear", "the update after the last has a negative LR")],
)
def test_one_cycle_ends_at_its_end(strategy: Literal["cos", "linear"], fault: str) -> None:
    total, up, low, end = 10, 4, 1 / 25, 1 / 25e4
    steps = np.arange(total + 1)
    rise, fall = steps / up, np.clip((steps - up) / (total - 1 - up), 0, 1)
    if strategy == "cos":
        rise, fall = (1 - np.cos(np.pi * rise)) / 2, (1 - np.cos(np.pi * fall)) / 2
    definition = np.where(steps < up, low + (1 - low) * rise, 1 + (end - 1) * fall)
    run = lehr.Horizon(steps=total - 1)
    ours = curve("one_cycle({up}, shape='{shape}')", total + 1, 1.0, horizon=run, up=up, shape=SHAPES[strategy])
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.9)
    scheduler = lr_scheduler.OneCycleLR(optimizer, 1.0, total, pct_start=0.5, anneal_strategy=strategy)
    theirs = []
    for step in steps:
        theirs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step < total:
            scheduler.step()
    differ("torch", "OneCycleLR", fault, theirs, ours, definition)


def test_one_cycle_can_begin_at_its_peak() -> None:
    total, end = 10, 1 / 25e4
    with pytest.raises(ZeroDivisionError):
        one_cycle(1.0, total, total, pct_start=1 / total)
    definition = end + (1 - end) * (1 + np.cos(np.pi * np.arange(total) / (total - 1))) / 2
    ours = curve("cosine({n}, to={end})", total, 1.0, n=total - 1, end=end)
    fault = "ZeroDivisionError if pct_start · total_steps is 1"
    differ("torch", "OneCycleLR", fault, np.full(total, np.nan), ours, definition)
