"""Curves against pytorch_optimizer's own schedulers (its other names are torch's classes, as a test shows).

Three of its classes write an absolute LR: `step()` gives the LR of the formula, but the first update runs before any
`step()`, at `min_lr`. The formulas are compared by what `step()` gives, the delay is one of the faults.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from parity import Ours, agree, curve, differ
from parity_draws import FACTORS, LENGTHS, LRS, OPEN_FACTORS, forty, lrs_of_updates

pytestmark = [pytest.mark.peers, pytest.mark.frameworks]

PEER = "pytorch-optimizer"
FLOORS = st.floats(0, 0.9)


def peer() -> Any:
    return importlib.import_module("pytorch_optimizer.lr_scheduler")


def sgd() -> Any:
    import torch

    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)


def stepped(scheduler: Any, count: int) -> list[float]:
    """What the first calls of `step()` give."""
    return [float(scheduler.step()) for _ in range(count)]


def used(make: Any, ours: Ours) -> NDArray[np.float64]:
    """The LRs that the updates use."""
    lrs: NDArray[np.float64] = lrs_of_updates(make, [ours.lr], len(ours.values))[0]
    return lrs


@forty
@given(w=LENGTHS, start=FACTORS, n=LENGTHS, low=FACTORS, lr=LRS)
def test_linear_and_cosine_after_a_warmup(w: int, start: float, n: int, low: float, lr: float) -> None:
    arguments = {"t_max": w + n, "max_lr": lr, "min_lr": lr * low, "init_lr": lr * start, "warmup_steps": w}
    numbers: dict[str, Any] = {"w": w, "initial": start, "n": n, "low": low}
    ours = curve("linear({w}, start={initial}, to=1).then(linear({n}, to={low}))", w + n + 1, lr, **numbers)
    agree(PEER, "LinearScheduler", stepped(peer().LinearScheduler(sgd(), **arguments), w + n + 1), ours)
    ours = curve("linear({w}, start={initial}, to=1).then(cosine({n}, to={low}))", w + n + 1, lr, **numbers)
    agree(PEER, "CosineScheduler", stepped(peer().CosineScheduler(sgd(), **arguments), w + n + 1), ours)


@forty
@given(n=LENGTHS, low=FACTORS, lr=LRS)
def test_rex_begins_at_its_floor(n: int, low: float, lr: float) -> None:
    ours = curve("rex({n}, to={low}) * piecewise({first})", n + 20, lr, n=n, low=low, first={0: low, 1: 1})
    theirs = used(lambda optimizer: peer().REXScheduler(optimizer, n, lr, lr * low), ours)
    agree(PEER, "REXScheduler", theirs, ours)


@forty
@given(w=LENGTHS, n=LENGTHS, low=FACTORS, gamma=OPEN_FACTORS, lr=LRS)
def test_restarts_with_warmup_and_falling_peaks(w: int, n: int, low: float, gamma: float, lr: float) -> None:
    template = (
        "warmup({w}, zero_start=True).then(cosine({n})).repeat(scale={gamma})"
        " + linear({w}, start={low}, to=0).then(cosine({n}, to={low})).repeat()"
    )
    ours = curve(template, 4 * (w + n), lr, w=w, n=n, low=low, gamma=gamma)
    arguments = {"first_cycle_steps": w + n, "warmup_steps": w, "max_lr": lr, "min_lr": lr * low, "gamma": gamma}
    theirs = used(lambda optimizer: peer().CosineAnnealingWarmupRestarts(optimizer, **arguments), ours)
    agree(PEER, "CosineAnnealingWarmupRestarts", theirs, ours)


@forty
@given(w=LENGTHS, n=LENGTHS, low=FACTORS, growth=st.integers(2, 3), gamma=OPEN_FACTORS, lr=LRS)
def test_restarts_whose_cosines_grow(w: int, n: int, low: float, growth: int, gamma: float, lr: float) -> None:
    template = (
        "warmup({w}, start={low}, zero_start=True).then(cosine({a}, to={low}), "
        "linear({w}, to={second}), cosine({b}, to={low}), linear({w}, to={third}), cosine({c}, to={low}))"
    )
    a, b, c = (n * growth**cycle for cycle in range(3))
    peaks: dict[str, Any] = {"second": gamma, "third": gamma**2}
    ours = curve(template, a + b + c + 3 * w, lr, w=w, low=low, a=a, b=b, c=c, **peaks)
    sizes = {"first_cycle_steps": w + n, "warmup_steps": w, "cycle_mult": growth}
    values = {"max_lr": lr, "min_lr": lr * low, "gamma": gamma}
    theirs = used(lambda optimizer: peer().CosineAnnealingWarmupRestarts(optimizer, **sizes, **values), ours)
    agree(PEER, "CosineAnnealingWarmupRestarts", theirs, ours)


COOLDOWNS = {
    "1-sqrt": "one_minus_sqrt({d})",
    "linear": "linear({d})",
    "1-square": "polynomial({d}, power=1, k=2)",
    "cosine": "cosine({d}, to={low})",
}


@pytest.mark.parametrize("kind", COOLDOWNS)
@forty
@given(w=LENGTHS, hold=LENGTHS, d=LENGTHS, low=FACTORS, lr=LRS)
def test_warmup_stable_decay(kind: str, w: int, hold: int, d: int, low: float, lr: float) -> None:
    floor = low if kind == "cosine" else 0.0
    template = "warmup({w}, zero_start=True).then(hold({stable}), " + COOLDOWNS[kind] + ")"
    ours = curve(template, w + hold + d + 20, lr, w=w, stable=hold, d=d, low=low)
    arguments = {"min_lr_ratio": floor, "cooldown_type": kind}
    theirs = used(lambda optimizer: peer().get_wsd_schedule(optimizer, w, hold, d, **arguments), ours)
    agree(PEER, "get_wsd_schedule", theirs, ours)


@forty
@given(d=LENGTHS, waves=st.floats(0.1, 3), lr=LRS)
def test_warmup_stable_decay_in_several_waves(d: int, waves: float, lr: float) -> None:
    ours = curve("cosine({d}, cycles={waves})", d, lr, d=d, waves=waves)
    arguments = {"num_cycles": waves, "cooldown_type": "cosine"}
    theirs = used(lambda optimizer: peer().get_wsd_schedule(optimizer, 0, 0, d, **arguments), ours)
    agree(PEER, "get_wsd_schedule", theirs, ours)


@forty
@given(levels=st.integers(3, 8), lr=LRS)
def test_chebyshev_steps_of_powers_of_two(levels: int, lr: float) -> None:
    n = 2**levels
    steps = lr * peer().get_chebyshev_perm_steps(n)
    agree(PEER, "get_chebyshev_perm_steps", steps, curve("chebyshev({n})", n, lr, n=n))


@forty
@given(n=st.integers(5, 100), lr=LRS)
def test_chebyshev_schedule_holds_its_first_step_for_three_updates(n: int, lr: float) -> None:
    nodes = 2 ** (n - 1).bit_length()
    first = 1 / (0.525 - 0.475 * np.cos(np.pi / (2 * nodes)))
    template = "linear(2, start={first}, to={first}).then(chebyshev({nodes}, start=1))"
    ours = curve(template, n + 50, lr, first=float(first), nodes=nodes)
    theirs = used(lambda optimizer: peer().get_chebyshev_schedule(optimizer, n), ours)
    agree(PEER, "get_chebyshev_schedule", theirs, ours)
    plain = curve("constant()", n, lr)
    theirs = used(lambda optimizer: peer().get_chebyshev_schedule(optimizer, n, is_warmup=True), plain)
    agree(PEER, "get_chebyshev_schedule", theirs, plain)


@forty
@given(w=LENGTHS, n=LENGTHS, low=FLOORS, start=st.floats(0, 3), end=st.floats(0, 3), lr=LRS)
def test_proportion_links_another_number_to_the_lr(
    w: int, n: int, low: float, start: float, end: float, lr: float
) -> None:
    scheduler = peer().CosineScheduler(sgd(), t_max=w + n, max_lr=lr, min_lr=lr * low, init_lr=lr * low, warmup_steps=w)
    link = peer().ProportionScheduler(scheduler, lr, lr * low, max_value=start, min_value=end)
    values = []
    for _ in range(w + n + 1):
        scheduler.step()
        values.append(link.step())
    ours = curve(
        "linear({w}, start={end}, to={initial}).then(cosine({n}, to={end}))",
        w + n + 1,
        1.0,
        w=w,
        n=n,
        initial=start,
        end=end,
    )
    agree(PEER, "ProportionScheduler", values, ours)


def test_the_other_names_are_classes_of_torch() -> None:
    import torch

    names = "ConstantLR CosineAnnealingLR CosineAnnealingWarmRestarts CyclicLR MultiplicativeLR MultiStepLR OneCycleLR"
    for name in (*names.split(), "StepLR"):
        assert getattr(peer(), name) is getattr(torch.optim.lr_scheduler, name)


def test_the_first_update_of_a_rex_runs_at_its_floor() -> None:
    n, lr, t = 20, 0.1, np.arange(30)
    ours = curve("rex({n})", 30, lr, n=n)
    x = np.minimum(t / n, 1)
    theirs = used(lambda optimizer: peer().REXScheduler(optimizer, n, max_lr=lr), ours)
    fault = "the first update runs at min_lr, not at max_lr"
    differ(PEER, "REXScheduler", fault, theirs, ours, lr * (1 - x) / (1 - x / 2))


def test_the_first_update_of_a_warmup_is_delayed() -> None:
    w, n, lr, t = 5, 20, 0.1, np.arange(26)
    arguments = {"t_max": w + n, "max_lr": lr, "warmup_steps": w, "init_lr": lr / 10}
    rise = 0.1 + 0.9 * t / w
    template = "warmup({w}, start=0.1, zero_start=True).then("
    fault = "the first update runs at min_lr and every later one at the LR of the update before it"
    ours = curve(template + "cosine({n}))", 26, lr, w=w, n=n)
    definition = lr * np.where(t < w, rise, (1 + np.cos(np.pi * (t - w) / n)) / 2)
    theirs = used(lambda optimizer: peer().CosineScheduler(optimizer, **arguments), ours)
    differ(PEER, "CosineScheduler", fault, theirs, ours, definition)
    ours = curve(template + "linear({n}))", 26, lr, w=w, n=n)
    theirs = used(lambda optimizer: peer().LinearScheduler(optimizer, **arguments), ours)
    differ(PEER, "LinearScheduler", fault, theirs, ours, lr * np.where(t < w, rise, 1 - (t - w) / n))


def test_past_the_end_a_line_goes_below_zero_and_a_cosine_rises() -> None:
    n, lr, t = 20, 0.1, np.arange(40)
    x = np.minimum(t / n, 1)
    ours = curve("linear({n}).then(hold())", 40, lr, n=n)
    theirs = stepped(peer().LinearScheduler(sgd(), t_max=n, max_lr=lr), 40)
    differ(PEER, "LinearScheduler", "past its end the LR is negative", theirs, ours, lr * (1 - x))
    ours = curve("cosine({n}).then(hold())", 40, lr, n=n)
    theirs = stepped(peer().CosineScheduler(sgd(), t_max=n, max_lr=lr), 40)
    differ(PEER, "CosineScheduler", "past its end it rises again", theirs, ours, lr * (1 + np.cos(np.pi * x)) / 2)


def test_poly_grows_without_bound() -> None:
    n, lr, t = 20, 0.1, np.arange(30)
    ours = curve("polynomial({n}, power=0.5)", 30, lr, n=n)
    theirs = stepped(peer().PolyScheduler(sgd(), t_max=n, max_lr=lr), 30)
    definition = lr * np.sqrt(1 - np.minimum(t / n, 1))
    fault = "takes a power of the step instead of the share that is left, and rises for ever"
    differ(PEER, "PolyScheduler", fault, theirs, ours, definition)


@pytest.mark.parametrize(("kind", "ours_is"), [("1-sqrt", "one_minus_sqrt"), ("linear", "linear")])
def test_cooldowns_ignore_the_floor_and_then_jump_up_to_it(kind: str, ours_is: str) -> None:
    w, hold, d, low, lr, t = 5, 10, 15, 0.1, 0.1, np.arange(40)
    ours = curve(
        "warmup({w}, zero_start=True).then(hold({stable}), " + ours_is + "({d}, to={low}))",
        40,
        lr,
        w=w,
        stable=hold,
        d=d,
        low=low,
    )
    arguments = {"min_lr_ratio": low, "cooldown_type": kind}
    theirs = used(lambda optimizer: peer().get_wsd_schedule(optimizer, w, hold, d, **arguments), ours)
    x = np.clip((t - w - hold) / d, 0, 1)
    share = 1 - np.sqrt(x) if kind == "1-sqrt" else 1 - x
    definition = lr * np.where(t < w, t / w, low + (1 - low) * share)
    fault = "the cool-down ignores min_lr_ratio, falls below it and jumps up to it at the end"
    differ(PEER, "get_wsd_schedule", fault, theirs, ours, definition)


def test_restarts_without_a_warmup_begin_at_the_floor() -> None:
    n, lr, t = 10, 0.1, np.arange(30)
    ours = curve("cosine({n}).repeat()", 30, lr, n=n)
    arguments = {"first_cycle_steps": n, "max_lr": lr, "min_lr": 0.0, "gamma": 1.0}
    theirs = used(lambda optimizer: peer().CosineAnnealingWarmupRestarts(optimizer, **arguments), ours)
    definition = lr * (1 + np.cos(np.pi * (t % n) / n)) / 2
    fault = "without warm-up the first update runs at min_lr, not at max_lr"
    differ(PEER, "CosineAnnealingWarmupRestarts", fault, theirs, ours, definition)


def test_two_of_the_chebyshev_steps_never_come() -> None:
    n, lr = 16, 0.1
    ours = curve("chebyshev({n})", n, lr, n=n)
    theirs = used(lambda optimizer: peer().get_chebyshev_schedule(optimizer, n), ours)
    order = [0]
    while len(order) < n:
        order = [node for old in order for node in (old, 2 * len(order) - 1 - old)]
    definition = lr / (0.525 - 0.475 * np.cos((np.array(order) + 0.5) * np.pi / n))
    fault = "the first step is taken three times, so the last two of the n never come"
    differ(PEER, "get_chebyshev_schedule", fault, theirs, ours, definition)
    four = lr / (0.525 - 0.475 * np.cos((np.array([0, 3, 1, 2]) + 0.5) * np.pi / 4))
    given = np.append(lr * peer().get_chebyshev_perm_steps(4), [np.nan, np.nan])
    fault = "gives 2 steps of 4"
    differ(PEER, "get_chebyshev_perm_steps", fault, given, curve("chebyshev({n})", 4, lr, n=4), four)


def test_one_lr_is_written_into_every_group() -> None:
    n, lrs, t = 20, [1.0, 0.1], np.arange(20)
    theirs = lrs_of_updates(lambda optimizer: peer().CosineScheduler(optimizer, t_max=n, max_lr=1.0), lrs, n)
    ours = curve("cosine({n})", n, lrs[1], n=n)
    definition = lrs[1] * (1 + np.cos(np.pi * t / n)) / 2
    fault = "writes one LR into every group, here 10 times too much for a group with LR 0.1 beside one with 1"
    differ(PEER, "CosineScheduler", fault, theirs[1], ours, definition)
