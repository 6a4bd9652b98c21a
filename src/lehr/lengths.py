"""Lengths and horizons: every duration is written with its unit and becomes integer steps in one place.

`500` are steps; `"10%"` is a tenth of the whole run, wherever it stands; `"3 epochs"`, `"1000 samples"` and
`"2e9 tokens"` say what they are. A `Horizon` holds the facts about a run that turn them into steps. Amounts are exact
fractions until the one rounding (half up), so the parts of a run always sum to the run.
"""

from __future__ import annotations

import re
from dataclasses import InitVar, dataclass
from fractions import Fraction
from operator import index
from typing import Any, Protocol

import numpy as np

from lehr.errors import LehrError
from lehr.spelling import Value, shown

__all__ = ["Horizon", "Length", "LengthLike", "as_count", "as_horizon", "as_length", "half_up", "whole_steps"]

LengthLike = int | float | str

UNITS = {"%": "percent", "percent": "percent"} | {
    name: unit
    for unit in ("steps", "epochs", "samples", "tokens", "observations")
    for name in (unit, unit.removesuffix("s"))
}
SCHEDULE_UNITS = ("steps", "percent", "epochs", "samples", "tokens")
RULE_UNITS = (*SCHEDULE_UNITS, "observations")

LARGEST = 10**18

_DIGITS = r"[0-9]+(?:_[0-9]+)*"
_WRITTEN = re.compile(rf"\s*((?:{_DIGITS}\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{{1,3}})?)\s*(%|[a-z]+)\s*")


@dataclass(frozen=True, repr=False)
class Length(Value):
    """A duration: an exact amount and its unit ("steps", "percent", "epochs", "samples", "tokens", "observations")."""

    amount: Fraction
    unit: str

    def __post_init__(self) -> None:
        given: Any = self.amount
        exact = isinstance(given, int | Fraction) and not _is_flag(given) and _places(Fraction(given)) is not None
        if not exact or self.unit not in RULE_UNITS:
            raise LehrError(
                f"Length(amount, unit) must be an integer or a decimal Fraction of {', '.join(RULE_UNITS)}, "
                f"got {shown(given)} and {shown(self.unit)}"
            )
        object.__setattr__(self, "amount", Fraction(given))

    def text(self, full: bool = False) -> str:
        """A plain integer for steps, a quoted text for all else."""
        if self.unit == "steps" and self.amount.denominator == 1:
            return str(self.amount)
        return repr(self.words())

    def words(self) -> str:
        """The length as a person says it: "10%", "1 epoch", "200 steps"."""
        number = _decimal(self.amount)
        if self.unit == "percent":
            return f"{number}%"
        return f"{number} {self.unit.removesuffix('s') if self.amount == 1 else self.unit}"


def as_length(value: LengthLike | Length, what: str, units: tuple[str, ...] = SCHEDULE_UNITS) -> Length:
    """Read a length.

    Args:
        value: an integer (steps), an integral float of at least 2 (steps), or a text with a unit.
        what: how the argument is called, for the error message.
        units: the units allowed here.

    Raises:
        LehrError: not a length, negative, not finite, or a unit that has no meaning here.
    """
    if isinstance(value, str):
        length = _read(value, what)
    elif isinstance(value, Length):
        length = value
    elif isinstance(value, int | np.integer) and not _is_flag(value):
        length = Length(Fraction(index(value)), "steps")
    elif isinstance(value, float | np.floating):
        length = Length(Fraction(_whole_float(float(value), what)), "steps")
    else:
        raise LehrError(
            f'{what} must be a length such as 500 (steps), "10%", "3 epochs", "1000 samples" or "2e9 tokens", '
            f"got {shown(value)}"
        )
    if not 0 <= length.amount <= LARGEST:
        raise LehrError(f"{what} must be between 0 and 1e18, got {shown(value)}")
    if length.unit not in units:
        raise LehrError(f"{what} cannot be counted in {length.unit}, got {shown(value)}; use {', '.join(units)}")
    return length


def as_count(value: Any, what: str) -> int:
    """Read a whole number of at least 1 (and at most 1e18); a whole float such as 1e6 will do.

    Raises:
        LehrError: anything else.
    """
    whole = isinstance(value, int | np.integer) or (isinstance(value, float | np.floating) and value.is_integer())
    if not whole or _is_flag(value) or not 1 <= value <= LARGEST:
        raise LehrError(f"{what} must be a whole number of at least 1 and at most 1e18, got {shown(value)}")
    return int(value)


def half_up(amount: Fraction) -> int:
    """The one rounding of Lehr: to the nearest integer, halves up."""
    return (2 * amount.numerator + amount.denominator) // (2 * amount.denominator)


def whole_steps(amount: Fraction) -> int:
    """Steps of a single length: rounded half up, and at least 1 if the length is positive."""
    return max(half_up(amount), 1) if amount > 0 else 0


@dataclass(frozen=True)
class Horizon:
    """The facts of a run that turn lengths into steps.

    Give the run's length once, as `steps`, `epochs`, `samples` or `tokens`, and what one epoch or one step holds. A
    horizon without a length of the run is allowed: it turns epochs, samples and tokens into steps, but not percent.

    Args:
        steps: optimiser updates in the whole run.
        steps_per_epoch: updates in one epoch.
        samples_per_step: samples in one update, over all ranks and accumulated micro-batches.
        tokens_per_step: tokens in one update, likewise.
        epochs: the run's length in epochs (needs `steps_per_epoch`).
        samples: the run's length in samples (needs `samples_per_step`).
        tokens: the run's length in tokens (needs `tokens_per_step`).

    Raises:
        LehrError: two lengths of the run, a missing conversion, or a number below 1.

    Example:
        >>> Horizon(epochs=90, steps_per_epoch=391).steps
        35190
        >>> Horizon(tokens=20e9, tokens_per_step=2**19).steps
        38147
    """

    steps: int | None = None
    steps_per_epoch: int | None = None
    samples_per_step: int | None = None
    tokens_per_step: int | None = None
    epochs: InitVar[float | None] = None
    samples: InitVar[float | None] = None
    tokens: InitVar[float | None] = None

    def __post_init__(self, epochs: float | None, samples: float | None, tokens: float | None) -> None:
        for name in ("steps", "steps_per_epoch", "samples_per_step", "tokens_per_step"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, as_count(value, f"Horizon({name}=...)"))
        named = {"steps": self.steps, "epochs": epochs, "samples": samples, "tokens": tokens}
        given = {unit: amount for unit, amount in named.items() if amount is not None}
        if len(given) > 1:
            raise LehrError(f"Horizon takes the run's length once, got {' and '.join(given)}; keep one of them")
        for unit, amount in given.items():
            if unit != "steps":
                steps = whole_steps(self.measure(Length(_exact(amount, f"Horizon({unit}=...)"), unit)))
                object.__setattr__(self, "steps", as_count(steps, f"the steps of Horizon({unit}=...)"))

    @classmethod
    def from_loader(
        cls,
        loader: Any,
        *,
        epochs: float | None = None,
        steps: int | None = None,
        accumulate: int = 1,
        world_size: int = 1,
        steps_per_epoch: int | None = None,
    ) -> Horizon:
        """The horizon of a run over a data loader.

        An epoch has ceil(len(loader) / accumulate) updates. A loader that one rank reads for all `world_size` of them
        is divided among them; one that is already sharded (a `DistributedSampler`, accelerate's shards) is not.

        Args:
            loader: anything with a length in batches; `batch_size` is read where it has one.
            epochs: passes over the loader.
            steps: updates in the whole run, instead of `epochs`.
            accumulate: micro-batches in one update.
            world_size: ranks that share the loader's batches.
            steps_per_epoch: updates in an epoch, for a loader without a length.

        Raises:
            LehrError: the loader has no length and neither `steps` nor `steps_per_epoch` was given; it is empty; a
                count is below 1.

        Example:
            >>> Horizon.from_loader(range(10), epochs=3, accumulate=4)
            Horizon(steps=9, steps_per_epoch=3, samples_per_step=None, tokens_per_step=None)
        """
        accumulate = as_count(accumulate, "Horizon.from_loader(accumulate=...)")
        ranks = as_count(world_size, "Horizon.from_loader(world_size=...)")
        shards = _shards(loader)
        share = 1 if shards > 1 else ranks
        if steps_per_epoch is None:
            batches = _loader_length(loader)
            if batches is not None:
                steps_per_epoch = -(-batches // (share * accumulate))
            elif steps is None:
                raise LehrError(
                    "Horizon.from_loader needs to know how long the run is, but this loader has no length; "
                    "give steps= (updates in the run) or steps_per_epoch= with epochs="
                )
        size = getattr(loader, "batch_size", None)
        return cls(
            steps=steps,
            epochs=epochs,
            steps_per_epoch=steps_per_epoch,
            samples_per_step=size * accumulate * max(ranks, shards) if isinstance(size, int) and size > 0 else None,
        )

    def lacks(self, length: Length) -> str:
        """What must be known before `length` can become steps; empty if nothing is missing."""
        need = {
            "percent": ("steps", self.steps),
            "epochs": ("steps_per_epoch", self.steps_per_epoch),
            "samples": ("samples_per_step", self.samples_per_step),
            "tokens": ("tokens_per_step", self.tokens_per_step),
        }.get(length.unit)
        return need[0] if need and need[1] is None else ""

    def measure(self, length: Length) -> Fraction:
        """The exact number of steps, not yet rounded.

        Raises:
            LehrError: the horizon lacks the fact that the unit needs, or the unit is "observations".
        """
        missing = self.lacks(length)
        if missing:
            raise LehrError(f"{length.words()!r} needs a horizon with {missing}; give Horizon({missing}=...)")
        if length.unit == "percent":
            return length.amount * (self.steps or 0) / 100
        if length.unit == "epochs":
            return length.amount * (self.steps_per_epoch or 0)
        if length.unit == "samples":
            return length.amount / (self.samples_per_step or 1)
        if length.unit == "tokens":
            return length.amount / (self.tokens_per_step or 1)
        if length.unit == "observations":
            raise LehrError(f"{length.words()!r} is counted as the observations come; it has no length in steps")
        return length.amount


def as_horizon(steps: int | None, horizon: Any) -> Horizon:
    """The facts of a run, from the two arguments that may give them.

    Raises:
        LehrError: both are given, or `horizon` is none.
    """
    if horizon is None:
        return Horizon(steps=steps)
    if not isinstance(horizon, Horizon):
        raise LehrError(f"horizon= must be a Horizon, got {shown(horizon)}; for a number of steps write steps=...")
    if steps is not None:
        raise LehrError(f"give steps= or horizon=, not both; got steps={steps} and {horizon}")
    return horizon


class _Sized(Protocol):
    def __len__(self) -> int: ...


def _loader_length(loader: _Sized) -> int | None:
    try:
        batches = len(loader)
    except (TypeError, NotImplementedError):
        return None
    if batches < 1:
        raise LehrError("Horizon.from_loader needs at least one batch, but this loader is empty")
    return batches


def _shards(loader: Any) -> int:
    """Into how many shards the loader is cut already: torch's DistributedSampler and accelerate's samplers say so."""
    samplers = (getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None), loader)
    counts = [getattr(s, name, 1) for s in samplers for name in ("num_replicas", "num_processes")]
    return max((count for count in counts if isinstance(count, int)), default=1)


def _read(text: str, what: str) -> Length:
    found = _WRITTEN.fullmatch(text) if len(text) < 100 else None
    unit = UNITS.get(found[2]) if found else None
    if found is None or unit is None:
        raise LehrError(
            f'{what} must be a number with a unit, such as "500 steps", "10%", "3 epochs", "1000 samples", '
            f'"2e9 tokens" or "5 observations", got {shown(text)}'
        )
    value = float(found[1])
    if value != 0 and not 1e-12 <= value <= 1e18:
        raise LehrError(f"{what} must be 0 or between 1e-12 and 1e18, got {text!r}")
    return Length(Fraction(found[1]), unit)


def _whole_float(value: float, what: str) -> float:
    if value.is_integer() and value >= 2:
        return value
    if 0 < value <= 1:
        raise LehrError(f'{what} must be a length, got {value:g}: write "{100 * value:g}%" for a share of the run')
    raise LehrError(f"{what} must be a whole number of steps or a text with a unit, got {value!r}")


def _is_flag(value: Any) -> bool:
    """NumPy's bool is not Python's, and neither is a count."""
    return isinstance(value, bool | np.bool_)


def _exact(value: Any, what: str) -> Fraction:
    """A positive number exactly as it is written in decimals."""
    given = isinstance(value, int | float | np.integer | np.floating) and not _is_flag(value)
    if not given or not 0 < value <= LARGEST:
        raise LehrError(f"{what} must be a positive number of at most 1e18, got {shown(value)}")
    return Fraction(int(value)) if isinstance(value, int | np.integer) else Fraction(str(float(value)))


def _decimal(amount: Fraction) -> str:
    """The shortest decimal text that reads back to the same fraction."""
    if amount.denominator == 1:
        digits = str(amount)
        zeros = len(digits) - len(digits.rstrip("0"))
        return f"{digits[:-zeros]}e{zeros}" if zeros > 6 else digits
    places = _places(amount) or 0
    whole, rest = divmod(amount.numerator * 10**places // amount.denominator, 10**places)
    return f"{whole}.{rest:0{places}d}"


def _places(amount: Fraction) -> int | None:
    """How many decimal places the fraction has; None if it has no end (or none that a person would write)."""
    return next((n for n in range(130) if 10**n % amount.denominator == 0), None)
