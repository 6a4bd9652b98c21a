"""Snapshots: what goes back, to the last bit, what does not, and how many there are."""

from __future__ import annotations

import copy
import gc
import json
import math
import pickle
import random
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import lehr
from lehr.errors import LehrError
from lehr.torch import Scheduler, Snapshots
from lehr.torch.values import read

Make = Callable[[Any], torch.optim.Optimizer]
STEPS = 40
TROUBLE = lehr.metric("trouble", best="max")
VAL = lehr.metric("val", best="min")
BACK = lehr.when(TROUBLE.reaches(1)).rollback(0.5)
OPTIMIZERS: dict[str, Make] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
    "adamw foreach": lambda p: torch.optim.AdamW(p, lr=0.01, foreach=True, amsgrad=True),
    "adamw fused": lambda p: torch.optim.AdamW(p, lr=0.01, fused=True),
    "adamw tensor lr": lambda p: torch.optim.AdamW(p, lr=torch.tensor(0.01), foreach=False),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.5, centered=True),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.05),
    "lbfgs": lambda p: torch.optim.LBFGS(p, lr=0.1, max_iter=2),
}


def model_of(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 1))


def batch(step: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(step)
    inputs = torch.randn(16, 3, generator=draw)
    return inputs, inputs.sum(1, keepdim=True).sin()


def update(model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> Tensor:
    inputs, targets = batch(step)

    def loss() -> Tensor:
        optimizer.zero_grad()
        found: Tensor = (model(inputs) - targets).square().mean()
        found.backward()  # type: ignore[no-untyped-call]  # torch's own
        return found

    result: Any = optimizer.step(loss)  # type: ignore[arg-type]  # a closure may return a tensor
    return torch.as_tensor(result).detach()


def everything(model: nn.Module, optimizer: torch.optim.Optimizer) -> Any:
    return copy.deepcopy((model.state_dict(), optimizer.state_dict()["state"]))


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


class Run:
    """A run with trouble reported at one step."""

    def __init__(self, make: Make = OPTIMIZERS["sgd"], rule: lehr.Rule = BACK, **how: Any) -> None:
        self.model = model_of()
        self.optimizer = make(self.model.parameters())
        snapshots = how.pop("snapshots", None) or Snapshots(self.model, every=5)
        policy = lehr.Policy(lehr.constant(), rules=[rule])
        self.scheduler = Scheduler(self.optimizer, policy, steps=STEPS, model=self.model, snapshots=snapshots, **how)
        self.snapshots: Any = snapshots

    def go(self, until: int, **numbers: float) -> None:
        """Train up to a step; report the numbers with the last update."""
        while self.scheduler.t < until:
            loss = update(self.model, self.optimizer, self.scheduler.t)
            reported: dict[str, Any] = numbers if self.scheduler.t == until - 1 else {}
            self.scheduler.step(loss=loss, **reported)

    @property
    def now(self) -> Any:
        return everything(self.model, self.optimizer)

    @property
    def words(self) -> str:
        return str(self.scheduler.events[-1].words)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_rollback_restores_weights_buffers_and_optimiser_to_the_last_bit(name: str) -> None:
    run = Run(OPTIMIZERS[name])
    run.go(10)
    then = run.now
    run.go(12)
    assert not same(run.now, then)
    run.go(13, trouble=1)
    assert same(run.now, then)
    assert run.words.endswith("restored the snapshot of step 10")


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_run_after_a_rollback_is_one_that_began_at_the_snapshot_with_the_scaled_lr(name: str) -> None:
    run = Run(OPTIMIZERS[name])
    run.go(10)
    twin = model_of(seed=1)
    twin.load_state_dict(run.model.state_dict())
    optimizer = OPTIMIZERS[name](twin.parameters())
    optimizer.load_state_dict(copy.deepcopy(run.optimizer.state_dict()))
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(0.5 * group["lr"].item())
        else:
            group["lr"] *= 0.5
    run.go(13, trouble=1)
    run.go(20)
    for step in range(13, 20):  # the data that came in between are skipped
        update(twin, optimizer, step)
    assert same(run.now, everything(twin, optimizer))


def test_neither_the_step_nor_the_schedule_goes_back() -> None:
    model = model_of()
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    policy = lehr.Policy(lehr.linear(), rules=[BACK])
    scheduler = Scheduler(optimizer, policy, steps=STEPS, model=model, snapshots=5)
    for step in range(13):
        update(model, optimizer, step)
        scheduler.step(trouble=float(step == 12))
    assert scheduler.t == 13
    assert scheduler.lr == pytest.approx(0.05 * (1 - 13 / 40) * 0.5, rel=1e-12)
    assert read(optimizer.param_groups[0], "lr", 0) == scheduler.lr


@pytest.mark.parametrize("name", ["adamw fused", "adamw tensor lr", "sgd"])
def test_tensors_stay_the_same_objects(name: str) -> None:
    run = Run(OPTIMIZERS[name])
    run.go(10)

    def tensors() -> list[int]:
        state = [id(v) for s in run.optimizer.state.values() for v in s.values() if isinstance(v, Tensor)]
        named = [id(t) for t in (*run.model.parameters(), *run.model.buffers())]
        return [*state, *named, *(id(g["lr"]) for g in run.optimizer.param_groups if isinstance(g["lr"], Tensor))]

    before = tensors()
    run.go(13, trouble=1)
    assert tensors() == before


def test_a_snapshot_of_the_start_is_of_before_the_first_update() -> None:
    run = Run(OPTIMIZERS["adamw fused"], lehr.when(TROUBLE.reaches(1)).rollback(0.1, to="start"))
    begun = everything(run.model, run.optimizer)[0]
    run.go(13, trouble=1)
    weights = run.model.state_dict()
    assert all(
        same(weights[name], begun[name]) for name in begun if "num_batches" not in name and "running" not in name
    )
    assert not run.optimizer.state  # it had none, and begins anew
    run.go(20)
    assert all(math.isfinite(weight.sum().item()) for weight in run.model.parameters())


def test_older_is_older_than_the_trouble_and_the_start_where_none_is() -> None:
    rule = lehr.when(lehr.loss.derails(nonfinite=2, smooth=6)).rollback()
    for bad, restored in ((22, 15), (38, 30), (3, 0)):
        run = Run(rule=rule)
        for step in range(bad + 2):
            update(run.model, run.optimizer, step)
            run.scheduler.step(loss=math.nan if step >= bad else 1.0)
        assert run.words.endswith(f"restored the snapshot of step {restored}"), bad


def test_the_best_one_is_that_of_the_best_value_of_the_rule_s_signal() -> None:
    run = Run(rule=lehr.when(VAL.plateaus(2)).rollback(0.5, to="best"))
    states = {}
    for step, value in enumerate([3.0, 2.0, 1.0, 1.5, 1.2, 1.1]):
        update(run.model, run.optimizer, step)
        states[step] = run.now
        run.scheduler.step(val=value)
    assert run.words.endswith("restored the snapshot of step 3")
    assert same(run.now, states[2])
    assert run.scheduler.lr == 0.025


def test_a_stop_may_leave_the_best_weights_instead_of_the_last() -> None:
    finals = {}
    for weights in ("best", "last"):
        rule = lehr.when(VAL.plateaus(1)).stop(weights=weights)
        run, states = Run(rule=rule), {}
        for step, value in enumerate([3.0, 1.0, 2.0, 2.0]):
            update(run.model, run.optimizer, step)
            states[step] = run.now
            run.scheduler.step(val=value)
        assert run.scheduler.done
        finals[weights] = [step for step, state in states.items() if same(state, run.now)]
    assert finals == {"best": [1], "last": [3]}


def test_the_scaler_goes_back_too() -> None:
    model = model_of()
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=1)
    snapshots = Snapshots(model, every=2, scaler=scaler)
    policy = lehr.Policy(lehr.constant(), rules=[BACK])
    scheduler = Scheduler(optimizer, policy, steps=STEPS, model=model, snapshots=snapshots)
    scales = []
    for step in range(6):
        inputs, targets = batch(step)
        optimizer.zero_grad()
        scaler.scale((model(inputs) - targets).square().mean()).backward()
        scaler.step(optimizer)
        scaler.update()
        scales.append(scaler.get_scale())
        scheduler.step(trouble=float(step == 4))
    assert scales == [2048.0, 4096.0, 8192.0, 16384.0, 32768.0, 8192.0]  # that of step 2 was 4096, and grew again


def draws() -> list[float]:
    return [random.random(), float(np.random.random()), torch.rand(()).item()]  # noqa: NPY002  # what users draw from


@pytest.mark.parametrize("skip_data", [True, False])
def test_random_states_go_back_only_where_the_data_are_not_skipped(skip_data: bool) -> None:
    run = Run(rule=lehr.when(TROUBLE.reaches(1)).rollback(0.5, skip_data=skip_data))
    run.go(10)
    after_it = draws()
    run.go(13, trouble=1)
    assert (draws() == after_it) != skip_data


def test_their_number_is_bounded() -> None:
    model = model_of()
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    rules = [BACK, lehr.when(VAL.plateaus(99)).rollback(to="best")]
    snapshots = Snapshots(model, every=5)
    scheduler = Scheduler(optimizer, lehr.Policy(lehr.constant(), rules=rules), steps=STEPS, snapshots=snapshots)
    for step in range(STEPS):
        update(model, optimizer, step)
        scheduler.step(val=1.0 / (step + 1))
    assert [snapshot.step for snapshot in snapshots.recent] == [30, 35, 40]
    assert [snapshot.step for snapshot in snapshots.best.values()] == [40]
    one = Snapshots(model, every=5, keep=1)
    scheduler = Scheduler(optimizer, lehr.Policy(lehr.constant(), rules=[BACK]), steps=STEPS, snapshots=one)
    for step in range(12):
        update(model, optimizer, step)
        scheduler.step()
    assert [snapshot.step for snapshot in one.recent] == [10]


@pytest.mark.parametrize(
    ("rule", "counts"),
    [
        (BACK, (3, 1, 0)),
        (lehr.when(TROUBLE.reaches(1)).rollback(to="start"), (0, 1, 0)),
        (lehr.when(TROUBLE.plateaus(99)).rollback(to="best"), (0, 0, 1)),
        (lehr.when(TROUBLE.plateaus(99)).stop(weights="best"), (0, 0, 1)),
        (lehr.when(TROUBLE.plateaus(99), shadow=True).stop(weights="best"), (0, 0, 0)),
        (lehr.when(TROUBLE.reaches(1)).scale(0.5), (0, 0, 0)),
    ],
)
def test_only_those_are_taken_to_which_a_rule_may_go_back(rule: lehr.Rule, counts: tuple[int, ...]) -> None:
    run = Run(rule=rule)
    run.go(STEPS, trouble=0.5)
    kept = run.snapshots
    assert (len(kept.recent), int(kept.start is not None), len(kept.best)) == counts


def test_the_weights_that_gave_the_first_bad_loss_are_not_gone_back_to() -> None:
    run = Run(rule=lehr.when(lehr.loss.diverges()).rollback())
    for step in range(11):
        loss = update(run.model, run.optimizer, step)
        if step == 9:  # the tenth update spoils the weights, of which the next snapshot is taken at once
            with torch.no_grad():
                next(run.model.parameters()).fill_(math.nan)
        run.scheduler.step(loss=loss)
    assert run.words.endswith("loss is nan; restored the snapshot of step 5")
    assert all(weight.isfinite().all() for weight in run.model.parameters())


def test_a_report_gathered_over_several_updates_may_be_of_any_of_them() -> None:
    run = Run(rule=lehr.when(TROUBLE.reaches(1)).rollback())
    policy = lehr.Policy(lehr.constant(), rules=[lehr.when(TROUBLE.reaches(1)).rollback()], cadence=4)
    scheduler = Scheduler(run.optimizer, policy, steps=STEPS, model=run.model, snapshots=Snapshots(run.model, every=2))
    for step in range(12):
        update(run.model, run.optimizer, step)
        scheduler.step(trouble=float(step >= 8))
    assert scheduler.events[-1].words.endswith("restored the snapshot of step 6")  # the window began at update 8


def test_gradients_of_weights_that_were_given_up_are_gone() -> None:
    run = Run(rule=lehr.when(lehr.loss.diverges()).rollback())
    run.go(8)
    (run.model(torch.full((2, 3), math.nan))).sum().backward()  # in the midst of an accumulation
    gradients = [weight.grad for weight in run.model.parameters()]
    run.scheduler.observe(loss=math.nan)
    assert [weight.grad for weight in run.model.parameters()] == gradients  # the same tensors
    assert all(gradient is not None and not gradient.any() for gradient in gradients)


def test_the_start_is_kept_where_a_scaler_skips_the_first_updates() -> None:
    run = Run(rule=lehr.when(TROUBLE.reaches(1)).rollback(to="start"))
    begun = copy.deepcopy([weight.detach() for weight in run.model.parameters()])
    with pytest.warns(lehr.errors.LehrWarning, match="not stepped"):
        run.scheduler.step()
    run.go(8, trouble=1)
    assert run.words.endswith("restored the snapshot of step 0")
    assert same(begun, [weight.detach() for weight in run.model.parameters()])


def test_an_optimiser_that_outlives_its_scheduler_keeps_no_snapshots() -> None:
    model = model_of()
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    policy = lehr.Policy(lehr.constant(), rules=[BACK])
    ends = []
    for _ in range(3):
        scheduler = Scheduler(optimizer, policy, steps=STEPS, model=model, snapshots=5)
        ends.append(weakref.ref(scheduler._snapshots))
        del scheduler
        gc.collect()
    assert [end() for end in ends] == [None] * 3
    assert not optimizer._optimizer_step_pre_hooks
    update(model, optimizer, 0)


def test_a_shadow_needs_no_snapshots_as_it_restores_nothing() -> None:
    model = model_of()
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    rules = [lehr.when(TROUBLE.reaches(1), shadow=True).rollback(0.5)]
    scheduler = Scheduler(optimizer, lehr.Policy(lehr.constant(), rules=rules), steps=STEPS)
    update(model, optimizer, 0)
    scheduler.step(trouble=1)
    assert [event.kind for event in scheduler.events] == ["shadow"]
    assert scheduler.lr == 0.05


def test_what_a_parameter_group_holds_beside_plain_data_is_left_alone() -> None:
    run = Run()
    lock = threading.Lock()
    run.optimizer.param_groups[0] |= {"lock": lock, "count": 1}
    run.go(10)
    run.optimizer.param_groups[0]["count"] = 2
    run.go(13, trouble=1)
    assert (run.optimizer.param_groups[0]["lock"], run.optimizer.param_groups[0]["count"]) == (lock, 1)


def test_later_snapshots_of_a_branch_that_was_given_up_are_dropped() -> None:
    rule = lehr.when(lehr.loss.derails(nonfinite=2, smooth=12)).rollback()
    run = Run(rule=rule)
    for step in range(30):
        update(run.model, run.optimizer, step)
        run.scheduler.step(loss=math.nan if step >= 28 else 1.0)
    assert [snapshot.step for snapshot in run.snapshots.recent] == [15, 30]  # taken at 30, after the rollback
    assert same(run.snapshots.recent[0].weights[0][1], run.snapshots.recent[1].weights[0][1])


def test_no_snapshot_is_in_the_state() -> None:
    run = Run()
    run.go(12)
    plain = Scheduler(OPTIMIZERS["sgd"](run.model.parameters()), lehr.constant(), steps=STEPS)
    state = run.scheduler.state_dict()
    assert state.keys() == plain.state_dict().keys()
    assert len(json.dumps(state)) < 2000
    assert run.snapshots.recent
    assert run.snapshots.start is not None
    again = pickle.loads(pickle.dumps(run.snapshots))
    assert not again.recent
    assert again.start is None
    assert again.every == run.snapshots.every


@pytest.mark.parametrize("to", ["older", "start"])
def test_after_a_resume_there_is_none_until_the_next_is_taken(to: Any) -> None:
    rule = lehr.when(TROUBLE.reaches(1)).rollback(0.5, to=to)
    run = Run(rule=rule)
    run.go(12)
    state = run.scheduler.state_dict()
    for until, found in ((14, False), (17, to == "older")):
        resumed = Run(rule=rule)
        resumed.scheduler.load_state_dict(state)
        resumed.go(until - 1)
        before = resumed.now
        resumed.go(until, trouble=1)
        assert ("there is no such snapshot yet" in resumed.words) != found
        assert resumed.scheduler.lr == 0.025
        if not found:
            assert not same(resumed.now, before)  # trained on, not restored


def test_parameters_that_joined_later_stay_as_they_are_and_it_is_said() -> None:
    run = Run()
    run.go(11)
    late = nn.Parameter(torch.ones(2))
    run.optimizer.add_param_group({"params": [late], "lr": 0.1})
    run.go(12)
    with torch.no_grad():
        late.fill_(7.0)
    run.go(13, trouble=1)
    assert run.words.endswith("; left as they are, as they joined later: 1 parameter")
    assert late.tolist() == [7.0, 7.0]
    assert [group["lr"] for group in run.optimizer.param_groups] == [0.025, 0.05]


def test_a_buffer_that_has_grown_has_its_old_shape_again() -> None:
    run = Run()
    run.model.register_buffer("seen", torch.zeros(2))
    run.go(10)
    run.model.seen = torch.ones(5)
    run.go(13, trouble=1)
    assert run.model.get_buffer("seen").tolist() == [0.0, 0.0]


def test_what_the_optimiser_keeps_in_its_groups_goes_back_and_what_the_policy_governs_does_not() -> None:
    model = model_of()
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    policy = lehr.bind(lr=lehr.Policy(lehr.constant(), rules=[BACK]), momentum=lehr.linear(to=0.5))
    scheduler = Scheduler(optimizer, policy, steps=STEPS, model=model, snapshots=5)
    group = optimizer.param_groups[0]
    for step in range(13):
        group["count"] = step  # as Prodigy and the schedule-free optimisers count
        update(model, optimizer, step)
        scheduler.step(trouble=float(step == 12))
    assert group["count"] == 9
    assert group["momentum"] == scheduler.hyper["momentum"][0] != 0.9


def test_they_are_taken_of_several_updates_at_once_as_of_one() -> None:
    run = Run(count="updates")
    for step in range(12):
        update(run.model, run.optimizer, step)
        if step % 4 == 3:
            run.scheduler.step()
    assert [snapshot.step for snapshot in run.snapshots.recent] == [8, 12]


def test_copies_on_another_device_go_back_to_their_own() -> None:
    run = Run(OPTIMIZERS["adamw fused"])
    offloaded = Snapshots(run.model, every=5, device="cpu")
    policy = lehr.Policy(lehr.constant(), rules=[BACK])
    scheduler = Scheduler(run.optimizer, policy, steps=STEPS, snapshots=offloaded)
    assert not run.snapshots.recent
    then = None
    for step in range(8):
        update(run.model, run.optimizer, step)
        then = run.now if step == 4 else then
        scheduler.step(trouble=float(step == 7))
    assert same(run.now, then)
    assert all(kept.data_ptr() != live.data_ptr() for live, kept in offloaded.recent[0].weights)


@pytest.fixture
def one_rank() -> Iterator[None]:
    store = torch.distributed.HashStore()  # type: ignore[attr-defined]  # public, though not listed
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("device", [None, "cpu"])
def test_of_sharded_parameters_the_own_shards_go_back(one_rank: None, device: str | None) -> None:
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
    fully_shard(model, mesh=init_device_mesh("cpu", (1,)))
    optimizer = OPTIMIZERS["adamw foreach"](model.parameters())
    policy = lehr.Policy(lehr.constant(), rules=[BACK])
    snapshots = Snapshots(model, every=5, device=device)
    scheduler = Scheduler(optimizer, policy, steps=STEPS, snapshots=snapshots)

    def shards() -> list[Tensor]:
        moments = [state["exp_avg"] for state in optimizer.state.values()]
        return [shard.to_local().clone() for shard in (*model.parameters(), *moments)]

    then: list[Tensor] = []
    for step in range(8):
        update(model, optimizer, step)
        then = shards() if step == 4 else then
        scheduler.step(trouble=float(step == 7))
    assert same(shards(), then)
    update(model, optimizer, 8)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({}, "snapshots="),
        ({"snapshots": True}, "give model= too"),
        ({"snapshots": "4%", "model": "none"}, "torch.nn.Module"),
        ({"snapshots": 0, "model": None}, "give model= too"),
    ],
)
def test_what_is_missing_is_said_when_the_run_starts(how: dict[str, Any], words: str) -> None:
    optimizer = OPTIMIZERS["sgd"](model_of().parameters())
    with pytest.raises(LehrError, match=words):
        Scheduler(optimizer, lehr.Policy(lehr.constant(), rules=lehr.guard()), steps=STEPS, **how)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda model: Snapshots(model, every=0), "positive length"),
        (lambda model: Snapshots(model, keep=0), "at least 1"),
        (lambda model: Snapshots(model, scaler=1), "GradScaler"),
    ],
)
def test_snapshots_that_cannot_be_right_are_refused(make: Any, words: str) -> None:
    with pytest.raises(LehrError, match=words):
        make(model_of())


def test_a_new_plan_with_a_rollback_needs_them_as_well() -> None:
    model = model_of()
    scheduler = Scheduler(OPTIMIZERS["sgd"](model.parameters()), "constant()", steps=STEPS)
    with pytest.raises(LehrError, match="snapshots="):
        scheduler.replan(lehr.Policy(lehr.constant(), rules=[BACK]))
    run = Run()
    run.scheduler.replan(lehr.Policy(lehr.constant(), rules=[lehr.when(VAL.plateaus(1)).rollback(to="best")]))
    for step, value in enumerate([1.0, 2.0, 2.0]):
        update(run.model, run.optimizer, step)
        run.scheduler.step(val=value)
    assert run.words.endswith("restored the snapshot of step 1")


def rescued() -> Iterator[float]:
    """The losses of a run whose LR is far too high, with a guard."""
    model = model_of()
    optimizer = torch.optim.SGD(model[3].parameters(), lr=50.0)  # type: ignore[index]  # a Sequential
    policy = lehr.Policy(lehr.constant(), rules=lehr.guard(retries=9))
    scheduler = Scheduler(optimizer, policy, steps=300, model=model, snapshots=True)
    for step in range(300):
        loss = update(model, optimizer, step)
        scheduler.step(loss=loss)
        yield loss.item()


def test_a_run_that_diverges_is_rescued_and_without_the_restore_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = list(rescued())
    assert any(not math.isfinite(loss) for loss in losses)
    assert sum(losses[-50:]) / 50 < losses[0]
    monkeypatch.setattr(Snapshots, "_restore", lambda self, snapshot, rng: "")
    assert all(not math.isfinite(loss) for loss in list(rescued())[-50:])
