"""`lehr.convert` as a whole: how a source is recognised, what comes back, and what is refused."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lehr
from lehr.converters.sources import PEERS, peers_of

MEGATRON = "--lr 3e-4 --lr-decay-style cosine --train-iters 1000 --lr-warmup-iters 20"
SOURCES: dict[str, Any] = {
    "transformers": {"lr_scheduler_type": "cosine", "learning_rate": 1e-4, "max_steps": 100},
    "deepspeed": {"scheduler": {"type": "WarmupLR", "params": {"warmup_max_lr": 1e-3}}, "train_batch_size": 8},
    "megatron": {"lr": 3e-4, "lr_decay_style": "linear", "train_iters": 100},
    "keras": {"class_name": "CosineDecay", "config": {"initial_learning_rate": 0.1, "decay_steps": 100}},
    "timm": {"sched": "cosine", "lr": 0.1, "epochs": 10, "warmup_epochs": 0},
    "torch": {"T_max": 10, "eta_min": 0.0, "base_lrs": [0.1], "last_epoch": 0, "_step_count": 1},
}


@pytest.mark.parametrize("peer", SOURCES)
def test_a_peer_is_recognised_as_a_dict_as_json_and_from_a_file(peer: str, tmp_path: Path) -> None:
    source = SOURCES[peer]
    file = tmp_path / "config.json"
    file.write_text(json.dumps(source))
    found = lehr.convert(source)
    assert found.peer == peer
    for other in (json.dumps(source), file, str(file)):
        again = lehr.convert(other)
        assert (again.policy, again.lr, again.horizon) == (found.policy, found.lr, found.horizon)
    assert lehr.convert(source, peer=peer).policy == found.policy


def test_flags_are_a_text_a_list_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "train.sh"
    file.write_text(f"#!/bin/bash\npython pretrain.py {MEGATRON}\n")
    policies = {lehr.convert(source).policy for source in (MEGATRON, MEGATRON.split(), file, str(file))}
    assert {repr(policy) for policy in policies} == {"warmup(20, zero_start=True).then(cosine())"}


@pytest.mark.parametrize("peer", SOURCES)
def test_the_text_makes_the_same_policy_again(peer: str) -> None:
    found = lehr.convert(SOURCES[peer], steps_per_epoch=7)
    names: dict[str, Any] = {"lehr": lehr}
    exec(found.text(), names)
    assert names["policy"] == found.policy
    assert names.get("lr") == found.lr
    assert names.get("horizon") == found.horizon
    assert repr(found) == str(found) == found.text()


def test_what_the_caller_gives_wins_and_a_disagreement_is_a_finding() -> None:
    found = lehr.convert(SOURCES["megatron"], lr=1e-3, steps=50)
    assert (found.lr, found.steps) == (1e-3, 50)
    assert repr(found.policy) == "linear(100)"
    assert [item.code for item in found.findings][:1] == ["C101"]


def test_epochs_become_steps_where_an_epoch_is_known() -> None:
    arguments = {"lr_scheduler_type": "linear", "num_train_epochs": 3, "warmup_ratio": 0.03}
    assert lehr.convert(arguments).epochs == 3
    assert repr(lehr.convert(arguments).policy) == "warmup('3%', zero_start=True).then(linear())"
    found = lehr.convert(arguments, steps_per_epoch=100)
    assert (found.steps, repr(found.policy)) == (300, "warmup(9, zero_start=True).then(linear())")


def test_checks_of_the_policy_itself_are_among_the_findings() -> None:
    found = lehr.convert({"lr_scheduler_type": "linear", "warmup_steps": 200, "max_steps": 100, "learning_rate": 1e-4})
    assert {item.code for item in lehr.check(found.policy, steps=100, lr=1e-4)} <= {
        item.code for item in found.findings
    }
    assert any(item.code.startswith("LR") and item.severity != "note" for item in found.findings)


def test_a_small_factor_that_was_an_lr_of_the_peers_is_no_finding() -> None:
    found = lehr.convert({"sched": "cosine", "lr": 0.5, "epochs": 10, "warmup_lr": 1e-6, "warmup_prefix": True})
    assert "start=2e-06" in repr(found.policy)
    assert "LR205" not in [item.code for item in found.findings]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({}, "not clear which peer has a configuration with the keys none"),
        ({"colour": 3}, "not clear which peer has a configuration with the keys colour"),
        ({"sched": "cosine", "lr_decay_style": "cosine"}, "megatron or timm may have"),
        ("hello", "there is no file 'hello'"),
        ("hello world", "neither JSON nor flags"),
        ("nothing.json", "there is no file"),
        ("args.yaml", "YAML is not read"),
        ("last.ckpt", "checkpoint files are not read"),
        ("x" * 300, "there is no file"),
        ("--lr 0.1 --epochs 100", r"with the keys lr, epochs; say it by convert\(..., peer=...\)"),
        ("{broken", "cannot read the JSON"),
        ("[1, 2]", "must be an object"),
        ("--lr '3", "cannot read the flags"),
        (3, "takes a scheduler, a dict"),
        (None, "takes a scheduler, a dict"),
        ([1, 2], "takes a scheduler, a dict"),
        (SimpleNamespace(policy=lehr.cosine()), "not clear which peer has"),
        (SimpleNamespace(x=3), "not clear which peer has"),
    ],
)
def test_a_source_that_is_none_is_refused(source: Any, words: str) -> None:
    with pytest.raises(lehr.LehrError, match=words):
        lehr.convert(source)


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        ({"peer": "jax"}, "must be one of torch, transformers"),
        ({"lr": 0.0}, "must be above 0"),
        ({"lr": "fast"}, "must be a finite number"),
        ({"steps": 0}, "at least 1"),
        ({"steps_per_epoch": 1.5}, "whole number"),
    ],
)
def test_what_the_caller_gives_is_checked(given_: dict[str, Any], words: str) -> None:
    with pytest.raises(lehr.LehrError, match=words):
        lehr.convert(SOURCES["transformers"], **given_)


def test_the_state_of_a_scheduler_is_found_in_a_checkpoint() -> None:
    state = SOURCES["torch"]
    for key, held in (("lr_scheduler", state), ("lr_schedulers", [state])):
        checkpoint: dict[str, Any] = {
            "epoch": 3,
            "model": {"weight": 1.0},
            "optimizer": {"state": {}, "param_groups": []},
            key: held,
        }
        found = lehr.convert(checkpoint)
        assert (found.peer, repr(found.policy), found.lr) == ("torch", "cosine(10)", 0.1)
    with pytest.raises(lehr.LehrError, match="states of 2 schedulers, 'one', 'two'; give one of them"):
        lehr.convert({"one": state, "two": state})


RICH: list[dict[str, Any]] = [
    *SOURCES.values(),
    {"name": "warmup_stable_decay", "num_warmup_steps": 3, "num_training_steps": 50, "lr": 0.1,
     "scheduler_specific_kwargs": {"num_decay_steps": 5, "decay_type": "linear", "min_lr_ratio": 0.1}},
    {"name": "cosine_with_min_lr", "num_warmup_steps": 3, "num_training_steps": 50, "lr": 0.1,
     "scheduler_specific_kwargs": {"min_lr": 1e-3, "num_cycles": 0.5}},
    {"lr_scheduler_type": "polynomial", "max_steps": 90, "learning_rate": 0.1, "warmup_steps": 3, "warmup_ratio": 0.1,
     "lr_scheduler_kwargs": {"power": 2.0, "lr_end": 1e-3}, "num_train_epochs": 3, "metric_for_best_model": "loss",
     "deepspeed": "", "greater_is_better": True},
    {"lr_scheduler_type": "reduce_lr_on_plateau", "max_steps": 90, "learning_rate": 0.1,
     "lr_scheduler_kwargs": '{"patience": 2}'},
    {"scheduler": {"type": "OneCycle", "params": {"cycle_min_lr": 0.1, "cycle_max_lr": 1.0, "decay_lr_rate": 0.5,
     "cycle_first_step_size": 9, "cycle_first_stair_count": 3, "decay_step_size": 2, "cycle_max_mom": 0.9}},
     "optimizer": {"params": {"lr": 0.1}}},
    {"lr": 0.1, "train_samples": 900, "global_batch_size": 3, "lr_decay_style": "WSD", "lr_wsd_decay_samples": 90,
     "lr_warmup_fraction": 0.1, "min_lr": 0.01, "lr_warmup_init": 0.001},
    {"lr": 0.1, "train_iters": 90, "lr_decay_style": "inverse-square-root", "min_lr": 0.01, "lr_warmup_iters": 9},
    {"class_name": "CosineDecayRestarts", "config": {"initial_learning_rate": 0.1, "first_decay_steps": 9, "t_mul": 2.0,
     "m_mul": 0.5, "alpha": 0.1}},
    {"class_name": "PiecewiseConstantDecay", "config": {"boundaries": [3, 9], "values": [0.1, 0.2, 0.3]}},
    {"monitor": "val_loss", "factor": 0.1, "patience": 3, "min_delta": 0.0, "cooldown": 2, "min_lr": 1e-3},
    {"sched": "poly", "lr": 0.1, "epochs": 9, "warmup_epochs": 2, "min_lr": 0.01, "lr_cycle_limit": 2,
     "lr_cycle_mul": 2.0, "lr_cycle_decay": 0.5, "decay_rate": 0.5, "lr_k_decay": 2.0, "warmup_lr": 1e-3},
    {"sched": "rsqrt", "lr": 0.1, "epochs": 9, "warmup_epochs": 2, "min_lr": 0.01, "decay_epochs": 3, "warmup_lr": 0},
    {"sched": "step", "lr": 0.1, "epochs": 9, "decay_epochs": 2.5, "decay_rate": 0.5, "warmup_epochs": 1},
    {"factor": 0.1, "patience": 3, "threshold": 0.0, "threshold_mode": "abs", "min_lrs": [0.0], "mode": "max",
     "cooldown": 2, "eps": 1e-8, "_last_lr": [0.1], "last_epoch": 3, "num_bad_epochs": 0},
    {"milestones": {"3": 1, "9": 2}, "gamma": 0.1, "base_lrs": [0.1], "last_epoch": 0},
    {"total_size": 10.0, "step_ratio": 0.5, "gamma": 1.0, "mode": "triangular", "base_lrs": [0.1], "max_lrs": [1.0]},
    {"_schedulers": [{"gamma": 0.9, "base_lrs": [0.1]}, {"T_max": 9, "eta_min": 0.0, "base_lrs": [0.1]}],
     "_milestones": [5], "last_epoch": 0},
]  # fmt: skip
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 10**7) | st.floats() | st.text(max_size=8) | st.just("auto"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None, max_examples=400)
@given(data=st.data(), source=st.sampled_from(RICH), steps_per_epoch=st.none() | st.just(3))
def test_junk_in_a_source_is_refused_with_an_error_of_ours_or_read(
    data: st.DataObject, source: dict[str, Any], steps_per_epoch: int | None
) -> None:
    def spoil(value: Any) -> Any:
        if isinstance(value, dict) and value:
            key = data.draw(st.sampled_from(sorted(value)))
            return value | {key: spoil(value[key])}
        if isinstance(value, list) and value and data.draw(st.booleans()):
            return [spoil(value[0]), *value[1:]]
        return data.draw(JUNK)

    (peer,) = peers_of(source) or ["torch"]

    try:
        found = lehr.convert(spoil(source), peer=peer, steps_per_epoch=steps_per_epoch)
    except lehr.LehrError:
        return
    assert found.peer == peer


@settings(deadline=None, max_examples=200)
@given(text=st.text(max_size=60) | st.lists(st.sampled_from(MEGATRON.split()), max_size=9).map(" ".join))
def test_any_text_is_read_or_refused_with_an_error_of_ours(text: str) -> None:
    with contextlib.suppress(lehr.LehrError):
        assert lehr.convert(text).peer in PEERS
