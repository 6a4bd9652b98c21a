"""The folder of a study: finished rows are safe the moment they are finished.

    rows.jsonl        one finished cell a line (`lehr.study.rows.Row`); when the study is complete, exactly its own
                      cells in design order
    other-rows.jsonl  rows of other designs that were made in this folder, kept so that going back to one costs nothing
    traces/KEY.jsonl  one trace a cell (`lehr.Trace.read`)
    study.json        the results: see below
    report.html       written by `lehr.report`
    lock              held while a study runs

`study.json`, an object with

    lehr, python, torch    versions
    command                what to type to do it again
    peaks, seeds, tuning_seeds
                           multipliers of the workloads' LR; seeds that are reported; seeds that chose the peaks
    workloads              a list of objects, one for each workload in order:
        name, about, steps, lr, metric, best, threshold, steps_per_epoch, evaluate_every, data_hash
        policies           [{"label", "text"}, ...] in design order
        ranking            `lehr.study.stats.Ranking` objects as dicts (fields are documented there), best first
        notes              sentences on what was left out or went wrong
        failures           [{"policy", "peak", "seed", "message"}, ...]
        keys               keys of the workload's rows, in design order

A row is appended, flushed and synced, so a kill can only tear the last line, which is dropped on the next start. Whole
files are replaced, never edited.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from lehr.errors import LehrError
from lehr.study.rows import Row

ROWS, OTHERS, TRACES, RESULTS, REPORT, LOCK = (
    "rows.jsonl",
    "other-rows.jsonl",
    "traces",
    "study.json",
    "report.html",
    "lock",
)


class Store:
    """A study's folder, held for one process: a context manager.

    Args:
        folder: Made if missing. Files that are not a study's are left alone.
        fresh: Forget all earlier runs in it.

    Raises:
        LehrError: On entering, when another study runs in the folder, or its rows are damaged.
    """

    def __init__(self, folder: Path, *, fresh: bool = False) -> None:
        self.folder = folder
        self._fresh = fresh
        self._rows: dict[str, Row] = {}

    def __enter__(self) -> Self:
        """Take the folder and read what is in it."""
        _make_folder(self.folder / TRACES)
        self._lock = _locked(self.folder / LOCK)
        try:
            if self._fresh:
                self._forget()
            _drop_torn_line(self.folder / ROWS)
            self._rows = {row.key: row for name in (OTHERS, ROWS) for row in read_rows(self.folder / name)}
            self._file = (self.folder / ROWS).open("a", encoding="utf-8")
        except BaseException:
            self._lock.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the folder go."""
        self._file.close()
        self._lock.close()

    def finished(self, key: str) -> Row | None:
        """The row of a cell that is done: it ran to its end (well or badly) and its trace is still there.

        A failed cell is not done: the cause may have been a full disk.
        """
        row = self._rows.get(key)
        return row if row and row.status != "failed" and (self.folder / row.trace).is_file() else None

    def append(self, row: Row) -> None:
        """Keep a row; when this returns, it survives a kill and a power cut."""
        self._file.write(row.line() + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._rows[row.key] = row

    def complete(self, rows: Sequence[Row]) -> None:
        """Make `rows.jsonl` exactly these rows, in this order; rows of other designs move to their own file."""
        mine = {row.key for row in rows}
        self._file.close()
        # First the others, then the rows: a kill in between leaves a row in both files, never in none.
        others = _lines(row for key, row in self._rows.items() if key not in mine)
        if others:
            _write(self.folder / OTHERS, others)
        _write(self.folder / ROWS, _lines(rows))
        self._rows |= {row.key: row for row in rows}
        self._file = (self.folder / ROWS).open("a", encoding="utf-8")

    def write_results(self, results: dict[str, Any]) -> None:
        """Write `study.json`."""
        _write(self.folder / RESULTS, json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False) + "\n")

    def _forget(self) -> None:
        for name in (ROWS, OTHERS, RESULTS, REPORT):
            (self.folder / name).unlink(missing_ok=True)
        shutil.rmtree(self.folder / TRACES)
        (self.folder / TRACES).mkdir()


def read_rows(path: Path) -> list[Row]:
    """The rows of a file, none if it does not exist; a torn last line is dropped.

    Raises:
        LehrError: A line before the last one is no row.
    """
    if not path.exists():
        return []
    *lines, _torn = path.read_text(encoding="utf-8", errors="replace").split("\n")
    return [_row(path, number, line) for number, line in enumerate(lines, start=1)]


def _row(path: Path, number: int, line: str) -> Row:
    try:
        return Row.from_line(line)
    except ValueError as error:
        raise LehrError(
            f"{path} must hold one row a line, line {number} is none ({error}); "
            "remove that line to train its cell again, or start over with --fresh"
        ) from error


def _drop_torn_line(path: Path) -> None:
    """Cut a file after its last newline, so that the next row starts a line of its own."""
    if path.exists():
        with path.open("r+b") as file:
            file.truncate(file.read().rfind(b"\n") + 1)


def _lines(rows: Iterable[Row]) -> str:
    return "".join(row.line() + "\n" for row in rows)


def _write(path: Path, text: str) -> None:
    """Replace a file as a whole: after a kill there is the old one or the new one."""
    new = path.with_name(path.name + ".new")
    with new.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LehrError(
            f"--out must be a folder that can be written to, got {str(folder.parent)!r} ({error})"
        ) from error


def _locked(path: Path) -> IO[str]:
    """Open a file that only one process can hold; the system lets it go when the process ends, however it ends."""
    file = path.open("a")
    try:
        _lock(file)
    except OSError as error:
        file.close()
        raise LehrError(
            f"one study a folder: another one is running in {str(path.parent)!r}; wait for it or give another --out"
        ) from error
    return file


if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[str]) -> None:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(file: IO[str]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
