"""The design of a study: which runs it is made of. Pure enumeration: the same design gives the same cells.

A study has two parts. The first, `opening`, is known before any training: every policy is tuned at every peak LR with
the tuning seeds, and run with the ranking seeds at peak ×1 (what somebody gets who does not tune). The second,
`closing`, follows from the rows of the first: the ranking runs at the peak that each policy chose.

Every policy has the same tuning budget, because cosine's best peak is 2 to 7 times the constant's, and one shared peak
would rank the peaks instead of the policies. A seed decides initial weights and the order of batches, so all policies
meet the same seeds; tuning seeds are never ranking seeds.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from lehr.errors import LehrError
from lehr.study.policies import NamedPolicy
from lehr.study.rows import Role, Row
from lehr.study.stats import choose_peak

PEAKS = (1 / 3, 1.0, 3.0)
FIRST_RANKING_SEED = 1
FIRST_TUNING_SEED = 1001
MOST_SEEDS = FIRST_TUNING_SEED - FIRST_RANKING_SEED


@dataclass(frozen=True)
class Facts:
    """What a study knows of a workload before it trains."""

    name: str  # under which rows are kept
    spec: str  # how the user called it: a built-in name, or file.py:function
    steps: int  # updates in a run
    lr: float  # of the first parameter group: the ×1 of the peaks
    metric: str
    best: Literal["min", "max"]
    threshold: float | None
    steps_per_epoch: int | None
    evaluate_every: int  # updates between two reports on validation data
    data_hash: str
    code_hash: str  # of the file that defines the workload
    about: str
    torch: str  # version
    lehr: str

    @property
    def version(self) -> str:
        """Changes when anything does that makes old rows worthless: the task, its data, torch or Lehr."""
        return digest(asdict(self))


@dataclass(frozen=True)
class Cell:
    """One training run to be done."""

    workload: str
    policy: str  # label
    text: str
    peak: float  # multiplier of the workload's LR
    seed: int
    role: Role
    version: str  # of the workload (`Facts.version`)

    @functools.cached_property
    def key(self) -> str:
        """Name of the cell, made of its content: 16 hexadecimal digits."""
        return digest(asdict(self))


@dataclass(frozen=True)
class Design:
    """Policies × peaks × seeds on one workload.

    Args:
        facts: The workload.
        policies: All with different labels.
        seeds: How many ranking seeds.
        tuning_seeds: How many seeds choose the peak; 0: half as many as are reported, rounded up. The end of a run at
            constant LR is noisy, and one seed can choose the control a peak too high.

    Raises:
        LehrError: Two policies share a label, or the number of seeds is out of range.
    """

    facts: Facts
    policies: tuple[NamedPolicy, ...]
    seeds: int = 3
    tuning_seeds: int = 0

    def __post_init__(self) -> None:
        """Refuse what could not be told apart in the rows."""
        if not 1 <= self.seeds <= MOST_SEEDS:
            raise LehrError(f"seeds must lie between 1 and {MOST_SEEDS}, got {self.seeds}; a ranking needs 3 or more")
        labels = [policy.label for policy in self.policies]
        twice = [label for label in dict.fromkeys(labels) if labels.count(label) > 1]
        if twice:
            raise LehrError(f"labels of policies must differ, got {twice[0]!r} twice; write --policy 'LABEL=TEXT'")

    @property
    def ranking_seeds(self) -> tuple[int, ...]:
        """Seeds of the runs that are reported."""
        return tuple(range(FIRST_RANKING_SEED, FIRST_RANKING_SEED + self.seeds))

    @property
    def choosing_seeds(self) -> tuple[int, ...]:
        """Seeds of the runs that choose the peak."""
        count = self.tuning_seeds or (self.seeds + 1) // 2
        return tuple(range(FIRST_TUNING_SEED, FIRST_TUNING_SEED + count))

    def opening(self) -> list[Cell]:
        """The cells that need no result: tuning at every peak, ranking at peak ×1."""
        return [cell for policy in self.policies for cell in (*self._tuning(policy), *self._ranking(policy, 1.0))]

    def closing(self, rows: Iterable[Row]) -> list[Cell]:
        """The ranking cells at the chosen peaks, but for those that the opening already holds.

        Args:
            rows: Those of the opening, in any order; others are not looked at.
        """
        chosen = self.chosen_peaks(rows)
        return [
            cell
            for policy in self.policies
            if chosen[policy.label] != 1.0
            for cell in self._ranking(policy, chosen[policy.label])
        ]

    def chosen_peaks(self, rows: Iterable[Row]) -> dict[str, float]:
        """The peak of each policy (by label) that its tuning runs chose."""
        keys = {cell.key for policy in self.policies for cell in self._tuning(policy)}
        tuning = [row for row in rows if row.key in keys]
        return {
            policy.label: choose_peak([row for row in tuning if row.policy == policy.label], PEAKS)
            for policy in self.policies
        }

    def most_closing(self) -> int:
        """How many cells `closing` has at most."""
        return len(self.policies) * self.seeds

    def _tuning(self, policy: NamedPolicy) -> Iterator[Cell]:
        for peak, seed in itertools.product(PEAKS, self.choosing_seeds):
            yield self._cell(policy, peak, seed, "tune")

    def _ranking(self, policy: NamedPolicy, peak: float) -> Iterator[Cell]:
        for seed in self.ranking_seeds:
            yield self._cell(policy, peak, seed, "rank")

    def _cell(self, policy: NamedPolicy, peak: float, seed: int, role: Role) -> Cell:
        return Cell(self.facts.name, policy.label, policy.text, peak, seed, role, self.facts.version)


def in_turn(lists: Sequence[Sequence[Cell]]) -> list[Cell]:
    """One cell of each list in turn, so that all workloads move at once and the time left can be told early."""
    return [cell for turn in itertools.zip_longest(*lists) for cell in turn if cell is not None]


def digest(value: object) -> str:
    """16 hexadecimal digits that stand for a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
