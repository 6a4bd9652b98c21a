"""Colours of lines: nine hues and a neutral grey for the control, in a version for each background.

Found by search: nine named hues, each free in lightness and chroma, so that the nearest two of the ten colours are as
far apart as can be for eyes with and without colour blindness (OKLab distance after the simulation of Machado,
Oliveira and Fernandes, IEEE TVCG 15, 2009: at least 0.08, twice that of the eight colours of Okabe and Ito). Every
colour has a contrast of at least 3 : 1 to its background, as WCAG 2.2 asks of graphics.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["BACKGROUND", "Ink", "inks"]


class Ink(NamedTuple):
    """How a line is drawn."""

    light: str  # colour on the light background
    dark: str  # colour on the dark background
    dash: tuple[int, ...] = ()  # lengths of stroke and gap in pixels; empty: solid


BACKGROUND = Ink("#ffffff", "#15181c")
GREY = Ink("#7b8086", "#9aa1a9")
HUES = (
    Ink("#5f67e6", "#5879f6"),  # blue
    Ink("#f46527", "#e18200"),  # orange
    Ink("#4aa362", "#5dd17d"),  # green
    Ink("#ce70c7", "#dd93fa"),  # pink
    Ink("#493200", "#e6e417"),  # umber, yellow in the dark
    Ink("#226861", "#28706e"),  # teal
    Ink("#ad3718", "#c52c26"),  # red
    Ink("#761e99", "#9541b9"),  # purple
    Ink("#153959", "#a7e6fc"),  # navy, sky in the dark
)
DASHES: tuple[tuple[int, ...], ...] = ((), (6, 3), (2, 2), (8, 3, 2, 3))


def inks(names: Iterable[str], control: str = "constant") -> dict[str, Ink]:
    """An ink for every name, in order: grey for the control, then the hues, then the hues again with dashes."""
    others = [name for name in dict.fromkeys(names) if name != control]
    drawn = {name: _hue(index) for index, name in enumerate(others)}
    return {control: GREY} | drawn


def _hue(index: int) -> Ink:
    turn, place = divmod(index, len(HUES))
    return HUES[place]._replace(dash=DASHES[turn % len(DASHES)])
