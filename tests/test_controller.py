"""The controller: LR = base × factor × gain exactly, when things take effect, and what it says about it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lehr

loss = lehr.loss
val = lehr.metric("val_loss", best="min")
half = lehr.when(loss.reaches(0.5)).scale(0.5).every_time()


def drive(run: lehr.Controller, losses: list[float]) -> list[float]:
    """The LR that each update used."""
    used = []
    for value in losses:
        used.append(run.lr)
        run.step(loss=value)
    return used


# LR = base × factor × gain


@pytest.mark.parametrize("base", [0.1, 3e-4, 1.0, 7])
@pytest.mark.parametrize("text", ["cosine()", "warmup('7%').then(cosine(to=0.1))", "exponential(0.99)", "wsd()"])
def test_preview_is_training_bit_for_bit(text: str, base: float) -> None:
    curve = lehr.parse(text).resolve(steps=5000)
    run = lehr.start(text, lr=base, steps=5000)
    used = drive(run, [1.0] * 5000)
    assert used == (base * curve(np.arange(5000))).tolist()
    assert used == [base * curve(t) for t in range(5000)]
    assert run.done


def test_factor_and_gain_multiply_and_actions_take_effect_from_the_next_update() -> None:
    run = lehr.start(lehr.Policy(lehr.linear(), [half]), lr=0.3, steps=10)
    used = drive(run, [1, 1, 0.4, 1, 0.4, 0.4, 1, 1, 1, 1])
    gains = [1, 1, 1, 0.5, 0.5, 0.25, 0.125, 0.125, 0.125, 0.125]
    factors = [lehr.linear().resolve(steps=10)(t) for t in range(10)]
    assert used == [0.3 * factor * gain for factor, gain in zip(factors, gains, strict=True)]


def test_each_group_has_its_base() -> None:
    run = lehr.start(lehr.Policy(lehr.linear(), [half]), lr=[1.0, 0.1, 0.0], steps=4)
    run.step(loss=0.4)
    assert run.lrs == [1.0 * 0.75 * 0.5, 0.1 * 0.75 * 0.5, 0.0]
    assert (run.lr, run.base_lrs) == (run.lrs[0], [1.0, 0.1, 0.0])


def test_to_lr_is_absolute_in_every_group() -> None:
    run = lehr.start(lehr.linear(to_lr=0.01), lr=[1.0, 0.1], steps=10)
    for _ in range(10):
        run.step()
    assert run.lrs == pytest.approx([0.01, 0.01], rel=1e-15)


def test_t_lr_and_last_lr_around_a_step() -> None:
    run = lehr.start(lehr.linear(), lr=1.0, steps=4)
    assert (run.t, run.lr, run.last_lr, run.done) == (0, 1.0, [1.0], False)
    run.step()
    assert (run.t, run.lr, run.last_lr, run.done) == (1, 0.75, [1.0], False)
    run.step(applied=False, loss=9.0)
    assert (run.t, run.lr, run.last_lr) == (1, 0.75, [1.0])
    for _ in range(3):
        run.step()
    assert (run.t, run.lr, run.last_lr, run.done) == (4, 0.0, [0.25], True)
    run.step()  # beyond the end: total, no error
    assert (run.t, run.lr, run.done) == (5, 0.0, True)


def test_lists_that_are_handed_out_are_not_the_run_s_own() -> None:
    run = lehr.start("linear()", lr=[1.0, 2.0], steps=4)
    for handed in (run.lrs, run.last_lr, run.base_lrs):
        handed[0] = 99.0
    assert (run.lrs, run.last_lr, run.base_lrs) == ([1.0, 2.0], [1.0, 2.0], [1.0, 2.0])


def test_observe_never_advances_and_acts_on_the_next_update() -> None:
    run = lehr.start(lehr.Policy(lehr.constant(), [lehr.when(val.reaches(0.5)).scale(0.5)]), lr=1.0, steps=10)
    run.step()
    run.observe(val_loss=0.4)
    assert (run.t, run.lr) == (1, 0.5)
    assert run.events[0].step == 1


def test_making_things_has_no_effect() -> None:
    policy = lehr.Policy(lehr.linear(), [half])
    one, two = (lehr.start(policy, lr=1.0, steps=4) for _ in range(2))
    one.step(loss=0.1)
    assert (one.t, two.t, two.lr, len(two.events)) == (1, 0, 1.0, 0)


# Warm-up and bounds


def test_rules_sleep_in_the_leading_warm_up_only() -> None:
    policy = lehr.Policy(lehr.warmup(4).then(lehr.constant()), [half])
    run = lehr.start(policy, lr=1.0, steps=8)
    assert drive(run, [0.1] * 8) == [0.25, 0.5, 0.75, 1.0, 1.0, 0.5, 0.25, 0.125]


def test_a_warm_up_that_does_not_lead_lets_rules_act() -> None:
    policy = lehr.Policy(lehr.hold(2).then(lehr.linear(2, to=0.5)), [half])
    run = lehr.start(policy, lr=1.0, steps=8)
    assert drive(run, [0.1] * 3) == [1.0, 0.5, 0.25]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.3, None, [[0.25, 0.025], [0.5, 0.05], [1.0, 0.3], [0.5, 0.3], [0.3, 0.3]]),
        (None, 0.6, [[0.25, 0.025], [0.5, 0.05], [0.6, 0.1], [0.5, 0.05], [0.0, 0.0]]),
        ([0.1, 0.07], [0.9, 0.08], [[0.25, 0.025], [0.5, 0.05], [0.9, 0.08], [0.5, 0.07], [0.1, 0.07]]),
    ],
)
def test_bounds_hold_outside_the_warm_up(low: Any, high: Any, expected: list[list[float]]) -> None:
    schedule = lehr.warmup(4).then(lehr.linear(4))  # 1/4 2/4 3/4 1 | 1 3/4 2/4 1/4 0
    run = lehr.start(lehr.Policy(schedule, min_lr=low, max_lr=high), lr=[1.0, 0.1])
    seen = []
    for _ in range(9):
        seen.append(run.lrs)
        run.step()
    assert [seen[t] for t in (0, 1, 4, 6, 8)] == [pytest.approx(row, rel=1e-15) for row in expected]


def test_a_rule_reads_the_bounded_lr() -> None:
    policy = lehr.Policy(lehr.constant(), [lehr.when(lehr.always()).scale(0.5)], min_lr=0.3)
    run = lehr.start(policy, lr=1.0, steps=4)
    assert drive(run, [1.0] * 4) == [1.0, 0.5, 0.3, 0.3]
    assert run.events[0].lr_after == (0.3,)


# begin, stop, done, finish


def begun(
    schedule: lehr.Schedule, steps: int = 20, at: int = 5, lr: float = 1.0
) -> tuple[list[float], lehr.Controller]:
    """LRs of a linear fall over the run in which `schedule` begins after update `at - 1`."""
    policy = lehr.Policy(lehr.linear(), [lehr.when(loss.reaches(0.5)).begin(schedule)])
    run, used = lehr.start(policy, lr=lr, steps=steps), []
    while not run.done:
        used.append(run.lr)
        run.step(loss=0.4 if run.t == at - 1 else 1.0)
    return used, run


def test_begin_a_filling_schedule_takes_what_is_left() -> None:
    used, run = begun(lehr.linear(to=0.0))
    start = 1 - 5 / 20
    assert used == pytest.approx([1 - t / 20 for t in range(5)] + [start * (1 - i / 15) for i in range(15)], rel=1e-14)
    assert (len(used), run.lr) == (20, 0.0)


def test_begin_a_fixed_schedule_ends_the_run() -> None:
    used, run = begun(lehr.linear(4))
    assert used[5:] == pytest.approx([0.75 * (1 - i / 4) for i in range(4)], rel=1e-14)
    assert (run.t, run.done, run.finish()) == (9, True, "finished at 45 % of the schedule (9 of 20 steps)")


def test_begin_a_share_of_the_run() -> None:
    used, _ = begun(lehr.linear("20%"))
    assert len(used) == 9


def test_begin_a_schedule_that_is_too_long_shrinks_it_and_says_so() -> None:
    used, run = begun(lehr.linear(1000))
    assert used[5:] == pytest.approx([0.75 * (1 - i / 15) for i in range(15)], rel=1e-14)
    assert run.events[0].words.endswith("linear(1000) needs 1000 steps and was shrunk to the 15 left")


def test_begin_an_endless_schedule_runs_to_the_horizon() -> None:
    used, _ = begun(lehr.exponential(0.5))
    assert used[5:] == pytest.approx([0.75 * 0.5**i for i in range(15)], rel=1e-14)


def test_begin_keeps_the_gain_and_begins_at_the_present_factor() -> None:
    rules = [half, lehr.when(loss.reaches(0.2)).begin(lehr.hold(2).then(lehr.linear(2)))]
    run = lehr.start(lehr.Policy(lehr.linear(), rules), lr=1.0, steps=10)
    used = drive(run, [1.0, 0.4, 0.1, 1.0, 1.0, 1.0])
    assert used == pytest.approx([1.0, 0.9, 0.8 / 2, 0.7 / 4, 0.7 / 4, 0.7 / 4])
    assert run.lr == pytest.approx(0.7 / 8, rel=1e-14)


def test_begin_twice_when_asked_to() -> None:
    rule = lehr.when(loss.reaches(0.5)).begin(lehr.linear(to=0.5)).every_time().at_most(2)
    run = lehr.start(lehr.Policy(lehr.constant(), [rule]), lr=1.0, steps=12)
    used = drive(run, [1, 0.4, 1, 1, 1, 1, 0.4, 1, 1, 0.4, 1, 1])
    first = [1 - 0.5 * i / 10 for i in range(10)]  # from step 2 over the 10 left
    second = [first[5] + (0.5 - first[5]) * i / 5 for i in range(5)]  # from step 7 over the 5 left
    assert used == pytest.approx([1.0, 1.0, *first[:5], *second], rel=1e-14)


def test_stop() -> None:
    policy = lehr.Policy(lehr.constant(), [lehr.when(loss.diverges()).stop()])
    run = lehr.start(policy, lr=1.0, steps=10)
    run.step(loss=1.0)
    assert not run.done
    run.step(loss=math.nan)
    assert (run.done, run.t, str(run.events[0])) == (True, 2, "step 2: loss is nan → stop()")


def test_finish_says_how_much_was_seen_once() -> None:
    run = lehr.start("cosine()", lr=1.0, steps=50)
    for _ in range(21):
        run.step()
    assert run.finish() == "finished at 42 % of the schedule (21 of 50 steps)"
    assert run.finish() == run.events[0].words
    assert [event.kind for event in run.events] == ["finish"]
    whole = lehr.start("linear(3)", lr=1.0)
    for _ in range(3):
        whole.step()
    assert (whole.done, whole.finish()) == (True, "finished the schedule of 3 steps")
    endless = lehr.start("constant()", lr=1.0)
    endless.step()
    assert (endless.done, endless.finish()) == (False, "finished after 1 steps")


# Reports


def test_an_equal_report_again_is_a_no_op() -> None:
    rule = lehr.when(val.plateaus(2)).scale(0.5)
    run = lehr.start(lehr.Policy(lehr.constant(), [rule]), lr=1.0, steps=100)
    for _ in range(3):
        run.step()
        for _ in range(5):
            run.observe(val_loss=1.0)
    assert (run.lr, len(run.events)) == (1.0, 0)
    for first, again in ((math.nan, math.nan), (math.nan, math.inf), (0.0, -0.0)):  # what is not finite is equal
        run.step()
        run.observe(other=first)
        run.observe(other=again)


def test_another_report_for_the_same_step_warns_once_and_the_first_is_kept() -> None:
    run = lehr.start(lehr.Policy(lehr.constant(), [lehr.when(val.reaches(0.5)).scale(0.5)]), lr=1.0, steps=100)
    run.observe(val_loss=1.0)
    with pytest.warns(lehr.LehrWarning, match="val_loss was reported twice at step 0"):
        run.observe(val_loss=0.1)
    run.observe(val_loss=0.2)
    run.step(val_loss=0.3)  # update 0: the same step
    assert (run.lr, [event.kind for event in run.events]) == (1.0, ["warning"])
    run.step(val_loss=0.3)
    assert run.lr == 0.5


def test_zero_is_not_nan() -> None:
    run = lehr.start(lehr.Policy(lehr.constant(), [half]), lr=1.0, steps=10)
    run.observe(loss=math.nan)
    with pytest.warns(lehr.LehrWarning, match="twice"):
        run.observe(loss=0.0)


def test_strict_raises() -> None:
    run = lehr.start(lehr.Policy(lehr.constant(), [half]), lr=1.0, steps=100, strict=True)
    run.observe(loss=1.0)
    run.observe(loss=1.0)
    with pytest.raises(lehr.LehrError, match="twice"):
        run.observe(loss=2.0)


@pytest.mark.parametrize("bad", ["high", None, [1.0], np.zeros(2), np.zeros((2, 2)), object()])
def test_a_report_that_is_no_number(bad: Any) -> None:
    run = lehr.start(lehr.Policy(lehr.constant(), [half]), lr=1.0, steps=100)
    with pytest.raises(lehr.LehrError, match="loss must be"):
        run.step(loss=bad)
    lehr.start(lehr.constant(), lr=1.0, steps=100).step(loss=bad)  # nothing reads it


@pytest.mark.parametrize("good", [1, True, np.float32(1), np.float64(1), np.ones(1), np.ones(()), np.int64(1)])
def test_numbers_of_many_kinds(good: Any) -> None:
    run = lehr.start(lehr.Policy(lehr.constant(), [lehr.when(loss.reaches(1)).scale(0.5)]), lr=1.0, steps=9)
    run.step(loss=good)
    assert run.lr == 0.5


def test_a_report_that_nothing_reads_is_not_read() -> None:
    class Unreadable:
        def __float__(self) -> float:
            raise AssertionError("read")

    run = lehr.start("cosine()", lr=1.0, steps=10)
    run.step(loss=Unreadable())  # type: ignore[arg-type]
    run.observe(val_loss=Unreadable())  # type: ignore[arg-type]
    assert run.t == 1


UNHEARD: list[tuple[str, lehr.Signal, dict[str, Any], int]] = [
    ("loss: 100 steps", loss, {"steps": 10_000}, 100),
    ("loss: 100 after warm-up", loss, {"steps": 10_000, "warm": 30}, 130),
    ("metric: 5 %", val, {"steps": 10_000}, 500),
    ("metric: 2 epochs", val, {"steps": 10_000, "steps_per_epoch": 150}, 300),
]


@pytest.mark.parametrize(("signal", "facts", "at"), [row[1:] for row in UNHEARD], ids=[row[0] for row in UNHEARD])
def test_a_signal_that_is_not_heard_warns_once(signal: lehr.Signal, facts: dict[str, Any], at: int) -> None:
    warm = facts.pop("warm", 0)
    schedule = lehr.warmup(warm).then(lehr.constant()) if warm else lehr.constant()
    policy = lehr.Policy(schedule, [lehr.when(signal.reaches(0.1)).scale(0.5)])
    run = lehr.start(policy, lr=1.0, horizon=lehr.Horizon(**facts))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(at + 400):
            run.step(vall_loss=1.0, lr_used=1.0)
    assert len(caught) == 1
    words = str(caught[0].message)
    assert repr(signal.name) in words
    assert "vall_loss" in words  # the nearest name that was reported
    assert abs(run.events[0].step - at) <= 1


def test_a_signal_that_is_heard_does_not_warn() -> None:
    run = lehr.start(lehr.Policy(lehr.constant(), [half, lehr.when(val.reaches(0.1)).stop()]), lr=1.0, steps=2000)
    run.observe(val_loss=3.0)
    drive(run, [1.0] * 1500)
    assert len(run.events) == 0


# Evaluation


def evaluated(every: Any, steps: int = 12, **facts: Any) -> tuple[list[int], Callable[[], float]]:
    calls: list[int] = []

    def function() -> float:
        calls.append(1)
        return 0.5

    rule = lehr.when(lehr.evaluation("accuracy", every=every, best="max").reaches(0.9)).stop()
    run = lehr.start(
        lehr.Policy(lehr.constant(), [rule]),
        lr=1.0,
        horizon=lehr.Horizon(steps=steps, **facts),
        evaluate={"accuracy": function},
    )
    at = []
    for t in range(steps):
        before = len(calls)
        run.step(applied=False)
        assert len(calls) == before
        run.step()
        at += [t] * (len(calls) - before)
    return at, function


@pytest.mark.parametrize(
    ("every", "facts", "at"),
    [
        (1, {}, list(range(12))),
        (5, {}, [4, 9]),
        ("25%", {}, [2, 5, 8, 11]),
        ("1 epoch", {"steps_per_epoch": 4}, [3, 7, 11]),
        (100, {}, []),
    ],
)
def test_evaluation_is_called_after_the_right_updates(every: Any, facts: dict[str, int], at: list[int]) -> None:
    assert evaluated(every, **facts)[0] == at


def test_one_function_for_two_cadences_is_called_once_a_step() -> None:
    calls: list[float] = []
    accuracy = [lehr.evaluation("accuracy", every=k, best="max") for k in (2, 3)]
    rules = [lehr.when(signal.reaches(0.9)).scale(0.5) for signal in accuracy]

    def function() -> float:
        calls.append(run.t)
        return 0.5

    run = lehr.start(lehr.Policy(lehr.constant(), rules), lr=1.0, steps=12, evaluate={"accuracy": function})
    for _ in range(12):
        run.step()
    assert calls == [1, 2, 3, 5, 7, 8, 9, 11]


def test_the_evaluated_number_decides() -> None:
    values = iter([0.5, 0.95, 0.99])
    rule = lehr.when(lehr.evaluation("accuracy", every=2, best="max").reaches(0.9)).scale(0.5)
    run = lehr.start(lehr.Policy(lehr.constant(), [rule]), lr=1.0, steps=6, evaluate={"accuracy": lambda: next(values)})
    used = []
    for _ in range(6):
        used.append(run.lr)
        run.step(loss=1.0)
    assert used == [1.0, 1.0, 1.0, 1.0, 0.5, 0.5]
    assert run.events[0].words == "accuracy 0.95 reached 0.9"


def test_a_missing_function_is_an_error_at_the_start() -> None:
    policy = "when(evaluation('accuracy', every=10, best='max').reaches(0.9)).stop()"
    with pytest.raises(lehr.LehrError, match=r"evaluate=\{'accuracy': function\}"):
        lehr.start(policy, lr=1.0, steps=100, evaluate={"acc": lambda: 1.0})


# Groups and other hyperparameters


def test_groups_each_have_their_policy_and_events_name_all_groups() -> None:
    policy = lehr.groups(head=lehr.Policy(lehr.constant(), [half]), default=lehr.linear())
    run = lehr.start(policy, lr=[1.0, 2.0, 4.0], steps=4, names=("body", "head", ""))
    run.step(loss=0.4)
    assert run.lrs == [0.75, 1.0, 3.0]
    (event,) = run.events
    assert event.lr_before == (0.75, 2.0, 3.0)
    assert event.lr_after == (0.75, 1.0, 3.0)


def test_the_same_rule_in_two_groups_does_not_flood_the_journal() -> None:
    relax = lehr.when(lehr.always()).scale(0.9)
    policy = lehr.groups(lehr.Policy(lehr.constant(), [relax]), lehr.Policy(lehr.linear(), [relax]))
    run = lehr.start(policy, lr=[1.0, 1.0], steps=50)
    for _ in range(50):
        run.step()
    assert [event.times for event in run.events] == [50, 50]


def test_bind_governs_other_hyperparameters() -> None:
    policy = lehr.bind(lr=lehr.linear(), momentum=lehr.Policy(lehr.constant(), [half]))
    run = lehr.start(policy, lr=[1.0, 0.1], steps=4, hyper={"momentum": [0.9, 0.8]})
    run.step(loss=0.4)
    assert run.hyper == {"lr": [0.75, 0.1 * 0.75], "momentum": [0.45, 0.4]}
    with pytest.raises(lehr.LehrError, match="base momentum"):
        lehr.start(policy, lr=1.0, steps=4)


# Change of plan


def test_replan_takes_the_new_curve_at_the_present_step() -> None:
    run = lehr.start(lehr.Policy(lehr.linear(), [half]), lr=1.0, steps=10)
    drive(run, [1.0, 0.4, 1.0, 1.0])
    run.replan(lehr.Policy(lehr.cosine(), [half]), steps=20)
    assert run.lr == lehr.cosine().resolve(steps=20)(4) * 0.5
    event = run.events[-1]
    assert (event.kind, event.step, event.lr_before, event.lr_after) == ("replan", 4, ((1 - 0.4) * 0.5,), (run.lr,))
    while not run.done:
        run.step(loss=1.0)
    assert run.t == 20


def test_replan_without_a_jump() -> None:
    run = lehr.start("linear()", lr=[1.0, 0.1], steps=10)
    drive(run, [1.0] * 4)
    run.replan("constant()", no_jump=True)
    assert run.lrs == pytest.approx([0.6, 0.06], rel=1e-15)
    drive(run, [1.0] * 3)
    assert run.lrs == pytest.approx([0.6, 0.06], rel=1e-15)


def test_replan_keeps_the_memory_of_rules_in_both() -> None:
    patient = lehr.when(loss.plateaus(4)).scale(0.5)
    run = lehr.start(lehr.Policy(lehr.constant(), [patient]), lr=1.0, steps=50)
    drive(run, [1.0] * 4)  # one best, three bad
    run.replan(lehr.Policy(lehr.constant(0.5), [half, patient]))
    drive(run, [1.0, 1.0])
    assert run.lr == 0.25


def test_replan_ends_what_a_rule_has_begun_or_stopped() -> None:
    rules = [lehr.when(loss.reaches(0.5)).begin(lehr.linear(3)), lehr.when(loss.reaches(0.1)).stop()]
    run = lehr.start(lehr.Policy(lehr.constant(), rules), lr=1.0, steps=50)
    drive(run, [0.05, 1.0])
    assert run.done
    run.replan(lehr.Policy(lehr.constant(0.8), rules))
    assert (run.lr, run.done) == (0.8, False)


def test_replan_of_a_stopped_run_goes_on() -> None:
    policy = lehr.Policy(lehr.linear(), [lehr.when(loss.reaches(0.5)).stop()])
    run = lehr.start(policy, lr=1.0, steps=10)
    drive(run, [0.4])
    assert run.done
    run.replan(policy, steps=20)
    assert (run.done, run.lr) == (False, 0.95)
    drive(run, [0.4] * 19)
    assert (run.t, run.done) == (20, True)


def test_two_equal_rules_keep_two_memories_in_a_replan() -> None:
    twice = lehr.when(loss.reaches(0.5)).scale(0.5)
    run = lehr.start(lehr.Policy(lehr.constant(), [twice, twice]), lr=1.0, steps=50)
    drive(run, [0.4])
    run.replan(lehr.Policy(lehr.linear(), [twice, twice]))
    drive(run, [0.4])
    assert run.lr == (1 - 2 / 50) * 0.25


# What it says


def test_why_has_the_numbers() -> None:
    run = lehr.start(lehr.Policy(lehr.warmup(2).then(lehr.linear()), [half], min_lr=0.01), lr=0.3, steps=12)
    assert "no rule has fired" in run.why()
    drive(run, [1, 1, 1, 0.4, 1])
    why = run.why()
    for part in ("0.105", "base 0.3", "factor 0.7", "gain 0.5", "step 5 of 12", "linear()", "loss 0.4 reached 0.5"):
        assert part in why, part
    drive(run, [1.0] * 7)
    assert "bounded" in run.why()


def test_why_names_the_last_change_though_an_older_row_goes_on() -> None:
    rules = [lehr.when(lehr.always()).relax(0.01), half.at_most(1)]
    run = lehr.start(lehr.Policy(lehr.constant(), rules), lr=1.0, steps=50)
    drive(run, [1.0, 0.4, *[1.0] * 10])
    assert "at every update" in run.why().splitlines()[-1]


def test_subscribers_hear_events_and_steps_until_they_leave() -> None:
    run = lehr.start(lehr.Policy(lehr.constant(), [half]), lr=1.0, steps=50)
    events: list[lehr.Event] = []
    steps: list[Any] = []
    leave = [run.subscribe(events.append), run.subscribe(lambda *row: steps.append(row), on="steps")]
    run.step(loss=0.4)
    run.observe(val_loss=2.0)
    run.step(loss=1.0)
    assert events == list(run.events)
    assert steps == [(0, [1.0], {"loss": 0.4}), (1, [0.5], {"val_loss": 2.0}), (1, [0.5], {"loss": 1.0})]
    for stop in (*leave, *leave):  # twice is harmless
        stop()
    run.step(loss=0.1)
    assert (len(events), len(steps)) == (1, 3)
    with pytest.raises(lehr.LehrError, match="'events' or 'steps'"):
        run.subscribe(print, on="lr")  # type: ignore[arg-type]


STARTS: list[tuple[str, dict[str, Any], str]] = [
    ("both lengths", {"steps": 5, "horizon": lehr.Horizon(steps=5)}, "not both"),
    ("a negative LR", {"lr": -0.1}, "at least 0"),
    ("an LR that is NaN", {"lr": math.nan}, "finite"),
    ("an LR that is a text", {"lr": "0.1"}, "base lr"),
    ("no LR", {"lr": []}, "lr"),
    ("an LR that is None", {"lr": None}, "lr"),
    ("a flag", {"lr": True}, "base lr"),
    ("names for other groups", {"lr": [1.0, 2.0], "names": ("a",)}, "names"),
    ("hyper for other groups", {"lr": [1.0, 2.0], "hyper": {"momentum": [0.9]}}, "2 groups"),
    ("no length of the run", {"policy": "cosine()"}, "steps"),
    ("unknown mode", {"on_change": "ask"}, "on_change"),
    ("malformed text", {"policy": "cosine("}, "cosine"),
]


@pytest.mark.parametrize(("how", "says"), [row[1:] for row in STARTS], ids=[row[0] for row in STARTS])
def test_what_cannot_be_right_is_refused_at_the_start(how: dict[str, Any], says: str) -> None:
    arguments: dict[str, Any] = {"policy": "constant()", "lr": 1.0} | how
    with pytest.raises(lehr.LehrError, match=says):
        lehr.start(arguments.pop("policy"), **arguments)


@pytest.mark.parametrize(("how", "says"), [({"steps": 0}, "at least 1"), ({"steps": "10%"}, "whole"), ({}, "steps")])
def test_replan_refuses_and_leaves_the_run_as_it_was(how: dict[str, Any], says: str) -> None:
    run = lehr.start("constant()", lr=1.0)
    run.step()
    before = run.state_dict()
    with pytest.raises(lehr.LehrError, match=says):
        run.replan("cosine()", **how)
    assert run.state_dict() == before


def test_a_loop_that_restores_weights_itself_is_told_when_and_its_words_are_journaled() -> None:
    rule = lehr.when(lehr.loss.diverges()).rollback(0.5, to="start")
    with pytest.raises(lehr.LehrError, match="carry_out"):
        lehr.start(lehr.Policy(lehr.constant(), [rule]), lr=0.1, steps=10)
    told: list[tuple[str, int, float]] = []

    def restore(action: Any, event: lehr.Event) -> str:
        told.append((action.to, event.step, event.lr_after[0]))
        return "the weights of step 0 are back"

    run = lehr.start(lehr.Policy(lehr.constant(), [rule]), lr=0.1, steps=10, carry_out=restore)
    for value in (1.0, math.nan, 1.0):
        run.step(loss=value)
    assert told == [("start", 2, 0.05)]
    assert run.events[0].words.endswith("; the weights of step 0 are back")
    assert (run.lr, run.t) == (0.05, 3)


def test_a_shadow_needs_no_hands() -> None:
    rule = lehr.when(lehr.loss.diverges(), shadow=True).rollback()
    run = lehr.start(lehr.Policy(lehr.constant(), [rule]), lr=0.1, steps=10)
    run.step(loss=math.nan)
    assert (run.events[0].kind, run.lr) == ("shadow", 0.1)
