"""Checks of `min_lr` and `max_lr` against the LR that a group would have."""

from __future__ import annotations

from collections.abc import Iterator

from lehr.checks.row import Found
from lehr.checks.subject import Subject


def floor_above_base(subject: Subject) -> Iterator[Found]:
    """The least LR is not below the largest that the schedule has, so the LR never falls."""
    top, low = _top(subject), subject.low
    if top and low is not None and low >= top:
        yield Found(f"min_lr={low:g} is not below {_named(subject)}, so the LR never falls")


def ceiling_below_base(subject: Subject) -> Iterator[Found]:
    """The largest LR is below the largest that the schedule has, so its top is cut off."""
    top, high = _top(subject), subject.high
    if top and high is not None and high < top:
        yield Found(f"max_lr={high:g} is below {_named(subject)}, so the peak is never reached")


def no_room(subject: Subject) -> Iterator[Found]:
    """Both bounds are the same number."""
    if subject.low is not None and subject.low == subject.high:
        yield Found(f"min_lr and max_lr are both {subject.low:g}, so neither schedule nor rules change the LR")


def _top(subject: Subject) -> float | None:
    """The largest LR of the schedule; the base LR if its curve is not known."""
    run = subject.planned
    return None if subject.base is None else subject.base * (1.0 if run is None else run.top)


def _named(subject: Subject) -> str:
    top, base = _top(subject) or 0.0, subject.base or 0.0
    return f"the base LR {base:g}" if top == base else f"the largest LR of the schedule {top:g} (base LR {base:g})"
