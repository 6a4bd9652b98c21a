"""Checks of the trace of a finished run against its policy: what was computed, applied, reported and left undone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lehr.checks.row import Found
from lehr.checks.subject import Subject
from lehr.trace import RESERVED, Trace

CHANGES = ("rule", "edit", "replan")  # events after which the LR is no longer that of the schedule alone
SAMPLES = 4096
Column = NDArray[np.float64]


@dataclass(frozen=True)
class Finished:
    """A finished run, and the policies that it should have followed, one for each group that is known."""

    trace: Trace
    subjects: tuple[Subject, ...]
    total: int | None = None  # updates that were planned
    obstacle: str = ""  # why the policy that the log names cannot be read

    def column(self, name: str) -> tuple[NDArray[np.int64], Column]:
        """The steps at which there is a number, and the numbers."""
        values = self.trace.columns.get(name, np.array([]))
        steps = self.trace.columns.get("step", np.array([]))[: len(values)]
        known = np.isfinite(values) & np.isfinite(steps)
        return steps[known].astype(np.int64), values[known]

    def holds(self, name: str) -> bool:
        """Whether a number of this name was reported."""
        return (f"{name}_" if name in RESERVED else name) in self.trace.columns

    @property
    def foreign(self) -> bool:
        """Whether something else than Lehr has written the log: then each LR is that of its step, and no rule ran."""
        return "lehr" not in self.trace.header and "read" in self.trace.header

    @property
    def done(self) -> int:
        """Updates that were done."""
        steps = self.trace.columns.get("step", np.array([]))
        return int(np.nanmax(steps)) + 1 if len(steps) else 0

    @property
    def first_change(self) -> float:
        """The first step at which something else than the schedule had a say."""
        return min((event.step for event in self.trace.events if event.kind in CHANGES), default=np.inf)

    def expected(self, subject: Subject) -> tuple[NDArray[np.int64], Column, Column] | None:
        """Steps, logged LRs, and those of the schedule (up to a factor if the base LR is not known)."""
        run = subject.planned
        bounded = subject.low is not None or subject.high is not None
        if subject.index is None or (subject.base is None and bounded):
            return None
        steps, logged = self.column(f"lr.{subject.index}" if subject.index else "lr")
        written = self.written(steps)
        chosen = (steps < self.first_change) & (written >= 0)
        if run is None or chosen.sum() < 2:
            return None
        steps, logged, written = steps[chosen], logged[chosen], written[chosen]
        thin = np.unique(np.linspace(0, len(steps) - 1, SAMPLES).astype(int))
        return steps[thin], logged[thin], run.over(written[thin])

    def written(self, steps: NDArray[np.int64]) -> NDArray[np.int64]:
        """The step for which the LR in these rows was written: the one after the row before.

        A row may stand for many updates, all at the LR that was written before them. -1 where it cannot be known: in
        the first row of a run that had begun before.
        """
        if self.foreign:
            return steps
        rows = np.unique(self.column("step")[0])
        before = np.concatenate(([-2 if len(rows) and rows[0] > 0 else -1], rows[:-1]))
        return np.asarray(before[np.searchsorted(rows, steps)] + 1, dtype=np.int64)


def not_applied(finished: Finished) -> Iterator[Found]:
    """The logged LR stays the same although the schedule changes it."""
    for subject in finished.subjects:
        rows = finished.expected(subject)
        if rows is not None and _constant(rows[1]) and not _constant(rows[2]):
            steps, logged, planned = rows
            ratio = planned.max() / planned.min() if planned.min() > 0 else np.inf
            words = f"{ratio:.3g} times" if ratio < np.inf else "down to 0"
            yield Found(
                f"the LR in the log stays at {logged[0]:.6g} from step {steps[0]} to {steps[-1]}, where the schedule "
                f"changes it {words}"
            )


def differs(finished: Finished) -> Iterator[Found]:
    """The logged LR is another than the schedule's, before any rule or hand has changed it."""
    for subject in finished.subjects:
        rows = finished.expected(subject)
        if rows is None or (_constant(rows[1]) and not _constant(rows[2])):
            continue
        steps, logged, planned = rows
        if subject.base is None:  # only the shape can be compared
            top = int(planned.argmax())
            planned = planned * (logged[top] / planned[top]) if planned[top] else planned
        off = np.abs(logged - planned) > 0.01 * max(planned.max(), logged.max())
        if off.any():
            i = int(off.argmax())
            yield Found(
                f"the LR in the log is {logged[i]:.4g} at step {steps[i]}, where the schedule has {planned[i]:.4g}"
            )


def reported_differs(finished: Finished) -> Iterator[Found]:
    """The LR that the loop reported of its optimiser (`step(lr=...)`) is not the one that was computed."""
    steps, reported = finished.column("lr_")
    at, computed = finished.column("lr")
    _, left, right = np.intersect1d(steps, at, return_indices=True)
    off = np.abs(reported[left] - computed[right]) > 1e-6 * np.abs(computed[right])
    if off.any():
        i = int(off.argmax())
        yield Found(
            f"the optimiser's LR was reported as {reported[left][i]:.6g} at step {steps[left][i]}, and computed was "
            f"{computed[right][i]:.6g}"
        )


def stopped_early(finished: Finished) -> Iterator[Found]:
    """The run ended before its schedule, and no rule had stopped it."""
    total, events = finished.total, finished.trace.events
    if any(event.kind == "rule" and event.action.startswith(("stop", "begin")) for event in events):
        return
    if total is not None and 0 < finished.done < 0.99 * total:
        share = f"{100 * finished.done / total:.3g} %"
        yield Found(f"the run finished at {share} of the schedule ({finished.done} of {total} steps)")
    elif total is None:
        words = [event.words for event in events if event.kind == "finish" and event.words.startswith("finished at")]
        yield from (Found(f"the run {text}") for text in words[-1:])


def overrun(finished: Finished) -> Iterator[Found]:
    """The run went on after the end of its schedule."""
    total = finished.total
    if total is not None and finished.done > 1.01 * total:
        yield Found(
            f"the run did {finished.done} updates, {finished.done - total} more than the {total} of its schedule"
        )


def never_reported(finished: Finished) -> Iterator[Found]:
    """A rule reads a number that the log does not hold."""
    for subject in finished.subjects:
        for rule in subject.policy.rules:
            for signal in rule.trigger.signals():
                if not finished.holds(signal.name):
                    words = "could not fire" if finished.foreign else "never fired"
                    yield Found(f"{rule!r} reads {signal.name!r}, which the log does not hold, so it {words}")


def never_fired(finished: Finished) -> Iterator[Found]:
    """A rule that had what it reads and did not fire."""
    if finished.foreign:
        return
    fired = {event.rule for event in finished.trace.events}
    for subject in finished.subjects:
        for rule in subject.policy.rules:
            heard = all(finished.holds(signal.name) for signal in rule.trigger.signals())
            if heard and rule.text() not in fired:
                yield Found(f"{rule!r} did not fire in {finished.done} updates")


def policy_unread(finished: Finished) -> Iterator[Found]:
    """What the log says of its policy cannot be read here."""
    if finished.obstacle:
        yield Found(f"the policy of the log cannot be read, so the LR was held against none: {finished.obstacle}")


def warned(finished: Finished) -> Iterator[Found]:
    """Something was noticed while the run went on."""
    for event in finished.trace.events:
        if event.kind == "warning":
            yield Found(f"at step {event.step}: {event.words}")


def _constant(values: Column) -> bool:
    return bool(values.max() - values.min() <= 1e-6 * abs(values.max()))
