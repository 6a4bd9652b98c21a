"""`lehr replay` from its arguments to its output and its picture."""

from __future__ import annotations

import functools as ft
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lehr
from lehr.replay import Replay
from lehr.report.replay_chart import replay_chart
from lehr.report.replayed import Mark, lanes, marks, numbers, reach, summary

Run = Callable[..., tuple[int, str, str]]
PLATEAU = "when(metric('val_loss', best='min').plateaus(1)).scale(0.5)"


@pytest.fixture
def run(command: Run) -> Run:
    """Run `lehr replay ...`; exit code, output, errors."""
    return ft.partial(command, "replay")


@pytest.fixture
def metrics(tmp_path: Path) -> Path:
    """A log as Lightning writes it: 40 epochs of 10 steps, a validation after each, one loss that is not finite."""
    lines = ["epoch,step,train/loss,val_loss,lr-SGD,host"]
    for epoch in range(40):
        step = 10 * epoch + 9
        loss = "nan" if epoch == 5 else f"{2 * math.exp(-epoch / 8) + 0.1 * math.sin(epoch):.4f}"
        lines.append(f"{epoch},{step},{loss},,0.1,n1")
        lines.append(f"{epoch},{step},,{max(1 - epoch / 20, 0.2):.4f},,n1")
    path = tmp_path / "metrics.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def words(output: str) -> str:
    return " ".join(output.split())


def test_it_says_what_it_read_what_would_have_been_done_and_both_lrs(run: Run, metrics: Path) -> None:
    code, output, errors = run(str(metrics), "--policy", PLATEAU)
    assert (code, errors) == (0, "")
    said = words(output)
    assert "csv: 40 steps with a report, from 9 to 399" in said
    assert "loss 39 from 'train/loss'" in said
    assert "lr 40 from 'lr-SGD'" in said
    assert "left out, as they hold no numbers: host" in said
    # The best 0.2 comes after epoch 16, step 169; two epochs later the rule acts, and then every two epochs again.
    acted = lehr.replay(metrics, PLATEAU).firings
    assert acted[0].step == 190
    assert f"would have acted {len(acted)} times" in said
    assert "step 190: val_loss" in said
    assert "LR 0.1 → 0.05" in said
    assert "recorded 0.1 0.1" in said
    assert "from step 190 on the LR is another than the recorded one" in said
    assert "base LR 0.1, the largest that was recorded" in said
    assert "▼ acts" in output


def test_marks_stand_below_the_steps_at_which_the_rule_acts(run: Run, metrics: Path) -> None:
    _, output, _ = run(str(metrics), "--policy", PLATEAU + ".at_most(1)")
    lines = output.splitlines()
    row = next(line for line in lines if line.strip() == "▼")
    axis = lines[lines.index(row) - 1]  # its numbers stand below 0, 100, … 400
    zero, end = axis.index("0"), len(axis) - 2
    assert row.index("▼") == pytest.approx(zero + 190 / 400 * (end - zero), abs=1.5)


def test_lrs_and_lengths_can_be_said(run: Run, metrics: Path) -> None:
    _, output, _ = run(str(metrics), "--policy", "linear()", "--lr", "0.5", "--steps", "800")
    assert "of the policy 0.5 0.2506" in words(output)
    assert "base LR 0.5, as given" in output
    _, output, _ = run(str(metrics), "--policy", "linear('10 epochs')", "--steps-per-epoch", "40")
    assert "of the policy 0.1 0.00025" in words(output)


def test_columns_can_be_named(run: Run, metrics: Path) -> None:
    metrics.write_text(metrics.read_text().replace("epoch,step", "iter,step").replace("train/loss", "train/ce"))
    policy = ("--policy", "when(loss.diverges()).scale(0.5)")
    code, _, errors = run(str(metrics), *policy)
    assert code == 2
    assert "2 columns could be the step: 'iter', 'step'" in words(errors)
    assert "--column step='iter'" in words(errors)
    code, output, _ = run(str(metrics), *policy, "--column", "step=step", "--column", "loss=train/ce")
    assert code == 0
    assert "would have acted 1 time" in words(output)
    assert "× not finite" in output


def test_a_trace_of_lehr_names_its_own_policy(run: Run, tmp_path: Path) -> None:
    made = lehr.start("when(loss.reaches(0.5), shadow=True).scale(0.5)", lr=0.1, steps=10)
    with lehr.record(made, tmp_path / "t"):
        for t in range(10):
            made.step(loss=1 - t / 10)
    code, output, _ = run(str(tmp_path / "t"))
    assert code == 0
    assert "would not have acted, in the shadow 1 time" in words(output)
    assert "would have done scale(0.5)" in words(output)


def test_many_events_are_cut_short(run: Run, metrics: Path) -> None:
    _, output, _ = run(
        str(metrics), "--policy", "when(metric('val_loss', best='min').plateaus(0)).scale(0.99).every_time()"
    )
    assert "… and" in output


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("--policy", PLATEAU, "-o", "seen.pdf"), "must end in .png, .svg or .html"),
        (("--policy", PLATEAU, "--column", "loss"), "--column must be NAME=COLUMN"),
        ((), "the log names no policy"),
        (("--policy", "when(metric('accuracy', best='max').reaches(1)).stop()"), "reads 'accuracy'"),
    ],
)
def test_what_cannot_be_is_one_line(run: Run, metrics: Path, arguments: tuple[str, ...], fault: str) -> None:
    code, _, errors = run(str(metrics), *arguments)
    assert code == 2
    assert fault in words(errors)
    assert errors.startswith("lehr: ")


def test_help_has_examples(run: Run) -> None:
    code, output, _ = run("--help")
    assert code == 0
    assert "Examples" in output
    assert "trainer_state.json" in output


@pytest.mark.parametrize(("name", "start"), [("a.png", b"\x89PNG"), ("a.svg", b"<svg"), ("a.html", b"<!DOCTYPE html>")])
def test_a_picture_is_written(run: Run, metrics: Path, tmp_path: Path, name: str, start: bytes) -> None:
    code, output, _ = run(str(metrics), "--policy", PLATEAU, "-o", str(tmp_path / name))
    assert code == 0
    assert "written to" in output
    assert "▼" not in output  # the picture is in the file
    assert (tmp_path / name).read_bytes().lstrip().startswith(start)


# What the picture holds


POLICY = f"Policy(constant(), rules=[when(loss.improves_less_than(0.05, '20%')).scale(0.5), {PLATEAU}, when(loss.diverges(), shadow=True).scale(0.1)])"  # noqa: E501


@pytest.fixture
def seen(metrics: Path) -> Replay:
    """Three rules over the log: of the loss, of the validation, and one in the shadow."""
    return lehr.replay(metrics, POLICY)


def test_each_number_has_the_marks_of_the_rules_that_read_it(seen: Replay) -> None:
    found = {number.name: marks(seen, number) for number in numbers(seen)}
    assert list(found) == ["loss", "val_loss"]
    assert [mark.kind for mark in found["loss"] if mark.first in (59, 60)] == ["would act (shadow)", "not finite"]
    plateaus = [event.step for event in seen.firings if "val_loss" in event.rule]
    assert [mark.first for mark in found["val_loss"]] == plateaus
    assert all(isinstance(mark, Mark) and mark.words for mark in found["loss"])


def test_a_number_is_drawn_as_it_was_recorded(seen: Replay) -> None:
    loss, validation = numbers(seen)
    assert len(loss.values) == 39
    assert loss.bad.tolist() == [59]
    assert validation.steps.tolist() == [10 * epoch + 9 for epoch in range(40)]
    assert validation.mean is not None
    low, high, log = reach(validation)
    assert low < 0.2
    assert high > 1.0
    assert log


def test_lanes_hold_the_verdicts_of_the_rules_that_give_some(seen: Replay) -> None:
    standing = [(one.first, one.last, one.verdict) for one in seen.standings]
    for lane in lanes(seen):
        assert lane.label == "verdict: loss"
        assert set(standing) <= set(lane.spans)
        acted = [event for event in seen.firings if "improves" in event.rule]
        assert len(lane.spans) == len(standing) + len(acted)


def test_the_chart_has_a_panel_a_number_and_the_lrs(seen: Replay) -> None:
    chart = replay_chart(seen).to_dict()
    text = json.dumps(chart)
    assert len(chart["vconcat"]) == 2 + bool(lanes(seen)) + 1
    assert chart["title"]["subtitle"] == [summary(seen)]
    for said in ("loss", "val_loss", "learning rate", "LR recorded", "LR of the policy", "acts", "not finite", "step"):
        assert said in text
    drawn = lr_points(chart)
    assert drawn["LR recorded"][0] == (9.0, 0.1)
    assert {(0.0, 0.1), (399.0, float(seen.trace.columns["lr"][-1]))} < set(drawn["LR of the policy"])


def lr_points(chart: dict[str, Any]) -> dict[str, list[tuple[float, float]]]:
    """The points of the lowest panel, by series."""
    found: dict[str, list[tuple[float, float]]] = {}
    for layer in chart["vconcat"][-1]["layer"]:
        for row in chart["datasets"][layer["data"]["name"]]:
            found.setdefault(row["series"], []).append((row["step"], row["value"]))
    return found


def test_a_schedule_alone_is_drawn_over_the_loss(metrics: Path) -> None:
    alone = lehr.replay(metrics, "cosine()")
    assert [number.name for number in numbers(alone)] == ["loss"]
    assert summary(alone) == "would not have acted"
    assert len(replay_chart(alone).to_dict()["vconcat"]) == 2
