"""Curves in a terminal: drawn by plotext in braille dots, on axes with round numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from string import ascii_lowercase
from typing import Any, NamedTuple

import numpy as np
import plotext
from numpy.typing import NDArray

from lehr.report.wording import short

__all__ = ["Pen", "drawing", "pens", "round_ticks"]

FRAME = str.maketrans("┤│└┬─", "||++-")  # for encodings without lines
COLOURS = (12, 9, 10, 13, 11, 14)  # of the terminal's own palette: readable on its light and dark backgrounds alike


class Pen(NamedTuple):
    """What a curve is drawn with."""

    symbol: str  # a character, or "braille": eight dots a character
    colour: int | None = None  # of the terminal's palette


def pens(count: int, colours: bool, encoding: str = "utf-8") -> list[Pen]:
    """A pen for each of `count` curves, so that they can be told apart: by colour, or else by letter.

    Args:
        count: how many curves.
        colours: whether the terminal shows colours.
        encoding: of the output; one without braille gets stars.
    """
    dots = "braille" if _has_braille(encoding) else "*"
    if colours:
        return [Pen(dots, COLOURS[i % len(COLOURS)]) for i in range(count)]
    return [Pen(dots)] if count == 1 else [Pen(ascii_lowercase[i % 26]) for i in range(count)]


def _has_braille(encoding: str) -> bool:
    try:
        "⣿".encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def drawing(curves: Sequence[NDArray[np.float64]], drawn_with: Sequence[Pen], width: int, height: int) -> str:
    """The curves on one axis, one value a step, as lines of text.

    Args:
        curves: the values of each curve; all of one length.
        drawn_with: a pen for each curve.
        width: in characters.
        height: in lines.
    """
    figure: Any = plotext.figure
    figure.clear.all()
    figure.theme("simple")
    figure.plot_size(width, height)
    figure.axes(False, side=[1])
    for values, pen in zip(curves, drawn_with, strict=True):
        figure.draw(_signal(figure, values, 4 * width, pen))
    low, high = min(0.0, *(float(v.min()) for v in curves)), max(float(v.max()) for v in curves)
    _set_ticks(figure.ruler("x"), round_ticks(0, max(len(values) for values in curves), 6))
    _set_ticks(figure.ruler("y"), round_ticks(low, high, 5))
    drawn: str = figure.build().string(colorless=all(pen.colour is None for pen in drawn_with))
    if any(pen.symbol == "*" for pen in drawn_with):
        drawn = drawn.translate(FRAME)
    return "\n".join(line.rstrip() for line in drawn.rstrip("\n").split("\n"))


def _signal(figure: Any, values: NDArray[np.float64], points: int, pen: Pen) -> Any:
    """A curve at as many steps as the drawing can tell apart."""
    steps = np.unique(np.linspace(0, len(values) - 1, min(points, len(values))).round().astype(int))
    marker = plotext.marker(pen.symbol, plotext.pixel(foreground=pen.colour))
    return figure.signal(steps.tolist(), values[steps].tolist(), marker=marker).lines()


def _set_ticks(ruler: Any, ticks: Sequence[float]) -> None:
    ruler.lim(ticks[0], ticks[-1])
    ruler.ticks(list(ticks), [short(tick) for tick in ticks])


def round_ticks(low: float, high: float, count: int) -> list[float]:
    """About `count` round numbers from `low` to at least `high`: multiples of 1, 2, 2.5 or 5 times a power of ten.

    Example:
        >>> round_ticks(0, 999, 5)
        [0.0, 200.0, 400.0, 600.0, 800.0, 1000.0]
    """
    high = high if high > low else low + 1.0
    span = high - low
    power = 10.0 ** math.floor(math.log10(span / count))
    stride = next(power * k for k in (1, 2, 2.5, 5, 10) if span / (power * k) <= count + 1e-9)
    first, last = math.floor(low / stride), math.ceil(high / stride - 1e-9)
    return [float(f"{i * stride:.12g}") for i in range(first, max(last, first + 1) + 1)]
