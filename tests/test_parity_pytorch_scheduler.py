"""Curves against pytorch-scheduler: torch scheduler classes, whose `min_lr` is an LR."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from parity import Ours, agree, curve
from parity_draws import FACTORS, LENGTHS, LRS, OPEN_FACTORS, forty, lrs_of_updates

pytestmark = [pytest.mark.peers, pytest.mark.frameworks]

POWERS = st.floats(0.1, 5)
BEYOND = 20


def peer() -> Any:
    return importlib.import_module("pytorch_scheduler")


def theirs(name: str, lr: float, steps: int, **arguments: Any) -> NDArray[np.float64]:
    make = getattr(peer(), name)
    lrs: NDArray[np.float64] = lrs_of_updates(lambda optimizer: make(optimizer, **arguments), [lr], steps)[0]
    return lrs


def holds(name: str, ours: Ours, **arguments: Any) -> None:
    agree("pytorch-scheduler", name, theirs(name, ours.lr, len(ours.values), **arguments), ours)


@forty
@given(lr=LRS)
def test_identity(lr: float) -> None:
    holds("IdentityScheduler", curve("constant()", 50, lr))


@forty
@given(w=LENGTHS, n=LENGTHS, low=FACTORS, lr=LRS)
def test_warmup_then_cosine(w: int, n: int, low: float, lr: float) -> None:
    template = "warmup({w}, zero_start=True).then(cosine({n}, to={low}))"
    ours = curve(template, w + n + BEYOND, lr, w=w, n=n, low=low)
    holds("CosineWithWarmupScheduler", ours, total_steps=w + n, warmup_steps=w, min_lr=lr * low)


@forty
@given(w=LENGTHS, n=LENGTHS, low=FACTORS, lr=LRS)
def test_warmup_then_linear_to_an_absolute_lr(w: int, n: int, low: float, lr: float) -> None:
    template = "warmup({w}, zero_start=True).then(linear({n}, to_lr={low}))"
    ours = curve(template, w + n + BEYOND, lr, w=w, n=n, low=lr * low)
    holds("LinearDecayScheduler", ours, total_steps=w + n, warmup_steps=w, min_lr=lr * low)


@forty
@given(w=LENGTHS, hold=LENGTHS, d=LENGTHS, low=FACTORS, lr=LRS)
def test_trapezoid(w: int, hold: int, d: int, low: float, lr: float) -> None:
    template = "warmup({w}, zero_start=True).then(hold({stable}), linear({d}, to={low}))"
    ours = curve(template, w + hold + d + BEYOND, lr, w=w, stable=hold, d=d, low=low)
    holds("TrapezoidalScheduler", ours, total_steps=w + hold + d, warmup_steps=w, decay_steps=d, min_lr=lr * low)


@forty
@given(w=LENGTHS, hold=LENGTHS, n=LENGTHS, low=FACTORS, lr=LRS)
def test_warmup_hold_cosine(w: int, hold: int, n: int, low: float, lr: float) -> None:
    template = "warmup({w}, zero_start=True).then(hold({stable}), cosine({n}, to={low}))"
    ours = curve(template, w + hold + n + BEYOND, lr, w=w, stable=hold, n=n, low=low)
    sizes = {"total_steps": w + hold + n, "warmup_steps": w, "hold_steps": hold}
    holds("WarmupHoldCosineScheduler", ours, **sizes, min_lr=lr * low)


@pytest.mark.parametrize(("decay", "name"), [("cosine", "cosine"), ("linear", "linear"), ("one_minus_sqrt", "sqrt")])
@forty
@given(w=LENGTHS, hold=LENGTHS, d=LENGTHS, low=FACTORS, lr=LRS)
def test_warmup_stable_decay(decay: str, name: str, w: int, hold: int, d: int, low: float, lr: float) -> None:
    template = "warmup({w}, zero_start=True).then(hold({stable}), " + decay + "({d}, to={low}))"
    ours = curve(template, w + hold + d + BEYOND, lr, w=w, stable=hold, d=d, low=low)
    sizes = {"total_steps": w + hold + d, "warmup_steps": w, "stable_steps": hold}
    holds("WSDScheduler", ours, **sizes, min_lr=lr * low, decay_type=name)


@forty
@given(flat=st.integers(0, 60), n=LENGTHS, low=FACTORS, lr=LRS)
def test_flat_then_cosine(flat: int, n: int, low: float, lr: float) -> None:
    ours = curve("hold({flat}).then(cosine({n}, to={low}))", flat + n + BEYOND, lr, flat=flat, n=n, low=low)
    fraction = (flat + 0.5) / (flat + n)
    holds("FlatCosineScheduler", ours, total_steps=flat + n, flat_fraction=fraction, min_lr=lr * low)


@forty
@given(n=LENGTHS, k=POWERS, low=FACTORS, lr=LRS)
def test_k_decay(n: int, k: float, low: float, lr: float) -> None:
    ours = curve("cosine({n}, k={k}, to={low})", n + BEYOND, lr, n=n, k=k, low=low)
    holds("KDecayScheduler", ours, total_steps=n, k=k, min_lr=lr * low)


@forty
@given(n=LENGTHS, lr=LRS)
def test_rex(n: int, lr: float) -> None:
    holds("RexScheduler", curve("rex({n})", n + BEYOND, lr, n=n), total_steps=n)


@forty
@given(n=LENGTHS, steepness=POWERS, low=FACTORS, lr=LRS)
def test_tanh_until_its_end(n: int, steepness: float, low: float, lr: float) -> None:
    ours = curve("tanh({n}, lower={a}, upper={b}, to={low})", n, lr, n=n, a=-steepness, b=steepness, low=low)
    holds("TanhDecayScheduler", ours, total_steps=n, steepness=steepness, min_lr=lr * low)


@forty
@given(w=LENGTHS, lr=LRS)
def test_inverse_sqrt(w: int, lr: float) -> None:
    ours = curve("noam({w}, zero_start=True)", 5 * w + BEYOND, lr, w=w)
    holds("InverseSqrtScheduler", ours, warmup_steps=w)


@forty
@given(w=LENGTHS, alpha=POWERS, low=FACTORS, lr=LRS)
def test_power_decay(w: int, alpha: float, low: float, lr: float) -> None:
    template = "warmup({w}, zero_start=True).then(power_law({w}, {alpha}).clip({low}))"
    ours = curve(template, 5 * w + BEYOND, lr, w=w, alpha=alpha, low=low)
    holds("PowerDecayScheduler", ours, total_steps=9 * w, warmup_steps=w, alpha=alpha, min_lr=lr * low)
    ours = curve("power_law(1, {alpha}).clip({low})", 100, lr, alpha=alpha, low=low)
    holds("PowerDecayScheduler", ours, total_steps=100, alpha=alpha, min_lr=lr * low)


@forty
@given(w=LENGTHS, n=LENGTHS, power=POWERS, low=FACTORS, lr=LRS)
def test_polynomial_that_ends_or_restarts(w: int, n: int, power: float, low: float, lr: float) -> None:
    template = "warmup({w}, zero_start=True).then(polynomial({n}, power={power}, to={low}))"
    numbers: dict[str, Any] = {"w": w, "n": n, "power": power, "low": low}
    arguments = {"total_steps": w + n, "power": power, "min_lr": lr * low, "warmup_steps": w}
    holds("PolynomialScheduler", curve(template, w + n + BEYOND, lr, **numbers), **arguments)
    restarting = curve(template + ".repeat()", 3 * (w + n) + 5, lr, **numbers)
    holds("PolynomialScheduler", restarting, **arguments, cycle=True)


@forty
@given(w=LENGTHS, n=LENGTHS, spare=st.integers(0, 100), low=FACTORS, lr=LRS)
def test_hyperbolic(w: int, n: int, spare: int, low: float, lr: float) -> None:
    template = "warmup({w}, start={low}, zero_start=True).then(hyperbolic({n}, upper={upper}, to={low}))"
    upper = w + n + spare
    ours = curve(template, w + n + BEYOND, lr, w=w, low=low, n=n, upper=upper)
    arguments = {"total_steps": w + n, "upper_bound": upper, "min_lr": lr * low, "warmup_steps": w}
    holds("HyperbolicLRScheduler", ours, **arguments)


@forty
@given(w=LENGTHS, n=LENGTHS, spare=st.integers(0, 100), low=OPEN_FACTORS, lr=LRS)
def test_exponential_hyperbolic(w: int, n: int, spare: int, low: float, lr: float) -> None:
    template = "warmup({w}, start={low}, zero_start=True).then(exp_hyperbolic({n}, upper={upper}, to={low}))"
    upper = w + n + spare
    ours = curve(template, w + n + BEYOND, lr, w=w, low=low, n=n, upper=upper)
    arguments = {"total_steps": w + n, "upper_bound": upper, "min_lr": lr * low, "warmup_steps": w}
    holds("ExpHyperbolicLRScheduler", ours, **arguments)


@forty
@given(cut=LENGTHS, n=LENGTHS, ratio=st.floats(1, 100), lr=LRS)
def test_slanted_triangular(cut: int, n: int, ratio: float, lr: float) -> None:
    template = "warmup({cut}, start={low}, zero_start=True).then(linear({n}, to={low}))"
    ours = curve(template, cut + n + BEYOND, lr, cut=cut, n=n, low=1 / ratio)
    fraction = (cut + 0.5) / (cut + n)
    holds("SlantedTriangularScheduler", ours, total_steps=cut + n, cut_frac=fraction, ratio=ratio)


@forty
@given(w=LENGTHS, n=LENGTHS, low=FACTORS, gamma=OPEN_FACTORS, lr=LRS)
def test_restarts_with_warmup_and_falling_peaks(w: int, n: int, low: float, gamma: float, lr: float) -> None:
    template = (
        "warmup({w}, zero_start=True).then(cosine({n})).repeat(scale={gamma})"
        " + linear({w}, start={low}, to=0).then(cosine({n}, to={low})).repeat()"
    )
    ours = curve(template, 4 * (w + n), lr, w=w, n=n, low=low, gamma=gamma)
    arguments = {"first_cycle_steps": w + n, "warmup_steps": w, "max_lr": lr, "min_lr": lr * low, "gamma": gamma}
    holds("CosineAnnealingWarmupRestarts", ours, **arguments)


@forty
@given(w=LENGTHS, n=LENGTHS, low=FACTORS, growth=st.integers(2, 3), lr=LRS)
def test_growing_restarts_with_warmup(w: int, n: int, low: float, growth: int, lr: float) -> None:
    template = (
        "warmup({w}, start={low}, zero_start=True).then("
        "cosine({a}, to={low}), linear({w}, to=1), cosine({b}, to={low}), linear({w}, to=1), cosine({c}, to={low}))"
    )
    a, b, c = (growth**cycle * (w + n) - w for cycle in range(3))
    ours = curve(template, a + b + c + 3 * w, lr, w=w, low=low, a=a, b=b, c=c)
    arguments = {"first_cycle_steps": w + n, "warmup_steps": w, "max_lr": lr, "min_lr": lr * low, "cycle_mult": growth}
    holds("CosineAnnealingWarmupRestarts", ours, **arguments)
