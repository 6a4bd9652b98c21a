"""How one function becomes a schedule: `@shape` records its call, the body says what is drawn.

A shape is a function of its parameters that returns a `Form`: `fall` for a segment between two values, `endless` for a
formula of the step. `@shape` checks every argument against the annotation, so a body checks only what is particular.
"""

from __future__ import annotations

import functools as ft
import inspect
import math
from ast import literal_eval
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, ParamSpec

import numpy as np

from lehr.errors import LehrError
from lehr.lengths import Length, as_length
from lehr.schedules.functions import Function, as_function
from lehr.schedules.schedule import Array, Context, Curve, Extent, Part, Schedule, namespace, number
from lehr.spelling import Pairs, brief, call, shown

__all__ = [
    "Fall",
    "Form",
    "Shape",
    "check_ends",
    "check_exponent",
    "check_positive",
    "endless",
    "fall",
    "geometric_blend",
    "number",
    "power",
    "raised",
    "segment",
    "shape",
]

P = ParamSpec("P")
Builder = Callable[[Context, float, int | None], Curve]
Fall = Callable[[Array, Array, Any], Array]  # g(x, rest, xp), from 1 to 0
Blend = Callable[[float, float, Array, Any], Array]  # blend(start, end, g, xp)
LARGEST_SEED = 2**32 - 1
LARGEST_EXPONENT = 1000.0


@dataclass(frozen=True)
class Form:
    """What a shape's function returns: its extent, the lengths it names, and how its curve is built."""

    length: Length | Extent
    build: Builder
    absolute: bool = False


@dataclass(frozen=True, repr=False)
class Shape(Schedule):
    """One shape with its arguments; equal to another by name and arguments."""

    name: str
    arguments: tuple[tuple[str, Any], ...]
    make: Callable[..., Any] = field(compare=False)
    form: Form = field(compare=False)

    def text(self, full: bool = False) -> str:
        """The call of the shape's function."""
        return call(self.make, dict(self.arguments), full, self.name)

    def extent(self, context: Context) -> Fraction | Extent:
        """The length it names, or how it is found."""
        length = self.form.length
        return context.measure(length) if isinstance(length, Length) else length

    def build(self, context: Context, start: float, length: int | None) -> Curve:
        """The curve, labelled with the shape's text."""
        curve = self.form.build(context, start, length)
        largest = max([curve.largest, length or 0, *(context.steps(item) for item in self.lengths())])
        return replace(curve, largest=largest, parts=(Part(0, curve.length, self.text()),))

    def lengths(self) -> Iterator[Length]:
        """The lengths among its arguments."""
        for _, value in self.arguments:
            yield from _lengths_in(value)

    @property
    def fills(self) -> bool:
        """Whether it lacks a length that its formula needs."""
        return self.form.length is Extent.FILLING

    def leaves(self) -> Iterator[Schedule]:
        """Itself."""
        yield self

    @property
    def absolute(self) -> bool:
        """Whether it has a `to_lr`."""
        return self.form.absolute

    @property
    def foreign(self) -> bool:
        """Whether a function of the user is among its arguments."""
        return any(isinstance(value, Function) for _, value in self.arguments)


def shape(make: Callable[P, Form]) -> Callable[P, Schedule]:
    """Let a function that returns a `Form` return a `Schedule` that remembers how it was called."""
    signature = inspect.signature(make)
    defaults = {name: p.default for name, p in signature.parameters.items()}
    draw: Callable[..., Form] = make

    @ft.wraps(make)
    def schedule(*args: P.args, **kwargs: P.kwargs) -> Schedule:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise LehrError(f"{make.__name__}({', '.join(signature.parameters)}): {brief(error)}") from None
        bound.apply_defaults()
        arguments = {
            name: value if value is None and defaults[name] is None else _checked(make.__name__, name, kind, value)
            for (name, value), kind in zip(
                bound.arguments.items(), (str(p.annotation) for p in signature.parameters.values()), strict=True
            )
        }
        return Shape(make.__name__, tuple(arguments.items()), make, draw(**arguments))

    schedule.__annotations__ = {**make.__annotations__, "return": "Schedule"}
    return schedule


def fall(
    g: Fall | Callable[[Context, int], Fall],
    length: Any,
    *,
    to: float = 0.0,
    to_lr: float | None = None,
    start: float | None = None,
    sized: bool = False,
    blend: Blend | None = None,
) -> Form:
    """A segment from its start s to its end e as g falls from 1 to 0: s·g + e·(1 − g).

    g(x, rest, xp) gets the position x from 0 to 1, and rest = 1 − x without the rounding of that difference. At the
    ends the blend is exact, and it is clamped to lie between them. `start` names the start; without it the segment
    takes the one that is passed down. With `sized`, g(context, steps) makes the g of a segment of so many steps.
    """
    check_ends(to=to, to_lr=to_lr, start=start)
    mix = blend or _linear_blend

    def build(context: Context, passed: float, steps: int | None) -> Curve:
        first = passed if start is None else start
        last = context.factor(to, to_lr) or 0.0
        form: Any = g(context, steps or 0) if sized else g  # type: ignore[call-arg]  # `sized` tells which

        def value(x: Array, rest: Array) -> Array:
            xp = namespace(x)
            return xp.clip(mix(first, last, form(x, rest, xp), xp), min(first, last), max(first, last))

        return segment(value, steps or 0, bound=max(first, last))

    return Form(Extent.FILLING if length is None else length, build, absolute=to_lr is not None)


def _linear_blend(first: float, last: float, g: Array, xp: Any) -> Array:
    return first * g + last * (1.0 - g)


def geometric_blend(first: float, last: float, g: Array, xp: Any) -> Array:
    """first^g · last^(1 − g), for last > 0; from a start of 0 it stays there and jumps at the end."""
    if first == 0:
        return xp.where(g > 0, 0.0, last)
    mixed = xp.exp(math.log(first) * g + math.log(last) * (1.0 - g))
    return xp.where(g == 1, first, xp.where(g == 0, last, mixed))


def segment(value: Callable[[Array, Array], Array], steps: int, *, bound: float, ahead: int = 0) -> Curve:
    """The curve value(i/n, (n − i)/n) over n steps: position is always count / length, never a sum.

    `ahead` counts from that many steps on; `bound` is what no value is above.
    """

    def evaluate(i: Array) -> Array:
        xp = namespace(i)
        count = xp.minimum(i, steps - ahead) + ahead if steps else xp.ones_like(i)
        return value(count / (steps or 1), ((steps or 1) - count) / (steps or 1))

    return Curve(evaluate, steps, bound)


def endless(formula: Callable[[Context], Callable[[Array, Any], Array]], largest: float = 1.0) -> Form:
    """What goes on for ever, times the start: formula(context)(t, xp) maps steps to factors of at most `largest`."""

    def build(context: Context, start: float, steps: int | None) -> Curve:
        value = formula(context)
        return Curve(lambda t: start * value(t, namespace(t)), None, bound=start * largest)

    return Form(Extent.ENDLESS, build)


def power(base: float, exponent: Array) -> Array:
    """base^exponent for 0 ≤ base ≤ 1 and exponent ≥ 0, without surprise.

    In float64 this is the library's own power. In float32 (JAX without x64) the rounded base would be off by 6e-8, and
    its thousandth power by a thousand times that, so the exponential of the exact logarithm stands in.
    """
    xp = namespace(exponent)
    if base == 0.0 or xp.asarray(1.0).dtype == np.float64:
        exponent = exponent * 1.0
        # The base as an array: with a scalar base NumPy takes one loop for one step and another for many.
        return xp.power(xp.full_like(exponent, base), exponent)
    return xp.exp(math.log(base) * exponent)


def raised(x: Array, exponent: float, xp: Any) -> Array:
    """x^exponent for 0 ≤ x ≤ 1; x itself, untouched, if the exponent is 1."""
    return x if exponent == 1 else xp.power(x, exponent)


def check_exponent(name: str, argument: str, value: float) -> None:
    """Refuse an exponent that is not above 0 or absurdly large."""
    if not 0 < value <= LARGEST_EXPONENT:
        raise LehrError(f"{name}({argument}=...) must be above 0 and at most {LARGEST_EXPONENT:g}, got {value!r}")


def check_positive(name: str, argument: str, length: Any) -> None:
    """Refuse a length of zero."""
    if length.amount == 0:
        raise LehrError(f"{name}({argument}=...) must be a positive length, got {length.words()!r}")


def check_ends(to: float, to_lr: float | None, start: float | None = None) -> None:
    """Refuse a negative end or start, and two ends."""
    for name, value in (("to", to), ("to_lr", to_lr), ("start", start)):
        if value is not None and value < 0:
            raise LehrError(f"{name}= must be at least 0 (an LR is never negative), got {value!r}")
    if to_lr is not None and to != 0.0:
        raise LehrError(f"give to= (a factor of the base LR) or to_lr= (an LR), not both; got {to!r} and {to_lr!r}")


def _lengths_in(value: Any) -> Iterator[Length]:
    if isinstance(value, Length):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _lengths_in(item)


def _checked(function: str, name: str, kind: str, value: Any) -> Any:
    """One argument, checked against its annotation and in its one form."""
    what = f"{function}({name}=...)"
    if "Mapping" in kind:
        pairs = value.items() if isinstance(value, Mapping) else _pairs(value, what)
        return Pairs((as_length(key, what), number(item, what)) for key, item in pairs)
    if "Sequence" in kind:
        lengths = "Length" in kind
        value = value.tolist() if isinstance(value, np.ndarray) else value
        if isinstance(value, str) or not isinstance(value, Sequence):
            wanted = 'lengths such as [30, "60%"]' if lengths else "numbers such as [1, 0.5, 0.1]"
            raise LehrError(f"{what} must be a list of {wanted}, got {shown(value)}")
        return tuple(as_length(item, what) if lengths else number(item, what) for item in value)
    if "Length" in kind:
        return as_length(value, what)
    if "Function" in kind:
        return as_function(value, what)
    if kind.startswith("Literal"):
        choices = literal_eval(kind.removeprefix("Literal"))
        if not isinstance(value, str) or value not in choices:
            raise LehrError(f"{what} must be one of {', '.join(map(repr, choices))}, got {shown(value)}")
        return value
    if kind == "int":
        if number(value, what) != int(value) or not 0 <= value <= LARGEST_SEED:
            raise LehrError(f"{what} must be a whole number between 0 and 2**32 - 1, got {shown(value)}")
        return int(value)
    if "bool" in kind:
        if not isinstance(value, bool):
            raise LehrError(f"{what} must be True or False, got {shown(value)}")
        return value
    return number(value, what)


def _pairs(value: Any, what: str) -> Any:
    if isinstance(value, Pairs):
        return value
    raise LehrError(f'{what} must be a dict such as {{0: 1.0, "50%": 0.1}}, got {shown(value)}')
