"""The literal readings against their recurrences, run step by step in decimals of fifty digits."""

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest

from lehr.errors import LehrError
from lehr.schedules import compounding, cosine_product

PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")


def decimal_cosine(x: Decimal) -> Decimal:
    """The Taylor series, after the whole turns have been taken off."""
    x %= 2 * PI
    term = total = Decimal(1)
    for k in range(1, 60):
        term *= -x * x / ((2 * k - 1) * (2 * k))
        total += term
    return total


@pytest.mark.parametrize("gamma", [0.5, 0.99, 0.999, 0.99999, 1.0])
def test_compounding_is_its_recurrence(gamma: float) -> None:
    steps = 1000
    with localcontext(prec=50):
        rate, exact = Decimal(1), []
        for t in range(steps):
            rate *= Decimal(gamma) ** t
            exact.append(rate)
    values = compounding(gamma).resolve()(np.arange(steps))
    tiny = np.finfo(float).tiny
    for value, wanted in zip(values.tolist(), exact, strict=True):
        if wanted < tiny:
            assert value == 0.0
        else:
            assert value == pytest.approx(float(wanted), rel=1e-12)


def test_compounding_far_out_is_exactly_zero_without_a_warning() -> None:
    curve = compounding(0.999).resolve()
    with np.errstate(all="raise"):
        assert curve(np.array([2000, 10**4, 10**9, 10**12, 2**63 - 1])).tolist() == [0.0] * 5
        assert curve(10**12) == 0.0
    assert curve(1000) > 0.0
    assert compounding(1).resolve()(2**63 - 1) == 1.0


def test_compounding_stretched_by_two_is_read_at_half_the_step() -> None:
    assert compounding(0.9).stretch(2).resolve()(np.arange(0, 40, 2)) == pytest.approx(
        compounding(0.9).resolve()(np.arange(20)), rel=1e-12
    )


@pytest.mark.parametrize(("gamma", "period"), [(0.01, 1000), (-0.5, 20), (0.5, 7), (0.9, 50), (-0.99, 3), (0.3, 1)])
def test_cosine_product_is_its_recurrence(gamma: float, period: int) -> None:
    steps = 3 * period + 10
    with localcontext(prec=50):
        rate, exact = Decimal(1), [1.0]
        for t in range(1, steps):
            rate *= 1 + Decimal(gamma) * decimal_cosine(PI * t / period)
            exact.append(float(rate))
    curve = cosine_product(gamma, period).resolve()
    assert curve(np.arange(steps)) == pytest.approx(exact, rel=1e-12)
    assert max(exact) <= curve.bound


def test_a_long_cosine_product_is_its_recurrence_summed_exactly() -> None:
    logs = [math.log1p(1e-4 * math.cos(math.pi * j / 10**5)) for j in range(1, 150_001)]
    curve = cosine_product(1e-4, 10**5).resolve()
    for t in (1, 7, 25_000, 50_000, 99_999, 150_000):
        assert curve(t) == pytest.approx(math.exp(math.fsum(logs[:t])), rel=1e-12)


def test_cosine_product_loses_the_same_factor_in_every_cycle() -> None:
    curve = cosine_product(0.5, 10).resolve()
    assert curve(20) < 1.0
    for cycle in (1, 2, 5, 50):
        assert curve(20 * cycle) == pytest.approx(curve(20) ** cycle, rel=1e-12)
        assert curve(20 * cycle + 7) == pytest.approx(curve(7) * curve(20) ** cycle, rel=1e-12)
    with np.errstate(all="raise"):
        assert curve(2**63 - 1) == 0.0


def test_cosine_product_takes_the_whole_run_as_its_period_by_default() -> None:
    steps = np.arange(300)
    assert np.array_equal(cosine_product(0.1).resolve(steps=120)(steps), cosine_product(0.1, 120).resolve()(steps))


def test_a_cosine_product_that_leaves_the_floats_is_refused_before_the_run() -> None:
    with pytest.raises(LehrError, match=r"grows to e\^\d+, beyond any float; take a smaller gamma or a shorter period"):
        cosine_product(0.5, 10_000).resolve()
    with pytest.raises(LehrError, match="must be at most 10000000 steps, got 10000001"):
        cosine_product(1e-9, 10_000_001).resolve()
    assert np.isfinite(cosine_product(0.99, 2500).resolve()(np.arange(5000))).all()  # near to it, but within
