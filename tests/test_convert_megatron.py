"""Megatron's published formulas as an oracle of their own, in terms of iterations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import lehr
from lehr.lengths import Horizon

STYLES = st.sampled_from(["constant", "linear", "cosine", "inverse-square-root", "WSD"])
COOLDOWNS = st.sampled_from(["exponential", "linear", "cosine", "minus_sqrt"])


def lrs(found: Any, steps: int) -> Any:
    policy = lehr.as_policy(lehr.parse(repr(found.policy)))
    assert isinstance(policy, lehr.Policy)
    return found.lr * policy.resolve(found.horizon or Horizon(steps=steps), lr=found.lr)(np.arange(steps))


def megatron(
    t: float, style: str, high: float, low: float, first: float, warm: float, decay: float, cool: float, cool_style: str
) -> float:
    """The LR after t iterations (or samples); all lengths in the same unit."""
    if warm > 0 and t <= warm:
        return first + (high - first) * t / warm
    if style == "constant":
        return high
    if t > decay:
        return low
    if style == "inverse-square-root":
        return max(low, high * math.sqrt(max(warm, 1)) / math.sqrt(max(t, 1)))
    x = (t - warm) / (decay - warm)
    if style == "WSD":
        x = max((t - decay + cool) / cool, 0.0)
        style = cool_style
    g = {
        "linear": 1 - x,
        "cosine": (1 + math.cos(math.pi * x)) / 2,
        "exponential": 2 * math.pow(0.5, x) - 1,
        "minus_sqrt": 1 - math.sqrt(x),
    }[style]
    return low + (high - low) * g


@given(
    style=STYLES,
    cool_style=COOLDOWNS,
    high=st.floats(1e-5, 1.0),
    low=st.floats(0.0, 1.0),
    first=st.floats(0.0, 1.0),
    warm=st.integers(0, 40),
    stable=st.integers(0, 30),
    cool=st.integers(1, 40),
    run=st.integers(-30, 30),
)
def test_the_lr_in_iterations_is_megatrons(
    style: str, cool_style: str, high: float, low: float, first: float, warm: int, stable: int, cool: int, run: int
) -> None:
    decay = warm + stable + cool
    steps = max(decay + run, 1)
    flags = f"--lr {high!r} --min-lr {low * high!r} --lr-warmup-init {first * high!r} --train-iters {steps} "
    flags += f"--lr-decay-style {style} --lr-decay-iters {decay} --lr-warmup-iters {warm} "
    flags += f"--lr-wsd-decay-style {cool_style} --lr-wsd-decay-iters {cool}"
    found = lehr.convert(flags)
    expected = [megatron(t, style, high, low * high, first * high, warm, decay, cool, cool_style) for t in range(steps)]
    assert np.abs(lrs(found, steps) - expected).max() <= 1e-12 * high
    assert (found.lr, found.steps) == (high, steps)


@given(
    style=STYLES, batch=st.integers(1, 64), warm=st.integers(0, 30), cool=st.integers(1, 40), more=st.integers(1, 30)
)
def test_the_lr_in_samples_is_megatrons(style: str, batch: int, warm: int, cool: int, more: int) -> None:
    decay, rest = (warm + cool + more) * batch, batch // 2
    argv = ["pretrain_gpt.py", "--lr", "2e-4", "--min-lr=2e-5", "--train-samples", str(decay + rest)]
    argv += ["--global-batch-size", str(batch), "--lr-decay-samples", str(decay), "--lr-decay-style", style]
    argv += ["--lr-warmup-samples", str(warm * batch), "--lr-wsd-decay-samples", str(cool * batch)]
    found = lehr.convert(argv)
    steps = decay // batch
    expected = [
        megatron(t * batch, style, 2e-4, 2e-5, 0.0, warm * batch, decay, cool * batch, "exponential")
        for t in range(steps)
    ]
    if style == "inverse-square-root" and warm == 0:  # Megatron's root then begins at the first sample
        assume(batch == 1)
    assert np.abs(lrs(found, steps) - expected).max() <= 1e-12 * 2e-4
    assert found.horizon == Horizon(steps=steps, samples_per_step=batch)


@given(part=st.floats(0.001, 0.5), steps=st.integers(50, 400), style=st.sampled_from(["linear", "cosine"]))
def test_a_warmup_that_ends_within_a_step_is_off_by_what_the_finding_says(part: float, steps: int, style: str) -> None:
    found = lehr.convert(
        {"lr": 1.0, "lr_warmup_fraction": part, "train_iters": steps, "lr_decay_style": style}, peer="megatron"
    )
    expected = [megatron(t, style, 1.0, 0.0, 0.0, part * steps, steps, 1, "") for t in range(steps)]
    off = np.abs(lrs(found, steps) - expected).max()
    said = [float(item.remedy.split()[6]) for item in found.findings if item.code == "C104"]
    assert off <= sum(said) + 1e-12


def test_a_root_without_a_warmup_counts_updates_where_megatron_counts_samples() -> None:
    found = lehr.convert("--lr 1 --lr-decay-style inverse-square-root --train-iters 10 --global-batch-size 16")
    assert lrs(found, 5)[4] == 0.5
    assert megatron(16, "inverse-square-root", 1.0, 0.0, 0.0, 0, 160, 1, "") == 0.25
    (warning,) = [item for item in found.findings if item.code == "C103"]
    assert "0.25 of the peak" in warning.reason


def test_a_script_of_the_shell_is_read() -> None:
    script = """
    # training
    torchrun --nproc_per_node 8 pretrain_gpt.py \\
        --num-layers 24 --weight-decay 0.1 --clip-grad 1.0 \\
        --lr 0.0002 --min-lr 2e-5 --lr-decay-style WSD --lr-warmup-iters 1000 \\
        --train-iters 50_000 --lr-wsd-decay-style minus_sqrt --lr-wsd-decay-iters 5000  # the last tenth
    """
    found = lehr.convert(script)
    assert repr(found.policy) == ("warmup(1000, zero_start=True).then(hold(), one_minus_sqrt(5000, to_lr=2e-05))")
    assert (found.lr, found.steps) == (0.0002, 50_000)


@pytest.mark.parametrize(
    "flag",
    ["--decoupled-lr 1e-3", "--rampup-batch-size 16 16 100", "--head-lr-mult 10", "--lr-future-thing 3"],
)
def test_a_flag_that_changes_the_lr_and_cannot_be_said_is_an_error_among_the_findings(flag: str) -> None:
    found = lehr.convert(f"--lr 1e-3 --lr-decay-style linear --train-iters 100 {flag}")
    (error,) = [item for item in found.findings if item.severity == "error"]
    assert error.reason.startswith(flag.split()[0].strip("-").replace("-", "_"))


def test_a_schedule_of_the_weight_decay_is_a_warning() -> None:
    found = lehr.convert("--lr 1 --train-iters 10 --weight-decay-incr-style cosine --end-weight-decay 0.2")
    assert [item.code for item in found.findings if item.severity == "warning"] == ["C202"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--lr 1e-3 --lr-decay-style cosine", "needs train_iters or train_samples"),
        ("--lr 1e-3 --train-samples 100", "global_batch_size"),
        ("--lr 1e-3 --train-iters 100 --lr-warmup-iters 100", "must end before its decay"),
        ("--lr 1e-3 --train-iters 100 --min-lr 1e-2", "at most lr=0.001"),
        ("--lr 1e-3 --train-iters 100 --lr-decay-style WSD", "needs lr_wsd_decay_iters"),
        (
            "--lr 1e-3 --train-iters 9 --lr-decay-style WSD --lr-warmup-iters 5 --lr-wsd-decay-iters 5",
            "are longer than",
        ),
        ("--lr 1e-3 --train-iters 100 --lr-decay-style 1-sqrt", "one of constant, linear, cosine"),
        ("--lr 1e-3 --train-iters 100 --lr-warmup-fraction .1 --lr-warmup-iters 5", "not both"),
        ("--lr 1e-3 --train-iters 100 --lr-warmup-samples 5", "refuses lr_warmup_samples"),
        ("--lr $LR --train-iters 100", "a variable of the shell"),
        ("--lr abc --train-iters 100", "must be a number"),
        ("--train-iters 100 --min-lr 1e-5 --lr-warmup-init 1e-6 --lr-warmup-iters 3", r"give convert\(..., lr=...\)"),
    ],
)
def test_flags_that_say_nothing_sound_are_refused(flags: str, words: str) -> None:
    with pytest.raises(lehr.LehrError, match=words):
        lehr.convert(flags)
