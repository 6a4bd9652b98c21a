"""The six methods in every reading, each against the naive loop that people write, written out here."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

import lehr

STEPS, BASE = 120, 0.1
LOSSES = [2.0 * math.exp(-t / 15) + 0.3 + 0.01 * math.sin(t) for t in range(STEPS)]
ACCURACY = [1 - 0.7 * math.exp(-t / 30) for t in range(STEPS)]


def used(policy: str) -> list[float]:
    """The LR that each update used; the loss and the accuracy are reported at each."""
    lrs: list[float] = []
    value = {"accuracy": lambda: ACCURACY[len(lrs) - 1]}
    run = lehr.start(policy, lr=BASE, horizon=lehr.Horizon(steps=STEPS, steps_per_epoch=10), evaluate=value)
    for t in range(STEPS):
        lrs.append(run.lr)
        if "evaluation" in policy:
            run.step(loss=LOSSES[t])
        else:
            run.step(loss=LOSSES[t], accuracy=ACCURACY[t])
    return lrs


# Open loop: α_t is the LR that update t uses, α_0 the base


def step_decay() -> list[float]:
    alpha, seen = BASE, []
    for t in range(STEPS):
        if t > 0 and t % 25 == 0:
            alpha *= 0.5
        seen.append(alpha)
    return seen


def exponential() -> list[float]:
    alpha, seen = BASE, []
    for _ in range(STEPS):
        seen.append(alpha)
        alpha *= 0.97
    return seen


def compounding() -> list[float]:
    alpha, seen = BASE, [BASE]
    for t in range(1, STEPS):
        alpha = alpha * 0.999**t
        seen.append(alpha)
    return seen


def cosine() -> list[float]:
    low = 0.1 * BASE
    return [low + (BASE - low) * 0.5 * (1 + math.cos(math.pi * t / STEPS)) for t in range(STEPS)]


def cosine_product() -> list[float]:
    alpha, seen = BASE, [BASE]
    for t in range(1, STEPS):
        alpha = alpha * (1 + 0.02 * math.cos(math.pi * t / 40))
        seen.append(alpha)
    return seen


# Feedback: the condition is read after update t, the act is on the LR of update t + 1

Act = Callable[[float], float]


def cut(alpha: float) -> float:
    return alpha * 0.5


def saturate(alpha: float) -> float:
    return alpha * min(1.0, 0.7 * alpha / (alpha + 1e-3))


def relax(alpha: float) -> float:
    return alpha * (1 - 0.05 * alpha / (alpha + 1e-3))


def loss_falls_too_slowly(act: Act, every_time: bool = False) -> list[float]:
    """Two windows of 10 side by side; forgotten after acting, unless it is the literal reading."""
    alpha, seen, before, window = BASE, [], None, []
    for t in range(STEPS):
        seen.append(alpha)
        window.append(LOSSES[t])
        if len(window) == 10:
            mean, window = sum(window) / 10, []
            slow = before is not None and (before - mean) / abs(before) < 0.2
            if slow:
                alpha = act(alpha)
            before = None if slow and not every_time else mean
    return seen


def metric_reaches(act: Act, every_time: bool = False) -> list[float]:
    alpha, seen, acted = BASE, [], False
    for t in range(STEPS):
        seen.append(alpha)
        if ACCURACY[t] >= 0.9 and (every_time or not acted):
            alpha, acted = act(alpha), True
    return seen


def evaluation_reaches(act: Act) -> list[float]:
    alpha, seen, acted = BASE, [], False
    for t in range(STEPS):
        seen.append(alpha)
        if (t + 1) % 10 == 0 and ACCURACY[t] >= 0.9 and not acted:
            alpha, acted = act(alpha), True
    return seen


def at_every_update(act: Act) -> list[float]:
    alpha, seen = BASE, []
    for _ in range(STEPS):
        seen.append(alpha)
        alpha = act(alpha)
    return seen


slow = "when(loss.improves_less_than(0.2, over=10, test='means'))"
hit = "when(metric('accuracy', best='max').reaches(0.9))"
good = "when(evaluation('accuracy', every='1 epoch', best='max').reaches(0.9))"

METHODS: list[tuple[str, str, list[float]]] = [
    ("step decay", "step_decay(every=25, gamma=0.5)", step_decay()),
    ("exponential decay, as meant", "exponential(0.97)", exponential()),
    ("exponential decay, as written", "compounding(gamma=0.999)", compounding()),
    ("cosine decay, as meant", "cosine(to=0.1)", cosine()),
    ("cosine decay, as written", "cosine_product(gamma=0.02, period=40)", cosine_product()),
    ("loss-based, scaled", f"{slow}.scale(0.5)", loss_falls_too_slowly(cut)),
    ("loss-based", f"{slow}.saturate(0.7, eps=1e-3)", loss_falls_too_slowly(saturate)),
    ("loss-based, literal", f"{slow}.saturate(0.7, eps=1e-3).every_time()", loss_falls_too_slowly(saturate, True)),
    ("metric-based, scaled", f"{hit}.scale(0.5)", metric_reaches(cut)),
    ("metric-based", f"{hit}.saturate(0.7, eps=1e-3)", metric_reaches(saturate)),
    ("metric-based, literal", f"{hit}.saturate(0.7, eps=1e-3).every_time()", metric_reaches(saturate, True)),
    ("performance-based, scaled", f"{good}.scale(0.5)", evaluation_reaches(cut)),
    ("performance-based", f"{good}.saturate(0.7, eps=1e-3)", evaluation_reaches(saturate)),
    ("as coded: saturate at every update", "when(always()).saturate(0.7, eps=1e-3)", at_every_update(saturate)),
    ("as coded: relax at every update", "when(always()).relax(eta=0.05, eps=1e-3)", at_every_update(relax)),
]


@pytest.mark.parametrize(("policy", "expected"), [row[1:] for row in METHODS], ids=[row[0] for row in METHODS])
def test_each_method_is_its_naive_loop(policy: str, expected: list[float]) -> None:
    # A product of 120 factors that are each rounded strays by at most 120 roundings; the literal recurrences by more.
    assert used(policy) == pytest.approx(expected, rel=1e-12, abs=0.0)


@pytest.mark.parametrize(("policy", "expected"), [row[1:] for row in METHODS], ids=[row[0] for row in METHODS])
def test_each_method_does_something(policy: str, expected: list[float]) -> None:
    assert len(set(expected)) > 1


def test_the_events_of_a_loss_based_run_say_why() -> None:
    rng = random.Random(0)
    run = lehr.start(
        "when(loss.improves_less_than(0.01, over='200 steps', test='means')).scale(0.5)", lr=0.1, steps=400
    )
    losses = [1.0 + rng.gauss(0, 0.01) for _ in range(200)] + [0.996 + rng.gauss(0, 0.01) for _ in range(200)]
    for value in losses:
        run.step(loss=value)
    before, after = math.fsum(losses[:200]) / 200, math.fsum(losses[200:]) / 200
    share = 100 * (before - after) / before
    words = f"loss improved {share:.3g} % over 200 steps, less than 1 % (mean {before:.4g} → {after:.4g})"
    assert [str(event) for event in run.events] == [f"step 400: {words} → scale(0.5): LR 0.1 → 0.05"]
