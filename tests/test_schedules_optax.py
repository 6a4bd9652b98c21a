"""Curves against optax's schedules of the same name, where optax means the same."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
import pytest

import lehr
from lehr.schedules import Schedule

# ours, theirs, and the first and last step at which both mean the same
PAIRS: dict[str, tuple[Schedule, Callable[[], Any], range]] = {
    "constant": (lehr.constant(0.3), lambda: optax.constant_schedule(0.3), range(50)),
    "cosine": (lehr.cosine(40), lambda: optax.cosine_decay_schedule(1.0, 40), range(60)),
    "cosine to a floor": (lehr.cosine(40, to=0.1), lambda: optax.cosine_decay_schedule(1.0, 40, alpha=0.1), range(60)),
    "linear": (lehr.linear(40, to=0.2), lambda: optax.linear_schedule(1.0, 0.2, 40), range(60)),
    "linear rise": (
        lehr.warmup(40, start=0.1, zero_start=True),
        lambda: optax.linear_schedule(0.1, 1.0, 40),
        range(60),
    ),
    "polynomial": (
        lehr.polynomial(40, power=3, to=0.2),
        lambda: optax.polynomial_schedule(1.0, 0.2, 3, 40),
        range(60),
    ),
    "exponential": (lehr.exponential(0.9, per=7), lambda: optax.exponential_decay(1.0, 7, 0.9), range(100)),
    "staircase": (
        lehr.exponential(0.9, per=7).staircase(7),
        lambda: optax.exponential_decay(1.0, 7, 0.9, staircase=True),
        range(100),
    ),
    "step decay": (
        lehr.step_decay(7, 0.9),
        lambda: optax.exponential_decay(1.0, 7, 0.9, staircase=True),
        range(100),
    ),
    "multistep": (
        lehr.multistep([10, 30], 0.1),
        lambda: optax.piecewise_constant_schedule(1.0, {10: 0.1, 30: 0.1}),
        range(50),
    ),
    "warm-up and cosine": (
        lehr.warmup(10, zero_start=True).then(lehr.cosine(40, to=0.1)),
        lambda: optax.warmup_cosine_decay_schedule(0.0, 1.0, 10, 50, 0.1),
        range(70),
    ),
    "warm restarts": (
        lehr.cosine(10).repeat(3, stretch=2),
        lambda: optax.join_schedules([optax.cosine_decay_schedule(1.0, n) for n in (10, 20, 40)], [10, 30]),
        range(90),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_it_is_what_optax_means(name: str) -> None:
    ours, theirs, steps = PAIRS[name]
    with jax.enable_x64(True):
        expected = np.array([float(theirs()(jax.numpy.asarray(step))) for step in steps])
    assert ours.resolve()(np.array(steps)) == pytest.approx(expected, abs=1e-12)
