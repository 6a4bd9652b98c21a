"""A design enumerates the same cells every time, pairs its seeds, and keeps tuning apart from ranking."""

import dataclasses
from collections import Counter

import pytest

from lehr.errors import LehrError
from lehr.study.design import PEAKS, Cell, Design, Facts, in_turn
from lehr.study.policies import NamedPolicy
from lehr.study.rows import Row

FACTS = Facts(
    name="toy",
    spec="toy.py:make",
    steps=100,
    lr=0.1,
    metric="accuracy",
    best="max",
    threshold=0.9,
    steps_per_epoch=10,
    evaluate_every=5,
    data_hash="abc",
    code_hash="def",
    about="A toy.",
    torch="2",
    lehr="0",
)
POLICIES = (NamedPolicy("constant", "constant()"), NamedPolicy("cosine", "cosine()"))
DESIGN = Design(FACTS, POLICIES, seeds=3)


def row(cell: Cell, loss: float | None) -> Row:
    return Row(
        key=cell.key,
        workload=cell.workload,
        policy=cell.policy,
        text=cell.text,
        peak=cell.peak,
        lr=0.1,
        seed=cell.seed,
        role=cell.role,
        status="ok",
        steps=100,
        metric="accuracy",
        best="max",
        validation_loss=loss,
    )


def rows_where(best: dict[str, float]) -> list[Row]:
    """Rows of the opening in which each policy is best at the given peak."""
    return [row(cell, 0.1 if cell.peak == best[cell.policy] else 0.5) for cell in DESIGN.opening()]


def test_every_policy_has_the_same_budget() -> None:
    cells = Counter((cell.policy, cell.role, cell.peak) for cell in DESIGN.opening())
    for label in ("constant", "cosine"):
        assert {peak: cells[label, "tune", peak] for peak in PEAKS} == dict.fromkeys(PEAKS, 2)
        assert cells[label, "rank", 1.0] == 3
    assert sum(cells.values()) == 2 * (3 * 2 + 3)


def test_tuning_seeds_are_never_ranking_seeds_and_policies_share_them() -> None:
    for seeds in (1, 3, 1000):
        design = Design(FACTS, POLICIES, seeds, tuning_seeds=2)
        assert not set(design.ranking_seeds) & set(design.choosing_seeds)
    seeds_of = {label: [c.seed for c in DESIGN.opening() if c.policy == label] for label in ("constant", "cosine")}
    assert seeds_of["constant"] == seeds_of["cosine"]


def test_closing_runs_the_chosen_peaks_that_are_not_done() -> None:
    rows = rows_where({"constant": 1.0, "cosine": 3.0})
    closing = DESIGN.closing(rows)
    assert [(cell.policy, cell.peak, cell.role, cell.seed) for cell in closing] == [
        ("cosine", 3.0, "rank", seed) for seed in (1, 2, 3)
    ]
    assert DESIGN.closing(reversed(rows)) == closing
    assert DESIGN.closing(rows_where({"constant": 1.0, "cosine": 1.0})) == []
    assert len(DESIGN.closing(rows_where({"constant": 3.0, "cosine": 1 / 3}))) == DESIGN.most_closing() == 6


def test_rows_of_another_design_do_not_choose() -> None:
    other = Design(dataclasses.replace(FACTS, steps=200), POLICIES, seeds=3)
    strangers = [row(cell, 0.0 if cell.peak == 3.0 else 0.5) for cell in other.opening()]
    assert DESIGN.chosen_peaks([*rows_where({"constant": 1.0, "cosine": 1.0}), *strangers]) == {
        "constant": 1.0,
        "cosine": 1.0,
    }


def test_keys_are_made_of_content() -> None:
    keys = [cell.key for cell in DESIGN.opening()]
    assert len(set(keys)) == len(keys)
    assert keys == [cell.key for cell in Design(FACTS, POLICIES, seeds=3).opening()]


@pytest.mark.parametrize(
    "change", [{"steps": 101}, {"data_hash": "x"}, {"code_hash": "x"}, {"lehr": "1"}, {"torch": "3"}, {"lr": 0.2}]
)
def test_another_version_of_the_task_has_other_keys(change: dict[str, object]) -> None:
    changed = Design(dataclasses.replace(FACTS, **change), POLICIES, seeds=3)  # type: ignore[arg-type]
    assert not {cell.key for cell in changed.opening()} & {cell.key for cell in DESIGN.opening()}


def test_more_seeds_keep_the_cells_there_are() -> None:
    more = Design(FACTS, POLICIES, seeds=5)
    assert {cell.key for cell in DESIGN.opening()} < {cell.key for cell in more.opening()}


@pytest.mark.parametrize("seeds", [0, -1, 1001])
def test_seeds_out_of_range_are_refused(seeds: int) -> None:
    with pytest.raises(LehrError, match="seeds must lie between 1 and 1000"):
        Design(FACTS, POLICIES, seeds)


def test_labels_must_differ() -> None:
    with pytest.raises(LehrError, match="got 'constant' twice"):
        Design(FACTS, (*POLICIES, NamedPolicy("constant", "linear(to=0)")))


def test_workloads_take_turns() -> None:
    a, b = DESIGN.opening()[:3], DESIGN.opening()[6:8]
    assert in_turn([a, b]) == [a[0], b[0], a[1], b[1], a[2]]
