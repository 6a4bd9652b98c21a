"""Traces: the columnar record of a run, written as it goes, one JSON object a line.

The first line is the header; after it come one line a step, and one an event. A killed run leaves at most a torn last
line, and reads back to the last whole one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from lehr.errors import LehrError
from lehr.journal import Event

__all__ = ["Trace", "TraceWriter", "record"]

Column = np.ndarray[Any, np.dtype[np.float64]]
FORMAT = 1


@dataclass
class Trace:
    """A run as columns.

    Attributes:
        header: what was run: Lehr's version, the policy's text, and what the recorder added (workload, seed, data hash).
        columns: name → array, one entry a row. "step" and "lr" (of the first group) are always there; "lr.1", "lr.2" …
            are further groups; every reported number has its column, NaN where nothing was reported.
        events: what happened, in order.
    """

    header: dict[str, Any] = field(default_factory=dict)
    columns: dict[str, Column] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)

    @classmethod
    def read(cls, path: str | Path) -> Trace:
        """Read a trace back, up to its last whole line.

        Raises:
            LehrError: the file is not a trace, or a line before the last is damaged.
        """
        with Path(path).open(encoding="utf-8", errors="replace") as file:
            lines = list(_whole_lines(file, str(path)))
        if not lines or "header" not in lines[0]:
            raise LehrError(f"{path} is not a trace: its first line must hold a header")
        rows = [line for line in lines[1:] if "event" not in line]
        events = [Event.read(line["event"]) for line in lines[1:] if "event" in line]
        return cls(lines[0]["header"], _columns(rows), events)


class TraceWriter:
    """Writes a trace line by line. Each line reaches the operating system at once, so a killed run loses none."""

    def __init__(self, path: str | Path, header: Mapping[str, Any]) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[str] = Path(path).open("w", encoding="utf-8", buffering=1)
        self._write({"header": {"format": FORMAT, **header}})

    def row(self, step: int, lrs: Sequence[float], numbers: Mapping[str, float]) -> None:
        """The LR that update `step` used, and what was reported at it."""
        self._write({"step": step, "lr": list(lrs) if len(set(lrs)) > 1 else lrs[0], **_finite(numbers)})

    def event(self, event: Event) -> None:
        """Something that happened."""
        self._write({"event": event.plain()})

    def close(self) -> None:
        """End the file."""
        self._file.close()

    def _write(self, line: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(line, allow_nan=False) + "\n")


class _Run(Protocol):
    def subscribe(self, function: Any, on: str = "events") -> Any: ...

    @property
    def policy(self) -> Any: ...


@contextmanager
def record(run: _Run, path: str | Path, **header: Any) -> Iterator[TraceWriter]:
    """Write the trace of a run while it goes.

    Args:
        run: a controller, or an adapter such as `lehr.torch.Scheduler`.
        path: of the file; it is begun anew.
        header: what else to say of the run: workload, seed, hash of the data.

    Example:
        >>> import lehr, tempfile
        >>> run = lehr.start(lehr.cosine(), lr=0.1, steps=10)
        >>> with lehr.record(run, f"{tempfile.mkdtemp()}/trace.jsonl", seed=0) as writer:
        ...     for _ in range(10):
        ...         run.step(loss=0.5)
    """
    from lehr import __version__

    writer = TraceWriter(path, {"lehr": __version__, "policy": run.policy.text(full=True), **header})
    stops = [run.subscribe(writer.row, on="steps"), run.subscribe(writer.event, on="events")]
    try:
        yield writer
    finally:
        for stop in stops:
            stop()
        writer.close()


def _whole_lines(file: IO[str], path: str) -> Iterator[dict[str, Any]]:
    broken = ""
    for number, text in enumerate(file, 1):
        if broken:
            raise LehrError(f"{path} is damaged: line {broken} is not JSON, and more lines follow")
        try:
            line = json.loads(text)
        except ValueError:
            broken = str(number)
            continue
        if not isinstance(line, dict) or not text.endswith("\n"):
            broken = str(number)
            continue
        yield line


def _columns(rows: list[dict[str, Any]]) -> dict[str, Column]:
    columns: dict[str, Column] = {"step": np.full(len(rows), np.nan), "lr": np.full(len(rows), np.nan)}
    for i, row in enumerate(rows):
        for name, value in row.items():
            values = value if isinstance(value, list) else [value]
            for k, item in enumerate(values):
                key = f"{name}.{k}" if k else name
                if key not in columns:
                    columns[key] = np.full(len(rows), np.nan)
                columns[key][i] = _number(item)
    return columns


def _finite(numbers: Mapping[str, float]) -> dict[str, float | str]:
    """JSON has no NaN and no infinities; they are written as texts."""
    return {name: value if math.isfinite(value) else str(value) for name, value in numbers.items()}


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
