"""Parity with optax.schedules, computed in float64."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from operator import mul
from typing import Any

import jax
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import lehr
from parity import agree, curve, differ
from parity_draws import FACTORS, LENGTHS, LRS, forty

pytestmark = [pytest.mark.peers, pytest.mark.frameworks]
RATES = st.floats(0.05, 0.99)  # from 1 on, optax's end_value is a ceiling
STEPS = 250  # one number for all, so that JAX compiles once
KNOTS = st.dictionaries(st.integers(1, 200), FACTORS, min_size=1, max_size=6)


def theirs(make: Callable[[], Any]) -> NDArray[np.float64]:
    """The values of an optax schedule."""
    with jax.enable_x64(True):
        values = jax.vmap(lambda step: jax.numpy.asarray(make()(step), jax.numpy.float64))(jax.numpy.arange(STEPS))
        return np.asarray(values)


@forty
@given(value=LRS, lr=LRS)
def test_constant(value: float, lr: float) -> None:
    agree(
        "optax",
        "constant_schedule",
        theirs(lambda: optax.constant_schedule(value * lr)),
        curve("constant({value})", STEPS, lr, value=value),
    )


@forty
@given(n=LENGTHS, end=st.floats(0, 2), lr=LRS)
def test_linear(n: int, end: float, lr: float) -> None:
    ours = curve("linear({n}, to={end})", STEPS, lr, n=n, end=end)
    agree("optax", "linear_schedule", theirs(lambda: optax.linear_schedule(lr, end * lr, n)), ours)


@forty
@given(begin=LENGTHS, n=LENGTHS, end=st.floats(0, 2), lr=LRS)
def test_linear_after_a_while(begin: int, n: int, end: float, lr: float) -> None:
    ours = curve("hold({begin}).then(linear({n}, to_lr={end}))", STEPS, lr, begin=begin, n=n, end=end * lr)
    agree("optax", "linear_schedule", theirs(lambda: optax.linear_schedule(lr, end * lr, n, begin)), ours)


@forty
@given(begin=LENGTHS, n=LENGTHS, power=st.floats(0.2, 4), end=st.floats(0, 2), lr=LRS)
def test_polynomial(begin: int, n: int, power: float, end: float, lr: float) -> None:
    template = "hold({begin}).then(polynomial({n}, power={power}, to={end}))"
    ours = curve(template, STEPS, lr, begin=begin, n=n, power=power, end=end)
    agree(
        "optax", "polynomial_schedule", theirs(lambda: optax.polynomial_schedule(lr, end * lr, power, n, begin)), ours
    )


@forty
@given(n=LENGTHS, rate=RATES, lr=LRS)
def test_exponential(n: int, rate: float, lr: float) -> None:
    ours = curve("exponential({rate}, per={n})", STEPS, lr, rate=rate, n=n)
    agree("optax", "exponential_decay", theirs(lambda: optax.exponential_decay(lr, n, rate)), ours)


@forty
@given(begin=LENGTHS, n=LENGTHS, rate=RATES, end=FACTORS, lr=LRS)
def test_exponential_in_stairs_after_a_while_to_a_floor(begin: int, n: int, rate: float, end: float, lr: float) -> None:
    template = "hold({begin}).then(exponential({rate}, per={n}).staircase({n})).clip({end})"
    ours = curve(template, STEPS, lr, begin=begin, rate=rate, n=n, end=end)
    with jax.enable_x64(True):
        schedule = optax.exponential_decay(lr, n, rate, begin, staircase=True, end_value=end * lr)
        expected = [float(schedule(step)) for step in range(STEPS)]
    agree("optax", "exponential_decay", expected, ours)


@pytest.mark.parametrize(("n", "wide"), [(41, False), (47, False), (55, False), (49, True)])
def test_stairs_are_exact_where_compiled_optax_divides(n: int, wide: bool) -> None:
    with jax.enable_x64(wide):
        theirs = jax.jit(jax.vmap(optax.exponential_decay(1.0, n, 0.5, staircase=True)))(jax.numpy.arange(STEPS))
    ours = curve("step_decay({n}, 0.5)", STEPS, 1.0, n=n)
    fault = "under jit, ⌊t / transition_steps⌋ is rounded down, so that stairs come a step late"
    differ("optax", "exponential_decay", fault, theirs, ours, 0.5 ** (np.arange(STEPS) // n))


@forty
@given(n=LENGTHS, rate=st.floats(1.01, 2), end=st.floats(1, 100), lr=LRS)
def test_exponential_growth_to_a_ceiling(n: int, rate: float, end: float, lr: float) -> None:
    length = int(np.ceil(n * np.log(end) / np.log(rate))) + 1
    template = "geometric({length}, to={to}).clip(high={end})"
    ours = curve(template, STEPS, lr, length=length, to=rate ** (length / n), end=end)
    agree("optax", "exponential_decay", theirs(lambda: optax.exponential_decay(lr, n, rate, end_value=end * lr)), ours)


@forty
@given(n=LENGTHS, alpha=FACTORS, exponent=st.floats(0.2, 4), lr=LRS)
def test_cosine(n: int, alpha: float, exponent: float, lr: float) -> None:
    ours = curve("cosine({n}, power={exponent}, to={alpha})", STEPS, lr, n=n, exponent=exponent, alpha=alpha)
    agree("optax", "cosine_decay_schedule", theirs(lambda: optax.cosine_decay_schedule(lr, n, alpha, exponent)), ours)


@forty
@given(scales=KNOTS, lr=LRS)
def test_constant_pieces(scales: dict[int, float], lr: float) -> None:
    ours = curve("piecewise({values})", STEPS, lr, values=products(scales))
    agree("optax", "piecewise_constant_schedule", theirs(lambda: optax.piecewise_constant_schedule(lr, scales)), ours)


@forty
@given(scales=KNOTS, between=st.sampled_from(["linear", "cosine"]), lr=LRS)
def test_interpolated_pieces(scales: dict[int, float], between: str, lr: float) -> None:
    ours = curve("piecewise({values}, between='{between}')", STEPS, lr, values=products(scales), between=between)
    expected = theirs(lambda: optax.piecewise_interpolate_schedule(between, lr, scales))
    agree("optax", "piecewise_interpolate_schedule", expected, ours)


def products(scales: dict[int, float]) -> dict[int, float]:
    """Optax multiplies scale upon scale; ours are factors of the base LR."""
    steps = sorted(scales)
    return dict(zip(steps, accumulate((scales[step] for step in steps), mul), strict=True))


@forty
@given(up=LENGTHS, down=LENGTHS, div=st.floats(1, 100), final=st.floats(1, 1e6), lr=LRS)
def test_cosine_one_cycle(up: int, down: int, div: float, final: float, lr: float) -> None:
    total = up + down
    run, share = lehr.Horizon(steps=total), (up + 0.5) / total
    ours = curve("one_cycle({up}, div={div}, final_div={final})", STEPS, lr, horizon=run, up=up, div=div, final=final)
    expected = theirs(lambda: optax.cosine_onecycle_schedule(total, lr, share, div, final))
    agree("optax", "cosine_onecycle_schedule", expected, ours)


@forty
@given(up=LENGTHS, down=LENGTHS, tail=LENGTHS, div=st.floats(1, 100), final=st.floats(1, 1e6), lr=LRS)
def test_linear_one_cycle(up: int, down: int, tail: int, div: float, final: float, lr: float) -> None:
    total = up + down + tail
    run, first, second = lehr.Horizon(steps=total), (up + 0.5) / total, (up + down + 0.5) / total
    template = "one_cycle({up}, {down}, shape='linear', div={div}, final_div={final})"
    ours = curve(template, STEPS, lr, horizon=run, up=up, down=down, div=div, final=final)
    expected = theirs(lambda: optax.linear_onecycle_schedule(total, lr, first, second, div, final))
    agree("optax", "linear_onecycle_schedule", expected, ours)


@forty
@given(w=LENGTHS, start=FACTORS, lr=LRS)
def test_warmup(w: int, start: float, lr: float) -> None:
    ours = curve("warmup({w}, start={start}, zero_start=True)", STEPS, lr, w=w, start=start)
    agree("optax", "warmup_constant_schedule", theirs(lambda: optax.warmup_constant_schedule(start * lr, lr, w)), ours)


@forty
@given(w=LENGTHS, n=LENGTHS, start=FACTORS, end=FACTORS, exponent=st.floats(0.2, 4), lr=LRS)
def test_warmup_and_cosine(w: int, n: int, start: float, end: float, exponent: float, lr: float) -> None:
    template = "warmup({w}, start={start}, zero_start=True).then(cosine({n}, power={exponent}, to={end}))"
    ours = curve(template, STEPS, lr, w=w, start=start, n=n, exponent=exponent, end=end)
    expected = theirs(lambda: optax.warmup_cosine_decay_schedule(start * lr, lr, w, w + n, end * lr, exponent))
    agree("optax", "warmup_cosine_decay_schedule", expected, ours)


@forty
@given(w=LENGTHS, begin=LENGTHS, n=LENGTHS, rate=RATES, start=FACTORS, end=FACTORS, lr=LRS)
def test_warmup_and_exponential(w: int, begin: int, n: int, rate: float, start: float, end: float, lr: float) -> None:
    template = (
        "warmup({w}, start={start}, zero_start=True).then(hold({begin}), exponential({rate}, per={n}).clip({end}))"
    )
    ours = curve(template, STEPS, lr, w=w, start=start, begin=begin, rate=rate, n=n, end=end)
    expected = theirs(
        lambda: optax.warmup_exponential_decay_schedule(start * lr, lr, w, n, rate, begin, end_value=end * lr)
    )
    agree("optax", "warmup_exponential_decay_schedule", expected, ours)


@forty
@given(w=LENGTHS, n=LENGTHS, start=FACTORS, end=FACTORS, w2=LENGTHS, n2=LENGTHS, peak2=st.floats(0.01, 1), lr=LRS)
def test_cycles_by_hand(w: int, n: int, start: float, end: float, w2: int, n2: int, peak2: float, lr: float) -> None:
    template = (
        "linear({w}, start={start}, to=1).then(cosine({n}, to={end}),"
        " linear({w2}, start={end}, to={peak2}), cosine({n2}))"
    )
    ours = curve(template, STEPS, lr, w=w, n=n, start=start, end=end, w2=w2, n2=n2, peak2=peak2)
    cycles = [
        {"init_value": start * lr, "peak_value": lr, "warmup_steps": w, "decay_steps": w + n, "end_value": end * lr},
        {"init_value": end * lr, "peak_value": peak2 * lr, "warmup_steps": w2, "decay_steps": w2 + n2},
    ]
    agree("optax", "sgdr_schedule", theirs(lambda: optax.sgdr_schedule(cycles)), ours)


@forty
@given(w=st.integers(1, 20), n=st.integers(1, 40), growth=st.integers(1, 3), scale=RATES, lr=LRS)
def test_cycles_that_grow_and_shrink(w: int, n: int, growth: int, scale: float, lr: float) -> None:
    template = "warmup({w}, zero_start=True).then(cosine({n})).repeat(3, stretch={growth}, scale={scale})"
    ours = curve(template, STEPS, lr, w=w, n=n, growth=growth, scale=scale)
    cycles = [
        {
            "init_value": 0.0,
            "peak_value": lr * scale**cycle,
            "warmup_steps": w * growth**cycle,
            "decay_steps": (w + n) * growth**cycle,
        }
        for cycle in range(3)
    ]
    agree("optax", "sgdr_schedule", theirs(lambda: optax.sgdr_schedule(cycles)), ours)


@forty
@given(a=LENGTHS, b=LENGTHS, n=LENGTHS, low=FACTORS, rate=RATES, lr=LRS)
def test_joined(a: int, b: int, n: int, low: float, rate: float, lr: float) -> None:
    ours = curve(
        "hold({a}).then(cosine({b}, to={low}), exponential({rate}, per={n}))",
        STEPS,
        lr,
        a=a,
        b=b,
        low=low,
        rate=rate,
        n=n,
    )

    def make() -> Any:
        parts = [
            optax.constant_schedule(lr),
            optax.cosine_decay_schedule(lr, b, low),
            optax.exponential_decay(low * lr, n, rate),
        ]
        return optax.join_schedules(parts, [a, a + b])

    agree("optax", "join_schedules", theirs(make), ours)
