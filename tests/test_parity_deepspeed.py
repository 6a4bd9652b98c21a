"""Curves against DeepSpeed's schedules as its source defines them, each formula coded anew here.

DeepSpeed's optimizer runs before its scheduler, whose counter begins at −1: update 0 has the lowest LR, and update t
that of the formula at iteration t − 1 (for `OneCycle` and `LRRangeTest`, whose formulas add 1, at t).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from parity import agree, curve, differ
from parity_draws import FACTORS, LENGTHS, LRS, OPEN_FACTORS, forty

Values = NDArray[np.float64]

WARMUPS = st.integers(2, 60)
KINDS = {"log": "warmup({w}, 'log', start={low})", "linear": "warmup({w}, start={low}, zero_start=True)"}
DELAYED = {"log": "hold(1).then(" + KINDS["log"], "linear": "hold(1).then(" + KINDS["linear"]}


def rise(kind: str, i: Any, w: int) -> Values:
    """The share of the warm-up that is done."""
    done: Values = np.maximum(i, 0)
    return np.log(done + 1) / math.log(w) if kind == "log" else done / w


@pytest.mark.parametrize("kind", KINDS)
@forty
@given(w=WARMUPS, n=LENGTHS, low=FACTORS, lr=LRS)
def test_warmup_and_warmup_with_linear_decay(kind: str, w: int, n: int, low: float, lr: float) -> None:
    steps = w + n + 20
    i = np.arange(steps) - 1.0
    early = rise(kind, i, w)
    numbers: dict[str, Any] = {"w": w, "low": low, "n": n, "first": {0: low, 1: 1}}
    ours = curve(DELAYED[kind] + ") * piecewise({first})", steps, lr, **numbers)
    agree("DeepSpeed", "WarmupLR", lr * (low + (1 - low) * np.where(i < w, early, 1)), ours)
    ours = curve(DELAYED[kind] + ", linear({n}, to={low})) * piecewise({first})", steps, lr, **numbers)
    rest = np.maximum(0, (w + n - i) / n)
    agree("DeepSpeed", "WarmupDecayLR", lr * (low + (1 - low) * np.where(i < w, early, rest)), ours)


@pytest.mark.parametrize("kind", KINDS)
@forty
@given(w=WARMUPS, n=LENGTHS, low=FACTORS, end=FACTORS, lr=LRS)
def test_warmup_with_cosine_that_begins_one_step_late(
    kind: str, w: int, n: int, low: float, end: float, lr: float
) -> None:
    steps = w + n + 20
    i = np.arange(steps) - 1.0
    x = np.minimum((i - w + 1) / n, 1)
    ratio = np.where(i < w, low + (1 - low) * rise(kind, i, w), end + (1 - end) * (1 + np.cos(np.pi * x)) / 2)
    expected = lr * np.where(i < 0, 0, ratio)
    template = "hold(1).then(" + KINDS[kind] + " * hold({before}).then(cosine({n}, to={end}))) * piecewise({first})"
    numbers: dict[str, Any] = {"w": w, "low": low, "before": w - 1, "n": n, "end": end, "first": {0: 0, 1: 1}}
    agree("DeepSpeed", "WarmupCosineLR", expected, curve(template, steps, lr, **numbers))


def test_the_first_two_updates_of_a_warmup_run_at_its_lowest_lr() -> None:
    w, lr, t = 10, 0.1, np.arange(30)
    definition = lr * np.minimum(np.log(t + 1) / np.log(w), 1)
    theirs = np.concatenate(([0.0], definition[:-1]))
    ours = curve("warmup({w}, 'log')", 30, lr, w=w)
    fault = "steps after the update: one update is lost at the lowest LR, and a logarithm begins with another"
    differ("DeepSpeed", "WarmupLR", fault, theirs, ours, definition)


def test_the_cosine_jumps_over_its_peak() -> None:
    w, n, lr, t = 10, 20, 0.1, np.arange(40)
    i = t - 1
    late = lr * (1 + np.cos(np.pi * np.clip((i - w + 1) / n, 0, 1))) / 2
    theirs = np.where(i < 0, 0, np.where(i < w, lr * np.maximum(i, 0) / w, late))
    definition = lr * np.where(t < w, t / w, (1 + np.cos(np.pi * np.clip((t - w) / n, 0, 1))) / 2)
    ours = curve("warmup({w}, zero_start=True).then(cosine({n}))", 40, lr, w=w, n=n)
    fault = "counts the cosine from 1, so the LR never reaches its peak"
    differ("DeepSpeed", "WarmupCosineLR", fault, theirs, ours, definition)


def triangle(t: NDArray[np.int64], up: int, down: int) -> Values:
    return np.where(t <= up, t / up, np.maximum(0, (up + down - t) / down))


@forty
@given(up=LENGTHS, down=LENGTHS, low=FACTORS, rate=st.floats(0, 5), every=LENGTHS, lr=LRS)
def test_one_cycle_and_its_tail(up: int, down: int, low: float, rate: float, every: int, lr: float) -> None:
    t = np.arange(up + down + 50)
    after = np.maximum(t - up - down, 0)
    expected = lr * np.where(after == 0, low + (1 - low) * triangle(t, up, down), low / (1 + rate * after / every))
    template = "linear({up}, start={low}, to=1).then(linear({down}, to={low}), inverse_time({rate}, per={every}))"
    ours = curve(template, len(t), lr, up=up, low=low, down=down, rate=rate, every=every)
    agree("DeepSpeed", "OneCycle", expected, ours)


@forty
@given(
    stairs=st.integers(1, 8),
    wide=st.integers(1, 8),
    falls=st.integers(1, 8),
    deep=st.integers(1, 8),
    low=FACTORS,
    lr=LRS,
)
def test_one_cycle_in_stairs(stairs: int, wide: int, falls: int, deep: int, low: float, lr: float) -> None:
    up, down = stairs * wide, falls * deep
    t = np.arange(up + down + 20)
    rising = (t // wide) / stairs
    falling = np.maximum(up + down - t, 0) // deep / falls
    expected = lr * (low + (1 - low) * np.where(t <= up, rising, falling))
    template = (
        "linear({up}, start={low}, to=1).staircase({wide})"
        ".then(linear({down}, start={low}, to=1).staircase({deep}).reverse())"
    )
    ours = curve(template, len(t), lr, up=up, low=low, wide=wide, down=down, deep=deep)
    agree("DeepSpeed", "OneCycle", expected, ours)


@forty
@given(up=LENGTHS, down=LENGTHS, low=OPEN_FACTORS, rate=st.floats(0, 5), every=LENGTHS)
def test_momentum_of_one_cycle_and_its_tail(up: int, down: int, low: float, rate: float, every: int) -> None:
    peak, steps = 0.9, up + down + 51
    t = np.arange(steps)
    after = np.maximum(t - up - down, 0)
    expected = peak * np.where(after == 0, 1 - (1 - low) * triangle(t, up, down), 1 + rate * after / every)
    template = "linear({up}, start=1, to={low}).then(linear({down}, to=1), linear({tail}, to={grown}))"
    numbers: dict[str, Any] = {"up": up, "low": low, "down": down, "tail": 50, "grown": 1 + rate * 50 / every}
    agree("DeepSpeed", "OneCycle momentum", expected, curve(template, steps, peak, **numbers))


def test_momentum_after_the_cycle_grows_beyond_one() -> None:
    up, down, low, peak, t = 10, 10, 0.9, 0.9, np.arange(60)
    after = np.maximum(t - up - down, 0)
    cycle = 1 - (1 - low) * triangle(t, up, down)
    theirs = peak * np.where(after == 0, cycle, 1 + 0.1 * after / 10)
    ours = curve("linear({up}, start=1, to={low}).then(linear({down}, to=1))", 60, peak, up=up, low=low, down=down)
    fault = "multiplies momentum by 1 + rate·k without a bound after the cycle, where the paper keeps the upper value"
    differ("DeepSpeed", "OneCycle momentum", fault, theirs, ours, peak * cycle)


@forty
@given(stairs=st.integers(1, 20), every=LENGTHS, rate=st.floats(0, 5), lr=LRS)
def test_range_test(stairs: int, every: int, rate: float, lr: float) -> None:
    n = stairs * every
    t = np.arange(n + 1)
    numbers: dict[str, Any] = {"n": n, "top": 1 + rate * stairs, "every": every}
    ours = curve("linear({n}, start=1, to={top})", n + 1, lr, **numbers)
    agree("DeepSpeed", "LRRangeTest", lr * (1 + rate * t / every), ours)
    ours = curve("linear({n}, start=1, to={top}).staircase({every})", n + 1, lr, **numbers)
    agree("DeepSpeed", "LRRangeTest", lr * (1 + rate * (t // every)), ours)
