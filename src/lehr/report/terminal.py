"""Curves in a terminal: drawn by plotext in braille dots, on axes with round numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotext
from numpy.typing import NDArray

from lehr.report.wording import short

__all__ = ["drawing", "round_ticks"]

COLOURS = (12, 9, 10, 13, 11, 14)  # of the terminal's own palette: readable on its light and dark backgrounds alike


def drawing(curves: Sequence[NDArray[np.float64]], width: int, height: int, colours: bool) -> str:
    """The curves on one axis, one value a step, as lines of text.

    Args:
        curves: the values of each curve; all of one length.
        width: in characters.
        height: in lines.
        colours: whether to use the terminal's colours, one a curve.
    """
    figure: Any = plotext.figure
    figure.clear.all()
    figure.theme("simple" if colours else "colorless")
    figure.plot_size(width, height)
    figure.axes(False, side=[1])
    for values, colour in zip(curves, _cycled(COLOURS, len(curves)), strict=True):
        figure.draw(_signal(figure, values, 4 * width, colour if colours else None))
    _set_ticks(figure.ruler("x"), round_ticks(0, max(len(values) for values in curves), 6))
    _set_ticks(figure.ruler("y"), round_ticks(0, max(float(values.max()) for values in curves), 5))
    drawn: str = figure.build().string(colorless=not colours)
    return "\n".join(line.rstrip() for line in drawn.rstrip("\n").split("\n"))


def _signal(figure: Any, values: NDArray[np.float64], points: int, colour: int | None) -> Any:
    """A curve at as many steps as the drawing can tell apart."""
    steps = np.unique(np.linspace(0, len(values) - 1, min(points, len(values))).round().astype(int))
    marker = plotext.marker("braille", plotext.pixel(foreground=colour))
    return figure.signal(steps.tolist(), values[steps].tolist(), marker=marker).lines()


def _set_ticks(ruler: Any, ticks: Sequence[float]) -> None:
    ruler.lim(ticks[0], ticks[-1])
    ruler.ticks(list(ticks), [short(tick) for tick in ticks])


def _cycled(items: Sequence[int], count: int) -> list[int]:
    return [items[i % len(items)] for i in range(count)]


def round_ticks(low: float, high: float, count: int) -> list[float]:
    """About `count` round numbers from `low` to at least `high`: multiples of 1, 2, 2.5 or 5 times a power of ten.

    Example:
        >>> round_ticks(0, 999, 5)
        [0.0, 200.0, 400.0, 600.0, 800.0, 1000.0]
    """
    span = (high - low) or 1.0
    power = 10.0 ** math.floor(math.log10(span / count))
    stride = next(power * k for k in (1, 2, 2.5, 5, 10) if span / (power * k) <= count + 1e-9)
    first, last = math.floor(low / stride), math.ceil(high / stride - 1e-9)
    return [float(f"{i * stride:.12g}") for i in range(first, max(last, first + 1) + 1)]
