"""`plateaus` in every flavor, against each peer's rule written out as a loop, and against the installed torch."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest

import lehr
from lehr.rules.plateaus import Plateaus, PlateausState
from lehr.rules.signals import Best
from lehr.rules.trigger import Observation, Reading, Smooth

NAN, INF = math.nan, math.inf


def firings(rule: lehr.Rule, values: list[float]) -> list[int]:
    state, fired = rule.init(), []
    for step, value in enumerate(values):
        state, words = rule.update(state, Observation(step, {"m": value}, True))
        fired += [step] if words is not None else []
    return fired


def ours(flavor: Any, values: list[float], best: Best, patience: int, margin: float) -> list[int]:
    trigger = lehr.metric("m", best=best).plateaus(patience, margin=margin, flavor=flavor)
    return firings(lehr.when(trigger).scale(0.5), values)


def torch_rule(values: list[float], best: Best, patience: int, margin: float) -> list[int]:
    """ReduceLROnPlateau(threshold_mode="rel", cooldown=0)."""
    record, bad, fired = INF if best == "min" else -INF, 0, []
    for step, value in enumerate(values):
        better = value < record * (1 - margin) if best == "min" else value > record * (1 + margin)
        record, bad = (value, 0) if better else (record, bad + 1)
        if bad > patience:
            fired.append(step)
            bad = 0
    return fired


def keras_rule(values: list[float], best: Best, patience: int, margin: float) -> list[int]:
    """keras.callbacks.ReduceLROnPlateau(min_delta=margin, cooldown=0)."""
    record, wait, fired = INF if best == "min" else -INF, 0, []
    for step, value in enumerate(values):
        if value < record - margin if best == "min" else value > record + margin:
            record, wait = value, 0
        else:
            wait += 1
            if wait >= patience:
                fired.append(step)
                wait = 0
    return fired


def optax_rule(values: list[float], best: Best, patience: int, margin: float) -> list[int]:
    """optax.contrib.reduce_on_plateau(rtol=margin, atol=0, cooldown=0)."""
    record, count, fired = INF, 0, []
    for step, value in enumerate(values):
        improved = value < (1 - margin) * record
        record, count = (value, 0) if improved else (record, count + 1)
        if count == patience:
            fired.append(step)
            count = 0
    return fired


def lehr_rule(values: list[float], best: Best, patience: int, margin: float) -> list[int]:
    """Margins work for negative values; what is not finite is passed over; the best is forgotten after firing."""
    sign, record, bad, fired = (1 if best == "min" else -1), None, 0, []
    for step, value in enumerate(values):
        if not math.isfinite(value):
            continue
        if record is None or sign * (record - value) > margin * abs(record):
            record, bad = value, 0
            continue
        bad += 1
        if bad > patience:
            fired.append(step)
            record, bad = None, 0
    return fired


RULES: dict[str, Callable[[list[float], Best, int, float], list[int]]] = {
    "torch": torch_rule,
    "keras": keras_rule,
    "optax": optax_rule,
    "lehr": lehr_rule,
}


def noisy(seed: int, odd: bool = True) -> list[float]:
    """A decaying value that may turn negative, coarse enough for ties, with values that are not finite in between."""
    rng = random.Random(seed)
    shift = rng.choice([0.0, -1.0, 5.0])
    values = [round(shift + 2 * math.exp(-i / 30) + rng.gauss(0, 0.05), 2) for i in range(150)]
    for _ in range(6 if odd else 0):
        values[rng.randrange(150)] = rng.choice([NAN, INF, -INF])
    return values


@pytest.mark.parametrize(
    ("flavor", "best"), [(f, b) for f in RULES for b in ("min", "max") if (f, b) != ("optax", "max")]
)
@pytest.mark.parametrize("patience", [1, 2, 5])
@pytest.mark.parametrize("margin", [0.0, 1e-4, 0.05])
def test_each_flavor_is_its_rule(flavor: str, best: Best, patience: int, margin: float) -> None:
    for seed in range(12):
        values = noisy(seed) if best == "min" else [-value for value in noisy(seed)]
        assert ours(flavor, values, best, patience, margin) == RULES[flavor](values, best, patience, margin), seed


def test_the_words_of_patience_differ_between_the_peers() -> None:
    """patience=5 on a flat value: torch acts at the seventh observation, keras and optax at the sixth."""
    first = {flavor: RULES[flavor]([1.0] * 8, "min", 5, 1e-4)[0] + 1 for flavor in RULES}
    assert first == {"torch": 7, "keras": 6, "optax": 6, "lehr": 7}
    assert {flavor: ours(flavor, [1.0] * 8, "min", 5, 1e-4)[0] + 1 for flavor in RULES} == first


@pytest.mark.frameworks
@pytest.mark.parametrize("best", ["min", "max"])
@pytest.mark.parametrize("patience", [0, 1, 4])
@pytest.mark.parametrize("seed", range(6))
def test_torch_flavor_is_the_installed_torch(best: Best, patience: int, seed: int) -> None:
    import torch

    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode=best, factor=0.999, patience=patience, threshold=0.01, eps=0.0
    )
    fired, values = [], noisy(seed)
    for step, value in enumerate(values):
        before = optimizer.param_groups[0]["lr"]
        theirs.step(value)
        fired += [step] if optimizer.param_groups[0]["lr"] != before else []
    assert ours("torch", values, best, patience, 0.01) == fired


@pytest.mark.frameworks
def test_optax_flavor_is_the_installed_optax() -> None:
    import jax
    import optax

    plateau = optax.contrib.reduce_on_plateau(factor=0.5, patience=3, rtol=0.01)
    advance = jax.jit(lambda state, value: plateau.update(1.0, state, value=value)[1])
    state, fired, values = plateau.init(0.0), [], noisy(1)
    for step, value in enumerate(values):
        before = float(state.scale)
        state = advance(state, value)
        fired += [step] if float(state.scale) != before else []
    assert ours("optax", values, "min", 3, 0.01) == fired


def test_torch_calls_a_fall_of_a_negative_value_by_its_wrong_name_and_lehr_does_not() -> None:
    flat = [-1.0] * 12  # in torch a flat negative value counts as an improvement for ever
    assert ours("torch", flat, "min", 3, 0.01) == []
    assert ours("lehr", flat, "min", 3, 0.01) == [4, 9]


def memory(best: float | None, bad: int, words: str = "") -> PlateausState:
    return PlateausState(Smooth(), best, bad, bool(words), words)


TRANSITIONS: list[tuple[str, PlateausState, float, PlateausState]] = [
    ("the first value is the best", memory(None, 0), 2.0, memory(2.0, 0)),
    ("better by more than the margin", memory(2.0, 1), 1.7, memory(1.7, 0)),
    ("better by less", memory(2.0, 0), 1.9, memory(2.0, 1)),
    ("one too many", memory(2.0, 1), 2.5, memory(2.0, 2, "m has not improved on 2 in 2 observations (now 2.5)")),
    ("a negative best", memory(-2.0, 1), -2.3, memory(-2.3, 0)),
]


@pytest.mark.parametrize(("state", "value", "after"), [r[1:] for r in TRANSITIONS], ids=[r[0] for r in TRANSITIONS])
def test_one_transition(state: PlateausState, value: float, after: PlateausState) -> None:
    trigger = Plateaus(lehr.metric("m", best="min"), patience=1, margin=0.1)
    assert trigger.update(state, Observation(7, {"m": value}, True)) == (after, Reading(after.holds, True, after.words))


def test_literal_plateaus_go_on_firing() -> None:
    rule = lehr.when(lehr.metric("m", best="min").plateaus(2)).scale(0.5)
    assert firings(rule, [1.0] * 9) == [3, 7]
    assert firings(rule.every_time(), [1.0] * 9) == [3, 4, 5, 6, 7, 8]
