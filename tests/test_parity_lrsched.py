"""Curves against lrsched: closures from a step to an LR."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from parity import Ours, agree, curve, differ
from parity_draws import FACTORS, LENGTHS, LRS, OPEN_FACTORS, forty

pytestmark = [pytest.mark.peers, pytest.mark.frameworks]


def peer() -> Any:
    return importlib.import_module("lrsched")


def holds(function: str, schedule: Any, ours: Ours) -> None:
    """lrsched's own sampling of the schedule equals ours."""
    agree("lrsched", function, peer().sample(schedule, num_steps=len(ours.values)), ours)


@forty
@given(lr=LRS)
def test_constant(lr: float) -> None:
    holds("constant", peer().constant(lr=lr), curve("constant()", 50, lr))


@forty
@given(n=LENGTHS, drop=OPEN_FACTORS, lr=LRS)
def test_step_decay(n: int, drop: float, lr: float) -> None:
    ours = curve("step_decay({n}, {drop})", 6 * n + 1, lr, n=n, drop=drop)
    holds("step_decay", peer().step_decay(base_lr=lr, drop=drop, step_size=n), ours)


@forty
@given(milestones=st.lists(st.integers(1, 80), min_size=1, max_size=6), gamma=st.floats(0, 2), lr=LRS)
def test_multi_step_counts_a_repeated_milestone_twice_and_may_rise(
    milestones: list[int], gamma: float, lr: float
) -> None:
    ours = curve("multistep({milestones}, {gamma})", 100, lr, milestones=milestones, gamma=gamma)
    holds("multi_step", peer().multi_step(base_lr=lr, milestones=milestones, gamma=gamma), ours)


@forty
@given(gamma=OPEN_FACTORS, lr=LRS)
def test_exponential(gamma: float, lr: float) -> None:
    holds(
        "exponential", peer().exponential(base_lr=lr, gamma=gamma), curve("exponential({gamma})", 200, lr, gamma=gamma)
    )


@forty
@given(n=LENGTHS, rate=OPEN_FACTORS, lr=LRS)
def test_exponential_decay(n: int, rate: float, lr: float) -> None:
    ours = curve("exponential({rate}, per={n})", 200, lr, rate=rate, n=n)
    holds("exponential_decay", peer().exponential_decay(base_lr=lr, decay_rate=rate, decay_steps=n), ours)


@forty
@given(n=LENGTHS, power=st.floats(0.1, 5), low=FACTORS, lr=LRS)
def test_polynomial_under_both_names(n: int, power: float, low: float, lr: float) -> None:
    ours = curve("polynomial({n}, power={power}, to={low})", n + 20, lr, n=n, power=power, low=low)
    shared = {"end_lr": lr * low, "total_steps": n, "power": power}
    holds("polynomial", peer().polynomial(base_lr=lr, **shared), ours)
    holds("polynomial_decay", peer().polynomial_decay(start_lr=lr, **shared), ours)


@forty
@given(n=LENGTHS, end=st.floats(0, 3), lr=LRS)
def test_linear_falls_and_rises(n: int, end: float, lr: float) -> None:
    ours = curve("linear({n}, to={end})", n + 20, lr, n=n, end=end)
    holds("linear", peer().linear(base_lr=lr, end_lr=lr * end, total_steps=n), ours)


@forty
@given(n=LENGTHS, low=FACTORS, lr=LRS)
def test_cosine(n: int, low: float, lr: float) -> None:
    ours = curve("cosine({n}, to={low})", n + 20, lr, n=n, low=low)
    holds("cosine", peer().cosine(base_lr=lr, min_lr=lr * low, total_steps=n), ours)


@forty
@given(n=LENGTHS, low=FACTORS, growth=st.integers(1, 4), lr=LRS)
def test_cosine_restarts(n: int, low: float, growth: int, lr: float) -> None:
    ours = curve("cosine({n}, to={low}).repeat(stretch={growth})", 8 * n, lr, n=n, low=low, growth=growth)
    holds("cosine_restarts", peer().cosine_restarts(base_lr=lr, min_lr=lr * low, period=n, t_mult=growth), ours)


@forty
@given(w=LENGTHS, lr=LRS)
def test_inverse_sqrt(w: int, lr: float) -> None:
    ours = curve("warmup({w}, zero_start=True).then(inverse_sqrt({w}))", 5 * w + 20, lr, w=w)
    holds("inverse_sqrt", peer().inverse_sqrt(base_lr=lr, warmup_steps=w), ours)


@forty
@given(up=LENGTHS, down=LENGTHS, low=OPEN_FACTORS, end=OPEN_FACTORS, lr=LRS)
def test_one_cycle(up: int, down: int, low: float, end: float, lr: float) -> None:
    template = "warmup({up}, 'cosine', start={low}, zero_start=True).then(cosine({down}, to={end}))"
    ours = curve(template, up + down + 20, lr, up=up, down=down, low=low, end=end)
    theirs = peer().one_cycle(
        max_lr=lr, total_steps=up + down, pct_start=up / (up + down), initial_div=1 / low, final_div=1 / end
    )
    holds("one_cycle", theirs, ours)


@forty
@given(n=LENGTHS, low=OPEN_FACTORS, lr=LRS)
def test_triangular(n: int, low: float, lr: float) -> None:
    ours = curve("cyclic({n}, low={low})", 9 * n, lr, n=n, low=low)
    holds("triangular", peer().triangular(min_lr=lr * low, max_lr=lr, step_size=n), ours)


@forty
@given(n=LENGTHS, low=OPEN_FACTORS, lr=LRS)
def test_triangular2(n: int, low: float, lr: float) -> None:
    ours = curve("cyclic({n}, low={low}, mode='triangular2')", 9 * n, lr, n=n, low=low)
    holds("triangular2", peer().triangular2(min_lr=lr * low, max_lr=lr, step_size=n), ours)


@forty
@given(n=LENGTHS, low=OPEN_FACTORS, gamma=OPEN_FACTORS, lr=LRS)
def test_exp_range(n: int, low: float, gamma: float, lr: float) -> None:
    template = "cyclic({n}, low={low}, mode='exp_range', gamma={gamma})"
    ours = curve(template, 9 * n, lr, n=n, low=low, gamma=gamma)
    holds("exp_range", peer().exp_range(min_lr=lr * low, max_lr=lr, step_size=n, gamma=gamma), ours)


@pytest.mark.parametrize(("decay", "name"), [("linear", "linear"), ("one_minus_sqrt", "1-sqrt")])
@forty
@given(w=LENGTHS, hold=LENGTHS, d=LENGTHS, start=FACTORS, low=FACTORS, lr=LRS)
def test_warmup_stable_decay(
    decay: str, name: str, w: int, hold: int, d: int, start: float, low: float, lr: float
) -> None:
    template = "warmup({w}, start={initial}, zero_start=True).then(hold({stable}), " + decay + "({d}, to={low}))"
    ours = curve(template, w + hold + d + 20, lr, w=w, initial=start, stable=hold, d=d, low=low)
    theirs = peer().warmup_stable_decay(
        base_lr=lr,
        warmup_steps=w,
        decay_steps=d,
        total_steps=w + hold + d,
        final_lr=lr * low,
        warmup_start=lr * start,
        decay_shape=name,
    )
    holds("warmup_stable_decay", theirs, ours)


@forty
@given(w=LENGTHS, start=FACTORS, n=LENGTHS, low=FACTORS, growth=st.integers(1, 3), lr=LRS)
def test_with_warmup(w: int, start: float, n: int, low: float, growth: int, lr: float) -> None:
    template = "warmup({w}, start={initial}, zero_start=True).then(cosine({n}, to={low}).repeat(stretch={growth}))"
    ours = curve(template, w + 5 * n, lr, w=w, initial=start, n=n, low=low, growth=growth)
    inner = peer().cosine_restarts(base_lr=lr, min_lr=lr * low, period=n, t_mult=growth)
    holds("with_warmup", peer().with_warmup(inner, warmup_steps=w, start_lr=lr * start), ours)


def test_with_warmup_of_an_inverse_square_root_falls_to_zero() -> None:
    w, lr, t = 10, 0.5, np.arange(60)
    ours = curve("warmup({w}, zero_start=True).then(inverse_sqrt({w}))", 60, lr, w=w)
    theirs = peer().with_warmup(peer().inverse_sqrt(base_lr=lr, warmup_steps=w), warmup_steps=w, start_lr=0.0)
    definition = lr * np.minimum(t / w, np.sqrt(w / np.maximum(t, 1)))
    fault = "it rises to the first value of what follows, which is 0, and the run waits for a second warm-up"
    differ("lrsched", "with_warmup", fault, [theirs(int(step)) for step in t], ours, definition)


def phases(a: int, b: int, c: int, middle: float, low: float, power: float, lr: float) -> Any:
    return [
        (a, peer().linear(base_lr=0.0, end_lr=lr, total_steps=a)),
        (b, peer().cosine(base_lr=lr, min_lr=lr * middle, total_steps=b)),
        (c, peer().polynomial(base_lr=lr * middle, end_lr=lr * low, total_steps=c, power=power)),
    ]


@forty
@given(a=LENGTHS, b=LENGTHS, c=LENGTHS, middle=FACTORS, low=FACTORS, power=st.floats(0.1, 5), lr=LRS)
def test_sequential_until_its_end(a: int, b: int, c: int, middle: float, low: float, power: float, lr: float) -> None:
    template = "linear({a}, start=0, to=1).then(cosine({b}, to={middle}), polynomial({c}, power={power}, to={low}))"
    ours = curve(template, a + b + c, lr, a=a, b=b, middle=middle, c=c, power=power, low=low)
    holds("sequential", peer().sequential(phases(a, b, c, middle, low, power, lr)), ours)


def test_sequential_never_reaches_its_last_value() -> None:
    n, lr, t = 3, 0.1, np.arange(12)
    ours = curve("hold({n}).then(linear({n}))", 12, lr, n=n)
    theirs = peer().sequential([(n, peer().constant(lr=lr)), (n, peer().linear(base_lr=lr, end_lr=0.0, total_steps=n))])
    definition = lr * np.clip((2 * n - t) / n, 0, 1)
    fault = "the last phase holds the value of its last step for ever, not its end"
    differ("lrsched", "sequential", fault, [theirs(int(step)) for step in t], ours, definition)


@forty
@given(n=LENGTHS, scales=st.lists(st.floats(0.01, 10), min_size=2, max_size=3), low=FACTORS, lr=LRS)
def test_scale_by_group(n: int, scales: list[float], low: float, lr: float) -> None:
    multipliers = {str(index): scale for index, scale in enumerate(scales)}
    grouped = peer().scale_by_group(peer().cosine(base_lr=lr, min_lr=lr * low, total_steps=n), multipliers=multipliers)
    rows: NDArray[np.float64] = np.array([list(grouped(step).values()) for step in range(n + 20)])
    for row, scale in zip(rows.T, scales, strict=True):
        ours = curve("cosine({n}, to={low}).scaled({scale})", n + 20, lr, n=n, low=low, scale=scale)
        agree("lrsched", "scale_by_group", row, ours)


@forty
@given(n=LENGTHS, count=st.integers(1, 90), lr=LRS)
def test_sample(n: int, count: int, lr: float) -> None:
    sampled = peer().sample(peer().linear(base_lr=lr, end_lr=0.0, total_steps=n), num_steps=count)
    agree("lrsched", "sample", sampled, curve("linear({n})", count, lr, n=n))
