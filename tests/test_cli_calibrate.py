"""`lehr calibrate` from its arguments to its output and its picture."""

from __future__ import annotations

import functools as ft
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lehr
from lehr.report.calibration_chart import calibration_chart

Run = Callable[..., tuple[int, str, str]]
QUICK = ("--runs", "20", "--over", "20%")


@pytest.fixture
def run(command: Run) -> Run:
    """Run `lehr calibrate ...`; exit code, output, errors."""
    return ft.partial(command, "calibrate")


@pytest.fixture
def metrics(tmp_path: Path) -> Path:
    """A log of 300 noisy losses, one every ten steps, and of a metric that rises."""
    loss = (2 - np.arange(300) / 300) * (1 + 0.02 * np.random.default_rng(0).standard_normal(300))
    rows = [f"{10 * i + 9},{value:.6f},{1 / value:.6f}" for i, value in enumerate(loss.tolist())]
    path = tmp_path / "metrics.csv"
    path.write_text("\n".join(["step,train/loss,val_acc", *rows]) + "\n")
    return path


def words(output: str) -> str:
    return " ".join(output.split())


def test_it_prints_what_it_took_the_noise_the_table_and_what_to_write(run: Run, metrics: Path) -> None:
    code, output, errors = run(str(metrics), *QUICK)
    assert (code, errors) == (0, "")
    said = words(output)
    found = lehr.calibrate(metrics, over="20%", runs=20)
    assert "csv: 300 values of 'train/loss'" in said
    assert all(words(line) in said for line in (*found.facts(), *found.advice()))
    assert found.advice()[0].startswith("write loss.")
    five = next(line for line in output.splitlines() if line.startswith("loss.plateaus(5)"))
    assert "100.0 % [95.4, 100.0]" in five
    assert all(len(line) <= 80 for line in output.splitlines() if str(metrics) not in line)


def test_another_signal_and_a_policy_can_be_asked_for(run: Run, metrics: Path) -> None:
    policy = "when(metric('val_acc', best='max').plateaus(40)).scale(0.5)"
    code, output, _ = run(str(metrics), *QUICK, "--policy", policy)
    assert code == 0
    assert "300 values of 'val_acc'" in words(output)
    table = output[output.index("trigger") : output.index("Too early")]
    assert "plateaus(40)" in table
    assert "plateaus(5)" not in table
    code, other, _ = run(str(metrics), *QUICK, "--signal", "metric('val_acc', best='max')", "--improvement", "0.02")
    assert code == 0
    assert "less than 2 % over 20%" in words(other)


def test_a_window_in_steps_is_a_plain_number(run: Run, metrics: Path) -> None:
    code, output, _ = run(str(metrics), "--runs", "20", "--over", "600", "--policy", "when(loss.plateaus(9)).stop()")
    assert code == 0
    assert "over 600 steps" in words(output)


def test_columns_can_be_named(run: Run, metrics: Path) -> None:
    metrics.write_text(metrics.read_text().replace("train/loss", "ce"))
    assert run(str(metrics), *QUICK)[0] == 2
    code, output, _ = run(str(metrics), *QUICK, "--column", "loss=ce", "--policy", "when(loss.plateaus(9)).stop()")
    assert code == 0
    assert "300 values of 'ce'" in words(output)


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("-o", "seen.pdf"), "must end in .png, .svg or .html"),
        (("--column", "loss"), "--column must be NAME=COLUMN"),
        (("--signal", "val_acc"), "write metric('val_acc', best='min') or 'max'"),
        (("--runs", "3"), "at least 20"),
        (("--policy", "cosine()"), "no rule to try"),
    ],
)
def test_faults_are_one_line_with_a_remedy(run: Run, metrics: Path, arguments: tuple[str, ...], fault: str) -> None:
    code, _, errors = run(str(metrics), *arguments)
    assert code == 2
    assert fault in words(errors)


@pytest.mark.parametrize("suffix", ["png", "svg", "html"])
def test_the_picture_is_written(run: Run, metrics: Path, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"seen.{suffix}"
    code, output, _ = run(str(metrics), *QUICK, "--policy", "when(loss.plateaus(9)).stop()", "-o", str(path))
    assert code == 0
    assert f"written to {path}" in output
    beginning = {"png": b"\x89PNG", "svg": b"<svg", "html": b"<!DOCTYPE html>"}[suffix]
    assert path.read_bytes().lstrip().startswith(beginning)


def test_the_picture_holds_the_rates_over_patience_and_marks_what_is_recommended(metrics: Path) -> None:
    found = lehr.calibrate(metrics, over="20%", runs=20)
    spec: dict[str, Any] = calibration_chart(found).to_dict()
    early, late = spec["vconcat"]

    def rows(panel: dict[str, Any], mark: str) -> list[dict[str, Any]]:
        layer = next(layer for layer in panel["layer"] if layer["mark"]["type"] == mark)
        values: list[dict[str, Any]] = spec["datasets"][layer["data"]["name"]]
        return values

    raw = found.patience[0]
    drawn = [row for row in rows(early, "line") if row["trigger"] == "loss.plateaus(…)"]
    assert [row["patience"] for row in drawn] == raw.patience.tolist()
    assert [row["value"] for row in drawn] == pytest.approx((100 * raw.premature).tolist())
    assert [(row["low"], row["high"]) for row in drawn] == [
        pytest.approx(pair) for pair in zip(100 * raw.low, 100 * raw.high, strict=True)
    ]
    marked = {row["patience"]: row["value"] for row in rows(late, "point")}
    plateaus = [row for row in found.recommended if "plateaus" in repr(row.trigger)]
    assert marked == {int(repr(row.trigger).split("plateaus(")[1][:-1]): row.delay for row in plateaus}
    assert all(np.isfinite(row["value"]) for row in rows(late, "line"))
