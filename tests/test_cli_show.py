"""`lehr show` from its arguments to its exit code, output and files."""

import functools as ft
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Show = Callable[..., tuple[int, str, str]]


@pytest.fixture
def show(command: Show) -> Show:
    """Run `lehr show ...`; exit code, output, errors."""
    return ft.partial(command, "show")


def test_it_draws_the_curve_and_says_the_facts(show: Show) -> None:
    code, output, errors = show("warmup('2%').then(cosine(to=0.1))", "--steps", "50000", "--lr", "3e-4")
    assert (code, errors) == (0, "")
    assert "warmup('2%').then(cosine(to=0.1))" in output
    assert any(0x2800 < ord(mark) < 0x2900 for mark in output)
    words = " ".join(output.split())
    assert "peak LR 0.0003 at step 999" in words
    assert "first 3e-7" in words
    assert "final 3e-5" in words
    assert "warm-up 1000 steps" in words
    assert "above half 53.5 % of the steps" in words
    assert "steps 0–999 warmup('2%') steps 1000–49999 cosine(to=0.1)" in words


def test_piped_output_has_no_escapes_and_fits_its_width(show: Show) -> None:
    _, output, _ = show("cosine()", "linear(to=0)")
    assert "\x1b" not in output
    assert max(map(len, output.splitlines())) <= 80
    assert "a  cosine()" in output
    assert "b  linear()" in output


def test_without_an_lr_it_shows_factors_of_a_thousand_steps(show: Show) -> None:
    _, output, _ = show("constant(0.5)")
    assert "peak    0.5 at step 0" in output
    assert "1000" in output


def test_the_run_can_be_said_in_epochs_and_tokens(show: Show) -> None:
    _, output, _ = show("step_decay('1 epoch', 0.5)", "--epochs", "3", "--steps-per-epoch", "100")
    assert "300" in output
    assert "final   0.25" in output
    _, output, _ = show("cosine('1e6 tokens')", "--tokens", "2e6", "--tokens-per-step", "1000")
    assert "2000" in output
    assert "final   0 " in output


def test_rules_are_told_in_words(show: Show) -> None:
    text = "Policy(cosine(), rules=[when(loss.improves_less_than(0.01, 200)).scale(0.5)], min_lr=1e-5)"
    code, output, _ = show(text, "--lr", "0.1")
    assert code == 0
    assert "when loss improves by less than 1 % over 200 steps, multiply the LR by 0.5" in output
    assert "min LR 1e-05" in output


def test_it_writes_a_figure_of_all_curves(show: Show, tmp_path: Path) -> None:
    code, output, _ = show("cosine()", "constant(0.5)", "-o", str(tmp_path / "a.svg"))
    assert code == 0
    assert "a.svg" in output
    drawn = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert "cosine()" in drawn
    assert "constant(0.5)" in drawn


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cosin()"], "did you mean 'cosine'"),
        (["cosine("], "was never closed"),
        ([""], "cannot read ''"),
        (["loss"], "decides nothing yet"),
        (["cosine()", "--steps", "0"], "must be a whole number of at least 1"),
        (["cosine()", "--steps", "1000000000000"], "at most 10000000 steps"),
        (["cosine()", "--steps", "10", "--epochs", "2"], "takes the run's length once"),
        (["cosine()", "--lr", "0"], "must be a positive number, got 0.0"),
        (["cosine()", "--lr", "nan"], "must be a positive number, got nan"),
        (["step_decay('3 epochs', 0.1)"], "needs steps_per_epoch"),
        (["linear(to_lr=1e-6)"], "needs the base LR"),
        (["cosine()", "-o", "curve.pdf"], "must end in .png, .svg or .html, got 'curve.pdf'"),
        (["cosine()", "-o", "/nowhere/curve.svg"], "cannot write '/nowhere/curve.svg'"),
        ([], "Missing argument 'TEXT"),
        (["cosine()", "--steps", "many"], "--steps"),
    ],
)
def test_what_cannot_be_right_is_one_message_and_exit_code_2(show: Show, arguments: list[str], message: str) -> None:
    code, _, errors = show(*arguments)
    assert code == 2
    assert message in " ".join(errors.split())
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("module", "arguments", "extra"),
    [
        ("plotext", ["cosine()"], "pip install 'lehr[cli]'"),
        ("altair", ["cosine()", "-o", "a.svg"], "pip install 'lehr[plot]'"),
        ("vl_convert", ["cosine()", "-o", "a.svg"], "pip install 'lehr[plot]'"),
    ],
)
def test_a_missing_extra_says_what_to_install(
    show: Show, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, module: str, arguments: list[str], extra: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "lehr.report.terminal", raising=False)
    code, _, errors = show(*arguments)
    assert code == 2
    assert extra in errors


def test_help_has_examples(show: Show) -> None:
    code, output, _ = show("--help")
    assert code == 0
    assert "lehr show" in output
    assert "Examples" in output
    assert "--steps-per-epoch" in output
