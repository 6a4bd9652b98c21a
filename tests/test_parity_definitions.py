"""Curves against libraries that are not installed for the tests, as their sources define them, each coded anew here.

OLMo-core, levanter, fairseq, pytorch-warmup, torch-schedule-anything and fastai. All values are in parts of the peak.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import lehr
from parity import agree, curve, differ
from parity_draws import FACTORS, LENGTHS, LRS, OPEN_FACTORS, forty

Values = NDArray[np.float64]

POWERS = st.floats(0.2, 4)
RISE = "warmup({w}, start={initial}, zero_start=True)"


def half_cosine(x: Values) -> Values:
    return (1 + np.cos(np.pi * x)) / 2


def after_rise(t: NDArray[np.int64], w: int, start: float, after: Values) -> Values:
    return np.where(t < w, start + (1 - start) * t / w, after)


@forty
@given(w=LENGTHS, n=LENGTHS, start=FACTORS, low=FACTORS, hold=LENGTHS, lr=LRS)
def test_olmo_warmups_and_plain_decays(w: int, n: int, start: float, low: float, hold: int, lr: float) -> None:
    t = np.arange(w + hold + n + 20)
    x = np.clip((t - w) / n, 0, 1)
    numbers: dict[str, Any] = {"w": w, "initial": start, "n": n, "low": low, "stable": hold, "rest": 1 - low}
    cases = {
        "ConstantWithWarmup": (RISE, np.ones(len(t))),
        "LinearWithWarmup": (RISE + ".then(linear({n}, to={low}))", 1 - (1 - low) * x),
        "CosWithWarmup": (RISE + ".then(cosine({n}, to={low}))", low + (1 - low) * half_cosine(x)),
        "InvSqrtWithWarmup": (
            RISE + ".then(inverse_sqrt({w}).scaled({rest}) + constant({low}))",
            low + (1 - low) * np.sqrt(w / np.maximum(t, w)),
        ),
        "WSD": (
            RISE + ".then(hold({stable}), linear({n}, to={low}))",
            low + (1 - low) * np.clip((w + hold + n - t) / n, 0, 1),
        ),
    }
    for function, (template, after) in cases.items():
        ours = curve(template, len(t), lr, **numbers)
        agree("OLMo-core", function, lr * after_rise(t, w, start, after), ours)


@forty
@given(w=LENGTHS, n=st.integers(2, 60), cut=OPEN_FACTORS, start=FACTORS, low=FACTORS, share=FACTORS, lr=LRS)
def test_olmo_cosine_cut_short_by_a_line(
    w: int, n: int, cut: float, start: float, low: float, share: float, lr: float
) -> None:
    d = max(1, int(n * cut))
    t = np.arange(w + n + 20)
    level = float(low + (1 - low) * half_cosine(np.array((n - d) / n)))
    end = share * level
    falling = low + (1 - low) * half_cosine((t - w) / n)
    last = end + (level - end) * np.clip((w + n - t) / d, 0, 1)
    expected = lr * after_rise(t, w, start, np.where(t < w + n - d, falling, last))
    template = RISE + (
        ".then(cosine({n}, to={low}) * piecewise({early})"
        " + linear({m}, start=0, to=0).then(linear({d}, start={level}, to={end})))"
    )
    numbers: dict[str, Any] = {
        "w": w,
        "initial": start,
        "n": n,
        "low": low,
        "m": n - d,
        "d": d,
        "level": level,
        "end": end,
    }
    ours = curve(template, len(t), lr, **numbers, early={0: 1, n - d: 0})
    agree("OLMo-core", "CosWithWarmupAndLinearDecay", expected, ours)


@forty
@given(w=LENGTHS, a=LENGTHS, b=LENGTHS, c=LENGTHS, d=LENGTHS, low=FACTORS, lr=LRS)
def test_olmo_rounds_each_of_which_begins_a_step_late(
    w: int, a: int, b: int, c: int, d: int, low: float, lr: float
) -> None:
    ends = np.cumsum([a + d, b + d, c + d])
    t = np.arange(w + ends[-1] + 20)
    u = np.maximum(t - w, 0)
    period = np.minimum(np.searchsorted(ends, u, side="left"), 2)
    left = ends[period] - u
    after = np.where(u >= ends[-1], low, low + (1 - low) * np.clip(left / d, 0, 1))
    rounds = "linear({d}, to={low}), hold(1), linear({b}, start=1, to=1), linear({d}, to={low}), hold(1), "
    template = RISE + ".then(hold({a}), " + rounds + "linear({c}, start=1, to=1), linear({d}, to={low}))"
    ours = curve(template, len(t), lr, w=w, initial=0, a=a, d=d, low=low, b=b - 1, c=c - 1)
    agree("OLMo-core", "WSDS", lr * after_rise(t, w, 0.0, after), ours)


@forty
@given(n=LENGTHS, low=OPEN_FACTORS, w=LENGTHS, hold=LENGTHS, end=FACTORS, lr=LRS)
def test_olmo_exponential_rise_and_a_sequence(n: int, low: float, w: int, hold: int, end: float, lr: float) -> None:
    t = np.arange(w + hold + n + 20)
    expected = lr * low ** (1 - np.minimum(t / n, 1))
    ours = curve("geometric({n}, start={low}, to=1)", len(t), lr, n=n, low=low)
    agree("OLMo-core", "ExponentialScheduler", expected, ours)
    after = 1 - (1 - end) * np.clip((t - w - hold) / n, 0, 1)
    template = RISE + ".then(hold({stable})).then(linear({n}, to={end}))"
    ours = curve(template, len(t), lr, w=w, initial=0, stable=hold, n=n, end=end)
    agree("OLMo-core", "SequentialScheduler", lr * after_rise(t, w, 0.0, after), ours)


@forty
@given(w=LENGTHS, hold=LENGTHS, n=LENGTHS, low=OPEN_FACTORS, gap=LENGTHS, lr=LRS)
def test_levanter_decays(w: int, hold: int, n: int, low: float, gap: int, lr: float) -> None:
    t = np.arange(w + hold + n + 100)
    i = t - w - hold
    x = np.clip(i / n, 0, 1)
    slope = 1 / low - 1
    numbers: dict[str, Any] = {
        "w": w,
        "initial": 0,
        "stable": hold,
        "n": n,
        "low": low,
        "gap": gap,
        "tau": w + gap,
        "slope": slope,
    }
    first = {0: 1 / (1 + slope / n), 1: 1}
    stable = RISE + ".then(hold({stable}), "
    cases = {
        "constant": (RISE, np.ones(len(t))),
        "linear": (stable + "linear({n}, to={low}))", 1 - (1 - low) * x),
        "cosine": (stable + "cosine({n}, to={low}))", low + (1 - low) * half_cosine(x)),
        "inv": (
            stable + "inverse_time({slope}, per={n}).clip({low}) * piecewise({first}))",
            np.where(i < 0, 1, np.maximum(1 / (1 + slope * np.maximum(i, 1) / n), low)),
        ),
        "inv_sqrt": (
            stable + "hold({gap}).then(inverse_sqrt({tau}).clip({low})))",
            np.maximum(np.sqrt((w + gap) / np.maximum(i + w, w + gap)), low),
        ),
    }
    for function, (template, after) in cases.items():
        ours = curve(template, len(t), lr, **numbers, first=first)
        agree("levanter", function, lr * after_rise(t, w, 0.0, after), ours)


@forty
@given(scale=st.floats(1, 50), exponent=st.floats(0.1, 2), lr=LRS)
def test_levanter_power_of_the_tokens(scale: float, exponent: float, lr: float) -> None:
    t = np.arange(300)
    expected = lr * np.minimum(1, scale * np.maximum(t, 1.0) ** -exponent)
    template = "minimum(constant(1), hold(1).then(power_law(1, {exponent})).scaled({scale}))"
    agree("levanter", "power", expected, curve(template, 300, lr, scale=scale, exponent=exponent))


@forty
@given(w=LENGTHS, n=LENGTHS, again=st.integers(1, 20), cycles=st.integers(1, 3), low=FACTORS, lr=LRS)
def test_levanter_cycles(w: int, n: int, again: int, cycles: int, low: float, lr: float) -> None:
    size = again + n
    t = np.arange(w + n + cycles * size + 20)
    u = np.maximum(t - w - n, 0)
    i = np.where(u < cycles * size, u % size, size)
    cycle = np.where(i < again, low + (1 - low) * i / again, low + (1 - low) * half_cosine((i - again) / n))
    after = np.where(t < w + n, low + (1 - low) * half_cosine((t - w) / n), cycle)
    template = RISE + ".then(cosine({n}, to={low}), linear({again}, to=1).then(cosine({n}, to={low})).repeat({cycles}))"
    ours = curve(template, len(t), lr, w=w, initial=0, n=n, low=low, again=again, cycles=cycles)
    agree("levanter", "cycles", lr * after_rise(t, w, 0.0, after), ours)


@forty
@given(w=LENGTHS, hold=LENGTHS, d=LENGTHS, start=FACTORS, end=OPEN_FACTORS, lr=LRS)
def test_fairseq_tri_stage(w: int, hold: int, d: int, start: float, end: float, lr: float) -> None:
    t = np.arange(w + hold + d + 20)
    after = np.exp(np.log(end) * np.clip((t - w - hold) / d, 0, 1))
    template = RISE + ".then(hold({stable}), geometric({d}, to={end}))"
    ours = curve(template, len(t), lr, w=w, initial=start, stable=hold, d=d, end=end)
    agree("fairseq", "tri_stage", lr * after_rise(t, w, start, after), ours)


@forty
@given(w=LENGTHS, n=LENGTHS, half_lives=st.integers(2, 10), lr=LRS)
def test_warmups_of_pytorch_warmup_dampen_a_schedule(w: int, n: int, half_lives: int, lr: float) -> None:
    t, beta2 = np.arange(300), 1 - 0.5**half_lives
    main = half_cosine(np.minimum(t / n, 1))
    count = t + 1
    longest = 2 / (1 - beta2) - 1

    def length(steps: NDArray[np.int64]) -> Values:
        decayed: Values = beta2 ** steps.astype(np.float64)
        return longest - 2 * steps * decayed / (1 - decayed)

    offset = next(step for step in range(1, 100) if length(np.array([step]))[0] > 4)
    rho = length(t + offset)
    rectified = np.sqrt((rho - 4) * (rho - 2) * longest / ((longest - 4) * (longest - 2) * rho))
    linear = np.minimum(1, count / int(2 / (1 - beta2)))
    exponential = 1 - np.exp(-count / int(1 / (1 - beta2)))
    dampened = "cosine({n}).then(hold()) * "
    cases = {
        "LinearWarmup": (dampened + "warmup({w}).then(hold())", np.minimum(1, count / w)),
        "ExponentialWarmup": (dampened + "exponential_warmup({w})", 1 - np.exp(-count / w)),
        "UntunedLinearWarmup": (dampened + "untuned_warmup({beta2}).then(hold())", linear),
        "UntunedExponentialWarmup": (dampened + "untuned_warmup({beta2}, 'exponential')", exponential),
        "RAdamWarmup": (dampened + "radam_warmup({beta2})", rectified),
    }
    for function, (template, factor) in cases.items():
        agree("pytorch-warmup", function, lr * main * factor, curve(template, 300, lr, n=n, w=w, beta2=beta2))


def test_untuned_warmups_lose_a_step_to_rounding() -> None:
    lr, t, beta2 = 0.1, np.arange(300), 0.99
    definition = lr * np.minimum(1, (1 - beta2) / 2 * (t + 1))
    theirs = lr * np.minimum(1, (t + 1) / int(2 / (1 - beta2)))
    ours = curve("untuned_warmup({beta2})", 300, lr, beta2=beta2)
    fault = "cuts 2/(1 − 0.99) = 199.99999999999983 to 199 steps"
    differ("pytorch-warmup", "UntunedLinearWarmup", fault, theirs, ours, definition)
    definition = lr * (1 - np.exp(-(1 - beta2) * (t + 1)))
    theirs = lr * (1 - np.exp(-(t + 1) / int(1 / (1 - beta2))))
    ours = curve("untuned_warmup({beta2}, 'exponential')", 300, lr, beta2=beta2)
    fault = "cuts 1/(1 − 0.99) = 99.99999999999991 to 99"
    differ("pytorch-warmup", "UntunedExponentialWarmup", fault, theirs, ours, definition)


EXPONENTS = {"polynomial": None, "linear": 1.0, "quadratic": 2.0, "sqrt": 0.5}


@pytest.mark.parametrize("inverse", [False, True])
@forty
@given(w=LENGTHS, n=LENGTHS, top=FACTORS, share=FACTORS, times=st.floats(1, 20), power=POWERS, lr=LRS)
def test_schedules_of_torch_schedule_anything(
    inverse: bool, w: int, n: int, top: float, share: float, times: float, power: float, lr: float
) -> None:
    t = np.arange(w + n + 1)
    low = share * top
    begin = top * times if inverse else 0.0
    x = np.clip((t - w) / n, 0, 1)
    rise = "linear({w}, start={begin}, to={top})"
    numbers: dict[str, Any] = {"w": w, "n": n, "top": top, "low": low, "begin": begin}
    ending = "_inverse_warmup" if inverse else "_warmup"
    cases = {
        "cosine_annealing_with" + ending: (".then(quarter_cosine({n}, to={low}))", np.cos(np.pi / 2 * x), 1.0),
        "constant_with" + ending: ("", np.ones(len(t)), 1.0),
    }
    for name, fixed in EXPONENTS.items():
        exponent = fixed or power
        template = ".then(polynomial({n}, power={power}, to={low}))"
        cases[name + "_schedule_with" + ending] = (template, (1 - x) ** exponent, exponent)
    for function, (template, share_left, exponent) in cases.items():
        expected = lr * np.where(t < w, begin + (top - begin) * t / w, low + (top - low) * share_left)
        ours = curve(rise + template, len(t), lr, **numbers, power=exponent)
        agree("torch-schedule-anything", function, expected, ours)
    ours = curve("constant({top})", 50, lr, top=top)
    agree("torch-schedule-anything", "constant_schedule", np.full(50, lr * top), ours)


@forty
@given(n=LENGTHS, start=OPEN_FACTORS, end=OPEN_FACTORS, power=POWERS, lr=LRS)
def test_fastai_shapes(n: int, start: float, end: float, power: float, lr: float) -> None:
    p = np.arange(n + 1) / n
    numbers: dict[str, Any] = {"n": n, "initial": start, "end": end, "power": power}
    cases = {
        "SchedNo": ("constant({initial})", np.full(n + 1, start)),
        "SchedLin": ("linear({n}, start={initial}, to={end})", start + p * (end - start)),
        "SchedCos": (
            "cosine({n}, start={initial}, to={end})",
            start + (1 + np.cos(np.pi * (1 - p))) * (end - start) / 2,
        ),
        "SchedExp": ("geometric({n}, start={initial}, to={end})", start * (end / start) ** p),
        "SchedPoly": (
            "polynomial({n}, power=1, k={power}, start={initial}, to={end})",
            start + (end - start) * p**power,
        ),
    }
    for function, (template, expected) in cases.items():
        agree("fastai", function, lr * expected, curve(template, n + 1, lr, **numbers))


@forty
@given(a=LENGTHS, b=LENGTHS, n=LENGTHS, start=OPEN_FACTORS, end=OPEN_FACTORS, cycles=st.integers(1, 4), lr=LRS)
def test_fastai_fits(a: int, b: int, n: int, start: float, end: float, cycles: int, lr: float) -> None:
    t = np.arange(a + b + 1)
    fall = end + (1 - end) * half_cosine(np.clip((t - a) / b, 0, 1))
    ours = curve("hold({a}).then(cosine({b}, to={end}))", len(t), lr, a=a, b=b, end=end)
    agree("fastai", "fit_flat_cos", lr * fall, ours)

    rise = start + (1 - start) * half_cosine(1 - np.minimum(t / a, 1))
    template = "one_cycle({a}, div={div}, final_div={final})"
    low = start * end
    fall = low + (1 - low) * half_cosine(np.clip((t - a) / b, 0, 1))
    numbers: dict[str, Any] = {"a": a, "div": 1 / start, "final": 1 / end}
    ours = curve(template, len(t), lr, horizon=lehr.Horizon(steps=a + b), **numbers)
    agree("fastai", "fit_one_cycle", lr * np.where(t < a, rise, fall), ours)
    agree("fastai", "combine_scheds", lr * np.where(t < a, rise, fall), ours)

    bounds = n * (2 ** np.arange(cycles + 1) - 1)
    u = np.arange(bounds[-1])
    cycle = np.searchsorted(bounds, u, side="right") - 1
    expected = lr * half_cosine((u - bounds[cycle]) / (n * 2**cycle))
    ours = curve("cosine({n}).repeat({cycles}, stretch=2)", len(u), lr, n=n, cycles=cycles)
    agree("fastai", "fit_sgdr", expected, ours)
