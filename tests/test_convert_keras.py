"""Every schedule of Keras, called live in float64, beside its conversion."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lehr
from lehr.lengths import Horizon

pytestmark = [
    pytest.mark.peers,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras's torch backend
]

LR = st.floats(1e-4, 1.0)
SHARE = st.floats(0.0, 1.0)
STEPS = st.integers(1, 60)
SLOW = settings(deadline=None, max_examples=15)


@pytest.fixture(scope="module", autouse=True)
def _double() -> Iterator[None]:
    """Keras computes with its float type; float32 would hide everything below 1e-7."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    yield
    keras.config.set_floatx(before)


def apart(name: str, **config: Any) -> Any:
    """Per step, how far the conversion of the live object's serial form is from the object, as a share of the peak."""
    import keras

    schedule = getattr(keras.optimizers.schedules, name)(**config)
    found = lehr.convert(keras.optimizers.schedules.serialize(schedule))
    theirs = np.array([float(schedule(np.float64(t))) for t in range(100)])
    assert found.peer == "keras"
    return np.abs(lrs(found, 100) - theirs) / theirs.max()


def lrs(found: Any, steps: int) -> Any:
    policy = lehr.as_policy(lehr.parse(repr(found.policy)))
    assert isinstance(policy, lehr.Policy)
    return found.lr * policy.resolve(Horizon(steps=steps), lr=found.lr)(np.arange(steps))


@SLOW
@given(lr=LR, steps=STEPS, rate=st.floats(0.01, 1.0), stairs=st.booleans())
def test_exponential_decay_is_keras(lr: float, steps: int, rate: float, stairs: bool) -> None:
    config = {"initial_learning_rate": lr, "decay_steps": steps, "decay_rate": rate, "staircase": stairs}
    assert apart("ExponentialDecay", **config).max() <= 1e-12


@SLOW
@given(lr=LR, steps=STEPS, rate=st.floats(0.0, 9.0), stairs=st.booleans())
def test_inverse_time_decay_is_keras(lr: float, steps: int, rate: float, stairs: bool) -> None:
    config = {"initial_learning_rate": lr, "decay_steps": steps, "decay_rate": rate, "staircase": stairs}
    assert apart("InverseTimeDecay", **config).max() <= 1e-12


@SLOW
@given(lr=LR, steps=STEPS, end=SHARE, power=st.floats(0.3, 3.0) | st.just(1.0), cycle=st.booleans())
def test_polynomial_decay_is_keras(lr: float, steps: int, end: float, power: float, cycle: bool) -> None:
    config = {"initial_learning_rate": lr, "decay_steps": steps, "end_learning_rate": end * lr, "power": power}
    assert apart("PolynomialDecay", **config, cycle=cycle).max() <= 1e-12


@SLOW
@given(lr=LR, steps=STEPS, alpha=SHARE, warm=st.integers(0, 40), first=SHARE)
def test_cosine_decay_is_keras(lr: float, steps: int, alpha: float, warm: int, first: float) -> None:
    assert apart("CosineDecay", initial_learning_rate=lr, decay_steps=steps, alpha=alpha).max() <= 1e-12
    config = {"initial_learning_rate": first * lr, "decay_steps": steps, "alpha": alpha}
    assert apart("CosineDecay", **config, warmup_target=lr, warmup_steps=warm).max() <= 1e-12


@SLOW
@given(lr=LR, steps=st.integers(1, 40), alpha=SHARE, shrink=st.floats(0.1, 1.0))
def test_restarts_of_equal_cycles_are_keras(lr: float, steps: int, alpha: float, shrink: float) -> None:
    config = {"initial_learning_rate": lr, "first_decay_steps": steps, "t_mul": 1.0, "m_mul": shrink, "alpha": alpha}
    assert apart("CosineDecayRestarts", **config).max() <= 1e-12


@SLOW
@given(steps=st.integers(1, 40), alpha=SHARE, shrink=st.floats(0.1, 1.0), grow=st.integers(2, 4))
def test_restarts_of_growing_cycles_are_keras_but_where_its_logarithm_rounds(
    steps: int, alpha: float, shrink: float, grow: int
) -> None:
    config = {"initial_learning_rate": 1.0, "first_decay_steps": steps, "t_mul": float(grow), "m_mul": shrink}
    starts = [steps * (grow**i - 1) // (grow - 1) for i in range(9)]
    off = apart("CosineDecayRestarts", **config, alpha=alpha)
    assert np.delete(off, [t for t in starts if t < len(off)]).max() <= 1e-12


def test_at_a_restart_the_policy_is_at_its_peak_where_keras_in_its_own_precision_is_at_the_floor() -> None:
    import keras

    schedule = keras.optimizers.schedules.CosineDecayRestarts(1.0, 3, t_mul=7.0)
    found = lehr.convert(schedule)
    keras.config.set_floatx("float32")
    theirs = float(schedule(np.float32(171)))
    keras.config.set_floatx("float64")
    assert theirs < 1e-6
    assert lrs(found, 172)[171] == 1.0
    assert "C103" in [item.code for item in found.findings]


@SLOW
@given(bounds=st.lists(st.integers(0, 100), min_size=1, max_size=5, unique=True).map(sorted), data=st.data())
def test_piecewise_constants_are_keras_at_the_boundaries_too(bounds: list[int], data: st.DataObject) -> None:
    values = data.draw(st.lists(LR, min_size=len(bounds) + 1, max_size=len(bounds) + 1))
    assert apart("PiecewiseConstantDecay", boundaries=bounds, values=values).max() <= 1e-12


def test_an_optimizer_is_read_by_its_learning_rate() -> None:
    import keras

    schedule = keras.optimizers.schedules.CosineDecay(0.1, 50)
    found = lehr.convert(keras.optimizers.serialize(keras.optimizers.Adam(schedule)))
    assert (repr(found.policy), found.lr) == ("cosine(50)", 0.1)
    plain = lehr.convert(keras.optimizers.serialize(keras.optimizers.SGD(0.25)))
    assert (repr(plain.policy), plain.lr) == ("constant()", 0.25)


@SLOW
@given(
    losses=st.lists(st.integers(0, 6).map(lambda x: x / 4), min_size=1, max_size=40),
    factor=st.sampled_from([0.5, 0.1]),
    patience=st.integers(1, 4),
    delta=st.sampled_from([0.0, 0.25]),
    floor=st.sampled_from([0.0, 0.05]),
)
def test_reduce_on_plateau_is_keras(
    losses: list[float], factor: float, patience: int, delta: float, floor: float
) -> None:
    import keras

    told = {"monitor": "val_loss", "factor": factor, "patience": patience, "min_delta": delta, "min_lr": floor}
    callback = keras.callbacks.ReduceLROnPlateau(**told, mode="min")
    model = keras.Sequential()
    model.optimizer = keras.optimizers.SGD(1.0)
    callback.set_model(model)
    callback.on_train_begin()
    run = lehr.start(lehr.convert(told | {"mode": "min"}).policy, lr=1.0, steps=1000)
    for epoch, loss in enumerate(losses):
        callback.on_epoch_end(epoch, {"val_loss": loss})
        run.step(val_loss=loss)
        assert run.lr == pytest.approx(float(model.optimizer.learning_rate), rel=1e-12)
