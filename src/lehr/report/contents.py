"""What the report shows of a study's folder: rankings as they are, and one run of each policy as thinned curves.

The run shown is one seed for all policies of a workload, so that they start from the same weights and see the same
batches: the ranking seed whose control run has the median test loss. Each policy is shown at its own chosen peak.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lehr.errors import LehrError
from lehr.journal import Event
from lehr.report.palette import Ink, inks
from lehr.report.thin import smoothed, thinned
from lehr.study.rows import Row
from lehr.study.stats import CONTROL, Ranking
from lehr.study.store import RESULTS, ROWS, read_rows
from lehr.trace import Trace

__all__ = ["Curve", "Line", "Section", "Study", "read"]

LR, TRAINING, VALIDATION = "lr", "training loss", "validation loss"


@dataclass(frozen=True)
class Curve:
    """Points of a curve, thinned for the eye; x are steps."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]


@dataclass(frozen=True)
class Line:
    """One policy on the charts of a workload."""

    policy: str
    text: str
    ink: Ink
    row: Row | None  # of the run shown; None: no ranking run has a trace
    curves: Mapping[str, Curve]  # by name: LR, TRAINING, VALIDATION, and the metric
    events: tuple[Event, ...]  # but for the last one of a run that went to its end


@dataclass(frozen=True)
class Section:
    """All that the report says of one workload."""

    anchor: str  # names the section inside the page
    facts: Mapping[str, Any]  # the workload's entry in study.json
    rankings: tuple[Ranking, ...]  # best first
    lines: tuple[Line, ...]  # in design order
    seed: int | None  # of the runs shown

    @property
    def name(self) -> str:
        """The workload's name."""
        return str(self.facts["name"])

    @property
    def metric(self) -> str:
        """The metric's name."""
        return str(self.facts["metric"])

    @property
    def ranked_lines(self) -> list[Line]:
        """The lines in the order of the ranking."""
        places = {ranking.policy: place for place, ranking in enumerate(self.rankings)}
        return sorted(self.lines, key=lambda line: places.get(line.policy, len(places)))


@dataclass(frozen=True)
class Study:
    """A finished study."""

    facts: Mapping[str, Any]  # study.json
    sections: tuple[Section, ...]


def read(folder: Path) -> Study:
    """Read what a study left in its folder.

    Raises:
        LehrError: The folder holds no finished study.
    """
    if not (folder / RESULTS).is_file():
        raise LehrError(f"a report needs a finished study, but {folder / RESULTS} is missing; run `lehr compare` first")
    facts = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
    rows = read_rows(folder / ROWS)
    sections = [_section(folder, f"workload-{i}", entry, rows) for i, entry in enumerate(facts["workloads"], start=1)]
    return Study(facts, tuple(sections))


def _section(folder: Path, anchor: str, facts: Mapping[str, Any], rows: Sequence[Row]) -> Section:
    rankings = tuple(Ranking(**{**entry, "silent_rules": tuple(entry["silent_rules"])}) for entry in facts["ranking"])
    peaks = {ranking.policy: ranking.peak for ranking in rankings}
    shown = [row for row in rows if row.workload == facts["name"] and row.role == "rank" and row.trace]
    shown = [row for row in shown if row.peak == peaks.get(row.policy)]
    seed = _typical_seed(shown)
    colours = inks(policy["label"] for policy in facts["policies"])
    lines = tuple(
        _line(folder, facts, policy, colours[policy["label"]], _pick(shown, policy["label"], seed))
        for policy in facts["policies"]
    )
    return Section(anchor, facts, rankings, lines, seed)


def _typical_seed(rows: Sequence[Row]) -> int | None:
    """The seed whose control run (without a control: whose first policy's run) has the median test loss."""
    labels = [row.policy for row in rows]
    label = CONTROL if CONTROL in labels else next(iter(labels), "")
    runs = [row for row in rows if row.policy == label]
    runs.sort(key=lambda row: np.inf if row.test_loss is None else row.test_loss)
    return runs[(len(runs) - 1) // 2].seed if runs else None


def _pick(rows: Sequence[Row], label: str, seed: int | None) -> Row | None:
    """The policy's run with the seed, or any run of it."""
    runs = [row for row in rows if row.policy == label]
    return next((row for row in runs if row.seed == seed), runs[0] if runs else None)


def _line(folder: Path, facts: Mapping[str, Any], policy: Mapping[str, str], ink: Ink, row: Row | None) -> Line:
    if row is None or not (folder / row.trace).is_file():
        return Line(policy["label"], policy["text"], ink, None, {}, ())
    trace = Trace.read(folder / row.trace)
    events = tuple(event for event in trace.events if event.kind != "finish" or event.step < facts["steps"])
    return Line(policy["label"], policy["text"], ink, row, _curves(trace, facts["metric"]), events)


def _curves(trace: Trace, metric: str) -> dict[str, Curve]:
    """The curves of a run that have any point; empty ones are left out."""
    columns = trace.columns
    curves = {
        LR: _exact(columns, "lr", log_decades=4),
        TRAINING: _smooth(columns, "loss"),
        VALIDATION: _exact(columns, "val_loss"),
        metric: _exact(columns, f"val_{metric}"),
    }
    return {name: curve for name, curve in curves.items() if len(curve.x)}


def _exact(columns: Mapping[str, NDArray[np.float64]], name: str, log_decades: float = 0.0) -> Curve:
    """The finite points of a column, but for those that do not change the picture."""
    x, y = _finite(columns, name)
    kept = thinned(y, log_decades=log_decades)
    return Curve(x[kept], y[kept])


def _smooth(columns: Mapping[str, NDArray[np.float64]], name: str) -> Curve:
    return Curve(*smoothed(*_finite(columns, name)))


def _finite(columns: Mapping[str, NDArray[np.float64]], name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    steps = np.asarray(columns["step"], dtype=np.float64)
    values = np.asarray(columns.get(name, np.full(len(steps), np.nan)), dtype=np.float64)
    finite = np.isfinite(values)
    return steps[finite], values[finite]
