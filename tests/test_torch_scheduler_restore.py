"""Restoring in every order: the LRs after it are those of a run that was never interrupted."""

from __future__ import annotations

import copy
import gc
import io
import json
import pickle
from collections.abc import Iterable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import lehr
from drawn import COMPOSITIONS, schedules
from lehr.schedules import Schedule
from lehr.torch import Scheduler

STEPS = 30
LOSSES = [1.0, 0.9, 0.85, 0.84, 0.84, 0.84, 0.3] * 5
POLICIES = [
    "warmup(6).then(cosine(to=0.1))",
    "warmup(3, zero_start=True).then(linear())",  # an LR of zero at the first cut
    "cosine(to_lr=0.001)",
    "Policy(linear(), [when(loss.plateaus(1)).scale(0.5), when(loss.reaches(0.4)).begin(cosine('20%'))], min_lr=1e-4)",
    "Policy(constant(), rules=[when(always()).relax(0.05)])",
]


def optimizer_of(kind: str) -> Any:
    """Two groups with bases of their own: SGD, AdamW, or AdamW with tensor LRs of either width."""
    groups = [{"params": [torch.nn.Parameter(torch.ones(2))], "lr": lr} for lr in (0.1, 0.03)]
    if kind == "SGD":
        return torch.optim.SGD(groups, momentum=0.9)
    if kind != "AdamW":
        for group in groups:
            group["lr"] = torch.tensor(group["lr"], dtype=getattr(torch, kind))
    return torch.optim.AdamW(groups)


KINDS = ["SGD", "AdamW", "float32", "float64"]


def update(optimizer: Any) -> None:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.ones_like(parameter)
    optimizer.step()


def drive(scheduler: Any, steps: int) -> list[list[float]]:
    """The LRs that each update used."""
    used = []
    for _ in range(steps):
        used.append([float(group["lr"]) for group in scheduler.optimizer.param_groups])
        update(scheduler.optimizer)
        scheduler.step(loss=LOSSES[scheduler.t])
    return used


def scheduler_first(kind: str, policy: str, saved: tuple[Any, Any]) -> Any:
    """Build both, load the optimizer, load the scheduler."""
    optimizer = optimizer_of(kind)
    scheduler = Scheduler(optimizer, policy, steps=STEPS)
    optimizer.load_state_dict(saved[0])
    scheduler.load_state_dict(saved[1])
    return scheduler


def scheduler_state_first(kind: str, policy: str, saved: tuple[Any, Any]) -> Any:
    optimizer = optimizer_of(kind)
    scheduler = Scheduler(optimizer, policy, steps=STEPS)
    scheduler.load_state_dict(saved[1])
    optimizer.load_state_dict(saved[0])
    return scheduler


def built_after_the_optimizer_was_loaded(kind: str, policy: str, saved: tuple[Any, Any]) -> Any:
    optimizer = optimizer_of(kind)
    optimizer.load_state_dict(saved[0])
    scheduler = Scheduler(optimizer, policy, steps=STEPS)
    scheduler.load_state_dict(saved[1])
    return scheduler


def without_the_optimizer_state(kind: str, policy: str, saved: tuple[Any, Any]) -> Any:
    scheduler = Scheduler(optimizer_of(kind), policy, steps=STEPS)
    scheduler.load_state_dict(saved[1])
    return scheduler


def everything_twice(kind: str, policy: str, saved: tuple[Any, Any]) -> Any:
    scheduler = built_after_the_optimizer_was_loaded(kind, policy, saved)
    for _ in range(2):
        scheduler.load_state_dict(saved[1])
        scheduler.optimizer.load_state_dict(saved[0])
    return scheduler


def in_a_run_that_has_gone_on(kind: str, policy: str, saved: tuple[Any, Any]) -> Any:
    scheduler = Scheduler(optimizer_of(kind), policy, steps=STEPS)
    drive(scheduler, 17)
    scheduler.load_state_dict(saved[1])
    scheduler.optimizer.load_state_dict(saved[0])
    return scheduler


ORDERS = [
    scheduler_first,
    scheduler_state_first,
    built_after_the_optimizer_was_loaded,
    without_the_optimizer_state,
    everything_twice,
    in_a_run_that_has_gone_on,
]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("policy", POLICIES)
def test_every_order_of_restoring_goes_on_exactly(order: Any, kind: str, policy: str) -> None:
    whole = Scheduler(optimizer_of(kind), policy, steps=STEPS)
    undisturbed = drive(whole, STEPS)
    for cut in (0, 1, 5, 12, 29):
        first = Scheduler(optimizer_of(kind), policy, steps=STEPS)
        drive(first, cut)
        file = io.BytesIO()
        torch.save((first.optimizer.state_dict(), first.state_dict()), file)
        file.seek(0)
        second = order(kind, policy, torch.load(file, weights_only=True))
        assert second.get_last_lr() == first.get_last_lr()
        assert drive(second, STEPS - cut) == undisturbed[cut:], cut
        assert second.base_lrs == whole.base_lrs
        assert json.dumps(second.state_dict(), allow_nan=False) == json.dumps(whole.state_dict(), allow_nan=False)


RUN = lehr.Horizon(steps=24, steps_per_epoch=4, samples_per_step=32, tokens_per_step=2048)


def resumes_everywhere(schedule: Schedule, cuts: Iterable[int]) -> None:
    """run(N) = run(k) + save + load + run(N − k), with `torch.save`, `weights_only` and in another order each."""

    def begun() -> Any:
        return Scheduler(optimizer_of("SGD"), schedule, horizon=RUN)

    undisturbed = drive(begun(), 24)
    for cut in cuts:
        first = begun()
        drive(first, cut)
        file = io.BytesIO()
        torch.save((first.optimizer.state_dict(), json.loads(json.dumps(first.state_dict(), allow_nan=False))), file)
        file.seek(0)
        weights, state = torch.load(file, weights_only=True)
        optimizer = optimizer_of("SGD")
        if cut % 3 == 0:
            optimizer.load_state_dict(weights)
        second = Scheduler(optimizer, schedule, horizon=RUN)
        if cut % 3 == 1:
            optimizer.load_state_dict(weights)
        second.load_state_dict(state)
        if cut % 3 == 2:
            optimizer.load_state_dict(weights)
        assert drive(second, 24 - cut) == undisturbed[cut:], cut


def test_every_row_of_the_catalogue_resumes_at_every_cut(schedule: Schedule) -> None:
    resumes_everywhere(schedule, range(24))


@settings(max_examples=COMPOSITIONS, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(schedules, st.lists(st.integers(0, 23), min_size=1, max_size=3))
def test_random_compositions_resume_at_any_cut(schedule: Schedule, cuts: list[int]) -> None:
    try:
        schedule.resolve(RUN, lr=0.1), schedule.resolve(RUN, lr=0.03)
    except lehr.LehrError:
        assume(False)
    resumes_everywhere(schedule, cuts)


@pytest.mark.parametrize("kind", KINDS)
def test_restoring_the_optimizer_writes_our_lr_again_at_once_and_is_no_edit(kind: str) -> None:
    scheduler = Scheduler(optimizer_of(kind), "linear()", steps=STEPS)
    saved = copy.deepcopy(scheduler.optimizer.state_dict())
    drive(scheduler, 9)
    before = [float(group["lr"]) for group in scheduler.optimizer.param_groups]
    scheduler.optimizer.load_state_dict(saved)
    assert [float(group["lr"]) for group in scheduler.optimizer.param_groups] == before
    drive(scheduler, 5)
    assert scheduler.t == 14
    assert len(scheduler.events) == 0


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_tensors_that_a_restore_has_replaced_are_written_in_place_again(kind: str) -> None:
    scheduler = Scheduler(optimizer_of(kind), "linear()", steps=STEPS)
    drive(scheduler, 5)
    old = scheduler.optimizer.param_groups[0]["lr"]
    scheduler.optimizer.load_state_dict(scheduler.optimizer.state_dict())
    new = scheduler.optimizer.param_groups[0]["lr"]
    drive(scheduler, 5)
    assert scheduler.optimizer.param_groups[0]["lr"] is new
    assert float(new) == pytest.approx(0.1 * 20 / 30, rel=1e-7)
    assert float(old) == pytest.approx(0.1 * 25 / 30, rel=1e-7) or old is new


def test_a_new_list_of_groups_by_hand_is_a_restore() -> None:
    """Some optimizers load without hooks: a new list in place of the old one tells."""
    scheduler = Scheduler(optimizer_of("SGD"), "linear()", steps=STEPS)
    drive(scheduler, 5)
    optimizer = scheduler.optimizer
    optimizer.param_groups = [dict(group, lr=7.0) for group in optimizer.param_groups]
    update(optimizer)
    scheduler.step(loss=1.0)
    curve = lehr.linear().resolve(steps=STEPS)
    assert [group["lr"] for group in optimizer.param_groups] == [0.1 * curve(6), 0.03 * curve(6)]
    assert len(scheduler.events) == 0


@pytest.mark.parametrize("mode", ["error", "keep_saved", "use_new", "use_new_no_jump"])
@pytest.mark.parametrize("order", [scheduler_first, built_after_the_optimizer_was_loaded])
def test_a_changed_plan_is_an_explicit_choice(mode: Any, order: Any) -> None:
    first = Scheduler(optimizer_of("SGD"), "linear()", steps=STEPS)
    drive(first, 10)
    optimizer = optimizer_of("SGD")
    if order is built_after_the_optimizer_was_loaded:
        optimizer.load_state_dict(first.optimizer.state_dict())
    scheduler = Scheduler(optimizer, "cosine()", steps=2 * STEPS, on_change=mode)
    if mode == "error":
        with pytest.raises(lehr.LehrError, match="keep_saved"):
            scheduler.load_state_dict(first.state_dict())
        return
    scheduler.load_state_dict(first.state_dict())
    old, new = lehr.linear().resolve(steps=STEPS)(10), lehr.cosine().resolve(steps=2 * STEPS)(10)
    factor = new if mode == "use_new" else old
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.1 * factor, 0.03 * factor], rel=1e-15)
    assert scheduler.base_lrs == [0.1, 0.03]
    assert scheduler.t == 10


def test_a_late_group_and_a_hand_edit_are_restored() -> None:
    def late(optimizer: Any) -> None:
        optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))], "lr": 0.5})

    first = Scheduler(optimizer_of("SGD"), "linear()", steps=STEPS)
    drive(first, 5)
    late(first.optimizer)
    drive(first, 2)
    first.optimizer.param_groups[1]["lr"] = 0.2
    drive(first, 2)
    optimizer = optimizer_of("SGD")
    late(optimizer)
    second = Scheduler(optimizer, "linear()", steps=STEPS)
    optimizer.load_state_dict(first.optimizer.state_dict())
    second.load_state_dict(first.state_dict())
    assert second.base_lrs == [0.1, 0.03, 0.5]
    assert drive(second, 5) == drive(first, 5)


def test_other_groups_are_refused() -> None:
    first = Scheduler(optimizer_of("SGD"), "linear()", steps=STEPS)
    other = Scheduler(torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.1), "linear()", steps=STEPS)
    with pytest.raises(lehr.LehrError, match="2 parameter groups"):
        other.load_state_dict(first.state_dict())


def test_momentum_is_restored_in_every_order() -> None:
    policy = "bind(lr=linear(), momentum=linear(to=0.5))"
    first = Scheduler(optimizer_of("SGD"), policy, steps=STEPS)
    drive(first, 10)
    saved = (first.optimizer.state_dict(), first.state_dict())
    for order in ORDERS:
        second = order("SGD", policy, copy.deepcopy(saved))
        drive(second, 5)
        expected = 0.9 * lehr.linear(to=0.5).resolve(steps=STEPS)(15)
        assert [group["momentum"] for group in second.optimizer.param_groups] == [expected, expected], order.__name__


def test_a_new_scheduler_begins_from_what_was_restored_though_an_old_one_is_still_there() -> None:
    """Folds and sweeps load the first state again and build a new scheduler while the old name still holds one."""
    optimizer = optimizer_of("SGD")
    first = copy.deepcopy(optimizer.state_dict())
    seen, kept = [], []
    for _ in range(3):
        optimizer.load_state_dict(first)
        scheduler = Scheduler(optimizer, "cosine()", steps=3)
        kept.append(scheduler)
        seen.append(drive(scheduler, 3))
    assert seen[0] == seen[1] == seen[2]
    assert seen[0][0] == [0.1, 0.03]
    assert seen[0][2][0] > 0


def test_old_schedulers_leave_no_hooks_behind() -> None:
    optimizer = optimizer_of("SGD")
    for _ in range(5):
        scheduler = Scheduler(optimizer, "cosine()", steps=3)
    del scheduler
    gc.collect()
    assert len(optimizer._optimizer_step_post_hooks) == len(optimizer._optimizer_load_state_dict_post_hooks) == 0


@pytest.mark.parametrize("how", [copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))], ids=["copy", "pickle"])
@pytest.mark.parametrize("steps", [0, 1, 5])
@pytest.mark.parametrize("policy", POLICIES)
def test_a_copy_goes_on_by_itself(how: Any, steps: int, policy: str) -> None:
    scheduler = Scheduler(optimizer_of("SGD"), policy, steps=STEPS)
    drive(scheduler, steps)
    other = how(scheduler)
    assert other.optimizer is not scheduler.optimizer
    assert other.lr == scheduler.lr
    rest = drive(other, 10)
    assert scheduler.t == steps
    assert drive(scheduler, 10) == rest
    other.optimizer.load_state_dict(copy.deepcopy(other.optimizer.state_dict()))
    assert scheduler.lrs == other.lrs
