"""Foreign logs become traces: every format, its sparse rows, its damage, and what is said of the reading."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lehr

Rows = list[dict[str, Any]]


def table(path: Path, rows: Rows, **how: Any) -> Path:
    """Written by Python's own csv module; a missing number is an empty cell."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, **how)
        writer.writeheader()
        writer.writerows(rows)
    return path


def same(column: Any, expected: list[float]) -> bool:
    return bool(np.array_equal(column, expected, equal_nan=True))


LIGHTNING = [
    {"epoch": 0, "step": 49, "train_loss": 0.9, "lr-AdamW": 0.001},
    {"epoch": 0, "step": 99, "train_loss": 0.7, "lr-AdamW": 0.0008},
    {"epoch": 0, "step": 99, "val_loss": 0.8, "val/acc": 0.5},
    {"epoch": 1, "step": 149, "train_loss": 0.5, "lr-AdamW": 0.0006},
]


def test_rows_of_one_step_are_one_observation_and_empty_cells_are_no_report(tmp_path: Path) -> None:
    trace = lehr.read_trace(table(tmp_path / "metrics.csv", LIGHTNING))
    nan = math.nan
    assert trace.columns["step"].tolist() == [49, 99, 149]
    assert same(trace.columns["lr"], [0.001, 0.0008, 0.0006])
    assert same(trace.columns["loss"], [0.9, 0.7, 0.5])
    assert same(trace.columns["val_loss"], [nan, 0.8, nan])
    assert [(seen.step, dict(seen.numbers), seen.applied) for seen in trace.observations] == [
        (49, {"epoch": 0.0, "loss": 0.9}, True),
        (99, {"epoch": 0.0, "loss": 0.7, "val_loss": 0.8, "val_acc": 0.5}, True),
        (149, {"epoch": 1.0, "loss": 0.5}, True),
    ]


def test_the_header_says_what_was_taken_for_what(tmp_path: Path) -> None:
    path = table(tmp_path / "metrics.csv", [{**row, "host": "a1"} for row in LIGHTNING])
    assert lehr.read_trace(path).header["read"] == {
        "format": "csv",
        "path": str(path),
        "columns": {
            "step": "step",
            "lr": "lr-AdamW",
            "epoch": "epoch",
            "loss": "train_loss",
            "val_loss": "val_loss",
            "val_acc": "val/acc",
        },
        "left_out": ["host"],
        "notes": [],
    }


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(tmp_path: Path, delimiter: str) -> None:
    trace = lehr.read_trace(table(tmp_path / "log.txt", LIGHTNING, delimiter=delimiter))
    assert same(trace.columns["loss"], [0.9, 0.7, 0.5])
    assert same(trace.columns["val_acc"], [math.nan, 0.5, math.nan])


def test_a_table_of_one_column_is_read(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("loss\n0.5\n0.25\n")
    trace = lehr.read_trace(tmp_path / "log")
    assert trace.columns["step"].tolist() == [0, 1]
    assert trace.columns["loss"].tolist() == [0.5, 0.25]
    assert trace.header["read"]["notes"] == ["no column counts steps, nor each epoch once: a row is a step"]


def test_an_export_of_wandb_loses_the_name_of_its_run_and_its_ranges(tmp_path: Path) -> None:
    rows = [{"Step": s, "calm-sea-7 - loss": v, "calm-sea-7 - loss__MIN": v, "calm-sea-7 - loss__MAX": v} for s, v in
            ((0, 2.0), (10, 1.0))]  # fmt: skip
    trace = lehr.read_trace(table(tmp_path / "wandb.csv", rows, quoting=csv.QUOTE_NONNUMERIC))
    assert list(trace.columns) == ["step", "lr", "loss"]
    assert trace.columns["loss"].tolist() == [2.0, 1.0]
    assert trace.header["read"]["columns"] == {"step": "Step", "loss": "calm-sea-7 - loss"}
    assert trace.header["read"]["notes"] == [
        "ranges of other columns were left out: calm-sea-7 - loss__MIN, calm-sea-7 - loss__MAX"
    ]


def test_a_log_of_epochs_has_an_epoch_a_step(tmp_path: Path) -> None:
    rows = [{"epoch": e, "loss": 1 / e, "val_loss": 2 / e, "learning_rate": 0.1} for e in (1, 2, 3)]
    trace = lehr.read_trace(table(tmp_path / "keras.csv", rows))
    assert trace.columns["step"].tolist() == [0, 1, 2]
    assert trace.columns["lr"].tolist() == [0.1, 0.1, 0.1]
    assert trace.header["horizon"] == {"steps": 3, "steps_per_epoch": 1}
    assert trace.header["read"]["notes"] == ["no column counts steps: an epoch, as 'epoch' counts them, is a step"]


@pytest.mark.parametrize("nothing", ["", "null", "None", " ", "NA", "<NA>"])
def test_texts_that_mean_nothing_are_no_report(tmp_path: Path, nothing: str) -> None:
    trace = lehr.read_trace(table(tmp_path / "log.csv", [{"step": 0, "loss": nothing}, {"step": 1, "loss": "1e-3"}]))
    assert [dict(seen.numbers) for seen in trace.observations] == [{}, {"loss": 0.001}]


@pytest.mark.parametrize("text", ["nan", "NaN", "inf", "-Infinity"])
def test_what_is_not_finite_was_reported(tmp_path: Path, text: str) -> None:
    rows = [{"step": 0, "loss": text}, {"step": 1, "loss": ""}]
    for path in (table(tmp_path / "log.csv", rows), tmp_path / "log.jsonl"):
        if path.suffix == ".jsonl":
            path.write_text(f'{{"step": 0, "loss": {json.dumps(float(text))}}}\n{{"step": 1}}\n')
        trace = lehr.read_trace(path)
        assert [list(seen.numbers) for seen in trace.observations] == [["loss"], []]
        assert not math.isfinite(trace.observations[0].numbers["loss"])


def test_objects_inside_the_lines_of_a_jsonl_are_joined_to_names(tmp_path: Path) -> None:
    lines = [
        {"global_step": 0, "train": {"loss": 2, "optim": {"lr": 0.5}}, "tags": ["a"], "note": "begin", "ok": True},
        {"global_step": 5, "train": {"loss": 1.5, "optim": {"lr": 0.25}}, "eval": {"loss": 3}, "note": None},
    ]
    (tmp_path / "log").write_text("\n".join(map(json.dumps, lines)))
    trace = lehr.read_trace(tmp_path / "log")
    assert trace.columns["lr"].tolist() == [0.5, 0.25]
    assert trace.columns["loss"].tolist() == [2, 1.5]
    assert same(trace.columns["eval_loss"], [math.nan, 3])
    assert trace.header["read"]["left_out"] == ["tags", "note", "ok"]


def test_a_json_list_of_objects_is_read_as_its_lines_would_be(tmp_path: Path) -> None:
    rows = [{"step": 3, "loss": 1.0}, {"step": 4, "loss": 0.5}]
    (tmp_path / "list").write_text(json.dumps(rows, indent=1))
    (tmp_path / "lines").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    one, other = lehr.read_trace(tmp_path / "list"), lehr.read_trace(tmp_path / "lines")
    assert one.observations == other.observations
    assert [seen.step for seen in one.observations] == [3, 4]


TRAINER_STATE = {
    "best_metric": None,
    "epoch": 2.0,
    "eval_steps": 500,
    "global_step": 20,
    "is_hyper_param_search": False,
    "log_history": [
        {"epoch": 0.5, "grad_norm": 1.25, "learning_rate": 5e-05, "loss": 2.5, "step": 5},
        {"epoch": 1.0, "grad_norm": 1.0, "learning_rate": 4e-05, "loss": 2.0, "step": 10},
        {"epoch": 1.0, "eval_loss": 2.25, "eval_runtime": 0.5, "step": 10},
        {"epoch": 2.0, "step": 20, "total_flos": 1e12, "train_loss": 2.2, "train_runtime": 3.5},
    ],
    "logging_steps": 5,
    "max_steps": 40,
    "num_train_epochs": 4,
    "train_batch_size": 8,
}


def test_a_trainer_state_counts_updates_done_and_knows_the_run(tmp_path: Path) -> None:
    path = tmp_path / "trainer_state.json"
    path.write_text(json.dumps(TRAINER_STATE, indent=2, sort_keys=True))
    trace = lehr.read_trace(path)
    assert trace.columns["step"].tolist() == [4, 9, 19]
    assert same(trace.columns["lr"], [5e-05, 4e-05, math.nan])
    assert same(trace.columns["loss"], [2.5, 2.0, math.nan])
    assert same(trace.columns["eval_loss"], [math.nan, 2.25, math.nan])
    assert trace.header["horizon"] == {"steps": 40, "steps_per_epoch": 10}
    assert trace.header["read"]["format"] == "trainer_state"


def test_a_trace_of_lehr_is_read_as_it_is_and_may_be_renamed(tmp_path: Path) -> None:
    run = lehr.start("linear()", lr=0.1, steps=4)
    with lehr.record(run, tmp_path / "t"):
        for t in range(4):
            run.step(ce=1.0 - t / 4)
    plain = lehr.Trace.read(tmp_path / "t")
    trace = lehr.read_trace(tmp_path / "t", columns={"loss": "ce"})
    assert trace.columns["loss"].tolist() == plain.columns["ce"].tolist() == [1.0, 0.75, 0.5, 0.25]
    assert [seen.numbers for seen in trace.observations] == [{"loss": 1.0 - t / 4} for t in range(4)]
    assert trace.header["read"]["columns"] == {"step": "step", "lr": "lr", "loss": "ce"}
    with pytest.raises(lehr.LehrError, match="holds step, lr, ce"):
        lehr.read_trace(tmp_path / "t", columns={"loss": "nll"})


def test_a_torn_last_line_is_left_out_wherever_it_is_cut(tmp_path: Path) -> None:
    lines = [f'{{"step": {t}, "loss": 0.5}}\n' for t in range(3)]
    rows = ["step,loss,speed\n", "0,0.5,10\n", "1,0.5,10\n", "2,0.5,10\n"]
    for text, last in (("".join(lines), lines[-1]), ("".join(rows), rows[-1])):
        for cut in range(1, len(last) - (3 if last.startswith("2") else 1)):  # a shorter last number is a number, too
            (tmp_path / "log").write_text(text[: len(text) - len(last) + cut])
            assert [seen.step for seen in lehr.read_trace(tmp_path / "log").observations] == [0, 1]
        (tmp_path / "log").write_text(text.rstrip("\n"))
        assert [seen.step for seen in lehr.read_trace(tmp_path / "log").observations] == [0, 1, 2]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"step": 0, "loss": 1}\n{"step": 1, "lo\n{"step": 2, "loss": 1}\n', "line 2 is no JSON object"),
        ("step,loss\n0,1\n1\n2,1\n", "line 3 has 1 cells, and the first line has 2 names"),
        ("step,loss\n0,1\n1,0.5x\n", "column 'loss' holds numbers, but '0.5x' in line 3"),
        ("step,loss,loss\n0,1,1\n", "two columns named 'loss'"),
        ("step,loss\n", "holds no row with a step"),
        ("step,loss\n5,1\n3,1\n", "'step' goes back from 5 to 3 in line 3"),
        ("step,loss\n0,1\n0.5,1\n", "whole number of at least 0, got 'step' 0.5 in line 3"),
        ("step,loss\n-1,1\n", "whole number of at least 0, got 'step' -1 in line 2"),
        ('[{"step": 0}, 3]', "item 2 of the list"),
        ('[{"step": 0}', "begins as a JSON list and is none"),
        ('{"log_history": [1]}', "has no log_history"),
        ('{"log_history": [', "is damaged"),
        ("", "is empty; give the log of a run that has begun"),
        ("\n \n", "is empty"),
        ("# run 7\nstep,loss\n0,1\n", r"is no log that can be read; .*names of its columns in the first line"),
        ("0,2.5\n1,2.4\n", "begins with numbers; write the names of its columns into a first line"),
        ("2.5\n2.4\n", "begins with numbers"),
        ("epoch,loss\n0,1\nepoch,loss\n0,1\n", "line 3 is the first line again, so another run begins there"),
        (json.dumps({"loss": {str(k): k for k in range(20)}}), r"20 columns could be .*'loss/7', …; say which"),
        ("a text of words\nand more of them\n", "is no log that can be read"),
        ("\0\0PAR1", "is a binary file"),
    ],
)
def test_damage_is_said_with_its_place(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "log").write_text(text)
    with pytest.raises(lehr.LehrError, match=words):
        lehr.read_trace(tmp_path / "log")


def test_a_file_that_is_not_there_is_an_error_of_lehr(tmp_path: Path) -> None:
    with pytest.raises(lehr.LehrError, match="cannot read"):
        lehr.read_trace(tmp_path / "none.csv")


def test_two_values_of_one_step_are_said_and_the_first_is_kept(tmp_path: Path) -> None:
    rows = [{"step": 0, "loss": 1.0}, {"step": 0, "loss": 2.0}, {"step": 1, "loss": 3.0}]
    trace = lehr.read_trace(table(tmp_path / "log.csv", rows))
    assert trace.columns["loss"].tolist() == [1.0, 3.0]
    assert trace.header["read"]["notes"] == ["loss has several values in 1 steps; the first number of each is kept"]


def test_rows_without_a_step_are_left_out_and_counted(tmp_path: Path) -> None:
    (tmp_path / "log").write_text('{"batch_size": 32}\n{"step": 0, "loss": 1.0}\n')
    trace = lehr.read_trace(tmp_path / "log")
    assert [dict(seen.numbers) for seen in trace.observations] == [{"loss": 1.0}]
    assert trace.header["read"]["notes"] == ["1 of 2 rows have no 'step' and were left out"]


@pytest.mark.parametrize(
    "text",
    [
        ",step,loss\n0,5,1.0\n1,6,0.5\n",  # as pandas writes it, with its index
        "step,loss\r5,1.0\r6,0.5\r",
        '{"step": [5, 6], "loss": [1.0, 0.5]}',
        '"step";"loss";"note"\r\n"5";"1.0";"a, b"\r\n"6";"0.5";"c"\r\n',
        "\ufeffstep\tloss\n5\t1.0\n6\t0.5\n",
        "step,loss\n\n5,1.0\n\n6,0.5\n\n",
        "step, loss\n5, 1.0\n6, 0.5",
        "step,loss,a long name of a column\n5,1e0,\n6,+.5,\n",
    ],
)
def test_ways_to_write_one_table(tmp_path: Path, text: str) -> None:
    (tmp_path / "log").write_bytes(text.encode())
    trace = lehr.read_trace(tmp_path / "log")
    assert trace.columns["step"].tolist() == [5, 6]
    assert trace.columns["loss"].tolist() == [1.0, 0.5]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_table_may_be_written_as_spreadsheets_write_text(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "log").write_text("step\tloss\n0\t1.0\n1\t0.5\n", encoding=encoding)
    assert lehr.read_trace(tmp_path / "log").columns["loss"].tolist() == [1.0, 0.5]


def test_lists_of_one_object_are_columns_though_one_is_shorter(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(json.dumps({"loss": [3.0, 2.0, 1.0], "val_loss": [4.0, 3.0]}))
    trace = lehr.read_trace(tmp_path / "log")
    assert [dict(seen.numbers) for seen in trace.observations] == [
        {"loss": 3.0, "val_loss": 4.0},
        {"loss": 2.0, "val_loss": 3.0},
        {"loss": 1.0},
    ]


def test_parts_of_an_epoch_are_not_called_epochs(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("epoch,loss\n0.5,1\n1.0,1\n")
    assert lehr.read_trace(tmp_path / "log").header["read"]["notes"] == [
        "no column counts steps: each value of 'epoch' is a step"
    ]


def test_where_each_batch_has_a_row_none_is_lost_to_its_epoch(tmp_path: Path) -> None:
    rows = [{"epoch": e, "batch": b, "loss": 10 - 3 * e - b, "val_loss": e if b == 2 else ""}
            for e in range(2) for b in range(3)]  # fmt: skip
    trace = lehr.read_trace(table(tmp_path / "log.csv", rows))
    assert trace.columns["step"].tolist() == [0, 1, 2, 3, 4, 5]
    assert trace.columns["loss"].tolist() == [10, 9, 8, 7, 6, 5]
    assert trace.header["horizon"] == {}
    assert trace.header["read"]["notes"] == ["no column counts steps, nor each epoch once: a row is a step"]


def test_nan_beside_texts_is_an_empty_cell_and_beside_numbers_a_report(tmp_path: Path) -> None:
    rows = [{"step": 0, "loss": 1.0, "weights": "nan"}, {"step": 1, "loss": "nan", "weights": "{'bins': [1]}"}]
    trace = lehr.read_trace(table(tmp_path / "log.csv", rows))
    assert trace.header["read"]["left_out"] == ["weights"]
    assert [list(seen.numbers) for seen in trace.observations] == [["loss"], ["loss"]]


def test_of_rows_of_one_step_that_are_padded_with_nan_the_numbers_are_kept(tmp_path: Path) -> None:
    rows = [{"step": 0, "loss": 1.0, "val_loss": "nan"}, {"step": 0, "loss": "nan", "val_loss": 2.0}]
    seen = lehr.read_trace(table(tmp_path / "log.csv", rows)).observations
    assert [dict(each.numbers) for each in seen] == [{"loss": 1.0, "val_loss": 2.0}]
