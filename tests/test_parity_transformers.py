"""Parity with transformers.optimization; `get_scheduler` hands out the same functions by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from parity import agree, curve, differ
from parity_draws import FACTORS, LENGTHS, LRS, forty, lrs_of_updates

pytestmark = [pytest.mark.peers, pytest.mark.frameworks]
WAVES = st.floats(0.1, 3)


@pytest.fixture(scope="module")
def peer() -> Any:
    """The module of transformers' schedules."""
    from transformers import optimization

    return optimization


def stepped(make: Callable[..., Any], steps: int, lr: float, **arguments: Any) -> NDArray[np.float64]:
    """The LR that each update uses."""
    values: NDArray[np.float64] = lrs_of_updates(lambda optimizer: make(optimizer, **arguments), [lr], steps)[0]
    return values


def half_cosine(steps: int, n: int) -> NDArray[np.float64]:
    """The half cosine from 1 to 0 over n steps, which then stays."""
    return (1 + np.cos(np.pi * np.minimum(np.arange(steps), n) / n)) / 2


@forty
@given(lr=LRS)
def test_constant(peer: Any, lr: float) -> None:
    agree(
        "transformers",
        "get_constant_schedule",
        stepped(peer.get_constant_schedule, 100, lr),
        curve("constant()", 100, lr),
    )


@forty
@given(w=LENGTHS, lr=LRS)
def test_warmup(peer: Any, w: int, lr: float) -> None:
    theirs = stepped(peer.get_constant_schedule_with_warmup, w + 20, lr, num_warmup_steps=w)
    ours = curve("warmup({w}, zero_start=True)", w + 20, lr, w=w)
    agree("transformers", "get_constant_schedule_with_warmup", theirs, ours)


@forty
@given(w=LENGTHS, n=LENGTHS, lr=LRS)
def test_linear(peer: Any, w: int, n: int, lr: float) -> None:
    make = peer.get_linear_schedule_with_warmup
    theirs = stepped(make, w + n + 20, lr, num_warmup_steps=w, num_training_steps=w + n)
    ours = curve("warmup({w}, zero_start=True).then(linear({n}))", w + n + 20, lr, w=w, n=n)
    agree("transformers", "get_linear_schedule_with_warmup", theirs, ours)


@forty
@given(w=LENGTHS, n=LENGTHS, waves=WAVES, lr=LRS)
def test_cosine(peer: Any, w: int, n: int, waves: float, lr: float) -> None:
    make = peer.get_cosine_schedule_with_warmup
    theirs = stepped(make, w + n + 1, lr, num_warmup_steps=w, num_training_steps=w + n, num_cycles=waves)
    template = "warmup({w}, zero_start=True).then(cosine({n}, cycles={waves}))"
    agree(
        "transformers", "get_cosine_schedule_with_warmup", theirs, curve(template, w + n + 1, lr, w=w, n=n, waves=waves)
    )


@forty
@given(w=LENGTHS, n=st.integers(2, 60), lr=LRS)
def test_cosine_stays_at_zero(peer: Any, w: int, n: int, lr: float) -> None:
    steps = w + 2 * n
    make = peer.get_cosine_schedule_with_warmup
    theirs = stepped(make, steps, lr, num_warmup_steps=w, num_training_steps=w + n)
    definition = lr * np.concatenate([np.arange(w) / w, half_cosine(2 * n, n)])
    ours = curve("warmup({w}, zero_start=True).then(cosine({n}))", steps, lr, w=w, n=n)
    fault = "rises again after the last of num_training_steps"
    differ("transformers", "get_cosine_schedule_with_warmup", fault, theirs, ours, definition)


@forty
@given(w=LENGTHS, n=st.integers(1, 20), cycles=st.sampled_from([1, 2, 4, 8]), lr=LRS)
def test_hard_restarts(peer: Any, w: int, n: int, cycles: int, lr: float) -> None:
    steps = w + n * cycles + 20
    make = peer.get_cosine_with_hard_restarts_schedule_with_warmup
    theirs = stepped(make, steps, lr, num_warmup_steps=w, num_training_steps=w + n * cycles, num_cycles=cycles)
    ours = curve("warmup({w}, zero_start=True).then(cosine({n}).repeat({k}))", steps, lr, w=w, n=n, k=cycles)
    agree("transformers", "get_cosine_with_hard_restarts_schedule_with_warmup", theirs, ours)


@forty
@given(w=LENGTHS, n=LENGTHS, lr=LRS)
def test_hard_restarts_between_steps(peer: Any, w: int, n: int, lr: float) -> None:
    make = peer.get_cosine_with_hard_restarts_schedule_with_warmup
    theirs = stepped(make, w + n + 20, lr, num_warmup_steps=w, num_training_steps=w + n, num_cycles=3)
    template = "warmup({w}, zero_start=True).then(of_position('parity-three-restarts', {n}))"
    ours = curve(template, w + n + 20, lr, w=w, n=n)
    agree("transformers", "get_cosine_with_hard_restarts_schedule_with_warmup", theirs, ours)


@pytest.mark.parametrize(("n", "cycles"), [(2, 49), (6, 49), (5, 98), (10, 107)])
def test_no_restart_is_lost_to_rounding(peer: Any, n: int, cycles: int) -> None:
    definition = [(1 + np.cos(np.pi * (step % n) / n)) / 2 for step in range(n * cycles)] + [0.0]
    make = peer.get_cosine_with_hard_restarts_schedule_with_warmup
    total = n * cycles
    theirs = stepped(make, total + 1, 1.0, num_warmup_steps=0, num_training_steps=total, num_cycles=cycles)
    ours = curve("cosine({n}).repeat({k})", total + 1, 1.0, n=n, k=cycles)
    fault = "num_cycles · progress is rounded down, so that a restart begins at zero"
    differ("transformers", "get_cosine_with_hard_restarts_schedule_with_warmup", fault, theirs, ours, definition)


@forty
@given(w=LENGTHS, n=LENGTHS, power=st.floats(0.2, 4), end=st.floats(0, 0.99), lr=LRS)
def test_polynomial(peer: Any, w: int, n: int, power: float, end: float, lr: float) -> None:
    make = peer.get_polynomial_decay_schedule_with_warmup
    arguments = {"num_warmup_steps": w, "num_training_steps": w + n, "lr_end": end * lr, "power": power}
    theirs = lrs_of_updates(lambda optimizer: make(with_default(optimizer, lr), **arguments), [lr], w + n + 20)[0]
    template = "warmup({w}, zero_start=True).then(polynomial({n}, power={power}, to_lr={end}))"
    ours = curve(template, w + n + 20, lr, w=w, n=n, power=power, end=end * lr)
    agree("transformers", "get_polynomial_decay_schedule_with_warmup", theirs, ours)


def with_default(optimizer: torch.optim.Optimizer, lr: float) -> torch.optim.Optimizer:
    """Transformers reads the LR that the optimiser was made with, not that of the group."""
    optimizer.defaults["lr"] = lr
    return optimizer


@forty
@given(w=LENGTHS, tau=st.integers(1, 1000), lr=LRS)
def test_inverse_square_root(peer: Any, w: int, tau: int, lr: float) -> None:
    theirs = stepped(peer.get_inverse_sqrt_schedule, 200, lr, num_warmup_steps=w, timescale=tau)
    ours = curve("warmup({w}, zero_start=True).then(inverse_sqrt({tau}))", 200, lr, w=w, tau=tau)
    agree("transformers", "get_inverse_sqrt_schedule", theirs, ours)


@forty
@given(w=LENGTHS, n=LENGTHS, waves=WAVES, floor=FACTORS, lr=LRS)
def test_cosine_to_a_floor(peer: Any, w: int, n: int, waves: float, floor: float, lr: float) -> None:
    make = peer.get_cosine_with_min_lr_schedule_with_warmup
    arguments = {"num_warmup_steps": w, "num_training_steps": w + n, "num_cycles": waves, "min_lr_rate": floor}
    template = "warmup({w}, zero_start=True).then(cosine({n}, cycles={waves}, to={floor}))"
    ours = curve(template, w + n + 1, lr, w=w, n=n, waves=waves, floor=floor)
    theirs = stepped(make, w + n + 1, lr, **arguments)
    agree("transformers", "get_cosine_with_min_lr_schedule_with_warmup", theirs, ours)


@forty
@given(w=LENGTHS, n=st.integers(2, 60), floor=st.floats(0, 0.9), lr=LRS)
def test_cosine_stays_at_its_floor(peer: Any, w: int, n: int, floor: float, lr: float) -> None:
    steps = w + 2 * n
    make = peer.get_cosine_with_min_lr_schedule_with_warmup
    theirs = stepped(make, steps, lr, num_warmup_steps=w, num_training_steps=w + n, min_lr_rate=floor)
    definition = lr * np.concatenate([np.arange(w) / w, floor + (1 - floor) * half_cosine(2 * n, n)])
    ours = curve("warmup({w}, zero_start=True).then(cosine({n}, to={floor}))", steps, lr, w=w, n=n, floor=floor)
    fault = "rises above the minimum again after the last of num_training_steps"
    differ("transformers", "get_cosine_with_min_lr_schedule_with_warmup", fault, theirs, ours, definition)


@forty
@given(w=st.integers(2, 60), n=LENGTHS, start=st.none() | FACTORS, floor=FACTORS, lr=LRS)
def test_cosine_whose_warmup_reaches_the_peak_with_its_last_step(
    peer: Any, w: int, n: int, start: float | None, floor: float, lr: float
) -> None:
    make = peer.get_cosine_with_min_lr_schedule_with_warmup_lr_rate
    arguments = {
        "num_warmup_steps": w,
        "num_training_steps": w + n,
        "min_lr_rate": floor,
        "warmup_lr_rate": start,
    }
    template = "warmup({rise}, start={start}, zero_start=True).then(cosine({n}, to={floor}))"
    first = 1 / w if start is None else start
    ours = curve(template, w + n, lr, rise=w - 1, start=first, n=n, floor=floor)
    theirs = stepped(make, w + n, lr, **arguments)
    agree("transformers", "get_cosine_with_min_lr_schedule_with_warmup_lr_rate", theirs, ours)


@forty
@given(w=st.integers(2, 60), n=st.integers(2, 60), floor=st.floats(0, 0.9), lr=LRS)
def test_cosine_after_that_warmup_stays_at_its_floor(peer: Any, w: int, n: int, floor: float, lr: float) -> None:
    steps = w + 2 * n
    make = peer.get_cosine_with_min_lr_schedule_with_warmup_lr_rate
    theirs = stepped(make, steps, lr, num_warmup_steps=w, num_training_steps=w + n, min_lr_rate=floor)
    fall = floor + (1 - floor) * half_cosine(2 * n + 1, n)
    definition = lr * np.concatenate([np.arange(1, w) / w, fall])
    template = "warmup({rise}, start={start}, zero_start=True).then(cosine({n}, to={floor}))"
    ours = curve(template, steps, lr, rise=w - 1, start=1 / w, n=n, floor=floor)
    fault = "rises above the minimum again from update num_training_steps on"
    differ("transformers", "get_cosine_with_min_lr_schedule_with_warmup_lr_rate", fault, theirs, ours, definition)


FALLS = {"linear": "linear", "cosine": "cosine", "1-sqrt": "one_minus_sqrt"}


@forty
@given(
    w=LENGTHS,
    stable=LENGTHS,
    n=LENGTHS,
    rise=st.sampled_from(sorted(FALLS)),
    fall=st.sampled_from(sorted(FALLS)),
    floor=FACTORS,
    lr=LRS,
)
def test_warmup_stable_decay(
    peer: Any, w: int, stable: int, n: int, rise: str, fall: str, floor: float, lr: float
) -> None:
    theirs = stepped(
        peer.get_wsd_schedule,
        w + stable + n + 20,
        lr,
        num_warmup_steps=w,
        num_stable_steps=stable,
        num_decay_steps=n,
        warmup_type=rise,
        decay_type=fall,
        min_lr_ratio=floor,
    )
    template = "warmup({w}, '{rise}', start={floor}, zero_start=True).then(hold({stable}), {fall}({n}, to={floor}))"
    ours = curve(template, w + stable + n + 20, lr, w=w, rise=rise, floor=floor, stable=stable, fall=FALLS[fall], n=n)
    agree("transformers", "get_wsd_schedule", theirs, ours)


@forty
@given(w=LENGTHS, stable=LENGTHS, n=LENGTHS, waves=WAVES, floor=FACTORS, lr=LRS)
def test_warmup_stable_decay_in_waves(
    peer: Any, w: int, stable: int, n: int, waves: float, floor: float, lr: float
) -> None:
    steps = w + stable + n + 20
    arguments = {"num_warmup_steps": w, "num_decay_steps": n, "num_training_steps": w + stable + n}
    theirs = stepped(peer.get_wsd_schedule, steps, lr, **arguments, min_lr_ratio=floor, num_cycles=waves)
    template = (
        "warmup({w}, start={floor}, zero_start=True)"
        ".then(hold({stable}), cosine({n}, cycles={waves}, to={floor}), constant({floor}))"
    )
    ours = curve(template, steps, lr, w=w, floor=floor, stable=stable, n=n, waves=waves)
    agree("transformers", "get_wsd_schedule", theirs, ours)


@pytest.mark.parametrize(
    ("warm", "template"),
    [(False, "minimum(constant(0.01), power_law(1))"), (True, "minimum(warmup(1000000), power_law(1))")],
)
def test_the_relative_step_of_adafactor(peer: Any, warm: bool, template: str) -> None:
    steps = 12_000
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = peer.Adafactor([parameter], scale_parameter=False, relative_step=True, warmup_init=warm)
    scheduler = peer.AdafactorSchedule(optimizer)
    parameter.grad = torch.zeros(1)
    theirs = []
    for _ in range(steps):
        optimizer.step()
        theirs.append(scheduler.get_lr()[0])
        scheduler.step()
    agree("transformers", "AdafactorSchedule", theirs, curve(template, steps, 1.0))
