"""What goes to a worker and what comes back: plain values, so that the study itself never imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lehr.study.design import Cell, Facts
from lehr.study.rows import Row


@dataclass(frozen=True)
class Job:
    """A cell with what a worker needs to run it."""

    cell: Cell
    facts: Facts
    folder: Path  # of the study
    trace: str  # path inside the folder


@dataclass(frozen=True)
class Outcome:
    """What comes back: the row, and what is not part of it."""

    row: Row
    warnings: tuple[str, ...]  # that Lehr gave, in order, each once
