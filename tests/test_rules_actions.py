"""Actions: their formulas, and the classic traps of feedback acts."""

from __future__ import annotations

import math
from typing import Any

import pytest

import lehr
from lehr.rules.actions import Relax, Saturate, Scale

always = lehr.when(lehr.always())
LRS = [1e-12, 1e-8, 3e-4, 0.1, 1.0, 50.0]


@pytest.mark.parametrize("lr", LRS)
@pytest.mark.parametrize("eta", [0.1, 0.5, 0.999, 1.0, 2.0])
@pytest.mark.parametrize("eps", [0.0, 1e-8, 1e-3])
def test_formulas(lr: float, eta: float, eps: float) -> None:
    gain = 0.3
    assert Scale(eta).gain(gain, lr) == pytest.approx(gain * eta, rel=1e-15, abs=0.0)
    assert Saturate(eta, eps).gain(gain, lr) == pytest.approx(gain * min(1, eta * lr / (lr + eps)), rel=1e-15, abs=0.0)
    if eta <= 1:
        assert Relax(eta, eps).gain(gain, lr) == pytest.approx(gain * (1 - eta * lr / (lr + eps)), rel=1e-14, abs=1e-16)


@pytest.mark.parametrize("lr", LRS)
def test_saturate_with_a_large_eta_does_nothing(lr: float) -> None:
    eps = 1e-4
    edge = 1 + eps / lr
    assert Saturate(edge * 1.001, eps).gain(0.7, lr) == 0.7
    assert Saturate(edge * 0.999, eps).gain(0.7, lr) < 0.7


def test_near_epsilon_the_act_collapses_the_lr() -> None:
    """ε is absolute: at α = ε an η of 0.9 cuts by more than half, at α = ε/99 to less than a hundredth."""
    assert Saturate(0.9, 1e-3).gain(1.0, 1e-3) == pytest.approx(0.45, rel=1e-12)
    assert Saturate(0.9, 1e-3).gain(1.0, 1e-3 / 99) == pytest.approx(0.009, rel=1e-12)
    assert Saturate(0.9, 1e-8).gain(1.0, 0.1) == pytest.approx(0.9, rel=1e-6)  # far above ε it is a plain cut


def test_repeated_saturate_is_the_loop_written_out() -> None:
    alpha, eta, eps = 0.1, 0.6, 1e-2
    run = lehr.start(lehr.Policy(lehr.constant(), [always.saturate(eta, eps)]), lr=alpha, steps=9)
    for _ in range(9):
        assert run.lr == pytest.approx(alpha, rel=1e-12, abs=0.0)
        run.step()
        alpha = alpha * min(1, eta * alpha / (alpha + eps))
    assert 0 < alpha < 1e-9  # it collapsed


def test_an_lr_of_zero_is_left_alone() -> None:
    assert Saturate(0.5, 0.0).gain(0.7, 0.0) == 0.7
    assert Relax(0.5, 0.0).gain(0.7, 0.0) == 0.7


def test_each_group_has_its_own_alpha() -> None:
    run = lehr.start(lehr.Policy(lehr.constant(), [always.saturate(1.0, 1e-3)]), lr=[1e-3, 1.0], steps=5)
    run.step()
    assert run.lrs == pytest.approx([0.5e-3, 1 / 1.001], rel=1e-12)


REFUSED: list[tuple[str, Any, str]] = [
    ("scale by zero", lambda: always.scale(0), "positive"),
    ("scale by a negative number", lambda: always.scale(-0.5), "positive"),
    ("scale by NaN", lambda: always.scale(math.nan), "finite"),
    ("scale by a text", lambda: always.scale("0.5"), "number"),  # type: ignore[arg-type]
    ("scale by a flag", lambda: always.scale(True), "number"),
    ("saturate by zero", lambda: always.saturate(0), "positive"),
    ("a negative eps", lambda: always.saturate(0.5, -1e-8), "at least 0"),
    ("an endless eps", lambda: always.saturate(0.5, math.inf), "finite"),
    ("relax beyond one", lambda: always.relax(1.5), "negative"),
    ("relax by zero", lambda: always.relax(0.0), "positive"),
    ("begin a text", lambda: always.begin("linear(10)"), "schedule"),  # type: ignore[arg-type]
    ("begin a rule", lambda: always.begin(always), "schedule"),  # type: ignore[arg-type]
    ("two actions", lambda: always.scale(0.5).stop(), "second rule"),
]


@pytest.mark.parametrize(("make", "says"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refused(make: Any, says: str) -> None:
    with pytest.raises(lehr.LehrError, match=says):
        make()
