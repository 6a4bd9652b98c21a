"""pytorch-scheduler's ways of putting schedules together, and its faults."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lehr
from parity import Ours, agree, curve, differ
from parity_draws import FACTORS, LENGTHS, LRS, forty, lrs_of_updates

pytestmark = [pytest.mark.peers, pytest.mark.frameworks]

PEER = "pytorch-scheduler"


def peer(module: str = "") -> Any:
    return importlib.import_module("pytorch_scheduler" + module)


def holds(function: str, make: Any, ours: Ours) -> None:
    agree(PEER, function, lrs_of_updates(make, [ours.lr], len(ours.values))[0], ours)


@pytest.mark.parametrize(("rise", "name"), [("linear", "linear"), ("cosine", "cosine"), ("quadratic", "exponential")])
@forty
@given(w=LENGTHS, n=LENGTHS, low=FACTORS, lr=LRS)
def test_warmup_of_its_own_schedules(rise: str, name: str, w: int, n: int, low: float, lr: float) -> None:
    template = "warmup({w}, '" + rise + "', zero_start=True).then(cosine({n}, k=2, to={low}))"

    def make(optimizer: Any) -> Any:
        inner = peer().KDecayScheduler(optimizer, total_steps=n, k=2.0, min_lr=lr * low)
        return peer().WarmupScheduler(optimizer, inner, warmup_steps=w, warmup_type=name)

    holds("WarmupScheduler", make, curve(template, w + n + 20, lr, w=w, n=n, low=low))


@forty
@given(a=LENGTHS, b=LENGTHS, c=LENGTHS, low=FACTORS, lr=LRS)
def test_sequential_composer_of_its_own_schedules(a: int, b: int, c: int, low: float, lr: float) -> None:
    def make(optimizer: Any) -> Any:
        parts = [
            peer().IdentityScheduler(optimizer),
            peer().RexScheduler(optimizer, total_steps=b),
            peer().LinearDecayScheduler(optimizer, total_steps=c, min_lr=lr * low),
        ]
        return peer(".experimental").SequentialComposer(optimizer, parts, [a, a + b])

    template = "hold({a}).then(rex({b}), linear({c}, start=1, to={low}))"
    holds("SequentialComposer", make, curve(template, a + b + c + 20, lr, a=a, b=b, c=c, low=low))


RISE = "warmup({w}, zero_start=True).then("
PRESETS = {  # the expression, and which shares of the run rise and hold
    "llm_pretrain": (RISE + "hold({stable}), cosine({rest}))", 0.01, 0.7),
    "llm_finetune": (RISE + "cosine({rest}, to=0.1))", 0.03, 0.0),
    "vision_finetune": (RISE + "cosine({rest}, to=0.01))", 0.05, 0.0),
    "vision_pretrain": (RISE + "hold({stable}), cosine({rest}, to=0.001))", 0.05, 0.3),
    "transfer_small_data": ("warmup({w}, start=0.03125, zero_start=True).then(linear({rest}, to=0.03125))", 0.1, 0.0),
    "budgeted_training": ("rex({n})", 0.0, 0.0),
}


@pytest.mark.parametrize("preset", PRESETS)
@forty
@given(n=st.integers(100, 300), lr=LRS)
def test_presets(preset: str, n: int, lr: float) -> None:
    template, rise, hold = PRESETS[preset]
    w, stable = int(n * rise), int(n * hold)
    ours = curve(template, n + 20, lr, n=n, w=w, stable=stable, rest=n - w - stable)
    holds("create_from_preset", lambda optimizer: peer().create_from_preset(optimizer, preset, n), ours)


def test_no_preset_is_left_out() -> None:
    assert set(PRESETS) == set(peer().list_presets())


@pytest.mark.filterwarnings("ignore:To get the last learning rate")
def test_warmup_around_a_scheduler_of_torch_is_wrong() -> None:
    import torch

    w, n, lr, t = 5, 20, 0.1, np.arange(40)

    def make(optimizer: Any) -> Any:
        inner = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n)
        return peer().WarmupScheduler(optimizer, inner, warmup_steps=w)

    ours = curve("warmup({w}, zero_start=True).then(cosine({n}))", 40, lr, w=w, n=n)
    x = np.clip((t - w) / n, 0, 1)
    definition = lr * np.where(t < w, t / w, (1 + np.cos(np.pi * x)) / 2)
    fault = "sets last_epoch of torch's recursive scheduler, which then goes on from the warm-up's LR"
    differ(PEER, "WarmupScheduler", fault, lrs_of_updates(make, [lr], 40)[0], ours, definition)


@pytest.mark.filterwarnings("ignore:To get the last learning rate")
def test_sequential_composer_of_schedulers_of_torch_is_wrong() -> None:
    import torch

    a, n, lr, t = 10, 20, 0.1, np.arange(30)

    def make(optimizer: Any) -> Any:
        parts = [
            torch.optim.lr_scheduler.ConstantLR(optimizer, factor=0.5, total_iters=100),
            torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n),
        ]
        return peer(".experimental").SequentialComposer(optimizer, parts, [a])

    ours = curve("linear({a}, start=0.5, to=0.5).then(cosine({n}, start=1))", 30, lr, a=a, n=n)
    definition = lr * np.where(t < a, 0.5, (1 + np.cos(np.pi * np.clip((t - a) / n, 0, 1))) / 2)
    fault = "sets last_epoch of torch's recursive schedulers, which multiply whatever LR is there"
    differ(PEER, "SequentialComposer", fault, lrs_of_updates(make, [lr], 30)[0], ours, definition)


def test_chebyshev_is_a_half_cosine() -> None:
    n, lr = 16, 0.1
    theirs = lrs_of_updates(lambda optimizer: peer().ChebyshevScheduler(optimizer, n), [lr], n)[0]
    order = [0]
    while len(order) < n:
        order = [node for old in order for node in (old, 2 * len(order) - 1 - old)]
    nodes = np.cos((np.array(order) + 0.5) * np.pi / n)
    definition = lr / (0.525 - 0.475 * nodes)
    fault = "claims the non-monotone pattern of Chebyshev's nodes, falls as a half cosine from node to node"
    differ(PEER, "ChebyshevScheduler", fault, theirs, curve("chebyshev({n})", n, lr, n=n), definition)


def test_tanh_snaps_to_the_floor_at_its_end() -> None:
    n, lr, t = 20, 0.1, np.arange(30)
    theirs = lrs_of_updates(lambda optimizer: peer().TanhDecayScheduler(optimizer, n, steepness=1.5), [lr], 30)[0]
    ours = curve("tanh({n}, lower={a}, upper={b})", 30, lr, n=n, a=-1.5, b=1.5)
    x = np.minimum(t / n, 1)
    definition = lr * (1 - np.tanh(1.5 * (2 * x - 1))) / 2
    fault = "the curve ends above its floor and then jumps to it"
    differ(PEER, "TanhDecayScheduler", fault, theirs, ours, definition)


def test_restarts_ignore_the_lrs_of_the_groups() -> None:
    n, low, lrs, t = 20, 0.001, [1.0, 0.1], np.arange(30)
    arguments = {"first_cycle_steps": n, "warmup_steps": 5, "max_lr": 1.0, "min_lr": low}
    theirs = lrs_of_updates(lambda optimizer: peer().CosineAnnealingWarmupRestarts(optimizer, **arguments), lrs, 30)
    template = "warmup({w}, start={low}, zero_start=True).then(cosine({n}, to={low})).repeat()"
    ours = curve(template, 30, lrs[1], w=5, n=n - 5, low=low)
    i = t % n
    rise, fall = i / 5, (1 + np.cos(np.pi * (i - 5) / (n - 5))) / 2
    definition = lrs[1] * (low + (1 - low) * np.where(i < 5, rise, fall))
    fault = "writes one LR into every group, here 10 times too much for a group with LR 0.1 beside one with 1"
    differ(PEER, "CosineAnnealingWarmupRestarts", fault, theirs[1], ours, definition)


def test_without_warmup_every_cycle_begins_at_the_floor() -> None:
    n, lr, low, t = 10, 0.1, 0.01, np.arange(30)
    arguments = {"first_cycle_steps": n, "max_lr": lr, "min_lr": lr * low}
    theirs = lrs_of_updates(lambda optimizer: peer().CosineAnnealingWarmupRestarts(optimizer, **arguments), [lr], 30)[0]
    ours = curve("cosine({n}, to={low}).repeat()", 30, lr, n=n, low=low)
    definition = lr * (low + (1 - low) * (1 + np.cos(np.pi * (t % n) / n)) / 2)
    fault = "without warm-up the first update of every cycle runs at the floor, not at the peak"
    differ(PEER, "CosineAnnealingWarmupRestarts", fault, theirs, ours, definition)


def test_a_triangle_too_short_for_its_rise_begins_at_the_bottom() -> None:
    n, ratio, lr, t = 8, 32.0, 0.1, np.arange(12)
    theirs = lrs_of_updates(lambda optimizer: peer().SlantedTriangularScheduler(optimizer, n, 0.1, ratio), [lr], 12)[0]
    ours = curve("linear({n}, to={low})", 12, lr, n=n, low=1 / ratio)
    definition = lr * (1 + np.clip(1 - t / n, 0, 1) * (ratio - 1)) / ratio
    fault = "with a rise of no steps the first update still runs at 1/ratio"
    differ(PEER, "SlantedTriangularScheduler", fault, theirs, ours, definition)


def test_the_planner_counts_too_few_updates() -> None:
    epochs, batches, accumulate, lr, t = 3, 10, 4, 0.1, np.arange(12)

    def make(optimizer: Any) -> Any:
        return peer().create_scheduler_from_plan(optimizer, "rex", epochs, batches, accumulate)

    horizon = lehr.Horizon.from_loader(range(batches), epochs=epochs, accumulate=accumulate)
    ours = curve("rex()", 12, lr, horizon=horizon)
    x = np.minimum(t / 9, 1)
    fault = "rounds down: 3 epochs of 10 batches, 4 to an update, are 9 updates, not 7"
    definition = lr * (1 - x) / (1 - x / 2)
    differ(PEER, "create_scheduler_from_plan", fault, lrs_of_updates(make, [lr], 12)[0], ours, definition)


@forty
@given(epochs=st.integers(1, 5), batches=LENGTHS, lr=LRS)
def test_the_planner_without_accumulation(epochs: int, batches: int, lr: float) -> None:
    def make(optimizer: Any) -> Any:
        return peer().create_scheduler_from_plan(optimizer, "k_decay", epochs, batches, k=1.5)

    horizon = lehr.Horizon(epochs=epochs, steps_per_epoch=batches)
    ours = curve("cosine('{epochs} epochs', k=1.5)", epochs * batches + 20, lr, horizon=horizon, epochs=epochs)
    holds("create_scheduler_from_plan", make, ours)


@forty
@given(n=LENGTHS, lr=LRS)
def test_schedulers_by_name(n: int, lr: float) -> None:
    def make(optimizer: Any) -> Any:
        return peer().create_scheduler(optimizer, "LINEAR_DECAY", total_steps=n)

    holds("create_scheduler", make, curve("linear({n})", n + 20, lr, n=n))


def test_a_misspelt_cooldown_is_taken_for_another() -> None:
    w, stable, d, lr, t = 5, 10, 15, 0.1, np.arange(40)
    arguments = {"total_steps": w + stable + d, "warmup_steps": w, "stable_steps": stable, "decay_type": "lineer"}
    theirs = lrs_of_updates(lambda optimizer: peer().WSDScheduler(optimizer, **arguments), [lr], 40)[0]
    ours = curve("warmup({w}, zero_start=True).then(hold({stable}), linear({d}))", 40, lr, w=w, stable=stable, d=d)
    definition = lr * np.minimum(t / w, np.clip((w + stable + d - t) / d, 0, 1))
    fault = "decay_type='lineer' is no error, it means 'sqrt'"
    differ(PEER, "WSDScheduler", fault, theirs, ours, definition)


def test_the_ratios_of_a_preset_cannot_be_changed() -> None:
    n, w, lr, t = 100, 10, 0.1, np.arange(120)
    with pytest.raises(TypeError, match="warmup_ratio"):
        lrs_of_updates(
            lambda optimizer: peer().create_from_preset(optimizer, "llm_finetune", n, warmup_ratio=0.1), [lr], 1
        )
    ours = curve("warmup({w}, zero_start=True).then(cosine({rest}, to=0.1))", 120, lr, w=w, rest=n - w)
    x = np.clip((t - w) / (n - w), 0, 1)
    definition = lr * np.where(t < w, t / w, 0.1 + 0.9 * (1 + np.cos(np.pi * x)) / 2)
    fault = "raises TypeError for warmup_ratio, a name that the preset itself shows"
    differ(PEER, "create_from_preset", fault, np.full(120, np.nan), ours, definition)


def test_a_loaded_state_overrules_the_new_length_of_the_run() -> None:
    import torch

    old, new, cut, lr, t = 20, 40, 8, 0.1, np.arange(50)

    def of(steps: int) -> tuple[Any, Any]:
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
        return optimizer, peer().LinearDecayScheduler(optimizer, steps)

    def run(optimizer: Any, scheduler: Any, count: int) -> list[float]:
        lrs = []
        for _ in range(count):
            lrs.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        return lrs

    first, saved = of(old)
    run(first, saved, cut)
    second, longer = of(new)
    before = run(second, longer, cut)
    longer.load_state_dict(saved.state_dict())
    ours = curve("linear({n})", 50, lr, n=new)
    fault = "a run that is resumed with total_steps=40 goes on with the 20 of its checkpoint"
    theirs = before + run(second, longer, 50 - cut)
    differ(PEER, "LinearDecayScheduler", fault, theirs, ours, lr * np.clip(1 - t / new, 0, 1))
