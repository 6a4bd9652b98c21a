"""`lehr.check` as a whole: healthy policies, groups, runs of any length, and rules held against real runs."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lehr
from lehr import Finding, Horizon, LehrError, Policy
from lehr.checks.finding import SEVERITIES
from lehr.checks.page import page
from lehr.schedules.catalogue import CATALOGUE
from lehr.study.policies import built_in

ROOT = Path(__file__).parent.parent
RUN = Horizon(steps=50_000, steps_per_epoch=500, samples_per_step=32, tokens_per_step=2**19)
LONG = 10**12


def healthy() -> list[str]:
    """The policies that our own pages advise and our own study runs, as texts."""
    advised = (ROOT / "docs" / "choose.md").read_text().split("## Before the shape")[0]
    named = re.findall(r"`([a-zA-Z_]+\([^`]*\))`", advised + (ROOT / "README.md").read_text())
    texts = [text.replace("val.", "metric('val', best='min').") for text in named if "…" not in text]
    texts = [text for text in texts if "..." not in text and not text.startswith(("lehr.start", "scheduler"))]
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    names: dict[str, object] = {"lehr": lehr}
    exec(next(block for block in blocks if "lehr.Policy" in block), names)
    return [*texts, "wsd()", repr(names["policy"]), *(policy.text for policy in built_in("accuracy", "max", 0.9))]


def bad(findings: list[Finding]) -> list[str]:
    return [f"{finding.code}: {finding.reason}" for finding in findings if finding.severity != "note"]


@pytest.mark.parametrize("text", healthy())
def test_healthy_policies_have_neither_errors_nor_warnings(text: str) -> None:
    assert bad(lehr.check(text, horizon=RUN, lr=3e-4)) == []
    assert bad(lehr.check(text, horizon=RUN)) == []


def test_many_policies_of_the_pages_are_looked_at() -> None:
    assert len(healthy()) > 20


@pytest.mark.parametrize("steps", [1, 2, 3, 1000, LONG])
def test_every_shape_can_be_checked_over_a_run_of_any_length(steps: int) -> None:
    horizon = Horizon(steps=steps, steps_per_epoch=500, samples_per_step=32, tokens_per_step=1000)
    for row in CATALOGUE:
        for text in row.examples:
            for finding in lehr.check(text, horizon=horizon, lr=0.1):
                assert finding.severity in SEVERITIES


def test_a_step_that_matters_is_found_exactly_in_a_run_of_any_length() -> None:
    (idle,) = lehr.check("linear(400_000_000_123)", steps=LONG)
    assert idle.code == "LR108"
    assert "at step 400000000123 of 1000000000000" in idle.reason
    gamma = 10 ** (-8 / 3e11)
    underflow = next(f for f in lehr.check(lehr.exponential(gamma), steps=LONG) if f.code == "LR107")
    step = int(re.findall(r"from step (\d+) on", underflow.reason)[0])
    assert step == pytest.approx(3e11, rel=1e-3)  # γ is so near 1 that a float holds few digits of its logarithm


def test_findings_are_sorted_the_worst_first_and_said_once() -> None:
    text = "Policy(warmup(300, zero_start=True).then(linear(to=1e-5)), min_lr=1)"
    findings = lehr.check(text, steps=200, lr=[0.1, 0.1])
    order = [(SEVERITIES.index(finding.severity), finding.code) for finding in findings]
    assert order == sorted(order)
    assert len(set(findings)) == len(findings)
    assert {finding.severity for finding in findings} == set(SEVERITIES)


def test_a_finding_of_some_groups_says_which() -> None:
    findings = lehr.check("Policy(cosine(), min_lr=0.1)", steps=100, lr=[0.1, 1.0, 0.05])
    floors = [finding.reason for finding in findings if finding.code == "LR301"]
    assert [reason.split(":")[0] for reason in floors] == ["group 0", "group 2"]
    shared = lehr.check("Policy(cosine(50), min_lr=[0, 0])", steps=100, lr=[0.1, 1.0])
    assert [finding.code for finding in shared] == ["LR108"]


def test_each_group_has_its_own_policy_and_bounds() -> None:
    by_order = lehr.check("groups(cosine(), cosine(50))", steps=100, lr=[0.1, 0.2])
    assert [(f.code, f.reason.split(":")[0]) for f in by_order] == [("LR108", "group 1")]
    by_name = lehr.check("groups(head=cosine(50), default=cosine())", steps=100, lr=0.1)
    assert [(f.code, f.reason.split(":")[0]) for f in by_name] == [("LR108", "group head")]
    bounds = lehr.check("Policy(cosine(), min_lr=[0.1, 0.01])", steps=100, lr=0.1)
    assert [(f.code, f.reason.split(":")[0]) for f in bounds if f.code == "LR301"] == [("LR301", "group 0")]


def test_default_beside_indices_is_the_policy_of_all_other_groups() -> None:
    text = "groups({1: cosine(), 'default': cosine(50)})"
    findings = lehr.check(text, steps=100, lr=[0.1, 0.2, 0.3])
    assert [(f.code, f.reason.split(":")[0]) for f in findings] == [("LR108", "group 0"), ("LR108", "group 2")]
    assert [f.reason.split(":")[0] for f in lehr.check(text, steps=100, lr=0.1)] == ["group default"]
    assert lehr.check("groups({0: cosine(), 1: cosine(), 'default': cosine(50)})", steps=100, lr=[0.1, 0.2]) == []
    with pytest.raises(LehrError, match="told by name"):
        lehr.check("groups({0: cosine(), 'head*': hold(), 'default': hold()})", steps=100, lr=[0.1, 0.2])


def test_base_lrs_may_be_an_array() -> None:
    text = "Policy(cosine(), min_lr=0.1)"
    for lrs in ([0.1, 1.0], 0.1):
        assert lehr.check(text, steps=100, lr=np.array(lrs)) == lehr.check(text, steps=100, lr=lrs)


def test_only_the_lr_of_a_bind_is_looked_at() -> None:
    assert lehr.check("bind(lr=cosine(), momentum=constant(0))", steps=100) == []
    assert [f.code for f in lehr.check("bind(momentum=cosine(), lr=cosine(50))", steps=100)] == ["LR108"]
    nested = lehr.check("groups(bind(lr=cosine(50), momentum=hold()), cosine())", steps=100, lr=0.1)
    assert [(f.code, f.reason.split(":")[0]) for f in nested] == [("LR108", "group 0")]


def test_a_policy_a_schedule_a_rule_and_a_text_are_one_door() -> None:
    schedule = lehr.cosine(50)
    assert (
        lehr.check(schedule, steps=100)
        == lehr.check(Policy(schedule), steps=100)
        == lehr.check("cosine(50)", steps=100)
    )
    rule = lehr.when(lehr.loss.plateaus(200)).scale(0.5)
    assert [f.code for f in lehr.check(rule, steps=100)] == ["LR401"]


def test_what_cannot_be_right_is_refused_with_a_remedy() -> None:
    with pytest.raises(LehrError, match="not both"):
        lehr.check("cosine()", steps=10, horizon=RUN)
    with pytest.raises(LehrError, match="must be a positive number, got 0"):
        lehr.check("cosine()", steps=10, lr=0)
    with pytest.raises(LehrError, match=r"must be a positive number, got '0\.1'"):
        lehr.check("cosine()", steps=10, lr="0.1")  # type: ignore[arg-type]
    with pytest.raises(LehrError, match="told by name"):
        lehr.check("groups(head=cosine(), default=hold())", steps=10, lr=[0.1, 0.2])
    with pytest.raises(LehrError, match="one for each group"):
        lehr.check("groups(cosine(), hold(), hold())", steps=10, lr=[0.1, 0.2])


def test_remedies_name_what_to_write() -> None:
    remedies = {
        "exponential(0.95)": 'write per="1 epoch"',
        "step_decay(30)": 'write every="30 epochs"',
        "multistep([30, 60, 90])": '"90 epochs"',
    }
    for text, remedy in remedies.items():
        found = {finding.code: finding for finding in lehr.check(text, horizon=RUN)}
        assert remedy in found["LR203"].remedy
    (unknown,) = lehr.check("exponential(0.9, per='1 epoch')", steps=100)
    assert unknown.remedy == "give Horizon(steps_per_epoch=...)"
    (to,) = lehr.check("linear(to=1e-6)", steps=100, lr=3e-4)
    assert "did you mean to_lr=?" in to.remedy
    assert "an LR of 3e-10" in to.reason


def fires(policy: Policy, steps: int) -> bool:
    """Whether a rule fires in a run whose every number stays the same, the best case for a rule against standstill."""
    observations = {name: np.ones(steps) for name in ("loss", "acc")}
    run = lehr.simulate(policy, lr=0.1, steps=steps, observations=observations)
    return any(event.kind == "rule" for event in run.events)


@given(
    steps=st.integers(1, 60),
    warm=st.integers(0, 8),
    after=st.integers(0, 70) | st.integers(0, 70).map("{} observations".format),
    cadence=st.none() | st.integers(1, 9),
    trigger=st.integers(0, 40).map("plateaus({})".format)
    | st.integers(1, 40).map("improves_less_than(0.01, over={})".format)
    | st.integers(1, 40).map("improves_less_than(0.01, over='{} observations')".format)
    | st.just("reaches(1)"),
)
def test_a_rule_that_is_said_never_to_fire_does_not_and_others_do(
    steps: int, warm: int, after: int | str, cadence: int | None, trigger: str
) -> None:
    signal = "loss" if cadence is None else f"evaluation('acc', every={cadence}, best='min')"
    schedule = f"warmup({warm}).then(hold())" if warm else "hold()"
    policy = lehr.parse(f"Policy({schedule}, [when({signal}.{trigger}).scale(0.5).after({after!r})])")
    said = {finding.code for finding in lehr.check(policy, steps=steps)} & {"LR401", "LR402", "LR403", "LR104"}
    if said:
        assert not fires(policy, steps)
    elif "over=" not in trigger or "obs" in trigger or cadence is None:
        assert fires(policy, steps)  # windows in steps over an evaluation may hold none: nothing is said of those


def test_the_page_of_the_findings_is_up_to_date() -> None:
    written = (ROOT / "docs" / "checks.md").read_text(encoding="utf-8")
    assert written == page(), "python -m lehr.checks.page > docs/checks.md"


def test_a_finding_prints_as_one_line() -> None:
    (finding,) = lehr.check("warmup(200).then(linear())", steps=100)
    assert str(finding) == f"{finding.severity} LR104: {finding.reason}; {finding.remedy}"
    assert "\n" not in str(finding)
