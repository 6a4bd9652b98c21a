"""Flags as scripts have them: arrays, quotes, positional words, several commands; and flags of diffusers."""

from __future__ import annotations

import pytest

import lehr

DIFFUSERS = "accelerate launch t.py --train_batch_size=1 --max_train_steps=1500 --learning_rate=1e-05 --lr_scheduler={}"


@pytest.mark.parametrize(
    ("flags", "policy"),
    [
        (DIFFUSERS.format("constant --lr_warmup_steps=0"), "constant()"),
        (DIFFUSERS.format("cosine --lr_warmup_steps=100"), "warmup(100, zero_start=True).then(cosine())"),
        (DIFFUSERS.format("linear"), "warmup(500, zero_start=True).then(linear())"),
        (DIFFUSERS.format("polynomial --lr_warmup_steps=0 --lr_power=2"), "polynomial(to_lr=1e-07)"),
        (
            DIFFUSERS.format("cosine_with_restarts --lr_warmup_steps=0 --lr_num_cycles=3"),
            "cosine().repeat(3)",
        ),
    ],
)
def test_diffusers_flags_are_read_as_transformers_schedules(flags: str, policy: str) -> None:
    found = lehr.convert(flags)
    assert (found.peer, repr(found.policy), found.lr, found.steps) == ("transformers", policy, 1e-5, 1500)
    codes = {item.code for item in found.findings if item.code.startswith("C")}
    assert codes - {"C102"} == (set() if "lr_warmup_steps" in flags else {"C101"})


def test_diffusers_epochs_become_steps_where_an_epoch_is_known() -> None:
    flags = "--lr_scheduler linear --lr_warmup_steps 10 --learning_rate 1e-5 --num_train_epochs 3"
    assert (lehr.convert(flags).steps, lehr.convert(flags).epochs) == (None, 3)
    assert (lehr.convert(flags, steps_per_epoch=100).steps, lehr.convert(flags, steps=50).steps) == (300, 50)


def test_diffusers_lr_may_be_scaled_by_what_the_source_does_not_say() -> None:
    found = lehr.convert(DIFFUSERS.format("constant") + " --lr_warmup_steps 0 --scale_lr")
    assert "C106" in [item.code for item in found.findings]


def test_a_learning_rate_beside_epochs_is_transformers_default() -> None:
    found = lehr.convert("--learning_rate 2e-5 --num_train_epochs 3", steps_per_epoch=100)
    assert (found.peer, repr(found.policy), found.lr, found.steps) == ("transformers", "linear()", 2e-5, 300)
    assert [item.code for item in found.findings][:1] == ["C101"]
    assert lehr.convert("--learning_rate 2e-5 --num_train_epochs 3 --max_train_steps 70").steps == 70


def test_flags_that_may_be_anyones_are_read_as_of_the_peer_that_is_named() -> None:
    found = lehr.convert("--lr 0.1 --epochs 100 --warmup-epochs 0", peer="timm")
    assert (found.peer, repr(found.policy)) == ("timm", "cosine('100 epochs').staircase('1 epoch')")


ARRAYS = """#!/bin/bash
MODEL_ARGS=(
    --num-layers 24
    --attention-backend auto # Can use (flash/fused/unfused/local)
)
TRAINING_ARGS=(
    --global-batch-size 32
    --min-lr 1.0e-5
    --lr-decay-style linear
    --lr-warmup-fraction .01
    --train-iters {} --lr 1e-4 {}
)
torchrun x.py ${{MODEL_ARGS[@]}} ${{TRAINING_ARGS[@]}} --save $(pwd)/x
"""
QUOTED = """GPT_ARGS="
    --num-layers 24 \\
    --train-iters 1000
    --lr-decay-style linear --min-lr 1.0e-5 \\
    --lr-warmup-fraction .01 --lr 1e-4
"
torchrun x.py $GPT_ARGS --save x
"""


@pytest.mark.parametrize(
    "script",
    [
        ARRAYS.format(1000, ""),
        ARRAYS.format(1000, "--fp16"),
        QUOTED,
        'OPTS="$BASE --train-iters 1000 --lr-decay-style linear --min-lr 1e-5 --lr-warmup-fraction .01 --lr 1e-4"\n',
        "t.py --lr-decay-style linear data --min-lr 1e-5 --lr-warmup-fraction .01 --train-iters 1000 --lr 1e-4 a/ >c",
        "t.py --lr-decay-style linear --min-lr 1e-5 --lr-warmup-fraction .01 --train-iters 1000 --lr 1e-4; echo done",
        f"t --lr-decay-style linear --min-lr 1e-5 --lr-warmup-fraction .01 --train-iters 1000 --lr 1e-4 {'x' * 300}",
    ],
)
def test_the_flags_of_a_shell_script_end_where_its_words_do(script: str) -> None:
    found = lehr.convert(script)
    assert repr(found.policy) == "warmup(10, zero_start=True).then(linear(to_lr=1e-05))"
    assert (found.lr, found.steps) == (1e-4, 1000)


def test_a_flag_with_several_numbers_keeps_them() -> None:
    flags = "--sched multistep --lr 0.1 --epochs 90 --warmup-epochs 0 --decay-milestones 30 60 /data"
    assert repr(lehr.convert(flags).policy) == "multistep(['29 epochs', '59 epochs']).staircase('1 epoch')"
    with pytest.raises(lehr.LehrError, match="is a variable of the shell"):
        lehr.convert(flags.replace("60", "$LAST"))


def test_the_flags_of_two_commands_are_refused_where_they_differ() -> None:
    one = "python t.py --lr 1e-3 --train-iters 1000 --lr-decay-style cosine --save a\n"
    with pytest.raises(lehr.LehrError, match="--lr is given twice, as '1e-3' and '1e-5'"):
        lehr.convert(one + one.replace("1e-3", "1e-5"))
    assert lehr.convert(one + one.replace("save a", "save b")).policy == lehr.convert(one).policy
