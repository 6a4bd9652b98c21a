"""Who hears of a run while it goes: functions its events or its steps, listeners its updates and events."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from lehr.errors import LehrError
from lehr.journal import Event
from lehr.plan import Track
from lehr.policy import Facts

__all__ = ["Audience", "Listener"]


@runtime_checkable
class Listener(Protocol):
    """Hears of a run while it goes, by one `subscribe`. It makes nobody read the numbers that are reported.

    Attributes:
        every: it hears of the updates 0, every, 2·every, …; in between, an adapter may go its fastest way.

    Example:
        >>> import lehr
        >>> class Printer:
        ...     every = 2
        ...     def update(self, step, lrs, gains):
        ...         print(step, lrs, gains)
        ...     def event(self, event):
        ...         print(event)
        >>> run = lehr.start("when(loss.reaches(0.5)).scale(0.5)", lr=0.1, steps=9)
        >>> _ = run.subscribe(Printer())
        >>> for loss in (0.9, 0.4, 0.3):
        ...     run.step(loss=loss)
        0 {'0': 0.1} {'0': 1.0}
        step 2: loss 0.4 reached 0.5 → scale(0.5): LR 0.1 → 0.05
        2 {'0': 0.05} {'0': 0.5}
    """

    every: int

    def update(self, step: int, lrs: Mapping[str, float], gains: Mapping[str, float]) -> None:
        """Update `step` was applied; by the name of each group (its index, if they have none) its LR and gain."""

    def event(self, event: Event) -> None:
        """Something happened. An event that goes on is told once, as it begins."""


class Audience:
    """All who have subscribed to a run."""

    def __init__(self) -> None:
        self._events: list[Callable[[Event], None]] = []
        self._steps: list[Callable[..., None]] = []
        self._updates: list[Listener] = []

    def join(self, function: Any, on: str) -> Callable[[], None]:
        """Tell `function` from now on; what is returned ends it. See `Controller.subscribe`."""
        if on not in ("events", "steps"):
            raise LehrError(f"subscribe(on=...) must be 'events' or 'steps', got {on!r}")
        joined: list[tuple[list[Any], Any]] = [(self._events if on == "events" else self._steps, function)]
        if isinstance(function, Listener):
            _check(function, on)
            joined = [(self._updates, function), (self._events, function.event)]
        elif not callable(function):
            raise LehrError(
                f"subscribe(...) needs a function, or a listener with every, update and event; got {function!r}"
            )
        for those, one in joined:
            those.append(one)

        def end() -> None:
            while joined:
                those, one = joined.pop()
                those.remove(one)

        return end

    @property
    def reads(self) -> bool:
        """Whether somebody hears the numbers that are reported."""
        return bool(self._steps)

    def quiet(self, step: int, most: int) -> int:
        """How many updates, from `step` on, no listener wants to hear of; at most `most`."""
        return min((-step % listener.every for listener in self._updates), default=most)

    def event(self, event: Event) -> None:
        """Tell what happened."""
        for function in list(self._events):
            function(event)

    def step(self, step: int, lrs: Sequence[float], numbers: Mapping[str, float]) -> None:
        """Tell what was reported of an update."""
        for function in list(self._steps):
            function(step, lrs, numbers)

    def update(self, step: int, count: int, lrs: Sequence[float], groups: Sequence[Facts], by: Sequence[Track]) -> None:
        """Tell of update `step`, the last of `count`, the listeners that want to hear of one of them."""
        due = [one for one in self._updates if step // one.every > (step - count) // one.every]
        if not due:
            return
        names = _names(groups)
        gains = dict.fromkeys(names, 1.0)
        for track in by:
            if track.target == "lr":
                gains |= {names[i]: gain for i, gain in zip(track.groups, track.state.gains, strict=True)}
        for listener in due:
            listener.update(step, dict(zip(names, lrs, strict=True)), dict(gains))


def _check(listener: Listener, on: str) -> None:
    """Refuse one that could not be told."""
    if isinstance(listener.every, bool) or not isinstance(listener.every, int) or listener.every < 1:
        raise LehrError(f"a listener's every must be a whole number of at least 1, got {listener.every!r}")
    if on != "events":
        raise LehrError(f"a listener hears of updates and events; leave on={on!r} out")


def _names(groups: Sequence[Facts]) -> list[str]:
    """Of the groups: their own if each has another one, else their indices."""
    names = [str(group.get("name") or "") for group in groups]
    return names if all(names) and len(set(names)) == len(names) else [str(i) for i in range(len(names))]
