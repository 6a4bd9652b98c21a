"""`read_trace`: the log of a run, whoever wrote it, as a trace."""

from __future__ import annotations

import codecs
import itertools
import math
import re
from collections.abc import Iterable, Mapping
from keyword import iskeyword
from pathlib import Path
from types import ModuleType
from typing import cast

import numpy as np

from lehr.errors import LehrError
from lehr.logs import jsonl, mlruns, parquet, table, tensorboard, trainer_state
from lehr.logs.folders import log_in
from lehr.logs.log import Log, Row
from lehr.logs.meanings import UNREPORTABLE, Meanings, meanings
from lehr.logs.steps import steps_of
from lehr.rules import Observation
from lehr.spelling import shown
from lehr.trace import Column, Trace

__all__ = ["read_trace"]

FORMATS: tuple[ModuleType, ...] = (trainer_state, jsonl, table)  # the first that recognises a file reads it
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # as spreadsheets write "Unicode text"
OWN = re.compile(r'\s*\{\s*"header"\s*:')


def read_trace(path: str | Path, *, columns: Mapping[str, str] | None = None) -> Trace:
    r"""Read the log of a run, whoever wrote it, as a trace.

    It may be Lehr's own, csv, jsonl, parquet, TensorBoard's event files, the metrics in MLflow's file store, or the
    `trainer_state.json` of Hugging Face's Trainer.

    The columns of step, LR and loss are found by their usual names; of a training loss under another name
    (`train/loss`) the column is called `loss`. All other columns keep their names, made names of Python: `eval/loss`
    becomes `eval_loss`. An empty cell is no report; NaN and infinities are observations. Rows of one step are one
    observation. Where a log counts epochs alone, an epoch is a step; where it counts nothing, a row is one.

    Args:
        path: of the file; what it is shows from its content. Or of a folder with one log in it: Lightning's, the
            Trainer's, TensorBoard's or a run of MLflow's file store.
        columns: name in the trace → column of the log, where names do not tell: `columns={"loss": "train/loss_ce"}`;
            the names `step`, `loss` and `lr` have their meaning.

    Returns:
        A trace whose header has the entry "read": the format, which column became which name, the columns without
        numbers that were left out, and notes on what had to be decided.

    Raises:
        LehrError: the file cannot be read or is no log; a folder holds none, or several; several columns could be the
            step, the loss or the LR; the steps go back; or a column holds more than numbers.
        MissingExtra: event files need tensorboard, and parquet needs polars: `pip install 'lehr[logs]'`.

    Example:
        >>> import tempfile
        >>> path = f"{tempfile.mkdtemp()}/metrics.csv"
        >>> with open(path, "w") as file:
        ...     _ = file.write("epoch,step,train_loss,val/loss\n0,49,0.9,\n0,49,,1.1\n0,99,0.7,\n")
        >>> trace = read_trace(path)
        >>> trace.columns["val_loss"].tolist()
        [1.1, nan]
        >>> trace.header["read"]["columns"]
        {'step': 'step', 'epoch': 'epoch', 'loss': 'train_loss', 'val_loss': 'val/loss'}
    """
    chosen = dict(columns or {})
    for name in chosen:
        if not isinstance(name, str) or not name.isidentifier() or iskeyword(name):
            raise LehrError(f"columns={{name: column}}: a name must be one of Python's, got {shown(name)}")
        if name in UNREPORTABLE and name not in ("step", "lr"):
            raise LehrError(f"columns={{{name!r}: ...}}: {name!r} has another meaning; choose another name")
    place = log_in(Path(path)) if Path(path).is_dir() else Path(path)
    log = _log(place)
    if log is None:
        return _own(place, chosen)
    return _trace(log, meanings(log, str(place), chosen), str(place))


def _log(place: Path) -> Log | None:
    """What is in a file, or in a folder of files that are one log; None if it is a trace of Lehr's."""
    if place.is_dir():
        return tensorboard.read(place) if tensorboard.holds(place) else mlruns.read(place)
    try:
        content = place.read_bytes()
    except OSError as error:
        raise LehrError(f"cannot read {str(place)!r}: {error.strerror or error}; give the path of a log") from error
    if tensorboard.recognises(content):
        return tensorboard.read(place)
    if parquet.recognises(content):
        return parquet.read(content, str(place))
    text = _text(content, place)
    if OWN.match(text):
        return None
    if mlruns.recognises(text):
        return mlruns.read(place)
    for form in FORMATS:
        if form.recognises(text):
            return cast(Log, form.read(text, str(place)))
    raise LehrError(
        f"{place} is no log that can be read; there are traces of Lehr, csv (with the names of its columns in the "
        "first line), jsonl, parquet, trainer_state.json and event files of TensorBoard. Export other logs as csv"
    )


def _text(content: bytes, path: Path) -> str:
    text = content.decode("utf-16" if content.startswith(UTF_16) else "utf-8-sig", errors="replace")
    if "\0" in text[:4096]:
        raise LehrError(f"{path} is a binary file; export the log as csv, jsonl or parquet")
    if not text.strip():
        raise LehrError(f"{path} is empty; give the log of a run that has begun")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _own(path: str | Path, chosen: Mapping[str, str]) -> Trace:
    """A trace of Lehr's, with other names for some of its columns."""
    trace = Trace.read(path)
    new = {column: name for name, column in chosen.items()}
    for column, name in new.items():
        if column not in trace.columns or column in ("step", "lr") or name in trace.columns:
            raise LehrError(
                f"columns={{{name!r}: {column!r}}}: a trace of Lehr can have a reported number under a new name; "
                f"{path} holds {', '.join(trace.columns)}"
            )
    trace.columns = {new.get(name, name): values for name, values in trace.columns.items()}
    trace.observations = [
        seen._replace(numbers={new.get(name, name): value for name, value in seen.numbers.items()})
        for seen in trace.observations
    ]
    back = {name: column for column, name in new.items()}
    about = {"format": "lehr", "path": str(path), "columns": {name: back.get(name, name) for name in trace.columns}}
    trace.header = trace.header | {"read": about | {"left_out": [], "notes": []}}
    return trace


def _trace(log: Log, found: Meanings, path: str) -> Trace:
    steps, told = steps_of(log, found, path)
    lrs = [(step, _lrs(row, found)) for step, row in zip(steps, log.rows, strict=True) if step is not None]
    reports, clashes = _merged(log, found, steps)
    said = [f"{name} has several values in {n} steps; the first number of each is kept" for name, n in clashes.items()]
    epochs = {"steps": max(reports) + 1, "steps_per_epoch": 1} if found.epoch is not None else {}
    about = {"format": log.format, "path": path, "columns": _said(found), "left_out": list(log.left_out)}
    about["notes"] = [*log.notes, *told, *said]
    header = {"groups": max(len(found.lrs), 1), "horizon": {**log.facts, **epochs}, "read": about}
    reported = _columns(reports.items())
    columns = {"step": reported["step"], "lr": np.full(len(reports), np.nan)} | _columns(lrs) | reported
    return Trace(header, columns, [], [Observation(step, numbers, True) for step, numbers in reports.items()])


def _merged(
    log: Log, found: Meanings, steps: Iterable[int | None]
) -> tuple[dict[int, dict[str, float]], dict[str, int]]:
    """What was reported of each step, the first number of each name; and how often another one followed."""
    reports: dict[int, dict[str, float]] = {}
    clashes: dict[str, int] = {}
    for step, row in zip(steps, log.rows, strict=True):
        if step is None:
            continue
        heard = reports.setdefault(step, {})
        for column, name in found.names.items():
            value = row.numbers.get(column)
            if value is None:
                continue
            if (known := heard.setdefault(name, value)) != value and not math.isnan(value):
                clashes[name] = clashes.get(name, 0) + 1
                heard[name] = value if math.isnan(known) else known
    return reports, clashes


def _lrs(row: Row, found: Meanings) -> dict[str, float]:
    return {_lr(k): row.numbers[column] for k, column in enumerate(found.lrs) if column in row.numbers}


def _columns(rows: Iterable[tuple[int, Mapping[str, float]]]) -> dict[str, Column]:
    """Rows of steps in order as columns, NaN where a row lacks a number; rows of one step become one."""
    merged: dict[int, dict[str, float]] = {}
    for step, numbers in rows:
        if numbers or step not in merged:
            merged.setdefault(step, {}).update(numbers)
    names = dict.fromkeys(itertools.chain.from_iterable(merged.values()))
    columns = {name: np.array([numbers.get(name, math.nan) for numbers in merged.values()]) for name in names}
    return {"step": np.array(list(merged), dtype=np.float64), **columns}


def _said(found: Meanings) -> dict[str, str]:
    """Name in the trace → column of the log."""
    counted = found.step or found.epoch
    said = {} if counted is None else {"step": counted}
    said |= {_lr(k): column for k, column in enumerate(found.lrs)}
    return said | {name: column for column, name in found.names.items()}


def _lr(group: int) -> str:
    return f"lr.{group}" if group else "lr"
