"""Functions of a user, registered once, so that the texts of `docs/parity.md` can be read by every test."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import lehr

__all__ = ["FUNCTIONS"]

FUNCTIONS: dict[str, Callable[[Any], float]] = {
    "parity-inverse": lambda t: 1 / (1 + 0.1 * t),
    "parity-halving": lambda t: 0.5 ** (t / 20),
    "parity-seesaw": lambda t: 1 + 0.01 * (-1) ** t,
    "parity-three-restarts": lambda x: 0.0 if x >= 1 else 0.5 * (1 + math.cos(math.pi * (3 * x % 1))),
    "parity-sawtooth": lambda t: 1.0 + t % 7,
    "parity-cubic": lambda x: (1 - x) ** 3,
}
for name, function in FUNCTIONS.items():
    lehr.register(name, function)
