"""FSDP2 by hand: sharded parameters, states and norms in two real processes, and torch's distributed checkpoint."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed
from torch.distributed import checkpoint
from torch.distributed.checkpoint.api import CheckpointException

import lehr
from lehr.torch import Scheduler
from two_ranks import KILLED, LATE, POLICY, SAVED, WINDOWS, bare, played

pytestmark = pytest.mark.frameworks


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    folder: Path = tmp_path_factory.mktemp("fsdp2")
    return played(folder, "fsdp2", resume=False), played(folder, "fsdp2", resume=True)


def test_both_ranks_have_the_lrs_of_a_bare_loop_with_all_data(runs: Any) -> None:
    lrs, fired = bare(POLICY)
    begun, resumed = runs
    assert len(fired) > 2
    assert len(lrs) == WINDOWS - 1  # one update was skipped
    for rank in range(2):
        assert begun[rank]["lrs"] == lrs[: KILLED - 1]
        assert begun[rank]["lrs"][: SAVED - 1] + resumed[rank]["lrs"] == lrs
        assert resumed[rank]["t"] == len(lrs)
    assert sorted({*(step for step in begun[0]["rules"] if step < SAVED), *resumed[1]["rules"]}) == fired


def test_the_norm_of_sharded_gradients_is_that_of_all(runs: Any) -> None:
    resumed = runs[1]
    assert resumed[0]["norms"] == resumed[1]["norms"] == resumed[0]["theirs"]


def test_a_rollback_restores_shards_and_moments_on_both_ranks_to_the_last_bit(runs: Any) -> None:
    """Evaluated right before it, the outermost module holds whole weights; the next forward pass must not use them."""
    for rank in runs[1]:
        seen, best, after = rank["rolled"], 2, 5  # the update with the best value, and the one after which it goes back
        assert seen["events"] == [after + 1]
        assert seen["shards"][after] == seen["shards"][best]
        assert seen["outputs"][after] == seen["outputs"][best]
        assert len({str(shards) for shards in seen["shards"][:after]}) == after
        assert seen["whole"] == []  # nothing but shards was kept
    assert runs[1][0]["rolled"]["outputs"] == runs[1][1]["rolled"]["outputs"]
    assert runs[1][0]["rolled"]["shards"] != runs[1][1]["rolled"]["shards"]


def test_layers_that_are_unfrozen_in_mid_run_follow_on_both_ranks(runs: Any) -> None:
    for rank in runs[1]:
        assert rank["late"] == [pytest.approx(lrs) for lrs in LATE]


def test_an_update_under_an_lr_of_0_counts_on_a_rank_without_a_shard_too(runs: Any) -> None:
    assert [rank["from_zero"] for rank in runs[1]] == [
        {"elements": 4, "ts": [1, 2, 3]},
        {"elements": 0, "ts": [1, 2, 3]},
    ]


# torch.distributed.checkpoint makes the state of a fresh optimiser by a step of its own


@pytest.fixture
def checkpointing() -> Iterator[Any]:
    from torch.distributed import HashStore  # type: ignore[attr-defined]  # it is public, but not said so
    from torch.distributed.checkpoint import state_dict

    distributed.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    try:
        yield state_dict
    finally:
        distributed.destroy_process_group()


def made(kind: Any, lr: Any) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    return model, kind(model.parameters(), lr=copy.deepcopy(lr))


def update(model: torch.nn.Module, optimizer: torch.optim.Optimizer, **how: Any) -> None:
    optimizer.zero_grad()
    model(torch.ones(2, 3)).square().mean().backward()
    optimizer.step(**how)


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
@pytest.mark.parametrize("lr", [0.1, torch.tensor(0.1, dtype=torch.float64)], ids=["float", "tensor"])
@pytest.mark.parametrize("count", ["calls", "updates"])
@pytest.mark.parametrize("zero_start", [False, True])
def test_its_step_is_no_update_and_its_lr_of_0_no_hand_edit(
    checkpointing: Any, kind: Any, lr: Any, count: Any, zero_start: bool
) -> None:
    model, optimizer = made(kind, lr)
    plan = lehr.warmup(3, zero_start=zero_start).then(lehr.cosine())
    scheduler, curve = Scheduler(optimizer, plan, steps=20, count=count), plan.resolve(steps=20)
    for t in range(5):
        optimizer.zero_grad()
        checkpointing.get_optimizer_state_dict(model, optimizer)  # SGD has never a state: it steps each time
        assert float(optimizer.param_groups[0]["lr"]) == 0.1 * curve(t)
        update(model, optimizer)
        scheduler.step(loss=1.0)
    assert scheduler.t == 5
    assert list(scheduler.events) == []


@pytest.mark.parametrize("first", ["scheduler", "optimizer"])
@pytest.mark.parametrize("lr", [0.1, torch.tensor(0.1, dtype=torch.float64)], ids=["float", "tensor"])
def test_a_fresh_run_goes_on_from_it_in_any_order(checkpointing: Any, first: str, lr: Any) -> None:
    model, optimizer = made(torch.optim.AdamW, lr)
    scheduler = Scheduler(optimizer, "cosine()", steps=20, count="updates")
    for _ in range(6):
        update(model, optimizer)
        scheduler.step()
    saved = checkpointing.get_optimizer_state_dict(model, optimizer), scheduler.state_dict()

    model, optimizer = made(torch.optim.AdamW, lr)
    scheduler = Scheduler(optimizer, "cosine()", steps=20, count="updates")
    if first == "scheduler":
        scheduler.load_state_dict(saved[1])
    checkpointing.set_optimizer_state_dict(model, optimizer, saved[0])
    if first == "optimizer":
        scheduler.load_state_dict(saved[1])
    curve = lehr.cosine().resolve(steps=20)
    for t in range(6, 20):
        assert float(optimizer.param_groups[0]["lr"]) == 0.1 * curve(t)
        update(model, optimizer)
        scheduler.step()
    assert (scheduler.t, len(scheduler.events)) == (20, 0)


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
@pytest.mark.parametrize("how", [{}, {"closure": None}], ids=["plain", "closure"])
@pytest.mark.parametrize("lr", [0.1, torch.tensor(0.1, dtype=torch.float64)], ids=["float", "tensor"])
def test_a_real_update_under_an_lr_of_0_counts(kind: Any, how: Any, lr: Any) -> None:
    """Such as the first one of a warm-up from 0, and those after a schedule has ended at 0."""
    model, optimizer = made(kind, lr)
    scheduler = Scheduler(optimizer, "warmup(2, zero_start=True).then(linear())", steps=5, count="updates")
    curve = lehr.warmup(2, zero_start=True).then(lehr.linear()).resolve(steps=5)
    for t in range(8):
        assert float(optimizer.param_groups[0]["lr"]) == 0.1 * curve(t)
        update(model, optimizer, **how)
        scheduler.step()
        assert scheduler.t == t + 1
    assert curve(0) == curve(7) == 0.0


@pytest.mark.parametrize(
    "gradient", [torch.full((3,), 1e-40), torch.tensor([0.0, float("nan"), 0.0]), torch.eye(3)[0].to_sparse()]
)
def test_gradients_that_are_not_quite_0_show_a_real_update(gradient: torch.Tensor) -> None:
    weight = torch.nn.Parameter(torch.zeros(3))
    scheduler = Scheduler(torch.optim.SGD([weight], lr=0.0), "constant()", steps=5, count="updates")
    weight.grad = gradient
    scheduler.optimizer.step(closure=None)
    scheduler.step()
    assert scheduler.t == 1


# What a scheduler may be saved as


def test_a_state_goes_through_it_as_text(checkpointing: Any, tmp_path: Path) -> None:
    policy = "Policy(warmup(3).then(cosine()), rules=[when(loss.plateaus(1)).scale(0.5)])"
    model, optimizer = made(torch.optim.AdamW, 0.1)
    scheduler = Scheduler(optimizer, policy, steps=20)
    for _ in range(9):
        update(model, optimizer)
        scheduler.step(loss=1.0)
    assert len(scheduler.events) > 1
    saved = {"scheduler": json.dumps(scheduler.state_dict())}
    checkpoint.save(saved, checkpoint_id=tmp_path / "text")  # type: ignore[attr-defined]  # it is public
    fresh = Scheduler(made(torch.optim.AdamW, 0.1)[1], policy, steps=20)
    loaded = {"scheduler": ""}
    checkpoint.load(loaded, checkpoint_id=tmp_path / "text")  # type: ignore[attr-defined]  # likewise
    fresh.load_state_dict(json.loads(loaded["scheduler"]))
    assert (fresh.t, fresh.lr, fresh.state_dict()) == (9, scheduler.lr, scheduler.state_dict())

    checkpoint.save({"scheduler": scheduler}, checkpoint_id=tmp_path / "parts")  # type: ignore[attr-defined]
    unlike = {"scheduler": Scheduler(made(torch.optim.AdamW, 0.1)[1], policy, steps=20)}
    with pytest.raises(CheckpointException, match="Missing key in checkpoint state_dict: scheduler"):
        checkpoint.load(unlike, checkpoint_id=tmp_path / "parts")  # type: ignore[attr-defined]


def test_torch_s_scheduler_built_after_such_a_checkpoint_is_loaded_finds_no_initial_lr(
    checkpointing: Any, tmp_path: Path
) -> None:
    """Only what a fresh optimiser has is loaded, and that is not among it."""
    makers: dict[str, Any] = {
        "torch": lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20),
        "lehr": lambda optimizer: Scheduler(optimizer, "cosine()", steps=20),
    }
    for name, make in makers.items():
        model, optimizer = made(torch.optim.AdamW, 0.1)
        scheduler = make(optimizer)
        for _ in range(6):
            update(model, optimizer)
            scheduler.step()
        saved = {"optimizer": checkpointing.get_optimizer_state_dict(model, optimizer)}
        checkpoint.save(saved, checkpoint_id=tmp_path / name)  # type: ignore[attr-defined]  # it is public
        model, optimizer = made(torch.optim.AdamW, 0.1)
        loaded = {"optimizer": checkpointing.get_optimizer_state_dict(model, optimizer)}
        checkpoint.load(loaded, checkpoint_id=tmp_path / name)  # type: ignore[attr-defined]  # likewise
        checkpointing.set_optimizer_state_dict(model, optimizer, loaded["optimizer"])
        if name == "torch":
            with pytest.raises(KeyError, match="initial_lr"):
                torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20, last_epoch=5)
        else:
            state = scheduler.state_dict()
            make(optimizer).load_state_dict(state)
            assert optimizer.param_groups[0]["lr"] == 0.1 * lehr.cosine().resolve(steps=20)(6)
