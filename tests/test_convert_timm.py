"""timm's published formulas as an oracle of their own; t is an epoch, or an update with `sched_on_updates`."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lehr

LR = 0.4
PER_EPOCH = 3
BASE: dict[str, Any] = {"lr": LR, "warmup_lr": 1e-3, "min_lr": 0.0, "warmup_epochs": 0, "decay_rate": 0.1}

SHARE = st.floats(0.0, 1.0)
PLAIN = settings(deadline=None, max_examples=60)


def lrs(found: Any, steps: int) -> Any:
    policy = lehr.as_policy(lehr.parse(repr(found.policy)))
    assert isinstance(policy, lehr.Policy)
    return LR * policy.resolve(found.horizon, lr=LR)(np.arange(steps))


def differ(args: dict[str, Any], oracle: Callable[[int], float], units: int = 80) -> float:
    """How far the conversion is from the oracle, by epochs and by updates, as a share of the peak."""
    by_epoch = lehr.convert(BASE | args, peer="timm", steps_per_epoch=PER_EPOCH)
    steps = units * PER_EPOCH
    expected = np.array([oracle(t) for t in range(steps)])
    off = np.abs(lrs(by_epoch, steps) - expected[np.arange(steps) // PER_EPOCH]).max()
    by_update = lehr.convert(BASE | args | {"sched_on_updates": True}, peer="timm", steps_per_epoch=1)
    return float(max(off, np.abs(lrs(by_update, steps) - expected).max()) / LR)


def line(t: int, warm: int, top: float = LR) -> float:
    return 1e-3 + t * (top - 1e-3) / warm


def cycle(t: int, size: int, grow: int, limit: int) -> tuple[int, Fraction]:
    """The number of the cycle and the position in it, in integers."""
    start, length = 0, size
    for i in range(limit):
        if t < start + length:
            return i, Fraction(t - start, length)
        start, length = start + length, length * grow
    return limit, Fraction(0)


def fall(name: str, x: float, args: dict[str, Any]) -> float:
    k = args.get("lr_k_decay", 1.0)
    if name == "cosine":
        return 0.5 * (1 + math.cos(math.pi * x**k))
    if name == "poly":
        return float((1 - x**k) ** args["decay_rate"])
    return 0.5 * (1 - math.tanh(-7.0 * (1 - x) + 3.0 * x))


def of_cycles(t: int, name: str, args: dict[str, Any]) -> float:
    i, x = cycle(t, args["epochs"], args["lr_cycle_mul"], args["lr_cycle_limit"])
    low = float(args["min_lr"])
    if i == args["lr_cycle_limit"]:
        return low
    return float(low + (LR * args["lr_cycle_decay"] ** i - low) * fall(name, float(x), args))


@PLAIN
@given(
    name=st.sampled_from(["cosine", "poly", "tanh"]),
    epochs=st.integers(2, 30),
    warm=st.integers(0, 12),
    prefix=st.booleans(),
    low=st.sampled_from([0.0, 1e-5, 1e-2]),
    grow=st.integers(1, 3),
    shrink=st.sampled_from([1.0, 0.5]),
    limit=st.integers(1, 3),
    k=st.sampled_from([1.0, 0.5, 2.0]),
    power=st.sampled_from([0.1, 1.0, 2.0]),
)
def test_cyclic_schedules_are_timms(
    name: str, epochs: int, warm: int, prefix: bool, low: float, grow: int, shrink: float, limit: int, k: float,
    power: float,
) -> None:  # fmt: skip
    args = {"sched": name, "epochs": epochs, "warmup_epochs": warm, "warmup_prefix": prefix, "min_lr": low}
    args |= {"lr_cycle_mul": grow, "lr_cycle_decay": shrink, "lr_cycle_limit": limit, "decay_rate": power}
    args |= {"lr_k_decay": 1.0 if name == "tanh" else k}

    def oracle(t: int) -> float:
        if t < warm:
            return line(t, warm, of_cycles(warm, name, args) if name == "tanh" and not prefix else LR)
        return of_cycles(t - warm if prefix else t, name, args)

    assert differ(args, oracle) <= 1e-12


@PLAIN
@given(
    every=st.integers(1, 200).map(lambda x: Fraction(x, 10)),
    rate=st.sampled_from([0.1, 0.97]),
    warm=st.integers(0, 12),
    prefix=st.booleans(),
)
def test_steps_are_timms_for_fractions_of_an_epoch_too(every: Fraction, rate: float, warm: int, prefix: bool) -> None:
    args = {"sched": "step", "epochs": 100, "decay_epochs": float(every), "decay_rate": rate}

    def oracle(t: int) -> float:
        if t < warm:
            return line(t, warm)
        return LR * rate ** math.floor(Fraction(t - warm if prefix else t) / every)

    by_epoch = lehr.convert(
        BASE | args | {"warmup_epochs": warm, "warmup_prefix": prefix}, peer="timm", steps_per_epoch=PER_EPOCH
    )
    expected = np.array([oracle(t) for t in range(80)])
    assert np.abs(lrs(by_epoch, 240)[::3] - expected).max() <= 1e-12 * LR


@PLAIN
@given(
    milestones=st.lists(st.integers(1, 60), min_size=1, max_size=4, unique=True).map(sorted),
    warm=st.integers(0, 12),
    prefix=st.booleans(),
)
def test_milestones_act_one_epoch_early_as_timms_do(milestones: list[int], warm: int, prefix: bool) -> None:
    args = {"sched": "multistep", "epochs": 70, "decay_milestones": milestones, "warmup_epochs": warm}

    def oracle(t: int) -> float:
        if t < warm:
            return line(t, warm)
        local = t - warm if prefix else t
        return LR * 0.1 ** sum(local + 1 >= item for item in milestones)

    assert differ(args | {"warmup_prefix": prefix}, oracle) <= 1e-12


@PLAIN
@given(
    name=st.sampled_from(["wsd", "rsqrt"]),
    decay=st.integers(1, 20) | st.sampled_from([0.2, 0.5]),
    stable=st.integers(0, 20),
    warm=st.integers(0, 12),
    prefix=st.booleans(),
    low=st.sampled_from([0.0, 1e-5, 0.2]),
    shape=st.sampled_from([None, "linear", "1-sqrt", "cosine", "power", "exp"]),
    scale=st.integers(1, 20),
)
def test_warmup_stable_decay_is_timms(
    name: str, decay: float, stable: int, warm: int, prefix: bool, low: float, shape: str | None, scale: int
) -> None:
    rest = 20 + stable
    args = {"sched": name, "epochs": rest + (0 if prefix else warm), "decay_epochs": decay, "warmup_epochs": warm}
    args |= {"warmup_prefix": prefix, "min_lr": low, "lr_decay_fn": shape, "lr_stable_timescale": scale}
    cool = round(decay * rest) if decay < 1 else int(decay)
    kind = shape or ("linear" if name == "rsqrt" else "1-sqrt")

    def oracle(t: int) -> float:
        if t < warm:
            return line(t, warm)
        local = t - warm
        level = max(LR * (1 + local / scale) ** -0.5 if name == "rsqrt" else LR, low)
        x = min(max(local - (rest - cool), 0) / cool, 1.0)
        g = {
            "linear": 1 - x,
            "1-sqrt": 1 - math.sqrt(x),
            "power": 1 - float(x**0.5),
            "cosine": 0.5 * (1 + math.cos(math.pi * x)),
            "exp": (float(0.1**x) - 0.1) / 0.9,
        }[kind]
        return low + (level - low) * g

    assert differ(args, oracle) <= 1e-12


def test_a_command_line_a_namespace_and_a_dict_are_the_same() -> None:
    words = "train.py /data --model resnet50 --sched cosine --lr 0.4 --epochs 90 --warmup-epochs 5 --min-lr 1e-5"
    flags = lehr.convert(words, steps_per_epoch=10)
    told = {"sched": "cosine", "lr": 0.4, "epochs": 90, "warmup_epochs": 5, "min_lr": 1e-5, "warmup_lr": 1e-5}
    assert lehr.convert(told, steps_per_epoch=10).policy == flags.policy
    assert lehr.convert(argparse.Namespace(**told), steps_per_epoch=10).policy == flags.policy
    assert repr(flags.policy) == (
        "minimum(warmup('5 epochs', start=2.5e-05, zero_start=True), cosine('90 epochs', to_lr=1e-05))"
        ".staircase('1 epoch')"
    )
    assert (flags.lr, flags.steps, flags.epochs) == (0.4, 900, 90)


def test_defaults_that_shape_the_lr_are_named() -> None:
    note = lehr.convert("--sched step --lr 0.1 --epochs 10").findings[0]
    assert note.code == "C101"
    assert "warmup_epochs=5, warmup_lr=1e-05, decay_epochs=90, decay_rate=0.1" in note.reason


def test_the_length_of_the_run_counts_prefix_cycles_and_cooldown() -> None:
    told = BASE | {"sched": "cosine", "epochs": 10, "warmup_epochs": 2, "warmup_prefix": True, "cooldown_epochs": 3}
    found = lehr.convert(told | {"lr_cycle_limit": 2, "lr_cycle_mul": 2.0, "lr_cycle_decay": 1.0}, steps_per_epoch=5)
    assert (found.epochs, found.steps) == (10 + 20 + 2 + 3, 175)


@pytest.mark.parametrize(
    ("more", "code", "severity"),
    [
        ({"lr_noise": [0.4, 0.9]}, "C203", "error"),
        ({"layer_decay": 0.75}, "C202", "warning"),
        ({"sched": "step", "min_lr": 1e-4, "decay_epochs": 3}, "C105", "warning"),
        ({"lr_new_thing": 3}, "C201", "error"),
        ({"lr": None, "lr_base": 0.1}, "C106", "warning"),
    ],
)
def test_what_cannot_be_taken_over_is_a_finding(more: dict[str, Any], code: str, severity: str) -> None:
    found = lehr.convert(BASE | {"sched": "cosine", "epochs": 10} | more)
    assert (code, severity) in [(item.code, item.severity) for item in found.findings]


@pytest.mark.parametrize("name", ["cosine", "tanh", "step", "multistep", "poly", "wsd", "rsqrt"])
def test_the_whole_namespace_of_the_script_has_nothing_that_is_not_understood(name: str) -> None:
    every = {"sched": name, "sched_on_updates": False, "lr": 0.1, "lr_base": 0.1, "lr_base_size": 256,
             "lr_noise": None, "lr_noise_pct": 0.67, "lr_noise_std": 1.0, "lr_cycle_mul": 1.0, "lr_cycle_decay": 0.5,
             "lr_cycle_limit": 1, "lr_k_decay": 1.0, "warmup_lr": 1e-5, "min_lr": 0, "epochs": 300,
             "lr_base_scale": "", "epoch_repeats": 0.0, "start_epoch": None,
             "decay_milestones": [90, 180, 270], "decay_epochs": 90, "warmup_epochs": 5,
             "warmup_prefix": False, "cooldown_epochs": 0, "patience_epochs": 10, "decay_rate": 0.1, "opt": "sgd",
             "weight_decay": 2e-5, "layer_decay": None, "model_ema_decay": 0.9998, "model_ema_warmup": False,
             "log_wandb": False, "lr_decay_fn": None, "lr_stable_timescale": None, "seed": 42}  # fmt: skip
    found = lehr.convert(argparse.Namespace(**every))
    assert [item for item in found.findings if item.severity == "error"] == []


def test_a_plateau_has_timms_metric_and_warmup() -> None:
    found = lehr.convert(BASE | {"sched": "plateau", "epochs": 50, "warmup_epochs": 5, "eval_metric": "loss"})
    assert repr(found.policy) == (
        "Policy(warmup('5 epochs', start=0.0025, zero_start=True).staircase('1 epoch').then(hold()), "
        "rules=[when(loss.plateaus(10, flavor='torch')).scale(0.1)])"
    )


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"sched": "cosin"}, "one of cosine, multistep"),
        ({"sched_on_updates": True}, "give steps_per_epoch"),
        ({"lr": None, "warmup_epochs": 5}, r"give convert\(..., lr=...\)"),
        ({"sched": "wsd", "decay_epochs": 50}, "a decay of 1 to 10"),
        ({"sched": "rsqrt"}, "needs lr_stable_timescale"),
        ({"epochs": "many"}, "must be a number"),
        ({"epochs": 0}, "epochs of at least 1"),
        ({"sched": "step", "decay_epochs": 1e-9}, "more than 10000 cuts"),
        ({"lr_cycle_limit": 10**6}, "up to 1000 of them"),
        ({"lr_cycle_limit": 900, "lr_cycle_mul": 900.0}, "at most 1e18|2\\*\\*63"),
        ({"warmup_epochs": 2.5, "warmup_prefix": True}, "counts whole epochs"),
        ({"warmup_prefix": "perhaps"}, "must be true or false"),
    ],
)
def test_what_timm_would_refuse_is_refused(more: dict[str, Any], words: str) -> None:
    with pytest.raises(lehr.LehrError, match=words):
        lehr.convert(BASE | {"sched": "cosine", "epochs": 10} | more)
