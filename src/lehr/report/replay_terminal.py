"""The picture of a replay in a terminal: below each drawing a line of marks, and verdicts as letters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import numpy as np

from lehr.replay import Replay
from lehr.report.replayed import ACTS, BAD, SHADOW, Floats, Number, lanes, marks, numbers, reach
from lehr.report.terminal import Pen, drawing, round_ticks

__all__ = ["lr_drawing", "number_drawings"]

SYMBOLS = {ACTS: "▼", SHADOW: "▽", BAD: "×"}
PLAIN = {ACTS: "v", SHADOW: "o", BAD: "x"}  # for encodings without them
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def number_drawings(replay: Replay, pen: Pen, width: int, height: int) -> Iterator[tuple[str, str]]:
    """A caption and a drawing for each number that the rules read, and for the verdicts.

    Args:
        replay: what to draw.
        pen: for all of them.
        width: in characters.
        height: of a drawing in lines.
    """
    steps = _steps(replay)
    symbols = PLAIN if pen.symbol == "*" else SYMBOLS
    last = ""
    for number in numbers(replay):
        found = marks(replay, number)
        kinds = dict.fromkeys(mark.kind for mark in found)
        last = drawing([_dense(number, steps)], [pen], width, height)
        places = [(at, at, symbols[mark.kind]) for mark in reversed(found) for at in {mark.first, mark.last}]
        row = _row(last, places, len(steps))
        key = ", ".join(f"{symbols[kind]} {kind}" for kind in kinds)
        caption = number.name + ", running mean" * (number.mean is not None)
        yield f"{caption}   {key}".rstrip(), f"{last}\n{row}".rstrip("\n")
    for lane in lanes(replay) if last else ():
        said = ", ".join(f"{verdict[0]} {verdict}" for verdict in dict.fromkeys(span[2] for span in lane.spans))
        row = _row(last, [(first, end - 1, verdict[0]) for first, end, verdict in lane.spans], len(steps))
        yield f"{lane.label}   {said}", row


def lr_drawing(replay: Replay, drawn_with: list[Pen], width: int, height: int) -> str:
    """The LR of the policy, and the recorded one if there is one and a second pen."""
    curves = [replay.trace.columns["lr"]]
    recorded = replay.recorded_lr
    if len(drawn_with) > 1:
        known = np.isfinite(recorded)
        curves.append(np.where(known, recorded, recorded[known.argmax()]))
    steps, at = _steps(replay), replay.trace.columns["step"]
    return drawing([np.interp(steps, at, curve) for curve in curves], drawn_with, width, height)


def _steps(replay: Replay) -> Floats:
    return np.arange(float(replay.log.columns["step"][-1]) + 1)


def _dense(number: Number, steps: Floats) -> Floats:
    """A value at every step, within the range that is worth drawing."""
    x, y = number.mean or (number.steps, number.values)
    span = reach(number)
    return np.clip(np.interp(steps, x, y), span.low, span.high) if len(x) else np.zeros(len(steps))


def _row(drawn: str, places: Iterable[tuple[int, int, str]], steps: int) -> str:
    """A line below a drawing, with characters at the places of steps; a later one covers an earlier one."""
    lines = [COLOUR.sub("", line) for line in drawn.split("\n")]
    left = max(lines[0].find(edge) for edge in "┤│|") + 1
    width = max(map(len, lines)) - left - 1
    high = round_ticks(0, steps, 6)[-1]
    row: dict[int, str] = {}
    for first, last, character in places:
        ends = [left + round(min(step, high) / high * width) for step in (first, max(first, last))]
        for place in range(ends[0], ends[1] + 1):
            row[place] = character
    return "".join(row.get(place, " ") for place in range(max(row, default=-1) + 1))
