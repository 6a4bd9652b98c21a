"""What two LR curves have in common and where they part: for `run.preview` and `lehr diff`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Difference", "Steps", "Values", "sampled"]

Values = np.ndarray[Any, np.dtype[np.float64]]
Steps = np.ndarray[Any, np.dtype[np.int64]]

ALL = 20_000  # so many steps are compared one by one; of more, as many spread over the run
EQUAL = 1e-12  # of the peak


@dataclass(frozen=True)
class Difference:
    """Two curves over the same steps.

    Attributes:
        steps: where they were compared, increasing.
        before: the values of the one, at these steps; LRs, or factors where no LR was given.
        after: those of the other.
        before_end: the step at which the run is over under the one; None if it never is.
        after_end: the same under the other.
        notes: what else to know, in words.
    """

    steps: Steps
    before: Values
    after: Values
    before_end: int | None = None
    after_end: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def apart(self) -> Values:
        """The later minus the earlier value, at each step."""
        return self.after - self.before

    @property
    def equal(self) -> bool:
        """Whether the curves agree everywhere, to 1e-12 of the peak, and end together."""
        return self.first is None and self.before_end == self.after_end

    @property
    def first(self) -> int | None:
        """The first of the compared steps at which they differ."""
        apart = np.flatnonzero(np.abs(self.apart) > EQUAL * self.peak)
        return int(self.steps[apart[0]]) if len(apart) else None

    @property
    def peak(self) -> float:
        """The largest value of both."""
        return float(max(self.before.max(initial=0.0), self.after.max(initial=0.0)))

    @property
    def largest(self) -> tuple[int, float, float]:
        """The step at which they are farthest apart, and the values there."""
        i = int(np.abs(self.apart).argmax())
        return int(self.steps[i]), float(self.before[i]), float(self.after[i])

    @property
    def area(self) -> float:
        """The mean of `after` over that of `before`; NaN if that is 0."""
        mean = float(self.before.mean())
        return float(self.after.mean()) / mean if mean else float("nan")

    def __str__(self) -> str:
        """The difference in a few lines."""
        return "\n".join(self.words())

    def _where(self) -> str:
        """Where they part; between two steps that were compared it may be anywhere."""
        at = int(np.searchsorted(self.steps, self.first or 0))
        before = int(self.steps[at - 1]) if at else -1
        if at and self.steps[at] - before > 1:
            return f"they first differ between step {before} and step {self.first}"
        return f"they first differ at step {self.first}"

    def words(self) -> list[str]:
        """The difference, a fact a line."""
        facts = []
        if self.first is None:
            facts.append(f"the curves agree at all {len(self.steps)} steps that were compared")
        else:
            step, before, after = self.largest
            facts += [
                self._where(),
                f"most at step {step}: {_change(before, after)}",
                f"at step {self.steps[-1]}: {_change(float(self.before[-1]), float(self.after[-1]))}",
                f"area: × {self.area:.4g}",
            ]
        if self.before_end != self.after_end:
            facts.append(f"the run ends at step {_end(self.before_end)} → {_end(self.after_end)}")
        return [*facts, *self.notes]


def sampled(first: int, last: int) -> Steps:
    """The steps from `first` to `last` (included): all of them, or as many as are compared, spread evenly."""
    if last - first < ALL:
        return np.arange(first, max(first, last) + 1, dtype=np.int64)
    return np.unique(np.linspace(first, last, ALL).astype(np.int64))


def _change(before: float, after: float) -> str:
    ratio = f" (× {after / before:.4g})" if before else ""
    return f"{before:.4g} → {after:.4g}{ratio}"


def _end(step: int | None) -> str:
    return "never" if step is None else str(step)
