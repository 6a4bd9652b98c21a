"""Gathering: what was reported since the rules last heard of the run.

A window holds for each name that a rule reads the sum of its finite reports, in the order in which they came, their
number and range, and how many others there were. At a cadence point the rules hear the means, and a new window begins.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from lehr.errors import LehrError
from lehr.lengths import Horizon, whole_steps
from lehr.plan import Track

__all__ = ["Gathering", "Keep", "Sum", "Tally", "Window"]


class Tally(Protocol):
    """A sum of reports, wherever it lies."""

    def read(self) -> Sum:
        """The sum, on the host."""


class Sum(NamedTuple):
    """A sum of reports."""

    total: float = -0.0  # of the finite ones, in order; -0.0 is what leaves every number as it is when added
    finite: int = 0  # how many they were
    bad: int = 0  # those that were not finite
    low: float = math.inf  # the least of the finite ones
    high: float = -math.inf  # the greatest

    def plus(self, value: float) -> Sum:
        """One report more."""
        if math.isfinite(value):
            return Sum(self.total + value, self.finite + 1, self.bad, min(self.low, value), max(self.high, value))
        return self._replace(bad=self.bad + 1)

    def both(self, other: Sum) -> Sum:
        """These reports and then those."""
        low, high = min(self.low, other.low), max(self.high, other.high)
        return Sum(self.total + other.total, self.finite + other.finite, self.bad + other.bad, low, high)

    def read(self) -> Sum:
        """Itself."""
        return self

    @property
    def mean(self) -> float:
        """Of the finite reports; NaN if there are none.

        Rounding does not take it beyond them: the mean of equal numbers is that number, on however many ranks.
        """
        return min(max(self.total / self.finite, self.low), self.high) if self.finite else math.nan


class Window(NamedTuple):
    """What was gathered, for those who use it."""

    since: int  # the step of the first report
    sums: Mapping[str, Sum]

    @property
    def means(self) -> dict[str, float]:
        """What the rules hear."""
        return {name: item.mean for name, item in self.sums.items()}

    @property
    def bad(self) -> dict[str, int]:
        """How many reports were not finite, of the names that had such."""
        return {name: item.bad for name, item in self.sums.items() if item.bad}


Keep = Callable[[str, Any], Callable[[Tally], Tally] | None]  # for a report that stays where it is: how to add it there


class Gathering:
    """The window of a running policy.

    Args:
        keep: an adapter's: how to add a report where it lies, or None for one that is to be read.
        always: whether reports wait for their update even where the policy has no cadence.

    Attributes:
        every: steps from one cadence point to the next; None: reports do not wait.
        names: of the signals that the rules read, sorted.
    """

    def __init__(self, keep: Keep | None = None, always: bool = False) -> None:
        self.every: int | None = None
        self.names: tuple[str, ...] = ()
        self._keep = keep
        self._always = always
        self._awake = 0  # the first step of which a rule may hear
        self._since: int | None = None
        self._tallies: dict[str, Tally] = {}

    def follow(self, tracks: Iterable[Track], horizon: Horizon) -> None:
        """Gather for these tracks from now on; what is gathered stays, as far as they read it.

        Raises:
            LehrError: their cadences differ, or the horizon lacks what it takes to know them.
        """
        plans = [track.plan for track in tracks if track.plan.rules]
        lengths = {None if p.policy.cadence is None else whole_steps(horizon.measure(p.policy.cadence)) for p in plans}
        if len(lengths) > 1:
            steps = ", ".join(sorted("every report at once" if n is None else f"every {n} steps" for n in lengths))
            raise LehrError(f"all rules of a run must have one cadence, got {steps}; give each Policy the same one")
        self.every = next(iter(lengths), None) or (1 if self._always and plans else None)
        self.names = tuple(sorted({signal.name for plan in plans for signal in plan.signals}))
        wakeful = any(rule.trigger.heeds_warmup for plan in plans for rule in plan.rules)
        self._awake = 0 if wakeful else min((plan.warmup for plan in plans), default=0)
        self._tallies = {name: tally for name, tally in self._tallies.items() if name in self.names}

    @property
    def waits(self) -> bool:
        """Whether reports wait for a cadence point, or some still do from before a change of plan."""
        return self.every is not None or bool(self._tallies)

    def ends(self, step: int, count: int) -> bool:
        """Whether a cadence point lies in the last `count` updates up to update `step`."""
        every = self.every or 1
        return (step + 1) // every > (step + 1 - count) // every

    def add(self, step: int, numbers: Mapping[str, float]) -> None:
        """Gather reports of a step."""
        for name, value in numbers.items():
            if self._hears(step, name):
                self._tallies[name] = self._tallies.get(name, Sum()).read().plus(value)

    def kept(self, step: int, numbers: Mapping[str, Any], fresh: Callable[[str], bool]) -> Mapping[str, Any]:
        """Gather what stays where it is, if it is `fresh`; what comes back is to be read."""
        if self._keep is None or self.every in (None, 1):
            return numbers
        rest = dict(numbers)
        for name, value in numbers.items():
            onto = self._keep(name, value)
            if onto is None:
                continue
            del rest[name]
            if fresh(name) and self._hears(step, name):
                self._tallies[name] = onto(self._tallies.get(name, Sum()))
        return rest

    def _hears(self, step: int, name: str) -> bool:
        """Whether anybody will hear of this report; the first one opens the window."""
        if step < self._awake or name not in self.names:
            return False
        self._since = step if self._since is None else self._since
        return True

    def take(self, step: int) -> Window:
        """What was gathered up to update `step`; a new window begins."""
        window = Window(step if self._since is None else self._since, self._read())
        self._since, self._tallies = None, {}
        return window

    def plain(self) -> dict[str, Any]:
        """The open window as JSON-plain data; empty if nothing was gathered."""
        if self._since is None:
            return {}
        sums = {name: [_plain(number) for number in item] for name, item in self._read().items()}
        return {"since": self._since, "sums": sums}

    def load(self, plain: Mapping[str, Any]) -> None:
        """Go on with a saved window."""
        self._since = plain.get("since")
        saved: Mapping[str, Any] = plain.get("sums", {})
        self._tallies = {name: _saved(item) for name, item in saved.items() if name in self.names}

    def _read(self) -> dict[str, Sum]:
        return {name: self._tallies[name].read() for name in self.names if name in self._tallies}


def _plain(number: float) -> float | str:
    return number if math.isfinite(number) else str(number)  # sums can overflow; JSON has no infinity


def _saved(plain: Sequence[Any]) -> Sum:
    total, finite, bad, low, high = plain
    return Sum(float(total), int(finite), int(bad), float(low), float(high))
