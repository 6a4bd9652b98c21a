"""Curves against the schedules of training stacks that are not installed for the tests, each formula coded anew here.

NeMo, mmengine, Paddle and Composer. All values are in parts of the peak.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from parity import agree, curve, differ
from parity_draws import FACTORS, LENGTHS, LRS, OPEN_FACTORS, forty

Values = NDArray[np.float64]

POWERS = st.floats(0.2, 4)
MILESTONES = st.lists(st.integers(1, 90), min_size=1, max_size=5).map(sorted)


def half_cosine(x: Values) -> Values:
    return (1 + np.cos(np.pi * x)) / 2


@forty
@given(w=LENGTHS, n=LENGTHS, low=FACTORS, power=POWERS, lr=LRS)
def test_nemo_decays_begin_at_the_last_step_of_the_warmup(w: int, n: int, low: float, power: float, lr: float) -> None:
    t = np.arange(w + n + 20)
    x = np.clip((t - w) / n, 0, 1)
    over = np.clip(t / (w + n), 0, 1)
    numbers: dict[str, Any] = {"w": w, "rise": w + 1, "n": n, "all": w + n, "low": low, "power": power}
    after = "warmup({rise}).then(hold()) * hold({w}).then("
    end = w + n + 1
    cut: dict[str, Any] = {
        "early": {0: 1, w + 1: 0},
        "late": {0: 0, w + 1: 1},
        "before": {0: 1, end: 0},
        "floor": {0: 0, end: low},
    }
    cases = {
        "WarmupPolicy": ("warmup({rise})", np.ones(len(t))),
        "WarmupAnnealing": (after + "linear({n}, to={low}))", 1 - (1 - low) * x),
        "CosineAnnealing": (after + "cosine({n}, to={low}))", low + (1 - low) * half_cosine(x)),
        "PolynomialDecayAnnealing": (
            after + "polynomial({n}, power={power}, to={low}))",
            low + (1 - low) * (1 - x) ** power,
        ),
        "SquareAnnealing": (after + "polynomial({n}, power=2).clip({low}))", np.maximum((1 - x) ** 2, low)),
        "SquareRootAnnealing": (
            "warmup({rise}).then(hold()) * piecewise({early})"
            " + polynomial({all}, power=0.5).then(hold()).clip({low}) * piecewise({late})",
            np.maximum(np.sqrt(1 - over), low),
        ),
        "InverseSquareRootAnnealing": (
            after + "inverse_sqrt({rise})) * piecewise({before}) + piecewise({floor})",
            np.where(t < end, np.sqrt((w + 1) / (t + 1)), low),
        ),
    }
    for function, (template, decayed) in cases.items():
        expected = lr * np.where(t <= w, (t + 1) / (w + 1), decayed)
        agree("NeMo", function, expected, curve(template, len(t), lr, **numbers, **cut))


@forty
@given(w=LENGTHS, hold=LENGTHS, n=LENGTHS, low=FACTORS, power=POWERS, width=st.integers(1, 4096), lr=LRS)
def test_nemo_holds_and_noams(w: int, hold: int, n: int, low: float, power: float, width: int, lr: float) -> None:
    t = np.arange(w + hold + n + 20)
    rise = np.where(t <= w, (t + 1) / (w + 1), 1)
    i = np.maximum(t - w - hold, 0)
    numbers: dict[str, Any] = {
        "w": w,
        "rise": w + 1,
        "stable": hold - 1,
        "n": n,
        "low": low,
        "power": power,
        "width": width,
    }
    start = "warmup({rise}).then(hold({stable}), "

    expected = lr * rise * (low + (1 - low) * (1 - np.minimum(i / n, 1)) ** power)
    ours = curve(start + "polynomial({n}, power={power}, to={low}))", len(t), lr, **numbers)
    agree("NeMo", "PolynomialHoldDecayAnnealing", expected, ours)

    expected = lr * rise * np.where(i > 0, np.maximum((w / (w + i)) ** power, low), 1)
    ours = curve(start + "power_law({w}, {power}).clip({low}))", len(t), lr, **numbers)
    agree("NeMo", "NoamHoldAnnealing", expected, ours)

    falling = low + (1 - low) * half_cosine(np.clip((t - w) / n, 0, 1))
    ours = curve("warmup({w}, zero_start=True).then(cosine({n}, to={low}))", len(t), lr, **numbers)
    agree("NeMo", "CosineAnnealing", lr * np.where(t <= w, t / w, falling), ours)

    u = np.maximum(t, 1)
    first = {0: width**-0.5 * w**-1.5, 1: 0}
    template = "noam({w}, d_model={width}, zero_start=True) + piecewise({first})"
    ours = curve(template, len(t), lr, **numbers, first=first)
    agree("NeMo", "NoamAnnealing", lr * width**-0.5 * np.minimum(u**-0.5, u * w**-1.5), ours)

    ours = curve("hold({w}).then(inverse_sqrt({w}))", len(t), w**-0.5, w=w)
    agree("NeMo", "T5InverseSquareRootAnnealing", np.maximum(t, w) ** -0.5, ours)


def test_nemo_cycle_never_comes() -> None:
    n, lr, t = 20, 0.1, np.arange(70)
    definition = lr * (1 - t / (n * np.maximum(1, np.ceil(t / n))))
    theirs = np.where(t > n, 0, definition)
    ours = curve("growing_polynomial({n})", 70, lr, n=n)
    fault = "cycle=True has no effect: past max_steps the LR is min_lr before the cycle is looked at"
    differ("NeMo", "PolynomialDecayAnnealing", fault, theirs, ours, definition)


@forty
@given(begin=st.integers(0, 40), n=LENGTHS, start=OPEN_FACTORS, end=FACTORS, power=POWERS, lr=LRS)
def test_mmengine_windows_end_one_step_early(
    begin: int, n: int, start: float, end: float, power: float, lr: float
) -> None:
    t = np.arange(begin + n + 20)
    x = np.clip((t - begin) / n, 0, 1)
    numbers: dict[str, Any] = {"begin": begin, "n": n, "initial": start, "end": end, "power": power}
    cases = {
        "ConstantParamScheduler": (
            "linear({n}, start={initial}, to={initial}).then(constant(1))",
            np.where(x < 1, start, 1),
        ),
        "LinearParamScheduler": ("linear({n}, start={initial}, to={end})", start + (end - start) * x),
        "PolyParamScheduler": ("polynomial({n}, power={power}, to={end})", end + (1 - end) * (1 - x) ** power),
    }
    for function, (template, inside) in cases.items():
        ours = curve("hold({begin}).then(" + template + ")", len(t), lr, **numbers)
        agree("mmengine", function, lr * np.where(t < begin, 1, inside), ours)


@forty
@given(begin=st.integers(0, 40), n=LENGTHS, low=FACTORS, milestones=MILESTONES, gamma=OPEN_FACTORS, lr=LRS)
def test_mmengine_other_windows(begin: int, n: int, low: float, milestones: list[int], gamma: float, lr: float) -> None:
    t = np.arange(begin + 120)
    i = np.maximum(t - begin, 0)
    last = low + (1 - low) * float(half_cosine(np.array((n - 1) / n)))
    numbers: dict[str, Any] = {
        "begin": begin,
        "n": n,
        "low": low,
        "last": last,
        "milestones": milestones,
        "gamma": gamma,
    }
    cases = {
        "CosineAnnealingParamScheduler": (
            "maximum(hold({begin}).then(cosine({n}, to={low})), constant({last}))",
            low + (1 - low) * half_cosine(np.minimum(i, n - 1) / n),
        ),
        "ExponentialParamScheduler": ("hold({begin}).then(exponential({gamma}))", gamma**i),
        "StepParamScheduler": ("hold({begin}).then(step_decay({n}, {gamma}))", gamma ** (i // n)),
        "MultiStepParamScheduler": (
            "hold({begin}).then(multistep({milestones}, {gamma}))",
            gamma ** np.searchsorted(milestones, i, side="right"),
        ),
    }
    for function, (template, expected) in cases.items():
        agree("mmengine", function, lr * expected, curve(template, len(t), lr, **numbers))


def test_mmengine_cosine_stops_one_step_above_its_floor() -> None:
    n, lr, t = 10, 0.1, np.arange(20)
    ours = curve("cosine({n})", 20, lr, n=n)
    theirs = lr * half_cosine(np.minimum(t, n - 1) / n)
    fault = "a window of T_max steps ends before eta_min, and the last value stays"
    definition = lr * half_cosine(np.minimum(t, n) / n)
    differ("mmengine", "CosineAnnealingParamScheduler", fault, theirs, ours, definition)


@forty
@given(n=LENGTHS, w=LENGTHS, rate=st.floats(0.001, 2), power=POWERS, low=FACTORS, width=st.integers(1, 4096), lr=LRS)
def test_paddle(n: int, w: int, rate: float, power: float, low: float, width: int, lr: float) -> None:
    t = np.arange(3 * n + 10)
    x = np.minimum(t / n, 1)
    stretched = t / (n * np.maximum(1, np.ceil(t / n)))
    numbers: dict[str, Any] = {
        "n": n,
        "w": w,
        "rate": rate,
        "power": power,
        "low": low,
        "width": width,
        "gamma": math.exp(-rate),
    }
    cases = {
        "NoamDecay": (
            "noam({w}, d_model={width}, zero_start=True)",
            width**-0.5 * np.minimum(np.where(t == 0, 1, np.maximum(t, 1) ** -0.5), t * w**-1.5),
        ),
        "NaturalExpDecay": ("exponential({gamma})", np.exp(-rate * t)),
        "InverseTimeDecay": ("inverse_time({rate})", 1 / (1 + rate * t)),
        "PolynomialDecay": ("polynomial({n}, power={power}, to={low})", low + (1 - low) * (1 - x) ** power),
        "PolynomialDecay cycle": (
            "growing_polynomial({n}, power={power}, to={low})",
            low + (1 - low) * (1 - stretched) ** power,
        ),
        "LinearLR": ("linear({n}, start={low}, to=1)", low + (1 - low) * x),
    }
    for function, (template, expected) in cases.items():
        agree("Paddle", function, lr * expected, curve(template, len(t), lr, **numbers))


@forty
@given(w=LENGTHS, start=FACTORS, milestones=MILESTONES, gamma=OPEN_FACTORS, data=st.data(), lr=LRS)
def test_paddle_tables(
    w: int, start: float, milestones: list[int], gamma: float, data: st.DataObject, lr: float
) -> None:
    t = np.arange(100)
    places = sorted(set(milestones))
    values = data.draw(st.lists(FACTORS, min_size=len(places) + 1, max_size=len(places) + 1))
    passed = np.searchsorted(places, t, side="right")
    ours = curve("piecewise({knots})", 100, lr, knots=dict(zip([0, *places], values, strict=True)))
    agree("Paddle", "PiecewiseDecay", lr * np.array(values)[passed], ours)
    counted = gamma ** np.searchsorted(milestones, t, side="right")
    ours = curve("multistep({milestones}, {gamma})", 100, lr, milestones=milestones, gamma=gamma)
    agree("Paddle", "MultiStepDecay", lr * counted, ours)
    agree("Paddle", "StepDecay", lr * gamma ** (t // w), curve("step_decay({w}, {gamma})", 100, lr, w=w, gamma=gamma))
    agree("Paddle", "ExponentialDecay", lr * gamma**t, curve("exponential({gamma})", 100, lr, gamma=gamma))
    expected = lr * np.where(t < w, start + (1 - start) * t / w, gamma ** np.maximum(t - w, 0))
    template = "linear({w}, start={initial}, to=1).then(exponential({gamma}))"
    agree("Paddle", "LinearWarmup", expected, curve(template, 100, lr, w=w, initial=start, gamma=gamma))


@forty
@given(
    w=LENGTHS, n=LENGTHS, first=FACTORS, low=FACTORS, power=POWERS, milestones=MILESTONES, gamma=OPEN_FACTORS, lr=LRS
)
def test_composer(
    w: int, n: int, first: float, low: float, power: float, milestones: list[int], gamma: float, lr: float
) -> None:
    t = np.arange(w + n + 100)
    rise, x, plain = np.minimum(t / w, 1), np.clip((t - w) / n, 0, 1), np.minimum(t / n, 1)
    late = [w + milestone for milestone in milestones]
    passed = gamma ** np.searchsorted(milestones, t, side="right")
    numbers: dict[str, Any] = {
        "w": w,
        "n": n,
        "first": first,
        "low": low,
        "power": power,
        "milestones": milestones,
        "gamma": gamma,
    }
    warm = "warmup({w}, zero_start=True).then("
    cases = {
        "ConstantScheduler": ("linear({n}, start={low}, to={low}).then(constant(1))", np.where(t < n, low, 1)),
        "LinearScheduler": ("linear({n}, start={first}, to={low})", first + plain * (low - first)),
        "ExponentialScheduler": ("exponential({gamma}, per={n})", gamma ** (t / n)),
        "StepScheduler": ("step_decay({n}, {gamma})", gamma ** (t // n)),
        "MultiStepScheduler": ("multistep({milestones}, {gamma})", passed),
        "CosineAnnealingScheduler": ("cosine({n}, to={low})", low + (1 - low) * half_cosine(plain)),
        "CosineAnnealingWithWarmupScheduler": (
            warm + "cosine({n}, to={low}))",
            rise * (low + (1 - low) * half_cosine(x)),
        ),
        "LinearWithWarmupScheduler": (
            "linear({w}, start=0, to={first}).then(linear({n}, to={low}))",
            np.where(t < w, first * rise, first + x * (low - first)),
        ),
        "PolynomialWithWarmupScheduler": (
            warm + "polynomial({n}, power={power}, to={low}))",
            np.where(t < w, rise, low + (1 - low) * (1 - x) ** power),
        ),
        "MultiStepWithWarmupScheduler": (
            warm + "hold()) * multistep({late}, {gamma})",
            rise * gamma ** np.searchsorted(late, t, side="right"),
        ),
    }
    for function, (template, expected) in cases.items():
        agree("Composer", function, lr * expected, curve(template, len(t), lr, **numbers, late=late))
    inside = np.arange(n + 1)
    ours = curve("polynomial({n}, power={power}, to={low})", n + 1, lr, **numbers)
    agree("Composer", "PolynomialScheduler", lr * (low + (1 - low) * (1 - inside / n) ** power), ours)


@forty
@given(n=LENGTHS, growth=st.integers(1, 3), low=FACTORS, lr=LRS)
def test_composer_restarts(n: int, growth: int, low: float, lr: float) -> None:
    ends = np.cumsum([n * growth**cycle for cycle in range(8)])
    t = np.arange(7 * n)
    cycle = np.searchsorted(ends, t, side="right")
    begins = np.concatenate(([0], ends))[cycle]
    expected = lr * (low + (1 - low) * half_cosine((t - begins) / (n * growth**cycle)))
    ours = curve("cosine({n}, to={low}).repeat(stretch={growth})", len(t), lr, n=n, low=low, growth=growth)
    agree("Composer", "CosineAnnealingWarmRestartsScheduler", expected, ours)


def test_composer_polynomial_rises_past_its_end() -> None:
    n, lr, t = 20, 0.1, np.arange(40)
    theirs = lr * (1 - t / n) ** 2
    definition = lr * (1 - np.minimum(t / n, 1)) ** 2
    ours = curve("polynomial({n}, power=2)", 40, lr, n=n)
    fault = "does not stop at t_max: an even power rises again, a broken one is complex"
    differ("Composer", "PolynomialScheduler", fault, theirs, ours, definition)
