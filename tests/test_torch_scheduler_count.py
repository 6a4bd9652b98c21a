"""What advances the torch adapter: calls, real updates, or epochs."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch

import lehr
from lehr.torch import Scheduler

CURVE = lehr.linear().resolve(steps=20)
RULE = "Policy(linear(), rules=[when(loss.reaches(0)).scale(0.5)])"


def sgd() -> Any:
    return torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=1.0)


def lr(scheduler: Any) -> float:
    return float(scheduler.optimizer.param_groups[0]["lr"])


@pytest.mark.parametrize("policy", ["linear()", RULE])
@pytest.mark.parametrize("pattern", [[1] * 10, [3, 3, 3], [0, 1, 0, 0, 2, 1, 5], [0, 0, 0], [10]])
def test_updates_advance_by_what_was_really_applied(policy: str, pattern: list[int]) -> None:
    scheduler, applied = Scheduler(sgd(), policy, steps=20, count="updates"), 0
    for updates in pattern:
        for _ in range(updates):
            scheduler.optimizer.step()
        scheduler.step(loss=1.0)
        applied += updates
        assert (scheduler.t, lr(scheduler)) == (applied, CURVE(applied))
        assert scheduler.last_epoch == applied


@pytest.mark.parametrize("policy", ["linear()", RULE])
def test_calling_many_times_for_one_update_is_harmless(policy: str) -> None:
    """As in a loop that accumulates gradients and calls step(loss=...) for every micro-batch."""
    scheduler = Scheduler(sgd(), policy, steps=20, count="updates")
    for update in range(6):
        for micro in range(4):
            if micro == 3:
                scheduler.optimizer.step()
            scheduler.step(loss=1.0 + update + 0.1 * micro)
    assert scheduler.t == 6
    assert len(scheduler.events) == 0


def test_updates_that_were_skipped_under_a_scaler_do_not_advance() -> None:
    scheduler, steps = Scheduler(sgd(), "linear()", steps=20, count="updates"), 0
    for i in range(12):
        if i % 3:  # GradScaler does not call optimizer.step() after an overflow
            scheduler.optimizer.step()
            steps += 1
        scheduler.step()
    assert (scheduler.t, lr(scheduler)) == (steps, CURVE(steps)) == (8, CURVE(8))


def test_updates_that_the_hook_saw_but_that_were_not_applied_do_not_count_later() -> None:
    """A fused optimizer runs its hooks for a skipped update too: applied=False takes it back."""
    scheduler = Scheduler(sgd(), "linear()", steps=20, count="updates")
    scheduler.optimizer.step()
    scheduler.step(applied=False)
    scheduler.optimizer.step()
    scheduler.step()
    assert scheduler.t == 1


def test_updates_before_a_restore_do_not_count_after_it() -> None:
    scheduler = Scheduler(sgd(), "linear()", steps=20, count="updates")
    state = scheduler.state_dict()
    scheduler.optimizer.step()
    scheduler.load_state_dict(state)
    scheduler.optimizer.step()
    scheduler.step()
    assert scheduler.t == 1


def test_the_hook_of_updates_stays() -> None:
    scheduler = Scheduler(sgd(), "linear()", steps=20, count="updates")
    for _ in range(10):
        scheduler.optimizer.step()
        scheduler.step()
    assert len(scheduler.optimizer._optimizer_step_post_hooks) == 1


def test_several_updates_between_calls_are_evaluated_once() -> None:
    calls: list[Any] = []

    def accuracy(model: Any) -> float:
        calls.append(model)
        return 0.5

    scheduler = Scheduler(
        sgd(),
        "when(evaluation('acc', every=4, best='max').reaches(0.9)).stop()",
        steps=20,
        count="updates",
        model=torch.nn.Linear(1, 1),
        evaluate={"acc": accuracy},
    )
    for _ in range(2):
        for _ in range(10):
            scheduler.optimizer.step()
        scheduler.step()
    assert (scheduler.t, len(calls)) == (20, 2)


@pytest.mark.parametrize(
    ("policy", "horizon", "expected"),
    [
        ("step_decay('2 epochs', 0.5)", lehr.Horizon(epochs=6, steps_per_epoch=7), [1, 1, 0.5, 0.5, 0.25, 0.25, 0.125]),
        ("linear()", lehr.Horizon(epochs=4, steps_per_epoch=7), [1, 0.75, 0.5, 0.25, 0]),
        ("linear()", lehr.Horizon(steps=4), [1, 0.75, 0.5, 0.25, 0]),  # then a step is an epoch
        ("step_decay(2, 0.5)", lehr.Horizon(), [1, 1, 0.5, 0.5, 0.25]),
    ],
)
def test_epochs(policy: str, horizon: lehr.Horizon, expected: list[float]) -> None:
    scheduler = Scheduler(sgd(), policy, horizon=horizon, count="epochs")
    seen = [lr(scheduler)]
    for epoch in range(len(expected) - 1):
        assert scheduler.last_epoch == epoch
        for _ in range(7):
            scheduler.optimizer.step()
        scheduler.step()
        seen.append(lr(scheduler))
    assert seen == pytest.approx(expected, rel=1e-14)
    assert scheduler.t == (len(expected) - 1) * (horizon.steps_per_epoch or 1)


def test_epochs_do_not_warn_about_many_updates() -> None:
    scheduler = Scheduler(sgd(), "linear()", horizon=lehr.Horizon(epochs=9, steps_per_epoch=5), count="epochs")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(5):
            for _ in range(5):
                scheduler.optimizer.step()
            scheduler.step()


@pytest.mark.parametrize("count", ["calls", "updates", "epochs"])
def test_a_rule_reads_each_call(count: Any) -> None:
    policy = "when(loss.plateaus(2)).scale(0.5)"
    scheduler = Scheduler(sgd(), policy, horizon=lehr.Horizon(steps=60, steps_per_epoch=3), count=count)
    for _ in range(4):
        for _ in range(3 if count == "epochs" else 1):
            scheduler.optimizer.step()
        scheduler.step(loss=1.0)
    assert lr(scheduler) == 0.5


@pytest.mark.parametrize("count", ["calls", "updates", "epochs"])
def test_resume_in_every_way_of_counting(count: Any) -> None:
    def made() -> Any:
        return Scheduler(sgd(), RULE, horizon=lehr.Horizon(steps=20, steps_per_epoch=2), count=count)

    def drive(scheduler: Any, calls: int) -> list[float]:
        seen = []
        for _ in range(calls):
            for _ in range(2 if count == "epochs" else 1):
                scheduler.optimizer.step()
            scheduler.step(loss=1.0)
            seen.append(lr(scheduler))
        return seen

    whole = drive(made(), 8)
    first = made()
    before = drive(first, 3)
    second = made()
    second.load_state_dict(first.state_dict())
    assert before + drive(second, 5) == whole
    assert second.last_epoch == 8
