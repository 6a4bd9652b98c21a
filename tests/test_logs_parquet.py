"""Parquet files, as polars, pandas and pyarrow write them."""

from __future__ import annotations

import datetime
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lehr

pytestmark = pytest.mark.frameworks  # polars is not in the NumPy-only environment

ROWS = [{"step": t, "train/loss": 1.0 / (t + 1), "val_loss": 2.0 if t == 2 else None} for t in range(4)]
LOSSES = [1.0, 0.5, 1 / 3, 0.25]


@pytest.mark.parametrize("kind", ["Float64", "Float32", "Decimal"])
def test_a_parquet_file_is_a_table(tmp_path: Path, kind: str) -> None:
    import polars

    dtype: Any = polars.Decimal(scale=6) if kind == "Decimal" else getattr(polars, kind)
    frame = polars.DataFrame(ROWS).with_columns(polars.col("train/loss").cast(dtype), note=polars.lit("x"))
    frame.write_parquet(tmp_path / "log")
    trace = lehr.read_trace(tmp_path / "log")
    assert trace.columns["step"].tolist() == [0, 1, 2, 3]
    assert trace.columns["loss"].tolist() == (LOSSES if kind == "Float64" else pytest.approx(LOSSES, abs=1e-6))
    assert np.array_equal(trace.columns["val_loss"], [math.nan, math.nan, 2.0, math.nan], equal_nan=True)
    assert trace.header["read"]["format"] == "parquet"
    assert trace.header["read"]["left_out"] == ["note"]


def test_nan_was_reported_and_null_was_not(tmp_path: Path) -> None:
    import polars

    polars.DataFrame({"step": [0, 1], "loss": [math.nan, None]}).write_parquet(tmp_path / "log")
    assert [list(seen.numbers) for seen in lehr.read_trace(tmp_path / "log").observations] == [["loss"], []]


def test_a_long_table_has_a_number_a_row(tmp_path: Path) -> None:
    import polars

    rows = [{"key": key, "value": value, "step": step} for key in ("loss", "lr") for step, value in ((0, 0.5), (9, 1))]
    polars.DataFrame(rows, strict=False).write_parquet(tmp_path / "log")
    trace = lehr.read_trace(tmp_path / "log")
    assert trace.columns["step"].tolist() == [0, 9]
    assert trace.columns["loss"].tolist() == trace.columns["lr"].tolist() == [0.5, 1.0]


def test_columns_without_numbers_are_left_out_and_nulls_are_no_report(tmp_path: Path) -> None:
    import polars

    others: dict[str, Any] = {
        "time": [datetime.datetime(2026, 1, 1)] * 2, "span": [datetime.timedelta(1)] * 2, "list": [[1.0]] * 2,
        "struct": [{"bins": [1]}] * 2, "flag": [True, None], "bytes": [b"x"] * 2,
    }  # fmt: skip
    tokens = polars.Series("tokens", [None, 7], dtype=polars.Int64)
    polars.DataFrame({"_step": [0, 1], "loss": [1.0, 0.5], **others, "tokens": tokens}).write_parquet(tmp_path / "log")
    trace = lehr.read_trace(tmp_path / "log")
    assert trace.header["read"]["left_out"] == list(others)
    assert [dict(seen.numbers) for seen in trace.observations] == [{"loss": 1.0}, {"loss": 0.5, "tokens": 7.0}]


def test_half_a_parquet_file_is_damaged(tmp_path: Path) -> None:
    import polars

    polars.DataFrame(ROWS).write_parquet(tmp_path / "log")
    (tmp_path / "log").write_bytes((tmp_path / "log").read_bytes()[:-9])
    with pytest.raises(lehr.LehrError, match=r"cannot be read: .*a parquet file must be whole"):
        lehr.read_trace(tmp_path / "log")


def test_the_command_line_replays_and_calibrates_a_parquet_file(tmp_path: Path, command: Any) -> None:
    import polars

    noise = 1 + 0.02 * np.random.default_rng(0).standard_normal(300)
    loss = (2 - np.arange(300) / 300) * noise
    polars.DataFrame({"step": range(300), "train/loss": loss}).write_parquet(tmp_path / "run.parquet")
    code, output, _ = command("replay", str(tmp_path / "run.parquet"), "--policy", "when(loss.reaches(1.5)).scale(0.5)")
    assert code == 0
    first = int(np.argmax(loss <= 1.5))
    assert f"step {first + 1}: loss" in " ".join(output.split())
    code, output, _ = command("calibrate", str(tmp_path / "run.parquet"), "--runs", "20", "--over", "20%")
    assert code == 0
    assert "300 values of 'train/loss'" in " ".join(output.split())
