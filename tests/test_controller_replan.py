"""Changes of plan: all or nothing, for every hyperparameter and group, and in runs that end at several places."""

from __future__ import annotations

import json
import pickle
from typing import Any

import numpy as np
import pytest

import lehr
from lehr import LehrError, Policy, bind, constant, cosine, groups, hold, linear, start

VAL = lehr.metric("v", best="min")
HALVED = lehr.when(VAL.reaches(0.5)).scale(0.5)


def driven(run: lehr.Controller, steps: int, **numbers: Any) -> lehr.Controller:
    for _ in range(steps):
        run.step(**numbers)
    return run


def test_a_run_with_an_unregistered_function_can_be_previewed_and_replanned() -> None:
    run = driven(start(Policy(cosine(), [HALVED]), lr=0.1, steps=100), 10, v=0.1)
    assert run.preview(Policy(lehr.of_step(lambda t: 0.9**t), [HALVED])).after[0] == pytest.approx(0.05 * 0.9**10)
    run.replan(Policy(lehr.of_step(lambda t: 0.9**t), [HALVED]))
    assert run.lr == pytest.approx(0.05 * 0.9**10)  # the gain and the latch of the rule stay
    driven(run, 1, v=0.1)
    assert run.lr == pytest.approx(0.05 * 0.9**11)
    run.replan("linear()")
    assert run.lr == pytest.approx(0.05 * 0.89)


def test_what_cannot_be_loaded_changes_nothing() -> None:
    saved = driven(start("cosine()", lr=0.1, steps=100), 50).state_dict()
    saved["policy"] = saved["tracks"][0]["schedule"] = "of_step('never registered')"
    run = driven(start("linear()", lr=0.1, steps=100), 10)
    before = json.dumps(run.state_dict())
    with pytest.raises(LehrError, match="never registered"):
        run.load_state_dict(saved)
    assert json.dumps(run.state_dict()) == before


@pytest.mark.parametrize(
    "schedule",
    [
        lehr.table([0.123456789 * i / 40_000 for i in range(40_000)]),
        lehr.parse("linear(50)" + ".clip(0.1)" * 90).clip(0.1).clip(0.2).clip(0.1).clip(0.1).clip(0.1).clip(0.1, 1),
    ],
    ids=["long", "deep"],
)
def test_what_can_be_saved_can_be_loaded(schedule: lehr.Schedule) -> None:
    for _ in range(30):
        schedule = schedule.clip(0, 1)
    run = driven(start(schedule, lr=0.1, steps=100), 7)
    again = start(schedule, lr=0.1, steps=100)
    again.load_state_dict(json.loads(json.dumps(run.state_dict())))
    assert again.lr == run.lr
    assert pickle.loads(pickle.dumps(schedule)) == schedule


@pytest.mark.parametrize("steps", [60, 200])
def test_a_begun_schedule_that_fills_takes_what_is_left_of_the_new_run(steps: int) -> None:
    policy = Policy(constant(), [lehr.when(VAL.reaches(0.5)).begin(linear())])
    run = driven(driven(start(policy, lr=0.1, steps=100), 40, v=1.0), 1, v=0.1)
    driven(run, 9)
    assert run.lr == pytest.approx(0.1 * (1 - 9 / 59))
    run.replan(policy, steps=steps)
    assert run.lr == pytest.approx(0.1 * (1 - 9 / (steps - 41)))
    driven(run, steps - 51)
    assert not run.done
    assert run.lr == pytest.approx(0.1 / (steps - 41))
    driven(run, 1)
    assert run.done


@pytest.mark.parametrize(
    ("begun", "value"),
    [(linear("10%"), 0.5), (linear("10%").then(hold()), 0.5), (hold().then(linear("10%")), 0.5)],
)
def test_a_begun_schedule_that_does_not_fit_is_shrunk_and_it_is_journaled(begun: lehr.Schedule, value: float) -> None:
    run = driven(start(Policy(constant(), [lehr.when(VAL.reaches(0.5)).begin(begun)]), lr=1.0, steps=100), 95, v=1.0)
    driven(run, 1, v=0.1)  # four updates are left
    assert "was shrunk to the 4 left" in run.events[-1].words
    driven(run, 2)
    assert run.lr == pytest.approx(value)
    driven(run, 2)
    assert run.lr == 0.0
    assert run.done


def test_a_group_that_cannot_join_does_not_join_by_half() -> None:
    run = driven(start(groups(cosine(), linear()), lr=[0.1, 0.2], steps=10), 3)
    before = json.dumps(run.state_dict())
    for _ in range(2):
        with pytest.raises(LehrError, match="2 policies for 3 parameter groups"):
            run.add_group({"lr": 0.5})
    assert json.dumps(run.state_dict()) == before


@pytest.mark.parametrize("key", ["momentum < 0.8", "betas == 0.9"])
def test_what_the_policy_changes_cannot_choose_its_groups(key: str) -> None:
    target = "betas[0]" if "betas" in key else "momentum"
    with pytest.raises(LehrError, match="which this policy changes in the run"):
        start(groups({key: constant(), "default": bind({target: linear(), "lr": cosine()})}), lr=0.1, steps=9)


def test_a_hyperparameter_that_is_no_longer_governed_stays_and_is_no_longer_reported() -> None:
    run = start(bind(lr=cosine(), momentum=linear(to=0.5)), lr=0.1, steps=10, hyper={"momentum": [0.8]})
    driven(run, 5)
    assert run.hyper["momentum"] == [pytest.approx(0.6)]
    notes = run.preview("cosine()").notes
    assert "momentum of group 0" in notes[0]
    run.replan("cosine()")
    assert set(run.hyper) == {"lr"}
    assert "momentum stays at 0.6" in run.events[-1].words


def test_a_preview_names_what_else_changes() -> None:
    run = start(bind(lr=cosine(), momentum=linear(to=0.5)), lr=[0.1, 0.2], steps=10, hyper={"momentum": [0.8, 0.9]})
    changed = bind(lr=groups(cosine(), linear()), momentum=constant(0.1))
    seen = run.preview(changed)
    assert seen.equal
    assert seen.notes == (
        "other curves change too: lr of group 1, momentum of group 0, momentum of group 1; "
        "see preview(..., group=..., target=...)",
    )
    assert run.preview(changed, target="momentum").after[0] == pytest.approx(0.08)
    with pytest.raises(LehrError, match="one of lr, momentum, got 'beta'"):
        run.preview(changed, target="beta")
    with pytest.raises(LehrError, match="got 'a'"):
        run.preview(changed, group="a")  # type: ignore[arg-type]
    assert "the rules change" in str(start("cosine()", lr=1.0, steps=9).preview(Policy(cosine(), [HALVED])))


@pytest.mark.parametrize(
    ("policy", "hyper", "end"),
    [
        (bind(lr=linear(100), momentum=linear(50, to=0.9)), {"momentum": [0.9, 0.9]}, 100),
        (bind(momentum=linear(50, to=0.9)), {"momentum": [0.9, 0.9]}, 50),
        (groups(linear(100), linear(50)), None, 100),
        (groups(linear(100), constant()), None, None),
    ],
)
def test_a_run_ends_when_all_its_lrs_have_ended(policy: Any, hyper: Any, end: int | None) -> None:
    run = start(policy, lr=[0.1, 0.1], hyper=hyper)
    driven(run, (end or 200) - 1)
    assert not run.done
    driven(run, 1)
    assert run.done is (end is not None)


def test_a_cool_down_of_one_of_two_groups_does_not_end_the_run() -> None:
    cooled = Policy(constant(), [lehr.when(VAL.reaches(0.5)).begin(linear(10))])
    run = driven(start(groups(cooled, cosine()), lr=[0.1, 0.1], steps=100), 30, v=0.1)
    assert run.lrs[0] == 0.0
    assert not run.done


def test_between_two_compared_steps_the_place_is_not_claimed() -> None:
    seen = start("constant()", lr=0.1, steps=10**6).preview("hold(500001).then(constant(0.5))")
    assert seen.first is not None
    assert seen.words()[0] == f"they first differ between step {seen.first - 50} and step {seen.first}"
    assert seen.first - 50 < 500_001 <= seen.first


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: start("cosine()", lr=0.1, horizon=100), "horizon= must be a Horizon, got 100"),  # type: ignore[arg-type]
        (lambda: start("cosine()", lr="0.1", steps=10), "got '0.1'"),  # type: ignore[arg-type]
        (lambda: start("bind(momentum=cosine())", lr=0.1, steps=9, hyper={"momentum": 0.9}), "one value for each"),  # type: ignore[dict-item]
    ],
)
def test_slips_at_the_front_door_are_said_in_words(make: Any, says: str) -> None:
    with pytest.raises(LehrError, match=says):
        make()


def test_numpy_numbers_and_arrays_are_numbers() -> None:
    assert start("cosine()", lr=np.array([0.1, 0.2]), steps=10).lrs == [0.1, 0.2]  # type: ignore[arg-type]
    assert lehr.table(np.array([1.0, 0.5])) == lehr.table([1, 0.5])  # type: ignore[arg-type]
    assert lehr.multistep(np.array([3, 5])) == lehr.multistep([3, 5])  # type: ignore[arg-type]
    assert Policy(cosine(), min_lr=np.array([1e-5, 1e-6])).min_lr == (1e-5, 1e-6)  # type: ignore[arg-type]
