"""Columns are known by their usual names; where two could be meant, the user is asked."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

import lehr


def written(path: Path, *names: str, rows: int = 2) -> Path:
    """A table whose cells all differ, column by column; a first column that is a step counts up."""
    lines = [";".join(names)]
    lines += [";".join([str(t), *(str(10 * k + t) for k in range(1, len(names)))]) for t in range(rows)]
    (path / "log.csv").write_text("\n".join(lines) + "\n")
    return path / "log.csv"


@pytest.mark.parametrize(
    "name", ["step", "Step", "_step", "global_step", "trainer/global_step", "iteration", "iter", "num_updates"]
)
def test_usual_names_of_the_step(tmp_path: Path, name: str) -> None:
    trace = lehr.read_trace(written(tmp_path, name, "loss"))
    assert trace.columns["step"].tolist() == [0, 1]
    assert trace.header["read"]["columns"]["step"] == name


@pytest.mark.parametrize(
    "name",
    ["loss", "Loss", "train_loss", "train/loss", "training loss", "loss/train", "running-loss", "train_loss_step"],
)
def test_usual_names_of_the_loss(tmp_path: Path, name: str) -> None:
    trace = lehr.read_trace(written(tmp_path, "step", "val_loss", name, "eval/loss", "test loss"))
    assert trace.columns["loss"].tolist() == [20, 21]
    assert {"val_loss", "eval_loss", "test_loss"} < trace.columns.keys()


def test_a_loss_that_is_named_so_is_preferred_to_others(tmp_path: Path) -> None:
    trace = lehr.read_trace(written(tmp_path, "step", "train_loss", "loss", "loss_ce"))
    assert trace.columns["loss"].tolist() == [20, 21]
    assert trace.columns["train_loss"].tolist() == [10, 11]


@pytest.mark.parametrize("name", ["lr", "LR", "learning_rate", "train/learning_rate", "lr-AdamW", "optim/lr"])
def test_usual_names_of_the_lr(tmp_path: Path, name: str) -> None:
    assert lehr.read_trace(written(tmp_path, "step", name, "loss")).columns["lr"].tolist() == [10, 11]


def test_without_an_lr_its_column_is_empty(tmp_path: Path) -> None:
    assert all(math.isnan(lr) for lr in lehr.read_trace(written(tmp_path, "step", "loss")).columns["lr"])


def test_lrs_that_differ_in_a_number_are_those_of_the_groups(tmp_path: Path) -> None:
    trace = lehr.read_trace(written(tmp_path, "step", "lr/pg10", "lr/pg2", "loss"))
    assert trace.header["groups"] == 2
    assert trace.columns["lr"].tolist() == [20, 21]
    assert trace.columns["lr.1"].tolist() == [10, 11]


@pytest.mark.parametrize(
    ("names", "what", "choice"),
    [
        (("step", "global_step", "loss"), "step", "global_step"),
        (("step", "train_loss_step", "train_loss_epoch"), "loss", "train_loss_epoch"),
        (("step", "loss_ce", "loss_kd", "val_loss"), "loss", "loss_kd"),
        (("step", "lr-Adam", "lr-SGD", "loss"), "lr", "lr-SGD"),
    ],
)
def test_two_candidates_are_named_with_the_argument_that_decides(
    tmp_path: Path, names: tuple[str, ...], what: str, choice: str
) -> None:
    path = written(tmp_path, *names)
    with pytest.raises(lehr.LehrError, match=f"columns could be the {what}: .*'{choice}'.*columns={{'{what}': "):
        lehr.read_trace(path)
    trace = lehr.read_trace(path, columns={what: choice})
    assert trace.header["read"]["columns"][what] == choice
    assert trace.columns[what].tolist() == [10 * names.index(choice) + t for t in range(2)]


@pytest.mark.parametrize("names", [("lr/pg0", "lr/pg1"), ("lehr/lr", "lr-SGD"), ("lehr/lr/0", "lr"), ("lr", "eta")])
def test_a_column_that_is_said_to_be_the_lr_is_the_only_one(tmp_path: Path, names: tuple[str, str]) -> None:
    trace = lehr.read_trace(written(tmp_path, "step", *names, "loss"), columns={"lr": names[1]})
    assert trace.columns["lr"].tolist() == [20, 21]
    assert trace.header["groups"] == 1
    assert trace.header["read"]["columns"]["lr"] == names[1]
    assert "lr.1" not in trace.columns


def test_candidates_that_agree_are_one(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("_step,trainer/global_step,loss\n0,0,1\n7,7,2\n")
    assert lehr.read_trace(tmp_path / "log.csv").columns["step"].tolist() == [0, 7]


@pytest.mark.parametrize(
    ("column", "name"),
    [("eval/loss", "eval_loss"), ("val loss", "val_loss"), ("acc@1", "acc_1"), ("5-shot", "_5_shot"),
     ("lambda", "lambda_"), ("event", "event_"), ("self", "self_"), ("größe", "größe")],
)  # fmt: skip
def test_names_become_those_that_a_metric_can_have(tmp_path: Path, column: str, name: str) -> None:
    trace = lehr.read_trace(written(tmp_path, "step", column))
    assert trace.columns[name].tolist() == [10, 11]
    assert trace.header["read"]["columns"][name] == column
    assert lehr.metric(name, best="min").name == name


def test_two_columns_of_one_name_are_refused_until_one_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, "step", "eval/loss", "eval_loss")
    with pytest.raises(lehr.LehrError, match="would both be called 'eval_loss'"):
        lehr.read_trace(path)
    assert lehr.read_trace(path, columns={"eval_b": "eval_loss"}).columns["eval_b"].tolist() == [20, 21]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"loss": "los"}, "no column 'los' with numbers; there are 'step', 'loss'; the nearest is 'loss'"),
        ({"loss": "loss", "ce": "loss"}, "gives 'loss' two names, 'loss' and 'ce'; keep one of them"),
        ({"my loss": "loss"}, "one of Python's, got 'my loss'"),
        ({"header": "loss"}, "'header' has another meaning"),
    ],
)
def test_a_choice_that_cannot_be_is_refused(tmp_path: Path, columns: dict[str, str], words: str) -> None:
    with pytest.raises(lehr.LehrError, match=words):
        lehr.read_trace(written(tmp_path, "step", "loss"), columns=columns)
