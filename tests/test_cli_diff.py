"""`lehr diff` from its arguments to its exit code and output."""

import functools as ft
from collections.abc import Callable

import pytest

Diff = Callable[..., tuple[int, str, str]]


@pytest.fixture
def diff(command: Diff) -> Diff:
    """Run `lehr diff ...`; exit code, output, errors."""
    return ft.partial(command, "diff")


def test_it_says_where_two_policies_part_and_how_far(diff: Diff) -> None:
    code, output, errors = diff("linear()", "piecewise({50: 0.25})", "--steps", "100", "--lr", "0.8")
    words = " ".join(output.split())
    assert (code, errors) == (1, "")
    assert "they first differ at step 1" in words
    assert "most at step 49: 0.408 → 0.8 (× 1.961)" in words
    assert "at step 99: 0.008 → 0.2 (× 25)" in words
    assert "area: × 1.238" in words  # (50 · 1 + 50 · ¼) / 50.5
    assert "peak 0.8 at step 0 0.8 at step 0" in words
    assert all(len(line) <= 100 for line in output.splitlines())


def test_two_ways_to_write_one_curve_do_not_differ(diff: Diff) -> None:
    code, output, _ = diff("inverse_sqrt(100)", "power_law(100)")
    assert code == 0
    assert "the curves agree at all 1000 steps" in output


def test_members_are_listed_side_by_side(diff: Diff) -> None:
    _, output, _ = diff("warmup(10).then(cosine())", "warmup(20).then(hold(30), linear())", "--steps", "100")
    words = [" ".join(line.split()) for line in output.splitlines()]
    assert "from 10: cosine() from 20: hold(30)" in words
    assert "from 50: linear()" in words


def test_rules_that_differ_are_a_difference(diff: Diff) -> None:
    code, output, _ = diff("Policy(cosine(), rules=[when(loss.diverges()).stop()])", "cosine()")
    assert code == 1
    assert "their rules differ" in output
    assert "the curves agree" in output


def test_groups_are_compared_one_by_one(diff: Diff) -> None:
    code, output, _ = diff("groups(head=cosine(), default=linear())", "groups(head=cosine(), default=cosine())")
    assert code == 1
    assert output.count("the curves agree") == 1
    assert "default: linear()" in output


def test_policies_for_other_groups_cannot_be_compared(diff: Diff) -> None:
    code, _, errors = diff("groups(cosine(), linear())", "cosine()")
    assert code == 2
    assert "curves of the same groups" in errors


@pytest.mark.parametrize(
    ("one", "other", "lr"),
    [
        ("Policy(cosine(), min_lr=1e-2)", "cosine()", ()),
        ("Policy(cosine(), min_lr=[1e-5, 1e-2])", "Policy(cosine(), min_lr=[1e-5, 1e-3])", ("--lr", "0.1")),
    ],
)
def test_bounds_that_are_not_in_the_curves_are_a_difference(
    diff: Diff, one: str, other: str, lr: tuple[str, ...]
) -> None:
    code, output, _ = diff(one, other, *lr)
    assert code == 1
    assert "their bounds differ" in output


def test_the_base_lr_is_no_base_of_another_hyperparameter(diff: Diff) -> None:
    _, output, _ = diff("bind({'betas[0]': linear()})", "bind({'betas[0]': cosine()})", "--lr", "0.001")
    assert "peak 1 at step 0" in " ".join(output.split())
