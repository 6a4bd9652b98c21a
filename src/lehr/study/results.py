"""From finished rows to results: what came out on each workload, and the content of `study.json`."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lehr
from lehr.study.design import PEAKS, Design
from lehr.study.rows import Row
from lehr.study.stats import CONTROL, Ranking, rank, steps_to_reach

FACTS = (
    "name",
    "about",
    "steps",
    "lr",
    "metric",
    "best",
    "threshold",
    "steps_per_epoch",
    "evaluate_every",
    "data_hash",
)


@dataclass(frozen=True)
class Comparison:
    """What came out on one workload."""

    design: Design
    rows: tuple[Row, ...]  # in design order
    ranking: tuple[Ranking, ...]  # best first
    notes: tuple[str, ...]  # sentences on what was left out or went wrong

    @property
    def failures(self) -> tuple[Row, ...]:
        """The runs that raised an exception."""
        return tuple(row for row in self.rows if row.status == "failed")


def comparison(design: Design, rows: Sequence[Row], folder: Path, warnings: Iterable[str] = ()) -> Comparison:
    """Rank one workload's policies.

    Args:
        design: Of the workload.
        rows: Its rows, in design order.
        folder: The study's: traces are read from it.
        warnings: What Lehr said during training.
    """
    complete = _with_steps_to(rows, design, folder)
    ranking = rank(complete, [policy.label for policy in design.policies], PEAKS)
    return Comparison(design, tuple(complete), tuple(ranking), (*_notes(design, complete), *warnings))


def study_json(comparisons: Sequence[Comparison], command: str) -> dict[str, Any]:
    """The content of `study.json`; its fields are documented in `lehr.study.store`."""
    first = comparisons[0].design
    return {
        "lehr": first.facts.lehr,
        "python": platform.python_version(),
        "torch": first.facts.torch,
        "command": command,
        "peaks": list(PEAKS),
        "seeds": list(first.ranking_seeds),
        "tuning_seeds": list(first.choosing_seeds),
        "workloads": [_workload(comparison) for comparison in comparisons],
    }


def _workload(comparison: Comparison) -> dict[str, Any]:
    return {
        **{name: getattr(comparison.design.facts, name) for name in FACTS},
        "policies": [dataclasses.asdict(policy) for policy in comparison.design.policies],
        "ranking": [ranking.to_dict() for ranking in comparison.ranking],
        "notes": list(comparison.notes),
        "failures": [
            {"policy": row.policy, "peak": row.peak, "seed": row.seed, "message": row.message}
            for row in comparison.failures
        ],
        "keys": [row.key for row in comparison.rows],
    }


def _notes(design: Design, rows: Sequence[Row]) -> list[str]:
    notes = []
    if design.facts.threshold is None:
        notes.append("no threshold is given: the metric-based and the performance-based policy are left out")
    if design.seeds < 3:
        notes.append(f"{design.seeds} ranking seed(s) cannot tell a policy from luck: take 3 or more")
    failed = sum(row.status == "failed" for row in rows)
    if failed:
        notes.append(f"{failed} of {len(rows)} runs failed; running the command again tries them again")
    return notes


def _with_steps_to(rows: Sequence[Row], design: Design, folder: Path) -> list[Row]:
    """The rows with `steps_to`: ranking runs against the control's run of the same seed at its chosen peak."""
    peak = design.chosen_peaks(rows)[CONTROL]
    control = [row for row in rows if row.policy == CONTROL and row.role == "rank" and row.peak == peak]
    targets = {row.seed: row.validation_loss for row in control}
    return [
        dataclasses.replace(row, steps_to=_steps_to(folder / row.trace, targets[row.seed]))
        if row.role == "rank" and row.status != "failed"
        else row
        for row in rows
    ]


def _steps_to(path: Path, target: float | None) -> int | None:
    columns = lehr.Trace.read(path).columns
    return steps_to_reach(columns["step"], columns["val_loss"], target) if "val_loss" in columns else None
