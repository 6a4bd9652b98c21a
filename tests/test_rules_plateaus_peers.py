"""Every flavor of `reduce_on_plateau` against its peer, decision by decision: the LR after each of 30 to 60 values.

The rows hold NaN, infinities, ties, negative values and constant runs, and the arguments are drawn as well.
"""

from __future__ import annotations

import numpy as np
import pytest

import lehr
import plateau_peers as peers
from lehr.converters.torch_schedules import plateau_cuts
from lehr.rules.plateaus import MarginMode
from plateau_peers import Case, drawn, ours, row, rule_of

ROWS = 10_000


@pytest.mark.frameworks
def test_the_torch_flavor_is_the_installed_torch() -> None:
    """The last cuts of an LR of 1, which torch refuses as smaller than its `eps`, are a limit of the rule here."""
    cuts = plateau_cuts(1.0, peers.HALF, peers.TORCH_EPS)
    for seed in range(ROWS):
        case, values = drawn("torch", seed)
        assert ours(rule_of("torch", case).at_most(cuts), values) == peers.torch(case, values), (case, values)


@pytest.mark.frameworks
def test_the_optax_flavor_is_the_installed_optax() -> None:
    """Compiled, and in float32, as for parameters of that type; with `accumulation_size`."""
    tolerances: list[tuple[MarginMode, float]] = [
        ("rel", 1e-4),
        ("rel", 0.0625),
        ("rel", 0.25),
        ("abs", 1e-4),
        ("abs", 0.1),
    ]
    many = ROWS // len(tolerances)
    for seed, (mode, margin) in enumerate(tolerances):
        rng = np.random.default_rng(seed)
        patience, cooldown, average = (rng.integers(low, high, many) for low, high in ((0, 6), (0, 5), (1, 6)))
        values = np.array([row(rng, 30 + 7 * seed) for _ in range(many)])
        theirs = peers.optax_runs(margin, mode, patience, cooldown, average, values).tolist()
        for k in range(many):
            case = Case("min", int(patience[k]), margin, mode, int(cooldown[k]), int(average[k]))
            assert ours(rule_of("optax", case), values[k].tolist()) == theirs[k], (case, values[k])


@pytest.mark.peers
@pytest.mark.frameworks
def test_the_keras_flavor_is_the_installed_keras(monkeypatch: pytest.MonkeyPatch) -> None:
    """In float32, as Keras compares unless it is told otherwise."""
    monkeypatch.setenv("KERAS_BACKEND", "torch")  # read when Keras is imported
    for seed in range(ROWS):
        case, values = drawn("keras", seed)
        assert ours(rule_of("keras", case), values) == peers.keras(case, values), (case, values)


def test_the_paddle_flavor_is_paddle_as_published() -> None:
    """Paddle is not installed: the oracle is a transcription of python/paddle/optimizer/lr.py, `ReduceOnPlateau`."""
    cuts = plateau_cuts(1.0, peers.HALF, peers.TORCH_EPS)
    for seed in range(ROWS):
        case, values = drawn("paddle", seed)
        assert ours(rule_of("paddle", case).at_most(cuts), values) == peers.paddle(case, values), (case, values)


def test_the_fastai_flavor_is_fastai_as_published() -> None:
    """fastai is not installed: the oracle is a transcription of fastai/callback/tracker.py, `ReduceLROnPlateau`."""
    for seed in range(ROWS):
        case, values = drawn("fastai", seed)
        assert ours(rule_of("fastai", case), values) == peers.fastai(case, values), (case, values)


@pytest.mark.frameworks
@pytest.mark.parametrize("best", ["min", "max"])
def test_lehr_is_torch_until_the_first_cut_where_torch_has_no_fault(best: str) -> None:
    """On positive finite values the two agree to the last bit until the first cut, which makes Lehr forget the best."""
    cuts = 0
    for seed in range(1000):
        case, values = drawn("torch", seed)
        case = case._replace(best="max" if best == "max" else "min")
        values = [abs(value) + 1e-3 for value in values if abs(value) < float("inf")]
        mine, theirs = ours(rule_of("lehr", case), values), peers.torch(case, values)
        first = next((i for i, lr in enumerate(theirs) if lr < 1), None)
        cuts += first is not None
        assert mine[: None if first is None else first + 1] == theirs[: None if first is None else first + 1]
    assert cuts > 500


@pytest.mark.frameworks
def test_the_lrs_of_a_run_are_those_of_the_installed_torch_floor_included() -> None:
    import torch

    low = 0.03
    for seed in range(100):
        case, values = drawn("torch", seed)
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, case.best, 0.5, case.patience, case.margin, case.mode, case.cooldown, min_lr=low
        )
        policy = lehr.Policy(lehr.constant(), [rule_of("torch", case)], min_lr=low)
        run = lehr.start(policy, lr=1.0, steps=len(values))
        for value in values:
            run.step(m=value)
            theirs.step(value)
            assert run.lr == optimizer.param_groups[0]["lr"]
