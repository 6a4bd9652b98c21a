"""The trackers with the real TensorBoard, W&B (offline) and MLflow (its file store), read back by their own means."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lehr
from lehr.trackers import mlflow, tensorboard, wandb

pytestmark = pytest.mark.peers

POLICY = "Policy(warmup(5).then(cosine()), rules=[when(loss.reaches(0.5)).scale(0.5)])"
STEPS = 60


def train(listener: Any, last: int = STEPS, state: Any = None, log: Any = None) -> tuple[lehr.Controller, list[float]]:
    """A run from a saved state on, and the LRs that its updates used; the loss reaches 0.5 at update 30."""
    run = lehr.start(POLICY, lr=0.1, steps=STEPS)
    if state is not None:
        run.load_state_dict(state)
    run.subscribe(listener)
    used = []
    while run.t < last:
        used.append(run.lr)
        loss = 1.0 - run.t / 60
        run.step(loss=loss)
        if log is not None:
            log(run.t - 1, loss)
    if run.done:
        run.finish()
    return run, used


def texts(run: lehr.Controller) -> list[tuple[int, str]]:
    return [(event.step, str(event)) for event in run.events]


def test_tensorboard_shows_the_lr_of_each_update_and_every_event(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path)) as writer:
        run, used = train(tensorboard(writer, every=1))
    shown = EventAccumulator(str(tmp_path), size_guidance={"scalars": 0, "tensors": 0}).Reload()
    assert [(point.step, point.value) for point in shown.Scalars("lehr/lr")] == [
        (t, float(np.float32(lr))) for t, lr in enumerate(used)
    ]
    gains = [point.value for point in shown.Scalars("lehr/gain")]
    assert gains == [1.0] * 31 + [0.5] * 29
    told = [(e.step, make_ndarray(e.tensor_proto).item().decode()) for e in shown.Tensors("lehr/event/text_summary")]
    assert told == texts(run)
    assert len(told) == 2


def test_what_was_tracked_to_tensorboard_is_read_back_as_a_trace(tmp_path: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path)) as writer:
        _, used = train(tensorboard(writer, every=1), log=lambda t, loss: writer.add_scalar("train/loss", loss, t))
    trace = lehr.read_trace(tmp_path)
    assert trace.columns["step"].tolist() == list(range(STEPS))
    assert trace.columns["lr"].tolist() == np.array(used, dtype=np.float32).astype(float).tolist()
    assert trace.columns["loss"].tolist() == pytest.approx([1.0 - t / 60 for t in range(STEPS)], rel=2**-24)
    firings = lehr.replay(trace, POLICY, lr=0.1, steps=STEPS).firings
    assert [event.step for event in firings] == [31]


def test_groups_that_differ_are_read_back_as_groups(tmp_path: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    run = lehr.start("linear()", lr=[0.2, 0.1], steps=10, names=["zebra", "ant"])
    with SummaryWriter(str(tmp_path)) as writer:
        run.subscribe(tensorboard(writer, every=1))
        for _ in range(10):
            run.step()
    trace = lehr.read_trace(tmp_path)
    assert trace.header["read"]["columns"]["lr"] == "lehr/lr/zebra"
    assert trace.columns["lr"].tolist() == pytest.approx([0.2 - 0.02 * t for t in range(10)])
    assert trace.columns["lr.1"].tolist() == pytest.approx([0.1 - 0.01 * t for t in range(10)])


def test_a_closed_writer_does_not_end_the_run(tmp_path: Path) -> None:
    class Closed:
        def add_scalar(self, *_: Any) -> None:
            (tmp_path / "gone" / "events").write_bytes(b"")

        add_text = add_scalar

    with pytest.warns(lehr.LehrWarning, match="TensorBoard could not be written"):
        run, _ = train(tensorboard(Closed(), every=1))
    assert run.t == STEPS


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A run of W&B that reaches no network and leaves nothing outside the test's folder."""
    for name in ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    import wandb as module

    settings = module.Settings(console="off", x_disable_stats=True, x_disable_meta=True)
    with module.init(mode="offline", project="lehr", dir=str(tmp_path), settings=settings) as run:
        yield run
    module.teardown()


def records(folder: Path) -> Iterator[Any]:
    """What W&B's file holds: records in blocks of 32 KiB after a header of 7 bytes, as in LevelDB's log."""
    from wandb.proto.wandb_internal_pb2 import Record

    content = next(folder.rglob("*.wandb")).read_bytes()
    at, whole = 7, b""
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
        _, length, kind = struct.unpack_from("<IHB", content, at)
        whole += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield Record.FromString(whole)
            whole = b""


def history(run: Any, folder: Path) -> list[dict[str, Any]]:
    """The rows of a run that is ended with this; what writes them is a process that ends a little later."""
    import wandb as module

    run.finish()
    module.teardown()
    assert any(record.WhichOneof("record_type") == "exit" for record in records(folder))
    rows = [record.history for record in records(folder) if record.WhichOneof("record_type") == "history"]
    return [{i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in row.item} for row in rows]


def test_in_wandb_the_lr_stands_in_the_rows_of_the_user(tmp_path: Path, offline: Any) -> None:
    run, used = train(wandb(offline, every=1), log=lambda _, loss: offline.log({"loss": loss}))
    rows = history(offline, tmp_path)
    assert [(row["_step"], row["lehr/step"], row["lehr/lr"]) for row in rows[:STEPS]] == [
        (t, t, lr) for t, lr in enumerate(used)
    ]
    assert [row["loss"] for row in rows[:STEPS]] == [1.0 - t / 60 for t in range(STEPS)]
    assert [row["lehr/event"] for row in rows if "lehr/event" in row] == [text for _, text in texts(run)]


def test_in_wandb_rows_that_the_user_numbers_are_whole_and_each_lr_has_its_own_step(
    tmp_path: Path, offline: Any
) -> None:
    """W&B keeps a numbered row open until the next one begins; so the LR of the update after it may stand there."""
    _, used = train(wandb(offline, every=1), log=lambda t, loss: offline.log({"loss": loss}, step=t))
    rows = history(offline, tmp_path)
    assert [(row["_step"], row["loss"]) for row in rows] == [(t, 1.0 - t / 60) for t in range(STEPS)]
    told = [(row["lehr/step"], row["lehr/lr"]) for row in rows if "lehr/lr" in row]
    assert told == list(enumerate(used))[1:]


def test_in_wandb_the_users_own_steps_are_never_dropped(tmp_path: Path, offline: Any) -> None:
    def by_epoch(t: int, loss: float) -> None:
        if t % 20 == 19:
            offline.log({"epoch_loss": loss}, step=t // 20)

    with pytest.warns(lehr.LehrWarning, match="nobody has logged"):
        run, _ = train(wandb(offline, every=1), log=by_epoch)
    every = history(offline, tmp_path)
    rows = [row for row in every if "epoch_loss" in row]
    assert [row["_step"] for row in rows] == [0, 1, 2]
    assert [row["epoch_loss"] for row in rows] == [1.0 - t / 60 for t in (19, 39, 59)]
    told = "\n".join(row["lehr/event"] for row in every if "lehr/event" in row)
    assert told == "\n".join(text for _, text in texts(run))


def test_in_wandb_a_run_to_which_nobody_logs_is_told_of_once_and_loses_no_event(tmp_path: Path, offline: Any) -> None:
    words = r"nobody has logged to this run of W&B up to update 9: of the LRs so far it keeps the last.*commit=True"
    with pytest.warns(lehr.LehrWarning, match=words) as warned:
        run, used = train(wandb(offline, every=1))
    assert len(warned) == 1
    (row,) = history(offline, tmp_path)
    assert row["lehr/lr"] == used[-1]
    assert row["lehr/event"] == "\n".join(text for _, text in texts(run))


def test_in_wandb_rows_of_its_own_are_complete(tmp_path: Path, offline: Any) -> None:
    run, used = train(wandb(offline, every=1, commit=True))
    rows = history(offline, tmp_path)
    assert [(row["lehr/step"], row["lehr/lr"]) for row in rows if "lehr/lr" in row] == list(enumerate(used))
    assert [(row["lehr/step"], row["lehr/event"]) for row in rows if "lehr/event" in row] == texts(run)
    metrics = [r.metric for r in records(tmp_path) if r.WhichOneof("record_type") == "metric"]
    axes = {metric.name or metric.glob_name: metric.step_metric for metric in metrics}
    assert axes["lehr/*"] == "lehr/step"


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of MLflow with its file store in the test's folder; the store in a database needs more than skinny."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow as module

    before = module.get_tracking_uri()
    module.set_tracking_uri((tmp_path / "mlruns").as_uri())
    yield module.MlflowClient()
    module.set_tracking_uri(before)


def tracked(client: Any, run_id: str) -> dict[str, list[tuple[int, float]]]:
    names = ("lehr/lr", "lehr/gain")
    return {name: [(m.step, m.value) for m in client.get_metric_history(run_id, name)] for name in names}


def test_mlflow_has_the_lr_the_last_event_and_all_of_them(tmp_path: Path, client: Any) -> None:
    import mlflow as module

    with module.start_run() as active:
        run, used = train(mlflow(every=1))
        run_id = active.info.run_id
    found = tracked(client, run_id)
    assert found["lehr/lr"] == list(enumerate(used))
    assert found["lehr/gain"] == [(t, 1.0 if t < 31 else 0.5) for t in range(STEPS)]
    assert client.get_run(run_id).data.tags["lehr/event"] == texts(run)[-1][1]
    lines = next(tmp_path.rglob("events_from_31.jsonl")).read_text().splitlines()
    assert [lehr.Event.read(json.loads(line)) for line in lines] == list(run.events)


def test_a_resumed_run_of_mlflow_goes_on_and_keeps_what_was_told(tmp_path: Path, client: Any) -> None:
    run_id = client.create_run("0").info.run_id
    killed, first = train(mlflow(client, run_id, every=1), last=40)
    _, rest = train(mlflow(client, run_id, every=1), state=killed.state_dict())
    assert tracked(client, run_id)["lehr/lr"] == list(enumerate(first + rest))
    files = sorted(tmp_path.rglob("events_from_*.jsonl"))
    told = [json.loads(line)["kind"] for file in files for line in file.read_text().splitlines()]
    assert told == ["rule", "finish"]


def test_a_run_of_mlflows_file_store_is_read_back(tmp_path: Path, client: Any) -> None:
    run_id = client.create_run("0").info.run_id
    _, used = train(
        mlflow(client, run_id, every=1), log=lambda t, x: client.log_metric(run_id, "train/loss", x, step=t)
    )
    trace = lehr.read_trace(tmp_path / "mlruns" / "0" / run_id)
    assert trace.columns["lr"].tolist() == used
    assert trace.columns["loss"].tolist() == [1.0 - t / 60 for t in range(STEPS)]


def test_mlflow_without_an_active_run_says_what_to_do(client: Any) -> None:
    with pytest.raises(lehr.LehrError, match=r"there is none; mlflow.start_run\(\), or give run_id="):
        mlflow()
