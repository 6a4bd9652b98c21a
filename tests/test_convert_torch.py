"""torch's scheduler objects and state dicts, stepped live, beside their conversions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import lehr
from lehr.lengths import Horizon

pytestmark = pytest.mark.frameworks
schedulers: Any = torch.optim.lr_scheduler

LR = 0.1
FEW = settings(deadline=None, max_examples=40)
SHARE = st.floats(0.0, 1.0)


def optimizer(*lrs: float) -> Any:
    weights = [{"params": [torch.zeros(1, requires_grad=True)], "lr": lr} for lr in lrs or (LR,)]
    return torch.optim.SGD(weights, momentum=0.9)


def live(make: Callable[[Any], Any], steps: int) -> Any:
    """The LRs of `steps` updates by torch itself."""
    trained = optimizer()
    scheduler = make(trained)
    found = []
    for _ in range(steps):
        found.append(float(trained.param_groups[0]["lr"]))
        trained.step()
        scheduler.step()
    return np.array(found)


def lrs(found: Any, steps: int) -> Any:
    policy = lehr.as_policy(found.policy)
    assert isinstance(policy, lehr.Policy)
    return found.lr * policy.resolve(found.horizon or Horizon(steps=steps), lr=found.lr)(np.arange(steps))


def differ(make: Callable[[Any], Any], steps: int, state: bool = True) -> float:
    """How far the conversions of the object and of its state dict are from torch, as a share of the peak."""
    expected = live(make, steps)
    found = lehr.convert(make(optimizer()))
    assert lehr.parse(repr(found.policy)) == found.policy
    off = np.abs(lrs(found, steps) - expected).max()
    if state:
        again = lehr.convert(make(optimizer()).state_dict())
        assert (again.policy, again.lr) == (found.policy, found.lr)
    return float(off / max(expected))


@FEW
@given(data=st.data(), steps=st.integers(1, 40), gamma=st.floats(0.01, 1.0))
def test_single_schedulers_are_torch_as_objects_and_as_state_dicts(
    data: st.DataObject, steps: int, gamma: float
) -> None:
    first, last, power = data.draw(st.floats(0.01, 1.0)), data.draw(SHARE), data.draw(st.floats(0.3, 3.0))
    milestones = data.draw(st.lists(st.integers(1, 50), min_size=1, max_size=4))
    floor = data.draw(SHARE) * LR
    makes: list[tuple[Callable[[Any], Any], int]] = [
        (lambda o: schedulers.StepLR(o, steps, gamma), 60),
        (lambda o: schedulers.MultiStepLR(o, milestones, gamma), 60),
        (lambda o: schedulers.ConstantLR(o, first, steps), 60),
        (lambda o: schedulers.LinearLR(o, first, last, steps), 60),
        (lambda o: schedulers.ExponentialLR(o, gamma), 60),
        (lambda o: schedulers.PolynomialLR(o, steps, power), 60),
        (lambda o: schedulers.CosineAnnealingLR(o, steps, floor), steps + 1),
        (lambda o: schedulers.CosineAnnealingWarmRestarts(o, steps, 2, floor), 60),
    ]
    for make, length in makes:
        assert differ(make, length) <= 1e-10  # torch's recursions drift, by up to 1e-11 of the peak


@FEW
@given(steps=st.integers(1, 40), gamma=st.floats(0.01, 1.0), power=st.floats(0.3, 3.0), last=SHARE)
def test_single_schedulers_are_torchs_closed_forms_without_its_drift(
    steps: int, gamma: float, power: float, last: float
) -> None:
    for make in (
        lambda o: schedulers.StepLR(o, steps, gamma),
        lambda o: schedulers.MultiStepLR(o, [steps, 2 * steps, 50], gamma),
        lambda o: schedulers.ConstantLR(o, gamma, steps),
        lambda o: schedulers.LinearLR(o, gamma, last, steps),
        lambda o: schedulers.ExponentialLR(o, gamma),
        lambda o: schedulers.PolynomialLR(o, steps, power),
        lambda o: schedulers.CosineAnnealingLR(o, steps, last * LR),
    ):
        scheduler: Any = make(optimizer())  # type: ignore[no-untyped-call]
        ours = lrs(lehr.convert(scheduler), steps + 1)
        for scheduler.last_epoch in range(steps + 1):
            assert abs(ours[scheduler.last_epoch] - scheduler._get_closed_form_lr()[0]) <= 1e-12 * LR


@FEW
@given(
    total=st.integers(8, 60),
    share=st.floats(0.3, 0.45),
    strategy=st.sampled_from(["cos", "linear"]),
    three=st.booleans(),
    peak=st.floats(0.01, 3.0),
)
def test_one_cycle_is_torch_up_to_its_last_step(
    total: int, share: float, strategy: str, three: bool, peak: float
) -> None:
    def make(trained: Any) -> Any:
        return schedulers.OneCycleLR(
            trained, peak, total, pct_start=share, anneal_strategy=strategy, three_phase=three, div_factor=10.0
        )

    assert differ(make, total, state=False) <= 1e-12
    found = lehr.convert(make(optimizer()))
    assert (found.lr, found.steps) == (peak, total)
    assert {"C102", "C202"} <= {item.code for item in found.findings}


@FEW
@given(up=st.integers(1, 20), down=st.integers(1, 20) | st.none(), low=st.floats(0.0, 0.9), data=st.data())
def test_cycles_are_torch(up: int, down: int | None, low: float, data: st.DataObject) -> None:
    mode = data.draw(st.sampled_from(["triangular", "triangular2", "exp_range"]))

    def make(trained: Any) -> Any:
        return schedulers.CyclicLR(trained, low, 1.0, up, down, mode, gamma=0.98, cycle_momentum=False)

    assert differ(make, 120) <= 1e-12


@FEW
@given(warm=st.integers(1, 20), rest=st.integers(1, 30), gamma=st.floats(0.5, 1.0))
def test_sequences_are_torch(warm: int, rest: int, gamma: float) -> None:
    def make(trained: Any) -> Any:
        parts = [
            schedulers.LinearLR(trained, 0.1, total_iters=warm),
            schedulers.CosineAnnealingLR(trained, rest),
            schedulers.ExponentialLR(trained, gamma),
        ]
        return schedulers.SequentialLR(trained, parts, [warm, warm + rest])

    assert differ(make, 80) <= 1e-10


@FEW
@given(warm=st.integers(1, 20), gamma=st.floats(0.5, 1.0), every=st.integers(1, 20))
def test_chains_are_torch(warm: int, gamma: float, every: int) -> None:
    def make(trained: Any) -> Any:
        parts = [
            schedulers.ConstantLR(trained, 0.5, warm),
            schedulers.ExponentialLR(trained, gamma),
            schedulers.StepLR(trained, every, 0.5),
        ]
        return schedulers.ChainedScheduler(parts, trained)

    assert differ(make, 60) <= 1e-10


def test_functions_are_torch_but_cannot_be_saved_which_a_finding_says() -> None:
    makes: list[Callable[[Any], Any]] = [
        lambda trained: schedulers.LambdaLR(trained, lambda t: 1 / (1 + t)),
        lambda trained: schedulers.MultiplicativeLR(trained, lambda t: 0.9 if t % 3 else 0.5),
    ]
    for make in makes:
        found = lehr.convert(make(optimizer()))
        assert np.abs(lrs(found, 50) - live(make, 50)).max() <= 1e-12 * LR
        assert "C109" in [item.code for item in found.findings]


def test_groups_with_lrs_of_their_own_keep_them() -> None:
    found = lehr.convert(schedulers.CosineAnnealingLR(optimizer(0.1, 0.01), 10, 1e-3))
    assert found.lr == (0.1, 0.01)
    run = lehr.start(found.policy, lr=list(found.lr), steps=20)
    for _ in range(10):
        run.step()
    assert list(run.lrs) == pytest.approx([1e-3, 1e-3], rel=1e-12)


def test_a_function_a_group_becomes_a_policy_a_group() -> None:
    made = schedulers.LambdaLR(optimizer(0.1, 0.01), [lambda t: 1.0, lambda t: 1 / (1 + t)])
    found = lehr.convert(made)
    run = lehr.start(found.policy, lr=list(found.lr or ()), steps=20)  # type: ignore[arg-type]
    run.step()
    assert list(run.lrs) == [0.1, 0.005]


def test_past_t_max_torch_rises_and_the_policy_holds() -> None:
    def make(trained: Any) -> Any:
        return schedulers.CosineAnnealingLR(trained, 10)

    found = lehr.convert(make(optimizer()))
    assert live(make, 21)[20] == pytest.approx(LR)
    assert lrs(found, 21)[20] == 0.0
    assert "C102" in [item.code for item in found.findings]


def test_one_cycle_inside_a_sequence_leaves_the_others_their_lr_where_torch_does_not() -> None:
    def make(trained: Any) -> Any:
        parts = [schedulers.ConstantLR(trained, 1.0, 3), schedulers.OneCycleLR(trained, 1.0, 7)]
        return schedulers.SequentialLR(trained, parts, [3])

    theirs, ours = live(make, 9), lrs(lehr.convert(make(optimizer())), 9)
    assert theirs[0] == pytest.approx(0.04)
    assert ours[:3] == pytest.approx([LR] * 3)
    assert ours[3:] == pytest.approx(theirs[3:], rel=1e-12)
    assert "C103" in [item.code for item in lehr.convert(make(optimizer())).findings]


def test_a_sequence_in_a_sequence_goes_on_where_torch_raises() -> None:
    def make(trained: Any) -> Any:
        inner = schedulers.SequentialLR(
            trained, [schedulers.ConstantLR(trained, 0.5, 4), schedulers.ExponentialLR(trained, 0.5)], [4]
        )
        return schedulers.SequentialLR(trained, [schedulers.LinearLR(trained, 0.5, total_iters=2), inner], [2])

    with pytest.raises(NotImplementedError):
        live(make, 4)
    expected = [0.05, 0.075, *[0.05] * 4, 0.1, 0.05, 0.025]
    assert lrs(lehr.convert(make(optimizer())), 9) == pytest.approx(expected)


def test_in_a_chain_what_torch_overwrites_is_multiplied() -> None:
    def make(trained: Any) -> Any:
        parts = [schedulers.ExponentialLR(trained, 0.9), schedulers.LambdaLR(trained, lambda t: 0.5**t)]
        return schedulers.ChainedScheduler(parts, trained)

    found = lehr.convert(make(optimizer()))
    assert lrs(found, 5) == pytest.approx([LR * 0.45**t for t in range(5)])
    assert live(make, 5)[1] == pytest.approx(LR * 0.5)
    assert "C103" in [item.code for item in found.findings]


@FEW
@given(
    losses=st.lists(st.integers(0, 8).map(lambda x: 0.5 + x / 4), min_size=1, max_size=60),
    factor=st.sampled_from([0.5, 0.1]),
    patience=st.integers(0, 4),
    mode=st.sampled_from(["min", "max"]),
    by=st.sampled_from(["rel", "abs"]),
    margin=st.sampled_from([0.0, 1e-4, 0.3]),
    cooldown=st.integers(0, 3),
    floor=st.sampled_from([0.0, 0.01]),
    eps=st.sampled_from([1e-8, 0.02]),
)
def test_reduce_on_plateau_is_torch(
    losses: list[float],
    factor: float,
    patience: int,
    mode: str,
    by: str,
    margin: float,
    cooldown: int,
    floor: float,
    eps: float,
) -> None:
    trained = optimizer()
    scheduler = schedulers.ReduceLROnPlateau(trained, mode, factor, patience, margin, by, cooldown, floor, eps)
    found = lehr.convert(scheduler, metric="loss")
    assert lehr.parse(repr(found.policy)) == found.policy
    assert lehr.convert(scheduler.state_dict(), metric="loss").policy == found.policy
    run = lehr.start(found.policy, lr=LR, steps=1000)
    for loss in losses:
        scheduler.step(loss)
        run.step(loss=loss)
        assert run.lr == pytest.approx(trained.param_groups[0]["lr"], rel=1e-12)


def test_a_plateau_names_what_torch_leaves_open() -> None:
    found = lehr.convert(schedulers.ReduceLROnPlateau(optimizer(), cooldown=3))
    assert [item.code for item in found.findings][:2] == ["C101", "C107"]
    assert "flavor='torch', cooldown=3)" in repr(found.policy)


def test_a_scheduler_in_mid_run_is_read_from_its_beginning() -> None:
    trained = optimizer()
    scheduler = schedulers.StepLR(trained, 5, 0.5)
    for _ in range(12):
        trained.step()
        scheduler.step()
    found = lehr.convert(scheduler)
    assert found.lr == LR
    assert "C108" in [item.code for item in found.findings]
    assert lrs(found, 13)[12] == pytest.approx(trained.param_groups[0]["lr"])


def test_swa_goes_to_its_lr() -> None:
    found = lehr.convert(torch.optim.swa_utils.SWALR(optimizer(), 0.02, 10, "linear"))
    assert lrs(found, 20)[5] == pytest.approx(0.06)
    assert lrs(found, 20)[15] == pytest.approx(0.02)


def test_momentum_that_is_cycled_too_is_a_warning_with_the_text_for_it() -> None:
    found = lehr.convert(schedulers.CyclicLR(optimizer(), 0.1, 1.0, 10))
    (warning,) = [item for item in found.findings if item.code == "C202"]
    text = warning.remedy[warning.remedy.index("lehr.bind") :].replace("...", "constant()")
    momentum = dict(lehr.parse(text).members)["momentum"]
    assert 0.9 * momentum.resolve(steps=100)(10) == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"lr_lambdas": [None], "last_epoch": 0}, r"LambdaLR or MultiplicativeLR; give convert\(..., kind=...\)"),
        ({"total_steps": 10, "_schedule_phases": [{"end_step": 2.0}], "last_epoch": 0}, "give the scheduler itself"),
        ({"anneal_epochs": 10, "last_epoch": 0}, "keeps its swa_lr in the optimiser"),
        ({"last_epoch": 3}, "no scheduler of torch"),
        ({"T_max": math.nan, "eta_min": 0.0, "last_epoch": 0}, "T_max"),
    ],
)
def test_a_state_dict_that_does_not_say_enough_is_refused(state: dict[str, Any], words: str) -> None:
    with pytest.raises(lehr.LehrError, match=words):
        lehr.convert(state)


def test_functions_in_a_state_dict_are_gone_whatever_the_kind() -> None:
    state = schedulers.LambdaLR(optimizer(), lambda t: 1.0).state_dict()
    with pytest.raises(lehr.LehrError, match="does not hold its functions"):
        lehr.convert(state, kind="LambdaLR")
