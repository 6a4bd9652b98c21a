"""Curves against Megatron-LM's OptimizerParamScheduler as its source defines it, each formula coded anew here.

Megatron counts samples; one step here is one increment. Its value after k increments is that of update k.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from parity import agree, curve, differ
from parity_draws import FACTORS, LENGTHS, LRS, OPEN_FACTORS, forty

Values = NDArray[np.float64]
Share = Callable[[Values], Values]

COSINE: Share = lambda x: (1 + np.cos(np.pi * x)) / 2  # noqa: E731  # a table of formulas reads best so
FALLS: dict[str, tuple[str, Share]] = {
    "linear": ("linear", lambda x: 1 - x),
    "cosine": ("cosine", COSINE),
}
COOLDOWNS: dict[str, tuple[str, Share]] = {
    "linear": ("linear({d}", lambda x: 1 - x),
    "cosine": ("cosine({d}", COSINE),
    "exponential": ("exp_cooldown({d}, ratio=0.5", lambda x: 2 * 0.5**x - 1),
    "minus_sqrt": ("one_minus_sqrt({d}", lambda x: 1 - np.sqrt(x)),
}
RISE = "warmup({w}, start={initial}, zero_start=True)"


def with_warmup(t: NDArray[np.int64], w: int, start: float, after: Values) -> Values:
    return np.where(t <= w, start + (1 - start) * t / w, after)


@forty
@given(w=LENGTHS, start=FACTORS, lr=LRS)
def test_constant(w: int, start: float, lr: float) -> None:
    t = np.arange(w + 50)
    expected = lr * with_warmup(t, w, start, np.ones(len(t)))
    agree("Megatron", "lr_decay_style constant", expected, curve(RISE, len(t), lr, w=w, initial=start))


@pytest.mark.parametrize("style", FALLS)
@forty
@given(w=LENGTHS, n=LENGTHS, start=FACTORS, low=FACTORS, lr=LRS)
def test_decay_to_a_floor(style: str, w: int, n: int, start: float, low: float, lr: float) -> None:
    shape, share = FALLS[style]
    t = np.arange(w + n + 20)
    expected = lr * with_warmup(t, w, start, low + (1 - low) * share(np.clip((t - w) / n, 0, 1)))
    ours = curve(RISE + ".then(" + shape + "({n}, to={low}))", len(t), lr, w=w, initial=start, n=n, low=low)
    agree("Megatron", f"lr_decay_style {style}", expected, ours)


@forty
@given(w=st.integers(0, 60), n=LENGTHS, start=FACTORS, low=FACTORS, lr=LRS)
def test_inverse_square_root_drops_to_its_floor_at_the_end(w: int, n: int, start: float, low: float, lr: float) -> None:
    end = w + n
    t = np.arange(end + 20)
    decayed = np.maximum(low, np.sqrt(max(w, 1) / np.maximum(t, 1)))
    after = np.where(t > end, low, decayed)
    template = RISE + ".then(inverse_sqrt({w}).clip({low}))" if w else "hold(1).then(inverse_sqrt(1).clip({low}))"
    expected = lr * (with_warmup(t, w, start, after) if w else after)
    numbers: dict[str, Any] = {"w": w, "initial": start, "low": low, "end": {0: 1, end + 1: low}}
    ours = curve("minimum(" + template + ", piecewise({end}))", len(t), lr, **numbers)
    agree("Megatron", "lr_decay_style inverse-square-root", expected, ours)


@pytest.mark.parametrize("style", COOLDOWNS)
@forty
@given(w=LENGTHS, hold=LENGTHS, d=LENGTHS, start=FACTORS, low=FACTORS, lr=LRS)
def test_warmup_stable_decay(style: str, w: int, hold: int, d: int, start: float, low: float, lr: float) -> None:
    shape, share = COOLDOWNS[style]
    t = np.arange(w + hold + d + 20)
    after = low + (1 - low) * share(np.clip((t - w - hold) / d, 0, 1))
    template = RISE + ".then(hold({stable}), " + shape + ", to={low}))"
    ours = curve(template, len(t), lr, w=w, initial=start, stable=hold, d=d, low=low)
    agree("Megatron", "lr_decay_style WSD", lr * with_warmup(t, w, start, after), ours)


@pytest.mark.parametrize("style", ["linear", "cosine"])
@forty
@given(n=LENGTHS, start=FACTORS, multiplier=st.floats(0, 3), end=LRS)
def test_weight_decay_rises(style: str, n: int, start: float, multiplier: float, end: float) -> None:
    t = np.arange(n + 20)
    x = np.minimum(t / n, 1)
    share = x if style == "linear" else (np.cos(np.pi * (1 - x)) + 1) / 2
    expected = end * (start + (1 - start) * share) * multiplier
    template = style + "({n}, start={initial}, to=1).scaled({multiplier})"
    ours = curve(template, len(t), end, n=n, initial=start, multiplier=multiplier)
    agree("Megatron", "weight decay", expected, ours)


def test_a_state_that_is_loaded_twice_runs_twice_as_far() -> None:
    w, n, lr, t = 5, 40, 0.1, np.arange(45)

    def linear(steps: NDArray[np.int64]) -> Values:
        return lr * np.where(steps <= w, steps / w, np.clip((w + n - steps) / n, 0, 1))

    ours = curve("warmup({w}, zero_start=True).then(linear({n}))", 45, lr, w=w, n=n)
    fault = "load_state_dict adds the saved count to the present one, so a second load is twice as far in the schedule"
    differ("Megatron", "lr_decay_style linear", fault, linear(2 * t), ours, linear(t))


@forty
@given(w=LENGTHS, n=LENGTHS, low=OPEN_FACTORS, own=FACTORS, lr=LRS)
def test_a_group_with_its_own_floor(w: int, n: int, low: float, own: float, lr: float) -> None:
    t = np.arange(w + n + 20)
    x = np.clip((t - w) / n, 0, 1)
    for floor in (low, own):
        expected = with_warmup(t, w, 0.0, floor + (1 - floor) * COSINE(x)) * lr
        ours = curve(
            "warmup({w}, zero_start=True).then(cosine({n}, to_lr={low}))", len(t), lr, w=w, n=n, low=lr * floor
        )
        agree("Megatron", "lr_decay_style cosine", expected, ours)
