"""What triggers share: arguments checked and set, lengths in steps, their text."""

from __future__ import annotations

import math
from numbers import Real
from typing import TYPE_CHECKING, Any

from lehr.errors import LehrError
from lehr.lengths import Horizon, Length, as_length, whole_steps
from lehr.spelling import call, shown

if TYPE_CHECKING:
    from lehr.rules.signals import Signal

__all__ = ["in_steps", "method", "percent", "put", "whole"]


def in_steps(length: Length, horizon: Horizon) -> Length:
    """The length in whole steps; observations stay what they are."""
    if length.unit == "observations":
        return length
    return as_length(whole_steps(horizon.measure(length)), "a length")


def whole(value: Any, what: str, least: int) -> int:
    """A count of observations or firings: a whole number without a unit."""
    number = float(value) if not isinstance(value, bool) and isinstance(value, Real) else math.nan
    if not (math.isfinite(number) and number == int(number) and number >= least):
        raise LehrError(f"{what} must be a whole number of at least {least}, got {shown(value)}")
    return int(number)


def put(value: Any, **fields: Any) -> None:
    """Set fields of a frozen value while it is being made."""
    for name, content in fields.items():
        object.__setattr__(value, name, content)


def method(signal: Signal, name: str, trigger: Any, names: tuple[str, ...], full: bool) -> str:
    """The text of a trigger: `signal.name(...)`."""
    arguments = {item: getattr(trigger, item) for item in names}
    return f"{signal.text(full)}.{call(getattr(type(signal), name), arguments, full)}"


def percent(share: float) -> str:
    """A share in words."""
    return f"{100 * share:.3g} %"
