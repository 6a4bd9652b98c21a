"""The catalogue of schedules: one row a function. A new shape joins by its function and its row here.

The conformance tests draw their cases from the examples, `lehr.parse` its names from the functions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lehr.schedules import decay, literal, recipes, steps
from lehr.schedules.schedule import Schedule

__all__ = ["CATALOGUE", "Row"]


@dataclass(frozen=True)
class Row:
    """A shape: its function, and texts that show every parameter at work."""

    make: Callable[..., Schedule]
    examples: tuple[str, ...]

    @property
    def name(self) -> str:
        """The public name."""
        return self.make.__name__


CATALOGUE: tuple[Row, ...] = (
    Row(decay.constant, ("constant()", "constant(0.25)")),
    Row(literal.compounding, ("compounding(0.999)", "compounding(0.5)")),
    Row(decay.cosine, ("cosine()", "cosine(300, to=0.1)", "cosine('40%', start=0.5, to_lr=1e-3)")),
    Row(literal.cosine_product, ("cosine_product(0.01)", "cosine_product(-0.5, 20)")),
    Row(steps.exponential, ("exponential(0.99)", "exponential(0.95, per='1 epoch')")),
    Row(decay.hold, ("hold()", "hold('30%')")),
    Row(steps.inverse_sqrt, ("inverse_sqrt(100)", "inverse_sqrt('2 epochs')")),
    Row(steps.inverse_time, ("inverse_time(0.5)", "inverse_time(1, per='1000 samples')")),
    Row(decay.linear, ("linear()", "linear('10%', to=0.2)", "linear(77, start=0.1, to_lr=0.1)")),
    Row(steps.multistep, ("multistep([100, '50%', '20 epochs'])", "multistep(['90%'], gamma=0.5)")),
    Row(
        decay.one_minus_sqrt,
        ("one_minus_sqrt()", "one_minus_sqrt('20%', to=0.01)", "one_minus_sqrt(90, start=0.3, to_lr=1e-3)"),
    ),
    Row(steps.piecewise, ("piecewise({0: 1, '30%': 0.1, '60%': 0.01})", "piecewise({500: 0.3})")),
    Row(
        decay.polynomial,
        ("polynomial()", "polynomial(power=0.5, to=0.1)", "polynomial(200, power=3, start=2, to_lr=0.02)"),
    ),
    Row(steps.step_decay, ("step_decay(100)", "step_decay('10 epochs', 0.5)")),
    Row(decay.warmup, ("warmup(100)", "warmup('5%', start=0.1)", "warmup('3 epochs', zero_start=True)")),
    Row(recipes.wsd, ("wsd()", "wsd(50, '10%', 'cosine', to=0.1)", "wsd(50, 100, 'linear')")),
)
