"""TensorBoard's event files: each tag a series of numbers, in float32 unless their writer chose otherwise.

All event files in a folder are one run. After a restart a later file begins anew, often at steps that an earlier one
has, too; then what the earlier one says of this tag, from there on, is replaced. `SummaryWriter(purge_step=...)` does
so for all tags, as in TensorBoard.

Some writers part a run among folders: Keras into `train` and `validation`, `SummaryWriter.add_scalars(tag, ...)` into
one for each name. These are read as one, by tags such as `validation/epoch_loss` and `tag/name`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lehr.errors import LehrError
from lehr.extras import needs
from lehr.logs.log import Log
from lehr.logs.series import woven

__all__ = ["holds", "read", "recognises"]

FILES = "events.out.tfevents.*"
TRAINING = frozenset(("train", "training"))
PARTS = TRAINING | {"val", "valid", "validation", "eval", "evaluation", "test"}  # folders that are parts of one run
BY_EPOCH, BY_ITERATION = (
    re.compile(r"(\w+/)?epoch_"),
    re.compile(r"(\w+/)?(batch_|evaluation_\w+_vs_iterations$)"),
)  # Keras
FRAME = 16  # bytes of a record beside its content: its length, and two checksums
MOST = 8  # folders that a note lists
Points = list[tuple[int, float]]


def recognises(content: bytes) -> bool:
    """Whether a file that begins so is one."""
    return b"brain.Event:" in content[:64]


def holds(folder: Path) -> bool:
    """Whether a run lies in a folder: event files, or the folders that are its parts."""
    return any(folder.glob(FILES)) or any(below.name.lower() in TRAINING for below in _below(folder))


def read(place: Path) -> Log:
    """Read an event file, or all of a folder's run.

    Raises:
        LehrError: a file is damaged before its last record, or a series goes back within one file.
        MissingExtra: tensorboard is not installed.
    """
    notes: list[str] = []
    others: dict[str, None] = {}
    series = _run([place] if place.is_file() else sorted(place.glob(FILES)), notes, others)
    apart = []
    for folder in _below(place):
        found = _run(sorted(folder.glob(FILES)), notes, others)
        names = {tag: _whole(folder.name, tag) for tag in found}
        if all(names.values()):
            series |= {names[tag] or tag: points for tag, points in found.items()}
        else:
            apart.append(folder.name)
    if apart:
        notes.append(f"folders below hold other runs, which were left out: {', '.join(apart[:MOST])}")
    aside = [tag for tag in series if BY_ITERATION.match(tag)] if any(map(BY_EPOCH.match, series)) else []
    if aside:
        notes.append(f"counted in iterations beside numbers of epochs, and left out: {', '.join(aside)}")
    series = {tag: points for tag, points in series.items() if points and tag not in aside}
    epochs = bool(series) and all(map(BY_EPOCH.match, series))
    rows, column, noticed = woven(series, str(place), "epoch" if epochs else "step")
    left_out = [tag for tag in others if tag not in series]
    return Log("tensorboard", rows, left_out, list(dict.fromkeys([*notes, *noticed])), step=None if epochs else column)


def _below(folder: Path) -> list[Path]:
    """The folders in a folder that hold event files."""
    return [each for each in sorted(folder.glob("*/")) if any(each.glob(FILES))]


def _whole(folder: str, tag: str) -> str | None:
    """What a tag in a part of a run is called in the whole; None if the folder is a run of its own."""
    if folder.lower() in PARTS:
        return f"{folder}/{tag}"
    begin = f"{tag.replace('/', '_')}_"  # as `add_scalars` names its folders
    return f"{tag}/{folder.removeprefix(begin)}" if folder.startswith(begin) else None


def _run(files: list[Path], notes: list[str], others: dict[str, None]) -> dict[str, Points]:
    """The numbers in event files that follow each other, by tag; other tags and what is to be said are added."""
    series: dict[str, Points] = {}
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
    if len(files) > 1:
        again = f"; {replaced} points of earlier ones were replaced, as a later one began anew" if replaced else ""
        notes.append(f"{len(files)} event files are one run{again}")
    return series


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
