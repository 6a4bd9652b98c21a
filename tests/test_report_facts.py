import numpy as np
import pytest

import lehr
from lehr.report.facts import Facts, facts_of, horizon_of, planned, strands
from lehr.schedules.schedule import Part


def facts(text: str, steps: int, lr: float | None = None) -> Facts:
    (strand,) = strands(text)
    return facts_of(*planned(strand.policy, horizon_of(steps), lr))


def test_facts_of_a_constant() -> None:
    assert facts("constant(0.5)", 10) == Facts(
        steps=10,
        peak=0.5,
        peak_step=0,
        first=0.5,
        final=0.5,
        area=1.0,
        above_half=1.0,
        warmup=0,
        parts=(Part(0, None, "constant(0.5)"),),
    )


def test_facts_of_a_warmup_and_a_line() -> None:
    """Four steps up, then (4 − i)/4 of the rest: 1/4, 2/4, 3/4, 1, 1, 3/4, 2/4, 1/4, each times the LR."""
    got = facts("warmup(4).then(linear(4, to=0))", 8, lr=0.2)
    assert (got.peak, got.peak_step, got.first, got.final) == (0.2, 3, 0.05, 0.05)
    assert got.area == pytest.approx(5 / 8, abs=1e-15)
    assert got.above_half == 4 / 8
    assert got.warmup == 4
    assert [(part.start, part.stop) for part in got.parts] == [(0, 4), (4, 8)]


def test_the_area_of_cosine_to_zero_is_a_half() -> None:
    assert facts("cosine()", 100_000).area == pytest.approx(0.5, abs=1e-5)


def test_a_curve_of_zeros_has_no_area() -> None:
    got = facts("constant(0)", 3)
    assert (got.peak, got.area, got.above_half) == (0, 0, 0)


def test_bounds_hold_outside_the_warmup() -> None:
    (strand,) = strands("Policy(warmup(2).then(linear(2, to=0)), min_lr=0.6, max_lr=0.9)")
    _, values = planned(strand.policy, horizon_of(4), lr=1.0)
    assert values.tolist() == [0.5, 1.0, 0.9, 0.6]


def test_without_an_lr_the_values_are_factors_and_bounds_are_left_out() -> None:
    (strand,) = strands("Policy(constant(), min_lr=5)")
    assert planned(strand.policy, horizon_of(2))[1].tolist() == [1.0, 1.0]


def test_groups_and_bindings_have_a_curve_each() -> None:
    found = strands("bind(lr=groups(head=cosine(), default=constant(0.1)), momentum=linear(to=0.9))")
    assert [strand.label for strand in found] == [
        "lr head: cosine()",
        "lr default: constant(0.1)",
        "momentum: linear(to=0.9)",
    ]
    assert [strand.name for strand in strands("groups(cosine(), constant())")] == ["group 0", "group 1"]


def test_a_policy_with_rules_is_called_by_its_whole_text() -> None:
    (strand,) = strands("when(loss.diverges()).stop()")
    assert strand.label == "Policy(constant(), rules=[when(loss.diverges()).stop()])"


@pytest.mark.parametrize("lr", [0.0, -1.0, np.nan, np.inf])
def test_an_absurd_lr_is_refused(lr: float) -> None:
    with pytest.raises(lehr.LehrError, match="must be a positive number"):
        planned(strands("cosine()")[0].policy, horizon_of(10), lr)


def test_the_run_is_said_once() -> None:
    assert horizon_of() == lehr.Horizon(steps=1000)
    assert horizon_of(None, lehr.Horizon(epochs=2, steps_per_epoch=5)).steps == 10
    with pytest.raises(lehr.LehrError, match="either steps= or a horizon"):
        horizon_of(10, lehr.Horizon(steps=10))
    with pytest.raises(lehr.LehrError, match="either steps= or a horizon"):
        horizon_of(None, lehr.Horizon(steps_per_epoch=10))
