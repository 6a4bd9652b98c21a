"""Curves against ignite's schedulers of numbers that are no LR: engine states and the batch size."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity import Ours, agree, curve
from parity_draws import FACTORS, LENGTHS, LRS, OPEN_FACTORS, forty
from parity_functions import FUNCTIONS

pytestmark = [
    pytest.mark.peers,
    pytest.mark.frameworks,
    pytest.mark.filterwarnings("ignore:.torch.jit"),  # torch warns as ignite is imported
]


def holds(function: str, ours: Ours, **arguments: Any) -> None:
    """The value before the first event, and that after each: ignite counts an event before it reads the formula."""
    handlers = importlib.import_module("ignite.handlers.state_param_scheduler")
    engine = importlib.import_module("ignite.engine").Engine(lambda engine, batch: None)
    scheduler = getattr(handlers, function)(param_name="number", **arguments)
    values = [scheduler.get_param()]
    for _ in ours.values[1:]:
        scheduler(engine)
        values.append(engine.state.number)
    agree("ignite", function, values, ours)


@forty
@given(gamma=OPEN_FACTORS, value=LRS)
def test_exponential(gamma: float, value: float) -> None:
    ours = curve("exponential({gamma})", 100, value, gamma=gamma)
    holds("ExpStateScheduler", ours, initial_value=value, gamma=gamma)


@forty
@given(n=LENGTHS, gamma=OPEN_FACTORS, value=LRS)
def test_steps(n: int, gamma: float, value: float) -> None:
    ours = curve("step_decay({n}, {gamma})", 100, value, n=n, gamma=gamma)
    holds("StepStateScheduler", ours, initial_value=value, gamma=gamma, step_size=n)


@forty
@given(milestones=st.lists(st.integers(1, 90), min_size=1, max_size=5).map(sorted), gamma=st.floats(0, 2), value=LRS)
def test_milestones(milestones: list[int], gamma: float, value: float) -> None:
    ours = curve("multistep({milestones}, {gamma})", 100, value, milestones=milestones, gamma=gamma)
    holds("MultiStepStateScheduler", ours, initial_value=value, gamma=gamma, milestones=milestones)


@forty
@given(knots=st.dictionaries(st.integers(0, 90), FACTORS, min_size=1, max_size=5), value=LRS)
def test_piecewise_linear(knots: dict[int, float], value: float) -> None:
    ordered = sorted(knots.items())
    ours = curve("piecewise({knots}, 'linear')", 100, value, knots=dict([(0, ordered[0][1]), *ordered]))
    milestones = [(step, value * factor) for step, factor in ordered]
    holds("PiecewiseLinearStateScheduler", ours, milestones_values=milestones)


@forty
@given(value=LRS)
def test_a_function_of_the_user(value: float) -> None:
    ours = curve("of_step('parity-sawtooth')", 50, value)
    holds("LambdaStateScheduler", ours, lambda_obj=lambda step: value * FUNCTIONS["parity-sawtooth"](step))


def test_a_batch_size_that_doubles() -> None:
    torch = importlib.import_module("torch")
    peer = importlib.import_module("ignite.handlers.param_scheduler")
    data = torch.utils.data.TensorDataset(torch.arange(100))
    loader = torch.utils.data.DataLoader(data, batch_size=1)
    scheduler = peer.BatchSizeScheduler(loader, lambda epoch: 32 * 2 ** min(epoch, 4))
    sizes = []
    for _ in range(10):
        scheduler(None)
        sizes.append(loader.batch_sampler.batch_size)
    ours = curve("multistep([1, 2, 3, 4], gamma=2)", 10, 32.0)
    agree("ignite", "BatchSizeScheduler", sizes, ours)
