"""Whole studies in worker processes: the same rows however often they were interrupted, and nobody left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import lehr
from lehr.errors import LehrError
from lehr.study import Comparison, NamedPolicy, Progress, Request, compare
from lehr.study.store import read_rows

TOY = Path(__file__).with_name("toy_workload.py")
FEW = ("cosine decay", "performance-based")
DEADLINE = 30.0  # seconds until a process must have done what is asked of it


def request(folder: Path, function: str = "make", workers: int = 1, seeds: int = 3) -> Request:
    mine = NamedPolicy("mine", "cosine(to=0.1)")
    return Request((f"{TOY}:{function}",), (mine,), seeds, folder, workers, command="lehr compare toy", only=FEW)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Comparison]:
    folder = tmp_path_factory.mktemp("undisturbed")
    (comparison,) = compare(request(folder, workers=2))
    return folder, comparison


def test_every_policy_is_ranked_and_the_users_too(undisturbed: tuple[Path, Comparison]) -> None:
    _, comparison = undisturbed
    assert {ranking.policy for ranking in comparison.ranking} == {"constant", "mine", *FEW}
    assert comparison.ranking[0].rank == 1
    assert all(ranking.seeds == 3 for ranking in comparison.ranking)


def test_rows_are_in_design_order_and_traces_are_there(undisturbed: tuple[Path, Comparison]) -> None:
    folder, comparison = undisturbed
    rows = read_rows(folder / "rows.jsonl")
    design = comparison.design
    assert [row.key for row in rows] == [cell.key for cell in (*design.opening(), *design.closing(rows))]
    assert all(lehr.Trace.read(folder / row.trace).header["seed"] == row.seed for row in rows)
    assert any(row.steps_to for row in rows)


def test_the_results_are_written_as_documented(undisturbed: tuple[Path, Comparison]) -> None:
    folder, comparison = undisturbed
    study = json.loads((folder / "study.json").read_text())
    (workload,) = study["workloads"]
    assert study["seeds"] == [1, 2, 3]
    assert study["command"] == "lehr compare toy"
    assert [one["policy"] for one in workload["ranking"]] == [one.policy for one in comparison.ranking]
    assert workload["keys"] == [row.key for row in read_rows(folder / "rows.jsonl")]
    assert workload["metric"] == "rmse"


def test_a_second_run_trains_nothing_and_changes_nothing(undisturbed: tuple[Path, Comparison]) -> None:
    folder, _ = undisturbed
    before = {name: (folder / name).read_bytes() for name in ("rows.jsonl", "study.json")}
    seen: list[Progress] = []
    compare(request(folder), seen.append)
    assert not any(progress.running for progress in seen)
    assert {name: (folder / name).read_bytes() for name in before} == before


@pytest.mark.parametrize("kept", [0, 1, 20])
def test_a_killed_study_goes_on_to_the_same_rows(
    undisturbed: tuple[Path, Comparison], tmp_path: Path, kept: int
) -> None:
    folder, _ = undisturbed
    lines = (folder / "rows.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "traces").mkdir()
    for line in lines[:kept]:
        trace = json.loads(line)["trace"]
        (tmp_path / trace).write_bytes((folder / trace).read_bytes())
    torn = "".join(lines[:kept]) + lines[kept][:100]
    (tmp_path / "rows.jsonl").write_text(torn)
    compare(request(tmp_path))
    assert (tmp_path / "rows.jsonl").read_text() == "".join(lines)


def test_interrupting_keeps_what_is_finished(tmp_path: Path) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.done >= 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(request(tmp_path), interrupt)
    assert len(read_rows(tmp_path / "rows.jsonl")) >= 5
    assert not (tmp_path / "study.json").exists()


def test_progress_counts_up_to_the_total(tmp_path: Path) -> None:
    seen: list[Progress] = []
    (comparison,) = compare(request(tmp_path, seeds=1), seen.append)
    assert [progress.done for progress in seen] == sorted(progress.done for progress in seen)
    assert seen[-1].done == seen[-1].total == len(comparison.rows)
    assert seen[-1].seconds_left == 0


def test_failed_runs_are_rows_and_are_tried_again(tmp_path: Path) -> None:
    for _ in ("first", "again"):
        (comparison,) = compare(request(tmp_path, "failing", seeds=2))
        assert {row.seed for row in comparison.failures} == {2}
        assert any("runs failed" in note for note in comparison.notes)
    assert all(ranking.failed >= 1 for ranking in comparison.ranking)


def test_diverged_runs_are_rows_and_a_missing_threshold_is_noted(tmp_path: Path) -> None:
    (comparison,) = compare(request(tmp_path, "unbounded", seeds=1))
    assert comparison.ranking[0].diverged > 0
    assert not comparison.failures
    assert "performance-based" not in {ranking.policy for ranking in comparison.ranking}
    assert any("left out" in note for note in comparison.notes)
    assert any("cannot tell a policy from luck" in note for note in comparison.notes)


def test_more_seeds_train_only_what_is_missing(undisturbed: tuple[Path, Comparison], tmp_path: Path) -> None:
    folder, comparison = undisturbed
    known = {row.key for row in comparison.rows}
    (more,) = compare(request(folder, seeds=4))
    assert known < {row.key for row in more.rows}
    compare(request(folder, seeds=3))  # and back: the fourth seed's rows are kept beside
    assert [row.key for row in read_rows(folder / "rows.jsonl")] == [row.key for row in comparison.rows]
    assert {row.seed for row in read_rows(folder / "other-rows.jsonl")} == {4}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"workloads": ("digts",)}, "nearest known name is 'digits'"),
        ({"workloads": (f"{TOY}:mak",)}, "the nearest one there is"),
        ({"workloads": (f"{TOY}:unmakable",)}, "FileNotFoundError: data.csv"),
        ({"policies": (NamedPolicy("mine", "linear(to_lr=-1)"),)}, "policy 'mine' cannot run"),
        ({"policies": (NamedPolicy("mine", "when(evaluation('f1', every=5, best='max').reaches(1)).stop()"),)}, "f1"),
        ({"policies": (NamedPolicy("constant", "cosine()"),)}, "'constant' twice"),
        ({"seeds": 0}, "seeds must lie between"),
        ({"workers": 0}, "workers must be at least 1"),
    ],
)
def test_what_cannot_be_is_refused_before_training(tmp_path: Path, change: dict[str, object], message: str) -> None:
    fields: dict[str, object] = {"workloads": (f"{TOY}:make",), "folder": tmp_path, "workers": 1}
    with pytest.raises(LehrError, match=message):
        compare(Request(**(fields | change)))  # type: ignore[arg-type]
    assert read_rows(tmp_path / "rows.jsonl") == []


def test_the_study_itself_imports_no_framework() -> None:
    code = (
        "import sys, lehr.study, lehr.cli; sys.exit(bool({'torch', 'sklearn', 'polars', 'typer'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


ENDLESS = """
import os
from pathlib import Path
import torch
from lehr.study.workloads import Workload

def make(seed):
    Path(__file__).with_name(f"worker-{os.getpid()}").touch()
    model = torch.nn.Linear(1, 1)
    one = torch.ones(1, 1)
    return Workload(
        model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1), batches=(one for _ in range(10**9)),
        loss=lambda model, batch: model(batch).square().mean(), evaluate=lambda model, split: {"loss": 0.0, "x": 0.0},
        steps=10**9, metric="x", best="min", evaluate_every=10**6,
    )
"""
STUDY = """
import signal
import sys
from pathlib import Path
from lehr.study import Request, compare

def told(progress):
    for one in progress.running:
        if one.step > 0:
            print("training", flush=True)

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background would ignore it
    compare(Request((sys.argv[1] + ":make",), folder=Path(sys.argv[2]), workers=2), told)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_no_worker_outlives_the_study(tmp_path: Path, how: signal.Signals) -> None:
    (tmp_path / "endless.py").write_text(ENDLESS)
    (tmp_path / "study.py").write_text(STUDY)
    command = [sys.executable, *(str(tmp_path / name) for name in ("study.py", "endless.py", "out"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as study:
        assert study.stdout is not None
        assert study.stdout.readline() == b"training\n"
        study.send_signal(how)
        study.wait(DEADLINE)
    workers = [int(path.name.partition("-")[2]) for path in tmp_path.glob("worker-*")]
    assert workers
    until = time.monotonic() + DEADLINE
    while any(map(alive, workers)) and time.monotonic() < until:
        os.sched_yield()
    assert not any(map(alive, workers))


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be reaped does not."""
    try:
        os.kill(pid, 0)
        status = Path(f"/proc/{pid}/stat")
        return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
