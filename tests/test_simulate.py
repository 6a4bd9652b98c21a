"""Simulation: the same as a controller that is driven by hand."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lehr

STEPS = 60
RNG = random.Random(5)
LOSSES = [math.exp(-t / 15) + RNG.gauss(0, 0.05) for t in range(STEPS)]
VALIDATION = [math.nan if (t + 1) % 6 else 1 + math.exp(-t / 20) for t in range(STEPS)]

POLICIES = [
    "warmup('10%').then(cosine())",
    "when(loss.improves_less_than(0.2, 6)).scale(0.7)",
    "Policy(linear(), rules=[when(metric('val_loss', best='min').plateaus(1, margin=0.1)).begin(linear('20%'))])",
    "when(evaluation('val_loss', every=6, best='min').reaches(1.5)).stop()",
    "groups(cosine(), when(loss.reaches(0.4)).saturate(0.5))",
]


@pytest.mark.parametrize("policy", POLICIES)
def test_it_is_the_controller(policy: str, tmp_path: Path) -> None:
    run = lehr.start(policy, lr=[0.1, 0.2], steps=STEPS, evaluate={"val_loss": lambda: VALIDATION[run.t]})
    with lehr.record(run, tmp_path / "t"):
        while not run.done:
            reports = {"loss": LOSSES[run.t]}
            if "evaluation" not in policy and not math.isnan(VALIDATION[run.t]):
                reports["val_loss"] = VALIDATION[run.t]
            run.advance(1, reports)
        run.finish()
    real = lehr.Trace.read(tmp_path / "t")
    trace = lehr.simulate(
        policy, lr=[0.1, 0.2], steps=STEPS, observations={"loss": LOSSES, "val_loss": np.array(VALIDATION)}
    )
    assert trace.events == real.events == list(run.events)
    assert trace.columns.keys() == real.columns.keys()
    for name, column in trace.columns.items():
        assert np.array_equal(column, real.columns[name], equal_nan=True), name
    assert trace.header["policy"] == real.header["policy"]


def test_without_observations_it_is_the_curve() -> None:
    trace = lehr.simulate("cosine()", lr=0.3, steps=50)
    assert trace.columns["lr"].tolist() == (0.3 * lehr.cosine().resolve(steps=50)(np.arange(50))).tolist()
    assert [event.words for event in trace.events] == ["finished the schedule of 50 steps"]


def test_it_changes_nothing_that_it_is_given() -> None:
    losses = np.array(LOSSES)
    kept = losses.copy()
    first = lehr.simulate(POLICIES[1], lr=1.0, steps=STEPS, observations={"loss": losses})
    second = lehr.simulate(POLICIES[1], lr=1.0, steps=STEPS, observations={"loss": losses})
    assert np.array_equal(losses, kept)
    assert np.array_equal(first.columns["lr"], second.columns["lr"])


def test_a_stopped_run_is_as_long_as_it_was() -> None:
    trace = lehr.simulate(
        "when(loss.reaches(0.4)).stop()", lr=1.0, steps=STEPS, observations={"loss": [1.0] * 9 + [0.3] * 51}
    )
    assert len(trace.columns["step"]) == 10
    assert trace.events[-1].words == "finished at 16.7 % of the schedule (10 of 60 steps)"


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("no length", {"policy": "constant()", "steps": None}, "how long"),
    ("too few values", {"observations": {"loss": [1.0] * 9}}, "9 values for a run of 10"),
    ("both lengths", {"horizon": lehr.Horizon(steps=10)}, "not both"),
    ("nothing to evaluate", {"policy": "when(evaluation('a', every=2, best='max').reaches(1)).stop()"}, "'a'"),
    ("no policy", {"policy": "loss"}, "make a rule"),
]


@pytest.mark.parametrize(("how", "says"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refused(how: dict[str, Any], says: str) -> None:
    arguments: dict[str, Any] = {"policy": "cosine()", "steps": 10} | how
    with pytest.raises(lehr.LehrError, match=says):
        lehr.simulate(arguments.pop("policy"), **arguments)
