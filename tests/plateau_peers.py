"""Reduce-on-plateau as the peers do it: each one's LR after every value, and ours beside it.

torch, Keras and optax are driven as they are installed. Paddle and fastai are not: `paddle` and `fastai` are loops
written from the facts of their published sources, independently of Lehr's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

import lehr
from lehr.rules import Observation
from lehr.rules.plateaus import Flavor, MarginMode

HALF = 0.5  # its powers are exact, so that LRs may be compared with ==
TORCH_EPS = 1e-8  # torch's and Paddle's default
OWN: dict[str, tuple[str, ...]] = dict.fromkeys(("lehr", "torch", "optax", "paddle"), ("rel", "abs")) | {
    "keras": ("abs",),
    "fastai": ("abs",),
}


class Case(NamedTuple):
    """The arguments of a reduce-on-plateau."""

    best: Literal["min", "max"] = "min"
    patience: int = 10
    margin: float = 1e-4
    mode: MarginMode = "rel"
    cooldown: int = 0
    average: int = 1


def rule_of(flavor: Flavor, case: Case) -> lehr.Rule:
    """Our rule of that meaning."""
    return lehr.reduce_on_plateau(
        lehr.metric("m", best=case.best),
        factor=HALF,
        patience=case.patience,
        threshold=case.margin,
        threshold_mode=case.mode,
        cooldown=case.cooldown,
        average=case.average,
        flavor=flavor,
    )


def ours(rule: lehr.Rule, values: Sequence[float]) -> list[float]:
    """The LR after each value, from 1 on."""
    state, lr, lrs = rule.init(), 1.0, []
    for step, value in enumerate(values):
        state, heard = rule.update(state, Observation(step, {"m": value}, True))
        if heard is not None and heard.fires and rule.action is not None:
            lr = rule.action.gain(lr, lr)  # type: ignore[union-attr]  # it is a `Scale`
        lrs.append(lr)
    return lrs


def torch(case: Case, values: Sequence[float], eps: float = TORCH_EPS) -> list[float]:
    """`torch.optim.lr_scheduler.ReduceLROnPlateau`."""
    import torch

    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer,
        mode=case.best,
        factor=HALF,
        patience=case.patience,
        threshold=case.margin,
        threshold_mode=case.mode,
        cooldown=case.cooldown,
        eps=eps,
    )
    lrs = []
    for value in values:
        scheduler.step(value)
        lrs.append(optimizer.param_groups[0]["lr"])
    return lrs


def keras(case: Case, values: Sequence[float]) -> list[float]:
    """`keras.callbacks.ReduceLROnPlateau` on a stub of a model."""
    import keras

    precision = keras.config.floatx()
    keras.config.set_floatx("float32")  # as by default; other tests change it
    model = SimpleNamespace(optimizer=SimpleNamespace(learning_rate=np.float64(1.0)))
    callback = keras.callbacks.ReduceLROnPlateau(
        factor=HALF, patience=case.patience, mode=case.best, min_delta=case.margin, cooldown=case.cooldown
    )
    callback.set_model(model)
    callback.on_train_begin()
    lrs = []
    for epoch, value in enumerate(values):
        callback.on_epoch_end(epoch, {"val_loss": value})
        lrs.append(float(model.optimizer.learning_rate))
    keras.config.set_floatx(precision)
    return lrs


def optax(case: Case, values: Sequence[float]) -> list[float]:
    """`optax.contrib.reduce_on_plateau` for one run."""
    patience, cooldown, average = (np.array([count]) for count in (case.patience, case.cooldown, case.average))
    scales = optax_runs(case.margin, case.mode, patience, cooldown, average, np.array([values]))
    return [float(scale) for scale in scales[0]]


def optax_runs(
    margin: float,
    mode: MarginMode,
    patience: NDArray[Any],
    cooldown: NDArray[Any],
    average: NDArray[Any],
    values: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The scale after each value, of many runs of one margin at once, in float32 as by default."""
    import jax
    import optax

    tolerance = {"rtol": margin, "atol": 0.0} if mode == "rel" else {"rtol": 0.0, "atol": margin}

    def run(patience: Any, cooldown: Any, average: Any, values: Any) -> Any:
        plateau = optax.contrib.reduce_on_plateau(
            HALF, patience, **tolerance, cooldown=cooldown, accumulation_size=average
        )

        def step(state: Any, value: Any) -> Any:
            state = plateau.update(1.0, state, value=value)[1]
            return state, state.scale

        return jax.lax.scan(step, plateau.init(jax.numpy.zeros(())), values)[1]

    with np.errstate(over="ignore"):
        values = values.astype(np.float32)
    return np.asarray(jax.jit(jax.vmap(run))(patience, cooldown, average, values))


def paddle(case: Case, values: Sequence[float], epsilon: float = TORCH_EPS) -> list[float]:
    """Paddle's `ReduceOnPlateau` (python/paddle/optimizer/lr.py), transcribed.

    It differs from torch's in this: a value that comes in a cooldown is not looked at; the first value is the best
    whatever it is; the relative bar is best ∓ best·threshold.
    """
    better: Callable[[float, float], bool] = {
        ("min", "rel"): lambda value, record: value < record - record * case.margin,
        ("max", "rel"): lambda value, record: value > record + record * case.margin,
        ("min", "abs"): lambda value, record: value < record - case.margin,
        ("max", "abs"): lambda value, record: value > record + case.margin,
    }[case.best, case.mode]
    lr, lrs, silent, since = 1.0, [], 0, 0
    record: float | None = None
    for value in values:
        if silent:
            silent -= 1
        else:
            if record is None or better(value, record):
                record, since = value, 0
            else:
                since += 1
            if since > case.patience:
                silent, since = case.cooldown, 0
                lr = lr * HALF if lr - lr * HALF > epsilon else lr
        lrs.append(lr)
    return lrs


def fastai(case: Case, values: Sequence[float]) -> list[float]:
    """fastai's `ReduceLROnPlateau` (fastai/callback/tracker.py), transcribed; its divisor is 2 here.

    The record begins at the worst value, min_delta is absolute and is taken off the value, the patience-th value
    without a record acts, and the record stays.
    """
    lower = case.best == "min"
    record, waited, lr, lrs = math.inf if lower else -math.inf, 0, 1.0, []
    for value in values:
        shifted = value + case.margin if lower else value - case.margin
        if (shifted < record) if lower else (shifted > record):
            record, waited = value, 0
        else:
            waited += 1
            if waited >= case.patience:
                lr, waited = lr / 2.0, 0
        lrs.append(lr)
    return lrs


def drawn(flavor: Flavor, seed: int) -> tuple[Case, list[float]]:
    """Random arguments, and a random row of values.

    A row may fall, rise, or stand still for a while; be negative; be coarse, so that there are ties with the best value
    and with its bar; and hold NaN and infinities, at its beginning too.
    """
    rng = np.random.default_rng(seed)
    mode = str(rng.choice(OWN[flavor]))
    margins = [0.0, 1e-4, 0.01, 0.0625, 0.1, 0.25] + ([1.0] if mode == "abs" else [])
    case = Case(
        best="max" if flavor != "optax" and rng.random() < 0.5 else "min",
        patience=int(rng.integers(0, 6)),
        margin=float(rng.choice(margins)),
        mode="abs" if mode == "abs" else "rel",
        cooldown=0 if flavor == "fastai" else int(rng.choice([0, 0, 1, 2, 5])),
        average=int(rng.choice([1, 1, 2, 3])) if flavor == "optax" else 1,
    )
    return case, row(rng)


def row(rng: np.random.Generator, n: int | None = None) -> list[float]:
    """A row of 30 to 60 values, or of `n`."""
    n = int(rng.integers(30, 61)) if n is None else n
    slope, noise, shift = (
        rng.choice([-2.0, -0.5, 0.0, 1.0]),
        rng.choice([0.0, 0.02, 0.3]),
        rng.choice([0.0, 1.0, -1.0, 9.0]),
    )
    values = shift + slope * np.minimum(np.arange(n) / 30, rng.uniform(0.2, 2)) + noise * rng.standard_normal(n)
    values *= rng.choice([1.0, 1.0, 1.0, 1e-6, 1e6, 1e300])
    coarse = rng.choice([0.0, 0.05, 0.0625, 0.5])
    values = values if coarse == 0 else np.round(values / coarse) * coarse
    if rng.random() < 0.6:
        odd = rng.random(n) < rng.choice([0.03, 0.2])
        values[odd] = rng.choice([math.nan, math.inf, -math.inf], size=int(odd.sum()))
    return [float(value) for value in values]
