"""The cadence: what rules hear of a run, cut into windows by hand; and resume in the middle of one."""

from __future__ import annotations

import functools as ft
import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import lehr
from lehr.gather import Sum
from lehr.plan import Plan
from lehr.rules import Observation

Reports = Sequence[dict[str, Any]]

RULES = "when(loss.plateaus(1)).scale(0.5), when(metric('acc', best='max').reaches(0.7)).scale(0.9)"
STEPS = 40
RNG = random.Random(5)
LOSSES = [math.exp(-t / 8) + RNG.gauss(0, 0.05) for t in range(STEPS)]
LOSSES[11], LOSSES[20] = math.nan, math.inf
REPORTS: Reports = [{"loss": x} | ({"acc": t / STEPS} if t % 7 == 3 else {}) for t, x in enumerate(LOSSES)]


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[Observation]:
    """All that any rule is shown."""
    seen: list[Observation] = []
    update = Plan.update

    def spied(plan: Plan, state: Any, observation: Observation, since: int | None = None) -> Any:
        seen.append(observation)
        return update(plan, state, observation, since)

    monkeypatch.setattr(Plan, "update", spied)
    return seen


def started(cadence: Any, rules: str = RULES, schedule: str = "constant()", **more: Any) -> lehr.Controller:
    return lehr.start(f"Policy({schedule}, rules=[{rules}], cadence={cadence!r})", lr=0.1, **{"steps": STEPS} | more)


def cut(reports: Reports, cadence: int) -> list[tuple[int, dict[str, float], dict[str, int]]]:
    """The windows by hand: the last step, the means of the finite values, how many others there were."""
    windows = []
    for end in range(cadence, len(reports) + 1, cadence):
        names = {name for report in reports[end - cadence : end] for name in report}
        values = {name: [r[name] for r in reports[end - cadence : end] if name in r] for name in names}
        finite = {name: [x for x in of_name if math.isfinite(x)] for name, of_name in values.items()}
        means = {name: mean(xs) if xs else math.nan for name, xs in finite.items()}
        bad = {name: len(values[name]) - len(xs) for name, xs in finite.items() if len(xs) < len(values[name])}
        windows.append((end - 1, means, bad))
    return windows


def mean(values: Sequence[float]) -> float:
    total = values[0]  # `sum` compensates for rounding, and begins at an integer 0
    for value in values[1:]:
        total += value
    return sorted([min(values), total / len(values), max(values)])[1]


def same(one: Mapping[str, float], other: dict[str, float]) -> bool:
    return {name: repr(value) for name, value in one.items()} == {name: repr(value) for name, value in other.items()}


@pytest.mark.parametrize("cadence", [1, 2, 7, 40, 41])
def test_rules_hear_the_means_of_the_windows_and_how_many_reports_were_not_finite(
    heard: list[Observation], cadence: int
) -> None:
    run = started(cadence)
    for report in REPORTS:
        run.step(**report)
    windows = cut(REPORTS, cadence)
    assert [item.step for item in heard] == [end for end, _, _ in windows]
    assert all(item.applied for item in heard)
    for item, (_, means, bad) in zip(heard, windows, strict=True):
        assert same(item.numbers, means)
        assert dict(item.bad) == bad


def test_a_window_without_a_finite_report_is_heard_as_nan(heard: list[Observation]) -> None:
    run = started(3)
    for value in (math.nan, math.inf, -math.inf):
        run.step(loss=value)
    assert math.isnan(heard[0].numbers["loss"])
    assert heard[0].bad == {"loss": 3}


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(1, 50), st.integers(1, 50))
@example(0.1, 3, 1)
@example(0.95, 7, 3)
def test_the_mean_of_equal_numbers_is_that_number(value: float, count: int, ranks: int) -> None:
    one = whole = ft.reduce(Sum.plus, [value] * count, Sum())
    for _ in range(ranks - 1):
        whole = whole.both(one)
    assert whole.mean == value


def test_a_window_without_any_report_is_heard_as_empty(heard: list[Observation]) -> None:
    run = started(3)
    run.advance(3, {})
    assert (heard[0].numbers, heard[0].bad, heard[0].applied) == ({}, {}, True)


@given(st.integers(1, 9), st.lists(st.sampled_from([None, 0.25, 0.5, math.nan]), max_size=30))
def test_no_report_is_lost_and_none_is_heard_later_than_a_cadence_less_one(cadence: int, values: list[Any]) -> None:
    run = started(cadence, steps=100)
    shown: list[tuple[int, int]] = []  # (step, reports heard)
    take = run._gathering.take

    def spied(step: int) -> Any:
        window = take(step)
        item = window.sums.get("loss")
        shown.append((step, 0 if item is None else item.finite + item.bad))
        assert step - window.since <= cadence - 1
        return window

    run._gathering.take = spied  # type: ignore[method-assign]
    for value in values:
        run.step(**({} if value is None else {"loss": value}))
    whole = len(values) - len(values) % cadence
    assert sum(count for _, count in shown) == sum(value is not None for value in values[:whole])


RULE_TEXTS = [
    "when(loss.plateaus(1)).scale(0.5)",
    "when(loss.improves_less_than(0.1, over=3)).scale(0.7), when(loss.diverges()).relax(eta=0.1)",
    "when(loss.smoothed(3).reaches(0.4)).begin(linear(10)), when(always()).relax(eta=0.01)",
    "when(loss.plateaus(2) & metric('acc', best='max').reaches(0.5)).scale(2)",
]


@given(
    st.sampled_from(RULE_TEXTS),
    st.lists(
        st.tuples(
            st.one_of(st.none(), st.just(math.nan), st.floats(-1e300, 1e300)), st.one_of(st.none(), st.floats(0, 1))
        ),
        max_size=30,
    ),
)
@example(RULE_TEXTS[0], [(-0.0, None), (0.0, None), (-0.0, 0.1)])
@settings(max_examples=60)
def test_a_cadence_of_one_is_as_none_for_what_step_reports(rules: str, values: list[tuple[Any, Any]]) -> None:
    runs = [started(cadence, rules) for cadence in (None, 1)]
    for loss, acc in values:
        for run in runs:
            run.step(**{name: x for name, x in (("loss", loss), ("acc", acc)) if x is not None})
        assert runs[0].lrs == runs[1].lrs
    tracks = [json.dumps(run.state_dict()["tracks"]) for run in runs]
    assert tracks[0] == tracks[1]
    assert list(runs[0].events) == list(runs[1].events)


def test_what_observe_reports_waits_for_the_cadence_and_is_heard_at_once_without_one(heard: list[Observation]) -> None:
    at_once, waits = started(None), started(2)
    at_once.observe(loss=0.5)
    assert [(item.step, item.applied) for item in heard] == [(0, False)]
    heard.clear()
    waits.observe(loss=0.5)
    waits.step()
    assert heard == []
    waits.step(loss=0.75)
    assert [(item.step, dict(item.numbers)) for item in heard] == [(1, {"loss": 0.625})]


def test_a_report_of_one_step_is_gathered_once(heard: list[Observation]) -> None:
    run = started(2)
    run.observe(loss=0.5)
    run.observe(loss=0.5)
    run.step(loss=0.5)
    run.step(loss=1.0)
    assert heard[0].numbers == {"loss": 0.75}


def test_many_updates_at_once_end_the_window_in_which_a_cadence_point_lies(heard: list[Observation]) -> None:
    run = started(10)
    run.advance(9, {"loss": 1.0})
    assert heard == []
    run.advance(4, {"loss": 2.0})  # updates 9 to 12: update 9 ends a window
    run.advance(7, {"loss": 5.0})  # updates 13 to 19
    assert [(item.step, dict(item.numbers)) for item in heard] == [(12, {"loss": 1.5}), (19, {"loss": 5.0})]


def test_an_evaluation_keeps_its_own_cadence_and_is_heard_at_the_next_point(heard: list[Observation]) -> None:
    calls: list[int] = []

    def score() -> float:
        calls.append(run.t)
        return float(len(calls))

    rules = "when(evaluation('score', every=3, best='max').reaches(9)).scale(0.5)"
    run = started(4, rules, evaluate={"score": score})
    for _ in range(12):
        run.step()
    assert calls == [2, 5, 8, 11]
    assert [(item.step, dict(item.numbers)) for item in heard] == [
        (3, {"score": 1.0}),
        (7, {"score": 2.0}),
        (11, {"score": 3.5}),
    ]


def test_reports_of_the_leading_warm_up_are_not_gathered(heard: list[Observation]) -> None:
    run = started(4, schedule="warmup(6).then(hold())")
    for t in range(8):
        run.step(loss=float(t))
    assert [(item.step, dict(item.numbers)) for item in heard if item.step >= 6] == [(7, {"loss": 6.5})]


def test_rules_that_sleep_longer_do_not_hear_of_a_window_that_began_in_their_sleep() -> None:
    rule = "when(loss.reaches(0.5)).scale(0.5)"
    early = f"Policy(constant(), rules=[{rule}], cadence=4)"
    late = f"Policy(warmup(6).then(hold()), rules=[{rule}], cadence=4)"
    run = lehr.start(f"groups({early}, {late})", lr=[0.1, 0.1], steps=STEPS)
    run.advance(4, {})
    for _ in range(4):
        run.step(loss=0.25)
    assert run.lrs == [0.05, 0.1]
    for _ in range(4):
        run.step(loss=0.25)
    assert run.lrs == [0.05, 0.05]


def test_a_length_in_any_unit_is_resolved_for_the_run(heard: list[Observation]) -> None:
    run = started("10%")
    for report in REPORTS:
        run.step(**report)
    assert [item.step for item in heard] == list(range(3, 40, 4))
    with pytest.raises(lehr.LehrError, match="steps_per_epoch"):
        started("1 epoch")


def test_rules_of_one_run_have_one_cadence_and_policies_without_rules_have_no_say() -> None:
    rule = "when(loss.plateaus(1)).scale(0.5)"
    with pytest.raises(lehr.LehrError, match=r"one cadence, got every 2 steps, every report at once"):
        lehr.start(f"groups(Policy(constant(), [{rule}], cadence=2), {rule})", lr=[1, 1])
    run = lehr.start(f"groups(Policy(constant(), [{rule}], cadence=2), Policy(constant(), cadence=3))", lr=[1, 1])
    assert run._gathering.every == 2


def test_a_change_of_plan_that_is_refused_leaves_the_cadence_as_it_was() -> None:
    run = started(5)
    with pytest.raises(lehr.LehrError, match="evaluation"):
        run.replan("Policy(constant(), [when(evaluation('v', every=3, best='min').reaches(1)).stop()], cadence=3)")
    assert run._gathering.every == 5


BAD = [
    (0, "positive length"),
    ("5 observations", "cannot be counted in observations"),
    (-1, "between 0"),
    (0.5, '"50%"'),
]


@pytest.mark.parametrize(("cadence", "message"), BAD)
def test_what_is_no_cadence_is_refused(cadence: Any, message: str) -> None:
    with pytest.raises(lehr.LehrError, match=message):
        lehr.Policy(lehr.constant(), cadence=cadence)


@pytest.mark.parametrize("cadence", ["10", "'1 epoch'", "'2.5%'", "'2000 tokens'"])
def test_the_text_of_a_policy_tells_its_cadence(cadence: str) -> None:
    policy = lehr.parse(f"Policy(constant(), rules=[{RULE_TEXTS[0]}], cadence={cadence})")
    assert repr(policy).endswith(f", cadence={cadence})")
    assert lehr.parse(repr(policy)) == lehr.parse(policy.text(full=True)) == policy
    assert policy != lehr.parse(f"Policy(constant(), rules=[{RULE_TEXTS[0]}])")


def test_the_full_text_spells_out_that_there_is_no_cadence() -> None:
    assert lehr.Policy(lehr.constant()).text(full=True).endswith(", cadence=None)")
    assert "cadence" not in repr(lehr.Policy(lehr.constant()))


# Change of plan


def test_a_new_cadence_goes_on_with_what_was_gathered(heard: list[Observation]) -> None:
    run = started(10)
    for value in (1.0, 2.0, 3.0):
        run.step(loss=value)
    run.replan(f"Policy(constant(), rules=[{RULES}], cadence=4)")
    run.step(loss=4.0)
    assert [(item.step, dict(item.numbers)) for item in heard] == [(3, {"loss": 2.5})]


def test_without_a_cadence_what_was_gathered_is_heard_with_the_next_update(heard: list[Observation]) -> None:
    run = started(10)
    run.step(loss=1.0)
    run.replan(f"Policy(constant(), rules=[{RULES}])")
    run.step(loss=2.0)
    run.step(loss=3.0)
    assert [(item.step, dict(item.numbers)) for item in heard] == [(1, {"loss": 1.5}), (2, {"loss": 3.0})]


def test_what_no_rule_reads_any_more_is_dropped(heard: list[Observation]) -> None:
    run = started(10)
    run.step(loss=1.0)
    run.replan("when(metric('acc', best='max').plateaus(1)).scale(0.5)")
    run.step(acc=2.0)
    assert [dict(item.numbers) for item in heard] == [{"acc": 2.0}]


def test_a_preview_leaves_the_window_alone(heard: list[Observation]) -> None:
    run, left = started(4), started(4)
    for report in REPORTS[:6]:
        run.step(**report)
        left.step(**report)
    run.preview("when(metric('acc', best='max').plateaus(1)).scale(0.5)")
    run.preview("cosine()")
    assert run.state_dict() == left.state_dict()
    heard.clear()
    for report in REPORTS[6:8]:
        run.step(**report)
        left.step(**report)
    assert same(dict(heard[0].numbers), dict(heard[1].numbers))


# Resume


def forward(run: lehr.Controller, until: int, reports: Reports = REPORTS) -> list[list[float]]:
    lrs = []
    while run.t < until:
        t = run.t
        if t % 5 == 2:
            run.observe(acc=0.3 + t / 100)
        run.step(**{name: value for name, value in reports[t].items() if name != "acc"})
        lrs.append(run.lrs)
    return lrs


@pytest.mark.parametrize("rules", RULE_TEXTS)
@pytest.mark.parametrize("schedule", ["cosine()", "warmup(9).then(hold())"])
def test_a_run_that_is_cut_anywhere_goes_on_bit_by_bit(rules: str, schedule: str) -> None:
    whole = started(7, rules, schedule)
    lrs = forward(whole, STEPS)
    assert len({lr for (lr,) in lrs}) > 1
    for at in range(STEPS):
        before, after = started(7, rules, schedule), started(7, rules, schedule)
        forward(before, at)
        state = json.loads(json.dumps(before.state_dict(), allow_nan=False))
        for _ in range(2):
            after.load_state_dict(state)
        assert after.state_dict() == state
        assert forward(after, STEPS) == lrs[at:]
        assert after.state_dict()["tracks"] == whole.state_dict()["tracks"]


def test_sums_that_overflow_are_saved_as_text_and_go_on() -> None:
    run, again = started(10), started(10)
    for _ in range(3):
        run.step(loss=1.5e308)
    state = json.loads(json.dumps(run.state_dict(), allow_nan=False))
    assert state["window"] == {"since": 0, "sums": {"loss": ["inf", 3, 0, 1.5e308, 1.5e308]}}
    again.load_state_dict(state)
    assert again.state_dict() == state
    assert Sum(math.inf, 3, 0, 1.5e308, 1.5e308).mean == 1.5e308


def test_a_state_from_before_there_were_windows_is_loaded() -> None:
    run, again = started(7), started(7)
    for report in REPORTS[:9]:
        run.step(**report)
        again.step(**report)
    state = run.state_dict()
    assert state.pop("window")["sums"]["loss"][1:3] == [2, 0]
    again.load_state_dict(state)
    assert "window" not in again.state_dict()
    assert "window" not in started(None).state_dict()


def test_simulate_hears_what_a_run_hears() -> None:
    policy = f"Policy(cosine(), rules=[{RULES}], cadence=7)"
    trace = lehr.simulate(
        policy,
        lr=0.1,
        steps=STEPS,
        observations={"loss": LOSSES, "acc": [report.get("acc", math.nan) for report in REPORTS]},
    )
    run = started(7, schedule="cosine()")
    lrs = []
    for report in REPORTS:
        lrs.append(run.lr)
        run.step(**{name: value for name, value in report.items() if not math.isnan(value)})
    assert trace.columns["lr"].tolist() == lrs
    assert any(event.kind == "rule" for event in trace.events)


# Reports that an adapter keeps where they lie


class Elsewhere:
    """A number that cannot be read where it is."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __float__(self) -> float:
        raise AssertionError("was read")


class There:
    """A sum of such numbers."""

    def __init__(self, start: Sum, log: list[str]) -> None:
        self.sum, self.log = start, log

    def plus(self, value: Elsewhere) -> There:
        return There(self.sum.plus(value.value), self.log)

    def read(self) -> Sum:
        self.log.append("read")
        return self.sum


def keeping(cadence: Any, log: list[str]) -> lehr.Controller:
    def keep(name: str, value: Any) -> Callable[[Any], Any] | None:
        if not isinstance(value, Elsewhere):
            return None
        return lambda tally: (tally if isinstance(tally, There) else There(tally.read(), log)).plus(value)

    policy = lehr.as_policy(f"Policy(constant(), rules=[{RULES}], cadence={cadence!r})")
    return lehr.Controller(policy, {"lr": (0.1,)}, lehr.Horizon(), evaluate={}, groups=[{}], keep=keep)


def test_what_stays_where_it_is_is_read_once_a_cadence(heard: list[Observation]) -> None:
    log: list[str] = []
    run = keeping(4, log)
    for t, value in enumerate((0.5, math.nan, 0.25, 1.0)):
        assert log == []
        run.step(loss=Elsewhere(value), unread=Elsewhere(t))  # type: ignore[arg-type]
    assert log == ["read"]
    assert same(dict(heard[0].numbers), {"loss": (0.5 + 0.25 + 1.0) / 3})
    assert heard[0].bad == {"loss": 1}


def test_what_stays_where_it_is_is_known_by_name_and_step_too(heard: list[Observation]) -> None:
    run = keeping(2, [])
    run.observe(loss=Elsewhere(0.5))  # type: ignore[arg-type]
    run.observe(loss=Elsewhere(0.75))  # type: ignore[arg-type]
    run.step(loss=1.0)
    run.step(loss=0.25)
    assert heard[0].numbers == {"loss": 0.375}


def test_a_sum_moves_with_all_its_bits_from_the_host_and_back() -> None:
    values = [0.1, 0.2, 0.3, 1e17, -1e17, 0.7]
    run, plain = keeping(10, []), keeping(10, [])
    for k, value in enumerate(values):
        run.step(loss=Elsewhere(value) if k in (1, 2, 4) else value)  # type: ignore[arg-type]
        plain.step(loss=value)
    assert run.state_dict()["window"] == plain.state_dict()["window"]


def test_where_every_number_is_told_to_somebody_it_is_read_at_once() -> None:
    run = keeping(4, [])
    run.subscribe(lambda *_: None, on="steps")
    with pytest.raises(AssertionError, match="was read"):
        run.step(loss=Elsewhere(0.5))  # type: ignore[arg-type]
