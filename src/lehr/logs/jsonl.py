"""Plain jsonl: one JSON object a line (or a JSON list of them), each with some numbers; or one object of lists."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any

from lehr.errors import LehrError
from lehr.logs.log import Log
from lehr.logs.long import log_of

__all__ = ["read", "recognises"]


def recognises(text: str) -> bool:
    """Whether a file that begins so is one."""
    return text.lstrip()[:1] in ("{", "[")


def read(text: str, path: str) -> Log:
    """Read it. Objects inside objects are joined to their names by a slash; a torn last line is left out.

    One object that holds lists alone, such as Keras's `history.history`, has a row for each place in them.

    Raises:
        LehrError: a line before the last is no JSON object, or a column holds more than numbers.
    """
    objects = list(_listed(text, path) if text.lstrip().startswith("[") else _columns(text) or _lines(text, path))
    return log_of("jsonl", ((place, dict(_flat(row, ""))) for place, row in objects), path)


def _lines(text: str, path: str) -> Iterator[tuple[int, dict[str, Any]]]:
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    for number, line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if isinstance(row, dict):
            yield number, row
        elif number != lines[-1][0]:
            raise LehrError(f"{path} is damaged: line {number} is no JSON object, and more lines follow")


def _columns(text: str) -> list[tuple[int, dict[str, Any]]]:
    """The rows of one object of lists; none if the text is something else."""
    try:
        columns = json.loads(text)
    except ValueError:
        return []
    if not (isinstance(columns, dict) and columns and all(isinstance(column, list) for column in columns.values())):
        return []
    places = itertools.zip_longest(*columns.values())
    return [(number, dict(zip(columns, cells, strict=True))) for number, cells in enumerate(places, 1)]


def _listed(text: str, path: str) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        rows = json.loads(text)
    except ValueError as error:
        raise LehrError(f"{path} begins as a JSON list and is none: {error}") from None
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise LehrError(f"{path}: item {number} of the list is no JSON object")
        yield number, row


def _flat(row: Mapping[str, Any], before: str) -> Iterator[tuple[str, Any]]:
    for name, value in row.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}/")
        else:
            yield f"{before}{name}", value
