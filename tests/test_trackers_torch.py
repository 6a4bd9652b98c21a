"""Listeners of the torch adapter: the fast lane stays open between the updates of which they hear."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch

import lehr
from lehr.controller import Controller
from lehr.torch import Scheduler


class Listening:
    def __init__(self, every: int) -> None:
        self.every = every
        self.heard: list[tuple[int, dict[str, float], dict[str, float]]] = []

    def update(self, step: int, lrs: Mapping[str, float], gains: Mapping[str, float]) -> None:
        self.heard.append((step, dict(lrs), dict(gains)))

    def event(self, event: lehr.Event) -> None: ...


def made(**how: Any) -> tuple[torch.optim.Optimizer, Scheduler, list[float]]:
    """An optimiser, its scheduler, and the LRs that its updates use, recorded by a hook."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    used: list[float] = []
    optimizer.register_step_pre_hook(lambda opt, *_: used.append(opt.param_groups[0]["lr"]))
    return optimizer, Scheduler(optimizer, "warmup('5%').then(cosine())", steps=200, **how), used


def train(optimizer: torch.optim.Optimizer, scheduler: Scheduler, updates: int) -> None:
    for _ in range(updates):
        optimizer.step()
        scheduler.step(loss=1.0)


@pytest.mark.parametrize("every", [1, 2, 7, 10, 1000])
def test_a_listener_hears_the_lr_that_the_update_used(every: int) -> None:
    optimizer, scheduler, used = made()
    listener = Listening(every)
    scheduler.subscribe(listener)
    train(optimizer, scheduler, 200)
    assert listener.heard == [(t, {"0": used[t]}, {"0": 1.0}) for t in range(0, 200, every)]
    plain_optimizer, plain, without = made()
    train(plain_optimizer, plain, 200)
    assert used == without


@pytest.mark.parametrize(("every", "most"), [(10, 23), (50, 7), (1000, 4)])
def test_only_updates_that_a_listener_hears_of_leave_the_fast_lane(
    every: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    optimizer, scheduler, _ = made()
    scheduler.subscribe(Listening(every))
    calls: list[int] = []
    advance = Controller.advance

    def counted(run: Controller, count: int, numbers: Mapping[str, float]) -> None:
        calls.append(run.t)
        advance(run, count, numbers)

    monkeypatch.setattr(Controller, "advance", counted)
    train(optimizer, scheduler, 200)
    assert {0, *range(0, 200, every)} <= set(calls)
    assert len(calls) <= most  # three calls are watched for misuse, and one a listener's update


def test_two_listeners_hear_each_in_its_own_time_and_one_may_leave() -> None:
    optimizer, scheduler, _ = made()
    two, three = Listening(20), Listening(30)
    scheduler.subscribe(two)
    train(optimizer, scheduler, 50)
    end = scheduler.subscribe(three)
    train(optimizer, scheduler, 50)
    end()
    train(optimizer, scheduler, 100)
    assert [step for step, _, _ in two.heard] == list(range(0, 200, 20))
    assert [step for step, _, _ in three.heard] == [60, 90]


def test_a_hand_edit_and_a_resume_between_two_updates_that_are_heard_are_noticed() -> None:
    optimizer, scheduler, used = made()
    listener = Listening(10)
    scheduler.subscribe(listener)
    train(optimizer, scheduler, 33)
    optimizer.param_groups[0]["lr"] = 0.05
    train(optimizer, scheduler, 12)
    state = scheduler.state_dict()
    train(optimizer, scheduler, 10)
    scheduler.load_state_dict(state)
    del used[45:]
    train(optimizer, scheduler, 10)
    assert [(t, lrs["0"]) for t, lrs, _ in listener.heard] == [(t, used[t]) for t in (0, 10, 20, 30, 40, 50, 50)]
    assert listener.heard[4][2]["0"] != 1.0


def test_counted_by_epochs_each_call_is_told() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    horizon = lehr.Horizon(epochs=5, steps_per_epoch=40)
    scheduler = Scheduler(optimizer, "linear()", horizon=horizon, count="epochs")
    listener = Listening(10)
    scheduler.subscribe(listener)
    lrs = []
    for _ in range(5):
        lrs.append(optimizer.param_groups[0]["lr"])
        for _ in range(40):
            optimizer.step()
        scheduler.step()
    assert [(t, told["0"]) for t, told, _ in listener.heard] == list(zip(range(39, 200, 40), lrs, strict=True))
