"""How far a study is, and how long it will take: pure arithmetic on what has been seen.

Workloads differ in cost by a factor of ten or more, so time is reckoned a workload at a time, in seconds an update.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lehr.study.executor import Running

ENOUGH = 0.2  # seconds of training seen before a pace is worth telling


@dataclass(frozen=True)
class Progress:
    """A look at a study that runs."""

    running: tuple[Running, ...]
    done: int  # cells finished, those of earlier runs included
    total: int  # cells in all; while peaks are not chosen yet, the most there can be
    seconds_left: float | None  # None: too early to tell


def _zeros() -> defaultdict[str, float]:
    return defaultdict(float)


@dataclass
class Pace:
    """What training has cost so far, by workload.

    Args:
        workers: How many cells run at once.
    """

    workers: int
    seconds: dict[str, float] = field(default_factory=_zeros)
    updates: dict[str, float] = field(default_factory=_zeros)

    def add(self, workload: str, seconds: float, updates: int) -> None:
        """Count a finished run."""
        self.seconds[workload] += seconds
        self.updates[workload] += updates

    def seconds_left(self, waiting: Mapping[str, int], running: Sequence[Running]) -> float | None:
        """Seconds until all is done if the pace stays; None while a workload has no pace yet.

        Args:
            waiting: Updates of the cells that have not begun, by workload.
            running: The cells in training.
        """
        seconds, updates, left = _zeros() | self.seconds, _zeros() | self.updates, _zeros() | dict(waiting)
        for one in running:
            name = one.job.cell.workload
            seconds[name] += one.seconds
            updates[name] += one.step
            left[name] += one.job.facts.steps - one.step
        names = [name for name in left if left[name] > 0]
        if any(seconds[name] < ENOUGH for name in names):
            return None
        return sum(left[name] * seconds[name] / updates[name] for name in names) / self.workers
