import numpy as np
import pytest

from lehr.report.terminal import Pen, drawing, pens, round_ticks


@pytest.mark.parametrize(
    ("low", "high", "count", "ticks"),
    [
        (0, 1000, 6, [0, 200, 400, 600, 800, 1000]),
        (0, 3e-4, 5, [0, 1e-4, 2e-4, 3e-4]),
        (0, 0.07, 5, [0, 0.02, 0.04, 0.06, 0.08]),
        (0, 0, 5, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0, 1, 6, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
    ],
)
def test_ticks_are_round_and_hold_the_range(low: float, high: float, count: int, ticks: list[float]) -> None:
    assert round_ticks(low, high, count) == ticks


def test_a_line_falls_from_left_to_right() -> None:
    lines = drawing([np.linspace(1, 0, 100)], pens(1, colours=False), width=40, height=10).split("\n")
    assert len(lines) == 10
    assert max(map(len, lines)) <= 40
    columns = [min(i for i, mark in enumerate(line) if 0x2800 < ord(mark) < 0x2900) for line in lines[:8]]
    assert columns == sorted(columns)
    assert lines[-1].split() == ["0", "20", "40", "60", "80", "100"]


def test_no_colours_means_no_escapes() -> None:
    curves = [np.ones(10), np.zeros(10)]
    assert "\x1b" not in drawing(curves, pens(2, colours=False), 40, 10)
    assert "\x1b" in drawing(curves, pens(2, colours=True), 40, 10)


def test_pens_can_be_told_apart() -> None:
    assert pens(1, colours=False) == [Pen("braille")]
    assert [pen.symbol for pen in pens(3, colours=False)] == ["a", "b", "c"]
    assert len({pen.colour for pen in pens(4, colours=True)}) == 4
    assert pens(1, colours=False, encoding="cp1252") == [Pen("*")]
    assert pens(1, colours=False, encoding="no such") == [Pen("*")]


def test_an_old_encoding_gets_plain_characters() -> None:
    drawn = drawing([np.linspace(0, 1, 50)], pens(1, colours=False, encoding="ascii"), 40, 8)
    assert drawn.isascii()
    assert "*" in drawn


@pytest.mark.parametrize("values", [[0.0], [1.0], [0.0, 0.0], [1e-300, 1e-300]])
def test_small_runs_and_values_are_drawn(values: list[float]) -> None:
    assert drawing([np.array(values)], pens(1, colours=False), 40, 8)
