"""Long tables, a row for each number: key, value, step, as MLflow's metric histories and TensorBoard's data frames."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lehr.errors import LehrError
from lehr.logs.log import Log, Row, read_cells
from lehr.logs.series import woven

__all__ = ["log_of"]

KEYS, RUNS = ("key", "tag", "metric", "metric_name"), ("run_id", "run", "run_uuid")
Cells = Iterable[tuple[int, Mapping[str, Any]]]


def log_of(form: str, cells: Cells, path: str, notes: Sequence[str] = ()) -> Log:
    """A log of the rows of a table, be it wide (a column for each number) or long.

    Raises:
        LehrError: a column holds more than numbers; or, in a long table, there are several runs.
    """
    following = iter(cells)
    first = list(itertools.islice(following, 1))
    every = itertools.chain(first, following)
    names = {name.strip().lower(): name for _, row in first for name in row}
    key = next((names[name] for name in KEYS if name in names), None)
    if key is None or not {"value", "step"} <= names.keys():
        rows, left_out = read_cells(every, path)
        return Log(form, rows, left_out, notes)
    listed = list(every)
    run = next((names[name] for name in RUNS if name in names), None)
    runs = sorted({str(row.get(run)) for _, row in listed if run is not None})
    if len(runs) > 1:
        raise LehrError(f"{path} holds {len(runs)} runs ({', '.join(runs[:4])}, …); keep the rows of one")
    value, step = names["value"], names["step"]
    rows, _ = read_cells(((place, {"value": row[value], "step": row[step]}) for place, row in listed), path)
    series: dict[str, list[tuple[int, float]]] = {}
    for (_, cell), row in zip(listed, rows, strict=True):
        if row.numbers.keys() == {"value", "step"}:
            series.setdefault(str(cell[key]), []).append((_whole(row, path), row.numbers["value"]))
    wide, column, noticed = woven(series, path)
    return Log(form, wide, [], [*notes, f"a row is one number, named in {key!r}", *noticed], step=column)


def _whole(row: Row, path: str) -> int:
    step = row.numbers["step"]
    if not step.is_integer():
        raise LehrError(f"{path}: a step must be a whole number, got {step:g} in line {row.place}")
    return int(step)
