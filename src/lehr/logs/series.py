"""Logs that keep each number as a series of its own, and how these become rows."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from lehr.errors import LehrError
from lehr.logs.log import Row

__all__ = ["Series", "woven"]

Series = Mapping[str, Sequence[tuple[int, float]]]  # name → (step, value), in the order in which they were logged


def woven(series: Series, path: str, counted: str = "step") -> tuple[list[Row], str, list[str]]:
    """The rows of all steps in order, the name of their column with the step, and what looks wrong.

    Args:
        series: the numbers of each name.
        path: where they are from, for messages.
        counted: what the steps count.

    Raises:
        LehrError: a series goes back, or all of its points are at one step.
    """
    column = counted if counted not in series else f"({counted})"
    rows: dict[tuple[int, int], dict[str, float]] = {}
    for name, points in series.items():
        steps = [step for step, _ in points]
        for before, step in itertools.pairwise(steps):
            if step < before:
                raise LehrError(
                    f"{path}: {name!r} goes back from step {before} to {step}. If two runs wrote here, read each alone"
                )
        if len(steps) > 2 and steps[0] == steps[-1]:
            raise LehrError(
                f"{path}: all {len(steps)} values of {name!r} are at step {steps[0]}; it was logged without its step"
            )
        for _, at in itertools.groupby(points, lambda point: point[0]):
            for again, (step, value) in enumerate(at):
                rows.setdefault((step, again), {column: float(step)})[name] = value
    return [Row(place, rows[key]) for place, key in enumerate(sorted(rows), 1)], column, _short(series)


def _short(series: Series) -> list[str]:
    """Series that end in the first tenth of the run: most likely their steps are epochs."""
    ends = {name: points[-1][0] for name, points in series.items() if len(points) > 1}
    last = max(ends.values(), default=0)
    return [
        f"{name!r} ends at step {end}, and others at {last}: if it counts epochs, its steps are wrong"
        for name, end in ends.items()
        if 10 * end < last
    ]
