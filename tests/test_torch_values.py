"""What stands in parameter groups besides the LR: one of several numbers, groups chosen by their facts."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

import lehr
from lehr.torch import Scheduler
from lehr.torch.values import held, holds, put, read, untouched

pytestmark = pytest.mark.frameworks
POLICY = "bind({'lr': cosine(), 'betas[0]': linear(to=0.9), 'weight_decay': linear(to=2)})"


def adamw(*decays: float, **more: Any) -> torch.optim.AdamW:
    groups = [{"params": [torch.nn.Parameter(torch.ones(2))], "weight_decay": decay} for decay in decays or (0.1,)]
    return torch.optim.AdamW(groups, lr=0.1, betas=(0.8, 0.99), **more)


def update(optimizer: torch.optim.Optimizer) -> None:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.ones_like(parameter)
    optimizer.step()


def test_one_of_two_betas_is_scheduled_and_the_other_left_alone() -> None:
    optimizer = adamw()
    scheduler = Scheduler(optimizer, POLICY, steps=10)
    for t in range(10):
        group = optimizer.param_groups[0]
        beta1, beta2 = group["betas"]
        assert isinstance(group["betas"], tuple)
        assert beta1 == pytest.approx(0.8 * (1 - 0.1 * t / 10), rel=1e-15)
        assert beta2 == 0.99
        assert group["weight_decay"] == pytest.approx(0.1 * (1 + t / 10), rel=1e-15)
        update(optimizer)
        scheduler.step()
    assert "0.72" in str(scheduler.hyper["betas[0]"][0])


def test_betas_resume_in_any_order_of_loading() -> None:
    whole, optimizer = [], adamw(0.1, 0.0)
    scheduler = Scheduler(optimizer, POLICY, steps=10)
    for t in range(10):
        if t == 4:
            saved = json.dumps(scheduler.state_dict())
            weights = optimizer.state_dict()
            weights = {**weights, "param_groups": [dict(group) for group in weights["param_groups"]]}
        whole.append([group["betas"] for group in optimizer.param_groups])
        update(optimizer)
        scheduler.step()
    for order in ("optimizer first", "scheduler first", "built last"):
        again = adamw(0.1, 0.0)
        if order == "built last":
            again.load_state_dict(weights)
        resumed = Scheduler(again, POLICY, steps=10)
        if order == "optimizer first":
            again.load_state_dict(weights)
        resumed.load_state_dict(json.loads(saved))
        if order == "scheduler first":
            again.load_state_dict(weights)
        for t in range(4, 10):
            assert [group["betas"] for group in again.param_groups] == whole[t], order
            update(again)
            resumed.step()


def test_a_hand_edit_of_betas_is_adopted() -> None:
    optimizer = adamw()
    scheduler = Scheduler(optimizer, "bind({'betas[0]': constant()})", steps=10)
    optimizer.param_groups[0]["betas"] = (0.5, 0.9)
    update(optimizer)
    scheduler.step()
    assert optimizer.param_groups[0]["betas"] == (0.5, 0.9)
    assert "betas[0] of group 0 was changed by hand from 0.8 to 0.5" in scheduler.why() + str(list(scheduler.events))


def test_groups_are_chosen_by_their_weight_decay() -> None:
    optimizer = adamw(0.1, 0.0)
    policy = lehr.groups({"weight_decay == 0": lehr.constant(0.5), "default": lehr.constant()})
    scheduler = Scheduler(optimizer, policy, steps=10)
    assert scheduler.lrs == [0.1, 0.05]
    optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))], "weight_decay": 0.0})
    update(optimizer)
    scheduler.step()
    assert scheduler.lrs == [0.1, 0.05, 0.05]


@pytest.mark.parametrize("target", ["betas[2]", "betas", "beta", "params[0]", "name"])
def test_what_is_no_number_is_refused_by_name(target: str) -> None:
    with pytest.raises(lehr.LehrError, match=f"'{target.split('[')[0]}".replace("[", r"\\[")):
        Scheduler(adamw(), lehr.bind({target: lehr.cosine()}), steps=10)


def test_tensors_inside_betas_are_written_in_place() -> None:
    beta = torch.tensor(0.8)
    group = {"betas": (beta, torch.tensor(0.99)), "lr": 0.1}
    written = put(group, "betas[0]", 0.7)
    assert held(group, "betas[0]") is beta
    assert read(group, "betas[0]", 0) == pytest.approx(0.7, rel=1e-6)
    assert untouched(held(group, "betas[0]"), written)
    beta.mul_(2)
    assert not untouched(held(group, "betas[0]"), written)
    assert holds(group, "betas[1]")
    assert not holds(group, "betas[2]")
    assert not holds(group, "lr[0]")
