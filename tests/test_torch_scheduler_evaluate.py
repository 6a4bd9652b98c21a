"""Evaluation inside `step()`: in eval mode and without gradients, and afterwards everything is as it was."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import lehr
from lehr.torch import Scheduler

POLICY = "when(evaluation('acc', every=2, best='max').reaches(0.9)).scale(0.5)"


def network() -> Any:
    """With a frozen normalisation inside a training model: modes are mixed."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(2, 4), torch.nn.BatchNorm1d(4), torch.nn.Dropout(0.5), torch.nn.Linear(4, 1)
    )
    model.train()
    model[1].eval()
    return model


def scheduler_of(model: Any, function: Callable[[Any], Any]) -> Any:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return Scheduler(optimizer, POLICY, steps=10, model=model, evaluate={"acc": function})


def step(scheduler: Any) -> None:
    scheduler.optimizer.step()
    scheduler.step(loss=1.0)


def draws() -> list[float]:
    return [
        float(torch.rand(1)),
        random.random(),
        float(np.random.rand()),  # noqa: NPY002  # the user's global state is what is meant
    ]


def seed(number: int) -> None:
    torch.manual_seed(number)
    random.seed(number)
    np.random.seed(number)  # noqa: NPY002


def disturbing(raises: bool) -> Callable[[Any], float]:
    def function(model: Any) -> float:
        assert not any(module.training for module in model.modules())
        assert not torch.is_grad_enabled()
        draws()
        seed(2)
        model.train()
        if raises:
            raise RuntimeError("no data")
        return 0.5

    return function


def test_it_is_called_with_the_model_in_eval_mode_and_without_gradients() -> None:
    model, seen = network(), []

    def accuracy(given: Any) -> float:
        seen.append((given, torch.is_grad_enabled()))
        return 0.5

    scheduler = scheduler_of(model, accuracy)
    for _ in range(4):
        step(scheduler)
    assert [(given is model, grad) for given, grad in seen] == [(True, False), (True, False)]
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("raises", [False, True])
def test_modes_and_random_states_are_as_before(raises: bool) -> None:
    model = network()
    modes = [module.training for module in model.modules()]
    assert len(set(modes)) == 2
    scheduler = scheduler_of(model, disturbing(raises))
    step(scheduler)
    seed(1)
    expected = draws()
    seed(1)
    if raises:
        with pytest.raises(RuntimeError, match="no data"):
            step(scheduler)
    else:
        step(scheduler)
    assert draws() == expected
    assert [module.training for module in model.modules()] == modes
    assert torch.is_grad_enabled()


def test_it_does_not_change_the_training() -> None:
    """A dropout network trains to the last bit as it does without evaluation."""

    def trained(evaluates: bool) -> Any:
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        evaluate = {"acc": lambda m: m(torch.randn(5, 2)).mean()}
        policy = POLICY if evaluates else "constant()"
        scheduler = Scheduler(optimizer, policy, steps=10, model=model, evaluate=evaluate)
        for _ in range(6):
            loss = model(torch.randn(8, 2)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step(loss=loss)
        return [parameter.detach().clone() for parameter in model.parameters()]

    for one, two in zip(trained(True), trained(False), strict=True):
        assert torch.equal(one, two)


def test_a_tensor_comes_back_as_a_number_and_decides() -> None:
    scheduler = scheduler_of(network(), lambda model: torch.tensor([0.95]))
    for _ in range(2):
        step(scheduler)
    assert scheduler.lr == 0.05
    assert scheduler.events[0].words == "accuracy 0.95 reached 0.9".replace("accuracy", "acc")


@pytest.mark.parametrize("bad", [None, "high", (1.0, 2.0)])
def test_what_is_no_number_is_a_lehr_error_that_names_the_function(bad: Any) -> None:
    scheduler = scheduler_of(network(), lambda model: bad)
    step(scheduler)
    scheduler.optimizer.step()
    with pytest.raises(lehr.LehrError, match="acc"):
        scheduler.step(loss=1.0)


def test_never_for_an_update_that_was_not_applied_and_once_across_a_resume() -> None:
    calls: list[Any] = []

    def accuracy(model: Any) -> float:
        calls.append(model)
        return 0.5

    def made() -> Any:
        return scheduler_of(network(), accuracy)

    first = made()
    step(first)
    first.step(applied=False)
    first.step(applied=False)
    assert not calls
    step(first)
    assert len(calls) == 1
    second = made()
    second.load_state_dict(first.state_dict())
    second.step(applied=False)
    assert len(calls) == 1
    step(second)
    assert len(calls) == 1
    step(second)
    assert len(calls) == 2
