"""The arguments of a peer, each read once and checked; what was not read and may change the LR is named."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from fractions import Fraction
from numbers import Real
from typing import Any

from lehr.checks.finding import Finding
from lehr.converters.conversion import finding
from lehr.errors import LehrError
from lehr.spelling import shown

__all__ = ["Arguments"]

ABOUT_LR = ("lr", "sched", "scheduler", "warmup", "anneal", "cooldown", "cycle", "decay")
NOT_LR = ("weight", "wd", "ema", "wandb", "bn", "logging", "log", "scheduling", "checkpoint")


class Arguments:
    """The keys of one configuration.

    Args:
        values: the configuration; numbers may be texts, as flags have them.
        what: the name of the configuration in messages.
        defaults: the peer's own, for keys that are not there.
    """

    def __init__(self, values: Mapping[str, Any], what: str, defaults: Mapping[str, Any] | None = None) -> None:
        self.values, self.what = values, what
        self.defaults = defaults or {}
        self.read: set[str] = set()

    def has(self, name: str) -> bool:
        """Whether the configuration has a value, other than None, under this key."""
        return self.values.get(name) is not None

    def get(self, name: str) -> Any:
        """The value as it is, else the peer's default, else None."""
        self.read.add(name)
        value = self.values.get(name)
        return self.defaults.get(name) if value is None else value

    def first(self, *names: str) -> Any:
        """The value under the first of these keys that is there."""
        found = [self.get(name) for name in names]
        return next((value for value in found if value is not None), None)

    def number(self, name: str, least: float = 0.0) -> float | None:
        """A finite number of at least `least`, or None."""
        value = self.get(name)
        return None if value is None else self.as_number(value, name, least)

    def number_or(self, name: str, default: float) -> float:
        """A finite number of at least 0, or what the peer takes where there is none."""
        value = self.number(name)
        return default if value is None else value

    def needed(self, name: str, least: float = 0.0) -> float:
        """A number that must be there."""
        value = self.number(name, least)
        if value is None:
            raise LehrError(f"{self.what} needs {name}, which is not in the source; add it")
        return value

    def count(self, name: str, least: int = 0) -> int | None:
        """A whole number of at least `least`, or None."""
        value = self.number(name, least)
        if value is not None and value != int(value):
            raise LehrError(f"{name} of {self.what} must be a whole number, got {value!r}")
        return None if value is None else int(value)

    def count_or(self, name: str, default: int, least: int = 0) -> int:
        """A whole number of at least `least`, or what the peer takes where there is none."""
        value = self.count(name, least)
        return default if value is None else value

    def counted(self, name: str, least: int = 0) -> int:
        """A whole number that must be there."""
        self.needed(name, least)
        return self.count(name, least) or 0

    def amount(self, name: str) -> Fraction | None:
        """A number as the exact fraction that its decimals say, or None."""
        value = self.number(name)
        return None if value is None else Fraction(str(value))

    def word(self, name: str, choices: Iterable[str]) -> str | None:
        """One of the words that the peer knows, or None."""
        value = self.get(name)
        value = getattr(value, "value", value)  # an enumeration's member
        known = list(choices)
        if value is not None and (not isinstance(value, str) or value not in known):
            raise LehrError(f"{name} of {self.what} must be one of {', '.join(known)}, got {shown(value)}")
        return value

    def flag(self, name: str) -> bool:
        """Whether a switch is on."""
        value = self.get(name)
        if isinstance(value, str) and value.lower() in ("true", "false", "1", "0"):
            return value.lower() in ("true", "1")
        if value is not None and not isinstance(value, bool | int):
            raise LehrError(f"{name} of {self.what} must be true or false, got {shown(value)}")
        return bool(value)

    def numbers(self, name: str) -> list[float]:
        """A list of numbers; empty if it is not there."""
        value = self.get(name)
        items = value if isinstance(value, list | tuple) else [] if value is None else [value]
        return [self.as_number(item, name, 0.0) for item in items]

    def as_number(self, value: Any, name: str, least: float) -> float:
        """A finite number of at least `least`."""
        if isinstance(value, list | tuple):
            raise LehrError(
                f"{name} of {self.what} has one value a parameter group, {shown(value)}; convert each group by itself "
                "and join them with lehr.groups(...)"
            )
        try:
            read = float(value) if isinstance(value, str) or (isinstance(value, Real) and value is not True) else None
        except (ValueError, OverflowError):
            read = None
        if read is None or not math.isfinite(read) or read < least:
            raise LehrError(f"{name} of {self.what} must be a number of at least {least:g}, got {shown(value)}")
        return read

    def all_read(self, *ignored: str) -> None:
        """Refuse keys that the peer does not know either.

        Raises:
            LehrError: a key is left that was not read and is not among `ignored`.
        """
        left = [name for name in self.values if name not in self.read and name not in ignored]
        if left:
            raise LehrError(f"{self.what} has no {', '.join(map(str, left))}; it knows {', '.join(sorted(self.read))}")

    def unread_about_lr(self, *harmless: str) -> list[Finding]:
        """A finding for each key that was not read, has a value, and whose name speaks of the LR."""
        return [
            finding(
                "C201",
                "error",
                f"{name}={shown(value)} of {self.what} may change the LR and is not converted",
                "look at what it does, and add it to the policy by hand",
            )
            for name, value in self.values.items()
            if name not in self.read and name not in harmless and value not in (None, False, "") and _speaks(name)
        ]


def _speaks(name: str) -> bool:
    words = str(name).lower().split("_")
    return any(word in ABOUT_LR for word in words) and not any(word in NOT_LR for word in words)
