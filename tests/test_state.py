"""Saved states: what another version saved goes on here, with what it remembered."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import pytest

import lehr

# Saved at step 133 of 300 before there were verdicts, the trend test, latches with confidence, and cooldowns.
OLD: dict[str, Any] = json.loads(
    r"""{"schema": 1, "policy": "Policy(cosine(None, power=1, k=1, cycles=0.5, to=0, to_lr=None, start=None),
rules=[when(loss.improves_less_than(0.01, 40, test='means')).scale(0.5), when(metric('accuracy',
best='max').reaches(0.7, rearm=0.5)).scale(0.9), when(loss.plateaus(9, margin=0.0001, flavor='lehr')).scale(0.8)],
min_lr=0.001, max_lr=None)", "horizon": {"steps": 300}, "step": 133, "bases": {"lr": [0.1]}, "values": {"lr":
[0.04290473878464882]}, "last": {"lr": [0.043280048916649674]}, "tracks": [{"target": "lr", "groups": [0],
"schedule": "cosine(None, power=1, k=1, cycles=0.5, to=0, to_lr=None, start=None)", "gains": [0.7290000000000001],
"begun": null, "stopped": false, "rules": [{"text": "when(loss.improves_less_than(0.01, 40,
test='means')).scale(0.5)", "memory": {"trigger": {"smooth": {"mean": 0.0, "weight": 0.0}, "begin": 120, "total":
13.023202520791223, "heard": 13, "before": 1.008088226968888, "holds": false, "words": ""}, "fired": 0, "last":
null, "seen": 133, "quiet": 0}}, {"text": "when(metric('accuracy', best='max').reaches(0.7, rearm=0.5)).scale(0.9)",
"memory": {"trigger": {"smooth": {"mean": 0.0, "weight": 0.0}, "holds": false, "latched": true, "words": ""},
"fired": 3, "last": 131, "seen": 133, "quiet": 0}}, {"text": "when(loss.plateaus(9, margin=0.0001,
flavor='lehr')).scale(0.8)", "memory": {"trigger": {"smooth": {"mean": 0.0, "weight": 0.0}, "best":
0.9917448079233887, "bad": 3, "holds": false, "words": ""}, "fired": 0, "last": null, "seen": 133, "quiet": 0}}]}],
"reported": {"loss": [132, 1.0059602059430919], "accuracy": [132, 0.7184147029414446]}, "decisions": [{"step": 132,
"kind": "rule", "words": "accuracy 0.701732 reached 0.7", "rule": "when(metric('accuracy', best='max').reaches(0.7,
rearm=0.5)).scale(0.9)", "action": "scale(0.9)", "lr_before": [0.04808894324072186], "lr_after":
[0.043280048916649674]}]}""".replace("\n", " ")
)
# What that version did from there on: the step of each firing, and the LR after it.
THEN = [
    (140, 0.032208049989),
    (160, 0.013055975006),
    (170, 0.009238918038),
    (184, 0.006078604512),
    (195, 0.004585431464),
    (207, 0.002942127061),
    (221, 0.001736717732),
    (240, 0.001),
    (244, 0.001),
    (258, 0.001),
    (258, 0.001),
    (281, 0.001),
    (295, 0.001),
]
POLICY = (
    "Policy(cosine(), [when(loss.improves_less_than(0.01, over='40 steps', test='means')).scale(0.5), "
    "when(metric('accuracy', best='max').reaches(0.7, rearm=0.5)).scale(0.9), when(loss.plateaus(9)).scale(0.8)], "
    "min_lr=0.001)"
)


def numbers(t: int) -> dict[str, Any]:
    return {"loss": 1 + math.exp(-t / 20) + 0.01 * math.sin(9 * t), "accuracy": 0.6 + 0.2 * math.sin(t / 10)}


def fired(run: lehr.Controller) -> list[tuple[int, float]]:
    while not run.done:
        run.step(**numbers(run.t))
    return [(event.step, event.lr_after[0]) for event in run.events if event.step > 133 and event.kind == "rule"]


@pytest.mark.parametrize("policy", [POLICY, OLD["policy"]], ids=["as it is written now", "as it was saved"])
def test_an_old_state_goes_on_as_it_would_have_there(policy: str) -> None:
    run = lehr.start(policy, lr=0.1, steps=300)
    run.load_state_dict(OLD)
    assert run.lr == pytest.approx(OLD["values"]["lr"][0], rel=1e-12)
    after = fired(run)
    assert [step for step, _ in after] == [step for step, _ in THEN]
    assert [lr for _, lr in after] == pytest.approx([lr for _, lr in THEN], rel=1e-9)


def test_a_policy_whose_default_has_changed_since_is_not_taken_for_the_old_one() -> None:
    run = lehr.start(POLICY.replace(", test='means'", ""), lr=0.1, steps=300)
    with pytest.raises(lehr.LehrError, match=r"test='means'.*\(saved\)"):
        run.load_state_dict(OLD)
    run.load_state_dict(OLD, on_change="keep_saved")
    assert [step for step, _ in fired(run)] == [step for step, _ in THEN]


def test_an_old_state_loads_with_the_new_test_beside_it() -> None:
    """The window of the old test is of no use to the new one, which begins anew; all else goes on."""
    run = lehr.start(POLICY.replace(", test='means'", ""), lr=0.1, steps=300)
    run.load_state_dict(OLD, on_change="use_new")
    assert run.lr == pytest.approx(OLD["values"]["lr"][0], rel=1e-12)
    assert fired(run)[0][0] == 140, "the plateau that had begun is known"
    json.dumps(run.state_dict(), allow_nan=False)


@pytest.mark.parametrize("name", ["seen", "quiet", "last", "fired"])
def test_what_a_state_does_not_hold_is_fresh(name: str) -> None:
    state = copy.deepcopy(OLD)
    for rule in state["tracks"][0]["rules"]:
        del rule["memory"][name]
    run = lehr.start(POLICY, lr=0.1, steps=300)
    run.load_state_dict(state)
    memory = run.state_dict()["tracks"][0]["rules"][1]["memory"]
    assert memory[name] == lehr.parse(POLICY).rules[1].init()._asdict()[name]
    assert memory["trigger"]["latched"]
