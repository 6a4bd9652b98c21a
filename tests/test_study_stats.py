"""Rankings against small cases worked out by hand, and the bootstrap against enumeration and simulation."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from lehr.study.rows import Row
from lehr.study.stats import (
    Ranking,
    bootstrap_interval,
    choose_peak,
    paired_differences,
    places,
    rank,
    steps_to_reach,
)

PEAKS = (1 / 3, 1.0, 3.0)


def row(policy: str = "constant", seed: int = 1, peak: float = 1.0, role: str = "rank", **values: Any) -> Row:
    """A row; by default a good run of the control."""
    fields: dict[str, Any] = {
        "key": f"{policy}-{peak}-{seed}-{role}",
        "workload": "toy",
        "policy": policy,
        "text": f"{policy}()",
        "peak": peak,
        "lr": 0.1 * peak,
        "seed": seed,
        "role": role,
        "status": "ok",
        "steps": 100,
        "metric": "accuracy",
        "best": "max",
    }
    return Row(**(fields | values))


def tuning(policy: str, losses: Sequence[float | None]) -> list[Row]:
    return [
        row(policy, seed=1001, peak=peak, role="tune", validation_loss=loss, status="ok" if loss else "diverged")
        for peak, loss in zip(PEAKS, losses, strict=True)
    ]


def ranking_rows(policy: str, peak: float, losses: Sequence[float | None], **values: Any) -> list[Row]:
    return [
        row(policy, seed=seed, peak=peak, test_loss=loss, status="ok" if loss else "diverged", **values)
        for seed, loss in enumerate(losses, start=1)
    ]


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ((0.5, 0.4, 0.6), 1.0),
        ((0.3, 0.4, 0.6), 1 / 3),
        ((0.5, 0.4, 0.3), 3.0),
        ((0.5, 0.4, None), 1.0),  # the highest diverged
        ((0.4, 0.4, 0.4), 1 / 3),  # equal: the lower
        ((None, None, None), 1 / 3),  # nothing works: the lowest
    ],
)
def test_the_peak_is_chosen_on_validation_loss(losses: tuple[float | None, ...], expected: float) -> None:
    assert choose_peak(tuning("cosine", losses), PEAKS) == expected


def test_one_diverged_tuning_run_rules_a_peak_out() -> None:
    rows = [
        row(seed=1001, peak=1.0, role="tune", validation_loss=0.5),
        row(seed=1002, peak=1.0, role="tune", validation_loss=0.5),
        row(seed=1001, peak=3.0, role="tune", validation_loss=0.1),
        row(seed=1002, peak=3.0, role="tune", validation_loss=None, status="diverged"),
    ]
    assert choose_peak(rows, PEAKS) == 1.0


def test_ranking_worked_out_by_hand() -> None:
    rows = [
        *tuning("constant", (0.9, 0.5, 0.8)),
        *tuning("cosine", (0.9, 0.5, 0.3)),
        *ranking_rows("constant", 1.0, (0.50, 0.60, 0.40), steps_to=100, validation_loss=0.5),
        *ranking_rows("cosine", 1.0, (0.55, 0.65, 0.70)),
        *ranking_rows("cosine", 3.0, (0.30, 0.50, 0.25), steps_to=70),
    ]
    first, second = rank(rows, ["constant", "cosine"], PEAKS)
    assert (first.policy, first.rank, first.untuned_rank) == ("cosine", 1, 2)
    assert (second.policy, second.rank, second.untuned_rank) == ("constant", 2, 1)
    assert (first.peak, first.edge, second.edge) == (3.0, "high", None)
    assert first.lr == pytest.approx(0.3, rel=1e-12)
    assert (first.test_loss, first.untuned_test_loss, second.test_loss) == (0.30, 0.65, 0.50)
    # seed by seed: −0.20, −0.10, −0.15
    assert first.difference == pytest.approx(-0.15, rel=1e-12)
    assert [first.low, first.high] == pytest.approx([-0.20, -0.10], rel=1e-12)
    assert (first.pairs, first.seeds, first.steps_to) == (3, 3, 70)
    assert (second.difference, second.low, second.high, second.pairs) == (None, None, None, 0)


def test_a_diverged_run_counts_as_infinitely_bad() -> None:
    rows = [
        *tuning("constant", (0.9, 0.5, 0.8)),
        *tuning("wild", (0.9, 0.1, None)),
        *ranking_rows("constant", 1.0, (0.5, 0.5, 0.5)),
        *ranking_rows("wild", 1.0, (0.1, None, None)),
    ]
    first, second = rank(rows, ["constant", "wild"], PEAKS)
    assert (first.policy, second.policy) == ("constant", "wild")
    assert second.test_loss is None
    assert (second.diverged, second.diverged_at_peak, second.pairs) == (3, 2, 1)


@pytest.mark.parametrize(("best", "expected"), [("max", 0.8), ("min", 0.9)])
def test_the_median_metric_puts_a_diverged_run_on_the_bad_side(best: str, expected: float) -> None:
    rows = [
        *tuning("constant", (0.9, 0.5, 0.8)),
        row(seed=1, test_loss=0.5, test_metric=0.9, best=best),
        row(seed=2, test_loss=0.5, test_metric=0.8, best=best),
        row(seed=3, status="diverged", best=best),
    ]
    assert rank(rows, ["constant"], PEAKS)[0].test_metric == pytest.approx(expected)


def test_silent_rules_are_those_that_no_ranking_run_saw_fire() -> None:
    fired = [{"a": 0, "b": 0}, {"a": 2, "b": 0}, {"a": 0, "b": 0}]
    rows = [
        *tuning("ruled", (0.9, 0.5, 0.8)),
        *(row("ruled", seed=seed, test_loss=0.5, fired=one) for seed, one in enumerate(fired, start=1)),
    ]
    (ranking,) = rank(rows, ["ruled"], PEAKS)
    assert (ranking.rules, ranking.silent_rules) == (2, ("b",))


def test_steps_to_the_control_is_a_median_with_never_as_infinity() -> None:
    def median(*steps: int | None) -> int | None:
        rows = [*tuning("x", (0.9, 0.5, 0.8)), *(row("x", seed=i, steps_to=n) for i, n in enumerate(steps))]
        return rank(rows, ["x"], PEAKS)[0].steps_to

    assert median(10, 30, None) == 30
    assert median(10, None, None) is None
    assert median(None, 20) is None


def test_equal_medians_share_a_place() -> None:
    groups = {
        "a": ranking_rows("a", 1.0, (0.2,)),
        "b": ranking_rows("b", 1.0, (0.2,)),
        "c": ranking_rows("c", 1.0, (0.3,)),
    }
    assert places(groups) == {"a": 1, "b": 1, "c": 3}


def test_differences_are_paired_by_seed_and_not_by_place() -> None:
    mine = [row(seed=2, test_loss=2.0), row(seed=1, test_loss=1.0), row(seed=3, test_loss=None)]
    control = [row(seed=3, test_loss=0.3), row(seed=1, test_loss=0.1), row(seed=2, test_loss=0.2)]
    assert paired_differences(mine, control).tolist() == [0.9, 1.8]


def test_pairing_takes_out_what_a_seed_does_to_every_policy() -> None:
    noise = np.random.default_rng(0).normal(size=5)
    rows = [
        *tuning("constant", (0.9, 0.5, 0.8)),
        *tuning("cosine", (0.9, 0.5, 0.8)),
        *ranking_rows("constant", 1.0, [float(10 + n) for n in noise]),
        *ranking_rows("cosine", 1.0, [float(10 + n - 0.01) for n in noise]),
    ]
    cosine = next(one for one in rank(rows, ["constant", "cosine"], PEAKS) if one.policy == "cosine")
    assert cosine.low == pytest.approx(-0.01, abs=1e-9)
    assert cosine.high == pytest.approx(-0.01, abs=1e-9)


@pytest.mark.parametrize(
    ("losses", "target", "expected"),
    [
        ((np.nan, 0.9, np.nan, 0.5, np.nan, 0.4), 0.5, 4),  # measured after update 3: four updates applied
        ((np.nan, 0.9, np.nan, 0.5), 0.1, None),
        ((np.nan, np.nan), 0.5, None),
        ((0.1, 0.2), None, None),  # the control diverged
    ],
)
def test_steps_to_reach(losses: tuple[float, ...], target: float | None, expected: int | None) -> None:
    assert steps_to_reach(range(len(losses)), losses, target) == expected


def test_the_interval_of_three_is_their_range() -> None:
    assert list(bootstrap_interval([0.3, -0.2, 0.1])) == pytest.approx([-0.2, 0.3])


def test_the_interval_against_all_resamples_enumerated() -> None:
    values = np.array([0.3, -0.2, 0.1, 0.7, -0.4])
    means = np.array([np.mean(pick) for pick in itertools.product(values, repeat=5)])  # all 3125
    exact = np.quantile(means, [0.025, 0.975])
    assert list(bootstrap_interval(values)) == pytest.approx(list(exact), abs=0.02)


def test_the_same_differences_give_the_same_interval() -> None:
    assert bootstrap_interval([0.3, -0.2, 0.1, 0.4]) == bootstrap_interval([0.3, -0.2, 0.1, 0.4])


def coverage(size: int, truth: float = 0.0, studies: int = 600) -> float:
    """Share of simulated studies whose interval holds the truth; the noise is normal around 0."""
    noise = np.random.default_rng(7).standard_normal((studies, size))
    intervals = [bootstrap_interval(one) for one in noise]
    return float(np.mean([low <= truth <= high for low, high in intervals]))


@pytest.mark.parametrize(("size", "expected"), [(3, 0.76), (5, 0.84), (10, 0.89), (20, 0.93)])
def test_coverage_is_what_the_docstring_says(size: int, expected: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lehr.study.stats.RESAMPLES", 1000)
    standard_error = (expected * (1 - expected) / 600) ** 0.5
    assert coverage(size) == pytest.approx(expected, abs=3 * standard_error)


def test_coverage_of_a_wrong_value_fails() -> None:
    """The check above is able to fail: an interval around 0 seldom holds 1 with 20 seeds."""
    assert coverage(20, truth=1.0, studies=50) < 0.1


def test_a_ranking_is_plain_json() -> None:
    ranking = rank([*tuning("constant", (0.9, 0.5, 0.8)), row(test_loss=0.5)], ["constant"], PEAKS)[0]
    values = ranking.to_dict()
    assert values["silent_rules"] == []
    assert Ranking(**(values | {"silent_rules": ()})) == ranking
