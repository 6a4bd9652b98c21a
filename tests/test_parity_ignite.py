"""Curves against ignite's parameter schedulers: handlers whose n-th call writes the value of update n."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from parity import Ours, agree, curve, differ
from parity_draws import FACTORS, LENGTHS, LRS, OPEN_FACTORS, forty

pytestmark = [
    pytest.mark.peers,
    pytest.mark.frameworks,
    pytest.mark.filterwarnings("ignore:.torch.jit"),  # torch warns as ignite is imported
]

CYCLES = st.integers(2, 60)
GROWTH = st.integers(1, 3)


def peer() -> Any:
    return importlib.import_module("ignite.handlers.param_scheduler")


def sgd(*lrs: float) -> Any:
    import torch

    return torch.optim.SGD([{"params": [torch.zeros(1, requires_grad=True)], "lr": lr} for lr in lrs])


def written(scheduler: Any, optimizer: Any, steps: int) -> NDArray[np.float64]:
    """What the calls of the handler write, a row a parameter group."""
    rows = []
    for _ in range(steps):
        scheduler(None)
        rows.append([float(group["lr"]) for group in optimizer.param_groups])
    return np.array(rows).T


def holds(function: str, ours: Ours, **arguments: Any) -> None:
    optimizer = sgd(ours.lr)
    scheduler = getattr(peer(), function)(optimizer, "lr", **arguments)
    agree("ignite", function, written(scheduler, optimizer, len(ours.values))[0], ours)


@forty
@given(n=CYCLES, growth=GROWTH, start=FACTORS, end=FACTORS, fall=OPEN_FACTORS, rise=OPEN_FACTORS, lr=LRS)
def test_cosine_annealing(n: int, growth: int, start: float, end: float, fall: float, rise: float, lr: float) -> None:
    template = (
        "cosine({n}, start={initial}, to=0).repeat(stretch={growth}, scale={fall})"
        " + cosine({n}, start=0, to={end}).repeat(stretch={growth}, scale={rise})"
    )
    numbers: dict[str, Any] = {"n": n, "growth": growth, "initial": start, "end": end, "fall": fall, "rise": rise}
    ours = curve(template, 8 * n, lr, **numbers)
    arguments = {"start_value": lr * start, "end_value": lr * end, "cycle_size": n, "cycle_mult": float(growth)}
    holds("CosineAnnealingScheduler", ours, **arguments, start_value_mult=fall, end_value_mult=rise)


@forty
@given(n=CYCLES, w=LENGTHS, growth=GROWTH, start=FACTORS, end=FACTORS, fall=OPEN_FACTORS, lr=LRS)
def test_cosine_annealing_with_a_warmup_between_cycles(
    n: int, w: int, growth: int, start: float, end: float, fall: float, lr: float
) -> None:
    template = (
        "cosine({n}, start={initial}, to=0).then(linear({w}, to={next})).repeat(stretch={growth}, scale={fall})"
        " + cosine({n}, start=0, to={end}).then(linear({w})).repeat(stretch={growth})"
    )
    numbers: dict[str, Any] = {
        "n": n,
        "w": w,
        "growth": growth,
        "initial": start,
        "end": end,
        "fall": fall,
        "next": start * fall,
    }
    ours = curve(template, 5 * (n + w), lr, **numbers)
    arguments = {"start_value": lr * start, "end_value": lr * end, "cycle_size": n, "cycle_mult": float(growth)}
    holds("CosineAnnealingScheduler", ours, **arguments, start_value_mult=fall, warmup_duration=w)


@forty
@given(n=CYCLES, growth=GROWTH, start=FACTORS, end=FACTORS, fall=OPEN_FACTORS, lr=LRS)
def test_triangles_of_even_and_odd_lengths(
    n: int, growth: int, start: float, end: float, fall: float, lr: float
) -> None:
    template = "(hold({n}) * piecewise({knots}, 'linear')).repeat(stretch={growth}, scale={fall})"
    knots = {0: start, f"{n / 2} steps": end, n: start}
    ours = curve(template, 8 * n, lr, n=n, knots=knots, growth=growth, fall=fall)
    arguments = {"start_value": lr * start, "end_value": lr * end, "cycle_size": n, "cycle_mult": float(growth)}
    holds("LinearCyclicalScheduler", ours, **arguments, start_value_mult=fall, end_value_mult=fall)


@forty
@given(n=CYCLES, w=LENGTHS, start=FACTORS, end=FACTORS, fall=OPEN_FACTORS, lr=LRS)
def test_saw_teeth_with_a_warmup_between_cycles(
    n: int, w: int, start: float, end: float, fall: float, lr: float
) -> None:
    template = (
        "linear({n}, start={initial}, to=0).then(linear({w}, to={next})).repeat(scale={fall})"
        " + linear({n}, start=0, to={end}).then(linear({w})).repeat()"
    )
    ours = curve(template, 5 * (n + w), lr, n=n, w=w, initial=start, end=end, fall=fall, next=start * fall)
    arguments = {"start_value": lr * start, "end_value": lr * end, "cycle_size": n, "warmup_duration": w}
    holds("LinearCyclicalScheduler", ours, **arguments, start_value_mult=fall, monotonic=True)


def sorted_knots(values: dict[int, float]) -> list[tuple[int, float]]:
    return sorted(values.items())


@forty
@given(knots=st.dictionaries(st.integers(0, 100), FACTORS, min_size=1, max_size=6).map(sorted_knots), lr=LRS)
def test_piecewise_linear(knots: list[tuple[int, float]], lr: float) -> None:
    ours = curve("piecewise({knots}, 'linear')", 120, lr, knots=dict([(0, knots[0][1]), *knots]))
    holds("PiecewiseLinear", ours, milestones_values=[(step, lr * value) for step, value in knots])


@forty
@given(n=CYCLES, cycles=st.integers(1, 3), w=LENGTHS, start=FACTORS, end=FACTORS, lr=LRS)
def test_concatenated_handlers(n: int, cycles: int, w: int, start: float, end: float, lr: float) -> None:
    optimizer = sgd(lr)
    parts = [
        peer().CosineAnnealingScheduler(optimizer, "lr", lr * start, lr * end, n),
        peer().PiecewiseLinear(optimizer, "lr", [(0, lr * end), (w, lr)]),
        peer().LinearCyclicalScheduler(optimizer, "lr", lr, lr * end, 2 * n),
    ]
    theirs = written(peer().ConcatScheduler(parts, [cycles * n, w]), optimizer, 6 * n + w)[0]
    template = (
        "cosine({n}, start={initial}, to={end}).repeat({cycles})"
        ".then(linear({w}, to=1), linear({n}, to={end}).then(linear({n}, to=1)).repeat())"
    )
    ours = curve(template, 6 * n + w, lr, n=n, initial=start, end=end, cycles=cycles, w=w)
    agree("ignite", "ConcatScheduler", theirs, ours)


@forty
@given(n=CYCLES, part=st.integers(1, 59), low=FACTORS, start=FACTORS, lr=LRS)
def test_concatenated_handlers_may_cut_a_cycle(n: int, part: int, low: float, start: float, lr: float) -> None:
    optimizer = sgd(lr)
    cut = min(part, n)
    parts = [
        peer().CosineAnnealingScheduler(optimizer, "lr", lr, lr * low, n),
        peer().CosineAnnealingScheduler(optimizer, "lr", lr * start, 0.0, n),
    ]
    theirs = written(peer().ConcatScheduler(parts, [cut]), optimizer, 3 * n)[0]
    template = (
        "cosine({n}, to={low}).then(hold()) * piecewise({early})"
        " + linear({cut}, start=0, to=0).then(cosine({n}, start={initial}).repeat())"
    )
    ours = curve(template, 3 * n, lr, n=n, low=low, early={0: 1, cut: 0}, cut=cut, initial=start)
    agree("ignite", "ConcatScheduler", theirs, ours)


@forty
@given(n=CYCLES, knots=st.dictionaries(st.integers(1, 50), FACTORS, min_size=1, max_size=4), lr=LRS)
def test_one_scheduler_a_group(n: int, knots: dict[int, float], lr: float) -> None:
    optimizer = sgd(lr, lr)
    milestones = [(0, lr), *((step, lr * value) for step, value in sorted(knots.items()))]
    parts = [
        peer().CosineAnnealingScheduler(optimizer, "lr", lr, 0.0, n, param_group_index=0),
        peer().PiecewiseLinear(optimizer, "lr", milestones, param_group_index=1),
    ]
    first, second = written(peer().ParamGroupScheduler(parts), optimizer, 60)
    agree("ignite", "ParamGroupScheduler", first, curve("cosine({n}).repeat()", 60, lr, n=n))
    ours = curve("piecewise({knots}, 'linear')", 60, lr, knots=dict(sorted(knots.items())))
    agree("ignite", "ParamGroupScheduler", second, ours)


TORCH = {
    "step_decay({n}, 0.5)": lambda torch, optimizer, n, lr: torch.StepLR(optimizer, n, gamma=0.5),
    "multistep([{n}, {n}, 70], 0.3)": lambda torch, optimizer, n, lr: torch.MultiStepLR(optimizer, [n, n, 70], 0.3),
    "cyclic({n}, low=0.1)": lambda torch, optimizer, n, lr: torch.CyclicLR(
        optimizer, lr / 10, lr, n, cycle_momentum=False
    ),
}


@pytest.mark.parametrize("template", TORCH)
@forty
@given(n=CYCLES, lr=LRS)
def test_schedulers_of_torch(template: str, n: int, lr: float) -> None:
    import torch

    optimizer = sgd(lr)
    wrapped = peer().LRScheduler(TORCH[template](torch.optim.lr_scheduler, optimizer, n, lr))
    agree("ignite", "LRScheduler", written(wrapped, optimizer, 90)[0], curve(template, 90, lr, n=n))


def test_chained_schedulers_of_torch_are_applied_once_too_often() -> None:
    import torch

    n, lr, t = 10, 0.1, np.arange(30)
    x = np.minimum(t / n, 1)
    library = torch.optim.lr_scheduler
    cases: dict[str, tuple[Callable[[Any], Any], Any]] = {
        "exponential(0.9)": (lambda optimizer: library.ExponentialLR(optimizer, 0.9), 0.9**t),
        "linear({n}, start=0.25, to=1)": (
            lambda optimizer: library.LinearLR(optimizer, 0.25, total_iters=n),
            0.25 + 0.75 * x,
        ),
        "polynomial({n}, power=2)": (lambda optimizer: library.PolynomialLR(optimizer, n, power=2.0), (1 - x) ** 2),
        "cosine({n}).repeat()": (
            lambda optimizer: library.CosineAnnealingWarmRestarts(optimizer, n),
            (1 + np.cos(np.pi * (t % n) / n)) / 2,
        ),
    }
    for template, (make, factors) in cases.items():
        optimizer = sgd(lr)
        theirs = written(peer().LRScheduler(make(optimizer)), optimizer, 30)[0]
        fault = "with torch 2.13 its recursive schedulers take one step before the first update"
        differ("ignite", "LRScheduler", fault, theirs, curve(template, 30, lr, n=n), lr * factors)


@forty
@given(n=CYCLES, w=CYCLES, start=FACTORS, low=FACTORS, lr=LRS)
def test_warmup_before_a_handler(n: int, w: int, start: float, low: float, lr: float) -> None:
    optimizer = sgd(lr)
    inner = peer().CosineAnnealingScheduler(optimizer, "lr", lr, lr * low, n)
    theirs = peer().create_lr_scheduler_with_warmup(inner, lr * start, w)
    template = "warmup({rise}, start={initial}, zero_start=True).then(cosine({n}, to={low}).repeat())"
    ours = curve(template, w + 3 * n, lr, rise=w - 1, initial=start, n=n, low=low)
    agree("ignite", "create_lr_scheduler_with_warmup", written(theirs, optimizer, w + 3 * n)[0], ours)


@forty
@given(n=CYCLES, w=CYCLES, start=FACTORS, end=st.floats(0, 0.99), low=FACTORS, lr=LRS)
def test_warmup_that_ends_below_a_handler(n: int, w: int, start: float, end: float, low: float, lr: float) -> None:
    optimizer = sgd(lr)
    inner = peer().CosineAnnealingScheduler(optimizer, "lr", lr, lr * low, n)
    theirs = peer().create_lr_scheduler_with_warmup(inner, lr * start, w, lr * end)
    template = "linear({rise}, start={initial}, to={end}).then(hold(1), cosine({n}, start=1, to={low}).repeat())"
    ours = curve(template, w + 3 * n, lr, rise=w - 1, initial=start, end=end, n=n, low=low)
    agree("ignite", "create_lr_scheduler_with_warmup", written(theirs, optimizer, w + 3 * n)[0], ours)


@forty
@given(n=CYCLES, w=CYCLES, start=FACTORS, lr=LRS)
def test_warmup_before_a_scheduler_of_torch(n: int, w: int, start: float, lr: float) -> None:
    import torch

    optimizer = sgd(lr)
    inner = torch.optim.lr_scheduler.StepLR(optimizer, n, gamma=0.5)
    theirs = peer().create_lr_scheduler_with_warmup(inner, lr * start, w)
    template = "warmup({rise}, start={initial}, zero_start=True).then(step_decay({n}, 0.5))"
    ours = curve(template, w + 3 * n, lr, rise=w - 1, initial=start, n=n)
    agree("ignite", "create_lr_scheduler_with_warmup", written(theirs, optimizer, w + 3 * n)[0], ours)


def test_a_growing_cycle_may_never_grow() -> None:
    n, growth, lr, steps = 2, 1.4, 0.1, 40
    optimizer = sgd(lr)
    theirs = peer().CosineAnnealingScheduler(optimizer, "lr", lr, 0.0, n, cycle_mult=growth)
    ends = np.floor(n * (growth ** np.arange(1, 12) - 1) / (growth - 1) + 0.5)
    begins, t = np.concatenate(([0.0], ends[:-1])), np.arange(steps)
    cycle = np.searchsorted(ends, t, side="right")
    definition = lr * (1 + np.cos(np.pi * (t - begins[cycle]) / (ends - begins)[cycle])) / 2
    ours = curve("cosine({n}).repeat(stretch={growth})", steps, lr, n=n, growth=growth)
    fault = "each cycle's length is cut to a whole number and the next grows from that: 2, 2, 2 … for a growth of 1.4"
    differ("ignite", "CosineAnnealingScheduler", fault, written(theirs, optimizer, steps)[0], ours, definition)
