"""The fast lane: with one LR for all groups and nobody listening, a step is a walk along a list.

That the value in a group is *the very object* written last shows at once whether a hand or a restore came between.
Anything unusual leaves the lane for the general road, which must give the same values.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import length_hint
from typing import Any

__all__ = ["CLOSED", "FastLane"]


class FastLane:
    """Walks along the values of a table, writing each into all groups.

    Args:
        groups: the optimiser's own list of its groups, all of which hold `table[at]`.
        table: an LR for each step from `start` on.
        start: the step of its first entry.
        at: the place of the LR that is in force.
    """

    __slots__ = ("_ahead", "_groups", "_start", "_table", "_width", "lr")

    def __init__(self, groups: list[dict[str, Any]], table: Sequence[float], start: int, at: int) -> None:
        self._groups, self._width = groups, len(groups)
        self._table, self._start, self._ahead = table, start, iter(table[at + 1 :])
        self.lr = table[at]  # what was written last

    @property
    def step(self) -> int:
        """The step whose LR is in force."""
        return self._start + len(self._table) - length_hint(self._ahead) - 1

    def walk(self, groups: list[dict[str, Any]]) -> bool:
        """Write the next LR into all groups. False, and nothing is written, if these are other groups or another number
        of them, if one holds something else than what was written last, or if the table is at its end.
        """
        if groups is not self._groups or len(groups) != self._width:
            return False
        last = self.lr
        for lr in self._ahead:
            for group in groups:
                if group["lr"] is not last:
                    self._back_out(lr)
                    return False
                group["lr"] = lr
            self.lr = lr
            return True
        return False

    def _back_out(self, lr: float) -> None:
        """A hand edit was met after `lr` was taken and written to the groups before it: undo both."""
        for group in self._groups:
            if group["lr"] is not lr:
                break
            group["lr"] = self.lr
        self._ahead = iter(self._table[self.step - self._start :])


CLOSED = FastLane([], (0.0,), 0, 0)
