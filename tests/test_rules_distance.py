"""`levels_off`: the distance test for stationarity, on simulated SGD and against its rule as a loop."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

import lehr
from lehr.rules.trigger import Observation

far = lehr.metric("distance", best="max")


def checkpoints(distances: list[float], slope: float, ratio: float, burn_in: int) -> int | None:
    """The first n at which the distance grew more slowly than n^slope since the last checkpoint, counted from 1."""
    last: tuple[int, float] | None = None
    k = 0
    for n, distance in enumerate(distances, start=1):
        if n < math.ceil(ratio**k):
            continue
        if last is not None and k >= burn_in:
            grown = math.log(distance / last[1]) / math.log(n / last[0])
            if grown < slope:
                return n
        last = (n, distance)
        while math.ceil(ratio**k) <= n:
            k += 1
    return None


def first(distances: list[float], **options: Any) -> int | None:
    rule = lehr.when(far.levels_off(**options)).scale(0.5)
    state = rule.init()
    for step, distance in enumerate(distances):
        state, heard = rule.update(state, Observation(step, {"distance": distance}, True))
        if heard is not None and heard.fires:
            return step + 1
    return None


def sgd(lr: float, steps: int, seed: int, curvature: float = 1.0, noise: float = 1.0) -> list[float]:
    """‖θ_n − θ_0‖² of SGD from far away on a quadratic with gradient noise, in 20 dimensions."""
    rng = np.random.default_rng(seed)
    theta = start = np.full(20, 10.0)
    gone = []
    for _ in range(steps):
        theta = theta - lr * (curvature * theta + noise * rng.standard_normal(20))
        gone.append(float(((theta - start) ** 2).sum()))
    return gone


@pytest.mark.parametrize("lr", [0.1, 0.02, 0.005])
@pytest.mark.parametrize("seed", range(4))
def test_sgd_on_a_quadratic_levels_off_after_it_has_arrived_and_not_before(lr: float, seed: int) -> None:
    """The transient (1 − lr)^n has fallen to e^−1 of the way after 1/lr steps, to e^−4 after four times that."""
    fired = first(sgd(lr, round(40 / lr), seed))
    assert fired is not None
    assert 1 / lr < fired < 10 / lr


@pytest.mark.parametrize("seed", range(4))
def test_pure_diffusion_and_a_straight_way_never_level_off(seed: int) -> None:
    rng = np.random.default_rng(seed)
    walk = np.cumsum(rng.standard_normal((600, 10_000)), axis=0)  # no optimum: the square grows as n
    assert first([float(gone) for gone in (walk**2).sum(axis=1)]) is None
    assert first([float(n * n) for n in range(1, 3000)]) is None


@pytest.mark.parametrize(("slope", "ratio", "burn_in"), [(0.6, 1.5, 5), (0.3, 1.5, 5), (0.6, 3.0, 2), (0.9, 1.2, 12)])
def test_it_is_its_rule_as_a_loop_and_each_option_has_a_say(slope: float, ratio: float, burn_in: int) -> None:
    found = []
    for seed in range(10):
        way = sgd(0.02, 1500, seed)
        found.append(first(way, slope=slope, ratio=ratio, burn_in=burn_in))
        assert found[-1] == checkpoints(way, slope, ratio, burn_in)
    plain = [checkpoints(sgd(0.02, 1500, seed), 0.6, 1.5, 5) for seed in range(10)]
    assert (found == plain) == ((slope, ratio, burn_in) == (0.6, 1.5, 5))


def test_a_burn_in_bars_early_checkpoints() -> None:
    level = [5.0] * 100
    assert first(level, burn_in=1) == 2
    assert first(level, burn_in=5) == 8  # the checkpoints are 1, 2, 3, 4, 6, 8


def test_after_firing_it_waits_until_the_distance_is_measured_anew() -> None:
    rule = lehr.when(far.levels_off()).scale(0.5)
    level, anew = [100.0 + (n % 3) for n in range(400)], [float(n) for n in range(1, 50)]
    state, fired = rule.init(), []
    for step, distance in enumerate([*level, *anew, *level]):
        state, heard = rule.update(state, Observation(step, {"distance": distance}, True))
        fired += [step] if heard is not None and heard.fires else []
    assert fired[0] == 7
    assert len(fired) == 2  # not once more in the 392 reports of the old distance
    assert fired[1] > 449


def test_reports_may_be_rare_and_a_zero_says_nothing() -> None:
    way = sgd(0.02, 2000, 0)
    rule = lehr.when(far.levels_off()).scale(0.5)
    state, fired = rule.init(), []
    for step in range(0, 2000, 10):
        state, heard = rule.update(state, Observation(step, {"distance": way[step] if step % 30 else 0.0}, True))
        fired += [step] if heard is not None and heard.fires else []
    assert fired
    assert 50 < fired[0] < 500


def test_a_resume_in_between_goes_on_the_same() -> None:
    policy, way = lehr.Policy(lehr.constant(), [lehr.when(far.levels_off()).scale(0.5)]), sgd(0.1, 120, 0)
    whole = lehr.start(policy, lr=1.0, steps=200)
    for distance in way:
        whole.step(distance=distance)
    assert whole.lr == 0.5
    for cut in range(0, 120, 11):
        run = lehr.start(policy, lr=1.0, steps=200)
        for distance in way[:cut]:
            run.step(distance=distance)
        saved = json.loads(json.dumps(run.state_dict(), allow_nan=False))
        run = lehr.start(policy, lr=1.0, steps=200)
        run.load_state_dict(saved)
        for distance in way[cut:]:
            run.step(distance=distance)
        assert [event.step for event in run.events if event.kind == "rule"] == [
            event.step for event in whole.events if event.kind == "rule"
        ]


REFUSED: list[tuple[Any, str]] = [
    (lambda: far.levels_off(slope=1.0), "between 0 and 1"),
    (lambda: far.levels_off(ratio=1.0), "above 1"),
    (lambda: far.levels_off(burn_in=0), "at least 1"),
]


@pytest.mark.parametrize(("make", "says"), REFUSED)
def test_refused(make: Any, says: str) -> None:
    with pytest.raises(lehr.LehrError, match=says):
        make()


def test_its_text_reads_back() -> None:
    text = "when(metric('distance', best='max').levels_off(ratio=2)).scale(0.25)"
    assert repr(lehr.parse(text)) == text
    assert lehr.parse(lehr.parse(text).text(full=True)) == lehr.parse(text)
