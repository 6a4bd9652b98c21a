"""`plateaus` and `reduce_on_plateau`: Lehr's meaning against a loop, states, texts, refusals, and many runs at once.

What the flavors mean is held against the peers in `test_rules_plateaus_peers.py` and `test_rules_plateaus_faults.py`.
"""

from __future__ import annotations

import importlib
import inspect
import json
import math
from typing import Any, get_args

import numpy as np
import pytest

import lehr
from lehr.errors import LehrError
from lehr.rules import Observation
from lehr.rules.actions import Scale
from lehr.rules.lanes import first_firings
from lehr.rules.plateaus import FLAVORS, Flavor, Plateaus, PlateausState
from lehr.rules.trigger import Reading, Smooth
from plateau_peers import Case, drawn, ours, row, rule_of

NAN, INF = math.nan, math.inf
NAMES: tuple[Flavor, ...] = get_args(Flavor)
M = lehr.metric("m", best="min")


def firings(rule: lehr.Rule, values: list[float]) -> list[int]:
    state, fired = rule.init(), []
    for step, value in enumerate(values):
        state, heard = rule.update(state, Observation(step, {"m": value}, True))
        fired += [step] if heard is not None and heard.fires else []
    return fired


def lehr_rule(case: Case, values: list[float]) -> list[int]:
    """Written out: signs do not matter, what is not finite is passed over, firing forgets, a cooldown hears nothing."""
    best, bad, quiet, window, fired = None, 0, 0, [], []
    for step, value in enumerate(values):
        window += [value] if math.isfinite(value) else []
        if not math.isfinite(value) or len(window) < case.average:
            continue
        value = sum(window) / case.average
        window = []
        if quiet > 0:
            quiet -= 1
            continue
        up = case.best == "max"
        if best is None:
            better = True
        elif case.mode == "abs":
            better = value > best + case.margin if up else value < best - case.margin
        else:
            higher, lower = sorted([best * (1 + case.margin), best * (1 - case.margin)], reverse=True)
            better = value > higher if up else value < lower
        best, bad = (value, 0) if better else (best, bad + 1)
        if bad > case.patience:
            fired.append(step)
            best, bad, quiet = None, 0, case.cooldown
    return fired


@pytest.mark.parametrize("average", [1, 2])  # a mean of two is exact whichever way it is taken
def test_lehrs_meaning_is_its_loop(average: int) -> None:
    total = 0
    for seed in range(1500):
        case, values = drawn("lehr", seed)
        case = case._replace(average=average)
        if any(abs(value) > 1e299 for value in values if math.isfinite(value)):
            continue  # a sum of two overflows in one of the ways
        fired = firings(rule_of("lehr", case), values)
        assert fired == lehr_rule(case, values), (case, values)
        total += len(fired)
    assert total > 1000


def memory(best: float | str | None, bad: int, words: str = "", **more: Any) -> PlateausState:
    return PlateausState(Smooth(), best, bad, bool(words), words, **more)


ONE_TOO_MANY = "m has not improved on 2 in 2 observations (now 2.5)"
NOT_SEEN = "m has not improved on 1e+09 in 1 observation (now 1e+09)"
TRANSITIONS: list[tuple[str, dict[str, Any], PlateausState, float, PlateausState]] = [
    ("the first value is the best", {}, memory(None, 0), 2.0, memory(2.0, 0)),
    ("better by more than the margin", {}, memory(2.0, 1), 1.7, memory(1.7, 0)),
    ("better by less", {}, memory(2.0, 0), 1.9, memory(2.0, 1)),
    ("better by less, and absolute", {"margin_mode": "abs"}, memory(2.0, 1), 1.8, memory(1.8, 0)),
    ("one too many", {}, memory(2.0, 1), 2.5, memory(2.0, 2, ONE_TOO_MANY)),
    ("a negative best", {}, memory(-2.0, 1), -2.3, memory(-2.3, 0)),
    ("in a cooldown nothing is heard", {}, memory(None, 0, pause=2), 0.5, memory(None, 0, pause=1)),
    ("torch notes the best", {"flavor": "torch"}, memory(2.0, 0, pause=2), 0.5, memory(0.5, 0, pause=1)),
    ("the first of a mean", {"average": 3}, memory(2.0, 0), 1.5, memory(2.0, 0, mean=1.5, gathered=1)),
    (
        "the second of a mean",
        {"average": 3},
        memory(2.0, 0, mean=1.5, gathered=1),
        2.5,
        memory(2.0, 0, mean=2.0, gathered=2),
    ),
    ("the last of a mean", {"average": 3}, memory(2.0, 0, mean=2.0, gathered=2), 2.0, memory(2.0, 1)),
    (
        "one mean too many",
        {"average": 3},
        memory(2.0, 1, mean=2.0, gathered=2),
        2.0,
        memory(2.0, 2, "m has not improved on 2 in 2 means of 3 observations (now 2)"),
    ),
    ("Keras takes a first infinity", {"flavor": "keras"}, memory(None, 0), INF, memory("inf", 0)),
    ("and what is below it", {"flavor": "keras"}, memory("inf", 0), 5.0, memory(5.0, 0)),
    ("nothing is below minus infinity", {"flavor": "torch"}, memory("-inf", 0), -9.0, memory("-inf", 1)),
    ("Keras compares in float32", {"flavor": "keras"}, memory(1e9, 0), 1e9 - 10, memory(1e9, 1, NOT_SEEN)),
    ("optax too", {"flavor": "optax", "margin_mode": "abs"}, memory(1e9, 0), 1e9 - 10, memory(1e9, 1, NOT_SEEN)),
    (
        "a mean that is spoiled",
        {"flavor": "optax", "average": 3},
        memory(2.0, 0),
        NAN,
        memory(2.0, 0, mean="nan", gathered=1),
    ),
]


@pytest.mark.parametrize(
    ("arguments", "state", "value", "after"), [r[1:] for r in TRANSITIONS], ids=[r[0] for r in TRANSITIONS]
)
def test_one_transition(arguments: dict[str, Any], state: PlateausState, value: float, after: PlateausState) -> None:
    trigger = Plateaus(M, patience=1, margin=0.1, **arguments)
    judged = after.gathered == 0
    expected = after, Reading(after.holds, judged, after.words)
    assert trigger.update(state, Observation(7, {"m": value}, True)) == expected


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_what_is_not_finite_is_no_observation_for_lehr(value: float) -> None:
    trigger, state = Plateaus(M, patience=1), memory(2.0, 1, pause=1)
    assert trigger.update(state, Observation(7, {"m": value}, True)) == (state, Reading(False, False, ""))


def test_firing_begins_the_cooldown_and_only_lehr_forgets_the_best() -> None:
    for flavor in NAMES:
        trigger = Plateaus(M, 1, flavor=flavor, cooldown=0 if flavor == "fastai" else 3)
        after = trigger.after_firing(memory(2.0, 2, ONE_TOO_MANY))
        pause = {"fastai": 0, "keras": 2}.get(flavor, 3)
        assert after == memory(None if flavor == "lehr" else 2.0, 0, pause=pause)


def test_literal_plateaus_go_on_firing() -> None:
    rule = lehr.when(M.plateaus(2)).scale(0.5)
    assert firings(rule, [1.0] * 9) == [3, 7]
    assert firings(rule.every_time(), [1.0] * 9) == [3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("flavor", NAMES)
def test_a_run_saved_as_json_and_resumed_at_every_step_decides_the_same(flavor: Flavor) -> None:
    for seed in range(25):
        case, values = drawn(flavor, seed)
        policy = lehr.Policy(lehr.constant(), [rule_of(flavor, case)])
        lrs, saved = [], None
        for value in values[:30]:
            run = lehr.start(policy, lr=1.0, steps=30)
            if saved is not None:
                run.load_state_dict(json.loads(saved))
            run.step(m=value)
            lrs.append(run.lr)
            saved = json.dumps(run.state_dict(), allow_nan=False)
        assert lrs == ours(rule_of(flavor, case), values[:30]), (case, values)


@pytest.mark.parametrize("flavor", NAMES)
def test_every_flavor_prints_and_parses(flavor: Flavor) -> None:
    for seed in range(20):
        rule = rule_of(flavor, drawn(flavor, seed)[0])
        assert lehr.parse(repr(rule)) == lehr.parse(rule.text(full=True)) == rule


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("reduce_on_plateau(loss)", "when(loss.plateaus(10)).scale(0.1)"),
        ("reduce_on_plateau(loss, flavor='torch')", "when(loss.plateaus(10, flavor='torch')).scale(0.1)"),
        ("reduce_on_plateau(loss, flavor='keras')", "when(loss.plateaus(10, flavor='keras')).scale(0.1)"),
        ("reduce_on_plateau(loss, flavor='paddle')", "when(loss.plateaus(10, flavor='paddle')).scale(0.1)"),
        (
            "reduce_on_plateau(loss, flavor='fastai')",
            "when(loss.plateaus(1, margin=0, flavor='fastai')).scale(0.1)",
        ),
        (
            "reduce_on_plateau(loss, factor=0.5, patience=3, threshold=0.2, threshold_mode='abs', cooldown=4, "
            "average=5, flavor='optax')",
            "when(loss.plateaus(3, margin=0.2, flavor='optax', cooldown=4, margin_mode='abs', average=5)).scale(0.5)",
        ),
    ],
)
def test_the_recipe_takes_each_peers_own_defaults(text: str, rule: str) -> None:
    assert repr(lehr.parse(text)) == rule


@pytest.mark.parametrize(
    ("flavor", "threshold"),
    [
        pytest.param("torch", "threshold", marks=pytest.mark.frameworks),
        pytest.param("optax", "rtol", marks=pytest.mark.frameworks),
        pytest.param("keras", "min_delta", marks=[pytest.mark.frameworks, pytest.mark.peers]),
    ],
)
def test_the_defaults_are_those_of_the_installed_peers(
    flavor: Flavor, threshold: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")  # read when Keras is imported
    module, name = {
        "torch": ("torch.optim.lr_scheduler", "ReduceLROnPlateau"),
        "optax": ("optax.contrib", "reduce_on_plateau"),
        "keras": ("keras.callbacks", "ReduceLROnPlateau"),
    }[flavor]
    parameters = inspect.signature(getattr(importlib.import_module(module), name)).parameters
    theirs = [parameters[argument].default for argument in ("factor", "patience", threshold, "cooldown")]
    rule = lehr.reduce_on_plateau(M, flavor=flavor)
    assert isinstance(rule.trigger, Plateaus)
    assert isinstance(rule.action, Scale)
    assert [rule.action.k, rule.trigger.patience, rule.trigger.margin, rule.trigger.cooldown] == theirs


def test_texts_of_before_still_mean_the_same() -> None:
    trigger = lehr.parse("loss.plateaus(5, margin=0.01, flavor='keras')")
    assert trigger == Plateaus(lehr.loss, 5, 0.01, "keras", 0, "abs", 1)
    assert repr(trigger) == "loss.plateaus(5, margin=0.01, flavor='keras')"
    assert lehr.loss.plateaus(5, margin_mode="rel") == lehr.loss.plateaus(5)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("loss.plateaus(-1)", "patience"),
        ("loss.plateaus(2.5)", "patience"),
        ("loss.plateaus(1, cooldown=-1)", "cooldown"),
        ("loss.plateaus(1, average=0)", "average"),
        ("loss.plateaus(1, margin=1)", "between 0 and 1"),
        ("loss.plateaus(1, margin=-0.1, margin_mode='abs')", "margin"),
        ("loss.plateaus(1, flavor='mxnet')", "must be one of 'lehr' or 'torch'"),
        ("loss.plateaus(1, flavor=[1])", "must be one of"),
        ("loss.plateaus(1, margin_mode=[1])", "must be 'rel' or 'abs'"),
        ("loss.plateaus(1, margin_mode='relative')", "must be 'rel' or 'abs', got 'relative'"),
        ("loss.plateaus(1, flavor='keras', margin_mode='rel')", "must be 'abs', got 'rel'"),
        ("loss.plateaus(1, flavor='fastai', cooldown=1)", "knows no cooldown, as fastai does not"),
        ("loss.plateaus(1, flavor='torch', average=2)", "knows no average, as torch does not"),
        ("metric('m', best='max').plateaus(1, flavor='optax')", "knows no best='max', as optax does not"),
        ("reduce_on_plateau(loss, factor=1)", "factor"),
        ("reduce_on_plateau(loss, factor=0)", "factor"),
        ("reduce_on_plateau(0.5)", "needs a signal such as loss"),
    ],
)
def test_what_a_plateau_cannot_be_is_refused(text: str, told: str) -> None:
    with pytest.raises(LehrError, match=told.replace("(", r"\(")):
        lehr.parse(text)


@pytest.mark.parametrize("flavor", NAMES)
def test_the_fewest_observations_are_the_fewest(flavor: Flavor) -> None:
    rows = [[1.0] * 40, [NAN] * 40, [INF] * 40]
    for patience in range(5):
        for average in (1, 3) if FLAVORS[flavor].average else (1,):
            trigger = Plateaus(M, patience, flavor=flavor, average=average)
            fired = [firings(lehr.when(trigger).scale(0.5), values) for values in rows]
            assert min(steps[0] + 1 for steps in fired if steps) == trigger.fewest


@pytest.mark.parametrize("flavor", NAMES)
def test_many_runs_at_once_decide_as_each_by_itself(flavor: Flavor) -> None:
    rng = np.random.default_rng(3)
    values = np.array([row(rng, 40) for _ in range(60)])
    for seed in range(25):
        case = drawn(flavor, seed)[0]
        trigger = rule_of(flavor, case).trigger
        alone = [next(iter(firings(lehr.when(trigger).scale(0.5), [*run])), -1) for run in values]
        assert first_firings(trigger, values).tolist() == alone, case


@pytest.mark.parametrize(
    "text", ["loss.reaches(0.5)", "loss.smoothed(5).plateaus(3)", "loss.plateaus(2) | loss.diverges()"]
)
def test_a_trigger_without_lanes_is_shown_one_run_after_another(text: str) -> None:
    trigger = lehr.parse(text)
    values = np.random.default_rng(1).uniform(0.4, 1, (20, 15))
    seen = []
    for run in values:
        state, first = trigger.init(), -1
        for step, value in enumerate(run):
            state, reading = trigger.update(state, Observation(step, {"loss": float(value)}, True))
            if first < 0 and reading.holds:
                first = step
        seen.append(first)
    assert first_firings(trigger, values).tolist() == seen
    assert len(set(seen)) > 2


def test_windows_of_many_runs_are_of_their_own_length() -> None:
    slow = lehr.loss.improves_less_than(0.5, over="20%", test="means")
    assert first_firings(slow, [[1.0] * 10, [0.4**k for k in range(10)]]).tolist() == [3, -1]
    longer = lehr.Horizon(steps=20)
    assert first_firings(slow, [[1.0] * 10], horizon=longer).tolist() == [7]


def test_what_many_runs_cannot_be_is_refused() -> None:
    with pytest.raises(LehrError, match=r"shape \(runs, updates\), got \(3,\)"):
        first_firings(lehr.loss.plateaus(1), [1, 2, 3])
    with pytest.raises(LehrError, match="must read one signal"):
        first_firings(lehr.always(), [[1, 2, 3]])
