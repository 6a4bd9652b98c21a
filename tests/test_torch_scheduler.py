"""The torch adapter in a training loop: what it writes and leaves alone, hand edits, late groups, the fast lane."""

from __future__ import annotations

import copy
import gc
import inspect
import math
import random
import warnings
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

import lehr
from lehr.torch import Scheduler, dropin

Optimizer = Any


def sgd(*lrs: float, momentum: float = 0.9, **more: Any) -> Optimizer:
    groups = [{"params": [torch.nn.Parameter(torch.ones(2))], "lr": lr} for lr in lrs or (0.1,)]
    return torch.optim.SGD(groups, momentum=momentum, **more)


def adamw(*lrs: float) -> Optimizer:
    return torch.optim.AdamW([{"params": [torch.nn.Parameter(torch.ones(2))], "lr": lr} for lr in lrs or (0.1,)])


MAKERS = [sgd, adamw]


def update(optimizer: Optimizer) -> float:
    """One real update; the loss."""
    optimizer.zero_grad()
    loss = sum(p.square().sum() for group in optimizer.param_groups for p in group["params"])
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def lrs(optimizer: Optimizer) -> list[float]:
    return [float(group["lr"]) for group in optimizer.param_groups]


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


# What it is


@pytest.mark.parametrize("make", MAKERS)
def test_it_is_an_lr_scheduler_that_leaves_the_optimizer_s_methods_alone(make: Any) -> None:
    optimizer = make(0.1)
    step, before = optimizer.step, dict(vars(optimizer))
    scheduler = Scheduler(optimizer, "cosine()", steps=10)
    assert isinstance(scheduler, torch.optim.lr_scheduler.LRScheduler)
    assert optimizer.step == step
    assert vars(optimizer).keys() == before.keys()
    assert "initial_lr" not in optimizer.param_groups[0]
    assert not hasattr(optimizer.step, "_wrapped_by_lr_sched")


def test_it_has_every_public_name_of_the_controller() -> None:
    for_adapters = {"listens", "governed", "ahead", "glide", "advance", "adopt", "add_group", "ended", "learn"}
    for_adapters |= {"bases", "by_hand", "states", "gathered", "evaluated", "quiet"}
    scheduler, run = Scheduler(sgd(), "cosine()", steps=10), lehr.start("cosine()", lr=0.1, steps=10)
    names = {name for name in dir(run) if not name.startswith("_")} - for_adapters
    assert names <= set(dir(scheduler))
    for name in names:
        ours, theirs = getattr(scheduler, name), getattr(run, name)
        if not callable(theirs):
            assert repr(ours) == repr(theirs), name
        elif name not in ("step", "replan", "preview", "load_state_dict"):
            assert list(inspect.signature(ours).parameters) == list(inspect.signature(theirs).parameters), name


@pytest.mark.parametrize("make", MAKERS)
def test_torch_s_names_are_plain_and_writable(make: Any) -> None:
    scheduler = Scheduler(make(0.1, 0.2), "linear()", steps=4)
    for done in range(4):
        assert (scheduler.last_epoch, scheduler._step_count) == (done, done + 1)
        assert scheduler.base_lrs == [0.1, 0.2]
        assert scheduler.get_last_lr() == scheduler._last_lr == lrs(scheduler.optimizer) == scheduler.get_lr()
        assert [type(value) for value in scheduler.get_last_lr()] == [float, float]
        update(scheduler.optimizer)
        scheduler.step()
    scheduler.get_last_lr()[0] = 9.0
    assert scheduler.get_last_lr() == [0.0, 0.0]
    for name in ("base_lrs", "last_epoch", "_step_count", "_last_lr", "optimizer"):
        value = copy.copy(getattr(scheduler, name))
        setattr(scheduler, name, value)
        assert getattr(scheduler, name) is value


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("a model as the optimizer", {"optimizer": torch.nn.Linear(1, 1)}, "torch.optim.Optimizer"),
    ("unknown count", {"count": "batches"}, "'updates'"),
    ("both lengths", {"horizon": lehr.Horizon(steps=3)}, "not both"),
    ("evaluate without a model", {"evaluate": {"a": float}}, "model="),
    ("no momentum in AdamW", {"optimizer": adamw(), "policy": "bind(momentum=cosine())"}, "no 'momentum'"),
    ("betas are a pair", {"optimizer": adamw(), "policy": "bind(betas=cosine())"}, "must be a number"),
    ("unmatched group", {"policy": "groups(head=cosine())"}, "default=policy"),
    ("missing evaluation", {"policy": "when(evaluation('a', every=2, best='max').reaches(1)).stop()"}, "evaluate="),
]


@pytest.mark.parametrize(("how", "says"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refused_at_the_start_and_the_optimizer_is_as_it_was(how: dict[str, Any], says: str) -> None:
    arguments: dict[str, Any] = {"optimizer": sgd(), "policy": "cosine()", "steps": 10} | how
    optimizer = arguments.pop("optimizer")
    with pytest.raises(lehr.LehrError, match=says):
        Scheduler(optimizer, arguments.pop("policy"), **arguments)
    if isinstance(optimizer, torch.optim.Optimizer):
        assert lrs(optimizer) == [0.1]
        assert not optimizer._optimizer_step_post_hooks


# What it writes


@pytest.mark.parametrize("make", MAKERS)
def test_each_update_uses_the_preview(make: Any) -> None:
    optimizer = make(0.1, 0.02)
    scheduler = Scheduler(optimizer, "warmup('10%').then(cosine(to=0.1))", steps=50)
    curve = lehr.parse("warmup('10%').then(cosine(to=0.1))").resolve(steps=50)
    for t in range(50):
        assert not scheduler.done
        assert lrs(optimizer) == [0.1 * curve(t), 0.02 * curve(t)]
        loss = update(optimizer)
        scheduler.step(loss=loss)
    assert scheduler.done


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("policy", ["linear()", "Policy(linear(), rules=[when(loss.reaches(0)).scale(0.5)])"])
def test_a_tensor_lr_is_written_in_place(dtype: Any, policy: str) -> None:
    tensor = torch.tensor(0.3, dtype=dtype)
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(2))], lr=tensor)
    scheduler = Scheduler(optimizer, policy, steps=10)
    base, curve = float(torch.tensor(0.3, dtype=dtype)), lehr.linear().resolve(steps=10)
    for t in range(10):
        assert optimizer.param_groups[0]["lr"] is tensor
        assert tensor.dtype == dtype
        assert float(tensor) == float(torch.tensor(base * curve(t), dtype=dtype))
        loss = update(optimizer)
        scheduler.step(loss=loss)
        assert [type(value) for value in scheduler.get_last_lr()] == [float]
    assert len(scheduler.events) == 0


def test_bind_writes_what_it_governs_and_nothing_else() -> None:
    optimizer = sgd(0.1, 0.2, weight_decay=0.01)
    scheduler = Scheduler(optimizer, "bind(momentum=linear(to=0.5))", steps=10)
    for _ in range(5):
        update(optimizer)
        scheduler.step()
    optimizer.param_groups[0]["lr"] = 0.7  # not Lehr's to write
    update(optimizer)
    scheduler.step()
    assert [group["momentum"] for group in optimizer.param_groups] == pytest.approx([0.9 * 0.7] * 2, rel=1e-15)
    assert lrs(optimizer) == [0.7, 0.2]
    assert len(scheduler.events) == 0


def test_groups_by_name() -> None:
    optimizer = sgd(0.1, 0.2)
    optimizer.param_groups[1]["name"] = "head"
    scheduler = Scheduler(optimizer, "groups(head=linear(), default=constant(0.5))", steps=4)
    update(optimizer)
    scheduler.step()
    assert lrs(optimizer) == [0.05, 0.2 * 0.75]


def test_a_skipped_update_advances_nothing() -> None:
    optimizer = sgd()
    scheduler = Scheduler(optimizer, "Policy(linear(), rules=[when(loss.reaches(0.5)).scale(0.5)])", steps=10)
    for _ in range(3):
        scheduler.step(applied=False, loss=math.inf)
    assert (scheduler.t, lrs(optimizer), len(scheduler.events)) == (0, [0.1], 0)
    update(optimizer)
    scheduler.step(loss=3.0)
    assert (scheduler.t, lrs(optimizer)) == (1, [0.1 * 0.9])


def test_a_grad_scaler_that_skips() -> None:
    """As with AMP: the scaler does not call optimizer.step() after an overflow, and the scale tells."""
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=1000)
    scheduler = Scheduler(optimizer, "linear()", steps=10)
    applied = 0
    for i in range(8):
        optimizer.zero_grad()
        loss = model(torch.full((1, 2), math.inf if i in (1, 2, 5) else 1.0)).mean()
        scaler.scale(loss).backward()
        before = scaler.get_scale()
        scaler.step(optimizer)
        scaler.update()
        fine = scaler.get_scale() >= before
        scheduler.step(applied=fine, loss=loss)
        applied += fine
    assert (applied, scheduler.t) == (5, 5)
    assert lrs(optimizer) == [0.05]


def test_lbfgs_steps_its_closure_many_times_for_one_update() -> None:
    parameter = torch.nn.Parameter(torch.tensor([3.0, -2.0]))
    optimizer = torch.optim.LBFGS([parameter], lr=0.1, max_iter=7)
    scheduler = Scheduler(optimizer, "linear()", steps=10, count="updates")
    calls = []

    def closure() -> Any:
        optimizer.zero_grad()
        loss = parameter.pow(4).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        calls.append(1)
        return loss

    for _ in range(5):
        optimizer.step(closure)  # type: ignore[no-untyped-call]
        scheduler.step()
    assert len(calls) > 5
    assert (scheduler.t, lrs(optimizer)) == (5, [0.05])


def test_the_loss_may_be_a_tensor_and_is_read_only_where_a_rule_is() -> None:
    class OnDevice:
        """As a CUDA tensor under way: reading it would wait for the device."""

        def __float__(self) -> float:
            raise AssertionError("read")

        item = detach = cpu = __float__

    optimizer = sgd()
    scheduler = Scheduler(optimizer, "linear()", steps=20)
    for _ in range(8):
        update(optimizer)
        scheduler.step(loss=OnDevice())
        scheduler.observe(val_loss=OnDevice())
        scheduler.step(applied=False, loss=OnDevice())
        scheduler.observe(val_loss=torch.empty((), device="meta"))  # a tensor without a value: reading it is an error
    assert scheduler.t == 8
    rule = Scheduler(sgd(), "when(loss.reaches(0.5)).scale(0.5)", steps=20)
    update(rule.optimizer)
    rule.step(loss=torch.tensor([0.4], requires_grad=True))
    assert rule.lr == 0.05
    update(rule.optimizer)
    with pytest.raises(lehr.LehrError, match=r"\.mean\(\)"):
        rule.step(loss=torch.ones(2))


# Hand edits and late groups


def edit_float(group: Any, value: float) -> None:
    group["lr"] = value


def edit_in_place(group: Any, value: float) -> None:
    group["lr"].fill_(value)


def replace_tensor(group: Any, value: float) -> None:
    group["lr"] = torch.tensor(value, dtype=torch.float64)


EDITS = [
    (False, edit_float),
    (True, edit_in_place),
    (True, replace_tensor),
    (True, edit_float),
    (False, replace_tensor),
]
RULES = ["linear()", "Policy(linear(), rules=[when(loss.reaches(0)).scale(0.5)])"]  # the fast lane, and not


@pytest.mark.parametrize(("tensor", "edit"), EDITS)
@pytest.mark.parametrize("policy", RULES)
@pytest.mark.parametrize("at", [0, 1, 6])
def test_a_hand_edit_goes_into_the_gain_and_is_journaled(tensor: bool, edit: Any, policy: str, at: int) -> None:
    optimizer = sgd(0.1, 0.2)
    if tensor:
        for group in optimizer.param_groups:
            group["lr"] = torch.tensor(group["lr"], dtype=torch.float64)
    scheduler = Scheduler(optimizer, policy, steps=10)
    for t in range(10):
        if t == at:
            edit(optimizer.param_groups[1], 0.5)
        loss = update(optimizer)
        scheduler.step(loss=loss)
        gain = 0.5 / (0.2 * (1 - at / 10)) if t >= at else 1.0
        assert lrs(optimizer) == pytest.approx([0.1 * (9 - t) / 10, 0.2 * gain * (9 - t) / 10], rel=1e-14, abs=1e-17)
    (event,) = scheduler.events
    assert (event.kind, event.step) == ("edit", at)
    assert event.lr_before == pytest.approx((0.1 * (10 - at) / 10, 0.2 * (10 - at) / 10), rel=1e-14)
    assert event.lr_after == pytest.approx((0.1 * (10 - at) / 10, 0.5), rel=1e-14)


def test_an_equal_value_is_no_edit() -> None:
    scheduler = Scheduler(sgd(), "constant()", steps=10)
    for _ in range(6):
        scheduler.optimizer.param_groups[0]["lr"] = float("0.1")
        update(scheduler.optimizer)
        scheduler.step()
    assert len(scheduler.events) == 0


def test_an_edit_where_the_schedule_is_zero_cannot_last_and_says_so() -> None:
    scheduler = Scheduler(sgd(), "linear(1).then(hold())", steps=10)
    for _ in range(3):
        update(scheduler.optimizer)
        scheduler.step()
    scheduler.optimizer.param_groups[0]["lr"] = 0.5
    update(scheduler.optimizer)
    scheduler.step()
    assert lrs(scheduler.optimizer) == [0.0]
    assert "cannot last" in scheduler.events[0].words


@pytest.mark.parametrize("policy", RULES)
@pytest.mark.parametrize("at", [0, 1, 6])
@pytest.mark.parametrize("lr", ["own", "the default", "the same object"])
def test_a_late_group_follows_from_its_own_base(policy: str, at: int, lr: str) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.1)
    scheduler = Scheduler(optimizer, policy, steps=10)
    base = 0.0
    for t in range(10):
        if t == at:
            base = {"own": 0.7, "the default": 0.1, "the same object": lrs(optimizer)[0]}[lr]
            late: dict[str, Any] = {"params": [torch.nn.Parameter(torch.ones(2))]}
            if lr == "own":
                late["lr"] = 0.7
            if lr == "the same object":
                late["lr"] = optimizer.param_groups[0]["lr"]
            optimizer.add_param_group(late)
        loss = update(optimizer)
        scheduler.step(loss=loss)
        expected = [0.1 * (9 - t) / 10, base * (9 - t) / 10][: 2 if t >= at else 1]
        assert lrs(optimizer) == pytest.approx(expected, rel=1e-14, abs=1e-17)
        assert scheduler.get_last_lr() == pytest.approx(expected, rel=1e-14, abs=1e-17)
    assert scheduler.base_lrs == [0.1, base]


def test_a_group_that_is_gone_is_an_error() -> None:
    scheduler = Scheduler(sgd(0.1, 0.2), "linear()", steps=10)
    del scheduler.optimizer.param_groups[1]
    with pytest.raises(lehr.LehrError, match="build a new Scheduler"):
        scheduler.step()


# The fast lane


def odd_moments(scheduler: Any, t: int, rng: random.Random) -> None:
    """Everything that may happen between two updates."""
    optimizer = scheduler.optimizer
    what = rng.randrange(16)
    if what == 0:
        optimizer.param_groups[rng.randrange(len(optimizer.param_groups))]["lr"] = rng.uniform(0.01, 1)
    elif what == 1 and len(optimizer.param_groups) < 4:
        optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))], "lr": rng.uniform(0.01, 1)})
    elif what == 2:
        optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    elif what == 3:
        scheduler.load_state_dict(scheduler.state_dict())
    elif what == 4:
        scheduler.step(applied=False, loss=1.0)
    elif what == 5:
        scheduler.observe(val_loss=1.0)
    elif what == 6:
        assert scheduler.lrs == pytest.approx(lrs(optimizer))
    elif what == 7:
        scheduler.replan(rng.choice(["cosine()", "constant()", "linear(to=0.1)"]))
    elif what == 8:
        scheduler.why()
        assert scheduler.t == t


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("groups", [(0.1,), (0.1, 0.1), (0.1, 0.3)])
def test_the_fast_lane_and_the_slow_road_agree_step_by_step(seed: int, groups: tuple[float, ...]) -> None:
    fast = Scheduler(sgd(*groups), "warmup(5).then(cosine())", steps=5000)
    slow = Scheduler(sgd(*groups), "warmup(5).then(cosine())", steps=5000)
    slow.subscribe(lambda *_: None, on="steps")  # somebody listens: there is no fast lane
    dice = [random.Random(seed) for _ in range(2)]
    for t in range(60):
        for scheduler, rng in ((fast, dice[0]), (slow, dice[1])):
            odd_moments(scheduler, t, rng)
            scheduler.optimizer.step()
            scheduler.step(loss=1.0)
        assert lrs(fast.optimizer) == lrs(slow.optimizer), t
        for name in ("lr", "lrs", "last_lr", "t", "done", "last_epoch", "_step_count", "base_lrs"):
            assert t % 3 or getattr(fast, name) == getattr(slow, name), (t, name)  # looking leaves the lane: not always
        assert fast.get_last_lr() == slow.get_last_lr()
    assert list(fast.events) == list(slow.events)
    reports: dict[str, Any] = {"reported": {}}  # of which nobody takes note in the fast lane
    assert fast.state_dict() | reports == slow.state_dict() | reports


def test_the_lane_runs_over_the_end_of_its_table() -> None:
    optimizer = sgd()
    scheduler, curve = Scheduler(optimizer, "exponential(0.9999)"), lehr.exponential(0.9999).resolve()
    for t in range(9000):
        if t < 3:  # until the hook that watches for misuse is gone
            optimizer.step()
        scheduler.step()
        assert optimizer.param_groups[0]["lr"] == 0.1 * curve(t + 1)


# Misuse


def warned(scheduler: Any, pattern: list[int]) -> list[str]:
    """The warnings when step() is called after so many updates each time."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for updates in pattern:
            for _ in range(updates):
                update(scheduler.optimizer)
            scheduler.step()
    return [str(item.message) for item in caught]


def test_more_than_one_update_between_calls_warns_once_and_names_the_remedies() -> None:
    (words,) = warned(Scheduler(sgd(), "linear()", steps=10), [3, 3, 3, 3, 3])
    for part in ("stepped 3 times", "count='updates'", "count='epochs'"):
        assert part in words


def test_no_update_between_calls_warns_once_and_names_the_remedies() -> None:
    (words,) = warned(Scheduler(sgd(), "linear()", steps=10), [1, 0, 0, 1])
    assert "applied=False" in words
    assert "accumulating" in words


@pytest.mark.parametrize("pattern", [[1, 1, 1, 1, 1], [1, 1, 1, 5, 0]])
def test_right_use_does_not_warn_and_the_hook_goes_after_three_calls(pattern: list[int]) -> None:
    scheduler = Scheduler(sgd(), "linear()", steps=10)
    hooks = scheduler.optimizer._optimizer_step_post_hooks
    assert len(hooks) == 1
    assert warned(scheduler, pattern[:2]) == []
    assert len(hooks) == 1
    assert warned(scheduler, pattern[2:]) == []
    assert len(hooks) == 0


# Recording


def test_a_recorded_run_has_the_lrs_that_were_used_and_goes_on_as_before(tmp_path: Path) -> None:
    scheduler = Scheduler(sgd(0.1, 0.1), "cosine()", steps=20)
    used = []

    def drive(steps: int) -> None:
        for _ in range(steps):
            used.append(lrs(scheduler.optimizer))
            update(scheduler.optimizer)
            scheduler.step(loss=torch.tensor(0.5))

    drive(6)
    with lehr.record(scheduler, tmp_path / "trace"):
        drive(6)
    drive(8)
    curve = lehr.cosine().resolve(steps=20)
    assert used == [[0.1 * curve(t)] * 2 for t in range(20)]
    columns = lehr.Trace.read(tmp_path / "trace").columns
    assert columns["step"].tolist() == list(range(6, 12))
    assert columns["lr"].tolist() == columns["lr.1"].tolist() == [row[0] for row in used[6:12]]
    assert columns["loss"].tolist() == [0.5] * 6


# Lifetimes


@pytest.mark.parametrize("policy", ["cosine()", "when(loss.reaches(0.5)).scale(0.5)"])
def test_nothing_keeps_the_optimizer_alive(policy: str) -> None:
    with no_garbage_collection():
        optimizer = sgd()
        scheduler = Scheduler(optimizer, policy, steps=10)
        for _ in range(5):
            optimizer.step()
            scheduler.step(loss=1.0)
        gone = weakref.ref(optimizer), weakref.ref(scheduler)
        del scheduler
        assert gone[1]() is None  # the optimizer does not keep the scheduler
        optimizer.step()
        optimizer.load_state_dict(optimizer.state_dict())
        del optimizer
        assert gone[0]() is None


def test_a_copy_of_the_optimizer_is_its_own() -> None:
    optimizer = sgd()
    scheduler = Scheduler(optimizer, "linear()", steps=10)
    update(optimizer)
    scheduler.step()
    other = copy.deepcopy(optimizer)
    for _ in range(4):
        update(other)
    assert lrs(other) == lrs(optimizer)
    assert other.param_groups[0]["params"][0].data_ptr() != optimizer.param_groups[0]["params"][0].data_ptr()
    assert warned(scheduler, [1, 1]) == []  # the copy's updates are not counted
    assert scheduler.t == 3


def test_two_runs_of_the_same_loop_are_equal() -> None:
    seen = []
    for _ in range(2):
        scheduler = Scheduler(sgd(), "when(loss.improves_less_than(0.5, 3)).scale(0.5)", steps=30)
        losses = []
        for _ in range(30):
            losses.append(update(scheduler.optimizer))
            scheduler.step(loss=losses[-1])
        seen.append((losses, scheduler.state_dict()))
    assert seen[0] == seen[1]


def test_a_preview_sees_a_hand_edit_and_changes_nothing() -> None:
    optimizer = sgd(0.1)
    scheduler = Scheduler(optimizer, "constant()", steps=10)
    optimizer.param_groups[0]["lr"] = 0.05
    assert scheduler.preview("linear()").before.tolist() == [0.05] * 10
    assert scheduler.preview("linear()").after[0] == 0.05
    assert lrs(optimizer) == [0.05]
    assert scheduler.policy == lehr.as_policy("constant()")


@pytest.mark.parametrize(
    "make", [lambda o: Scheduler(o, "cosine()", steps=10), lambda o: dropin.CosineAnnealingLR(o, 10)]
)
def test_groups_that_were_added_again_before_a_load_go_on(make: Any) -> None:
    def begun() -> tuple[Any, torch.optim.Optimizer]:
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
        return make(optimizer), optimizer

    scheduler, optimizer = begun()
    for step in range(4):
        if step == 2:
            optimizer.add_param_group({"params": [torch.zeros(1, requires_grad=True)], "lr": 0.05})
        optimizer.step()
        scheduler.step()
    again, fresh = begun()
    fresh.add_param_group({"params": [torch.zeros(1, requires_grad=True)], "lr": 0.05})
    fresh.load_state_dict(optimizer.state_dict())
    again.load_state_dict(scheduler.state_dict())
    for _ in range(6):
        assert [group["lr"] for group in fresh.param_groups] == [group["lr"] for group in optimizer.param_groups]
        for each, its in ((scheduler, optimizer), (again, fresh)):
            its.step()
            each.step()


def test_an_optimizer_whose_steps_cannot_be_counted_is_refused() -> None:
    class Bad(torch.optim.Optimizer):
        def __init__(self) -> None:
            pass

    with pytest.raises(lehr.LehrError, match=r"Bad never called torch\.optim\.Optimizer\.__init__"):
        Scheduler(Bad(), "cosine()", steps=10)
