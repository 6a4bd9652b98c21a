"""Logs that the peers themselves have written: the Trainer, Lightning, Keras, W&B's and MLflow's exports, pyarrow."""

from __future__ import annotations

import csv
import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lehr

pytestmark = [
    pytest.mark.peers,
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.:"),  # Lightning's own, of torch
    pytest.mark.filterwarnings("ignore:.*does not have many workers:"),  # of Lightning
]


def trained(folder: Path, **how: Any) -> list[float]:
    """Trains a line with Hugging Face's Trainer for 16 updates; the LR of each update, recorded by the optimiser."""
    import torch
    from transformers import Trainer, TrainingArguments

    class Line(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = torch.nn.Linear(2, 1)

        def forward(self, x: Any, labels: Any) -> dict[str, Any]:
            return {"loss": (self.inner(x).squeeze(1) - labels).square().mean()}

    data: Any = [{"x": torch.tensor([i / 32, 1.0]), "labels": torch.tensor(i / 8)} for i in range(32)]
    arguments = TrainingArguments(
        output_dir=str(folder), num_train_epochs=4, per_device_train_batch_size=8, learning_rate=0.1, warmup_steps=3,
        lr_scheduler_type="linear", logging_steps=2, eval_strategy="epoch", save_strategy="epoch", use_cpu=True,
        seed=0, optim="sgd", disable_tqdm=True, **how,
    )  # fmt: skip
    trainer = Trainer(model=Line(), args=arguments, train_dataset=data, eval_dataset=data[:8])
    used: list[float] = []
    trainer.create_optimizer()
    trainer.optimizer.register_step_pre_hook(lambda opt, *_: used.append(opt.param_groups[0]["lr"]))
    trainer.train()
    return used


def test_the_lr_in_a_trainer_state_is_that_of_the_update_to_which_its_row_is_put(tmp_path: Path) -> None:
    used = trained(tmp_path, report_to=[])
    trace = lehr.read_trace(tmp_path)
    assert trace.header["read"]["path"] == str(tmp_path / "checkpoint-16" / "trainer_state.json")
    assert trace.header["horizon"] == {"steps": 16, "steps_per_epoch": 4}
    known = np.isfinite(trace.columns["lr"])
    assert known.sum() == 8
    assert trace.columns["lr"][known].tolist() == [used[int(t)] for t in trace.columns["step"][known]]
    assert np.isfinite(trace.columns["eval_loss"]).sum() == 4
    seen = lehr.replay(trace, "warmup(3).then(linear())", lr=0.1)
    assert len(seen.trace.columns["lr"]) == 16


def test_the_trainers_tensorboard_says_what_its_state_says_one_step_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "tb"))
    trained(tmp_path / "out", report_to=["tensorboard"])
    state, board = lehr.read_trace(tmp_path / "out"), lehr.read_trace(tmp_path / "tb")
    assert board.header["read"]["columns"]["lr"] == "train/learning_rate"
    for name in ("loss", "lr"):
        known = [np.isfinite(trace.columns[name]) for trace in (state, board)]
        steps = [trace.columns["step"][k].tolist() for trace, k in zip((state, board), known, strict=True)]
        assert steps[1] == [step + 1 for step in steps[0]]
        values = [trace.columns[name][k] for trace, k in zip((state, board), known, strict=True)]
        assert values[1].tolist() == np.float32(values[0]).astype(float).tolist()


def test_lightnings_csv_and_tensorboard_say_the_same_and_the_lr_that_was_used(tmp_path: Path) -> None:
    import torch
    from lightning import LightningModule, Trainer
    from lightning.pytorch.callbacks import LearningRateMonitor
    from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

    used: list[float] = []

    class Line(LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.inner = torch.nn.Linear(2, 1)

        def _loss(self, batch: Any) -> Any:
            return (self.inner(batch[0]).squeeze(1) - batch[1]).square().mean()

        def training_step(self, batch: Any, _: int) -> Any:
            self.log("train_loss", loss := self._loss(batch))
            return loss

        def validation_step(self, batch: Any, _: int) -> None:
            self.log("val_loss", self._loss(batch))

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
            optimizer.register_step_pre_hook(lambda opt, *_: used.append(opt.param_groups[0]["lr"]))
            falling = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0.1, 20)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": falling, "interval": "step"}}

    inputs = torch.linspace(-1, 1, 80).reshape(40, 2)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(inputs, inputs.sum(1)), batch_size=4)
    Trainer(
        max_epochs=2, accelerator="cpu", log_every_n_steps=2, callbacks=[LearningRateMonitor()],
        logger=[CSVLogger(str(tmp_path), "csv"), TensorBoardLogger(str(tmp_path), "board")],
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
    ).fit(Line(), loader, loader)  # fmt: skip
    table, board = (lehr.read_trace(tmp_path / name / "version_0") for name in ("csv", "board"))
    assert (table.header["read"]["format"], board.header["read"]["format"]) == ("csv", "tensorboard")
    assert table.columns["lr"].tolist() == [used[int(t)] for t in table.columns["step"]]
    assert table.columns["step"].tolist() == list(range(1, 20, 2))
    for name in ("step", "lr", "loss", "val_loss"):
        assert np.array_equal(np.float32(table.columns[name]), np.float32(board.columns[name]), equal_nan=True)
    assert np.isfinite(table.columns["val_loss"]).tolist() == [t in (9, 19) for t in table.columns["step"]]


def keras_log(folder: Path, validation_freq: int) -> Path:
    """What Keras's CSVLogger writes of four epochs; on JAX, as on torch it stumbles over its own tensors."""
    code = f"""
import keras, numpy as np
keras.utils.set_random_seed(0)
model = keras.Sequential([keras.layers.Dense(1)])
model.compile(optimizer=keras.optimizers.SGD(0.05), loss="mse")
inputs = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
data = inputs, inputs.sum(axis=1, keepdims=True)
how = dict(epochs=4, validation_data=data, validation_freq={validation_freq}, verbose=0)
model.fit(*data, **how, callbacks=[keras.callbacks.CSVLogger("log.csv")])
"""
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, check=True)
    return folder / "log.csv"


def test_a_keras_log_counts_epochs(tmp_path: Path) -> None:
    path = keras_log(tmp_path, validation_freq=1)
    with path.open() as file:
        rows = list(csv.DictReader(file))
    trace = lehr.read_trace(path)
    assert trace.columns["step"].tolist() == [0, 1, 2, 3]
    for name in ("loss", "val_loss"):
        assert trace.columns[name].tolist() == [float(row[name]) for row in rows]
    assert lehr.replay(trace, "when(metric('val_loss', best='min').reaches(100)).scale(0.5)").firings


def test_an_epoch_without_validation_is_no_report_in_a_keras_log(tmp_path: Path) -> None:
    path = keras_log(tmp_path, validation_freq=2)
    assert "NA" in path.read_text()
    seen = lehr.read_trace(path).observations
    assert ["val_loss" in each.numbers for each in seen] == [False, True, False, True]


def test_a_history_of_mlflow_that_was_saved_as_a_table_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=(tmp_path / "mlruns").as_uri())
    run_id = client.create_run("0").info.run_id
    for t in range(10):
        client.log_metric(run_id, "train_loss", 1 / (t + 1), step=5 * t)
        client.log_metric(run_id, "val_loss", 2.0, step=5 * t)
    with (tmp_path / "history.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["run_id", "key", "value", "step", "timestamp"])
        for name in ("train_loss", "val_loss"):
            for point in client.get_metric_history(run_id, name):
                writer.writerow([point.run_id, point.key, point.value, point.step, point.timestamp])
    for place in (tmp_path / "history.csv", tmp_path / "mlruns" / "0" / run_id):
        trace = lehr.read_trace(place)
        assert trace.columns["step"].tolist() == list(range(0, 50, 5))
        assert trace.columns["loss"].tolist() == [1 / (t + 1) for t in range(10)]
        assert trace.columns["val_loss"].tolist() == [2.0] * 10


def test_a_parquet_file_of_pyarrow_is_read(tmp_path: Path) -> None:
    table = importlib.import_module("pyarrow").table(
        {"_step": [0, 5], "train/loss": [1.0, 0.5], "val_loss": [None, 2.0], "_timestamp": [1.5, 2.5]}
    )
    importlib.import_module("pyarrow.parquet").write_table(table, tmp_path / "history.parquet")
    trace = lehr.read_trace(tmp_path / "history.parquet")
    assert trace.columns["step"].tolist() == [0, 5]
    assert trace.columns["loss"].tolist() == [1.0, 0.5]
    assert "val_loss" not in trace.observations[0].numbers
