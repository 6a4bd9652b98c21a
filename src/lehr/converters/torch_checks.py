"""How torch's arguments are checked, and how its functions are named."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any, Literal

from lehr.errors import LehrError
from lehr.lengths import as_count
from lehr.schedules import Schedule, cosine, linear, register
from lehr.schedules.schedule import number
from lehr.spelling import shown

__all__ = ["Anneal", "annealing", "at_least_zero", "from_zero", "named", "over"]

Anneal = Literal["cos", "linear"]
LONGEST_NAME = 80


def at_least_zero(value: float, what: str) -> float:
    """A number of at least 0.

    Raises:
        LehrError: it is less, or no number.
    """
    if number(value, what) < 0:
        raise LehrError(f"{what} must be at least 0, got {value!r}")
    return float(value)


def from_zero(value: Any, what: str) -> int:
    """A whole number of at least 0.

    Raises:
        LehrError: anything else.
    """
    return 0 if not isinstance(value, bool) and value == 0 else as_count(value, what)


def annealing(strategy: str, name: str) -> Callable[..., Schedule]:
    """The shape that torch calls "cos" or "linear".

    Raises:
        LehrError: neither.
    """
    if strategy not in ("cos", "linear"):
        raise LehrError(f"{name}(anneal_strategy=...) must be 'cos' or 'linear', got {shown(strategy)}")
    return cosine if strategy == "cos" else linear


def over(low: float, high: float) -> float:
    """low/high of the decimals as they are written: 0.02/0.1 is 0.2."""
    return float(Fraction(str(low)) / Fraction(str(float(high))))


def named(title: str, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Register a function under a name made of `title`, in place of an earlier one, so that a state can name it."""
    words = "".join(letter if letter.isalnum() or letter == "." else "_" for letter in title)
    return register(words[:LONGEST_NAME], function, replace=True)
