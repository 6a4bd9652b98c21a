"""TensorBoard's event files: each tag a series of numbers, in float32 unless their writer chose otherwise.

All event files in a folder are one run. After a restart a later file begins anew, often at steps that an earlier one
has, too; then what the earlier one says of this tag, from there on, is replaced. `SummaryWriter(purge_step=...)` does
so for all tags, as in TensorBoard.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lehr.errors import LehrError
from lehr.extras import needs
from lehr.logs.log import Log
from lehr.logs.series import woven

__all__ = ["FILES", "read", "recognises"]

FILES = "events.out.tfevents.*"
FRAME = 16  # bytes of a record beside its content: its length, and two checksums
Points = list[tuple[int, float]]


def recognises(content: bytes) -> bool:
    """Whether a file that begins so is one."""
    return b"brain.Event:" in content[:64]


def read(place: Path) -> Log:
    """Read an event file, or all in a folder.

    Raises:
        LehrError: a file is damaged before its last record, or a series goes back within one file.
        MissingExtra: tensorboard is not installed.
    """
    files = sorted(place.glob(FILES)) if place.is_dir() else [place]
    series: dict[str, Points] = {}
    others: dict[str, None] = {}
    notes: list[str] = []
    replaced = 0
    for file in files:
        mine: dict[str, Points] = {}
        for event in _events(file, notes):
            if event.HasField("session_log") and event.session_log.status == event.session_log.START:
                replaced += _cut(series, dict.fromkeys([*series], event.step))
                _cut(mine, dict.fromkeys([*mine], event.step))
            for value in event.summary.value:
                number = _number(value)
                if number is None:
                    others[value.tag] = None
                else:
                    mine.setdefault(value.tag, []).append((event.step, number))
        replaced += _cut(series, {tag: points[0][0] for tag, points in mine.items() if points})
        for tag, points in mine.items():
            series.setdefault(tag, []).extend(points)
    rows, column = woven({tag: points for tag, points in series.items() if points}, str(place))
    if len(files) > 1:
        again = f"; {replaced} points of earlier ones were replaced, as a later one began anew" if replaced else ""
        notes.append(f"{len(files)} event files are one run{again}")
    return Log("tensorboard", rows, [tag for tag in others if tag not in series], notes, step=column)


def _events(file: Path, notes: list[str]) -> Iterator[Any]:
    """The events of a file, up to a torn last one."""
    with needs("logs"):
        from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
        from tensorboard.compat.proto.event_pb2 import Event
    end = 0
    for record in RawEventFileLoader(str(file)).Load():
        end += len(record) + FRAME
        yield Event.FromString(record)
    with file.open("rb") as content:
        size = content.seek(0, 2)
        content.seek(end)
        head = content.read(8)
    if size > end:
        if len(head) == 8 and end + struct.unpack("<Q", head)[0] + FRAME <= size:
            raise LehrError(f"{file} is damaged at byte {end} of {size}; take a copy, or the file of an earlier run")
        notes.append(f"the last record of {file.name} is torn and was left out")


def _number(value: Any) -> float | None:
    """The number in a summary; None if it is something else: a text, an image, a histogram."""
    kind = value.WhichOneof("value")
    if kind == "simple_value":
        return float(value.simple_value)
    if kind != "tensor" or value.tensor.tensor_shape.dim:
        return None
    from tensorboard.util.tensor_util import make_ndarray

    number = make_ndarray(value.tensor)
    return float(number) if number.dtype.kind in "fiu" else None


def _cut(series: dict[str, Points], since: dict[str, int]) -> int:
    """Cut series off at steps, by name; how many points they lose."""
    lost = 0
    for tag, step in since.items():
        kept = [point for point in series.get(tag, []) if point[0] < step]
        lost += len(series.get(tag, [])) - len(kept)
        if tag in series:
            series[tag] = kept
    return lost
