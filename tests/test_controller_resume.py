"""Resume: at every cut bit-equal through JSON, for varied policies; and what a changed plan does on loading."""

from __future__ import annotations

import copy
import functools as ft
import json
import math
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lehr

STEPS = 36
RNG = random.Random(3)
LOSSES = [math.exp(-t / 8) + RNG.gauss(0, 0.05) for t in range(STEPS)]
LOSSES[11] = math.nan
LOSSES[20] = math.inf
VALIDATION = [round(1 + math.exp(-t / 10), 1) for t in range(STEPS)]

POLICIES = [
    "cosine()",
    "warmup('10%').then(hold()).then(one_minus_sqrt('20%', to=0.1))",
    "compounding(0.99) * cosine_product(0.05, 9)",
    "when(loss.improves_less_than(0.3, over=4, test='means')).scale(0.7)",
    "Policy(linear(), [when(loss.smoothed(5).improves_less_than(0.2, '3 observations', test='means')).relax(.1)])",
    "Policy(warmup(5).then(cosine()), rules=[when(loss.reaches(0.5, rearm=0.7)).scale(0.5)])",
    "when(metric('val_loss', best='min').plateaus(2)).scale(0.5).at_most(3).rest('4 observations').after(6)",
    "when(metric('val_loss', best='min').plateaus(1, flavor='torch') | loss.diverges()).relax(eta=0.2)",
    "when(loss.reaches(0.4) & metric('val_loss', best='min').reaches(1.5)).begin(linear('30%', to=0.1))",
    "when(loss.diverges()).begin(cosine()).at_most(2)",
    "Policy(linear(), [when(always()).relax(0.01), when(evaluation('v', every=5, best='min').reaches(1.2)).stop()])",
    "groups(head=when(loss.diverges()).scale(0.5), default=Policy(linear(), rules=[when(always()).scale(0.99)]))",
    "bind(lr=when(loss.reaches(0.6)).scale(0.5).every_time(), momentum=linear(to=0.8))",
    "Policy(constant(), rules=[when(loss.diverges()).scale(0.5), when(loss.diverges()).scale(0.5)])",
]


def started(policy: str, **more: Any) -> lehr.Controller:
    run = lehr.start(
        policy,
        lr=[0.1, 0.3],
        steps=STEPS,
        names=("body", "head"),
        hyper={"momentum": [0.9, 0.9]} if "momentum" in policy else None,
        evaluate={"v": lambda: VALIDATION[run.t]} if "evaluation" in policy else None,
        **more,
    )
    return run


def forward(run: lehr.Controller, until: int, evaluates: bool) -> list[Any]:
    """Drive the run; everything there is to see of it, step by step."""
    seen: list[Any] = []
    leave = run.subscribe(lambda event: seen.append(event))
    while run.t < until and not run.done:
        t = run.t
        seen.append((t, copy.deepcopy(run.hyper)))
        run.step(loss=LOSSES[t])
        if t % 3 == 2 and not evaluates:
            run.observe(val_loss=VALIDATION[t])
        seen.append((run.last_lr, run.lrs, run.done))
    leave()
    return seen


@pytest.mark.parametrize("policy", POLICIES)
def test_resume_at_every_cut_is_bit_equal(policy: str) -> None:
    evaluates = "evaluation" in policy
    whole = started(policy)
    undisturbed = forward(whole, STEPS, evaluates)
    end, why = json.dumps(whole.state_dict(), allow_nan=False), whole.why()
    for cut in range(STEPS + 1):
        first = started(policy)
        before = forward(first, cut, evaluates)
        text = json.dumps(first.state_dict(), allow_nan=False)
        second = started(policy)
        second.load_state_dict(json.loads(text))
        assert json.dumps(second.state_dict(), allow_nan=False) == text
        assert [str(event) for event in second.events if event.kind == "rule"] == last_of_each_rule(first)
        after = forward(second, STEPS, evaluates)
        assert repr(joined(before + after)) == repr(joined(undisturbed)), cut
        assert json.dumps(second.state_dict(), allow_nan=False) == end
        assert second.why() == why


def last_of_each_rule(run: lehr.Controller) -> list[str]:
    last = {event.rule: event for event in run.events if event.kind == "rule"}
    return [str(event) for event in run.events if any(event is kept for kept in last.values())]


def joined(seen: list[Any]) -> list[Any]:
    """What was seen without the events that only say that a row of firings goes on."""
    return [item for item in seen if not (isinstance(item, lehr.Event) and "always" in item.rule)]


@pytest.mark.parametrize("policy", POLICIES)
def test_the_policies_do_something(policy: str) -> None:
    """So that the test above is no test of constants."""
    run = started(policy)
    forward(run, STEPS, "evaluation" in policy)
    assert "when" not in policy or any(event.kind == "rule" for event in run.events)


@pytest.mark.parametrize("policy", POLICIES)
def test_state_is_plain_and_loading_is_idempotent_and_leaves_its_argument_alone(policy: str) -> None:
    run = started(policy)
    forward(run, 23, "evaluation" in policy)
    state = run.state_dict()
    assert json.loads(json.dumps(state, allow_nan=False)) == state
    kept = copy.deepcopy(state)
    other = started(policy)
    for _ in range(2):
        other.load_state_dict(state)
        assert state == kept
        assert other.state_dict() == kept
    forward(other, 30, "evaluation" in policy)
    assert state == kept
    other.load_state_dict(state)  # back again, in a run that has gone on
    assert other.state_dict() == kept
    forward(run, 30, "evaluation" in policy)
    assert kept == state  # a state is a snapshot, not a view


def test_an_lr_that_a_rule_blows_up_stays_finite_and_can_be_saved() -> None:
    run = lehr.start("when(always()).scale(1e200)", lr=0.1, steps=10)
    for _ in range(5):
        run.step()
    state = json.loads(json.dumps(run.state_dict(), allow_nan=False))
    other = lehr.start("when(always()).scale(1e200)", lr=0.1, steps=10)
    other.load_state_dict(state)
    assert other.lr == run.lr < math.inf


def counted(calls: list[int]) -> float:
    calls.append(1)
    return 0.5


def test_evaluation_is_called_once_across_a_resume() -> None:
    policy = "when(evaluation('acc', every=4, best='max').reaches(0.9)).stop()"
    for cut in range(12):
        calls: list[int] = []
        evaluate = {"acc": ft.partial(counted, calls)}
        run = lehr.start(policy, lr=1.0, steps=12, evaluate=evaluate)
        for _ in range(cut):
            run.step()
        state = json.loads(json.dumps(run.state_dict()))
        run = lehr.start(policy, lr=1.0, steps=12, evaluate=evaluate)
        run.load_state_dict(state)
        for _ in range(12 - cut):
            run.step()
        assert len(calls) == 3


def test_a_report_repeated_after_a_resume_is_a_no_op() -> None:
    policy = "when(metric('val_loss', best='min').plateaus(1)).scale(0.5)"
    run = lehr.start(policy, lr=1.0, steps=12)
    run.step()
    run.observe(val_loss=1.0)
    state = run.state_dict()
    run.load_state_dict(state)
    for _ in range(4):
        run.observe(val_loss=1.0)
    assert (run.lr, len(run.events)) == (1.0, 0)


def test_a_hand_edit_and_a_late_group_survive() -> None:
    run = lehr.start("linear()", lr=0.2, steps=10)
    run.step()
    run.adopt(0, 0.09)
    run.add_group({"lr": 1.0})
    other = lehr.start("linear()", lr=[0.2, 1.0], steps=10)
    other.load_state_dict(run.state_dict())
    assert other.lrs == run.lrs == pytest.approx([0.09, 0.9], rel=1e-15)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    cut=st.integers(0, STEPS),
    losses=st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=STEPS, max_size=STEPS),
)
def test_any_losses_at_any_cut(cut: int, losses: list[float]) -> None:
    policy = lehr.parse(
        "Policy(warmup(3).then(linear()), rules=[when(loss.smoothed(3).improves_less_than(0.1, 3)).scale(0.9),"
        "when(loss.plateaus(2) | loss.diverges()).saturate(0.8), when(loss.plateaus(3, flavor='keras')).relax(0.1)])"
    )
    one, two = (lehr.start(policy, lr=0.1, steps=STEPS) for _ in range(2))
    for t in range(STEPS):
        if t == cut:
            two = lehr.start(policy, lr=0.1, steps=STEPS)
            two.load_state_dict(json.loads(json.dumps(one.state_dict(), allow_nan=False)))
        one.step(loss=losses[t])
        if t >= cut:
            two.step(loss=losses[t])
            assert two.lr == one.lr
    assert math.isfinite(one.lr)


# on_change

SAVED = "Policy(linear(), rules=[when(loss.reaches(0.5)).scale(0.5)])"


def saved() -> dict[str, Any]:
    """At step 4 of 10, with gain 1/2: LR 0.3."""
    run = lehr.start(SAVED, lr=1.0, steps=10)
    for value in (1.0, 0.4, 1.0, 1.0):
        run.step(loss=value)
    assert run.lr == 0.6 * 0.5
    return run.state_dict()


NEW = SAVED.replace("linear()", "cosine()")
COSINE = lehr.cosine().resolve(steps=10)

CHANGES: list[tuple[str, dict[str, Any], dict[str, float]]] = [
    ("policy", {"policy": NEW}, {"keep_saved": 0.3, "use_new": COSINE(4) * 0.5, "use_new_no_jump": 0.3}),
    ("horizon", {"steps": 20}, {"keep_saved": 0.3, "use_new": 0.8 * 0.5, "use_new_no_jump": 0.3}),
    ("base", {"lr": 2.0}, {"keep_saved": 0.3, "use_new": 0.6, "use_new_no_jump": 0.3}),
    (
        "all",
        {"policy": NEW, "steps": 20, "lr": 2.0},
        {"keep_saved": 0.3, "use_new": 2 * lehr.cosine().resolve(steps=20)(4) * 0.5, "use_new_no_jump": 0.3},
    ),
]


@pytest.mark.parametrize("mode", ["keep_saved", "use_new", "use_new_no_jump"])
@pytest.mark.parametrize(("how", "lrs"), [row[1:] for row in CHANGES], ids=[row[0] for row in CHANGES])
@pytest.mark.parametrize("times", [1, 2])
def test_a_change_on_load_is_what_was_asked_for(
    mode: Any, how: dict[str, Any], lrs: dict[str, float], times: int
) -> None:
    arguments: dict[str, Any] = {"policy": SAVED, "lr": 1.0, "steps": 10} | how
    run = lehr.start(arguments.pop("policy"), **arguments, on_change=mode)
    for _ in range(times):
        run.load_state_dict(saved())
    assert run.t == 4
    assert run.lr == pytest.approx(lrs[mode], rel=1e-15)
    assert [event.kind for event in run.events] == ["rule"] + ["replan"] * (mode != "keep_saved")
    assert run.last_lr == [0.7 * 0.5]
    assert repr(run.policy) == (SAVED if mode == "keep_saved" else how.get("policy", SAVED))
    run.step(loss=0.4)  # the latch was carried over: it does not fire again
    assert len([event for event in run.events if event.kind == "rule"]) == 1


@pytest.mark.parametrize(("how", "lrs"), [row[1:] for row in CHANGES], ids=[row[0] for row in CHANGES])
def test_by_default_a_change_is_an_error_that_names_what_differs_and_the_remedies(
    how: dict[str, Any], lrs: dict[str, float]
) -> None:
    arguments: dict[str, Any] = {"policy": SAVED, "lr": 1.0, "steps": 10} | how
    run = lehr.start(arguments.pop("policy"), **arguments)
    before = run.state_dict()
    with pytest.raises(lehr.LehrError) as caught:
        run.load_state_dict(saved())
    for words in ("keep_saved", "use_new", "use_new_no_jump", "(saved)", "(now)"):
        assert words in str(caught.value)
    assert run.state_dict() == before


def test_no_jump_goes_on_along_the_new_curve() -> None:
    run = lehr.start(NEW, lr=1.0, steps=10)
    run.load_state_dict(saved(), on_change="use_new_no_jump")
    run.step(loss=1.0)
    assert run.lr == pytest.approx(0.3 * COSINE(5) / COSINE(4), rel=1e-14)


@pytest.mark.parametrize("base", [1.0, 0.3])
def test_a_base_that_equals_the_saved_base_or_the_saved_lr_is_no_change(base: float) -> None:
    run = lehr.start(SAVED, lr=base, steps=10)
    run.load_state_dict(saved())
    assert (run.lr, run.base_lrs) == (0.3, [1.0])


def test_a_default_of_today_is_written_into_the_state() -> None:
    state = lehr.start("cosine()", lr=1.0, steps=10).state_dict()
    assert "to=0" in state["policy"]
    assert "to_lr=None" in state["policy"]


def test_the_new_policy_need_not_know_what_the_saved_one_evaluated() -> None:
    old = lehr.start(
        "when(evaluation('acc', every=2, best='max').reaches(0.9)).stop()",
        lr=1.0,
        steps=10,
        evaluate={"acc": lambda: 0.5},
    )
    old.step()
    new = lehr.start("linear()", lr=1.0, steps=10, on_change="use_new")
    new.load_state_dict(old.state_dict())
    assert (new.t, new.lr) == (1, 0.9)


BROKEN: list[tuple[str, Any, str]] = [
    ("no state", {}, "lacks"),
    ("torch's", {"last_epoch": 3, "_last_lr": [0.1]}, "lacks"),
    ("not a dict", [1, 2], "lacks"),
    ("a later schema", {"schema": 99}, "later Lehr"),
    ("other groups", {"bases": {"lr": [1.0, 2.0]}}, "2 parameter groups"),
]


@pytest.mark.parametrize(("part", "says"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_what_is_no_state_of_this_run_is_refused(part: Any, says: str) -> None:
    run = lehr.start(SAVED, lr=1.0, steps=10)
    before = run.state_dict()
    whole = saved() if isinstance(part, dict) and ("schema" in part or "bases" in part) else {}
    with pytest.raises(lehr.LehrError, match=says):
        run.load_state_dict(whole | part if isinstance(part, dict) else part)
    assert run.state_dict() == before


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(lehr.LehrError, match="on_change"):
        lehr.start(SAVED, lr=1.0, steps=10).load_state_dict(saved(), on_change="ask")  # type: ignore[arg-type]


def test_every_row_of_the_catalogue_goes_on_exactly_from_every_cut(schedule: lehr.Schedule) -> None:
    run = lehr.Horizon(steps=40, steps_per_epoch=4, samples_per_step=100, tokens_per_step=2048)

    def begun() -> lehr.Controller:
        return lehr.start(schedule, lr=[0.1, 0.02], horizon=run)

    whole, lrs, states = begun(), [], []
    for _ in range(50):  # past the horizon as well
        lrs.append(whole.lrs)
        states.append(json.dumps(whole.state_dict(), allow_nan=False))
        whole.step()
    for cut, state in enumerate(states):
        resumed = begun()
        resumed.load_state_dict(json.loads(state))
        rest = []
        for _ in range(cut, 50):
            rest.append(resumed.lrs)
            resumed.step()
        assert rest == lrs[cut:]
        assert resumed.state_dict() == whole.state_dict()
