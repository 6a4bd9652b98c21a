"""The checks of a finished run's log find what went wrong, and are silent on a run that went as planned."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

import lehr
from lehr import Finding, LehrError, Trace
from lehr.checks.catalogue import LOG
from lehr.journal import Event
from lehr.study.policies import NamedPolicy, built_in
from lehr.torch import Scheduler

STEPS = 200
TEXT = "warmup(20).then(linear())"
RULE = "when(loss.reaches(0.5)).scale(0.1)"


def planned(lr: float = 0.1) -> list[float]:
    """The LR of each step of TEXT, by hand."""
    rising = [lr * (t + 1) / 20 for t in range(20)]
    return rising + [lr * (1 - i / 180) for i in range(180)]


def trace(
    lrs: list[float],
    text: str = TEXT,
    events: tuple[Event, ...] = (),
    second: list[float] | None = None,
    **columns: list[float],
) -> Trace:
    columns |= {} if second is None else {"lr.1": second}
    filled = {"step": np.arange(len(lrs), dtype=float), "lr": np.array(lrs)}
    filled |= {name: np.array(values) for name, values in columns.items()}
    return Trace({"policy": lehr.as_policy(text).text(full=True)}, filled, list(events))


def found(log: Trace, steps: int | None = STEPS, lr: float | None = 0.1) -> dict[str, Finding]:
    return {finding.code: finding for finding in lehr.check(log=log, steps=steps, lr=lr)}


ENDS = [20.0 * k - 1 for k in range(1, 11)]  # of rows that stand for 20 updates each
LAST = [float(t) for t in range(100, STEPS)]  # of a run that went on at step 100
NOWHERE = Trace({"policy": "of_step('registered_elsewhere')", "groups": 1}, {"step": np.arange(250.0)})
WARNING = Event(7, "warning", "no 'acc' was reported in 100 steps")
FINISH = Event(84, "finish", "finished at 42 % of the schedule (84 of 200 steps)")
FIRED = Event(100, "rule", "loss 0.4 reached 0.5", RULE, "scale(0.1)", (0.05,), (0.005,))
STOPPED = Event(100, "rule", "loss 0.4 reached 0.5", "when(loss.reaches(0.5)).stop()", "stop()", (0.05,), (0.05,))
CUT = [lr * (0.1 if t >= 100 else 1.0) for t, lr in enumerate(planned())]

CASES = {
    "LR601": ([trace([0.1] * STEPS)], [trace(planned()), trace([0.1] * STEPS, "constant()")]),
    "LR602": (
        [
            trace([0.1 * (1 - t / STEPS) for t in range(STEPS)]),
            trace(planned(0.2)),
            trace(planned()[20::20], step=ENDS),
        ],
        [
            trace(planned()),
            trace(planned()[::20], step=ENDS),
            trace(planned()[100:], step=LAST),
            trace(CUT, f"Policy({TEXT}, [{RULE}])", (FIRED,), loss=[0.4] * STEPS),
        ],
    ),
    "LR603": ([trace(planned(), lr_=[0.1] * STEPS)], [trace(planned(), lr_=planned())]),
    "LR604": (
        [trace(planned()[:84])],
        [trace(planned()), trace(planned()[:199]), trace(planned()[:101], events=(STOPPED,))],
    ),
    "LR605": ([trace(planned() + [0.0] * 10)], [trace([*planned(), 0.0])]),
    "LR606": (
        [trace(planned(), f"Policy({TEXT}, [{RULE}])")],
        [trace(planned(), f"Policy({TEXT}, [{RULE}])", loss=[1.0] * STEPS)],
    ),
    "LR607": (
        [trace(planned(), f"Policy({TEXT}, [{RULE}])", loss=[1.0] * STEPS)],
        [
            trace(CUT, f"Policy({TEXT}, [{RULE}])", (FIRED,), loss=[0.4] * STEPS),
            trace(planned(), f"Policy({TEXT}, [{RULE}])"),
        ],
    ),
    "LR608": ([trace(planned(), events=(WARNING,))], [trace(planned())]),
    "LR609": ([NOWHERE], [trace(planned())]),
}


def test_every_check_of_a_log_has_its_cases() -> None:
    assert sorted(CASES) == sorted(row.code for row in LOG)


@pytest.mark.parametrize(("code", "log"), [(code, log) for code, (bad, _) in CASES.items() for log in bad])
def test_it_finds_the_bad_log(code: str, log: Trace) -> None:
    assert found(log)[code].reason


@pytest.mark.parametrize(("code", "log"), [(code, log) for code, (_, good) in CASES.items() for log in good])
def test_it_is_silent_on_the_nearest_good_log(code: str, log: Trace) -> None:
    assert code not in found(log)


def test_a_run_that_went_as_planned_has_no_findings(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    run = lehr.start(TEXT, lr=0.1, steps=STEPS)
    with lehr.record(run, path):
        while not run.done:
            run.step(loss=0.7, lr=run.lr)
    assert lehr.check(log=path, steps=STEPS, lr=0.1) == []
    assert lehr.check(log=str(path), steps=STEPS) == []


def test_without_a_base_lr_the_shape_is_compared() -> None:
    assert "LR602" not in found(trace(planned(0.3)), lr=None)
    assert "LR602" in found(trace([0.3 * (1 - t / STEPS) for t in range(STEPS)]), lr=None)


def test_without_a_base_lr_nothing_is_said_of_a_curve_with_bounds() -> None:
    lrs = [max(lr, 0.05) if t >= 20 else lr for t, lr in enumerate(planned())]
    log = trace(lrs, f"Policy({TEXT}, min_lr=0.05)")
    assert "LR602" not in found(log)
    assert "LR602" not in found(log, lr=None)


def test_every_group_is_compared_with_its_own_column() -> None:
    text = "groups(linear(), constant())"
    falling = [0.1 * (1 - t / STEPS) for t in range(STEPS)]
    good = trace(falling, text, second=[0.1] * STEPS)
    bad = trace([0.1] * STEPS, text, second=[0.1] * STEPS)
    assert {"LR601", "LR602"}.isdisjoint(found(good))
    assert "LR601" in found(bad)


def test_groups_told_by_name_are_compared_with_no_column() -> None:
    text = "groups(head=linear(), default=constant())"
    assert {"LR601", "LR602"}.isdisjoint(found(trace([0.1] * STEPS, text)))


def test_numbers_that_are_not_there_are_no_difference() -> None:
    lrs = planned()
    assert "LR602" not in found(trace([np.nan if t % 7 == 3 else lr for t, lr in enumerate(lrs)]))


def test_without_a_horizon_the_journal_says_how_far_the_run_went() -> None:
    assert "42 %" in found(trace(planned()[:84], events=(FINISH,)), steps=None)["LR604"].reason


def test_the_header_may_say_the_steps() -> None:
    log = trace(planned()[:84])
    log.header["steps"] = STEPS
    assert "42 %" in found(log, steps=None)["LR604"].reason


def test_the_header_may_say_the_horizon_and_what_is_given_wins() -> None:
    log = trace(planned()[:84], "warmup('1 epoch').then(linear())")
    log.header["horizon"] = {"steps": STEPS, "steps_per_epoch": 20, "unknown": 3}
    assert "42 %" in found(log, steps=None)["LR604"].reason
    assert {"LR201", "LR602"}.isdisjoint(found(log, steps=None))
    assert "LR602" in {
        finding.code for finding in lehr.check(log=log, horizon=lehr.Horizon(steps_per_epoch=40), lr=0.1)
    }
    assert "84 of 100" in found(log, steps=100)["LR604"].reason


@pytest.mark.parametrize(("count", "calls", "updates"), [("epochs", 10, 20), ("updates", 50, 4)])
def test_a_call_that_stands_for_many_updates_is_no_difference(
    count: Literal["epochs", "updates"], calls: int, updates: int, tmp_path: Path
) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    run = Scheduler(optimizer, TEXT, horizon=lehr.Horizon(steps=STEPS, steps_per_epoch=20), count=count)
    with lehr.record(run, tmp_path / "trace.jsonl"):
        for _ in range(calls):
            for _ in range(updates):
                optimizer.step()
            run.step()
    log = Trace.read(tmp_path / "trace.jsonl")
    assert len(log.columns["step"]) == calls
    assert found(log) == {}


def test_what_needs_no_policy_is_said_of_a_log_whose_policy_cannot_be_read() -> None:
    log = Trace(NOWHERE.header, NOWHERE.columns, [WARNING])
    assert sorted(found(log)) == ["LR605", "LR608", "LR609"]
    with pytest.raises(LehrError, match="registered_elsewhere"):
        lehr.check("of_step('registered_elsewhere')", log=log)


def test_a_policy_may_be_given_beside_the_log() -> None:
    log = Trace({}, {"step": np.arange(200.0), "lr": np.full(200, 0.1)})
    assert "LR601" in {finding.code for finding in lehr.check(TEXT, log=log, steps=200, lr=0.1)}
    with pytest.raises(LehrError, match="needs a policy, or a log whose header names one"):
        lehr.check(log=log)
    with pytest.raises(LehrError, match="needs a policy"):
        lehr.check()


def test_an_empty_log_says_nothing_of_the_lr() -> None:
    assert {"LR601", "LR602", "LR603", "LR605"}.isdisjoint(found(trace([])))


@pytest.mark.parametrize("policy", built_in("accuracy", "max", 0.9), ids=lambda policy: policy.label)
def test_the_log_of_a_healthy_run_has_neither_errors_nor_warnings(policy: NamedPolicy, tmp_path: Path) -> None:
    steps, noise = 2000, np.random.default_rng(0).normal(size=2000)
    accuracy = [min(1.0, 2 * t / steps) for t in range(steps)]
    run = lehr.start(policy.text, lr=0.1, steps=steps, evaluate={"accuracy": lambda: accuracy[run.t - 1]})
    with lehr.record(run, tmp_path / "trace.jsonl"):
        while not run.done:
            run.step(loss=1.0 + 0.1 * noise[run.t], val_accuracy=accuracy[run.t], lr=run.lr)
        run.finish()
    findings = lehr.check(log=tmp_path / "trace.jsonl", steps=steps, lr=0.1)
    assert [finding for finding in findings if finding.severity != "note"] == []
