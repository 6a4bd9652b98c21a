"""One cell, run in this process: what the row and the trace say, and that nothing a workload does escapes a row."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

import lehr
from lehr.errors import LehrError
from lehr.study.design import Cell, Facts
from lehr.study.job import Job, Outcome
from lehr.study.prepare import describe
from lehr.study.rows import Role, Row
from lehr.study.run import run_cell

TOY = Path(__file__).with_name("toy_workload.py")


@pytest.fixture
def toy() -> Facts:
    return describe(f"{TOY}:make")


def job(facts: Facts, folder: Path, text: str = "constant()", peak: float = 1.0, seed: int = 1) -> Job:
    role: Role = "rank"
    cell = Cell(facts.name, "label", text, peak, seed, role, facts.version)
    (folder / "traces").mkdir(exist_ok=True)
    return Job(cell, facts, folder, f"traces/{cell.key}.jsonl")


def run(one: Job) -> Outcome:
    return run_cell(one, lambda step, lr, loss: None)


def trained(one: Job) -> Row:
    return run(one).row


def test_facts(toy: Facts) -> None:
    assert (toy.steps, toy.lr, toy.metric, toy.best, toy.threshold) == (60, 0.05, "rmse", "min", 1.0)
    assert toy.evaluate_every == 3  # steps // 20
    assert toy.name == toy.spec == f"{TOY}:make"


def test_a_changed_file_is_another_version(tmp_path: Path) -> None:
    copy = tmp_path / "toy.py"
    copy.write_text(TOY.read_text())
    before = describe(f"{copy}:make")
    copy.write_text(TOY.read_text() + "\n# changed\n")
    assert before.version != dataclasses.replace(before, code_hash=describe(f"{copy}:make").code_hash).version


def test_a_good_run_is_a_row_with_everything(toy: Facts, tmp_path: Path) -> None:
    row = trained(job(toy, tmp_path, peak=1 / 3))
    assert (row.status, row.steps, row.message) == ("ok", 60, None)
    assert row.lr == pytest.approx(0.05 / 3, rel=1e-12)
    assert row.test_loss is not None
    assert row.test_metric == pytest.approx(row.test_loss**0.5, rel=1e-6)
    assert row.validation_loss is not None
    assert row.test_loss != row.validation_loss


def test_the_trace_holds_the_lr_that_was_used_and_the_validation_numbers(toy: Facts, tmp_path: Path) -> None:
    one = job(toy, tmp_path, "linear(to=0)", peak=3.0)
    row = trained(one)
    trace = lehr.Trace.read(tmp_path / row.trace)
    expected = 0.15 * (1 - np.arange(60) / 60)
    assert np.asarray(trace.columns["lr"], dtype=float) == pytest.approx(expected, rel=1e-12)
    reported = np.flatnonzero(np.isfinite(trace.columns["val_loss"]))
    assert reported.tolist() == list(range(2, 60, 3))
    assert trace.columns["val_loss"][-1] == row.validation_loss
    assert trace.columns["val_rmse"][-1] == row.validation_metric
    assert (trace.header["seed"], trace.header["data_hash"]) == (1, "toy")


def test_a_run_repeats_to_the_last_bit(toy: Facts, tmp_path: Path) -> None:
    one = job(toy, tmp_path, "cosine()", seed=5)
    first = trained(one)
    text = (tmp_path / one.trace).read_text()
    assert trained(one) == first
    assert (tmp_path / one.trace).read_text() == text


def test_policies_with_one_seed_start_from_the_same_weights_and_batches(toy: Facts, tmp_path: Path) -> None:
    def first_loss(text: str, seed: int) -> float:
        trace = lehr.Trace.read(tmp_path / trained(job(toy, tmp_path, text, seed=seed)).trace)
        return float(trace.columns["loss"][0])

    assert first_loss("constant()", 1) == first_loss("warmup('50%').then(cosine())", 1)
    assert first_loss("constant()", 1) != first_loss("constant()", 2)


def test_evaluation_does_not_disturb_training(toy: Facts, tmp_path: Path) -> None:
    noisy = describe(f"{TOY}:random_evaluation")
    often = dataclasses.replace(noisy, evaluate_every=1)
    assert trained(job(noisy, tmp_path)).test_loss == trained(job(often, tmp_path)).test_loss
    assert trained(job(noisy, tmp_path)).test_loss == trained(job(toy, tmp_path)).test_loss


def test_a_frozen_part_of_the_model_stays_in_eval_mode(tmp_path: Path) -> None:
    frozen = trained(job(describe(f"{TOY}:without_dropout"), tmp_path, seed=1))
    assert frozen.status == "ok"  # its loss raises when the part is in training mode


@pytest.mark.parametrize(
    "rule",
    [
        "when(loss.improves_less_than(0.5, over='10%')).scale(0.5)",
        "when(metric('val_rmse', best='min').reaches(1.0)).scale(0.5)",
        "when(metric('val_loss', best='min').reaches(1.0)).scale(0.5)",
        "when(evaluation('rmse', every='5%', best='min').reaches(1.0)).scale(0.5)",
    ],
)
def test_rules_read_what_the_runner_reports(toy: Facts, tmp_path: Path, rule: str) -> None:
    row = trained(job(toy, tmp_path, rule))
    assert len(row.fired) == 1
    assert all(times >= 1 for times in row.fired.values())
    trace = lehr.Trace.read(tmp_path / row.trace)
    assert trace.columns["lr"][-1] < 0.05


def test_a_rule_that_never_fires_is_counted_as_zero(toy: Facts, tmp_path: Path) -> None:
    row = trained(job(toy, tmp_path, "when(metric('val_rmse', best='min').reaches(1e-9)).scale(0.5)"))
    assert list(row.fired.values()) == [0]


def test_a_policy_that_stops_ends_the_run(toy: Facts, tmp_path: Path) -> None:
    row = trained(job(toy, tmp_path, "when(metric('val_rmse', best='min').reaches(1.0)).stop()"))
    assert row.status == "ok"
    assert 0 < row.steps < 60
    assert row.test_loss is not None
    assert row.validation_loss is not None


def test_divergence_is_a_row(tmp_path: Path) -> None:
    row = trained(job(describe(f"{TOY}:unbounded"), tmp_path, peak=3.0))
    assert row.status == "diverged"
    assert (row.test_loss, row.test_metric, row.validation_loss, row.message) == (None, None, None, None)
    assert 0 < row.steps < 60
    assert all(map(math.isfinite, lehr.Trace.read(tmp_path / row.trace).columns["loss"]))


@pytest.mark.parametrize(
    ("function", "seed", "message"),
    [
        ("failing", 2, "KeyError: 'no such column' (toy_workload.py, line"),
        ("short", 1, "batches must hold at least steps=60, got 59"),
        ("incomplete", 1, "evaluate must return 'loss' and 'rmse', got ['loss']"),
    ],
)
def test_an_exception_in_a_workload_is_a_row(tmp_path: Path, function: str, seed: int, message: str) -> None:
    row = trained(job(describe(f"{TOY}:{function}"), tmp_path, seed=seed))
    assert row.status == "failed"
    assert row.message is not None
    assert message in row.message


def test_a_workload_that_cannot_be_made_is_an_error_that_names_it() -> None:
    with pytest.raises(LehrError, match=r"toy_workload.py:unmakable.*FileNotFoundError: data.csv"):
        describe(f"{TOY}:unmakable")


def test_progress_is_told_after_every_update(toy: Facts, tmp_path: Path) -> None:
    seen: list[tuple[int, float, float]] = []
    run_cell(job(toy, tmp_path), lambda step, lr, loss: seen.append((step, lr, loss)))
    assert [step for step, _, _ in seen] == list(range(1, 61))
    assert {lr for _, lr, _ in seen} == {0.05}
    assert seen[-1][2] == lehr.Trace.read(tmp_path / job(toy, tmp_path).trace).columns["loss"][-1]
