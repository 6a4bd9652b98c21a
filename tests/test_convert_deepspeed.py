"""DeepSpeed's published formulas as an oracle of their own, in terms of the batch iteration t."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lehr
from lehr.lengths import Horizon

LR = st.floats(1e-6, 1.0)
SHARE = st.floats(0.0, 1.0)


def curve_of(found: Any, steps: int) -> Any:
    policy = lehr.as_policy(lehr.parse(repr(found.policy)))
    assert isinstance(policy, lehr.Policy)
    horizon = found.horizon or Horizon(steps=steps)
    return found.lr * policy.resolve(horizon, lr=found.lr)(np.arange(steps))


def codes(found: Any) -> list[str]:
    return [item.code for item in found.findings]


def rise(t: int, count: int, kind: str) -> float:
    count = max(count, 2)
    if t >= count:
        return 1.0
    return math.log(t + 1) / math.log(count) if kind == "log" else t / count


@given(high=LR, low=SHARE, count=st.integers(1, 60), kind=st.sampled_from(["log", "linear"]))
def test_warmup_lr_has_deepspeeds_values(high: float, low: float, count: int, kind: str) -> None:
    params = {"warmup_min_lr": low * high, "warmup_max_lr": high, "warmup_num_steps": count, "warmup_type": kind}
    found = lehr.convert({"scheduler": {"type": "WarmupLR", "params": params}})
    expected = [low * high + (high - low * high) * rise(t, count, kind) for t in range(90)]
    assert np.abs(curve_of(found, 90) - expected).max() <= 1e-12 * high


@given(high=LR, low=SHARE, count=st.integers(1, 60), more=st.integers(0, 60), kind=st.sampled_from(["log", "linear"]))
def test_warmup_decay_lr_has_deepspeeds_values(high: float, low: float, count: int, more: int, kind: str) -> None:
    total = max(count, 2) + more
    params = {"warmup_min_lr": low * high, "warmup_max_lr": high, "warmup_num_steps": count, "warmup_type": kind}
    found = lehr.convert({"type": "WarmupDecayLR", "params": params | {"total_num_steps": total}})

    def gamma(t: int) -> float:
        if t < max(count, 2):
            return rise(t, count, kind)
        return max(0.0, (total - t) / max(1, total - max(count, 2)))

    expected = [low * high + (high - low * high) * gamma(t) for t in range(150)]
    assert np.abs(curve_of(found, 150) - expected).max() <= 1e-12 * high
    assert found.steps == total


@given(lr=LR, first=SHARE, floor=SHARE, count=st.integers(2, 60), more=st.integers(1, 60))
def test_warmup_cosine_lr_with_a_logarithm_has_deepspeeds_values(
    lr: float, first: float, floor: float, count: int, more: int
) -> None:
    total = count + more
    params = {"total_num_steps": total, "warmup_min_ratio": first, "warmup_num_steps": count, "cos_min_ratio": floor}
    found = lehr.convert(
        {"scheduler": {"type": "WarmupCosineLR", "params": params}, "optimizer": {"params": {"lr": lr}}}
    )

    def ratio(t: int) -> float:
        if t < count:
            return first + (1 - first) * rise(t, count, "log")
        return floor + (1 - floor) * (1 + math.cos(math.pi * min(1.0, (t - count + 1) / more))) / 2

    expected = [lr * ratio(t) for t in range(150)]
    assert np.abs(curve_of(found, 150) - expected).max() <= 1e-12 * lr


def test_warmup_cosine_lr_with_a_line_goes_through_its_peak_and_says_so() -> None:
    params = {"total_num_steps": 100, "warmup_num_steps": 10, "warmup_type": "linear", "cos_min_ratio": 0.1}
    found = lehr.convert({"type": "WarmupCosineLR", "params": params}, lr=1.0)
    values = curve_of(found, 101)
    assert values[10] == 1.0
    assert values[100] == 0.1
    assert values[55] == pytest.approx(0.55)
    assert codes(found)[:2] == ["C103", "C103"]


@given(
    low=st.floats(1e-3, 1.0),
    up=st.integers(1, 40),
    down=st.integers(1, 40) | st.none(),
    stairs=st.integers(0, 7),
    stairs_down=st.integers(0, 7) | st.none(),
    rate=st.sampled_from([0.0, 0.5]),
    size=st.integers(0, 9),
)
def test_one_cycle_has_deepspeeds_values(
    low: float, up: int, down: int | None, stairs: int, stairs_down: int | None, rate: float, size: int
) -> None:
    params = {"cycle_min_lr": low, "cycle_max_lr": 2.0, "cycle_first_step_size": up, "cycle_second_step_size": down}
    params |= {"cycle_first_stair_count": stairs, "cycle_second_stair_count": stairs_down, "decay_lr_rate": rate}
    found = lehr.convert({"type": "OneCycle", "params": params | {"decay_step_size": size, "cycle_momentum": False}})
    second = up if down is None else down
    steps_down = stairs if stairs_down is None else stairs_down

    def scale(t: int) -> Fraction:
        position, count = (Fraction(t, up), stairs) if t <= up else (Fraction(up + second - t, second), steps_down)
        return Fraction(math.floor(position * count), count) if count else position

    def lr(t: int) -> float:
        if t <= up + second:
            return low + (2.0 - low) * float(scale(t))
        return low / (1 + rate * (t - up - second) / size) if rate and size else low

    expected = [lr(t) for t in range(120)]
    assert np.abs(curve_of(found, 120) - expected).max() <= 2e-12
    assert found.lr == 2.0


@given(low=LR, size=st.integers(1, 30), rate=st.floats(0, 5), stairs=st.booleans())
def test_a_range_test_has_deepspeeds_values(low: float, size: int, rate: float, stairs: bool) -> None:
    params = {"lr_range_test_min_lr": low, "lr_range_test_step_size": size, "lr_range_test_step_rate": rate}
    found = lehr.convert({"type": "LRRangeTest", "params": params | {"lr_range_test_staircase": stairs}}, steps=100)
    expected = [low * (1 + rate * (t // size if stairs else t / size)) for t in range(100)]
    assert np.abs(curve_of(found, 100) - expected).max() <= 1e-12 * max(expected)


def test_an_optimizer_lr_that_never_takes_effect_is_a_warning() -> None:
    config: dict[str, Any] = {"optimizer": {"type": "AdamW", "params": {"lr": 3e-4}}}
    config["scheduler"] = {"type": "WarmupDecayLR", "params": {"total_num_steps": 100, "warmup_num_steps": 10}}
    found = lehr.convert(config)
    assert found.lr == 1e-3
    warning = next(item for item in found.findings if item.code == "C105")
    assert "0.0003" in warning.reason
    assert "warmup_max_lr=0.001" in warning.reason
    assert lehr.convert(config, lr=3e-4).lr == 3e-4


def test_warmup_lr_without_a_peak_takes_that_of_the_optimizer() -> None:
    config = {"optimizer": {"params": {"lr": 3e-4}}, "scheduler": {"type": "WarmupLR", "params": {}}}
    assert lehr.convert(config).lr == 3e-4


def test_auto_is_filled_in_by_the_caller_or_refused() -> None:
    params = {"warmup_min_lr": "auto", "warmup_max_lr": "auto", "warmup_num_steps": 10, "total_num_steps": "auto"}
    config = {"scheduler": {"type": "WarmupDecayLR", "params": params}, "optimizer": {"params": {"lr": "auto"}}}
    found = lehr.convert(config, lr=1e-3, steps=100)
    assert (found.lr, found.steps) == (1e-3, 100)
    with pytest.raises(lehr.LehrError, match='warmup_max_lr, total_num_steps of the DeepSpeed scheduler is "auto"'):
        lehr.convert(config)


def test_a_cycle_of_the_momentum_is_a_warning_with_the_policy_for_it() -> None:
    found = lehr.convert({"type": "OneCycle", "params": {"cycle_min_lr": 0.1, "cycle_max_lr": 1.0}})
    warning = next(item for item in found.findings if item.code == "C202")
    assert "linear(2000, to=0.888889).then(linear(2000, to=1))" in warning.remedy


@pytest.mark.parametrize(
    ("scheduler", "words"),
    [
        ({"type": "WarmupLR", "params": {"warmup_steps": 3}}, "has no warmup_steps"),
        ({"type": "CosineLR", "params": {}}, "one of LRRangeTest"),
        ({"type": "WarmupDecayLR", "params": {}}, "needs total_num_steps"),
        ({"type": "LRRangeTest", "params": {}}, "rises for ever"),
        ({"type": "WarmupLR", "params": {"warmup_max_lr": [0.1, 0.2]}}, "one value a parameter group"),
        ({"type": "WarmupLR", "params": {"warmup_max_lr": float("nan")}}, "must be a number"),
        ({"type": "WarmupLR", "params": {"warmup_num_steps": 0}}, "at least 1"),
        ({"type": "OneCycle", "params": {"cycle_min_lr": 0.1}}, "needs cycle_max_lr"),
    ],
)
def test_what_deepspeed_would_refuse_is_refused(scheduler: dict[str, Any], words: str) -> None:
    with pytest.raises(lehr.LehrError, match=words):
        lehr.convert({"scheduler": scheduler})
