"""Resuming the drop-in schedulers at every cut and in every order, bit for bit; going to a step; the states."""

from __future__ import annotations

import copy
import functools as ft
import inspect
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
import torch

from lehr import LehrError
from lehr.torch import dropin
from lehr.torch.dropin import (
    SWALR,
    ChainedScheduler,
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    CyclicLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiplicativeLR,
    MultiStepLR,
    OneCycleLR,
    PolynomialLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

pytestmark = pytest.mark.frameworks

STEPS = 16
REPORTS = [1.0, 0.9, 0.95, 0.93, 0.92, 0.2, 0.3, 0.4, 0.3, 0.2, 0.3, float("nan"), -1.0, -0.9, -1.2, -1.1, -1.0]

Builder = Callable[[Any], Any]

BUILDERS: dict[str, Builder] = {
    "ConstantLR": lambda o: ConstantLR(o, 0.5, 5),
    "LinearLR": lambda o: LinearLR(o, 0.1, total_iters=8),
    "LinearLR from zero": lambda o: LinearLR(o, 0.0, total_iters=8),
    "StepLR": lambda o: StepLR(o, 3, 0.5),
    "MultiStepLR": lambda o: MultiStepLR(o, [7, 3, 3], 0.5),
    "ExponentialLR": lambda o: ExponentialLR(o, 0.9),
    "PolynomialLR": lambda o: PolynomialLR(o, 12, 2.0),
    "CosineAnnealingLR": lambda o: CosineAnnealingLR(o, 10, 0.01),
    "CosineAnnealingWarmRestarts": lambda o: CosineAnnealingWarmRestarts(o, 2, 2, 0.01),
    "LambdaLR": lambda o: LambdaLR(o, [lambda t: 0.9**t, lambda t: 1 / (1 + t)]),
    "MultiplicativeLR": lambda o: MultiplicativeLR(o, lambda t: 0.9),
    "SWALR": lambda o: SWALR(o, [0.05, 0.02], 6),
    "CyclicLR": lambda o: CyclicLR(o, 0.01, 0.2, 3, 2, "triangular2"),
    "CyclicLR scaled": lambda o: CyclicLR(o, 0.01, 0.2, 3, 2, scale_fn=lambda x: 1 / x),
    "OneCycleLR": lambda o: OneCycleLR(o, [0.5, 0.2], 12),
    "ReduceLROnPlateau": lambda o: ReduceLROnPlateau(o, patience=1, factor=0.5, cooldown=1, min_lr=[0.01, 0.005]),
    "warm-up and cosine": lambda o: SequentialLR(o, [LinearLR(o, 0.1), CosineAnnealingLR(o, 8)], [5]),
    "warm-up and one cycle": lambda o: SequentialLR(o, [LinearLR(o, 0.1), OneCycleLR(o, 0.5, 10)], [4]),
    "warm-up and plateau": lambda o: SequentialLR(o, [LinearLR(o, 0.1), ReduceLROnPlateau(o, patience=0)], [3]),
    "nested": lambda o: SequentialLR(
        o,
        [
            SequentialLR(o, [LinearLR(o, 0.2, total_iters=2), LambdaLR(o, lambda t: 0.8**t)], [2]),
            ChainedScheduler([ConstantLR(o, 0.5, 3), StepLR(o, 2, 0.5), MultiplicativeLR(o, lambda t: 0.9)]),
            SWALR(o, 0.03, 4),
        ],
        [4, 9],
    ),
    "chain with a plateau": lambda o: ChainedScheduler([LinearLR(o, 0.1), ReduceLROnPlateau(o, patience=1)]),
}
KINDS = ["SGD", "AdamW", "float32"]


def optimizer_of(kind: str) -> Any:
    groups: list[dict[str, Any]] = [{"params": [torch.nn.Parameter(torch.ones(2))], "lr": lr} for lr in (0.1, 0.03)]
    if kind == "SGD":
        return torch.optim.SGD(groups, momentum=0.8)
    for group in groups:
        if kind == "float32":
            group["lr"] = torch.tensor(group["lr"])
    return torch.optim.AdamW(groups)


def drive(scheduler: Any, steps: int) -> list[list[float]]:
    """What each update used: LR and momentum of each group."""
    used = []
    listens = getattr(scheduler, "judge", None) is not None
    for _ in range(steps):
        groups = scheduler.optimizer.param_groups
        used.append(
            [float(g["lr"]) for g in groups] + [float(g.get("momentum", g.get("betas", [0])[0])) for g in groups]
        )
        scheduler.optimizer.step()
        scheduler.step(REPORTS[scheduler.t]) if listens else scheduler.step()
    return used


def scheduler_first(kind: str, build: Builder, saved: Any) -> Any:
    optimizer = optimizer_of(kind)
    scheduler = build(optimizer)
    optimizer.load_state_dict(saved[0])
    scheduler.load_state_dict(saved[1])
    return scheduler


def scheduler_state_first(kind: str, build: Builder, saved: Any) -> Any:
    optimizer = optimizer_of(kind)
    scheduler = build(optimizer)
    scheduler.load_state_dict(saved[1])
    optimizer.load_state_dict(saved[0])
    return scheduler


def optimizer_first(kind: str, build: Builder, saved: Any) -> Any:
    optimizer = optimizer_of(kind)
    optimizer.load_state_dict(saved[0])
    scheduler = build(optimizer)
    scheduler.load_state_dict(saved[1])
    return scheduler


def scheduler_alone(kind: str, build: Builder, saved: Any) -> Any:
    """Without the optimiser's state, and loaded twice."""
    scheduler = build(optimizer_of(kind))
    scheduler.load_state_dict(saved[1])
    scheduler.load_state_dict(saved[1])
    return scheduler


ORDERS = [scheduler_first, scheduler_state_first, optimizer_first, scheduler_alone]


@ft.cache
def uninterrupted(name: str, kind: str) -> tuple[list[list[float]], list[Any]]:
    """What the updates of a run used, and both states before each."""
    scheduler = BUILDERS[name](optimizer_of(kind))
    used, saved = [], []
    for _ in range(STEPS):
        state = json.loads(json.dumps(scheduler.state_dict()))
        saved.append((copy.deepcopy(scheduler.optimizer.state_dict()), state))
        used += drive(scheduler, 1)
    return used, saved


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: order.__name__)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", BUILDERS)
def test_resumed_at_every_cut_the_run_is_the_same(name: str, kind: str, order: Any) -> None:
    used, saved = uninterrupted(name, kind)
    for cut in range(STEPS):
        resumed = order(kind, BUILDERS[name], saved[cut])
        assert resumed.last_epoch == cut
        assert drive(resumed, STEPS - cut) == used[cut:], (name, cut)


@pytest.mark.parametrize("name", BUILDERS)
def test_a_state_is_plain_and_is_neither_changed_nor_shared(name: str) -> None:
    scheduler = BUILDERS[name](optimizer_of("SGD"))
    drive(scheduler, 5)
    state = scheduler.state_dict()
    kept = copy.deepcopy(state)
    drive(scheduler, 3)
    assert state == kept  # a snapshot
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=True)
    for _ in range(2):
        BUILDERS[name](optimizer_of("SGD")).load_state_dict(loaded)
    assert loaded == kept


SINGLE = [name for name in BUILDERS if name.split()[0] in dropin.__all__ and name != "ReduceLROnPlateau"]


@pytest.mark.parametrize("name", [*SINGLE, "warm-up and one cycle", "nested"])
def test_going_to_a_step_is_being_stepped_there(name: str) -> None:
    build = BUILDERS[name]
    whole = drive(build(optimizer_of("SGD")), STEPS)
    scheduler = build(optimizer_of("SGD"))
    for step in (9, 2, 14, 0):
        scheduler.step(step)
        groups = scheduler.optimizer.param_groups
        assert [group["lr"] for group in groups] == whole[step][:2]
        assert scheduler.last_epoch == step


def test_a_part_of_an_epoch_is_refused_with_the_remedy() -> None:
    scheduler = CosineAnnealingWarmRestarts(optimizer_of("SGD"), 10)
    with pytest.raises(LehrError, match="count updates"):
        scheduler.step(0.5)


@pytest.mark.parametrize("name", SINGLE)
def test_last_epoch_is_the_steps_done_less_one(name: str) -> None:
    """torch's meaning: the optimiser's state has the base LRs, and the next LR is that of step last_epoch + 1."""
    build = BUILDERS[name]
    whole = drive(build(optimizer_of("SGD")), STEPS)
    first = build(optimizer_of("SGD"))
    drive(first, 6)
    optimizer = optimizer_of("SGD")
    optimizer.load_state_dict(first.optimizer.state_dict())
    again = with_last_epoch(first, optimizer, 5)
    assert again.last_epoch == 6
    assert drive(again, STEPS - 6) == whole[6:]


def with_last_epoch(scheduler: Any, optimizer: Any, last_epoch: int) -> Any:
    """The same once more: its arguments are its attributes."""
    names = set(inspect.signature(type(scheduler)).parameters) - {"last_epoch", "cycle_momentum"}
    given = {name: getattr(scheduler, name) for name in names if hasattr(scheduler, name)}
    given |= {"lr_lambda": scheduler.lr_lambdas} if hasattr(scheduler, "lr_lambdas") else {}
    return type(scheduler)(**given | {"optimizer": optimizer, "last_epoch": last_epoch})


def test_last_epoch_needs_the_base_lrs_of_a_saved_optimizer() -> None:
    with pytest.raises(LehrError, match="initial_lr"):
        StepLR(optimizer_of("SGD"), 3, last_epoch=5)
