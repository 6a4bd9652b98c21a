"""Schedules and curves: a schedule is a value; resolved against a horizon it is a total function step → factor.

A `Schedule` knows lengths with units and nothing of a run. `resolve` gives it the horizon and passes a start down (1.0
at the top), and the result is a `Curve`: for every integer step ≥ 0 a finite factor of the base LR, for one step, a
NumPy array of steps, or a JAX array or tracer. Nothing here has a side effect.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from lehr.errors import LehrError
from lehr.lengths import Horizon, Length, LengthLike, whole_steps
from lehr.spelling import Value

if TYPE_CHECKING:
    from lehr.schedules.algebra import Clip, Product, Repeat, Sequence, Staircase, Stretch

__all__ = ["Array", "Context", "Curve", "Extent", "Part", "Schedule", "namespace"]

Array = Any  # a NumPy or JAX array, scalar or tracer
INT64_MAX = 2**63 - 1
SMALLEST_NORMAL = float(np.finfo(np.float64).tiny)


class Extent(Enum):
    """How long a schedule is, where it does not say so itself."""

    FILLING = "filling"  # takes the steps that are left
    ENDLESS = "endless"  # goes on for ever; only last in a sequence
    OPEN = "open"  # a hold: filling before another, endless as the last


@dataclass(frozen=True)
class Context:
    """What `resolve` knows: the horizon, the base LR (for `to_lr`), and how far lengths are stretched."""

    horizon: Horizon
    lr: float | None = None
    stretch: Fraction = Fraction(1)

    def measure(self, length: Length) -> Fraction:
        """The exact number of steps of `length`, stretched."""
        return self.horizon.measure(length) * self.stretch

    def steps(self, length: Length) -> int:
        """The whole number of steps of `length`, stretched."""
        return whole_steps(self.measure(length))

    def stretched(self, factor: Fraction) -> Context:
        """The same, with lengths `factor` times as long."""
        return replace(self, stretch=self.stretch * factor)

    def factor(self, to: float | None, to_lr: float | None) -> float | None:
        """The factor that `to` (a factor of the base LR) or `to_lr` (an absolute LR) means for this group."""
        if to_lr is None:
            return to
        if self.lr is None or self.lr <= 0:
            raise LehrError(f"to_lr={to_lr!r} needs the base LR, got {self.lr!r}; give resolve(..., lr=...) or use to=")
        return to_lr / self.lr


@dataclass(frozen=True)
class Part:
    """A stretch of a curve that one member of the schedule governs: from step `start` up to `stop` (None: for ever)."""

    start: int
    stop: int | None
    text: str


@dataclass(frozen=True)
class Curve:
    """A total function from step to factor.

    Attributes:
        evaluate: the formula on an array of integer steps ≥ 0; use the curve itself as a function instead.
        length: steps until the curve holds its end value; None if it never ends.
        warmup: steps of the leading warm-up; rules sleep and bounds do not hold before it is over.
        largest: the largest integer inside the formula; arrays of a narrower integer type are refused.
        parts: which member of the schedule governs which steps.

    Example:
        >>> import lehr
        >>> curve = lehr.cosine(to=0.1).resolve(steps=100)
        >>> curve(0), curve(100), curve(10**12)
        (1.0, 0.1, 0.1)
    """

    evaluate: Callable[[Array], Array]
    length: int | None
    warmup: int = 0
    largest: int = 0
    parts: tuple[Part, ...] = ()

    @property
    def end(self) -> float:
        """The value handed to what follows; it holds for ever after `length`."""
        return self(self.length if self.length is not None else INT64_MAX)

    def __call__(self, step: Array) -> Array:
        """The factor at `step`.

        Args:
            step: an integer ≥ 0 (a float comes back), or an array of integers of any shape (an array of the same shape
                comes back: float64 from NumPy, JAX's default float type from JAX).

        Raises:
            LehrError: a step that is negative, not an integer, or beyond what the array's type can count.
        """
        if isinstance(step, int) and not isinstance(step, bool):
            if not 0 <= step <= INT64_MAX:
                raise LehrError(f"a step must be between 0 and 2**63 - 1, got {step}")
            return float(self._of_numpy(np.array([step]))[0])
        if not hasattr(step, "__array_namespace__"):
            step = np.asarray(step)
        xp = namespace(step)
        if not xp.isdtype(step.dtype, "integral"):
            raise LehrError(f"steps must be integers, got an array of {step.dtype}; count updates from 0")
        if xp is np:
            return self._of_numpy(step)
        step = step.astype(xp.asarray(0).dtype)
        if self.largest > xp.iinfo(step.dtype).max:
            raise LehrError(
                f"this curve counts to {self.largest}, beyond {step.dtype}; switch on 64-bit integers "
                "(jax.config.update('jax_enable_x64', True)) or pass a NumPy array"
            )
        return _flush(self.evaluate(xp.maximum(step, 0)))

    def _of_numpy(self, step: Array) -> Array:
        if step.size and (step.min() < 0 or step.max() > INT64_MAX):
            raise LehrError(f"steps must be between 0 and 2**63 - 1, got {step.min()} to {step.max()}")
        # Always one contiguous dimension: for a lone scalar NumPy takes other loops, which differ in the last bit.
        values = _flush(self.evaluate(np.ascontiguousarray(step, dtype=np.int64).reshape(-1)))
        return float(values[0]) if isinstance(step, np.generic) else values.reshape(step.shape)


def namespace(array: Array) -> Any:
    """The module that computes on `array`: NumPy or jax.numpy, through the array API standard."""
    return np if isinstance(array, np.ndarray | np.generic) else array.__array_namespace__()


def _flush(values: Array) -> Array:
    """A factor below the smallest normal float is exactly 0.0."""
    xp = namespace(values)
    return xp.where(xp.abs(values) < SMALLEST_NORMAL, 0.0, values)


class Schedule(Value):
    """A plan of the LR, made before training: a frozen value, closed under `then`, `*` and the other operations.

    Make one with the functions of `lehr` (`cosine`, `warmup`, `step_decay`, …) and combine them:

    Example:
        >>> import lehr
        >>> plan = lehr.warmup("2%").then(lehr.cosine(to=0.1))
        >>> plan
        warmup('2%').then(cosine(to=0.1))
        >>> plan.resolve(steps=1000)(20)
        1.0
    """

    __slots__ = ()

    @abstractmethod
    def extent(self, context: Context) -> Fraction | Extent:
        """The exact number of steps, or how the length is found."""

    @abstractmethod
    def build(self, context: Context, start: float, length: int | None) -> Curve:
        """The curve from `start`, over `length` steps if one is allotted (always, to a fixed or filling schedule)."""

    @abstractmethod
    def lengths(self) -> Iterator[Length]:
        """Every length inside, to say at once what a horizon must know."""

    @property
    @abstractmethod
    def fills(self) -> bool:
        """Whether some member takes the steps that are left."""

    @property
    @abstractmethod
    def absolute(self) -> bool:
        """Whether some member has a `to_lr`, so that groups with another base LR have another curve."""

    def resolve(
        self,
        horizon: Horizon | None = None,
        *,
        steps: int | None = None,
        lr: float | None = None,
        start: float = 1.0,
        length: int | None = None,
    ) -> Curve:
        """Turn lengths into steps: the curve of this schedule in one run.

        Args:
            horizon: the run; needed only for %, epochs, samples, tokens or a filling member.
            steps: short for `Horizon(steps=...)`; never both.
            lr: the base LR, for `to_lr`.
            start: the factor to begin from.
            length: steps to fill or to shrink to; default: the horizon, or the schedule's own length.

        Raises:
            LehrError: the horizon lacks something (the error lists all of it), or the schedule cannot be resolved.
        """
        if horizon is not None and steps is not None:
            raise LehrError(f"give horizon= or steps=, not both; got {horizon} and steps={steps}")
        horizon = horizon or Horizon(steps=steps)
        self._check_known(horizon, length)
        context = Context(horizon, lr)
        extent = self.extent(context)
        if length is None:
            length = whole_steps(extent) if isinstance(extent, Fraction) else None
        if length is None and extent is Extent.FILLING:
            length = horizon.steps
        return self.build(context, start, length)

    def _check_known(self, horizon: Horizon, length: int | None) -> None:
        lacking = [(horizon.lacks(item), item.words()) for item in self.lengths()]
        needs = [f"{words!r} needs {fact}" for fact, words in dict.fromkeys(lacking) if fact]
        if self.fills and horizon.steps is None and length is None:
            needs.append(f"a part without a length in {self!r} needs steps")
        if needs:
            raise LehrError(
                f"this schedule needs a horizon that knows more: {'; '.join(needs)}. "
                "Give steps=... or horizon=Horizon(...)"
            )

    def then(self, *others: Schedule) -> Sequence:
        """This schedule, and after it `others`; each begins at the end value of the one before it.

        At most one member may lack a length (it fills what is left), and an endless one may only be the last.

        Example:
            >>> import lehr
            >>> lehr.warmup(10).then(lehr.hold(80), lehr.linear(10)).resolve()(95)
            0.5
        """
        from lehr.schedules.algebra import Sequence

        return Sequence.of(self, *others)

    def __mul__(self, other: Schedule) -> Product:
        """The product of two factors; this schedule gets the start, `other` begins at 1."""
        from lehr.schedules.algebra import Product

        if not isinstance(other, Schedule):
            raise LehrError(f"a schedule can be multiplied by a schedule, got {other!r}; for a number use .scaled(k)")
        return Product.of(self, other)

    def scaled(self, k: float) -> Product:
        """`self * constant(k)`: every value k times as large."""
        from lehr.schedules.decay import constant

        return self * constant(k)

    def repeat(self, times: int | None = None, *, stretch: float = 1.0, scale: float = 1.0) -> Repeat:
        """Cycles of this schedule, each from the first cycle's start (SGDR, Loshchilov & Hutter 2017, section 3).

        Args:
            times: how many cycles, at least 1; None: for ever (needs a schedule with a length of its own).
            stretch: each cycle is this many times as long as the one before it.
            scale: each cycle's values are this many times those of the one before it, 0 < scale ≤ 1.

        A filling schedule shares the steps left as 1 : stretch : stretch² : …

        Example:
            >>> import lehr
            >>> lehr.cosine(10).repeat(3, stretch=2).resolve().length
            70
        """
        from lehr.schedules.algebra import Repeat

        return Repeat(self, times, stretch, scale)

    def clip(self, low: float = 0.0, high: float | None = None) -> Clip:
        """Values kept between `low` and `high` (factors of the base LR); the start is not clipped."""
        from lehr.schedules.algebra import Clip

        return Clip(self, low, high)

    def staircase(self, every: LengthLike) -> Staircase:
        """Sample and hold: x(n·⌊t/n⌋), with n steps to a stair; after its end the schedule has its end value."""
        from lehr.schedules.algebra import Staircase

        return Staircase(self, every)

    def stretch(self, k: float) -> Stretch:
        """Every length inside, once resolved, k times as long; refused where a part has no length to stretch."""
        from lehr.schedules.algebra import Stretch

        return Stretch(self, k)
