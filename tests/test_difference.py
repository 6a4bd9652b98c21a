"""What a change of plan would do, seen before it is done: `run.preview` and the difference of two curves."""

from __future__ import annotations

import copy
import math
import warnings
from typing import Any

import numpy as np
import pytest

import lehr
from lehr.difference import ALL, Difference, sampled


def run_to(step: int, policy: Any = "warmup(10).then(cosine())", **more: Any) -> lehr.Controller:
    run = lehr.start(policy, **{"lr": 0.1, "steps": 100, **more})
    for _ in range(step):
        run.step(loss=1.0)
    return run


def test_both_curves_are_those_that_the_run_would_take() -> None:
    run = run_to(40)
    seen = run.preview("warmup(10).then(linear())", steps=150)
    assert (seen.before_end, seen.after_end) == (100, 150)
    assert seen.steps.tolist() == list(range(40, 150))
    for t in range(40, 100):
        x = (t - 10) / 90
        assert seen.before[t - 40] == pytest.approx(0.1 * 0.5 * (1 + math.cos(math.pi * x)), abs=1e-15)
    for t in range(40, 150):
        assert seen.after[t - 40] == pytest.approx(0.1 * (1 - (t - 10) / 140), abs=1e-15)
    run.replan("warmup(10).then(linear())", steps=150)
    taken = []
    while not run.done:
        taken.append(run.lr)
        run.step()
    assert taken == seen.after.tolist()


@pytest.mark.parametrize("no_jump", [False, True])
def test_a_preview_changes_nothing_and_warns_of_nothing(no_jump: bool) -> None:
    policy = "Policy(cosine(), rules=[when(loss.plateaus(3)).scale(0.5)])"
    run = run_to(20, policy)
    heard: list[object] = []
    run.subscribe(heard.append)
    before = copy.deepcopy(run.state_dict()), [event.plain() for event in run.events], run.why()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run.preview("piecewise({0: 0})", no_jump=no_jump)
        run.preview(policy, steps=1000, no_jump=no_jump)
    assert (run.state_dict(), [event.plain() for event in run.events], run.why()) == before
    assert heard == []


def test_a_jump_that_cannot_be_avoided_is_a_note() -> None:
    seen = run_to(50).preview("piecewise({0: 0})", no_jump=True)
    assert seen.notes == ("the new schedule is at 0 at step 50: the LR had to jump there",)
    assert "the LR had to jump there" in str(seen)


def test_without_a_jump_the_curves_begin_together() -> None:
    run = run_to(50)
    seen = run.preview("warmup(10).then(linear())", no_jump=True)
    assert seen.after[0] == pytest.approx(run.lr, rel=1e-15)
    assert run.preview("warmup(10).then(linear())").after[0] != pytest.approx(run.lr, rel=1e-3)


def test_gains_and_bounds_are_in_both_curves() -> None:
    run = run_to(30, "Policy(constant(), rules=[when(loss.plateaus(3)).scale(0.5)], min_lr=0.02, max_lr=0.09)")
    gain = run.lr
    assert 0.02 <= gain < 0.09
    seen = run.preview("Policy(linear(), rules=[when(loss.plateaus(3)).scale(0.5)], min_lr=0.02)")
    assert set(seen.before.tolist()) == {gain}
    assert seen.after.min() == 0.02


def test_a_group_of_several_can_be_looked_at() -> None:
    run = run_to(10, "groups(cosine(), linear())", lr=[0.1, 1.0])
    assert run.preview("groups(cosine(), cosine())").equal
    assert not run.preview("groups(cosine(), cosine())", group=1).equal
    with pytest.raises(lehr.LehrError, match="one of the 2 groups, got 2"):
        run.preview("cosine()", group=2)


def test_a_run_without_an_end_is_compared_for_a_while() -> None:
    run = lehr.start("inverse_sqrt(100)", lr=0.1)
    seen = run.preview("power_law(100, 0.5)")
    assert seen.equal
    assert len(seen.steps) > 1000
    assert seen.words() == [f"the curves agree at all {len(seen.steps)} steps that were compared"]


def test_long_runs_are_compared_at_steps_spread_over_them() -> None:
    steps = sampled(10, 10**12)
    assert len(steps) == ALL
    assert (steps[0], steps[-1]) == (10, 10**12)
    assert sampled(5, 9).tolist() == [5, 6, 7, 8, 9]
    assert sampled(5, 5).tolist() == [5]


def test_facts_of_a_difference_by_hand() -> None:
    seen = Difference(np.arange(4), np.array([1.0, 1.0, 0.5, 0.5]), np.array([1.0, 1.0, 1.0, 0.5]), 4, 8)
    assert (seen.first, seen.largest, seen.area, seen.equal) == (2, (2, 0.5, 1.0), 3.5 / 3.0, False)
    assert str(seen).splitlines() == [
        "they first differ at step 2",
        "most at step 2: 0.5 → 1 (× 2)",
        "at step 3: 0.5 → 0.5 (× 1)",
        "area: × 1.167",
        "the run ends at step 4 → 8",
    ]
