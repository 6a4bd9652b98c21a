"""Schedules and curves: a schedule is a value; resolved against a horizon it is a total function step → factor.

A `Schedule` knows lengths with units and nothing of a run. `resolve` gives it the horizon and passes a start down (1.0
at the top), and the result is a `Curve`: for every integer step ≥ 0 a finite factor of the base LR, for one step, a
NumPy array of steps, or a JAX array or tracer. Nothing here has a side effect.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from fractions import Fraction
from numbers import Real
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from lehr.errors import LehrError
from lehr.lengths import Horizon, Length, LengthLike, as_count, as_horizon, whole_steps
from lehr.spelling import Value, shown

if TYPE_CHECKING:
    from lehr.schedules.algebra import Clip, Fade, Product, Repeat, Reverse, Sequence, Staircase, Stretch, Sum

__all__ = ["Array", "Context", "Curve", "Extent", "Part", "Schedule", "least_steps", "namespace", "number"]

Array = Any  # a NumPy or JAX array, scalar or tracer
INT64_MAX = 2**63 - 1
LARGEST_FACTOR = 1e300
SMALLEST_NORMAL = float(np.finfo(np.float64).tiny)


class Extent(Enum):
    """How long a schedule is, where it does not say so itself."""

    FILLING = "filling"  # takes the steps that are left
    ENDLESS = "endless"  # goes on for ever; only last in a sequence
    OPEN = "open"  # ends in a hold: filling before another, endless as the last


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
        """The whole number of steps of `length`, stretched; what no step reaches is cut to the last one."""
        return min(whole_steps(self.measure(length)), INT64_MAX)

    def stretched(self, factor: Fraction) -> Context:
        """The same, with lengths `factor` times as long."""
        stretch = self.stretch * factor
        if not Fraction(1, 10**100) <= stretch <= 10**100:
            raise LehrError("a schedule may be stretched to between 1e-100 and 1e100 times its length in all")
        return replace(self, stretch=stretch)

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
        bound: a number that no value, and nothing computed on the way to it, is above.
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
    bound: float
    warmup: int = 0
    largest: int = 0
    parts: tuple[Part, ...] = ()

    def __post_init__(self) -> None:
        if self.largest > INT64_MAX:
            raise LehrError(f"a schedule may count to 2**63 - 1 steps, this one counts to {float(self.largest):.3g}")
        if not self.bound <= LARGEST_FACTOR:
            raise LehrError(
                f"a factor may be at most {LARGEST_FACTOR:g}, that of this schedule may reach {self.bound:.3g}"
            )

    @property
    def end(self) -> float:
        """The value handed to what follows; it holds for ever after `length`."""
        return float(self(self.length if self.length is not None else INT64_MAX))

    def __call__(self, step: Array) -> Array:
        """The factor at `step`.

        Args:
            step: an integer ≥ 0 (a float comes back), or an array of integers of any shape (an array of the same shape
                comes back: float64 from NumPy, JAX's default float type from JAX).

        Raises:
            LehrError: a step that is negative, not an integer, or beyond what the array's type can count; in JAX
                without 64-bit numbers also a factor beyond float32. (A negative JAX step reads as step 0.)
        """
        if isinstance(step, int) and not isinstance(step, bool):
            if not 0 <= step <= INT64_MAX:
                raise LehrError(f"a step must be between 0 and 2**63 - 1, got {shown(step)}")
            return float(self._of_numpy(np.array([step]))[0])
        if not hasattr(step, "__array_namespace__"):
            step = np.asarray(step)
        xp = namespace(step)
        if not xp.isdtype(step.dtype, "integral"):
            raise LehrError(f"steps must be integers, got an array of {step.dtype}; count updates from 0")
        if xp is np:
            return self._of_numpy(step)
        self._check_fits(step, xp)
        return _flush(self.evaluate(xp.maximum(step.astype(xp.asarray(0).dtype), 0)))

    def _check_fits(self, step: Array, xp: Any) -> None:
        """JAX counts and computes with 32 bits unless told otherwise; what that cannot hold is refused."""
        integers, floats = xp.asarray(0).dtype, xp.asarray(0.0).dtype
        remedy = "switch on 64-bit numbers (jax.config.update('jax_enable_x64', True)) or pass a NumPy array"
        if self.largest > xp.iinfo(integers).max:
            raise LehrError(f"this curve counts to {self.largest}, beyond {integers}; {remedy}")
        if xp.iinfo(step.dtype).max > xp.iinfo(integers).max:
            raise LehrError(f"steps of {step.dtype} may be beyond {integers}; {remedy}, or convert the steps yourself")
        if self.bound > float(xp.finfo(floats).max) / 4:
            raise LehrError(f"this curve may grow to {self.bound:.3g}, beyond {floats}; {remedy}")

    def _of_numpy(self, step: Array) -> Array:
        if step.size and (step.min() < 0 or step.max() > INT64_MAX):
            raise LehrError(f"steps must be between 0 and 2**63 - 1, got {step.min()} to {step.max()}")
        # Always one contiguous dimension: for a lone scalar NumPy takes other loops, which differ in the last bit.
        flat = np.ascontiguousarray(step, dtype=np.int64).reshape(-1)
        with np.errstate(under="ignore"):  # a factor too small for a float is 0.0, whatever the caller set NumPy to
            values = _flush(self.evaluate(flat))
        return float(values[0]) if isinstance(step, np.generic) else values.reshape(step.shape)


def least_steps(schedule: Schedule, context: Context) -> int:
    """The steps that the fixed parts of a schedule need, where it fills or never ends."""
    extent = schedule.extent(context)
    if extent is Extent.FILLING:
        curve = schedule.build(context, 1.0, 1)
        return curve.length if curve.length is not None else curve.parts[-1].start
    return schedule.build(context, 1.0, None).parts[-1].start


def number(value: Any, what: str) -> float:
    """A finite real number as a float.

    Raises:
        LehrError: it is not a number, a flag, NaN, infinite or beyond any float.
    """
    try:
        finite = not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(value)
    except OverflowError:
        finite = False
    if not finite:
        raise LehrError(f"{what} must be a finite number, got {shown(value)}")
    return float(value)


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
        """The curve from `start`, over `length` steps if one is allotted.

        A filling schedule always gets one, and so does a fixed one: its own extent, rounded up or down.
        """

    @abstractmethod
    def lengths(self) -> Iterator[Length]:
        """Every length inside, to say at once what a horizon must know."""

    @property
    @abstractmethod
    def fills(self) -> bool:
        """Whether some member takes the steps that are left."""

    @abstractmethod
    def leaves(self) -> Iterator[Schedule]:
        """Every shape inside."""

    @property
    def absolute(self) -> bool:
        """Whether some shape has a `to_lr`, so that groups with another base LR have another curve."""
        return any(leaf.absolute for leaf in self.leaves())

    @property
    def foreign(self) -> bool:
        """Whether some shape calls a function of the user, which is asked only for the step that is needed."""
        return any(leaf.foreign for leaf in self.leaves())

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
            start: the factor to begin from, ≥ 0.
            length: steps to fill, or, for a schedule with a length of its own, to stretch or shrink to; default: the
                horizon, or its own length. What fills or never ends is shrunk if its fixed parts need more.

        Raises:
            LehrError: the horizon lacks something (the error lists all of it), or the schedule cannot be resolved.
        """
        horizon = as_horizon(steps, horizon)
        length = None if length is None else as_count(length, "resolve(length=...)")
        if number(start, "resolve(start=...)") < 0:
            raise LehrError(f"resolve(start=...) must be at least 0, got {start!r}")
        self._check_known(horizon, length)
        context = Context(horizon, None if lr is None else number(lr, "resolve(lr=...)"))
        extent = self.extent(context)
        if not isinstance(extent, Fraction):
            least = 0 if length is None else least_steps(self, context)
            if length is not None and least > length:
                context = context.stretched(Fraction(length, least))
            fill = (horizon.steps if length is None else length) if extent is Extent.FILLING else None
            return self.build(context, start, fill)
        own = whole_steps(extent)
        if length is not None and length != own and own:
            context = context.stretched(length / extent)
        return self.build(context, start, own if length is None else length)

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
            raise LehrError(f"* joins two schedules, got {shown(other)}; for a number use .scaled(k)")
        return Product.of(self, other)

    def __rmul__(self, other: object) -> NoReturn:
        raise LehrError(f"* joins two schedules, got {shown(other)}; for a number use .scaled(k)")

    def __add__(self, other: Schedule) -> Sum:
        """The sum of two factors; both begin at the start."""
        from lehr.schedules.algebra import Sum

        if not isinstance(other, Schedule):
            raise LehrError(f"+ joins two schedules, got {shown(other)}; for a number write + constant(number)")
        return Sum.of(self, other)

    def __radd__(self, other: object) -> NoReturn:
        raise LehrError(f"+ joins two schedules, got {shown(other)}; for a number write + constant(number)")

    def fade(self, after: Schedule, over: LengthLike) -> Fade:
        """This schedule and then `after`, blended: the last `over` of this one are the first `over` of the other.

        In the overlap the value goes in a straight line from this curve to the other. The other begins at this one's
        end value, as in `then`. The overlap is at most as long as either.

        Example:
            >>> import lehr
            >>> lehr.hold(100).fade(lehr.constant(0.5), 50).resolve()(75)
            0.75
        """
        from lehr.schedules.algebra import Fade

        return Fade(self, after, over)

    def reverse(self) -> Reverse:
        """Backwards in time, x(n − t): from the end value to the start; refused for what never ends.

        Example:
            >>> import lehr
            >>> lehr.linear(to=0.5).reverse().resolve(steps=100)(0)
            0.5
        """
        from lehr.schedules.algebra import Reverse

        return Reverse(self)

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
        """Every length inside, once resolved, k times as long; refused where a part has no length to stretch.

        What switches at whole steps (`step_decay`, `noise`, `of_step`) still does: `step_decay(1).stretch(1.5)`
        switches at every second one.

        Example:
            >>> import lehr
            >>> lehr.linear(100).stretch(2).resolve()(50)
            0.75
        """
        from lehr.schedules.algebra import Stretch

        return Stretch(self, k)
