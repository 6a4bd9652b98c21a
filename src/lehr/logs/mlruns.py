"""The metrics of a run as MLflow's file store keeps them: a file each, a line a value: time, value, step."""

from __future__ import annotations

import re
from pathlib import Path

from lehr.errors import LehrError
from lehr.logs.log import Log
from lehr.logs.series import woven

__all__ = ["read", "recognises"]

LINE = re.compile(r"(?P<time>\d{10,}) (?P<value>\S+) (?P<step>-?\d+)( .*)?")


def recognises(text: str) -> bool:
    """Whether a file that begins so is one."""
    return LINE.fullmatch(text.split("\n", 1)[0]) is not None


def read(place: Path) -> Log:
    """Read such a file, or all in the folder `metrics` of a run.

    Raises:
        LehrError: a line is something else, or the steps of a metric go back.
    """
    folder, files = (place, sorted(place.rglob("*"))) if place.is_dir() else (place.parent, [place])
    series = {str(file.relative_to(folder).as_posix()): _points(file) for file in files if file.is_file()}
    rows, column, notes = woven(series, str(place))
    return Log("mlflow", rows, [], notes, step=column)


def _points(file: Path) -> list[tuple[int, float]]:
    points = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        found = LINE.fullmatch(line)
        if found is None:
            raise LehrError(f"{file}: line {number} is not a time, a value and a step, but {line[:60]!r}")
        points.append((int(found["step"]), float(found["value"])))
    return points
