"""The drop-in schedulers beside torch's own: the LR after every step, wherever torch is right."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler, swa_utils

from lehr.torch import Scheduler, dropin

pytestmark = pytest.mark.frameworks

SHARE = st.floats(0.01, 1.0)
LENGTH = st.integers(1, 25)
LRS = (0.1, 0.03)


def optimizer_of(kind: str = "SGD", lrs: tuple[float, ...] = LRS) -> Any:
    """One group for each LR: SGD, AdamW, or AdamW with tensor LRs."""
    groups: list[dict[str, Any]] = [{"params": [torch.nn.Parameter(torch.ones(2))], "lr": lr} for lr in lrs]
    if kind == "SGD":
        return torch.optim.SGD(groups, momentum=0.8)
    for group in groups:
        if kind == "tensor":
            group["lr"] = torch.tensor(group["lr"], dtype=torch.float64)
    return torch.optim.AdamW(groups)


def theirs(name: str) -> Any:
    return swa_utils.SWALR if name == "SWALR" else getattr(lr_scheduler, name)


def seen(optimizer: Any) -> list[float]:
    """The LRs and, where there is one, the momentum of each group."""
    momenta = [group.get("momentum", group.get("betas", (0.0,))[0]) for group in optimizer.param_groups]
    return [float(group["lr"]) for group in optimizer.param_groups] + [float(momentum) for momentum in momenta]


def drive(scheduler: Any, steps: int, reports: list[float] | None = None) -> list[list[float]]:
    """What the groups hold at the start and after every step."""
    optimizer = scheduler.optimizer
    rows = [seen(optimizer)]
    for i in range(steps):
        optimizer.step()
        scheduler.step() if reports is None else scheduler.step(reports[i])
        rows.append(seen(optimizer))
        assert [float(lr) for lr in scheduler.get_last_lr()] == rows[-1][: len(optimizer.param_groups)]
    return rows


def agree(
    build: Callable[[Any, Any], Any], steps: int, kind: str = "SGD", reports: list[float] | None = None
) -> Scheduler:
    """Build it in both modules, drive both and compare to 1e-12 of the peak."""
    torchs, mine = optimizer_of(kind), optimizer_of(kind)
    expected = drive(build(torchs, theirs), steps, reports)
    scheduler = build(mine, lambda name: getattr(dropin, name))
    for t, (row, own) in enumerate(zip(expected, drive(scheduler, steps, reports), strict=True)):
        for column, (value, ours) in enumerate(zip(row, own, strict=True)):
            peak = max(abs(other[column]) for other in expected)
            assert math.isclose(value, ours, rel_tol=0, abs_tol=1e-12 * peak), (t, row, own)
    assert isinstance(scheduler, Scheduler)
    return scheduler


def one(name: str, arguments: dict[str, Any]) -> Callable[[Any, Any], Any]:
    return lambda optimizer, of: of(name)(optimizer, **arguments)


def multiples(arguments: dict[str, Any]) -> int:
    """Three times the length."""
    return 3 * max([value for value in arguments.values() if type(value) is int] or [10])


RELATIVE: dict[str, Any] = {
    "ConstantLR": {"factor": SHARE, "total_iters": LENGTH},
    "LinearLR": {"start_factor": SHARE, "end_factor": st.floats(0, 1), "total_iters": LENGTH},
    "StepLR": {"step_size": LENGTH, "gamma": st.floats(0.05, 1.5)},
    "MultiStepLR": {"milestones": st.lists(st.integers(0, 40), max_size=6), "gamma": st.floats(0.05, 2)},
    "ExponentialLR": {"gamma": st.floats(0.5, 1.2)},
    "PolynomialLR": {"total_iters": LENGTH, "power": st.floats(0.5, 3)},
}
ARGUMENTS: dict[str, Any] = RELATIVE | {
    "CosineAnnealingWarmRestarts": {
        "T_0": st.integers(1, 9),
        "T_mult": st.integers(1, 3),
        "eta_min": st.floats(0, 0.2),
    },
    "LambdaLR": {"lr_lambda": st.sampled_from([lambda t: 0.9**t, [lambda t: 1 / (1 + t), lambda t: 1 + t % 3]])},
    "MultiplicativeLR": {"lr_lambda": st.sampled_from([lambda t: 1 - 0.5 / t, [lambda t: 0.9, lambda t: 1.02]])},
    "SWALR": {
        "swa_lr": st.one_of(SHARE, st.lists(SHARE, min_size=2, max_size=2)),
        "anneal_epochs": st.integers(0, 20),
        "anneal_strategy": st.sampled_from(["cos", "linear"]),
    },
    "CyclicLR": {
        "base_lr": st.one_of(st.floats(0, 0.1), st.lists(st.floats(0, 0.1), min_size=2, max_size=2)),
        "max_lr": st.floats(0.1, 1),
        "step_size_up": st.integers(1, 9),
        "step_size_down": st.one_of(st.none(), st.integers(1, 9)),
        "mode": st.sampled_from(["triangular", "triangular2", "exp_range"]),
        "gamma": st.floats(0.9, 1),
        "cycle_momentum": st.booleans(),
        "base_momentum": st.floats(0.5, 0.8),
        "scale_fn": st.sampled_from([None, None, lambda x: 1 / (1 + x)]),
        "scale_mode": st.sampled_from(["cycle", "iterations"]),
    },
}


@pytest.mark.parametrize("name", ARGUMENTS)
@given(data=st.data(), kind=st.sampled_from(["SGD", "AdamW", "tensor"]))
@settings(max_examples=30)
def test_its_lr_after_every_step_is_torch_s(name: str, data: Any, kind: str) -> None:
    arguments = data.draw(st.fixed_dictionaries(ARGUMENTS[name]))
    agree(one(name, arguments), multiples(arguments), kind)


@given(total=LENGTH, eta_min=st.floats(0, 0.2), kind=st.sampled_from(["SGD", "AdamW", "tensor"]))
@settings(max_examples=40)
def test_a_cosine_is_torch_s_until_torch_s_rises_again(total: int, eta_min: float, kind: str) -> None:
    agree(one("CosineAnnealingLR", {"T_max": total, "eta_min": eta_min}), total, kind)


@given(
    total=st.integers(8, 60),
    share=st.floats(0.15, 1),
    three=st.booleans(),
    linear=st.booleans(),
    peak=st.one_of(SHARE, st.lists(SHARE, min_size=2, max_size=2)),
    divisors=st.tuples(st.floats(1, 50), st.floats(1, 1e4)),
    momentum=st.booleans(),
    kind=st.sampled_from(["SGD", "AdamW", "tensor"]),
)
@settings(max_examples=60)
def test_one_cycle_is_torch_s_up_to_its_last_step(
    total: int, share: float, three: bool, linear: bool, peak: Any, divisors: Any, momentum: bool, kind: str
) -> None:
    arguments = {
        "max_lr": peak,
        "total_steps": total,
        "pct_start": share / 2 if three else share,
        "anneal_strategy": "linear" if linear else "cos",
        "cycle_momentum": momentum,
        "div_factor": divisors[0],
        "final_div_factor": divisors[1],
        "three_phase": three,
    }
    if arguments["pct_start"] * total > 1:
        agree(one("OneCycleLR", arguments), total - 1, kind)


@given(
    reports=st.lists(st.sampled_from([1.0, 0.999, 0.99, 0.9, 0.5, 0.4999, 0.3, 0.1, 2.0]), min_size=30, max_size=60),
    mode=st.sampled_from(["min", "max"]),
    factor=st.floats(0.1, 0.9),
    patience=st.integers(0, 4),
    threshold=st.sampled_from([0, 1e-4, 0.05, 0.5]),
    threshold_mode=st.sampled_from(["rel", "abs"]),
    cooldown=st.integers(0, 4),
    min_lr=st.sampled_from([0, 0.01, [0.05, 0.2]]),
    eps=st.sampled_from([1e-8, 1e-2, 0.0]),
)
@settings(max_examples=150)
def test_a_plateau_is_torch_s_for_positive_metrics(reports: list[float], **arguments: Any) -> None:
    agree(one("ReduceLROnPlateau", arguments), len(reports), "SGD", reports)


@st.composite
def phases(draw: Any) -> tuple[list[tuple[str, dict[str, Any]]], list[int]]:
    """Schedulers that torch can put in a sequence, and milestones; a cosine's phase ends with the cosine."""
    parts: list[tuple[str, dict[str, Any]]] = []
    milestones = [0]
    for _ in range(draw(st.integers(1, 4))):
        name = draw(st.sampled_from([*RELATIVE, "CosineAnnealingLR", "CosineAnnealingWarmRestarts", "LambdaLR"]))
        arguments = {"T_max": draw(LENGTH), "eta_min": 0.01}
        if name != "CosineAnnealingLR":
            arguments = draw(st.fixed_dictionaries(ARGUMENTS[name]))
        parts.append((name, arguments))
        milestones.append(milestones[-1] + draw(st.integers(1, min(arguments.get("T_max", 12), 12))))
    return parts, milestones[1:]


def build_sequence(parts: Any, milestones: list[int]) -> Callable[[Any, Any], Any]:
    return lambda optimizer, of: of("SequentialLR")(
        optimizer, [of(name)(optimizer, **arguments) for name, arguments in parts], list(milestones)
    )


@given(drawn=phases(), kind=st.sampled_from(["SGD", "AdamW", "tensor"]))
@settings(max_examples=150)
def test_a_sequence_is_torch_s(drawn: Any, kind: str) -> None:
    parts, ends = drawn
    agree(build_sequence(parts, ends[:-1]), ends[-1], kind)


@given(drawn=phases(), swa_lr=SHARE, anneal_epochs=st.integers(1, 10))
@settings(max_examples=40)
def test_a_sequence_that_anneals_from_its_last_lr_is_torch_s(drawn: Any, swa_lr: float, anneal_epochs: int) -> None:
    parts, ends = drawn
    parts = [*parts, ("SWALR", {"swa_lr": swa_lr, "anneal_epochs": anneal_epochs})]
    agree(build_sequence(parts, ends), ends[-1] + 15)


@given(data=st.data(), names=st.lists(st.sampled_from(list(RELATIVE)), min_size=1, max_size=3))
@settings(max_examples=100)
def test_a_chain_of_factors_is_torch_s(data: Any, names: list[str]) -> None:
    parts = [(name, data.draw(st.fixed_dictionaries(RELATIVE[name]))) for name in names]

    def build(optimizer: Any, of: Any) -> Any:
        return of("ChainedScheduler")([of(name)(optimizer, **arguments) for name, arguments in parts])

    agree(build, 40)


@pytest.mark.parametrize("name", [name for name in dropin.__all__ if name != "LRScheduler"])
def test_it_has_torch_s_arguments(name: str) -> None:
    ours, others = inspect.signature(getattr(dropin, name)), inspect.signature(theirs(name))
    assert [(p.name, p.default) for p in ours.parameters.values()] == [
        (p.name, p.default) for p in others.parameters.values()
    ]


def test_every_scheduler_of_torch_has_one() -> None:
    assert {*lr_scheduler.__all__, "SWALR"} == set(dropin.__all__)
