"""The step that each row of a log belongs to."""

from __future__ import annotations

import itertools
from collections.abc import Sized

from lehr.errors import LehrError
from lehr.logs.log import Log
from lehr.logs.meanings import Meanings

__all__ = ["steps_of"]


def steps_of(log: Log, found: Meanings, path: str) -> tuple[list[int | None], list[str]]:
    """The step of each row, None for one that tells none; and what had to be decided.

    Raises:
        LehrError: no row has a step, steps go back, or one is no whole number.
    """
    if found.step is None and found.epoch is None:
        _refuse_none(log.rows, path)
        return list(range(len(log.rows))), ["no column counts steps, nor each epoch once: a row is a step"]
    column = found.step or found.epoch or ""
    values = [row.numbers.get(column) for row in log.rows]
    known = [(row.place, value) for row, value in zip(log.rows, values, strict=True) if value is not None]
    _refuse_none(known, path)
    lacking = len(values) - len(known)
    notes = [f"{lacking} of {len(values)} rows have no {column!r} and were left out"] if lacking else []
    for (_, before), (place, value) in itertools.pairwise(known):
        if value < before:
            raise LehrError(
                f"{path}: {column!r} goes back from {before:g} to {value:g} in line {place}. If the run was resumed "
                "there, take out what was done twice; if it counts within an epoch, name another column: "
                "columns={'step': ...}"
            )
    if found.step is None:
        order = {value: index for index, value in enumerate(dict.fromkeys(value for _, value in known))}
        whole = all(value.is_integer() for value in order)
        what = f"an epoch, as {column!r} counts them," if whole else f"each value of {column!r}"
        notes.append(f"no column counts steps: {what} is a step")
        return [None if value is None else order[value] for value in values], notes
    for place, value in known:
        if not value.is_integer() or value < log.first:
            raise LehrError(
                f"{path}: a step must be a whole number of at least {log.first}, got {column!r} {value:g} in line "
                f"{place}; name another column: columns={{'step': ...}}"
            )
    return [None if value is None else int(value) - log.first for value in values], notes


def _refuse_none(rows: Sized, path: str) -> None:
    if not rows:
        raise LehrError(f"{path} holds no row with a step and a number; give the log of a run that has begun")
