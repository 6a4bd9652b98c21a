"""The catalogue of schedules: one row a function. A new shape joins by its function and its row here.

The conformance tests draw their cases from the examples, `lehr.parse` its names from the functions, and the gallery its
pictures from the first example of each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lehr.schedules import decay, falls, knots, literal, odd, powers, recipes, steps, user, warmups
from lehr.schedules.schedule import Schedule

__all__ = ["CATALOGUE", "EXAMPLE_FUNCTIONS", "Row"]


@dataclass(frozen=True)
class Row:
    """A shape: its function, and texts that show every parameter at work."""

    make: Callable[..., Schedule]
    examples: tuple[str, ...]

    @property
    def name(self) -> str:
        """The public name."""
        return self.make.__name__


#: What the examples of `of_step`, `of_position` and `of_previous` call; whoever parses them registers these first.
EXAMPLE_FUNCTIONS: dict[str, Callable[[float], float]] = {
    "example.inverse": lambda t: 1.0 / (1.0 + 0.01 * t),
    "example.cubic": lambda x: (1.0 - x) * (1.0 - x) * (1.0 - x),
    "example.shrink": lambda t: 1.0 - 0.1 / (1.0 + t),
}

CATALOGUE: tuple[Row, ...] = (
    Row(odd.chebyshev, ("chebyshev(64)", "chebyshev()", "chebyshev('10%', low=0.2, high=2, start=0.5)")),
    Row(literal.compounding, ("compounding(0.999)", "compounding(0.5)")),
    Row(decay.constant, ("constant()", "constant(0.25)")),
    Row(
        decay.cosine,
        (
            "cosine()",
            "cosine(300, to=0.1)",
            "cosine('40%', start=0.5, to_lr=1e-3)",
            "cosine(power=2, k=1.5)",
            "cosine(200, cycles=2.5, to=0.2)",
        ),
    ),
    Row(literal.cosine_product, ("cosine_product(0.01)", "cosine_product(-0.5, 20)")),
    Row(
        recipes.cyclic,
        ("cyclic(100, low=0.1)", "cyclic(30, 50, mode='triangular2')", "cyclic(40, mode='exp_range', gamma=0.999)"),
    ),
    Row(falls.demon, ("demon()", "demon('30%', beta=0.5, to=0.1)", "demon(90, start=0.3, to_lr=1e-3)")),
    Row(
        falls.exp_cooldown,
        ("exp_cooldown()", "exp_cooldown('20%', ratio=0.5, to=0.1)", "exp_cooldown(100, start=0.5, to_lr=1e-3)"),
    ),
    Row(
        falls.exp_hyperbolic,
        (
            "exp_hyperbolic(upper='150%', to=0.01)",
            "exp_hyperbolic('50%', upper='80%', start=0.5, to=0.1)",
            "exp_hyperbolic(99, upper=99, to_lr=1e-3)",
        ),
    ),
    Row(steps.exponential, ("exponential(0.99)", "exponential(0.95, per='1 epoch')")),
    Row(warmups.exponential_warmup, ("exponential_warmup(100)", "exponential_warmup('2 epochs')")),
    Row(
        falls.geometric,
        ("geometric(to=0.01)", "geometric(100, start=0.001, to=1)", "geometric('30%', start=0.5, to_lr=1e-4)"),
    ),
    Row(
        powers.growing_polynomial,
        ("growing_polynomial(200)", "growing_polynomial('10%', power=2, to=0.1)", "growing_polynomial(70, to_lr=1e-3)"),
    ),
    Row(decay.hold, ("hold()", "hold('30%')")),
    Row(
        falls.hyperbolic,
        (
            "hyperbolic(upper='150%')",
            "hyperbolic(upper='100%')",
            "hyperbolic(300, upper=400, to=0.1)",
            "hyperbolic(70, upper=90, start=0.3, to_lr=1e-3)",
        ),
    ),
    Row(powers.inverse_sqrt, ("inverse_sqrt(100)", "inverse_sqrt('2 epochs')")),
    Row(powers.inverse_time, ("inverse_time(0.5)", "inverse_time(1, per='1000 samples')")),
    Row(decay.linear, ("linear()", "linear('10%', to=0.2)", "linear(77, start=0.1, to_lr=0.1)")),
    Row(
        steps.multistep,
        ("multistep(['50%', '75%'])", "multistep([100, '50%', '20 epochs'])", "multistep([9, 9], gamma=1.5)"),
    ),
    Row(powers.noam, ("noam(100)", "noam('2 epochs', d_model=512)", "noam(50, zero_start=True)")),
    Row(recipes.noam_hold, ("noam_hold(100, '20%')", "noam_hold('5%', 0, exponent=1)")),
    Row(odd.noise, ("noise(0.3, every=20)", "noise(0.1, seed=7)", "noise(0.5, every='1 epoch', seed=4294967295)")),
    Row(
        user.of_position,
        (
            "of_position('example.cubic')",
            "of_position('example.cubic', '20%', to=0.1)",
            "of_position('example.cubic', 90, start=0.3, to_lr=1e-3)",
        ),
    ),
    Row(user.of_previous, ("of_previous('example.shrink', 300)", "of_previous('example.shrink', '1 epoch')")),
    Row(user.of_step, ("of_step('example.inverse')", "of_step('example.inverse', every='1 epoch')")),
    Row(
        recipes.one_cycle,
        ("one_cycle()", "one_cycle('40%', '40%', shape='linear')", "one_cycle(50, div=10, final_div=100)"),
    ),
    Row(
        decay.one_minus_sqrt,
        ("one_minus_sqrt()", "one_minus_sqrt('20%', to=0.01)", "one_minus_sqrt(90, start=0.3, to_lr=1e-3)"),
    ),
    Row(
        knots.piecewise,
        (
            "piecewise({0: 1, '30%': 0.1, '60%': 0.01})",
            "piecewise({500: 0.3})",
            "piecewise({'10%': 0.2, '33.3%': 1, '90%': 0}, between='linear')",
            "piecewise({0: 0.1, '4.5 steps': 1, 900: 0.2}, between='cosine')",
        ),
    ),
    Row(
        decay.polynomial,
        (
            "polynomial()",
            "polynomial(power=0.5, to=0.1)",
            "polynomial(200, power=3, start=2, to_lr=0.02)",
            "polynomial(power=1, k=2)",
        ),
    ),
    Row(powers.power_law, ("power_law(100)", "power_law('1000 tokens', exponent=1.5)")),
    Row(
        falls.quarter_cosine,
        ("quarter_cosine()", "quarter_cosine('30%', to=0.1)", "quarter_cosine(60, start=0.4, to_lr=1e-3)"),
    ),
    Row(warmups.radam_warmup, ("radam_warmup()", "radam_warmup(0.9)")),
    Row(falls.rex, ("rex()", "rex('30%', to=0.1)", "rex(60, start=0.4, to_lr=1e-3)")),
    Row(recipes.slanted_triangular, ("slanted_triangular()", "slanted_triangular(50, ratio=8)")),
    Row(steps.step_decay, ("step_decay(100)", "step_decay('10 epochs', 0.5)")),
    Row(
        knots.table,
        (
            "table([1, 0.5, 0.3, 0.1], every='1 epoch')",
            "table([0.2, 1, 0], every='12.3%', between='linear')",
            "table([1, 0.9, 0.2], between='cosine')",
        ),
    ),
    Row(
        falls.tanh,
        ("tanh()", "tanh('30%', lower=-3, upper=3, to=0.1)", "tanh(90, start=0.3, to_lr=1e-3)"),
    ),
    Row(recipes.tri_stage, ("tri_stage('10%', '40%', '50%')", "tri_stage(10, 20, 30, start=0.1, to=0.2)")),
    Row(recipes.untuned_warmup, ("untuned_warmup()", "untuned_warmup(0.9)", "untuned_warmup(0.95, 'exponential')")),
    Row(
        warmups.warmup,
        (
            "warmup(100)",
            "warmup('5%', start=0.1)",
            "warmup('3 epochs', zero_start=True)",
            "warmup(80, shape='cosine')",
            "warmup(80, shape='1-sqrt', start=2)",
            "warmup('10%', shape='quadratic')",
            "warmup(90, shape='log', zero_start=True)",
            "warmup('8%', shape='log')",
        ),
    ),
    Row(
        recipes.wsd,
        (
            "wsd()",
            "wsd(50, '10%', 'cosine', to=0.1)",
            "wsd(50, 100, 'linear')",
            "wsd(9, '30%', '1-square')",
            "wsd(9, 50, 'exponential')",
        ),
    ),
    Row(recipes.wsd_s, ("wsd_s('5%', '20%', '10%', 3)", "wsd_s(50, 100, 40, shape='linear', to=0.2)")),
)
