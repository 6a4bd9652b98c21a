"""Traces: what is written is what is read back, up to the last whole line, wherever the run was killed."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lehr

POLICY = "Policy(linear(), rules=[when(loss.diverges()).scale(0.5), when(always()).relax(0.01)])"


def recorded(path: Path, steps: int = 8, lr: Any = 0.1, policy: str = POLICY, **header: Any) -> lehr.Controller:
    run = lehr.start(policy, lr=lr, steps=10)
    with lehr.record(run, path, **header):
        for t in range(steps):
            run.step(loss=math.nan if t == 3 else 1.0 / (t + 1), speed=t)
            if t % 4 == 3:
                run.observe(val_loss=2.0 + t)
        run.finish()
    return run


def same(a: Any, b: Any) -> bool:
    return bool(np.array_equal(a, b, equal_nan=True))


def test_columns_have_one_row_a_step_and_nan_where_nothing_was_reported(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "trace.jsonl"
    recorded(path, policy="linear()")
    columns = lehr.Trace.read(path).columns
    curve = lehr.linear().resolve(steps=10)
    losses = [math.nan if t == 3 else 1 / (t + 1) for t in range(8)]
    assert list(columns) == ["step", "lr", "loss", "speed", "val_loss"]
    assert all(column.dtype == np.float64 for column in columns.values())
    # The validation after update 3 is reported at step 4, and that after update 7 at step 8, which has no update.
    assert columns["step"].tolist() == list(range(9))
    assert columns["lr"].tolist() == [0.1 * curve(t) for t in range(9)]
    assert same(columns["loss"], [*losses, math.nan])
    assert same(columns["speed"], [*range(8), math.nan])
    assert same(columns["val_loss"], [math.nan] * 4 + [5.0] + [math.nan] * 3 + [9.0])


def test_header_and_events_read_back(tmp_path: Path) -> None:
    run = recorded(tmp_path / "t", seed=7, workload="digits", data_hash="abc")
    trace = lehr.Trace.read(tmp_path / "t")
    assert trace.header == {
        "format": 1,
        "lehr": lehr.__version__,
        "policy": run.policy.text(full=True),
        "groups": 1,
        "base_lrs": [0.1],
        "horizon": {"steps": 10},
        "seed": 7,
        "workload": "digits",
        "data_hash": "abc",
    }
    assert lehr.parse(trace.header["policy"]) == run.policy
    assert trace.events == list(run.events)
    assert [(event.kind, event.times) for event in trace.events] == [("rule", 8), ("rule", 1), ("finish", 1)]


def test_the_lr_is_that_which_the_update_used(tmp_path: Path) -> None:
    run = lehr.start("when(loss.reaches(0.5)).scale(0.5)", lr=1.0, steps=10)
    with lehr.record(run, tmp_path / "t"):
        for loss in (1.0, 0.4, 1.0):
            run.observe(val_loss=1.0)
            run.step(loss=loss)
    assert lehr.Trace.read(tmp_path / "t").columns["lr"].tolist() == [1.0, 1.0, 0.5]


def test_groups_have_columns_of_their_own_whether_equal_or_not(tmp_path: Path) -> None:
    recorded(tmp_path / "t", lr=[0.1, 0.1, 0.3], policy="linear(5)", steps=8)
    columns = lehr.Trace.read(tmp_path / "t").columns
    factors = [max(0.0, 1 - t / 5) for t in range(9)]  # equal, at zero, from step 5 on
    for name, base in (("lr", 0.1), ("lr.1", 0.1), ("lr.2", 0.3)):
        assert columns[name] == pytest.approx([base * factor for factor in factors], rel=1e-14)
    recorded(tmp_path / "equal", lr=[0.1, 0.1], policy="linear()")
    columns = lehr.Trace.read(tmp_path / "equal").columns
    assert same(columns["lr"], columns["lr.1"])


def test_names_that_the_trace_needs_itself(tmp_path: Path) -> None:
    run = lehr.start("constant()", lr=0.1, steps=10)
    with lehr.record(run, tmp_path / "t"):
        run.step(lr=9.0, step=8.0, event=7.0, header=6.0)
    columns = lehr.Trace.read(tmp_path / "t").columns
    assert {name: column.tolist() for name, column in columns.items()} == {
        "step": [0.0],
        "lr": [0.1],
        "lr_": [9.0],
        "step_": [8.0],
        "event_": [7.0],
        "header_": [6.0],
    }


def test_every_line_is_strict_json_whatever_was_reported(tmp_path: Path) -> None:
    run = lehr.start("when(always()).scale(1e200)", lr=1.0, steps=10)
    values = (math.nan, math.inf, -math.inf, 5e-324, 1e308)
    with lehr.record(run, tmp_path / "t") as writer:
        for value in values:
            run.step(loss=value)
        writer.row(5, [math.inf], {"loss": 0.0})
        writer.event(lehr.Event(5, "edit", "by hand", lr_before=(1.0,), lr_after=(math.nan,)))

    def refuse(text: str) -> None:
        raise AssertionError(text)

    for line in (tmp_path / "t").read_text().splitlines():
        json.loads(line, parse_constant=refuse)
    columns = lehr.Trace.read(tmp_path / "t").columns
    assert same(columns["loss"], [*values, 0.0])
    assert columns["lr"][-1] == math.inf


def test_each_line_is_there_as_soon_as_it_happened(tmp_path: Path) -> None:
    run = lehr.start("linear()", lr=0.1, steps=10)
    with lehr.record(run, tmp_path / "t"):
        for t in range(4):
            run.step(loss=1.0)
            assert len(lehr.Trace.read(tmp_path / "t").columns["step"]) == t + 1


def test_truncated_at_every_byte_it_reads_back_to_the_last_whole_line(tmp_path: Path) -> None:
    recorded(tmp_path / "t", note="ünïcode \n line")
    whole = (tmp_path / "t").read_bytes()
    header, last = whole.index(b"\n") + 1, whole.rstrip(b"\n").rsplit(b"\n", 5)[0]
    for size in range(len(last), len(whole) + 1):
        (tmp_path / "cut").write_bytes(whole[:size])
        lines = [json.loads(line) for line in whole[:size].split(b"\n")[1:-1]]
        steps = sorted({line["step"] for line in lines if "step" in line})
        trace = lehr.Trace.read(tmp_path / "cut")
        assert trace.columns["step"].tolist() == steps
        events = {(line["event"]["step"], line["event"]["kind"]) for line in lines if "event" in line}
        assert {(event.step, event.kind) for event in trace.events} == events
        assert len(trace.events) == len(events)
    for size in range(header):
        (tmp_path / "cut").write_bytes(whole[:size])
        with pytest.raises(lehr.LehrError, match="not a trace"):
            lehr.Trace.read(tmp_path / "cut")


@pytest.mark.parametrize("tail", [b"\x00" * 100, b"\xff\xfe{", b'{"step": 9', b"12", b"[]\n", b"{}"])
def test_a_torn_tail_is_left_out(tmp_path: Path, tail: bytes) -> None:
    recorded(tmp_path / "t")
    whole = lehr.Trace.read(tmp_path / "t")
    with (tmp_path / "t").open("ab") as file:
        file.write(tail)
    again = lehr.Trace.read(tmp_path / "t")
    assert again.events == whole.events
    assert all(same(again.columns[name], whole.columns[name]) for name in whole.columns)


def test_damage_in_the_middle_is_an_error_that_names_the_line(tmp_path: Path) -> None:
    recorded(tmp_path / "t")
    lines = (tmp_path / "t").read_text().splitlines(keepends=True)
    lines[4] = lines[4][:5] + "\n"
    (tmp_path / "t").write_text("".join(lines))
    with pytest.raises(lehr.LehrError, match="line 5"):
        lehr.Trace.read(tmp_path / "t")


@pytest.mark.parametrize("text", ["", "\n", "step,lr\n0,1\n", '{"step": 0}\n', "[1]\n"])
def test_what_is_no_trace_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "t").write_text(text)
    with pytest.raises(lehr.LehrError, match="not a trace"):
        lehr.Trace.read(tmp_path / "t")


def test_recording_ends_with_the_block_even_when_it_raises(tmp_path: Path) -> None:
    run = lehr.start("linear()", lr=0.1, steps=10)

    def training() -> None:
        with lehr.record(run, tmp_path / "t"):
            run.step(loss=1.0)
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        training()
    run.step(loss=2.0)
    assert lehr.Trace.read(tmp_path / "t").columns["loss"].tolist() == [1.0]


def test_recording_changes_nothing(tmp_path: Path) -> None:
    plain = lehr.start(POLICY, lr=0.1, steps=10)
    for t in range(8):
        plain.step(loss=math.nan if t == 3 else 1.0 / (t + 1), speed=t)
        if t % 4 == 3:
            plain.observe(val_loss=2.0 + t)
    plain.finish()
    assert recorded(tmp_path / "t").state_dict() == plain.state_dict()
