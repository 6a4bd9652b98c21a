"""FSDP2 by hand: sharded parameters, states and norms in two real processes, and torch's distributed checkpoint."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed
from torch.distributed import checkpoint

import lehr
from lehr.torch import Scheduler
from two_ranks import KILLED, POLICY, SAVED, WINDOWS, bare, played

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


def update(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    model(torch.ones(2, 3)).square().mean().backward()
    optimizer.step()


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
@pytest.mark.parametrize("lr", [0.1, torch.tensor(0.1, dtype=torch.float64)], ids=["float", "tensor"])
@pytest.mark.parametrize("count", ["calls", "updates"])
def test_its_step_is_no_update_and_its_lr_of_0_no_hand_edit(checkpointing: Any, kind: Any, lr: Any, count: Any) -> None:
    model, optimizer = made(kind, lr)
    scheduler = Scheduler(optimizer, "warmup(3).then(cosine())", steps=20, count=count)
    curve = lehr.warmup(3).then(lehr.cosine()).resolve(steps=20)
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


def test_a_real_update_under_an_lr_of_0_counts() -> None:
    model, optimizer = made(torch.optim.SGD, 0.1)
    scheduler = Scheduler(optimizer, "warmup(2, zero_start=True)", steps=20, count="updates")
    assert scheduler.lr == 0.0
    update(model, optimizer)
    scheduler.step()
    assert scheduler.t == 1


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
