"""Every schedule of transformers, stepped live, beside its conversion."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import lehr
from lehr.lengths import Horizon

pytestmark = pytest.mark.peers

LR = 2e-3


def live(name: str, warm: int, total: int | None, extra: dict[str, Any], steps: int) -> Any:
    """The LRs of `steps` updates by transformers itself."""
    import torch
    from transformers.optimization import get_scheduler

    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=LR)
    scheduler = get_scheduler(name, optimizer, warm, total, extra)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return np.array(found)


def lrs(found: Any, steps: int) -> Any:
    policy = lehr.as_policy(lehr.parse(repr(found.policy)))
    assert isinstance(policy, lehr.Policy)
    return LR * policy.resolve(found.horizon or Horizon(steps=steps), lr=LR)(np.arange(steps))


def differ(name: str, warm: int, total: int, extra: dict[str, Any], steps: int | None = None) -> float:
    """The largest difference within the run, as a share of the peak."""
    steps = total if steps is None else steps
    arguments = {"name": name, "num_warmup_steps": warm, "num_training_steps": total, "lr": LR}
    found = lehr.convert(arguments | {"scheduler_specific_kwargs": extra}, peer="transformers")
    assert found.steps == total
    return float(np.abs(lrs(found, steps) - live(name, warm, total, extra, steps)).max() / LR)


SHARE = st.floats(0.0, 1.0)
WARM, MORE = st.integers(0, 30), st.integers(1, 80)


@settings(deadline=None, max_examples=60)
@given(warm=WARM, more=MORE, name=st.sampled_from(["linear", "constant", "constant_with_warmup", "inverse_sqrt"]))
def test_the_plain_schedules_are_transformers(warm: int, more: int, name: str) -> None:
    assert differ(name, warm, warm + more, {}) <= 1e-12


@settings(deadline=None, max_examples=40)
@given(warm=WARM, more=MORE, scale=st.integers(1, 500))
def test_a_timescale_is_transformers(warm: int, more: int, scale: int) -> None:
    assert differ("inverse_sqrt", warm, warm + more, {"timescale": scale}) <= 1e-12


@settings(deadline=None, max_examples=60)
@given(warm=WARM, more=MORE, cycles=st.sampled_from([0.5, 1.0, 1.5]) | st.floats(0.1, 4.0), floor=SHARE)
def test_waves_with_and_without_a_floor_are_transformers(warm: int, more: int, cycles: float, floor: float) -> None:
    extra = {"num_cycles": cycles}
    assert differ("cosine", warm, warm + more, extra) <= 1e-12
    assert differ("cosine_with_min_lr", warm, warm + more, extra | {"min_lr_rate": floor}) <= 1e-12
    assert differ("cosine_with_min_lr", warm, warm + more, extra | {"min_lr": floor * LR}) <= 1e-12


@settings(deadline=None, max_examples=60)
@given(warm=st.integers(2, 30), more=MORE, floor=SHARE, first=SHARE | st.none())
def test_a_warmup_that_is_never_zero_is_transformers(warm: int, more: int, floor: float, first: float | None) -> None:
    extra = {"min_lr_rate": floor, "warmup_lr_rate": first}
    assert differ("cosine_warmup_with_min_lr", warm, warm + more, extra) <= 1e-12
    assert differ("cosine_warmup_with_min_lr", 1, 1 + more, {"min_lr_rate": floor}) <= 1e-12


@settings(deadline=None, max_examples=60)
@given(warm=WARM, size=st.integers(1, 20), cycles=st.integers(1, 5))
def test_restarts_after_whole_steps_are_transformers_but_for_its_own_rounding(
    warm: int, size: int, cycles: int
) -> None:
    extra = {"num_cycles": cycles}
    total = warm + size * cycles
    arguments = {"name": "cosine_with_restarts", "num_warmup_steps": warm, "num_training_steps": total}
    found = lehr.convert(arguments | {"scheduler_specific_kwargs": extra}, lr=LR)
    apart = np.abs(lrs(found, total) - live("cosine_with_restarts", warm, total, extra, total)) / LR
    restarts = warm + size * np.arange(1, cycles)  # where (cycles·p) mod 1 may round to just below 1
    assert np.delete(apart, restarts).max(initial=0.0) <= 1e-12
    assert np.all(lrs(found, total)[restarts] == LR)


@settings(deadline=None, max_examples=60)
@given(warm=WARM, total=st.integers(40, 300), cycles=st.integers(2, 5))
def test_restarts_within_a_step_are_off_by_what_the_finding_says(warm: int, total: int, cycles: int) -> None:
    assume((total - warm) % cycles)
    arguments = {"name": "cosine_with_restarts", "num_warmup_steps": warm, "num_training_steps": total}
    found = lehr.convert(arguments | {"scheduler_specific_kwargs": {"num_cycles": cycles}}, lr=LR)
    theirs = live("cosine_with_restarts", warm, total, {"num_cycles": cycles}, total)
    (note,) = [item for item in found.findings if item.code == "C104"]
    said = float(note.remedy.split()[6])
    apart = np.abs(lrs(found, total) - theirs) / LR
    assert np.count_nonzero(apart > said) <= cycles - 1


@settings(deadline=None, max_examples=60)
@given(warm=WARM, more=MORE, power=st.floats(0.3, 4.0) | st.just(1.0), end=st.floats(0.0, 0.9))
def test_polynomials_are_transformers(warm: int, more: int, power: float, end: float) -> None:
    assert differ("polynomial", warm, warm + more, {"power": power, "lr_end": end * LR}, warm + more + 20) <= 1e-12
    assert differ("polynomial", warm, warm + more, {}, warm + more + 20) <= 1e-12


@settings(deadline=None, max_examples=80)
@given(
    warm=WARM,
    stable=st.integers(0, 30),
    decay=st.integers(1, 30),
    rising=st.sampled_from(["linear", "cosine", "1-sqrt"]),
    falling=st.sampled_from(["linear", "cosine", "1-sqrt"]),
    floor=SHARE,
    cycles=st.sampled_from([0.5, 1.0, 0.7]),
    by_parts=st.booleans(),
)
def test_warmup_stable_decay_is_transformers(
    warm: int, stable: int, decay: int, rising: str, falling: str, floor: float, cycles: float, by_parts: bool
) -> None:
    extra = {"num_decay_steps": decay, "warmup_type": rising, "decay_type": falling, "min_lr_ratio": floor}
    extra |= {"num_cycles": cycles} | ({"num_stable_steps": stable} if by_parts else {})
    arguments = {"name": "warmup_stable_decay", "num_warmup_steps": warm, "scheduler_specific_kwargs": extra}
    total = None if by_parts else warm + stable + decay
    found = lehr.convert(arguments | {"num_training_steps": total}, lr=LR)
    steps = warm + stable + decay + 10
    expected = live("warmup_stable_decay", warm, total, extra, steps)
    assert np.abs(lrs(found, steps) - expected).max() / LR <= 1e-12


def test_past_its_end_the_cosine_of_transformers_rises_and_the_policy_holds() -> None:
    found = lehr.convert({"name": "cosine", "num_warmup_steps": 0, "num_training_steps": 100}, lr=LR)
    theirs = live("cosine", 0, 100, {}, 150)
    ours = lrs(found, 150)
    assert theirs[149] > 0.4 * LR
    assert np.all(ours[100:] == 0.0)
    assert "C102" in [item.code for item in found.findings]


def test_without_a_warmup_transformers_never_uses_the_peak_and_the_policy_does() -> None:
    extra = {"min_lr_rate": 0.0}
    arguments = {"name": "cosine_warmup_with_min_lr", "num_warmup_steps": 0, "num_training_steps": 10}
    found = lehr.convert(arguments | {"scheduler_specific_kwargs": extra}, lr=LR)
    assert live("cosine_warmup_with_min_lr", 0, 10, extra, 1)[0] < LR
    assert lrs(found, 1)[0] == LR
    assert "C103" in [item.code for item in found.findings]


def test_a_scheduler_object_of_transformers_is_read_by_its_function() -> None:
    import torch
    from transformers.optimization import get_scheduler

    cases: list[tuple[str, dict[str, Any]]] = [
        ("linear", {}),
        ("constant_with_warmup", {}),
        ("cosine", {"num_cycles": 1.5}),
        ("cosine_with_min_lr", {"min_lr": 1e-4}),
        ("cosine_warmup_with_min_lr", {"min_lr_rate": 0.2}),
        ("cosine_with_restarts", {"num_cycles": 3}),
        ("polynomial", {"power": 2.0}),
        ("inverse_sqrt", {}),
        ("warmup_stable_decay", {"num_decay_steps": 20}),
    ]
    for name, extra in cases:
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=LR)
        found = lehr.convert(get_scheduler(name, optimizer, 10, 100, extra))
        assert found.lr == LR, name
        assert np.abs(lrs(found, 100) - live(name, 10, 100, extra, 100)).max() <= 1e-12 * LR, name


@pytest.mark.parametrize(("warm", "share"), [(0.1, None), (20, None), (None, 0.07), (None, None)])
def test_the_json_of_training_arguments_is_what_the_trainer_would_do(warm: float | None, share: float | None) -> None:
    from transformers import TrainingArguments

    every = {item.name: item.default for item in dataclasses.fields(TrainingArguments) if item.init}
    plain = {name: value for name, value in every.items() if isinstance(value, str | int | float | None)}
    chosen: dict[str, Any] = {
        "learning_rate": LR,
        "lr_scheduler_type": "cosine",
        "warmup_steps": warm,
        "warmup_ratio": share,
    }
    told: Any = SimpleNamespace(warmup_steps=warm or share or 0)
    expected = live("cosine", TrainingArguments.get_warmup_steps(told, 95), 95, {}, 95)
    for source in (
        json.dumps(plain | chosen | {"max_steps": 95}),
        SimpleNamespace(**plain | chosen | {"max_steps": 95}),
    ):
        found = lehr.convert(source)
        assert np.abs(lrs(found, 95) - expected).max() <= 1e-12 * LR
        assert (found.lr, found.steps) == (LR, 95)
        assert [item for item in found.findings if item.severity == "error"] == []


def test_greedy_cannot_be_said_and_the_finding_names_its_default_trap() -> None:
    found = lehr.convert({"lr_scheduler_type": "greedy", "learning_rate": 5e-5, "max_steps": 100})
    assert [item.severity for item in found.findings if item.code == "C203"] == ["error"]
    (trap,) = [item for item in found.findings if item.code == "C105"]
    assert "min_lr=0.001 is above the base LR 5e-05" in trap.reason
