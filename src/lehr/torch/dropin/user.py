"""A user's function of the step, as a factor: named, so that a state can say which one it was, and never negative."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from lehr.errors import LehrWarning
from lehr.schedules import register
from lehr.schedules.functions import Function

__all__ = ["UserFunction"]


class UserFunction:
    """A function of the step whose negative values are 0, with one warning: no LR is negative.

    Args:
        function: of the step.
        title: what states call it.
    """

    def __init__(self, function: Callable[[int], Any], title: str) -> None:
        letters = "".join(letter if letter.isalnum() else "." for letter in title)
        name = ".".join(part for part in letters.split(".") if part)[-60:]
        self.name = name if name[:1].isalpha() else f"f{name}"
        self._function = function
        self._warned = False

    def __call__(self, step: int) -> float:
        """The value, at least 0."""
        value = float(self._function(step))
        if value < 0 and not self._warned:
            self._warned = True
            words = f"{self.name} gives {value:.6g} at step {step}; no LR is negative, so it is 0 there"
            warnings.warn(words, LehrWarning, stacklevel=2)
        return 0.0 if value < 0 else value

    @property
    def value(self) -> Function:
        """It and its name, for a schedule."""
        return Function(self.name, self)

    def register(self) -> None:
        """Let texts of this name mean this function."""
        register(self.name, self, replace=True)
