"""A scheduler whose steps a trainer's callback makes: what the trainer itself calls does nothing."""

import copy
from typing import Any

import pytest
import torch

import lehr
from lehr.torch import Scheduler

POLICY = "Policy(warmup(3).then(cosine()), rules=[when(loss.reaches(0.5)).scale(0.5)])"


def scheduler(count: Any = "calls", policy: str = POLICY) -> Scheduler:
    return Scheduler(torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1), policy, steps=20, count=count)


@pytest.mark.parametrize("count", ["calls", "updates"])
@pytest.mark.parametrize("policy", ["cosine()", POLICY])
@pytest.mark.parametrize("calls", [0, 1, 3])
def test_the_calls_of_the_trainer_do_nothing(count: str, policy: str, calls: int) -> None:
    mine = scheduler(count, policy)
    step = mine.drive()
    alone = lehr.start(policy, lr=0.1, steps=20)
    for t in range(20):
        assert mine.optimizer.param_groups[0]["lr"] == mine.lr == alone.lr
        mine.optimizer.step()
        for _ in range(calls):
            mine.step()
        step(loss=1 - t / 20)
        alone.step(loss=1 - t / 20)
    assert mine.done
    assert [str(event) for event in mine.events] == [str(event) for event in alone.events]


def test_it_may_begin_in_mid_run_and_survives_a_copy() -> None:
    mine, alone = scheduler(policy="cosine()"), lehr.start("cosine()", lr=0.1, steps=20)
    for _ in range(7):  # the fast lane has run ahead
        mine.optimizer.step()
        mine.step()
        alone.step()
    mine.drive()
    twin = copy.deepcopy(mine)
    twin.step()
    assert (mine.t, twin.t, mine.lr, twin.lr) == (7, 7, alone.lr, alone.lr)
