"""The guard's triggers, on signals whose levels and times follow by hand; and its rules in a running policy.

A run of 1000 steps: a window is 30 steps, that is 15 blocks of 2; a block closes with the first value after it. A level
that jumps is the new one from the 8th of 14 blocks on, 16 steps after the jump.
"""

from __future__ import annotations

import json
import math
import random
from typing import Any

import pytest

import lehr
from lehr.controller import Controller
from lehr.errors import LehrError
from lehr.lengths import Horizon
from lehr.rules import Observation
from lehr.rules.derails import Derails, DerailsState
from lehr.rules.medians import BLOCKS
from lehr.rules.sticks import Sticks
from lehr.rules.trigger import Trigger

NAN, INF = math.nan, math.inf


def pieces(*parts: tuple[int, float]) -> list[float]:
    """A signal of constant pieces: (until step, value)."""
    values: list[float] = []
    for until, value in parts:
        values += [value] * (until - len(values))
    return values


def first(trigger: Trigger, values: list[float]) -> tuple[int, int | None, str] | None:
    """When the trigger first holds in a run of 1000 steps, since when there was trouble, and its words."""
    trigger = trigger.resolve(Horizon(steps=1000))
    state = trigger.init()
    for step, value in enumerate(values):
        state, reading = trigger.update(state, Observation(step, {"loss": value}, True))
        if reading.holds and reading.fresh:
            return step, reading.since, reading.words
    return None


def run_of(rules: Any, schedule: str = "constant()", steps: int = 1000) -> Controller:
    """A running policy whose rollbacks are carried out by nobody."""
    return Controller(
        lehr.Policy(lehr.parse(schedule), rules=rules),
        {"lr": (0.1,)},
        Horizon(steps=steps),
        evaluate={},
        groups=[{"name": ""}],
        carry_out=lambda action, event: f"asked for {action.to} since {action.since}",
    )


LOST = pieces((1, 4.0), (200, 1.0), (1000, 3.0))  # log 3 / log 4 = 79 % of the progress is given back at step 200


def test_a_loss_that_stays_lost_is_noticed_after_the_window_and_the_wait() -> None:
    found = first(lehr.loss.derails(), LOST)
    assert found is not None
    assert found[:2] == (200 + 16 + 50, 200 + 16 - 30)
    assert found[2] == "loss has given back 79.2 % of its progress (4 → 1, now 3) for 50 steps"


@pytest.mark.parametrize(
    ("arguments", "step"),
    [({"unrecovered": "2%"}, 236), ({"unrecovered": 100}, 316), ({"smooth": "1.5%"}, 258), ({"lost": 0.79}, 266)],
)
def test_every_option_moves_the_time(arguments: dict[str, Any], step: int) -> None:
    found = first(lehr.loss.derails(**arguments), LOST)
    assert found is not None
    assert found[0] == step


def test_a_share_just_above_what_was_lost_never_fires() -> None:
    assert first(lehr.loss.derails(lost=0.8), LOST) is None


@pytest.mark.parametrize(
    "values",
    [
        pieces((1, 4.0), (200, 1.0), (245, 3.0), (1000, 1.0)),
        pieces((1, 4.0), (200, 1.0), (210, 1e9), (1000, 1.0)),
        pieces((1, 4.0), *[(k, 1.0 if k % 40 else 1e6) for k in range(2, 1001)]),
        pieces((1, 4.0), (200, 1.0), (1000, 1.9)),  # 46 % lost for good
        [4.0 * 0.99**k + 0.5 for k in range(1000)],
        [1.0 + 0.001 * k for k in range(1000)],  # rises slowly, but there was no progress to lose
    ],
    ids=["recovers in time", "a huge spike", "a spike in every 40 steps", "less than half", "falls", "rises"],
)
def test_it_is_slow_to_anger(values: list[float]) -> None:
    assert first(lehr.loss.derails(), values) is None


def test_what_has_begun_ends_only_when_half_of_the_bound_is_regained() -> None:
    partly = pieces((1, 4.0), (200, 1.0), (230, 3.0), (1000, 1.6))  # log 1.6 / log 4 = 34 %
    mostly = pieces((1, 4.0), (200, 1.0), (230, 3.0), (1000, 1.3))  # 19 %
    found = first(lehr.loss.derails(), partly)
    assert found is not None
    assert found[0] == 266
    assert first(lehr.loss.derails(), mostly) is None


def test_progress_that_noise_could_have_made_cannot_be_lost() -> None:
    draw = random.Random(0)
    values = [1.0 + 0.02 * draw.gauss(0, 1) for _ in range(1000)]
    assert first(lehr.loss.derails(lost=0.2), values) is None
    assert first(lehr.loss.sticks(), values) is None


@pytest.mark.parametrize("shift", [-4.0, -100.0])
def test_a_loss_that_may_be_negative_is_measured_on_its_own_scale(shift: float) -> None:
    found = first(lehr.loss.derails(), [value + shift for value in LOST])  # (3 − 1) / (4 − 1) = 67 %
    assert found is not None
    assert found[0] == 266
    assert "given back 66.7 %" in found[2]


def test_a_signal_whose_best_is_large_is_turned_round() -> None:
    trigger = Derails(lehr.Signal("loss", "max"))
    found = first(trigger, pieces((1, 0.1), (200, 0.9), (1000, 0.3)))
    assert found is not None
    assert found[0] == 266
    assert found[2] == "loss has given back 75 % of its progress (0.1 → 0.9, now 0.3) for 50 steps"


def test_one_value_that_is_not_finite_is_no_reason_but_three_in_a_row_are() -> None:
    values = [1.0] * 300
    values[100] = values[150] = values[151] = NAN
    assert first(lehr.loss.derails(), values) is None
    values[200:203] = [INF, NAN, NAN]
    found = first(lehr.loss.derails(), values)
    assert found is not None
    assert found[0] == 202
    assert found[1] == 200 - 30
    assert found[2] == "loss has been nan in 3 observations in a row"
    assert first(lehr.loss.derails(nonfinite=4), values) is None


def test_a_gathered_number_counts_all_that_were_not_finite() -> None:
    trigger = lehr.loss.derails().resolve(Horizon(steps=1000))
    _, reading = trigger.update(trigger.init(), Observation(99, {"loss": NAN}, True, {"loss": 100}))
    assert reading.holds
    assert reading.words == "loss has been nan in 100 observations in a row"
    _, reading = trigger.update(trigger.init(), Observation(99, {"loss": 1.0}, True, {"loss": 60}))
    assert not reading.holds


def test_a_run_that_has_risen_and_stays_up_is_stuck() -> None:
    found = first(lehr.loss.sticks(), pieces((1, 2.0), (20, 10.0), (1000, 2.0)))
    assert found is not None
    assert found[0] == 10 + 40  # five blocks make a level; it then stays bad for 4 %
    assert found[2] == "loss has been no better than it began (2, now 2) for 40 steps, having been worse"


def test_a_run_that_has_lost_all_it_had_learnt_is_stuck() -> None:
    found = first(lehr.loss.sticks(), pieces((1, 2.0), (100, 1.0), (1000, 2.0)))
    assert found is not None
    assert found[0] == 100 + 16 + 40
    assert found[2].endswith("for 40 steps, all progress lost")


@pytest.mark.parametrize(
    "values",
    [
        pieces((1000, 2.0)),  # learns nothing: it would need a higher LR
        [2.0 - 0.0001 * k for k in range(1000)],
        pieces((1, 2.0), (20, 10.0), (1000, 1.6)),  # rises, then learns
        pieces((1, 2.0), (100, 1.0), (1000, 1.6)),  # loses much, but not all
    ],
    ids=["still", "slow", "catapult", "half"],
)
def test_a_run_that_is_slow_or_learns_does_not_stick(values: list[float]) -> None:
    assert first(lehr.loss.sticks(), values) is None


@pytest.mark.parametrize("trigger", [lehr.loss.derails(), lehr.loss.sticks()])
@pytest.mark.parametrize("steps", [100_000, 200])
def test_memory_is_bounded_however_long_the_run(trigger: Trigger, steps: int) -> None:
    trigger, draw = trigger.resolve(Horizon(steps=steps)), random.Random(1)
    state = trigger.init()
    for step in range(min(steps, 20_000)):
        state, _ = trigger.update(state, Observation(step, {"loss": draw.random()}, True))
    assert 5 <= len(state.level.means) == len(state.level.begins) <= BLOCKS


def test_a_signal_that_is_seldom_reported_keeps_five_values_for_a_level() -> None:
    trigger = lehr.loss.derails(unrecovered="10%").resolve(Horizon(steps=1000))
    state, held = trigger.init(), []
    values = [4.0, *[1.0] * 7, *[3.0] * 12]  # every 50 steps; the level is 3 when 3 of 5 closed blocks are
    for i, value in enumerate(values):
        state, reading = trigger.update(state, Observation(50 * i, {"loss": value}, True))
        held += [50 * i] if reading.holds else []
    assert held[0] == 50 * (8 + 3) + 100


@pytest.mark.parametrize(
    "text",
    [
        "loss.derails()",
        "loss.derails(0.7, unrecovered='10%', smooth=100, nonfinite=5)",
        "metric('val', best='max').derails(unrecovered='2 epochs')",
        "loss.sticks()",
        "loss.smoothed(5).sticks('10%', smooth='1%')",
    ],
)
def test_triggers_print_as_the_calls_that_make_them(text: str) -> None:
    trigger = lehr.parse(text)
    assert repr(trigger) == text
    assert lehr.parse(trigger.text(full=True)) == trigger


def test_the_recipe_is_two_rules_that_print_and_parse() -> None:
    rules = lehr.guard(lehr.metric("val", best="min"), scale=0.3, stuck_scale=0.1, retries=2, lost=0.6, stuck="7%")
    assert [repr(rule) for rule in rules] == [
        "when(metric('val', best='min').sticks('7%')).rollback(0.1, to='start', rewarm='5%').at_most(2)",
        "when(metric('val', best='min').derails(0.6)).rollback(0.3).at_most(2)",
    ]
    policy = lehr.Policy(lehr.cosine(), rules=lehr.guard())
    assert lehr.parse("Policy(cosine(), rules=guard())") == policy == lehr.parse(policy.text(full=True))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: lehr.loss.derails(lost=0), "between 0 and 1"),
        (lambda: lehr.loss.derails(unrecovered=0), "positive length"),
        (lambda: lehr.loss.derails(nonfinite=0), "at least 1"),
        (lambda: lehr.loss.derails(smooth="5 observations"), "cannot be counted in observations"),
        (lambda: lehr.loss.sticks("0%"), "positive length"),
        (lambda: lehr.guard(scale=2), "at most 1"),
        (lambda: lehr.guard(0.5), "needs a signal"),  # type: ignore[arg-type]  # on purpose
        (lambda: lehr.when(lehr.always()).rollback(to="best"), "exactly one"),
        (lambda: lehr.when(lehr.always()).rollback(to="newest"), "'older', 'best' or 'start'"),  # type: ignore[arg-type]  # on purpose
        (lambda: lehr.when(lehr.always()).rollback(skip_data=1), "True or False"),  # type: ignore[arg-type]  # on purpose
        (lambda: lehr.when(lehr.always()).rollback(rewarm="0%"), "positive length"),
        (lambda: lehr.when(lehr.always()).rollback(rewarm="5 observations"), "cannot be counted in observations"),
        (lambda: lehr.when(lehr.always()).stop("best"), "exactly one"),
        (lambda: lehr.when(lehr.always()).stop("first"), "'last' or 'best'"),  # type: ignore[arg-type]  # on purpose
    ],
)
def test_what_cannot_be_right_is_refused_with_the_remedy(make: Any, words: str) -> None:
    with pytest.raises(LehrError, match=words):
        make()


def test_a_run_without_an_adapter_refuses_a_guard() -> None:
    with pytest.raises(LehrError, match="snapshots="):
        lehr.start(lehr.Policy(lehr.constant(), rules=lehr.guard()), lr=0.1, steps=100)


def test_it_acts_in_the_warm_up_where_other_rules_sleep() -> None:
    run = run_of([lehr.when(lehr.loss.diverges()).scale(0.1), *lehr.guard()], "warmup(500).then(hold())")
    for value in [1.0, 1.0, NAN, NAN, NAN]:
        run.step(loss=value)
    assert [(event.step, event.action) for event in run.events] == [(5, "rollback()")]
    assert run.events[0].words.endswith("asked for older since 0")


def test_joined_with_a_trigger_that_sleeps_in_the_warm_up_it_sleeps_too() -> None:
    rule = lehr.when(lehr.loss.derails() | lehr.loss.diverges()).rollback()
    run = run_of([rule], "warmup(500).then(hold())")
    for value in [1.0, NAN, NAN, NAN]:
        run.step(loss=value)
    assert not run.events
    assert lehr.when(lehr.loss.derails() & lehr.loss.sticks()).trigger.heeds_warmup
    assert (~lehr.loss.derails()).heeds_warmup


def test_a_rollback_scales_the_lr_and_leaves_the_step() -> None:
    run = run_of(lehr.guard(scale=0.3))
    for value in LOST[:300]:
        run.step(loss=value)
    (event,) = run.events
    assert (event.step, event.lr_before, event.lr_after) == (267, (0.1,), (0.03,))
    assert run.t == 300


def test_of_two_rules_that_hold_at_once_one_acts_and_the_other_begins_anew() -> None:
    rules = lehr.guard(stuck="4.8%")  # half is lost at step 114, all but 15 % at step 116; both hold at step 164
    run = run_of(rules)
    for value in pieces((1, 2.0), (100, 1.0), (164, 2.0)):
        run.step(loss=value)
    run.step(loss=2.0)
    assert [event.action for event in run.events] == ["rollback(0.25, to='start', rewarm='5%')"]
    memory = run.state_dict()["tracks"][0]["rules"][1]["memory"]["trigger"]
    assert memory["best"] is None
    assert memory["level"]["initial"] == 2.0


def test_retries_are_bounded() -> None:
    run = run_of(lehr.guard(retries=3))
    for _ in range(1000):
        run.step(loss=NAN)
    assert sum(event.times for event in run.events) == 3
    assert run.lr == 0.1 * 0.5**3


def test_after_firing_the_initial_level_alone_is_remembered() -> None:
    trigger = Derails(lehr.loss).resolve(Horizon(steps=1000))
    state: DerailsState = trigger.init()
    for step, value in enumerate(LOST[:267]):
        state, _ = trigger.update(state, Observation(step, {"loss": value}, True))
    assert state.holds
    fresh = trigger.after_firing(state)
    assert fresh == trigger.init()._replace(level=fresh.level)
    assert fresh.level == type(fresh.level)(initial=4.0)
    sticks = Sticks(lehr.loss).resolve(Horizon(steps=1000))
    assert sticks.after_rollback(sticks.init()) == sticks.init()


def test_a_run_resumed_at_any_cut_decides_as_if_it_had_not_been() -> None:
    draw = random.Random(2)
    values = pieces((1, 4.0), (25, 1.0), (45, 9.0), (52, 1.0), (55, NAN), (70, 1.5), (100, 3.9))
    values = [value * (1 + 0.05 * draw.random()) for value in values]

    def go(run: Controller, since: int, until: int) -> Controller:
        for value in values[since:until]:
            run.step(loss=value)
        return run

    def saved(run: Controller) -> Any:
        return json.loads(json.dumps(run.state_dict(), allow_nan=False))

    whole = saved(go(run_of(lehr.guard(), steps=100), 0, 100))
    assert len(whole["decisions"]) == 2
    for cut in range(100):
        run = run_of(lehr.guard(), steps=100)
        run.load_state_dict(saved(go(run_of(lehr.guard(), steps=100), 0, cut)))
        assert saved(go(run, cut, 100)) == whole, f"resumed at {cut}"
