"""The journal: what happened in a run, in order, each event with its reason in words.

Firings of one rule in an unbroken row of steps are one event that counts them, so that a rule that acts at every update
does not bury the others. The journal keeps the last 10,000 events; a trace holds all of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

__all__ = ["Event", "Journal", "Kind"]

Kind = Literal["rule", "shadow", "verdict", "edit", "replan", "warning", "finish"]
LIMIT = 10_000
CHANGES = ("rule", "edit", "replan")  # the kinds of event that touch the LR


@dataclass(frozen=True)
class Event:
    """Something that happened, and why.

    Attributes:
        step: the update whose LR is the first to be touched; for a warning, the step at which it was noticed.
        kind: "rule" (a rule fired), "shadow" (a rule that only logs would have fired), "verdict" (a rule judges its
            signal otherwise than before), "edit" (an LR was changed by hand), "replan" (the plan was changed),
            "warning", or "finish".
        rule: the rule's text, or empty.
        action: the action's text, or empty.
        lr_before: the LR of each group that the update would have used.
        lr_after: the LR of each group that it uses.
        words: the evidence, one English clause with numbers.
        times: how often it happened in a row of steps.
        last: the step of the last of them.
        verdict: what a rule says of its signal: improving, flat, worsening or undecided; or empty.
    """

    step: int
    kind: Kind
    words: str
    rule: str = ""
    action: str = ""
    lr_before: tuple[float, ...] = ()
    lr_after: tuple[float, ...] = ()
    times: int = 1
    last: int = -1
    verdict: str = ""

    @property
    def end(self) -> int:
        """The step of the last time that it happened."""
        return max(self.step, self.last)

    def __str__(self) -> str:
        """One sentence."""
        steps = f"step {self.step}" if self.times == 1 else f"steps {self.step} to {self.last} ({self.times} times)"
        act = f" → {self.action}" if self.action else ""
        if self.kind == "shadow":
            act = f" → would have done {self.action}"
        if self.kind == "verdict":
            act = f" ({self.verdict})" if self.verdict not in self.words else ""
        change = ""
        if self.lr_before and self.lr_before != self.lr_after:
            change = f": LR {_numbers(self.lr_before)} → {_numbers(self.lr_after)}"
        return f"{steps}: {self.words}{act}{change}"

    def plain(self) -> dict[str, Any]:
        """The event as JSON-plain data; empty fields are left out, and an LR that is not finite is a text."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        for name in ("lr_before", "lr_after"):
            fields[name] = [lr if math.isfinite(lr) else str(lr) for lr in fields[name]]
        if self.times == 1:
            del fields["times"], fields["last"]
        return {name: value for name, value in fields.items() if value not in ("", [])}

    @classmethod
    def read(cls, plain: dict[str, Any]) -> Event:
        """The event that `plain` came from."""
        fields: dict[str, Any] = {name: v for name, v in plain.items() if name in cls.__dataclass_fields__}
        for name in ("lr_before", "lr_after"):
            fields[name] = tuple(map(float, fields.get(name, ())))
        return cls(**fields)


class Journal(Sequence[Event]):
    """The events of a run, oldest first: the last 10,000 of them.

    Attributes:
        dropped: how many older ones there were.
        since: the step from which on none is missing.
    """

    def __init__(self, limit: int = LIMIT, since: int = 0) -> None:
        self.dropped = 0
        self.since = since
        self._limit = limit
        self._events: list[Event] = []
        self._rows: dict[str, list[int]] = {}  # rule → where its rows stand that may still go on

    def add(self, event: Event) -> bool:
        """Add an event; false if it only continues a row of its rule."""
        if event.kind in ("rule", "shadow"):
            rows = [i for i in self._rows.get(event.rule, []) if self._events[i].end >= event.step - 1]
            for i in rows:  # a rule of several groups has a row for each
                if self._events[i].end == event.step - 1:
                    self._events[i] = _continued(self._events[i], event)
                    return False
            self._rows[event.rule] = [*rows, len(self._events)]
        self._events.append(event)
        if len(self._events) > self._limit:
            self._drop()
        return True

    @property
    def last_change(self) -> Event | None:
        """The event that was the last to touch the LR, a row that still goes on included."""
        return self.last_change_by(None)

    def last_change_by(self, step: int | None) -> Event | None:
        """The last event that touched the LR of update `step` (None: of the next one)."""
        changes = (e for e in reversed(self._events) if e.kind in CHANGES and (step is None or e.step <= step))
        return max(changes, key=lambda event: event.end if step is None else min(event.end, step), default=None)

    def verdicts(self, step: int) -> list[Event]:
        """For each rule the last event before `step`, or at it, that holds its verdict."""
        last = {event.rule: event for event in self._events if event.verdict and event.step <= step}
        return list(last.values())

    def _drop(self) -> None:
        """Drop the oldest tenth at once, so that dropping costs little; rows are looked up by place."""
        gone = max(self._limit // 10, 1)
        self.dropped += gone
        self.since = max(self.since, self._events[gone - 1].step + 1)
        del self._events[:gone]
        rows = {rule: [i - gone for i in places if i >= gone] for rule, places in self._rows.items()}
        self._rows = {rule: places for rule, places in rows.items() if places}

    def __len__(self) -> int:
        return len(self._events)

    def __getitem__(self, index: Any) -> Any:
        return self._events[index]

    def __iter__(self) -> Iterator[Event]:
        return iter(self._events)

    def __repr__(self) -> str:
        return "\n".join(map(str, self._events)) or "nothing happened yet"


def _continued(row: Event, event: Event) -> Event:
    return replace(row, times=row.times + 1, last=event.step, lr_after=event.lr_after, words=event.words)


def _numbers(values: tuple[float, ...]) -> str:
    texts = [f"{value:.4g}" for value in values]
    return texts[0] if len(set(texts)) == 1 else "[" + ", ".join(texts) + "]"
