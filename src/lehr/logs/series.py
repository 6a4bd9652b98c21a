"""Logs that keep each number as a series of its own, and how these become rows."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from lehr.errors import LehrError
from lehr.logs.log import Row

__all__ = ["Series", "woven"]

Series = Mapping[str, Sequence[tuple[int, float]]]  # name → (step, value), in the order in which they were logged


def woven(series: Series, path: str) -> tuple[list[Row], str]:
    """The rows of all steps in order, and the name of their column with the step.

    Raises:
        LehrError: a series goes back, or all of its points are at one step.
    """
    column = "step" if "step" not in series else "(step)"
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
    return [Row(place, rows[key]) for place, key in enumerate(sorted(rows), 1)], column
