"""The table: the values of the next steps, made ahead, so that no formula is evaluated on the hot path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lehr.plan import Track, end_of

__all__ = ["Table"]

LONG = 4096  # steps that are tabulated ahead
SHORT = 64  # the same if there are rules, which may change the gain at any step
LAZY = 1  # the same if a function of the user is called: it may know no more than the steps that are taken


@dataclass(frozen=True)
class Table:
    """Values of steps start … start + size − 1: a column per hyperparameter and group, the same object where equal."""

    start: int
    size: int
    columns: dict[str, list[list[float]]]
    end: int | None  # the step at which the run is over, as things stand

    @classmethod
    def of(cls, tracks: Sequence[Track], bases: Mapping[str, tuple[float, ...]], start: int) -> Table:
        """Tabulate the LR (its base where nothing governs it) and what else is governed, from `start` on."""
        names = {"lr", *(track.target for track in tracks)}
        size = min((_ahead(track) for track in tracks), default=LONG)
        columns = {name: [[value] * size for value in values] for name, values in bases.items() if name in names}
        for track in tracks:
            for group, column in zip(track.groups, _columns(track, start, size), strict=True):
                columns[track.target][group] = column
        return cls(start, size, columns, end_of(tracks))

    def covers(self, step: int) -> bool:
        """Whether `step` is in the table."""
        return self.start <= step < self.start + self.size

    def at(self, step: int) -> dict[str, list[float]]:
        """The values of `step`: hyperparameter → one value per group."""
        return {name: [column[step - self.start] for column in columns] for name, columns in self.columns.items()}


def _ahead(track: Track) -> int:
    if track.plan.foreign(track.state):
        return LAZY
    return SHORT if track.plan.rules else LONG


def _columns(track: Track, start: int, size: int) -> list[list[float]]:
    """(base × factor) × gain, within the bounds; groups that agree in all of these share a column."""
    plan, made = track.plan, {}
    keys: list[Any] = []
    for k, factors in enumerate(plan.factors(track.state, np.arange(start, start + size))):
        base, gain = plan.bases[k], track.state.gains[k]
        keys.append((id(factors), base, gain, *plan.bounds(k)))
        if keys[-1] not in made:
            values: list[float] = (base * factors * gain).tolist()
            if plan.bounds(k) != (None, None):
                values = [plan.bounded(start + i, k, value) for i, value in enumerate(values)]
            made[keys[-1]] = values
    return [made[key] for key in keys]
