"""Curves against timm's schedulers as its source (1.0.31) defines them, each formula coded anew here.

timm's `step(t)` is called with the update to come, so its value at t is that of update t. Its noise (normal, from a
torch generator) is not compared: Lehr's `noise` is another sequence by construction.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from parity import agree, curve, differ
from parity_draws import FACTORS, LENGTHS, LRS, OPEN_FACTORS, forty
from parity_functions import FUNCTIONS

Values = NDArray[np.float64]
Share = Callable[[Values], Values]

POWERS = st.floats(0.2, 4)
SIZES = st.integers(10, 40)
WARMUPS = st.integers(1, 10)
LIMITS = st.integers(1, 3)


def cycle_of(t: Any, n: int, growth: int) -> tuple[Any, Values]:
    """The number of the cycle that a step is in and its position there, cycles of n, n·growth, n·growth² … steps."""
    begins, sizes = [0], [n]
    while begins[-1] + sizes[-1] <= t[-1]:
        begins.append(begins[-1] + sizes[-1])
        sizes.append(sizes[-1] * growth)
    cycle = np.searchsorted(begins, t, side="right") - 1
    return cycle, (t - np.array(begins)[cycle]) / np.array(sizes)[cycle]


def cyclic(t: Any, share: Share, n: int, low: float, growth: int, decay: float, limit: int) -> Values:
    """Cycles from decay^i to `low`, and `low` after `limit` of them; all in parts of the peak."""
    cycle, x = cycle_of(t, n, growth)
    return np.where(cycle < limit, low + (decay**cycle - low) * share(x), low)


def after_warmup(t: Any, w: int, start: float, curve_: Callable[[Any], Values], prefix: bool) -> Values:
    """A linear rise to the peak over w steps, put before the curve (prefix) or over its first w steps."""
    after = curve_(np.maximum(t - w, 0) if prefix else t)
    return np.where(t < w, start + (1 - start) * t / w, after)


SHARES: dict[str, tuple[str, Callable[[float, float], Share]]] = {
    "CosineLRScheduler": ("cosine({n}, k={k}", lambda k, q: lambda x: (1 + np.cos(np.pi * x**k)) / 2),
    "PolyLRScheduler": ("polynomial({n}, power={q}, k={k}", lambda k, q: lambda x: (1 - x**k) ** q),
}


CYCLES = {
    "n": SIZES,
    "w": WARMUPS,
    "initial": FACTORS,
    "low": FACTORS,
    "growth": st.integers(1, 3),
    "decay": OPEN_FACTORS,
    "limit": LIMITS,
}
RISE = "warmup({w}, start={initial}, zero_start=True)"


def steps_of(v: Any) -> int:
    return int(v.w + v.n * sum(v.growth**cycle for cycle in range(v.limit)) + 20)


@pytest.mark.parametrize("function", SHARES)
@forty
@given(drawn=st.fixed_dictionaries({**CYCLES, "k": POWERS, "q": POWERS}), lr=LRS)
def test_cycles_after_or_under_a_warmup(function: str, drawn: dict[str, Any], lr: float) -> None:
    v = SimpleNamespace(**drawn)
    shape, share = SHARES[function]
    peaks = shape + ").repeat({limit}, stretch={growth}, scale={decay})"
    floor = shape + ", start=0, to={low}).repeat({limit}, stretch={growth})"
    steps = steps_of(v)
    t = np.arange(steps)

    def cycles(u: Any) -> Values:
        return cyclic(u, share(v.k, v.q), v.n, v.low, v.growth, v.decay, v.limit)

    after = f"{RISE}.then({peaks}) + linear({{w}}, start=0, to=0).then({floor})"
    expected = lr * after_warmup(t, v.w, v.initial, cycles, prefix=True)
    agree("timm", function, expected, curve(after, steps, lr, **drawn))

    windows: dict[str, Any] = {"early": {0: 1, v.w: 0}, "late": {0: 0, v.w: 1}}
    line = "linear({w}, start={initial}, to=1).then(hold()) * piecewise({early})"
    under = f"{line} + ({peaks} + {floor}) * piecewise({{late}})"
    expected = lr * after_warmup(t, v.w, v.initial, cycles, prefix=False)
    agree("timm", function, expected, curve(under, steps, lr, **drawn, **windows))


@forty
@given(drawn=st.fixed_dictionaries({**CYCLES, "lower": st.floats(-8, 0), "upper": st.floats(1, 5)}), lr=LRS)
def test_tanh(drawn: dict[str, Any], lr: float) -> None:
    v = SimpleNamespace(**drawn)
    shape = "tanh({n}, lower={lower}, upper={upper}"
    peaks = shape + ").repeat({limit}, stretch={growth}, scale={decay})"
    floor = shape + ", start=0, to={low}).repeat({limit}, stretch={growth})"
    steps = steps_of(v)
    t = np.arange(steps)

    def cycles(u: Any) -> Values:
        def share(x: Values) -> Values:
            fall: Values = np.tanh(v.lower * (1 - x) + v.upper * x)
            return (1 - fall) / 2

        return cyclic(u, share, v.n, v.low, v.growth, v.decay, v.limit)

    after = f"{RISE}.then({peaks} + {floor}, constant({{low}}))"
    expected = lr * after_warmup(t, v.w, v.initial, cycles, prefix=True)
    agree("timm", "TanhLRScheduler", expected, curve(after, steps, lr, **drawn))

    target = float(cycles(np.arange(v.w + 1))[v.w])
    windows: dict[str, Any] = {"early": {0: 1, v.w: 0}, "late": {0: 0, v.w: 1}, "target": target}
    line = "linear({w}, start={initial}, to={target}).then(hold()) * piecewise({early})"
    under = f"{line} + ({peaks} + {floor}).then(constant({{low}})) * piecewise({{late}})"
    expected = lr * np.where(t < v.w, v.initial + (target - v.initial) * t / v.w, cycles(t))
    agree("timm", "TanhLRScheduler", expected, curve(under, steps, lr, **drawn, **windows))


@forty
@given(n=LENGTHS, rate=OPEN_FACTORS, w=WARMUPS, start=FACTORS, lr=LRS)
def test_steps(n: int, rate: float, w: int, start: float, lr: float) -> None:
    t = np.arange(200)
    template = "warmup({w}, start={initial}, zero_start=True).then(step_decay({n}, {rate}))"
    expected = lr * after_warmup(t, w, start, lambda u: rate ** (u // n), prefix=True)
    agree("timm", "StepLRScheduler", expected, curve(template, 200, lr, n=n, rate=rate, w=w, initial=start))


@forty
@given(milestones=st.lists(st.integers(1, 90), min_size=1, max_size=5).map(sorted), rate=OPEN_FACTORS, lr=LRS)
def test_milestones_come_one_step_early(milestones: list[int], rate: float, lr: float) -> None:
    t = np.arange(100)
    theirs = lr * rate ** np.searchsorted(milestones, t + 1, side="right")
    shifted = [milestone - 1 for milestone in milestones]
    ours = curve("multistep({milestones}, {rate})", 100, lr, milestones=shifted, rate=rate)
    agree("timm", "MultiStepLRScheduler", theirs, ours)


def test_a_milestone_is_met_a_step_before_it() -> None:
    t, lr, milestones = np.arange(40), 0.1, [10, 20]
    theirs = lr * 0.5 ** np.searchsorted(milestones, t + 1, side="right")
    definition = lr * 0.5 ** np.searchsorted(milestones, t, side="right")
    ours = curve("multistep({milestones}, 0.5)", 40, lr, milestones=milestones)
    differ("timm", "MultiStepLRScheduler", "counts the milestones up to t + 1", theirs, ours, definition)


def test_the_logarithm_misses_a_restart() -> None:
    n, growth, lr, restart = 10, 3, 0.1, 1210
    t = np.arange(restart + 5)
    cycle = np.array([math.floor(math.log(1 + (growth - 1) * step / n, growth)) for step in t.tolist()])
    x = (t - n * (growth**cycle - 1) / (growth - 1)) / (n * growth**cycle)
    theirs = lr * (1 + np.cos(np.pi * x)) / 2
    definition = lr * (1 + np.cos(np.pi * cycle_of(t, n, growth)[1])) / 2
    ours = curve("cosine({n}).repeat(stretch={growth})", len(t), lr, n=n, growth=growth)
    fault = (
        "finds the cycle by a logarithm, which is rounded below 5 at the fifth restart: the floor instead of the peak"
    )
    differ("timm", "CosineLRScheduler", fault, theirs, ours, definition)


DECAYS: dict[str, tuple[str, Callable[[float, float], Share]]] = {
    "linear": ("linear({d}", lambda p, r: lambda x: 1 - x),
    "1-sqrt": ("one_minus_sqrt({d}", lambda p, r: lambda x: 1 - np.sqrt(x)),
    "cosine": ("cosine({d}", lambda p, r: lambda x: (1 + np.cos(np.pi * x)) / 2),
    "power": ("polynomial({d}, power=1, k={p}", lambda p, r: lambda x: 1 - x**p),
    "exp": ("exp_cooldown({d}, ratio={r}", lambda p, r: lambda x: (r**x - r) / (1 - r)),
    "callable": ("of_position('parity-cubic', {d}", lambda p, r: np.vectorize(FUNCTIONS["parity-cubic"])),
}


@pytest.mark.parametrize("decay", DECAYS)
@forty
@given(
    drawn=st.fixed_dictionaries({"w": LENGTHS, "stable": LENGTHS, "d": LENGTHS, "initial": FACTORS, "low": FACTORS}),
    p=POWERS,
    r=st.floats(0.01, 0.9),
    tau=st.integers(1, 50),
    alpha=POWERS,
    lr=LRS,
)
def test_warmup_stable_decay(
    decay: str, drawn: dict[str, Any], p: float, r: float, tau: int, alpha: float, lr: float
) -> None:
    v = SimpleNamespace(**drawn)
    shape, share = DECAYS[decay]
    steps = v.w + v.stable + v.d + 20
    t = np.arange(steps)
    after = np.maximum(t - v.w, 0)
    g = share(p, r)(np.clip((after - v.stable) / v.d, 0, 1))
    rise = v.initial + (1 - v.initial) * t / v.w

    template = f"{RISE}.then(hold({{stable}}), {shape}, to={{low}}))"
    expected = lr * np.where(t < v.w, rise, v.low + (1 - v.low) * g)
    agree("timm", "WSDLRScheduler", expected, curve(template, steps, lr, **drawn, p=p, r=r))

    level = "maximum(power_law({tau}, {alpha}), constant({low}))"
    floor = f"linear({{stable}}, start=0, to=0).then({shape}, to={{low}}))"
    template = f"{RISE}.then({level} * hold({{stable}}).then({shape})) + {floor})"
    stable = np.maximum((1 + after / tau) ** -alpha, v.low)
    expected = lr * np.where(t < v.w, rise, v.low + (stable - v.low) * g)
    agree("timm", "WSDLRScheduler", expected, curve(template, steps, lr, **drawn, p=p, r=r, tau=tau, alpha=alpha))
