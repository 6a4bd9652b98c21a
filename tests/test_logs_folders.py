"""A folder is read where it is clear which log is meant; MLflow's file store; long tables."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import lehr

LONG = [(key, 0.1 * k + t, t) for k, key in enumerate(("loss", "val_loss", "lr")) for t in range(0, 30, 10)]


def metrics_csv(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.csv").write_text("step,train_loss\n0,1.0\n1,0.5\n")
    return folder


def checkpoint(folder: Path, steps: int) -> None:
    folder.mkdir(parents=True)
    history = [{"loss": 1.0 / s, "step": s} for s in range(1, steps + 1)]
    (folder / "trainer_state.json").write_text(json.dumps({"log_history": history, "max_steps": 20}))


def steps_in(trace: lehr.Trace) -> list[float]:
    found: list[float] = trace.columns["step"].tolist()
    return found


def test_a_folder_of_lightning_is_its_metrics(tmp_path: Path) -> None:
    (metrics_csv(tmp_path) / "hparams.yaml").write_text("{}")
    trace = lehr.read_trace(tmp_path)
    assert trace.columns["loss"].tolist() == [1.0, 0.5]
    assert trace.header["read"]["path"] == str(tmp_path / "metrics.csv")


def test_one_log_in_the_folders_below_is_found(tmp_path: Path) -> None:
    metrics_csv(tmp_path / "lightning_logs" / "version_0")
    assert steps_in(lehr.read_trace(tmp_path)) == [0, 1]


def test_several_logs_are_listed_and_none_is_chosen(tmp_path: Path) -> None:
    metrics_csv(tmp_path / "version_0")
    metrics_csv(tmp_path / "version_1")
    with pytest.raises(lehr.LehrError, match=r"holds 2 logs: version_0/metrics.csv, version_1/metrics.csv; give"):
        lehr.read_trace(tmp_path)


def test_of_checkpoints_the_newest_counts_and_the_folders_own_state_before_it(tmp_path: Path) -> None:
    for steps in (9, 10, 8):
        checkpoint(tmp_path / f"checkpoint-{steps}", steps)
    assert len(steps_in(lehr.read_trace(tmp_path))) == 10
    checkpoint(tmp_path / "out", 3)
    (tmp_path / "out" / "trainer_state.json").rename(tmp_path / "trainer_state.json")
    assert len(steps_in(lehr.read_trace(tmp_path))) == 3


def test_the_highest_level_decides(tmp_path: Path) -> None:
    checkpoint(tmp_path / "checkpoint-5", 5)
    metrics_csv(tmp_path / "runs" / "other")
    assert len(steps_in(lehr.read_trace(tmp_path))) == 5


def test_two_kinds_of_log_in_one_folder_are_asked_about(tmp_path: Path) -> None:
    checkpoint(tmp_path / "checkpoint-5", 5)
    metrics_csv(tmp_path)
    with pytest.raises(lehr.LehrError, match=r"metrics.csv, checkpoint-5/trainer_state.json; give the one"):
        lehr.read_trace(tmp_path)


@pytest.mark.parametrize(("names", "words"), [((), "nothing"), (("a.txt", "model.pt"), "a.txt, model.pt")])
def test_a_folder_without_a_log_says_what_is_there(tmp_path: Path, names: tuple[str, ...], words: str) -> None:
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(lehr.LehrError, match=f"holds no metrics.csv, .* but {words}; give the file"):
        lehr.read_trace(tmp_path)


def test_a_run_of_mlflows_file_store_is_the_series_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "metrics" / "train").mkdir(parents=True)
    (tmp_path / "meta.yaml").touch()
    loss = tmp_path / "metrics" / "train" / "loss"
    loss.write_text("1700000000000 0.5 0\n1700000000001 0.25 10\n")
    (tmp_path / "metrics" / "acc").write_text("1700000000000 0.9 10\n")
    trace = lehr.read_trace(tmp_path)
    assert [(seen.step, dict(seen.numbers)) for seen in trace.observations] == [
        (0, {"loss": 0.5}),
        (10, {"loss": 0.25, "acc": 0.9}),
    ]
    assert lehr.read_trace(loss).columns["loss"].tolist() == [0.5, 0.25]
    loss.write_text("1700000000000 0.5 0\n0.25\n")
    with pytest.raises(lehr.LehrError, match=r"line 2 is not a time, a value and a step, but '0.25'"):
        lehr.read_trace(tmp_path)


def long_table(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return path


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
@pytest.mark.parametrize(("key", "run"), [("key", "run_id"), ("tag", "run"), ("Metric", "RUN_ID")])
def test_a_long_table_has_a_number_a_row(tmp_path: Path, suffix: str, key: str, run: str) -> None:
    rows = [{run: "a1", key: name, "value": value, "step": step, "timestamp": 17} for name, value, step in LONG]
    trace = lehr.read_trace(long_table(tmp_path / f"log.{suffix}", rows))
    assert steps_in(trace) == [0, 10, 20]
    for name in ("loss", "val_loss", "lr"):
        assert trace.columns[name].tolist() == [value for key, value, _ in LONG if key == name]
    assert trace.header["read"]["notes"] == [f"a row is one number, named in {key!r}"]


def test_a_long_table_of_two_runs_is_refused(tmp_path: Path) -> None:
    rows = [{"run_id": f"r{t % 2}", "key": "loss", "value": 0.5, "step": t} for t in range(4)]
    with pytest.raises(lehr.LehrError, match=r"holds 2 runs .*r0, r1"):
        lehr.read_trace(long_table(tmp_path / "log.csv", rows))


@pytest.mark.parametrize(
    ("steps", "words"), [((0, 5, 3), "'loss' goes back from step 5 to 3"), ((0, 0, 0), "logged without its step")]
)
def test_a_series_whose_steps_cannot_be_is_refused(tmp_path: Path, steps: tuple[int, ...], words: str) -> None:
    rows = [{"key": "loss", "value": 0.5, "step": step} for step in steps]
    with pytest.raises(lehr.LehrError, match=words):
        lehr.read_trace(long_table(tmp_path / "log.csv", rows))


def test_a_series_named_step_leaves_the_steps_alone(tmp_path: Path) -> None:
    rows = [{"key": key, "value": 7.0 + step, "step": step} for key in ("step", "loss") for step in (0, 4)]
    trace = lehr.read_trace(long_table(tmp_path / "log.csv", rows))
    assert steps_in(trace) == [0, 4]
    assert trace.columns["step_"].tolist() == trace.columns["loss"].tolist() == [7.0, 11.0]


@pytest.mark.parametrize(
    ("content", "library"),
    [(b"PAR1...", "polars"), (b"H\0\0\0\0\0\0\0\xfe\x92H\x9d\t\0\0\0\0\0\0\xda\x41\x1a\rbrain.Event:2", "tensorboard")],
)
def test_what_a_log_needs_and_is_missing_is_named(tmp_path: Path, content: bytes, library: str) -> None:
    (tmp_path / "log").write_bytes(content)
    code = (
        f"import sys, lehr; sys.modules[{library!r}] = None\n"
        f"try: lehr.read_trace({str(tmp_path / 'log')!r})\n"
        "except ImportError as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    words = rf"MissingExtra this needs {library}\S*, which is not installed; pip install 'lehr\[logs\]'"
    assert re.fullmatch(words, done.stdout.strip())
