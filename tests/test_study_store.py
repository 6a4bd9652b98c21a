"""Finished rows survive whatever happens to the process that wrote them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lehr.errors import LehrError
from lehr.study.rows import Row
from lehr.study.store import Store, read_rows


def row(key: str, **values: Any) -> Row:
    fields: dict[str, Any] = {
        "key": key,
        "workload": "toy",
        "policy": "constant",
        "text": "constant()",
        "peak": 1 / 3,
        "lr": 0.1,
        "seed": 1,
        "role": "rank",
        "status": "ok",
        "steps": 100,
        "metric": "accuracy",
        "best": "max",
        "test_loss": 0.1 + 0.2,
        "trace": f"traces/{key}.jsonl",
    }
    return Row(**(fields | values))


def add(store: Store, one: Row) -> None:
    (store.folder / one.trace).write_text("")
    store.append(one)


def test_a_row_reads_back_as_it_was() -> None:
    one = row("a", fired={"when(x)": 2}, steps_to=40, message=None)
    assert Row.from_line(one.line()) == one


def test_numbers_that_are_not_finite_are_null() -> None:
    assert json.loads(row("a", test_loss=float("nan"), validation_loss=float("inf")).line())["test_loss"] is None


def test_a_finished_cell_is_found_again(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        add(store, row("a"))
        assert store.finished("a") == row("a")
    with Store(tmp_path) as store:
        assert store.finished("a") == row("a")
        assert store.finished("b") is None


def test_a_failed_cell_and_one_without_its_trace_are_done_again(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        add(store, row("a", status="failed"))
        store.append(row("b"))
        assert store.finished("a") is None
        assert store.finished("b") is None


@pytest.mark.parametrize("kept", [1, 10, 200])
def test_a_torn_last_line_is_dropped_and_the_next_row_stands_alone(tmp_path: Path, kept: int) -> None:
    with Store(tmp_path) as store:
        add(store, row("a"))
    with (tmp_path / "rows.jsonl").open("a") as file:
        file.write(row("torn").line()[:kept])
    assert [one.key for one in read_rows(tmp_path / "rows.jsonl")] == ["a"]
    with Store(tmp_path) as store:
        assert store.finished("torn") is None
        add(store, row("b"))
    assert [one.key for one in read_rows(tmp_path / "rows.jsonl")] == ["a", "b"]


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(row("a").line() + "\nnot a row\n" + row("b").line() + "\n")
    with pytest.raises(LehrError, match="line 2"), Store(tmp_path):
        pass
    with Store(tmp_path, fresh=True) as store:  # the remedy of the message
        assert store.finished("a") is None


def test_a_row_of_another_shape_is_named(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"key": "a"}\n')
    with pytest.raises(LehrError, match="line 1"), Store(tmp_path):
        pass


def test_complete_puts_rows_in_order_and_keeps_those_of_other_designs(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        for key in ("old", "b", "a"):
            add(store, row(key))
        store.complete([row("a"), row("b", steps_to=7)])
        assert [one.key for one in read_rows(tmp_path / "rows.jsonl")] == ["a", "b"]
        add(store, row("c"))  # the file is open for more
    with Store(tmp_path) as store:
        assert [bool(store.finished(key)) for key in ("old", "a", "b", "c")] == [True] * 4
        assert store.finished("b") == row("b", steps_to=7)


def test_fresh_forgets_the_study_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with Store(tmp_path) as store:
        add(store, row("a"))
        store.write_results({"lehr": "0"})
    with Store(tmp_path, fresh=True) as store:
        assert store.finished("a") is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lock", "mine.txt", "rows.jsonl", "traces"]
    assert list((tmp_path / "traces").iterdir()) == []


def test_two_studies_do_not_share_a_folder(tmp_path: Path) -> None:
    with Store(tmp_path), pytest.raises(LehrError, match="another one is running"), Store(tmp_path):
        pass
    with Store(tmp_path):  # let go
        pass


def test_a_killed_study_lets_its_folder_go(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from lehr.study.store import Store\n"
        "with Store(Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == -9
    with Store(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LehrError, match="must be a folder that can be written to"), Store(tmp_path / "file"):
        pass
