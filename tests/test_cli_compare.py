"""`lehr compare` as a user meets it: tables, paths, exit codes, and never a traceback."""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from lehr import study
from lehr.cli import main
from lehr.cli.app import app
from lehr.cli.live import picture, summary
from lehr.cli.ranking import marks, times
from lehr.study import Progress, Ranking, Request
from lehr.study.design import Cell, Facts
from lehr.study.executor import Running
from lehr.study.job import Job

TOY = Path(__file__).with_name("toy_workload.py")
Command = Callable[..., tuple[int, str]]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs `lehr` in this process: exit code, and all that was printed."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["lehr", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        assert "Traceback" not in printed.out + printed.err
        return int(ended.value.code or 0), printed.out + printed.err

    return run


def test_a_comparison_prints_its_table_and_where_things_are(command: Command, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, text = command("compare", f"{TOY}:make", "--policy", "mine=linear(to=0.5)", "--seeds", "1", "--out", out)
    assert code == 0
    for expected in ("difference to", "rmse", "constant", "performance-based", "mine", "to it", "bootstrap over 1"):
        assert expected in text
    for name in ("report.html", "rows.jsonl", "traces"):
        assert f"{out / name}" in text
        assert (out / name).exists()
    assert "runs, " in text  # plain progress, since this is no terminal
    assert (out / "report.html").read_text().lstrip().lower().startswith("<!doctype html>")


def test_failed_runs_are_shown_and_end_with_1(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lehr.report.page.write", lambda folder: folder / "report.html")
    code, text = command("compare", f"{TOY}:failing", "--seeds", "2", "--out", tmp_path)
    assert code == 1
    assert "KeyError: 'no such column'" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare", "digts"], "nearest known name is 'digits'"),
        (["compare", "--quick", "flights"], "give one or the other"),
        (["compare", "digits", "--policy", "cosin()"], "did you mean 'cosine'"),
        (["compare", "digits", "--policy", "mine="], "LABEL=TEXT"),
        (["compare", "digits", "--policy", "("], "cannot read"),
        (["compare", "--seeds", "0"], "seeds"),
        (["compare", "--workers", "none"], "workers"),
        (["compare", "nowhere.py:make"], "workload file must exist"),
    ],
)
def test_errors_are_one_message_and_code_2(
    command: Command, tmp_path: Path, arguments: list[str], message: str
) -> None:
    code, text = command(*arguments, "--out", tmp_path / "out")
    assert code == 2
    assert message in text


def test_an_interrupted_study_says_how_to_go_on(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(request: Request, watch: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(study, "compare", interrupted)
    code, text = command("compare", "digits", "--policy", "cosine(to=0.1)", "--seeds", "7", "--out", "a b", "--fresh")
    assert code == 130
    assert "lehr compare digits --policy 'cosine(to=0.1)' --seeds 7 --out 'a b'\n" in text  # not --fresh


def asked(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Request:
    """What `lehr compare` asks of the study."""
    seen: list[Request] = []

    def compare(request: Request, watch: object) -> list[object]:
        seen.append(request)
        return []

    monkeypatch.setattr(study, "compare", compare)
    monkeypatch.setattr("lehr.report.page.write", lambda folder: folder / "report.html")
    assert CliRunner().invoke(app, ["compare", *arguments]).exit_code == 0
    return seen[0]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], {"workloads": ("digits", "flights"), "seeds": 5, "workers": None, "fresh": False}),
        (["--quick"], {"workloads": ("digits",), "seeds": 3}),
        (["--quick", "--seeds", "4"], {"workloads": ("digits",), "seeds": 4}),
        (["pybytes"], {"workloads": ("pybytes",), "seeds": 5}),
        (["--workers", "3"], {"workers": 3}),
        (["--fresh"], {"fresh": True}),
        (["--out", "here"], {"folder": Path("here"), "command": "lehr compare digits flights --out here"}),
        (
            ["--policy", "cosine()", "--policy", "b=linear()"],
            {"policies": tuple(map(study.named, ("cosine()", "b=linear()")))},
        ),
    ],
)
def test_every_option_reaches_the_study(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], expected: dict[str, object]
) -> None:
    request = asked(monkeypatch, *arguments)
    assert {name: getattr(request, name) for name in expected} == expected


def test_a_missing_extra_says_what_to_install(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "lehr.cli.app")
    monkeypatch.setitem(sys.modules, "typer", None)
    monkeypatch.setattr(sys, "argv", ["lehr"])
    with pytest.raises(SystemExit, match=r"pip install 'lehr\[lab\]'"):
        main()


def test_help_has_examples(command: Command) -> None:
    code, text = command("compare", "--help")
    assert code == 0
    assert "lehr compare train.py:make" in text
    assert "--quick: 3" in text


def running() -> Running:
    facts = Facts("digits", "digits", 1000, 0.1, "accuracy", "max", 0.9, 100, 50, "", "", "", "", "")
    cell = Cell("digits", "cosine decay", "cosine()", 1 / 3, 2, "rank", "")
    return Running(Job(cell, facts, Path(), "traces/x.jsonl"), 250, 0.025, 0.5, 1.0)


def test_the_live_picture_shows_every_running_cell_and_the_whole() -> None:
    console = Console(width=120, record=True, file=None, quiet=False)
    with console.capture() as captured:
        console.print(picture(Progress((running(),), done=3, total=90, seconds_left=75.2)))
    text = captured.get()
    for expected in (
        "digits",
        "cosine decay",
        "×⅓",
        "seed 2",
        "250/1000",
        "2.50e-02",
        "loss 0.5",
        "3 of 90 runs",
        "1:16",
    ):
        assert expected in text


def test_time_left_is_not_promised_too_early() -> None:
    assert summary(Progress((), 0, 90, None)) == "0 of 90 runs, time left not known yet"


@pytest.mark.parametrize(("peak", "text"), [(1 / 3, "×⅓"), (1.0, "×1"), (3.0, "×3")])
def test_peaks_read_as_multipliers(peak: float, text: str) -> None:
    assert times(peak) == text


def test_a_ranking_is_marked_with_what_its_numbers_hide() -> None:
    quiet = Ranking(
        workload="toy",
        policy="mine",
        text="mine()",
        rank=1,
        untuned_rank=1,
        peak=3.0,
        lr=0.3,
        edge="high",
        test_loss=0.1,
        test_metric=0.9,
        untuned_test_loss=0.1,
        untuned_test_metric=0.9,
        difference=-0.1,
        low=-0.2,
        high=-0.05,
        pairs=3,
        seeds=3,
        steps_to=None,
        rules=1,
        silent_rules=(),
        diverged=0,
        diverged_at_peak=0,
        failed=0,
    )
    assert marks(quiet) == []
    loud = dataclasses.replace(quiet, silent_rules=("a",), diverged=2, diverged_at_peak=1, failed=1)
    assert marks(loud) == ["rule never fired", "diverged 2 (1 at the chosen peak)", "failed 1"]
    assert marks(dataclasses.replace(quiet, rules=2, silent_rules=("a",))) == ["a rule never fired"]
    assert marks(dataclasses.replace(quiet, diverged=1)) == ["diverged 1 (none at the chosen peak)"]
