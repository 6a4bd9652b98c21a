"""Parity with keras.optimizers.schedules and keras.callbacks.LearningRateScheduler, computed in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import lehr
from parity import agree, curve, differ
from parity_draws import FACTORS, LENGTHS, LRS, forty
from parity_functions import FUNCTIONS

pytestmark = [pytest.mark.peers, pytest.mark.frameworks]
RATES = st.floats(0.05, 1)
STEPS = 200


@pytest.fixture(scope="module")
def keras() -> Iterator[Any]:
    """Keras on torch (its backend is chosen when it is imported), in float64 in place of its usual float32."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_BACKEND", "torch")
        import keras

    precision = keras.config.floatx()
    keras.config.set_floatx("float64")
    yield keras
    keras.config.set_floatx(precision)


def values(schedule: Callable[[int], Any]) -> NDArray[np.float64]:
    """The values of a Keras schedule, which must be float64."""
    made = [schedule(step).numpy() for step in range(STEPS)]
    assert {value.dtype for value in made} == {np.dtype(np.float64)}
    return np.array(made)


@forty
@given(n=LENGTHS, rate=RATES, lr=LRS)
def test_exponential(keras: Any, n: int, rate: float, lr: float) -> None:
    theirs = values(keras.optimizers.schedules.ExponentialDecay(lr, n, rate))
    agree("keras", "ExponentialDecay", theirs, curve("exponential({rate}, per={n})", STEPS, lr, rate=rate, n=n))


@forty
@given(n=LENGTHS, rate=RATES, lr=LRS)
def test_exponential_in_stairs(keras: Any, n: int, rate: float, lr: float) -> None:
    theirs = values(keras.optimizers.schedules.ExponentialDecay(lr, n, rate, staircase=True))
    ours = curve("exponential({rate}, per={n}).staircase({n})", STEPS, lr, rate=rate, n=n)
    agree("keras", "ExponentialDecay", theirs, ours)


@forty
@given(pieces=st.dictionaries(st.integers(1, 150), FACTORS, min_size=1, max_size=6), first=FACTORS, lr=LRS)
def test_pieces_begin_one_step_after_their_boundary(
    keras: Any, pieces: dict[int, float], first: float, lr: float
) -> None:
    boundaries = sorted(pieces)
    heights = [first * lr, *(pieces[boundary] * lr for boundary in boundaries)]
    theirs = values(keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, heights))
    pairs = {0: first, **{boundary + 1: pieces[boundary] for boundary in boundaries}}
    agree("keras", "PiecewiseConstantDecay", theirs, curve("piecewise({pairs})", STEPS, lr, pairs=pairs))


@forty
@given(n=LENGTHS, power=st.floats(0.2, 4), end=FACTORS, lr=LRS)
def test_polynomial(keras: Any, n: int, power: float, end: float, lr: float) -> None:
    theirs = values(keras.optimizers.schedules.PolynomialDecay(lr, n, end * lr, power))
    ours = curve("polynomial({n}, power={power}, to_lr={end})", STEPS, lr, n=n, power=power, end=end * lr)
    agree("keras", "PolynomialDecay", theirs, ours)


@forty
@given(n=LENGTHS, power=st.floats(0.2, 4), end=FACTORS, lr=LRS)
def test_polynomial_whose_horizon_grows(keras: Any, n: int, power: float, end: float, lr: float) -> None:
    theirs = values(keras.optimizers.schedules.PolynomialDecay(lr, n, end * lr, power, cycle=True))
    ours = curve("growing_polynomial({n}, power={power}, to_lr={end})", STEPS, lr, n=n, power=power, end=end * lr)
    agree("keras", "PolynomialDecay", theirs, ours)


@forty
@given(n=LENGTHS, rate=st.floats(0, 10), lr=LRS)
def test_inverse_time(keras: Any, n: int, rate: float, lr: float) -> None:
    theirs = values(keras.optimizers.schedules.InverseTimeDecay(lr, n, rate))
    agree("keras", "InverseTimeDecay", theirs, curve("inverse_time({rate}, per={n})", STEPS, lr, rate=rate, n=n))


@forty
@given(n=LENGTHS, rate=st.floats(0, 10), lr=LRS)
def test_inverse_time_in_stairs(keras: Any, n: int, rate: float, lr: float) -> None:
    theirs = values(keras.optimizers.schedules.InverseTimeDecay(lr, n, rate, staircase=True))
    ours = curve("inverse_time({rate}, per={n}).staircase({n})", STEPS, lr, rate=rate, n=n)
    agree("keras", "InverseTimeDecay", theirs, ours)


@forty
@given(n=LENGTHS, alpha=FACTORS, lr=LRS)
def test_cosine(keras: Any, n: int, alpha: float, lr: float) -> None:
    theirs = values(keras.optimizers.schedules.CosineDecay(lr, n, alpha))
    agree("keras", "CosineDecay", theirs, curve("cosine({n}, to={alpha})", STEPS, lr, n=n, alpha=alpha))


@forty
@given(w=LENGTHS, n=LENGTHS, start=FACTORS, alpha=FACTORS, lr=LRS)
def test_warmup_and_cosine(keras: Any, w: int, n: int, start: float, alpha: float, lr: float) -> None:
    made = keras.optimizers.schedules.CosineDecay(start * lr, n, alpha, warmup_target=lr, warmup_steps=w)
    template = "warmup({w}, start={start}, zero_start=True).then(cosine({n}, to={alpha}))"
    agree("keras", "CosineDecay", values(made), curve(template, STEPS, lr, w=w, start=start, n=n, alpha=alpha))


@forty
@given(n=LENGTHS, growth=st.integers(1, 3), scale=RATES, alpha=FACTORS, lr=LRS)
def test_restarts(keras: Any, n: int, growth: int, scale: float, alpha: float, lr: float) -> None:
    theirs = values(keras.optimizers.schedules.CosineDecayRestarts(lr, n, growth, scale, alpha))
    template = "cosine({n}).repeat(stretch={growth}, scale={scale}).scaled({span}) + constant({alpha})"
    ours = curve(template, STEPS, lr, n=n, growth=growth, scale=scale, span=1 - alpha, alpha=alpha)
    agree("keras", "CosineDecayRestarts", theirs, ours)


@pytest.mark.parametrize(("n", "restart"), [(1, 8191), (2, 16382)])
def test_restarts_are_exact_where_keras_takes_a_logarithm(keras: Any, n: int, restart: int) -> None:
    steps = restart + 5
    keras.config.set_floatx("float32")  # as it comes
    schedule = keras.optimizers.schedules.CosineDecayRestarts(1.0, n)
    theirs = [float(schedule(step)) for step in range(steps)]
    keras.config.set_floatx("float64")
    definition = []
    for step in range(steps):
        since, period = step, n
        while since >= period:
            since, period = since - period, period * 2
        definition.append((1 + np.cos(np.pi * since / period)) / 2)
    fault = "the cycle is found by a logarithm in float32, so that a restart begins at the floor"
    differ(
        "keras",
        "CosineDecayRestarts",
        fault,
        theirs,
        curve("cosine({n}).repeat(stretch=2)", steps, 1.0, n=n),
        definition,
    )


@forty
@given(every=st.integers(1, 20), lr=LRS)
def test_a_callback_by_epochs(keras: Any, every: int, lr: float) -> None:
    model = SimpleNamespace(optimizer=SimpleNamespace(learning_rate=lr))
    callback = keras.callbacks.LearningRateScheduler(lambda epoch, now: lr * FUNCTIONS["parity-inverse"](epoch))
    callback.set_model(model)
    theirs = []
    for epoch in range(10):
        callback.on_epoch_begin(epoch)
        theirs += [model.optimizer.learning_rate] * every
    run = lehr.Horizon(epochs=10, steps_per_epoch=every)
    ours = curve("of_step('parity-inverse', every='1 epoch')", 10 * every, lr, horizon=run)
    agree("keras", "LearningRateScheduler", theirs, ours)
