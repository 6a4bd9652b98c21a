"""What every trigger, action, modifier and recipe of the catalogue must do; the gate's invariants among it.

A new row of `lehr.rules.catalogue` is tested by all of this without a line here.
"""

from __future__ import annotations

import dataclasses
import functools as ft
import itertools
import json
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest

import lehr
from lehr.rules.actions import Begin, Stop
from lehr.rules.catalogue import CATALOGUE, RuleRow
from lehr.rules.trigger import Observation

STEPS = 240
CUTS = (41, 83, 101, 104, 167)  # at the beginning, in a row of infinities, and after firings
AFTER = 50  # updates that are compared after a cut; the states at the cuts after it are compared too
KINDS = ("calm", "noisy", "broken", "negative")
rows = pytest.mark.parametrize("row", CATALOGUE, ids=[row.name for row in CATALOGUE])
kinds = pytest.mark.parametrize("kind", KINDS)


@ft.cache
def signals(kind: str) -> list[dict[str, float]]:
    """What is reported at each update: a loss that falls and then stands, an accuracy that rises, falls back, rises."""
    random = np.random.default_rng(KINDS.index(kind))
    t = np.arange(STEPS)
    noise = 0.002 if kind == "calm" else 0.05
    loss = 1 + np.exp(-t / 20) + noise * random.standard_normal(STEPS)
    accuracy = 0.9 - 0.6 * np.exp(-t / 30) - 0.4 * ((t > 120) & (t < 150)) + noise * random.standard_normal(STEPS)
    distance = np.minimum(t + 1.0, 60.0) * (1 + noise * random.standard_normal(STEPS))
    alignment = np.tanh(random.standard_normal(STEPS) + (t < 60))
    if kind == "negative":
        loss = loss - 3
    if kind == "broken":
        loss[random.random(STEPS) < 0.1] = math.nan
        loss[100:104] = math.inf
        accuracy[random.random(STEPS) < 0.05] = -math.inf
    names = {"loss": loss, "accuracy": accuracy, "distance": distance, "alignment": alignment}
    return [{name: float(values[i]) for name, values in names.items()} for i in t]


def policy(row: RuleRow) -> lehr.Policy:
    value = lehr.parse(row.example)
    return value if isinstance(value, lehr.Policy) else lehr.Policy(lehr.constant(), [value])


def started(what: Any, kind: str, **how: Any) -> lehr.Controller:
    """A run whose evaluations read the same numbers, and whose actions by hand do nothing."""
    at: list[int] = [0]
    evaluate = {"accuracy": lambda: signals(kind)[at[0]]["accuracy"]}
    run = lehr.start(what, lr=0.1, steps=STEPS, evaluate=evaluate, carry_out=lambda *_: "restored", **how)
    run.subscribe(lambda *_: None, on="steps")
    run.clock = at  # type: ignore[attr-defined]
    return run


def fed(run: lehr.Controller, kind: str, until: int = STEPS) -> Iterator[tuple[int, float]]:
    """Report until a step; before each update its LR comes back."""
    evaluated = {name for name, _ in run._evaluations}
    while run.t < until and not run.done:
        t = run.t
        run.clock[0] = t  # type: ignore[attr-defined]
        yield t, run.lr
        numbers: dict[str, Any] = {name: value for name, value in signals(kind)[t].items() if name not in evaluated}
        run.step(**numbers)


def trail(what: Any, kind: str, **how: Any) -> list[tuple[int, float]]:
    return list(fed(started(what, kind, **how), kind))


class Whole(NamedTuple):
    """A run of a row's example from its beginning to its end."""

    trail: list[tuple[int, float]]
    events: list[lehr.Event]
    states: dict[int, str]  # at the cuts, as JSON


@ft.cache
def whole(row: RuleRow, kind: str) -> Whole:
    run = started(policy(row), kind)
    lrs, states = [], {}
    for t, lr in fed(run, kind):
        lrs.append((t, lr))
        if t in CUTS:
            states[t] = json.dumps(run.state_dict(), allow_nan=False)
    return Whole(lrs, list(run.events), states)


@rows
def test_it_prints_and_reads_back(row: RuleRow) -> None:
    value = lehr.parse(row.example)
    assert lehr.parse(repr(value)) == value
    assert lehr.parse(value.text(full=True)) == value
    assert repr(lehr.parse(value.text(full=True))) == repr(value)


@rows
def test_it_does_what_its_row_says_on_some_signal(row: RuleRow) -> None:
    """A row whose example never fires would pass all other tests in vain."""
    fired = [event for kind in KINDS for event in whole(row, kind).events if event.kind in ("rule", "shadow")]
    assert fired


@rows
@kinds
def test_a_resume_at_every_cut_goes_on_bit_by_bit(row: RuleRow, kind: str) -> None:
    lrs, _, states = whole(row, kind)
    for cut, state in states.items():
        again = started(policy(row), kind)
        again.load_state_dict(json.loads(state))
        for t, lr in fed(again, kind, until=cut + AFTER):
            assert (t, lr) == lrs[t], cut
            if t != cut and t in states:
                mine, its = json.loads(states[t]), again.state_dict()
                assert its["tracks"] == mine["tracks"], (cut, t)


@rows
@kinds
def test_a_report_that_comes_twice_is_heard_once(row: RuleRow, kind: str) -> None:
    trails: list[list[float]] = [[], []]
    for times in (1, 2):
        run = started(policy(row), kind)
        evaluated = {name for name, _ in run._evaluations}
        while run.t < STEPS and not run.done:
            run.clock[0] = run.t  # type: ignore[attr-defined]
            numbers = {name: value for name, value in signals(kind)[run.t].items() if name not in evaluated}
            for _ in range(times):
                run.observe(**numbers)
            trails[times - 1].append(run.lr)
            run.step()
    assert trails[0] == trails[1]


@rows
@kinds
def test_the_same_state_and_observation_give_the_same(row: RuleRow, kind: str) -> None:
    rule = policy(row).rules[0].resolve(lehr.Horizon(steps=STEPS))
    state = rule.init()
    for t, numbers in enumerate(signals(kind)):
        observation = Observation(t, numbers, True, lrs=(0.1,))
        after, heard = rule.update(state, observation)
        assert rule.update(state, observation) == (after, heard)
        state = after


@rows
@kinds
def test_only_rules_that_say_so_raise_the_lr_and_it_stays_within_its_bounds(row: RuleRow, kind: str) -> None:
    plain = policy(row)
    bounded = lehr.Policy(plain.schedule, list(plain.rules), min_lr=0.02, max_lr=0.15)
    lrs = [lr for _, lr in trail(bounded, kind)]
    assert min(lrs) >= 0.02
    assert max(lrs) <= 0.15
    if not row.raises:
        assert all(b <= a for a, b in itertools.pairwise(lr for _, lr in whole(row, kind).trail))


@rows
@kinds
def test_undecided_never_acts(row: RuleRow, kind: str) -> None:
    events = whole(row, kind).events
    assert all(event.verdict != "undecided" for event in events if event.kind in ("rule", "shadow"))


@rows
@kinds
def test_rules_sleep_in_the_leading_warm_up(row: RuleRow, kind: str) -> None:
    plain = policy(row)
    run = started(lehr.Policy(lehr.warmup(60).then(plain.schedule), list(plain.rules)), kind)
    awake = any(rule.trigger.heeds_warmup for rule in plain.rules)  # a guard acts there too
    for t, lr in fed(run, kind, until=60):
        assert awake or lr == pytest.approx(0.1 * (t + 1) / 60, rel=1e-12)
    assert awake or not [event for event in run.events if event.kind != "warning"]


@rows
@kinds
def test_a_shadow_says_what_it_would_have_done_and_leaves_the_lr(row: RuleRow, kind: str) -> None:
    plain = policy(row)
    texts = [rule.text().replace(", shadow=True", "") for rule in plain.rules]
    real = [lehr.parse(text) for text in texts]
    run = started(lehr.Policy(plain.schedule, [dataclasses.replace(rule, shadow=True) for rule in real]), kind)
    assert {lr for _, lr in fed(run, kind)} == {0.1}
    acting = whole(row, kind).events  # a row that is a shadow itself is compared with itself
    first = [next((e.step for e in events if e.kind in ("rule", "shadow")), None) for events in (run.events, acting)]
    assert first[0] == first[1]
    assert not [event for event in run.events if event.kind == "rule"]


@rows
@kinds
def test_one_window_of_evidence_gives_one_action(row: RuleRow, kind: str) -> None:
    """After an action the trigger's own memory holds no evidence from before it, unless the row is literal."""
    rule = policy(row).rules[0].resolve(lehr.Horizon(steps=STEPS))
    state = rule.init()
    for t, numbers in enumerate(signals(kind)):
        state, heard = rule.update(state, Observation(t, numbers, True, lrs=(0.1,)))
        if heard is None or not heard.fires or row.literal or isinstance(rule.action, Begin | Stop):
            continue
        for later in (0, 1):
            _, twice = rule.update(state, Observation(t + later, numbers, True, lrs=(0.1,)))
            assert twice is None or not twice.fires, "the same value acted twice"
