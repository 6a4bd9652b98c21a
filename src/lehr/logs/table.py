"""Tables of text: csv with any delimiter, as Lightning, Keras, W&B, MLflow and spreadsheets write them.

Rows may be sparse, and several rows may tell of one step, as Lightning's do for training and validation.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from lehr.errors import LehrError
from lehr.logs.log import Log
from lehr.logs.long import log_of

__all__ = ["read", "recognises"]

DELIMITERS = ",;\t|"
RANGES = ("__MIN", "__MAX")  # W&B's exports hold the range of a smoothed column beside it


def recognises(text: str) -> bool:
    """Whether a file that begins so is one: its first line holds several names, or the second one number."""
    lines = text.lstrip().split("\n")
    return any(delimiter in lines[0] for delimiter in DELIMITERS) or (len(lines) > 1 and _is_number(lines[1]))


def read(text: str, path: str) -> Log:
    """Read it. A torn last line is left out.

    Raises:
        LehrError: two columns of one name, a line with more or fewer cells than the first, or a column that holds more
            than numbers.
    """
    reader = csv.reader(io.StringIO(text, newline=""), _dialect(text))
    lines = [(reader.line_num, line) for line in reader if line]
    header = lines.pop(0)[1]
    names = [name.strip() for name in header]
    if all(map(_is_number, names)):
        raise LehrError(
            f"{path} begins with numbers; write the names of its columns into a first line, such as step,loss"
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise LehrError(f"{path} has two columns named {twice[0]!r}; rename one of them")
    notes = []
    if lines and not text.endswith(("\n", "\r")) and len(lines[-1][1]) < len(names):
        number, _ = lines.pop()
        notes.append(f"line {number}, the last one, is torn and was left out")
    again = next((number for number, line in lines if line == header), None)
    if again is not None:
        raise LehrError(f"{path}: line {again} is the first line again, so another run begins there; keep one of them")
    log = log_of("csv", _cells(names, lines, path), path, notes)
    ranges = {name for name in names for end in RANGES if name.endswith(end) and name.removesuffix(end) in names}
    if not ranges:
        return log
    rows = [row._replace(numbers={n: v for n, v in row.numbers.items() if n not in ranges}) for row in log.rows]
    told = f"ranges of other columns were left out: {', '.join(name for name in names if name in ranges)}"
    return log._replace(rows=rows, notes=[*log.notes, told])


def _cells(names: list[str], lines: list[tuple[int, list[str]]], path: str) -> Iterator[tuple[int, dict[str, str]]]:
    for number, line in lines:
        if len(line) != len(names):
            raise LehrError(f"{path}: line {number} has {len(line)} cells, and the first line has {len(names)} names")
        yield number, {name: cell for name, cell in zip(names, line, strict=True) if name}


def _dialect(text: str) -> type[csv.Dialect] | csv.Dialect:
    """What the csv module makes of the beginning; a comma where it finds no delimiter."""
    try:
        return csv.Sniffer().sniff(text[:8192], DELIMITERS)
    except csv.Error:
        return csv.excel


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
