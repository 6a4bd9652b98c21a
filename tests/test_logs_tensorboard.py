"""TensorBoard's event files, written by the real SummaryWriter and read as a trace."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lehr

pytestmark = pytest.mark.peers


def written(folder: Path, losses: dict[int, float], suffix: str = "", **how: Any) -> Path:
    """An event file of its own, as each start of a run writes one; names of later ones are greater."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder), filename_suffix=suffix, **how) as writer:
        for step, loss in losses.items():
            writer.add_scalar("train/loss", loss, step)
    files = sorted(folder.glob("events*"), key=lambda file: file.stat().st_mtime_ns)
    new = folder / f"events.out.tfevents.{1000 + len(files)}"
    return files[-1].rename(new)


def column(trace: lehr.Trace, name: str) -> list[float]:
    found: list[float] = trace.columns[name].tolist()
    return found


def test_a_run_is_read_by_its_tags(tmp_path: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    losses = [1 / (t + 1) for t in range(50)]
    with SummaryWriter(str(tmp_path)) as writer:
        for t, loss in enumerate(losses):
            writer.add_scalar("train/loss", loss, 10 * t)
            writer.add_scalar("lr-AdamW", 0.1, 10 * t, new_style=True)
        writer.add_scalar("val/acc", 0.1, 100, new_style=True, double_precision=True)
        writer.add_scalar("val/nan", math.nan, 100)
        writer.add_text("note", "begin", 0)
        writer.add_histogram("weights", np.arange(9.0), 3)
    trace = lehr.read_trace(tmp_path)
    assert column(trace, "step") == list(range(0, 500, 10))
    assert column(trace, "loss") == [float(np.float32(loss)) for loss in losses]
    assert set(column(trace, "lr")) == {float(np.float32(0.1))}
    at_100 = next(seen for seen in trace.observations if seen.step == 100)
    assert at_100.numbers["val_acc"] == 0.1
    assert math.isnan(at_100.numbers["val_nan"])
    read = trace.header["read"]
    assert read["format"] == "tensorboard"
    assert read["columns"]["loss"] == "train/loss"
    assert sorted(read["left_out"]) == ["note/text_summary", "weights"]
    one = lehr.read_trace(next(tmp_path.iterdir()))
    assert all(np.array_equal(values, one.columns[name], equal_nan=True) for name, values in trace.columns.items())


def test_after_a_restart_the_later_file_replaces_what_it_does_anew(tmp_path: Path) -> None:
    written(tmp_path, dict.fromkeys(range(0, 160, 10), 1.0))
    written(tmp_path, dict.fromkeys(range(105, 200, 10), 2.0))
    trace = lehr.read_trace(tmp_path)
    assert column(trace, "step") == [*range(0, 101, 10), *range(105, 200, 10)]
    assert column(trace, "loss") == [1.0] * 11 + [2.0] * 10
    assert trace.header["read"]["notes"] == [
        "2 event files are one run; 5 points of earlier ones were replaced, as a later one began anew"
    ]


def test_what_is_purged_is_gone_as_in_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    written(tmp_path, dict.fromkeys(range(100), 1.0))
    written(tmp_path, dict.fromkeys(range(80, 90), 2.0), purge_step=60)
    shown = EventAccumulator(str(tmp_path), size_guidance={"scalars": 0}, purge_orphaned_data=True).Reload()
    points = shown.Scalars("train/loss")
    trace = lehr.read_trace(tmp_path)
    assert column(trace, "step") == [point.step for point in points] == [*range(60), *range(80, 90)]
    assert column(trace, "loss") == [point.value for point in points]


def test_two_writers_of_one_folder_do_not_disturb_each_other(tmp_path: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    written(tmp_path, dict.fromkeys(range(20), 1.0))
    with SummaryWriter(str(tmp_path)) as other:
        for t in range(20):
            other.add_scalar("lr", 0.5, t)
    trace = lehr.read_trace(tmp_path)
    assert column(trace, "loss") == [1.0] * 20
    assert column(trace, "lr") == [0.5] * 20
    assert trace.header["read"]["notes"] == ["2 event files are one run"]


def test_a_torn_last_record_is_left_out_and_damage_before_it_is_an_error(tmp_path: Path) -> None:
    file = written(tmp_path, dict.fromkeys(range(5), 1.0))
    whole = file.read_bytes()
    starts = [0]
    while starts[-1] < len(whole):
        starts.append(starts[-1] + 16 + struct.unpack_from("<Q", whole, starts[-1])[0])
    for end in range(starts[-2] + 1, len(whole)):
        file.write_bytes(whole[:end])
        trace = lehr.read_trace(file)
        assert column(trace, "step") == [0, 1, 2, 3]
        assert trace.header["read"]["notes"] == [f"the last record of {file.name} is torn and was left out"]
    middle = starts[3] + 14
    file.write_bytes(whole[:middle] + bytes([whole[middle] ^ 0xFF]) + whole[middle + 1 :])
    with pytest.raises(lehr.LehrError, match=f"damaged at byte {starts[3]} of {len(whole)}"):
        lehr.read_trace(file)


def test_steps_that_go_back_within_a_file_are_refused(tmp_path: Path) -> None:
    written(tmp_path, {0: 1.0, 5: 1.0, 3: 1.0})
    with pytest.raises(lehr.LehrError, match="'train/loss' goes back from step 5 to 3"):
        lehr.read_trace(tmp_path)


def test_runs_side_by_side_are_listed(tmp_path: Path) -> None:
    for run in ("a", "b"):
        written(tmp_path / run, {0: 1.0, 1: 0.5})
    with pytest.raises(lehr.LehrError, match="holds 2 logs: a, b; give the one"):
        lehr.read_trace(tmp_path)
    assert column(lehr.read_trace(tmp_path / "b"), "loss") == [1.0, 0.5]


def test_the_two_folders_of_keras_are_one_run_of_epochs(tmp_path: Path) -> None:
    """Tags, steps and folders as of `keras.callbacks.TensorBoard`, which needs TensorFlow to write them."""
    from torch.utils.tensorboard import SummaryWriter

    for part in ("train", "validation"):
        with SummaryWriter(str(tmp_path / "fit" / part)) as writer:
            for epoch in range(4):
                writer.add_scalar("epoch_loss", 8.0 - epoch if part == "train" else 4.0 - epoch, epoch, new_style=True)
                if part == "train":
                    writer.add_scalar("epoch_learning_rate", 0.5, epoch, new_style=True)
                    writer.add_scalar("batch_loss", 9.0, 10 * epoch, new_style=True)
                else:
                    writer.add_scalar("evaluation_loss_vs_iterations", 4.0 - epoch, 10 * epoch, new_style=True)
    trace = lehr.read_trace(tmp_path)
    assert column(trace, "step") == [0, 1, 2, 3]
    assert column(trace, "loss") == [8, 7, 6, 5]
    assert column(trace, "validation_epoch_loss") == [4, 3, 2, 1]
    assert column(trace, "lr") == [0.5] * 4
    assert trace.header["horizon"] == {"steps": 4, "steps_per_epoch": 1}
    assert trace.header["read"]["notes"] == [
        "counted in iterations beside numbers of epochs, and left out: train/batch_loss, "
        "validation/evaluation_loss_vs_iterations",
        "no column counts steps: an epoch, as 'epoch' counts them, is a step",
    ]
    assert lehr.replay(trace, "when(metric('validation_epoch_loss', best='min').reaches(2)).scale(0.5)").firings


def test_what_add_scalars_writes_into_folders_of_its_own_is_read_and_other_runs_are_told(tmp_path: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path)) as writer:
        for t in range(3):
            writer.add_scalars("my/loss", {"train": 3.0 - t, "val_a": 6.0 - t}, t)
            writer.add_scalar("lr", 0.5, t)
    written(tmp_path / "elsewhere", {0: 1.0})
    trace = lehr.read_trace(tmp_path)
    assert column(trace, "loss") == [3, 2, 1]
    assert column(trace, "my_loss_val_a") == [6, 5, 4]
    assert column(trace, "lr") == [0.5] * 3
    assert trace.header["read"]["notes"] == ["folders below hold other runs, which were left out: elsewhere"]


def test_a_series_that_seems_to_count_epochs_beside_one_of_updates_is_told(tmp_path: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path)) as writer:
        for t in range(100):
            writer.add_scalar("loss/train", 1.0, t)
            if t % 20 == 19:
                writer.add_scalar("loss/val", 1.0, t // 20)
                writer.add_scalar("acc/val", 1.0, t)
    assert lehr.read_trace(tmp_path).header["read"]["notes"] == [
        "'loss/val' ends at step 4, and others at 99: if it counts epochs, its steps are wrong"
    ]


def test_hyperparameters_in_a_folder_below_are_no_run_of_their_own(tmp_path: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path / "run")) as writer:
        writer.add_hparams({"width": 3}, {"hparam/loss": 1.0}, run_name="hparams")
        writer.add_scalar("loss", 0.5, 7)
    assert column(lehr.read_trace(tmp_path), "step") == [7]


def test_the_command_line_replays_and_calibrates_a_folder_of_tensorboard(tmp_path: Path, command: Any) -> None:
    noise = 1 + 0.02 * np.random.default_rng(0).standard_normal(300)
    losses = ((2 - np.arange(300) / 300) * noise).tolist()
    written(tmp_path, dict(enumerate(losses)))
    code, output, _ = command("replay", str(tmp_path), "--policy", "when(loss.reaches(1.5)).scale(0.5)")
    assert code == 0
    first = next(t for t, loss in enumerate(losses) if loss <= 1.5)
    assert f"step {first + 1}: loss" in " ".join(output.split())
    code, output, _ = command("calibrate", str(tmp_path), "--runs", "20", "--over", "20%")
    assert code == 0
    assert "300 values of 'train/loss'" in " ".join(output.split())
