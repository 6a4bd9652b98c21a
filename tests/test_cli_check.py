"""`lehr check` from its arguments to its exit code and output."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import lehr

Run = Callable[..., tuple[int, str, str]]


def test_a_healthy_policy_passes(command: Run) -> None:
    code, output, errors = command("check", "warmup('2%').then(cosine())", "--steps", "1000", "--lr", "3e-4")
    assert (code, errors) == (0, "")
    assert output == "warmup('2%').then(cosine())\n  nothing found\n"


def test_an_error_is_said_with_its_reason_and_remedy(command: Run) -> None:
    code, output, _ = command("check", "warmup(2000).then(cosine())", "--steps", "1000", "--lr", "3e-4")
    assert code == 1
    words = " ".join(output.split())
    assert "error LR104 the warm-up lasts 2000 steps and the run 1000: the peak is never left" in words
    assert "shorten the warm-up, such as warmup('2%'), or lengthen the run" in words
    assert "\x1b" not in output
    assert max(map(len, output.splitlines())) <= 80


def test_a_note_does_not_fail(command: Run) -> None:
    code, output, _ = command("check", "constant()", "--steps", "1000")
    assert code == 0
    assert "note LR110" in output


def test_one_bad_policy_of_several_fails_all(command: Run) -> None:
    code, output, _ = command("check", "cosine(500)", "cosine()", "--steps", "1000")
    assert code == 1
    assert output.index("cosine(500)") < output.index("LR108") < output.index("cosine()\n")


def test_json_is_one_object_a_line(command: Run) -> None:
    code, output, _ = command("check", "cosine(500)", "constant()", "--steps", "1000", "--json")
    assert code == 1
    lines = [json.loads(line) for line in output.splitlines()]
    assert [(line["checked"], line["code"], line["severity"]) for line in lines] == [
        ("cosine(500)", "LR108", "warning"),
        ("constant()", "LR110", "note"),
    ]
    assert all(line["reason"] and line["remedy"] for line in lines)


def test_the_run_can_be_said_in_epochs(command: Run) -> None:
    code, output, _ = command("check", "exponential(0.95)", "--epochs", "90", "--steps-per-epoch", "391")
    assert code == 1
    assert 'write per="1 epoch"' in output


def test_the_loader_can_be_said_in_batches(command: Run) -> None:
    loader = ("--epochs", "3", "--batches", "1000", "--accumulate", "4")
    code, output, _ = command("check", "cosine()", "--steps", "3000", *loader)
    assert code == 1
    assert "3000 steps are planned for the run and the loader makes 750" in " ".join(output.split())
    assert command("check", "cosine()", "--steps", "750", *loader)[0] == 0


def test_every_group_has_its_lr(command: Run) -> None:
    code, output, _ = command("check", "Policy(cosine(), min_lr=0.1)", "--steps", "9", "--lr", "0.1", "--lr", "1")
    assert code == 1
    assert "group 0: min_lr=0.1 is not below the base LR 0.1" in " ".join(output.split())
    assert "group 1" not in output


def log_of(tmp_path: Path, applied: float | None = None) -> str:
    path = tmp_path / "trace.jsonl"
    run = lehr.start("cosine()", lr=0.1, steps=100)
    with lehr.record(run, path):
        while not run.done:
            run.step(lr=run.lr if applied is None else applied)
    return str(path)


def test_a_log_is_held_against_its_own_policy_or_another(command: Run, tmp_path: Path) -> None:
    log = log_of(tmp_path)
    assert command("check", log, "--steps", "100", "--lr", "0.1")[0] == 0
    code, output, _ = command("check", log, "--steps", "100", "--policy", "linear()")
    assert code == 1
    assert "LR602" in output
    code, output, _ = command("check", log, "--steps", "200")
    assert "finished at 50 % of the schedule (100 of 200 steps)" in " ".join(output.split())


def test_an_lr_that_was_not_applied_is_found_in_a_log(command: Run, tmp_path: Path) -> None:
    code, output, _ = command("check", log_of(tmp_path, applied=0.1), "--steps", "100")
    assert code == 1
    assert "error LR603" in output


def test_the_log_of_any_trainer_is_held_against_a_policy_where_it_has_an_lr(command: Run, tmp_path: Path) -> None:
    folder = tmp_path / "lightning_logs" / "version_0"
    folder.mkdir(parents=True)
    rows = [f"{t},{0.1 * (1 - t / 100)},1.0" for t in range(4, 100, 5)]
    (folder / "metrics.csv").write_text("\n".join(["step,lr-SGD,train_loss", *rows]))
    about = ["check", str(tmp_path), "--steps", "100", "--lr", "0.1", "--policy"]
    code, output, _ = command(*about, "Policy(linear(), rules=[when(loss.reaches(0.5)).scale(0.5)])")
    assert code == 0
    assert "LR607" not in output  # no rule ran, so none failed to fire
    code, output, _ = command(*about, "cosine()")
    assert code == 1
    assert "warning LR602" in output
    assert command(*about, "linear()", "--column", "lr=train_loss")[0] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cosin()"], "did you mean 'cosine'?"),
        (["missing.jsonl"], "there is no log 'missing.jsonl'"),
        (["cosine()", "--lr", "0"], "must be a positive number, got 0"),
        (["cosine()", "--steps", "9", "--tokens", "9"], "takes the run's length once"),
        (["cosine()", "--steps", "9", "--batches", "0"], "this loader is empty"),
    ],
)
def test_what_cannot_be_right_is_one_message_and_exit_code_2(command: Run, arguments: list[str], message: str) -> None:
    code, _, errors = command("check", *arguments)
    assert code == 2
    assert message in " ".join(errors.split())


def test_show_says_the_findings_of_each_policy_below_its_facts(command: Run) -> None:
    code, output, _ = command("show", "cosine(500)", "cosine()", "--steps", "1000")
    assert code == 0
    assert output.count("LR108") == 1
    assert output.index("a  cosine(500)") < output.index("LR108") < output.index("b  cosine()")
    assert "LR1" not in command("show", "cosine()", "--steps", "1000")[1]


def test_show_says_no_findings_of_the_lr_about_momentum(command: Run) -> None:
    _, output, _ = command("show", "bind(lr=cosine(), momentum=constant(0.9))", "--steps", "1000")
    assert "LR110" not in output
