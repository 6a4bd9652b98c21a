"""Signals: what is refused, and smoothing against the weighted mean written out."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

import lehr
from lehr.rules.signals import Signal
from lehr.rules.trigger import Observation, Smooth

val = lehr.metric("val_loss", best="min")


def seen(*values: float) -> list[float | None]:
    """What `smoothed(3)` reads of the values, one at a time."""
    memory, read = Smooth(), []
    for step, value in enumerate(values):
        memory, now = val.smoothed(3).read(memory, Observation(step, {"val_loss": value}, True))
        read.append(now)
    return read


@pytest.mark.parametrize("span", [1, 2, 7, 50])
def test_smoothing_is_the_unbiased_weighted_mean(span: int) -> None:
    rng = random.Random(span)
    values = [rng.gauss(-1.0, 2.0) for _ in range(40)]
    memory, keep = Smooth(), 1 - 2 / (span + 1)
    for n, value in enumerate(values):
        memory, now = val.smoothed(span).read(memory, Observation(n, {"val_loss": value}, True))
        weights = [keep ** (n - i) for i in range(n + 1)]
        assert now == pytest.approx(
            math.fsum(w * v for w, v in zip(weights, values, strict=False)) / math.fsum(weights)
        )


def test_smoothing_passes_a_constant_and_leaves_out_what_is_not_finite() -> None:
    assert seen(2.0, 2.0, 2.0) == pytest.approx([2.0, 2.0, 2.0])
    values = seen(2.0, math.nan, math.inf, 4.0)
    assert math.isnan(values[1] or 0.0)
    assert values[2] == math.inf
    assert values[3] == seen(2.0, 4.0)[1]


def test_a_signal_that_is_not_there_reads_as_none_and_changes_nothing() -> None:
    memory = Smooth(1.0, 0.5)
    assert val.smoothed(3).read(memory, Observation(0, {"loss": 1.0}, True)) == (memory, None)


def test_the_loss_is_a_metric() -> None:
    assert lehr.loss == lehr.metric("loss", best="min")
    assert repr(lehr.metric("loss", best="min")) == "loss"
    assert repr(lehr.metric("loss", best="max")) == "metric('loss', best='max')"


REFUSED: list[tuple[str, Any, str]] = [
    ("no direction", lambda: lehr.metric("x", best="up"), "'min' or 'max'"),  # type: ignore[arg-type]
    ("not a name", lambda: lehr.metric("val loss", best="min"), "can report"),
    ("not a text", lambda: lehr.metric(3, best="min"), "can report"),  # type: ignore[arg-type]
    ("an argument of step", lambda: lehr.metric("applied", best="min"), "can report"),
    ("an argument of step, too", lambda: lehr.metric("self", best="min"), "can report"),
    ("a word of Python", lambda: lehr.metric("lambda", best="min"), "can report"),
    ("cadence of zero", lambda: lehr.evaluation("a", every=0, best="max"), "positive"),
    ("cadence in observations", lambda: lehr.evaluation("a", every="2 observations", best="max"), "observations"),
    ("span of zero", lambda: val.smoothed(0), "at least 1"),
    ("span in steps", lambda: val.smoothed("5 steps"), "whole number"),  # type: ignore[arg-type]
    ("span is a flag", lambda: val.smoothed(True), "whole number"),
    ("span without an end", lambda: val.smoothed(math.inf), "whole number"),  # type: ignore[arg-type]
    ("span as a share", lambda: val.smoothed(0.9), "whole number"),  # type: ignore[arg-type]
    ("truth of a signal", lambda: bool(val), "truth value"),
]


@pytest.mark.parametrize(("make", "says"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refused(make: Any, says: str) -> None:
    with pytest.raises(lehr.LehrError, match=says):
        make()


def test_best_is_never_guessed() -> None:
    with pytest.raises(TypeError, match="best"):
        lehr.metric("accuracy")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "text",
    [
        "loss.smoothed(20)",
        "metric('accuracy', best='max')",
        "evaluation('accuracy', every='1 epoch', best='max')",
        "evaluation('bleu', every=500, best='max').smoothed(3)",
    ],
)
def test_text_round_trip(text: str) -> None:
    signal = lehr.parse(text)
    assert isinstance(signal, Signal)
    assert repr(signal) == text
    assert lehr.parse(signal.text(full=True)) == signal
