"""What the rows of a study say: one `Ranking` for each policy on each workload.

The rules, each of them there because a ranking without it misleads:

- The peak LR is chosen on *validation* loss with the tuning seeds; what is reported is *test*, with other seeds.
- Policies are compared seed by seed (same initial weights, same batches), each at its own chosen peak.
- A run that diverged counts as infinitely bad, so a policy cannot win by losing its worst seeds.
- The order is that of the median test loss. The interval, not the rank, says whether a difference is more than noise.

Pure functions of rows, with NumPy and nothing else.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from lehr.study.rows import Row

CONTROL = "constant"
RESAMPLES = 10_000

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ranking:
    """One policy on one workload. A field is None where it has no finite value (for instance: all runs diverged).

    `dict(ranking)` of each, in the order of `rank`, is the list `workloads[i]["ranking"]` of `study.json`.
    """

    workload: str
    policy: str  # label
    text: str
    rank: int  # 1 is best: median test loss at the policy's own chosen peak; equal values share a rank
    untuned_rank: int  # the same at peak ×1 for every policy: what somebody gets who does not tune
    peak: float  # the chosen multiplier of the workload's LR: 1/3, 1 or 3
    lr: float | None  # base LR at the chosen peak
    edge: Literal["low", "high"] | None  # the chosen peak is the lowest or highest tried: a better one may lie outside
    test_loss: float | None  # median over the ranking seeds, at the chosen peak
    test_metric: float | None
    untuned_test_loss: float | None  # the same at peak ×1
    untuned_test_metric: float | None
    difference: float | None  # mean over seeds of (test loss − the control's, same seed); None for the control
    low: float | None  # bootstrap 95 % interval of that mean
    high: float | None
    pairs: int  # seeds in which both finished: how many differences there are
    seeds: int  # ranking runs at the chosen peak
    steps_to: int | None  # median updates to reach the control's final validation loss; None: never
    rules: int  # rules in the policy
    silent_rules: tuple[str, ...]  # texts of those that never fired in the ranking runs at the chosen peak
    diverged: int  # of all the policy's runs here, tuning included
    diverged_at_peak: int  # of the ranking runs at the chosen peak
    failed: int  # runs that raised an exception

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return {**dataclasses.asdict(self), "silent_rules": list(self.silent_rules)}


def choose_peak(rows: Iterable[Row], peaks: Sequence[float]) -> float:
    """The peak with the lowest mean validation loss over the tuning runs of one policy on one workload.

    A peak at which a run diverged or failed is out; when all are out, the lowest peak is the choice. Equal losses go
    to the lower peak.
    """
    rows = list(rows)
    losses = [_mean([_or_inf(row.validation_loss) for row in rows if row.peak == peak]) for peak in peaks]
    order = sorted(zip(losses, peaks, strict=True))
    return order[0][1] if np.isfinite(order[0][0]) else min(peaks)


def rank(rows: Sequence[Row], policies: Sequence[str], peaks: Sequence[float]) -> list[Ranking]:
    """Rank the policies of one workload, best first.

    Args:
        rows: The workload's rows, tuning and ranking, each with `steps_to` already filled in.
        policies: Labels, in design order; the control is called "constant".
        peaks: The multipliers that were tried, 1.0 among them.
    """
    chosen = {label: choose_peak(_select(rows, label, "tune"), peaks) for label in policies}
    tuned = {label: _select(rows, label, "rank", chosen[label]) for label in policies}
    untuned = {label: _select(rows, label, "rank", 1.0) for label in policies}
    control = tuned.get(CONTROL, [])
    ranks, untuned_ranks = places(tuned), places(untuned)
    rankings = [
        _ranking(
            label,
            mine=[row for row in rows if row.policy == label],
            tuned=tuned[label],
            untuned=untuned[label],
            control=[] if label == CONTROL else control,
            peak=chosen[label],
            peaks=peaks,
            places=(ranks[label], untuned_ranks[label]),
        )
        for label in policies
        if any(row.policy == label for row in rows)
    ]
    return sorted(rankings, key=lambda ranking: ranking.rank)


def places(groups: dict[str, list[Row]]) -> dict[str, int]:
    """Place of each group by median test loss: 1 + how many groups are strictly better."""
    medians = {label: _median(row.test_loss for row in group) for label, group in groups.items()}
    return {label: 1 + sum(other < mine for other in medians.values()) for label, mine in medians.items()}


def bootstrap_interval(differences: npt.ArrayLike, level: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean.

    With few differences it promises more than it holds: with 3 it is simply their range. Measured on normal noise, an
    interval meant to cover the true mean in 95 of 100 studies does so in about 76 with 3 seeds, 84 with 5, 89 with 10
    and 93 with 20 (`tests/test_study_stats.py`).

    Args:
        differences: At least one number.
        level: Nominal coverage, between 0 and 1.
        seed: Of the resampling; fixed, so that the same rows always give the same interval.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), section 13.3.
    """
    values = np.asarray(differences, dtype=np.float64)
    picks = np.random.default_rng(seed).integers(0, values.size, size=(RESAMPLES, values.size))
    low, high = np.quantile(values[picks].mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def steps_to_reach(steps: npt.ArrayLike, losses: npt.ArrayLike, target: float | None) -> int | None:
    """Updates applied when a validation loss was first at or below the target; None if that never happened.

    Args:
        steps: Index of the update after which each loss was measured (0 for the first update).
        losses: Validation losses; NaN where nothing was measured.
        target: The loss to reach; None (the control diverged) is never reached.
    """
    if target is None:
        return None
    reached = np.flatnonzero(np.asarray(losses, dtype=np.float64) <= target)
    return int(np.asarray(steps)[reached[0]]) + 1 if reached.size else None


def _ranking(
    label: str,
    *,
    mine: list[Row],
    tuned: list[Row],
    untuned: list[Row],
    control: list[Row],
    peak: float,
    peaks: Sequence[float],
    places: tuple[int, int],
) -> Ranking:
    differences = paired_differences(tuned, control)
    low, high = bootstrap_interval(differences) if differences.size else (None, None)
    return Ranking(
        workload=mine[0].workload,
        policy=label,
        text=mine[0].text,
        rank=places[0],
        untuned_rank=places[1],
        peak=peak,
        lr=next((row.lr for row in mine if row.peak == peak), None),
        edge="low" if peak == min(peaks) else "high" if peak == max(peaks) else None,
        test_loss=_finite(_median(row.test_loss for row in tuned)),
        test_metric=_finite(_median_metric(tuned)),
        untuned_test_loss=_finite(_median(row.test_loss for row in untuned)),
        untuned_test_metric=_finite(_median_metric(untuned)),
        difference=float(differences.mean()) if differences.size else None,
        low=low,
        high=high,
        pairs=differences.size,
        seeds=len(tuned),
        steps_to=_whole(_median(row.steps_to for row in tuned)),
        rules=len(_rule_texts(tuned)),
        silent_rules=tuple(text for text in _rule_texts(tuned) if not any(row.fired.get(text) for row in tuned)),
        diverged=sum(row.status == "diverged" for row in mine),
        diverged_at_peak=sum(row.status == "diverged" for row in tuned),
        failed=sum(row.status == "failed" for row in mine),
    )


def paired_differences(rows: Iterable[Row], control: Iterable[Row]) -> Floats:
    """Test loss minus the control's for every seed in which both have one, in the order of the seeds."""
    theirs = {row.seed: row.test_loss for row in control}
    ours = {row.seed: row.test_loss for row in rows}
    pairs = [(ours[seed], theirs.get(seed)) for seed in sorted(ours)]
    return np.array([a - b for a, b in pairs if a is not None and b is not None], dtype=np.float64)


def _select(rows: Iterable[Row], label: str, role: str, peak: float | None = None) -> list[Row]:
    return [row for row in rows if row.policy == label and row.role == role and peak in (None, row.peak)]


def _rule_texts(rows: Iterable[Row]) -> list[str]:
    return list(dict.fromkeys(text for row in rows for text in row.fired))


def _or_inf(value: float | None) -> float:
    return np.inf if value is None else value


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else np.inf


def _median(values: Iterable[float | None]) -> float:
    """Median with None as +infinity: half of the runs without a value leave the median without one."""
    known = sorted(map(_or_inf, values))
    middle = len(known) // 2
    if not known or np.isinf(known[middle]):
        return np.inf
    return known[middle] if len(known) % 2 else (known[middle - 1] + known[middle]) / 2


def _median_metric(rows: Sequence[Row]) -> float:
    """Median metric, worst for a run without one, whichever direction is best."""
    sign = -1.0 if rows and rows[0].best == "max" else 1.0
    return sign * _median(None if row.test_metric is None else sign * row.test_metric for row in rows)


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _whole(value: float) -> int | None:
    return round(value) if np.isfinite(value) else None
