"""`lehr convert` from its arguments to its exit code and output."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def lehr(command: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run `lehr ...` in a wide terminal; exit code, output, errors."""
    monkeypatch.setenv("COLUMNS", "200")
    return command


def test_a_text_of_flags_is_one_argument(lehr: Command) -> None:
    code, output, errors = lehr("convert", "--lr 3e-4 --lr-decay-style cosine --train-iters 1000 --min-lr 3e-5")
    assert (code, errors) == (0, "")
    assert output.splitlines()[:4] == [
        "peer    megatron",
        "policy  cosine(to_lr=3e-05)",
        "base LR 0.0003",
        "steps   1000",
    ]
    assert output.splitlines()[-1] == 'lehr show "cosine(to_lr=3e-05)" --steps 1000 --lr 0.0003'


def test_flags_behind_two_dashes_need_no_quotes(lehr: Command) -> None:
    code, output, _ = lehr("convert", "--", "--lr", "3e-4", "--lr-decay-style", "linear", "--train-iters", "10")
    assert code == 0
    assert "policy  linear()" in output


def test_the_last_line_is_a_command_that_draws_the_policy(lehr: Command) -> None:
    told = ["--sched", "cosine", "--lr", "0.4", "--epochs", "9", "--warmup-epochs", "2"]
    code, output, _ = lehr("convert", "--steps-per-epoch", "20", "--", *told)
    command = shlex.split(output.splitlines()[-1])
    assert (code, command[:2]) == (0, ["lehr", "show"])
    code, output, errors = lehr(*command[1:])
    assert (code, errors) == (0, "")
    assert "0.4" in output


def test_a_file_is_read_and_options_fill_in_what_it_leaves_open(lehr: Command, tmp_path: Path) -> None:
    file = tmp_path / "ds_config.json"
    params = {"warmup_max_lr": "auto", "warmup_num_steps": 10, "total_num_steps": "auto"}
    file.write_text(json.dumps({"scheduler": {"type": "WarmupDecayLR", "params": params}}))
    code, output, _ = lehr("convert", str(file), "--lr", "1e-3", "--steps", "500")
    assert code == 0
    assert "warmup(10, shape='log').then(linear())" in output
    assert "note C103" in output


def test_what_cannot_be_converted_is_exit_code_1(lehr: Command) -> None:
    code, output, _ = lehr("convert", json.dumps({"lr_scheduler_type": "greedy"}), "--steps", "100")
    assert code == 1
    assert "error C203" in output


def test_what_cannot_be_read_is_exit_code_2_and_one_line(lehr: Command) -> None:
    code, output, errors = lehr("convert", "nothing.json")
    assert (code, output) == (2, "")
    assert errors == "lehr: there is no file 'nothing.json', and it is neither JSON nor flags\n"


def test_a_plateau_names_its_metric(lehr: Command) -> None:
    config = json.dumps({"factor": 0.5, "patience": 3, "threshold": 1e-4, "num_bad_epochs": 0, "mode": "min"})
    code, output, _ = lehr("convert", config, "--metric", "val_loss", "--peer", "torch")
    assert code == 0
    assert "when(metric('val_loss', best='min').plateaus(3, flavor='torch')).scale(0.5)" in output
