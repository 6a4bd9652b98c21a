"""Traces: the columnar record of a run, written as it goes, one JSON object a line.

The first line is the header; after it come one line a step (and one a report between steps, with `"applied": false`,
which is read back into the row of its step), and one an event. A killed run leaves at most a torn last line, and reads
back to the last whole one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Literal, Protocol

import numpy as np

from lehr.errors import LehrError
from lehr.journal import Event
from lehr.rules import Observation
from lehr.version import __version__

__all__ = ["Trace", "TraceWriter", "record"]

Column = np.ndarray[Any, np.dtype[np.float64]]
Key = tuple[int, str, str, tuple[float, ...]]
FORMAT = 1
_encode = json.JSONEncoder(allow_nan=False).encode  # made once: json.dumps would make an encoder a line
RESERVED = ("header", "event", "step", "lr", "applied")


@dataclass
class Trace:
    """A run as columns.

    Attributes:
        header: what was run: Lehr's version, the policy's text, the number of parameter groups and their base LRs, and
            what the recorder added (workload, seed, hash of the data).
        columns: name → array, one entry a step. "step" and "lr" (of the first group) are always there; "lr.1", "lr.2" …
            are further groups; every reported number has its column, NaN where nothing was reported. A number that was
            reported under one of these names is in the column with "_" after its name.
        events: what happened, in order.
        observations: what was reported, in the order in which it was heard, if it was read from a file. The columns
            hold the same numbers, but neither tell a NaN from none nor a report at an update from one before it.
    """

    header: dict[str, Any] = field(default_factory=dict)
    columns: dict[str, Column] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    observations: list[Observation] = field(default_factory=list)

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
        events = (Event.read(line["event"]) for line in lines[1:] if "event" in line)
        final = {_key(event): event for event in events}  # an event that went on was written again as it ended
        header = lines[0]["header"]
        return cls(header, _columns(rows, header.get("groups", 1)), list(final.values()), _observations(rows))


class TraceWriter:
    """Writes a trace line by line. Each line reaches the operating system at once, so a killed run loses none."""

    def __init__(self, path: str | Path, header: Mapping[str, Any]) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[str] = Path(path).open("w", encoding="utf-8", buffering=1)  # noqa: SIM115  # `close` closes it
        self._written: dict[Key, Event] = {}
        self._write({"header": {"format": FORMAT, **header}})

    def row(self, step: int, lrs: Sequence[float], numbers: Mapping[str, float], applied: bool = True) -> None:
        """The LR that update `step` used, and what was reported at it, or (if it is not applied yet) before it."""
        values = [_json(lr) for lr in (lrs if len(set(lrs)) > 1 else lrs[:1])]
        reported = {f"{name}_" if name in RESERVED else name: _json(value) for name, value in numbers.items()}
        row: dict[str, Any] = {"step": step, "lr": values if len(values) > 1 else values[0]}
        self._write({**row, **({} if applied else {"applied": False}), **reported})

    def event(self, event: Event) -> None:
        """Something that happened."""
        self._written[_key(event)] = event
        self._write({"event": event.plain()})

    def close(self, events: Iterable[Event] = ()) -> None:
        """End the file; of `events`, those that went on after they were written are written again, as they ended."""
        for event in events:
            if self._written.get(_key(event), event) != event:
                self.event(event)
        self._file.close()

    def _write(self, line: Mapping[str, Any]) -> None:
        self._file.write(_encode(line) + "\n")


class _Run(Protocol):
    def subscribe(self, function: Callable[..., None], on: Literal["events", "steps"] = "events") -> Any: ...

    @property
    def t(self) -> int: ...

    @property
    def policy(self) -> Any: ...

    @property
    def horizon(self) -> Any: ...

    @property
    def lrs(self) -> list[float]: ...

    @property
    def base_lrs(self) -> Sequence[Any]: ...

    @property
    def events(self) -> Iterable[Event]: ...


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
    about = {"lehr": __version__, "policy": run.policy.text(full=True), "groups": len(run.lrs)}
    about |= {"base_lrs": [float(lr) for lr in run.base_lrs]}
    known = {name: value for name, value in asdict(run.horizon).items() if value is not None}
    about |= {"horizon": known} if known else {}
    writer = TraceWriter(path, about | header)

    def row(step: int, lrs: Sequence[float], numbers: Mapping[str, float]) -> None:
        writer.row(step, lrs, numbers, applied=run.t > step)

    stops = [run.subscribe(row, on="steps"), run.subscribe(writer.event, on="events")]
    try:
        yield writer
    finally:
        for stop in stops:
            stop()
        writer.close(run.events)


def _whole_lines(file: IO[str], path: str) -> Iterator[dict[str, Any]]:
    broken = ""
    for number, text in enumerate(file, 1):
        if broken == "1":
            return
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


def _columns(rows: list[dict[str, Any]], groups: int) -> dict[str, Column]:
    """The rows as columns; what was said of one step in several lines stands in one row."""
    groups = max([groups, *(len(row["lr"]) for row in rows if isinstance(row["lr"], list))])
    merged: dict[int, dict[str, Any]] = {}
    for row in rows:
        merged.setdefault(row["step"], {}).update(row, lr=row["lr"] if isinstance(row["lr"], list) else [row["lr"]])
    columns = {name: np.full(len(merged), np.nan) for name in ("step", *(_lr(k) for k in range(groups)))}
    for i, row in enumerate(merged.values()):
        lrs = row.pop("lr")
        row.pop("applied", None)
        spread = lrs * groups if len(lrs) == 1 else lrs  # one number stands for all groups
        for name, value in (row | {_lr(k): lr for k, lr in enumerate(spread)}).items():
            columns.setdefault(name, np.full(len(merged), np.nan))[i] = math.nan if value is None else float(value)
    return columns


def _observations(rows: list[dict[str, Any]]) -> list[Observation]:
    """What was reported, row by row; in traces that do not say so, the last row of a step is that of its update."""
    last = {row["step"]: i for i, row in enumerate(rows)}
    return [
        Observation(row["step"], _reported(row), row.get("applied", last[row["step"]] == i))
        for i, row in enumerate(rows)
    ]


def _reported(row: Mapping[str, Any]) -> dict[str, float]:
    """The reported numbers of a row, under the names that they were reported by."""
    names = {f"{name}_": name for name in RESERVED}
    return {
        names.get(name, name): math.nan if value is None else float(value)
        for name, value in row.items()
        if name not in ("step", "lr", "applied")
    }


def _lr(group: int) -> str:
    return f"lr.{group}" if group else "lr"


def _key(event: Event) -> Key:
    """What stays the same while an event goes on (its words are those of the last time)."""
    return event.step, event.kind, event.rule or event.words, event.lr_before


def _json(value: float) -> float | str:
    """JSON has no NaN and no infinities; they are written as texts."""
    return value if math.isfinite(value) else str(value)
