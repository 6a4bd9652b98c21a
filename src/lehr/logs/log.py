"""A log before its columns have meanings: rows of numbers under the names that they have in the file."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from lehr.errors import LehrError

__all__ = ["Log", "Row", "read_cells"]

NOTHING = ("", "null", "none", "na", "n/a", "<na>")  # texts of a cell in which nothing was reported


class Row(NamedTuple):
    """What stands in one place of the file."""

    place: int  # its line, or its number in a list, from 1
    numbers: dict[str, float]


class Log(NamedTuple):
    """What a format makes of a file."""

    format: str
    rows: list[Row]
    left_out: Sequence[str]  # columns without any number
    notes: Sequence[str] = ()
    facts: Mapping[str, int] = {}  # of the run, as `lehr.Horizon` takes them
    first: int = 0  # the number that the file gives to the first update
    step: str | None = None  # the column that counts steps, where the format itself says so

    @property
    def columns(self) -> list[str]:
        """The columns with numbers, in the order in which they appear."""
        return list(dict.fromkeys(name for row in self.rows for name in row.numbers))


def read_cells(cells: Iterable[tuple[int, Mapping[str, Any]]], path: str) -> tuple[list[Row], list[str]]:
    """The rows of a file as numbers, and the columns that hold none and are left out.

    An empty cell, a missing one and a null are no report. NaN and infinities are numbers: they were reported; but in a
    column that holds no other numbers beside texts, NaN is what pandas writes for an empty cell.

    Raises:
        LehrError: a column holds numbers and, in some place, something else.
    """
    rows: list[Row] = []
    others: dict[str, tuple[int, Any]] = {}  # column → the first of its cells that is no number
    for place, row in cells:
        numbers: dict[str, float] = {}
        for name, cell in row.items():
            value = _number(cell)
            if isinstance(value, float):
                numbers[name] = value
            elif value is not None:
                others.setdefault(name, (place, cell))
        rows.append(Row(place, numbers))
    for name, (place, cell) in others.items():
        if not all(math.isnan(made.numbers.get(name, math.nan)) for made in rows):
            raise LehrError(
                f"{path}: column {name!r} holds numbers, but {cell!r} in line {place}; mend that line, or remove the "
                "column"
            )
        for made in rows:
            made.numbers.pop(name, None)
    return rows, list(others)


def _number(cell: Any) -> float | str | None:
    """The number in a cell; None if there is nothing in it, and a text if there is something else."""
    if cell is None or isinstance(cell, float):
        return cell
    if isinstance(cell, int) and not isinstance(cell, bool):
        return float(cell)
    if not isinstance(cell, str):
        return "no number"
    if not cell:
        return None
    try:
        return float(cell)
    except ValueError:
        text = cell.strip()
        return None if text.lower() in NOTHING else text
