"""Every shape against its formula, written anew, step by step and in plain Python: no array, no shared code.

What the older families hold (ends, signs, restarts) lies in the tests of their files; here every row has one oracle.
"""

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

import lehr
from lehr.schedules.catalogue import CATALOGUE

N = 60  # the length that the segments below have
Oracle = Callable[[int], float]


def fall(g: Callable[[float], float], s: float = 1.0, e: float = 0.0, n: int = N) -> Oracle:
    """s·g(x) + e·(1 − g(x)) at x = i/n, held after n steps."""

    def value(i: int) -> float:
        x = min(i, n) / n
        return s * g(x) + e * (1 - g(x))

    return value


def rise(r: Callable[[float], float], start: float = 0.0, ahead: int = 1, n: int = N) -> Oracle:
    """start·(1 − r) + r at x = (i + ahead)/n."""
    return lambda i: start + (1 - start) * r(min(i + ahead, n) / n)


def hyperbola(n: int, u: float) -> Callable[[float], float]:
    """1 + f(i) − f(0) of Kim 2024."""

    def f(i: float) -> float:
        return math.sqrt(max((n - i) / u * (2 - (n + i) / u), 0.0))

    return lambda x: 1 + f(x * n) - f(0)


def rectified(i: int, beta: float) -> float:
    """RAdam's factor, in exact fractions up to the root."""
    b = Fraction(beta)
    last = 2 / (1 - b) - 1
    rho = Fraction(0)
    u, found = 0, -1
    while found < i:
        u += 1
        rho = last - 2 * u * b**u / (1 - b**u)
        found += rho > 4
    return math.sqrt((rho - 4) * (rho - 2) * last / ((last - 4) * (last - 2) * rho))


def fractal(nodes: int) -> list[int]:
    """The permutation as it is defined: interleave it with its mirror until it is long enough."""
    order = [0]
    while len(order) < nodes:
        order = [j for p in order for j in (p, 2 * len(order) - 1 - p)]
    return order


def chebyshev_step(i: int, nodes: int, low: float, high: float) -> float:
    j = fractal(nodes)[min(i, N - 1)]
    return 1 / ((high + low) / 2 - (high - low) / 2 * math.cos((j + 0.5) * math.pi / nodes))


def hashed(i: int, seed: int) -> float:
    """The noise in [−1, 1): three rounds of a 32-bit mixer over seed and both halves of the step."""

    def mix(x: int) -> int:
        x = ((x ^ (x >> 16)) * 0x7FEB352D) % 2**32
        x = ((x ^ (x >> 15)) * 0x846CA68B) % 2**32
        return x ^ (x >> 16)

    bits = mix((i % 2**32) ^ mix((i >> 32) ^ mix(seed ^ 0x9E3779B9)))
    return (bits >> 8) / 2**23 - 1


def triangle(i: int, up: int, down: int) -> float:
    at = i % (up + down)
    return at / up if at < up else 1 - (at - up) / down


def growing(i: int, period: int, power: float, e: float) -> float:
    end = period * max(1, math.ceil(i / period))
    return e + (1 - e) * math.pow(1 - i / end, power)


def between(i: int, knots: list[tuple[float, float]], how: str) -> float:
    """Through knots whose first is at 0."""
    earlier = [k for k in knots if k[0] <= i][-1]
    later = [k for k in knots if k[0] > i][:1]
    if not later or how == "step":
        return earlier[1]
    x = (i - earlier[0]) / (later[0][0] - earlier[0])
    share = x if how == "linear" else 0.5 * (1 - math.cos(math.pi * x))
    return earlier[1] + (later[0][1] - earlier[1]) * share


def one_cycle_by_phases(i: int, n: int = 200) -> float:
    up = 0.3 * n
    if i < up:
        return 1 / 25 + (1 - 1 / 25) * 0.5 * (1 - math.cos(math.pi * i / up))
    x = min((i - up) / (n - up), 1)
    return 1 / 25e4 + (1 - 1 / 25e4) * 0.5 * (1 + math.cos(math.pi * x))


def in_rounds(i: int) -> float:
    """wsd_s(10, 20, 20, 3, "linear", to=0.1)."""
    if i < 10:
        return (i + 1) / 10
    at = (i - 10) % 40 if i < 130 else 40
    return 1.0 if at < 20 else 1 - 0.9 * (at - 20) / 20


ORACLES: dict[str, Oracle] = {
    f"chebyshev({N})": lambda i: chebyshev_step(i, 64, 0.05, 1.0),
    f"chebyshev({N}, low=0.3, high=2)": lambda i: chebyshev_step(i, 64, 0.3, 2.0),
    "compounding(0.999)": lambda i: math.prod(0.999**j for j in range(1, i + 1)),
    "constant(0.25)": lambda i: 0.25,
    f"cosine({N}, to=0.1)": fall(lambda x: 0.5 * (1 + math.cos(math.pi * x)), e=0.1),
    f"cosine({N}, power=2.5)": fall(lambda x: (0.5 * (1 + math.cos(math.pi * x))) ** 2.5),
    f"cosine({N}, k=1.7, start=2)": fall(lambda x: 0.5 * (1 + math.cos(math.pi * x**1.7)), s=2),
    f"cosine({N}, cycles=3)": fall(lambda x: 0.5 * (1 + math.cos(6 * math.pi * x))),
    "cosine_product(0.1, 9)": lambda i: math.prod(1 + 0.1 * math.cos(math.pi * j / 9) for j in range(1, i + 1)),
    "cyclic(7, 5, low=0.2)": lambda i: 0.2 + 0.8 * triangle(i, 7, 5),
    "cyclic(8, low=0.2, mode='triangular2')": lambda i: 0.2 + 0.8 * triangle(i, 8, 8) * 0.5 ** (i // 16),
    "cyclic(8, mode='exp_range', gamma=0.99)": lambda i: triangle(i, 8, 8) * 0.99**i,
    f"demon({N}, beta=0.8, to=0.1)": fall(lambda x: (1 - x) / ((1 - 0.8) + 0.8 * (1 - x)), e=0.1),
    f"exp_cooldown({N})": fall(lambda x: (0.1**x - 0.1) / 0.9),
    f"exp_cooldown({N}, ratio=0.5)": fall(lambda x: 2 * 0.5**x - 1),
    f"exp_hyperbolic({N}, upper=90, to=0.01)": lambda i: 0.01 ** (1 - hyperbola(N, 90)(min(i, N) / N)),
    "exponential(0.9, per=7)": lambda i: 0.9 ** (i / 7),
    "exponential_warmup(40)": lambda i: 1 - math.exp(-(i + 1) / 40),
    f"geometric({N}, to=0.001)": lambda i: 0.001 ** (min(i, N) / N),
    f"geometric({N}, start=0.01, to=3)": lambda i: 0.01 * 300 ** (min(i, N) / N),
    "growing_polynomial(25, power=2, to=0.1)": lambda i: growing(i, 25, 2, 0.1),
    "hold(7)": lambda i: 1.0,
    f"hyperbolic({N}, upper=90)": fall(hyperbola(N, 90)),
    "inverse_sqrt(10)": lambda i: math.sqrt(10 / (10 + i)),
    "inverse_time(0.5, per=3)": lambda i: 1 / (1 + 0.5 * i / 3),
    f"linear({N}, to=0.3)": fall(lambda x: 1 - x, e=0.3),
    "multistep([50, 9, 9], gamma=0.3)": lambda i: 0.3 ** (2 * (i >= 9) + (i >= 50)),
    "multistep([5, 30], gamma=1.5)": lambda i: 1.5 ** ((i >= 5) + (i >= 30)),
    "noam(20, d_model=64)": lambda i: 64**-0.5 * min((i + 1) ** -0.5, (i + 1) * 20**-1.5),
    "noam(20, zero_start=True)": lambda i: 20**0.5 * min(max(i, 1) ** -0.5, i * 20**-1.5),
    "noam_hold(10, 20, exponent=0.7)": lambda i: (i + 1) / 10 if i < 10 else min(1.0, (max(i - 20, 10) / 10) ** -0.7),
    "noise(0.3, every=3, seed=9)": lambda i: 1 + 0.3 * hashed(i // 3, 9),
    f"of_position('example.cubic', {N}, to=0.5)": fall(lambda x: (1 - x) ** 3, e=0.5),
    "of_previous('example.shrink', 90)": lambda i: math.prod(1 - 0.1 / (1 + j) for j in range(1, min(i, 90) + 1)),
    "of_step('example.inverse', every=4)": lambda i: 1 / (1 + 0.01 * (i // 4)),
    "one_cycle()": one_cycle_by_phases,
    "one_cycle(20, 30, shape='linear')": lambda i: between(i, [(0, 0.04), (20, 1), (50, 0.04), (200, 4e-6)], "linear"),
    f"one_minus_sqrt({N})": fall(lambda x: 1 - math.sqrt(x)),
    "piecewise({5: 0.3, 20: 0.7})": lambda i: between(i, [(0, 1), (5, 0.3), (20, 0.7)], "step"),
    "piecewise({'5.5 steps': 0.3, 20: 0.7}, 'linear')": lambda i: between(i, [(0, 1), (5.5, 0.3), (20, 0.7)], "linear"),
    "piecewise({0: 0, '7.25 steps': 1}, 'cosine')": lambda i: between(i, [(0, 0), (7.25, 1)], "cosine"),
    f"polynomial({N}, power=3, to=0.1)": fall(lambda x: (1 - x) ** 3, e=0.1),
    f"polynomial({N}, power=1, k=2)": fall(lambda x: 1 - x**2),
    "power_law(30, exponent=0.8)": lambda i: (1 + i / 30) ** -0.8,
    f"quarter_cosine({N}, to=0.2)": fall(lambda x: math.cos(0.5 * math.pi * x), e=0.2),
    "radam_warmup(0.9)": lambda i: rectified(i, 0.9),
    "radam_warmup(0.999)": lambda i: rectified(i, 0.999),
    f"rex({N})": fall(lambda x: (1 - x) / (1 - x / 2)),
    "slanted_triangular(50, ratio=8)": lambda i: (1 + 7 * (i / 50 if i < 50 else max(1 - (i - 50) / 150, 0))) / 8,
    "step_decay(9, 0.7)": lambda i: 0.7 ** (i // 9),
    "table([1, 0.2, 0.6], every=8)": lambda i: [1, 0.2, 0.6][min(i // 8, 2)],
    "table([1, 0.2, 0.6], every='2.5 steps', between='linear')": lambda i: between(
        i, [(0, 1), (2.5, 0.2), (5, 0.6)], "linear"
    ),
    f"tanh({N}, to=0.1)": fall(lambda x: 0.5 * (1 - math.tanh(-7 * (1 - x) + 3 * x)), e=0.1),
    "tri_stage(10, 20, 40)": lambda i: 0.01 + 0.99 * (i + 1) / 10 if i < 10 else 0.01 ** (min(max(i - 30, 0), 40) / 40),
    "untuned_warmup(0.95)": rise(lambda x: x, n=40),
    "untuned_warmup(0.99)": rise(lambda x: x, n=200),
    "untuned_warmup(0.95, 'exponential')": lambda i: 1 - math.exp(-(i + 1) / 20),
    f"warmup({N})": rise(lambda x: x),
    f"warmup({N}, start=0.2, zero_start=True)": rise(lambda x: x, 0.2, ahead=0),
    f"warmup({N}, start=20, zero_start=True)": rise(lambda x: x, 20.0, ahead=0),
    f"warmup({N}, 'cosine', start=0.1)": rise(lambda x: 0.5 * (1 - math.cos(math.pi * x)), 0.1),
    f"warmup({N}, '1-sqrt')": rise(lambda x: 1 - math.sqrt(1 - x)),
    f"warmup({N}, 'quadratic')": rise(lambda x: x * x),
    f"warmup({N}, 'log')": lambda i: math.log(min(i + 1, N)) / math.log(N),
    f"warmup({N}, 'log', zero_start=True)": lambda i: math.log(min(i, N) + 1) / math.log(N + 1),
    "wsd(10, 50, '1-square')": lambda i: (i + 1) / 10 if i < 10 else 1 - (max(min(i, 200) - 150, 0) / 50) ** 2,
    "wsd(10, 50, 'example.cubic')": lambda i: (i + 1) / 10 if i < 10 else (1 - max(min(i, 200) - 150, 0) / 50) ** 3,
    "wsd_s(10, 20, 20, 3, 'linear', to=0.1)": in_rounds,
}


@pytest.mark.parametrize("text", ORACLES)
def test_it_is_its_formula(text: str) -> None:
    values = lehr.parse(text).resolve(steps=200)(np.arange(230))
    expected = np.array([ORACLES[text](i) for i in range(230)])
    assert np.abs(values - expected).max() <= 1e-13 * expected.max()


def test_every_row_of_the_catalogue_has_an_oracle() -> None:
    named = {text.split("(")[0] for text in ORACLES}
    assert named == {row.name for row in CATALOGUE}


def test_an_oracle_that_is_off_by_a_millionth_would_be_seen() -> None:
    values = lehr.parse(f"rex({N})").resolve()(np.arange(230))
    wrong = np.array([fall(lambda x: (1 - x) / (1 - x / 2.000001))(i) for i in range(230)])
    assert np.abs(values - wrong).max() > 1e-13


def test_chebyshev_visits_every_node_once_where_the_length_is_a_power_of_two() -> None:
    values = lehr.parse("chebyshev(1024)").resolve()(np.arange(1024))
    nodes = 1 / (0.525 - 0.475 * np.cos((np.arange(1024) + 0.5) * np.pi / 1024))
    assert np.sort(values) == pytest.approx(np.sort(nodes), rel=1e-12)
    far = lehr.parse("chebyshev()").resolve(steps=2**40)
    assert far(2**39) == pytest.approx(1 / (0.525 - 0.475 * math.cos(1.5 * math.pi / 2**40)), rel=1e-12)


def test_noise_is_uniform_independent_and_different_for_each_seed() -> None:
    """Kolmogorov's distance, neighbouring steps and two seeds, at a level of about one in ten thousand."""
    n = 100_000
    u = (lehr.noise(0.5).resolve()(np.arange(n)) - 1) / 0.5
    assert np.abs(np.sort(u) - np.linspace(-1, 1, n)).max() / 2 < 2.2 / math.sqrt(n)
    assert abs(np.corrcoef(u[1:], u[:-1])[0, 1]) < 4 / math.sqrt(n)
    assert abs(np.corrcoef(u[::2], u[1::2])[0, 1]) < 4 * math.sqrt(2 / n)
    other = (lehr.noise(0.5, seed=1).resolve()(np.arange(n)) - 1) / 0.5
    assert abs(np.corrcoef(u, other)[0, 1]) < 4 / math.sqrt(n)
    late = (lehr.noise(0.5).resolve()(2**40 + np.arange(n)) - 1) / 0.5
    assert abs(np.corrcoef(u, late)[0, 1]) < 4 / math.sqrt(n)
    assert np.array_equal(u, (lehr.noise(0.5).resolve()(np.arange(n)) - 1) / 0.5)
