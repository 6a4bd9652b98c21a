"""Policies as values: what is refused, texts, groups and bind; and the plan's transitions, which are pure."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest

import lehr
from lehr.plan import Plan
from lehr.policy import tracks
from lehr.rules import Observation
from lehr.rules.actions import Scale

cut = lehr.when(lehr.loss.reaches(0.5)).scale(0.5)


TEXTS = [
    "Policy(constant())",
    "Policy(cosine(), rules=[when(loss.reaches(0.5)).scale(0.5)])",
    "Policy(warmup(5).then(cosine()), rules=[when(always()).relax(eta=0.01), when(loss.diverges()).stop()])",
    "Policy(hold(), rules=[when(loss.diverges()).stop()], min_lr=1e-06)",
    "Policy(linear(), min_lr=[0.1, 0.01], max_lr=0.5)",
    "groups(cosine(), constant(0.1))",
    "groups(head=Policy(linear(), max_lr=0.1), default=when(loss.plateaus(3)).scale(0.5))",
    "bind(lr=cosine(), momentum=linear(to=0.9))",
    "bind(lr=groups(a=cosine(), default=constant()), weight_decay=Policy(constant(), max_lr=0.1))",
    "groups(a=bind(lr=cosine(), momentum=constant()), default=constant())",
]


@pytest.mark.parametrize("text", TEXTS)
def test_text_round_trip(text: str) -> None:
    policy = lehr.parse(text)
    assert repr(policy) == text
    assert lehr.parse(policy.text(full=True)) == policy
    assert hash(lehr.parse(text)) == hash(policy)


@pytest.mark.parametrize("given", ["cosine()", lehr.cosine(), lehr.Policy(lehr.cosine())])
def test_one_door(given: Any) -> None:
    assert lehr.as_policy(given) == lehr.Policy(lehr.cosine())


def test_a_rule_alone_is_a_policy_over_a_constant() -> None:
    assert lehr.as_policy(cut) == lehr.Policy(lehr.constant(), [cut])


def test_a_policy_has_the_curve_of_its_schedule() -> None:
    policy = lehr.Policy(lehr.linear(), [cut], min_lr=0.5)
    assert [policy.resolve(steps=4)(t) for t in range(5)] == [1.0, 0.75, 0.5, 0.25, 0.0]


REFUSED: list[tuple[str, Any, str]] = [
    ("a rule as the schedule", lambda: lehr.Policy(cut), "schedule such as"),  # type: ignore[arg-type]
    ("one rule without a list", lambda: lehr.Policy(lehr.constant(), cut), r"rules=\[...\]"),  # type: ignore[arg-type]
    ("a trigger as a rule", lambda: lehr.Policy(lehr.constant(), [lehr.always()]), "action"),  # type: ignore[list-item]
    ("a negative bound", lambda: lehr.Policy(lehr.constant(), min_lr=-1.0), "at least 0"),
    ("a bound that is NaN", lambda: lehr.Policy(lehr.constant(), max_lr=math.nan), "finite"),
    ("crossed bounds", lambda: lehr.Policy(lehr.constant(), min_lr=0.2, max_lr=0.1), "min_lr <= max_lr"),
    ("bounds crossed in one group", lambda: lehr.Policy(lehr.constant(), min_lr=[0.2, 0], max_lr=0.1), "min_lr"),
    ("no bound in a list", lambda: lehr.Policy(lehr.constant(), min_lr=[]), "at least 0"),
    ("no groups", lambda: lehr.groups(), "groups"),
    ("groups by order and name", lambda: lehr.groups(lehr.cosine(), a=lehr.cosine()), "by order or by name"),
    ("groups of a text", lambda: lehr.groups("cosine()"), "parse"),  # type: ignore[arg-type]
    ("groups of an empty dict", lambda: lehr.groups({}), "at least one policy"),
    ("a dict and a policy", lambda: lehr.groups({0: lehr.cosine()}, lehr.cosine()), "policy"),
    ("a dict and a name", lambda: lehr.groups({0: lehr.cosine()}, a=lehr.cosine()), "by order or by name"),
    ("a key that is a flag", lambda: lehr.groups({True: lehr.cosine()}), "indices, patterns of names"),
    ("a key that is no index", lambda: lehr.groups({-1: lehr.cosine()}), "indices, patterns of names"),
    ("a key that is a float", lambda: lehr.groups({0.5: lehr.cosine()}), "indices, patterns of names"),  # type: ignore[dict-item]
    ("half a comparison", lambda: lehr.groups({"weight_decay =": lehr.cosine()}), "a name, a sign and a number"),
    ("a comparison of names", lambda: lehr.groups({"a == b": lehr.cosine()}), "a name, a sign and a number"),
    ("a comparison of the LR", lambda: lehr.groups({"lr > 0.1": lehr.cosine()}), "which changes in the run"),
    ("no target", lambda: lehr.bind({"betas[x]": lehr.cosine()}), r'such as "momentum" or "betas\[0\]"'),
    ("a target twice", lambda: lehr.bind({"lr": lehr.cosine()}, lr=lehr.cosine()), "twice"),
    ("a schedule to bind", lambda: lehr.bind(lehr.cosine()), "names or a dict"),  # type: ignore[arg-type]
    ("no binding", lambda: lehr.bind(), "at least one"),
    ("bind a number", lambda: lehr.bind(lr=0.1), "parse"),  # type: ignore[arg-type]
    ("a number as a policy", lambda: lehr.as_policy(0.1), "policy"),  # type: ignore[arg-type]
    ("a trigger as a policy", lambda: lehr.as_policy(lehr.always()), "make a rule"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("make", "says"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refused(make: Any, says: str) -> None:
    with pytest.raises(lehr.LehrError, match=says):
        make()


@pytest.mark.parametrize(("low", "high"), [([0.1, 0.2], [0.1, 0.1, 0.3]), ([0.1, 0.2, 0.3], [1.0, 1.0])])
def test_bounds_of_different_lengths_are_refused_with_a_lehr_error(low: list[float], high: list[float]) -> None:
    with pytest.raises(lehr.LehrError):
        lehr.Policy(lehr.constant(), min_lr=low, max_lr=high)


# What governs what

a, b, c = (lehr.Policy(lehr.constant(k)) for k in (1, 2, 3))

TRACKS: list[tuple[str, Any, tuple[str, ...], list[Any]]] = [
    ("one policy for all", a, ("", ""), [("lr", a, (0, 1))]),
    ("by order", lehr.groups(a, b), ("", ""), [("lr", a, (0,)), ("lr", b, (1,))]),
    ("by order, one policy twice", lehr.groups(a, b, a), ("",) * 3, [("lr", a, (0, 2)), ("lr", b, (1,))]),
    ("by name", lehr.groups(y=a, x=b), ("x", "y"), [("lr", b, (0,)), ("lr", a, (1,))]),
    ("default", lehr.groups(x=a, default=b), ("q", "x", ""), [("lr", b, (0, 2)), ("lr", a, (1,))]),
    ("bind", lehr.bind(lr=a, momentum=b), ("",), [("lr", a, (0,)), ("momentum", b, (0,))]),
    ("bind without the LR", lehr.bind(momentum=b), ("",), [("momentum", b, (0,))]),
    ("groups in bind", lehr.bind(lr=lehr.groups(a, b)), ("", ""), [("lr", a, (0,)), ("lr", b, (1,))]),
    (
        "bind in groups",
        lehr.groups(x=lehr.bind(lr=a, momentum=b), default=c),
        ("x", ""),
        [("lr", a, (0,)), ("momentum", b, (0,)), ("lr", c, (1,))],
    ),
]


@pytest.mark.parametrize(("policy", "names", "found"), [r[1:] for r in TRACKS], ids=[r[0] for r in TRACKS])
def test_tracks(policy: Any, names: tuple[str, ...], found: list[Any]) -> None:
    assert tracks(policy, [{"name": name} for name in names]) == found


@pytest.mark.parametrize(
    ("policy", "names", "says"),
    [
        (lehr.groups(a, b), ("",), "2 policies for 1"),
        (lehr.groups(head=a), ("body",), "default=policy"),
        (lehr.bind(lr=lehr.bind(lr=a)), ("",), "keep one bind"),
    ],
)
def test_unmatched_groups_are_an_error(policy: Any, names: tuple[str, ...], says: str) -> None:
    with pytest.raises(lehr.LehrError, match=says):
        tracks(policy, [{"name": name} for name in names])


GROUPS = [
    {"name": "head.0", "weight_decay": 0.0},
    {"name": "head.1", "weight_decay": 0.1},
    {"name": "body", "weight_decay": 0.0},
    {"name": "body", "weight_decay": 0.01},
]
MATCHES: list[tuple[Any, str]] = [
    ({"head.*": a, "default": b}, "aabb"),
    ({"default": b, "head.*": a}, "aabb"),
    ({3: a, "default": b}, "bbba"),
    ({"weight_decay == 0": a, "default": b}, "abab"),
    ({"weight_decay>=1e-2": a, "default": b}, "baba"),
    ({"head.*": a, "weight_decay != 0": b, "default": c}, "aacb"),
    ({"weight_decay < 0.05": a, "head.*": b, "default": c}, "abaa"),
    ({"head.1": a, 0: b, "b?dy": c}, "bacc"),
]


@pytest.mark.parametrize(("members", "chosen"), MATCHES, ids=[str(list(m)) for m, _ in MATCHES])
def test_groups_by_index_pattern_and_comparison_take_the_first_that_matches(members: Any, chosen: str) -> None:
    policy = lehr.groups(members)
    governed = {i: part for _, part, indices in tracks(policy, GROUPS) for i in indices}
    assert [governed[i] for i in range(4)] == [{"a": a, "b": b, "c": c}[letter] for letter in chosen]
    assert lehr.parse(repr(policy)) == policy == lehr.parse(policy.text(full=True))
    assert hash(lehr.parse(repr(policy))) == hash(policy)


def test_a_comparison_with_what_a_group_lacks_names_it() -> None:
    with pytest.raises(lehr.LehrError, match="parameter group 1 has no 'weight_decay'"):
        tracks(lehr.groups({"weight_decay == 0": a}), [{"weight_decay": 0.0}, {"name": "x"}])


def test_one_name_is_one_text_however_it_is_given() -> None:
    assert lehr.groups({"head": a, "default": b}) == lehr.groups(head=a, default=b)
    assert lehr.bind({"lr": a, "momentum": b}) == lehr.bind(lr=a, momentum=b)
    odd = lehr.bind({"lr": lehr.cosine(), "betas[0]": lehr.linear()})
    assert repr(odd) == "bind({'lr': cosine(), 'betas[0]': linear()})"
    assert lehr.parse(repr(odd)) == odd
    assert lehr.parse(repr(lehr.bind({"class": a}))) == lehr.bind({"class": a})
    assert lehr.groups({0: a, 1: b}) != lehr.groups(a, b)  # by order, there must be just two groups


# The plan: one transition at a time


def test_one_transition_in_full() -> None:
    policy = lehr.Policy(lehr.linear(), [cut, lehr.when(lehr.loss.reaches(0.3)).stop()])
    plan = Plan.of(policy, lehr.Horizon(steps=10), (0.1, 1.0))
    state = plan.init()
    after, events = plan.update(state, Observation(4, {"loss": 0.4}, True))
    assert (after.step, after.gains, after.begun, after.stopped) == (5, (0.5, 0.5), None, False)
    assert [rule.fired for rule in after.rules] == [1, 0]
    ((event, action),) = events
    assert action == Scale(0.5)
    assert (event.step, event.kind, event.rule, event.action) == (5, "rule", repr(cut), "scale(0.5)")
    assert event.lr_before == (0.1 * 0.5, 1.0 * 0.5)  # linear at step 5 of 10
    assert event.lr_after == (0.1 * 0.5 * 0.5, 1.0 * 0.5 * 0.5)
    assert event.words == "loss 0.4 reached 0.5"
    again, events = plan.update(after, Observation(5, {"loss": 0.1}, True))
    assert (again.stopped, again.gains, len(events)) == (True, (0.5, 0.5), 1)
    assert plan.end(again) == 0  # stopped


def test_a_report_between_updates_acts_on_the_update_to_come() -> None:
    plan = Plan.of(lehr.Policy(lehr.linear(), [cut]), lehr.Horizon(steps=10), (1.0,))
    state, ((event, _),) = plan.update(plan.init()._replace(step=4), Observation(4, {"loss": 0.4}, False))
    assert (state.step, event.step, event.lr_before, event.lr_after) == (4, 4, (0.6,), (0.3,))


def test_rules_see_one_observation_in_their_order() -> None:
    """The second rule of three acts on what the first has left; each has its own event."""
    rules = [cut, lehr.when(lehr.always()).saturate(0.5, 0.25), cut]
    plan = Plan.of(lehr.Policy(lehr.constant(), rules), lehr.Horizon(), (1.0,))
    state, events = plan.update(plan.init(), Observation(0, {"loss": 0.4}, True))
    expected = [(1.0, 0.5), (0.5, 0.5 * 0.5 * 0.5 / 0.75), (0.5 * 0.5 * 0.5 / 0.75, 0.5 * 0.5 * 0.5 / 0.75 * 0.5)]
    assert [(*e.lr_before, *e.lr_after) for e, _ in events] == [pytest.approx(pair, rel=1e-15) for pair in expected]
    assert state.gains == pytest.approx((expected[-1][1],), rel=1e-15)


def test_update_is_pure() -> None:
    policy = lehr.Policy(lehr.linear(), [cut, lehr.when(lehr.loss.plateaus(1)).begin(lehr.cosine())], min_lr=0.01)
    plan = Plan.of(policy, lehr.Horizon(steps=20), (1.0, 0.1))
    state = plan.init()
    for step, value in enumerate([1.0, 1.0, 1.0, 0.4, 0.4, 0.4]):
        kept, observation = copy.deepcopy(state), Observation(step, {"loss": value}, True)
        assert plan.update(state, observation) == plan.update(state, observation)
        assert state == kept
        state, _ = plan.update(state, observation)
    assert state.begun is not None


def test_all_that_could_be_missing_later_is_missed_at_once() -> None:
    late = lehr.when(lehr.loss.reaches(0.1)).begin(lehr.linear("2 epochs"))
    with pytest.raises(lehr.LehrError, match="steps_per_epoch"):
        Plan.of(lehr.Policy(lehr.constant(), [late]), lehr.Horizon(steps=10), (1.0,))
    with pytest.raises(lehr.LehrError, match="steps"):
        Plan.of(lehr.Policy(lehr.constant(), [cut.rest("10%")]), lehr.Horizon(), (1.0,))
    with pytest.raises(lehr.LehrError, match="2 numbers for 1"):
        Plan.of(lehr.Policy(lehr.constant(), min_lr=[0.1, 0.1]), lehr.Horizon(), (1.0,))
