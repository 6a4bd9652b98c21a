"""accelerate's own loop with a prepared scheduler, in one process and in two real ones (gloo)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import accelerate_worker
import lehr
from accelerate_worker import LOGGED_POLICY, LOSS_POLICY, by_hand
from huggingface_digits import LR, TRAIN, Classifier, Digits, sgd, watched
from lehr.torch import Scheduler, dropin

pytestmark = [pytest.mark.peers, pytest.mark.frameworks]


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """accelerate's state is one of the whole process; each test begins without."""
    from accelerate.state import AcceleratorState, GradientState

    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What two processes did, one under the other's eyes."""
    folder = tmp_path_factory.mktemp("two")
    worker = accelerate_worker.__file__
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1"}
    run = subprocess.run([*command, worker, str(folder)], capture_output=True, text=True, env=environment, timeout=300)
    assert run.returncode == 0, run.stderr[-3000:]
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def replayed(played: list[dict[str, Any]], policy: str = LOSS_POLICY) -> list[float]:
    """The LRs of the bare loop that is told the mean of what the processes measured."""
    run = lehr.start(policy, lr=LR, steps=played[0]["steps"])
    lrs = []
    for applied, *losses in zip(played[0]["applied"], *(each["losses"] for each in played), strict=True):
        if applied:
            lrs.append(run.lr)
            run.step(loss=sum(losses) / len(losses))
    assert run.events, "the rule fires"
    return lrs


def ours(optimizer: Any, steps: int, **how: Any) -> Scheduler:
    return Scheduler(optimizer, LOSS_POLICY, steps=steps, **{"count": "updates", **how})


# One process


@pytest.mark.parametrize("overflow", [None, 5])
def test_lrs_are_those_of_the_bare_loop_with_accumulation_and_a_skipped_update(overflow: int | None) -> None:
    played = by_hand(ours, overflow)
    assert played["lrs"] == replayed([played])
    assert len(played["lrs"]) == played["steps"] - (overflow is not None) == 24 - (overflow is not None)
    assert played["done"] is (overflow is None)


def test_save_state_and_load_state_in_mid_epoch_are_bit_equal(tmp_path: Path) -> None:
    from accelerate import Accelerator

    def play(first: int, last: int, saved: bool) -> list[float]:
        alone_again()
        accelerator = Accelerator(cpu=True)
        model = Classifier()
        optimizer = sgd(model)
        lrs = watched(optimizer)
        loader: Any = torch.utils.data.DataLoader(Digits(TRAIN), batch_size=16)
        model, optimizer, loader, prepared = accelerator.prepare(model, optimizer, loader, ours(optimizer, 48))
        if saved:
            accelerator.load_state(str(tmp_path))
        for update in range(first, last):
            for batch in accelerator.skip_first_batches(loader, update % 16):
                loss = model(**batch)["loss"]
                accelerator.backward(loss)
                optimizer.step()
                prepared.step(loss=loss)
                optimizer.zero_grad()
                break
        accelerator.save_state(str(tmp_path))
        return lrs

    def alone_again() -> None:
        from accelerate.state import AcceleratorState

        AcceleratorState._reset_state(reset_partial_state=True)

    whole = play(0, 48, saved=False)
    assert len(set(whole)) > 40
    assert play(0, 21, saved=False) + play(21, 48, saved=True) == whole


def test_what_accelerate_reads_and_writes_beside_the_calls_changes_nothing() -> None:
    optimizer = sgd(Classifier())
    scheduler, alone = ours(optimizer, 10), lehr.start(LOSS_POLICY, lr=LR, steps=10)
    assert not hasattr(scheduler, "total_steps"), "accelerate would stop calling there"
    for _ in range(10):
        scheduler._step_count += 3  # as for the micro-batches that it does not pass on
        optimizer.step()
        scheduler.step(loss=2.0)
        alone.step(loss=2.0)
        assert scheduler.get_last_lr() == alone.lrs


@pytest.mark.parametrize("make", [ours, lambda optimizer, steps: dropin.CosineAnnealingLR(optimizer, steps)])
def test_the_wrapper_of_a_prepared_optimizer_is_looked_through(make: Any) -> None:
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    inner = sgd(Classifier())
    optimizer = accelerator.prepare(accelerator.prepare(inner))
    scheduler = make(optimizer, 10)
    assert scheduler.optimizer is inner is not optimizer
    optimizer.step()
    scheduler.step()
    assert scheduler.t == 1
    assert optimizer.param_groups[0]["lr"] == scheduler.lr


# Two processes


def test_two_real_processes_were_there(two: list[dict[str, Any]]) -> None:
    assert [(each["world"], each["backend"]) for each in two] == [(2, "gloo")] * 2


@pytest.mark.parametrize("kind", ["updates", "skipped", "logged", "policy"])
def test_both_processes_have_the_same_lr_at_every_update(two: list[dict[str, Any]], kind: str) -> None:
    assert two[0][kind]["lrs"] == two[1][kind]["lrs"]


@pytest.mark.parametrize("kind", ["updates", "skipped"])
def test_it_advances_once_an_update_and_hears_the_mean_of_both(two: list[dict[str, Any]], kind: str) -> None:
    played = [each[kind] for each in two]
    assert played[0]["losses"] != played[1]["losses"]
    assert played[0]["lrs"] == replayed(played)
    assert len(played[0]["lrs"]) == 12 - (kind == "skipped")


def test_torchs_scheduler_advances_twice_an_update(two: list[dict[str, Any]]) -> None:
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=LR)
    scheduler, alone = cosine(optimizer, 12), []
    for _ in range(24):
        alone.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    theirs = two[0]["torch"]["lrs"]
    assert theirs == alone[::2]
    assert theirs[6] < 1e-12, "at 0 after half of the run"
    assert theirs[11] > 0.9 * LR, "and up again at its end"


def test_states_are_loaded_by_every_process(two: list[dict[str, Any]]) -> None:
    for each in two:
        updates, calls = each["updates"]["saved"]
        assert each["updates"]["loaded"] == [each["updates"]["written"][calls - 1], updates]


def test_counting_calls_is_warned_of_by_accelerates_name(two: list[dict[str, Any]]) -> None:
    for each in two:
        assert [words for words in each["warned"] if "accelerate" in words and "count='updates'" in words]


def test_the_trainers_logs_are_heard_by_both_processes_with_the_next_update(two: list[dict[str, Any]]) -> None:
    played = two[0]["logged"]
    run = lehr.start(LOGGED_POLICY, lr=LR, steps=15)
    told: dict[int, dict[str, Any]] = {}
    for log in played["logs"]:
        told.setdefault(log["step"], {}).update({k: log[k] for k in ("loss", "eval_accuracy") if k in log})
    for update in range(15):
        assert played["lrs"][update] == run.lr
        run.step(**told.get(update, {}))
    assert [event.kind for event in run.events if event.kind == "rule"]
    assert played["horizon"] == str(lehr.Horizon(steps=15, steps_per_epoch=3, samples_per_step=2 * 3 * 16))


def test_the_policy_trainer_hears_the_mean_loss_of_both_processes_at_every_update(two: list[dict[str, Any]]) -> None:
    run = lehr.start(LOSS_POLICY, lr=LR, steps=15)
    parts = [each["policy"]["losses"] for each in two]
    for update, (first, last) in enumerate(
        (8 * e + a, 8 * e + b) for e in range(5) for a, b in ((0, 3), (3, 6), (6, 8))
    ):
        assert two[0]["policy"]["lrs"][update] == run.lr
        losses = [float(sum(torch.tensor(loss) for loss in losses[first:last])) for losses in parts]
        run.step(loss=sum(losses) / 2)
    assert [event.kind for event in run.events if event.kind == "rule"]


def test_a_checkpoint_of_two_processes_holds_what_was_evaluated_right_before_it(two: list[dict[str, Any]]) -> None:
    for each in two:
        whole, resumed, at = each["whole"], each["resumed"], each["from"]
        assert resumed["lrs"] == whole["lrs"][at:]
        steps = [event.split(":")[0] for event in whole["fired"]]
        assert f"step {at + 1}" in steps, "a rule fired by what was told right before the checkpoint"
