"""The warm-up after a rollback: the factor of its n updates is multiplied by (i + 1)/n, wherever it is asked for."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

import lehr
from lehr.controller import Controller
from lehr.errors import LehrError
from lehr.lengths import Horizon

TROUBLE = lehr.metric("trouble", best="max")
BACK = lehr.when(TROUBLE.reaches(1)).rollback(0.5, rewarm=4)


def run_of(*rules: lehr.Rule, schedule: str = "linear()", steps: int = 100, **how: Any) -> Controller:
    """A running policy whose rollbacks are carried out by nobody."""
    return Controller(
        lehr.Policy(lehr.parse(schedule), rules=rules, **how),
        {"lr": (0.1, 0.2)},
        Horizon(steps=steps),
        evaluate={},
        groups=[{"name": ""}, {"name": ""}],
        carry_out=lambda action, event: "",
    )


def told(run: Controller, until: int, at: int = 9) -> list[list[float]]:
    """The LRs of the updates up to `until`; trouble is reported with update `at`."""
    lrs = []
    while run.t < until:
        lrs.append(run.lrs)
        run.step(trouble=float(run.t == at))
    return lrs


@pytest.mark.parametrize("length", [1, 4, "10%", 1000])
def test_the_lr_rises_linearly_from_the_update_after_the_rollback(length: Any) -> None:
    run = run_of(lehr.when(TROUBLE.reaches(1)).rollback(0.5, rewarm=length))
    lrs = told(run, 100)
    n = 10 if length == "10%" else length
    for t, (first, second) in enumerate(lrs):
        share = 1.0 if t < 10 else 0.5 * min((t - 10 + 1) / n, 1.0)
        assert first == pytest.approx(0.1 * (1 - t / 100) * share, rel=1e-12)
        assert second == pytest.approx(0.2 * (1 - t / 100) * share, rel=1e-12)
    (event,) = run.events
    assert event.words.endswith(f"warms up again over {n} steps")
    assert event.lr_after == tuple(lrs[10])


def test_table_curve_and_state_say_the_same_to_the_bit() -> None:
    run = run_of(BACK)
    told(run, 11)
    (track,) = run._tracks
    steps = np.arange(11, 60)
    lrs = told(run, 60)
    assert [lr for lr, _ in lrs] == list(track.plan.bases[0] * track.plan.factors(track.state, steps)[0] * 0.5)
    assert [lr for lr, _ in lrs] == track.values(0, steps).tolist()
    assert tuple(lrs[1]) == track.plan.lrs(track.state._replace(step=12))


@pytest.mark.parametrize("cut", range(8, 18))
def test_a_run_resumed_in_it_goes_on_to_the_bit(cut: int) -> None:
    run = run_of(BACK)
    whole = told(run, 40)
    first, second = run_of(BACK), run_of(BACK)
    before = told(first, cut)
    second.load_state_dict(json.loads(json.dumps(first.state_dict(), allow_nan=False)))
    assert before + told(second, 40) == whole
    assert second.state_dict() == run.state_dict()


def test_a_state_that_was_saved_without_it_has_none() -> None:
    run = run_of(BACK)
    told(run, 11)
    state = run.state_dict()
    del state["tracks"][0]["ramp"]
    other = run_of(BACK)
    other.load_state_dict(state)
    assert other.lr == pytest.approx(0.1 * 0.89 * 0.5)


def test_a_second_rollback_begins_it_anew() -> None:
    run = run_of(lehr.when(lehr.loss.derails(nonfinite=1)).rollback(0.5, rewarm=4), schedule="constant()")
    lrs = []
    for t in range(20):
        lrs.append(run.lr)
        run.step(loss=math.nan if t in (9, 11) else 1.0)
    assert lrs[9:] == [pytest.approx(0.1 * k / 16) for k in (16, 2, 4, 1, 2, 3, 4, 4, 4, 4, 4)]


def test_a_new_plan_goes_on_with_it_and_no_jump_means_none() -> None:
    run = run_of(BACK, schedule="constant()")
    told(run, 11)
    assert run.lr == pytest.approx(0.1 * 0.5 * 2 / 4)
    run.replan(lehr.Policy(lehr.constant(0.5), rules=[BACK]))
    assert run.lr == pytest.approx(0.1 * 0.5 * 2 / 4 * 0.5)
    run.replan(lehr.Policy(lehr.constant(), rules=[BACK]), no_jump=True)
    assert run.lr == pytest.approx(0.1 * 0.5 * 2 / 4 * 0.5)
    told(run, 20)
    assert run.lr == pytest.approx(0.1 * 0.5 * 0.5)


def test_a_value_written_by_hand_is_the_lr_of_the_next_update_and_rises_on() -> None:
    run = run_of(BACK, schedule="constant()")
    told(run, 11)
    run.adopt(0, 0.01)
    assert run.lr == 0.01
    told(run, 14)
    assert run.lr == pytest.approx(0.02)


def test_a_schedule_that_is_begun_in_it_begins_from_the_factor_beneath() -> None:
    rule = lehr.when(lehr.metric("go", best="max").reaches(1)).begin(lehr.constant())
    run = run_of(BACK, rule, schedule="constant()")
    told(run, 10)
    while run.t < 20:
        run.step(trouble=0, go=float(run.t >= 11))
    assert run.lr == pytest.approx(0.1 * 0.5)


def test_rules_that_sleep_in_a_warm_up_sleep_in_it_and_a_guard_does_not() -> None:
    cut = lehr.when(lehr.metric("bad", best="min").diverges()).scale(0.1)
    heeds = lehr.when(lehr.loss.derails(nonfinite=1)).scale(0.1)
    run = run_of(BACK, cut, heeds)
    told(run, 10)
    run.step(loss=1.0, bad=math.nan)
    assert len(run.events) == 1
    run.step(loss=math.nan, bad=math.nan)
    assert run.events[-1].rule == heeds.text()
    run.step(bad=1.0)
    run.step(bad=1.0)
    assert len(run.events) == 2
    run.step(bad=math.nan)
    assert (run.events[-1].rule, run.events[-1].step) == (cut.text(), 15)


def test_the_bounds_hold_in_it() -> None:
    run = run_of(BACK, schedule="constant()", min_lr=0.03)
    assert [lr for lr, _ in told(run, 16)][10:] == [0.03, 0.03, pytest.approx(0.0375), 0.05, 0.05, 0.05]


def test_why_tells_of_it_while_it_lasts() -> None:
    run = run_of(BACK, schedule="constant()")
    told(run, 12)
    assert "warming up again over 4 steps from 10" in run.why()
    told(run, 14)
    assert "warming up again over" not in run.why().split("last change")[0]


def test_it_prints_and_parses() -> None:
    rule = lehr.when(lehr.loss.sticks()).rollback(rewarm="2 epochs")
    assert repr(rule) == "when(loss.sticks()).rollback(rewarm='2 epochs')"
    policy = lehr.Policy(lehr.cosine(), rules=[rule, lehr.when(lehr.loss.sticks()).rollback()])
    assert lehr.parse(policy.text(full=True)) == policy == lehr.parse(repr(policy))


def test_a_length_that_the_run_cannot_know_is_refused_at_the_start() -> None:
    with pytest.raises(LehrError, match="steps_per_epoch"):
        run_of(lehr.when(TROUBLE.reaches(1)).rollback(rewarm="1 epoch"))
