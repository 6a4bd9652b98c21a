"""Reports: which numbers were heard, of which step, and which are still missing."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lehr.errors import LehrError
from lehr.lengths import Horizon
from lehr.plan import Track

__all__ = ["Reports", "as_number"]

PATIENCE = 100  # steps after the warm-up in which a signal should have appeared
UNREAD = "unread"  # in place of the value of a report that was left where it is, or that another rank heard


class Reports:
    """What a run was told. A number is known by (name, step): the same again is not heard again."""

    def __init__(self, strict: bool) -> None:
        # name → (step, value; None if it was not finite, or UNREAD)
        self.last: dict[str, tuple[int, float | str | None]] = {}
        self.common: dict[str, int] = {}  # name → the cadence point at which all ranks last knew of it
        self._strict = strict
        self._awaited: list[tuple[int, str]] = []

    def new(self, step: int, numbers: Mapping[str, Any]) -> tuple[dict[str, float], list[str]]:
        """The numbers not heard of this step before, as floats; and a complaint for each that contradicts itself."""
        heard: dict[str, float] = {}
        complaints = []
        for name, given in numbers.items():
            value = as_number(name, given)
            kept = value if math.isfinite(value) else None
            known, first = self.last.get(name, (-1, None))
            if known != step:
                self.last[name] = (step, kept)
                heard[name] = value
            elif first not in (kept, UNREAD):
                complaints.append(
                    f"{name} was reported twice at step {step}, as {first} and as {value}; the first is kept"
                )
        if complaints and self._strict:
            raise LehrError("; ".join(complaints))
        return heard, complaints

    def unread(self, step: int, name: str) -> bool:
        """Note a report whose value is not looked at; whether it is the first of this step."""
        new = self.last.get(name, (-1, None))[0] != step
        if new:
            self.last[name] = (step, UNREAD)
        return new

    def shared(self, step: int, names: Iterable[str]) -> None:
        """Note what any rank has heard of."""
        for name in names:
            self.common[name] = step
            self.last.setdefault(name, (step, UNREAD))

    def plain(self, shares: bool) -> dict[str, list[Any]]:
        """What to save: the last report of each name; of a rank among others, only what all of them know."""
        if shares:
            return {name: [step, UNREAD] for name, step in sorted(self.common.items())}
        return {name: list(item) for name, item in self.last.items()}

    def load(self, plain: Mapping[str, Sequence[Any]]) -> None:
        """Go on from what was saved."""
        self.last = {name: (int(step), value) for name, (step, value) in plain.items()}
        self.common = {name: step for name, (step, _) in self.last.items()}

    def expect(self, tracks: Iterable[Track], horizon: Horizon) -> None:
        """Work out by which step each signal should have appeared: 100 after warm-up; metrics 2 epochs or 5 %."""
        later = 2 * horizon.steps_per_epoch if horizon.steps_per_epoch else (horizon.steps or 0) // 20
        self._awaited = sorted(
            {
                (track.plan.warmup + (PATIENCE if signal.name == "loss" else max(PATIENCE, later)), signal.name)
                for track in tracks
                for signal in track.plan.signals
                if signal.every is None
            }
        )

    def overdue(self, step: int) -> list[tuple[str, str]]:
        """Signals that should have appeared by now and have not, each once: (name, what to say)."""
        found = []
        while self._awaited and self._awaited[0][0] <= step:
            _, name = self._awaited.pop(0)
            if name not in self.last:
                near = difflib.get_close_matches(name, self.last, n=1, cutoff=0.0)
                hint = f"the nearest name reported is {near[0]!r}" if near else "nothing was reported at all"
                words = f"no {name!r} was reported in {step} steps, so rules that read it cannot fire; {hint}. "
                found.append((name, f"{words}Report it by step({name}=...) or observe({name}=...)"))
        return found


def as_number(name: str, value: Any) -> float:
    """A reported value as a float: a number, or an array or tensor of one element.

    Raises:
        LehrError: more than one element, or no number.
    """
    if isinstance(value, float):
        return value
    size = getattr(value, "numel", None)
    count = size() if callable(size) else getattr(value, "size", 1)
    if count != 1:
        raise LehrError(f"{name} must be one number, got {count}; report its .mean()")
    try:
        return float(value.item() if hasattr(value, "item") else value)
    except (TypeError, ValueError):
        raise LehrError(f"{name} must be a number, got {value!r}") from None
