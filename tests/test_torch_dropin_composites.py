"""Drop-in schedulers inside each other, as deep as one likes, beside the definition: a recursion over factors."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from lehr import LehrError
from lehr.torch import Scheduler, dropin

pytestmark = pytest.mark.frameworks

BASES = (0.1, 0.03)
LENGTH = st.integers(1, 12)
SHARE = st.floats(0.01, 1.0)

Factor = Callable[[int, float], float]  # of the local step and the base LR
Tree = tuple[Callable[[Any], Any], Factor]  # how it is built, and what it should be


def constant(factor: float, n: int) -> Tree:
    return lambda o: dropin.ConstantLR(o, factor, n), lambda t, base: factor if t < n else 1.0


def linear(start: float, end: float, n: int) -> Tree:
    return (
        lambda o: dropin.LinearLR(o, start, end, n),
        lambda t, base: start + (end - start) * min(t, n) / n,
    )


def steps(n: int, gamma: float) -> Tree:
    return lambda o: dropin.StepLR(o, n, gamma), lambda t, base: gamma ** (t // n)


def exponential(gamma: float) -> Tree:
    return lambda o: dropin.ExponentialLR(o, gamma), lambda t, base: gamma**t


def polynomial(n: int, power: float) -> Tree:
    return lambda o: dropin.PolynomialLR(o, n, power), lambda t, base: (1 - min(t, n) / n) ** power


def cosine(n: int, floor: float) -> Tree:
    def factor(t: int, base: float) -> float:
        return floor / base + (1 - floor / base) * (1 + math.cos(math.pi * min(t, n) / n)) / 2

    return lambda o: dropin.CosineAnnealingLR(o, n, floor), factor


def restarts(n: int, floor: float) -> Tree:
    factor = cosine(n, floor)[1]
    return lambda o: dropin.CosineAnnealingWarmRestarts(o, n, 1, floor), lambda t, base: factor(t % n, base)


def function(rate: float) -> Tree:
    return lambda o: dropin.LambdaLR(o, lambda t: 1 / (1 + rate * t)), lambda t, base: 1 / (1 + rate * t)


def products(ratio: float) -> Tree:
    return lambda o: dropin.MultiplicativeLR(o, lambda t: ratio), lambda t, base: ratio**t


def one_cycle(peak: float, n: int) -> Tree:
    def factor(t: int, base: float) -> float:
        top, end = 0.3 * n - 1, n - 1
        first, last, x = (1 / 25, 1.0, t / top) if t <= top else (1.0, 1 / 25e4, min((t - top) / (end - top), 1.0))
        return peak / base * (last + (first - last) / 2 * (math.cos(math.pi * x) + 1))

    return lambda o: dropin.OneCycleLR(o, peak, n, cycle_momentum=False), factor


def sequence(parts: list[Tree], gaps: list[int]) -> Tree:
    starts = [sum(gaps[:i]) for i in range(len(parts))]

    def factor(t: int, base: float) -> float:
        i = max(i for i, start in enumerate(starts) if start <= t)
        return parts[i][1](t - starts[i], base)

    return lambda o: dropin.SequentialLR(o, [build(o) for build, _ in parts], starts[1:]), factor


def chain(parts: list[Tree]) -> Tree:
    return (
        lambda o: dropin.ChainedScheduler([build(o) for build, _ in parts]),
        lambda t, base: math.prod(factor(t, base) for _, factor in parts),
    )


LEAVES = st.one_of(
    st.builds(constant, SHARE, LENGTH),
    st.builds(linear, st.floats(0, 1), st.floats(0, 1), LENGTH),
    st.builds(steps, LENGTH, SHARE),
    st.builds(exponential, SHARE),
    st.builds(polynomial, LENGTH, st.floats(0.5, 3)),
    st.builds(cosine, LENGTH, st.sampled_from([0.0, 0.01])),
    st.builds(restarts, LENGTH, st.sampled_from([0.0, 0.01])),
    st.builds(function, SHARE),
    st.builds(products, st.floats(0.5, 1.1)),
    st.builds(one_cycle, SHARE, st.integers(5, 20)),
)


def joined(trees: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
    parts = st.lists(trees, min_size=1, max_size=4)
    return st.one_of(parts.map(chain), st.builds(sequence, parts, st.lists(LENGTH, min_size=4, max_size=4)))


TREES = st.recursive(LEAVES, joined, max_leaves=8)


def sgd() -> Any:
    groups = [{"params": [torch.nn.Parameter(torch.ones(1))], "lr": lr} for lr in BASES]
    return torch.optim.SGD(groups)


def drive(scheduler: Any, count: int) -> list[list[float]]:
    rows = []
    for _ in range(count):
        rows.append([group["lr"] for group in scheduler.optimizer.param_groups])
        scheduler.optimizer.step()
        scheduler.step()
    return rows


@given(tree=TREES)
@settings(max_examples=80)
def test_the_lr_is_the_base_times_the_definition(tree: Tree) -> None:
    build, factor = tree
    wanted = [[base * factor(t, base) for base in BASES] for t in range(45)]
    peak = max(map(max, wanted))
    for t, (row, own) in enumerate(zip(wanted, drive(build(sgd()), 45), strict=True)):
        assert own == pytest.approx(row, rel=0, abs=1e-12 * peak), (t, build(sgd()))


@given(tree=TREES, cut=st.integers(0, 29), optimizer_first=st.booleans())
@settings(max_examples=60)
def test_resumed_anywhere_it_goes_on_bit_for_bit(tree: Tree, cut: int, optimizer_first: bool) -> None:
    build, _ = tree
    whole = drive(build(sgd()), 30)
    first = build(sgd())
    drive(first, cut)
    saved = copy.deepcopy(first.optimizer.state_dict()), json.loads(json.dumps(first.state_dict()))
    optimizer = sgd()
    if optimizer_first:
        optimizer.load_state_dict(saved[0])
    again = build(optimizer)
    again.load_state_dict(saved[1])
    assert drive(again, 30 - cut) == whole[cut:]


def test_a_phase_after_a_warm_up_that_was_cut_short_begins_at_the_base_lr() -> None:
    optimizer = sgd()
    parts = [dropin.LinearLR(optimizer, 0.5, total_iters=10), dropin.ExponentialLR(optimizer, 0.9)]
    whole = dropin.SequentialLR(optimizer, parts, [2])
    assert [row[0] for row in drive(whole, 4)] == pytest.approx([0.05, 0.055, 0.1, 0.09])


# What can be joined


def test_a_scheduler_that_is_a_part_cannot_be_stepped_or_joined_again() -> None:
    optimizer = sgd()
    part = dropin.StepLR(optimizer, 2)
    whole = dropin.ChainedScheduler([part])
    with pytest.raises(LehrError, match="is a part of a ChainedScheduler now"):
        part.step()
    with pytest.raises(LehrError, match="is a part of another scheduler already"):
        dropin.SequentialLR(optimizer, [part], [])
    with pytest.raises(LehrError, match="is a part of a ChainedScheduler now"):
        part.step_size = 3
    with pytest.raises(LehrError, match="is a part of a ChainedScheduler now"):
        part.load_state_dict(dropin.StepLR(sgd(), 2).state_dict())
    assert part.get_last_lr() == list(BASES)
    optimizer.load_state_dict(optimizer.state_dict())  # what a part would write is not written
    assert drive(whole, 3) == drive(dropin.StepLR(sgd(), 2), 3)


def test_a_refused_composite_leaves_its_parts_as_they_were() -> None:
    optimizer = sgd()
    parts = [dropin.StepLR(optimizer, 2), dropin.ExponentialLR(optimizer, 0.9)]
    with pytest.raises(LehrError, match="milestone"):
        dropin.SequentialLR(optimizer, parts, [])
    assert drive(dropin.SequentialLR(optimizer, parts, [4]), 6)[4] == list(BASES)


theirs: Any = lr_scheduler.StepLR


def plain(optimizer: Any) -> Any:
    return Scheduler(optimizer, "constant()")


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda o: dropin.ChainedScheduler([]), "at least one"),
        (lambda o: dropin.ChainedScheduler([theirs(o, 2)]), "import that one from there too"),
        (lambda o: dropin.ChainedScheduler([plain(o)]), "lehr.torch.dropin"),
        (lambda o: dropin.ChainedScheduler([dropin.StepLR(o, 2), dropin.StepLR(sgd(), 2)]), "one optimiser"),
        (lambda o: dropin.ChainedScheduler([dropin.SWALR(o, 0.1)]), "SWALR"),
        (lambda o: dropin.ChainedScheduler([dropin.ReduceLROnPlateau(o), dropin.ReduceLROnPlateau(o)]), "one Reduce"),
        (
            lambda o: dropin.SequentialLR(o, [dropin.ReduceLROnPlateau(o), dropin.StepLR(o, 2)], [3]),
            "put it last",
        ),
        (
            lambda o: dropin.SequentialLR(
                o, [dropin.ConstantLR(o, 0.01, 9), dropin.ReduceLROnPlateau(o, min_lr=0.02)], [3]
            ),
            "lower min_lr",
        ),
    ],
)
def test_what_cannot_be_joined_is_refused_with_the_remedy(build: Any, words: str) -> None:
    with pytest.raises(LehrError, match=words):
        build(sgd())


def test_a_metric_that_nobody_reads_is_refused() -> None:
    with pytest.raises(LehrError, match="reads a metric"):
        dropin.ChainedScheduler([dropin.StepLR(sgd(), 2)]).step(0.5)


def test_a_nested_plateau_listens_from_its_own_step_on() -> None:
    optimizer = sgd()
    late = dropin.SequentialLR(
        optimizer,
        [dropin.ConstantLR(optimizer, 0.5, 9), dropin.ReduceLROnPlateau(optimizer, factor=0.5, patience=0)],
        [2],
    )
    whole = dropin.SequentialLR(optimizer, [dropin.ConstantLR(optimizer, 0.1, 9), late], [3])
    used = []
    for _ in range(9):
        used.append(optimizer.param_groups[0]["lr"] / BASES[0])
        optimizer.step()
        whole.step(1.0)
    # Three steps, two steps, and then the first report sets the best value: every later one is bad.
    assert used == pytest.approx([0.1, 0.1, 0.1, 0.5, 0.5, 1.0, 1.0, 0.5, 0.25])


def test_the_floor_of_a_plateau_does_not_lift_the_warm_up() -> None:
    optimizer = sgd()
    parts = [
        dropin.LinearLR(optimizer, 0.0, total_iters=2),
        dropin.ReduceLROnPlateau(optimizer, patience=0, min_lr=0.02),
    ]
    whole = dropin.SequentialLR(optimizer, parts, [2])
    used = []
    for _ in range(6):
        used.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        whole.step(1.0)
    assert used == pytest.approx([0.0, 0.05, 0.1, 0.1, 0.02, 0.02])
