"""What tests share: the schedules and runs that every conformance battery goes through, and hypothesis's profile."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

import parity
from lehr.lengths import Horizon
from lehr.schedules import Schedule, register
from lehr.schedules.catalogue import CATALOGUE, EXAMPLE_FUNCTIONS
from lehr.text import parse

TESTS = Path(__file__).parent
os.environ.setdefault("KERAS_BACKEND", "torch")  # Keras's own default is not installed
Command = Callable[..., tuple[int, str, str]]

hypothesis.settings.register_profile("lehr", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("lehr")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that writes the table of the peers."""
    parser.addoption("--write-parity", action="store_true", help="run the comparisons with peers; write docs/parity.md")


def pytest_configure(config: pytest.Config) -> None:
    """Let the option overrule the marker that leaves the peers out."""
    if config.getoption("--write-parity"):
        config.option.markexpr = ""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With the option, run what makes the table, and not what reads it."""
    if config.getoption("--write-parity"):
        makers = {path for path in TESTS.glob("test_parity_*.py") if path.name != "test_parity_table.py"}
        config.hook.pytest_deselected(items=[item for item in items if item.path not in makers])
        items[:] = [item for item in items if item.path in makers]


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Write docs/parity.md if it was asked for and every peer was compared."""
    if not session.config.getoption("--write-parity") or exitstatus:
        return
    if lacking := parity.missing():
        pytest.exit(f"docs/parity.md is not written; these were not compared: {', '.join(lacking)}", returncode=1)
    parity.write()


for name, function in EXAMPLE_FUNCTIONS.items():
    register(name, function)

COMPOSITIONS = (
    "warmup('5%').then(cosine(to=0.1))",
    "warmup(10).then(hold(), one_minus_sqrt('20%'))",
    "warmup(10).then(warmup('5%'), constant(0.3))",
    "linear(100).then(inverse_sqrt('1 epoch'))",
    "cosine() * step_decay(100, gamma=0.5)",
    "linear(100) * constant(0.5) * exponential(0.999)",
    "(linear(100) * constant(0.5)).then(hold())",
    "hold() * constant(0.5)",
    "cosine(50).repeat()",
    "cosine(10).repeat(3, stretch=2)",
    "cosine(10).repeat(stretch=2, scale=0.5)",
    "cosine().repeat(4, stretch=1.5, scale=0.9)",
    "linear('3.7%').repeat(5, stretch=0.5)",
    "linear('3.7%', to=0.1).repeat(11, scale=0.7)",
    "warmup(5).then(cosine(20, to=0.1)).repeat(3, stretch=2)",
    "linear('5%', start=1, to=0.2).then(linear('5%', to=1)).repeat(3).then(hold('10%'), cosine())",
    "cosine(10).repeat(3).repeat(2, scale=0.5)",
    "cosine().clip(0.1, 0.9)",
    "warmup(10).then(hold()).clip(high=0.5).then(linear('10%'))",
    "exponential(0.99).staircase('1 epoch')",
    "cosine(100).staircase(7).then(linear('10%', to_lr=1e-4))",
    "warmup(20).then(linear(30)).stretch(2.5)",
    "compounding(0.9999).stretch(3)",
    "(warmup('10%') * inverse_sqrt(30)).clip(high=0.8).then(hold())",
    "wsd('3%', '7%').clip(0.01) * exponential(0.999)",
    "constant(0.1) + cosine(50).repeat(scale=0.5).scaled(0.9)",
    "warmup(10).then(linear('20%') + hold('30%'))",
    "(constant(0.1) + linear()) * (exponential(0.999) + constant(0.2))",
    "minimum(warmup('30%'), inverse_sqrt(50), constant(0.7))",
    "maximum(cosine(), constant(0.1)).then(linear(50))",
    "linear('20%').reverse().then(hold(), cosine(30).reverse().reverse())",
    "warmup(20).then(cosine(30, to=0.1)).reverse().repeat(3)",
    "hold().fade(linear('20%', start=0.3), '10%')",
    "cosine(100).fade(inverse_sqrt(30).scaled(0.5), 40)",
    "linear(30).fade(cosine(start=0.5), '5%').clip(0.1)",
    "cosine() * noise(0.2, every=10, seed=3)",
    "warmup(10).then(of_step('example.inverse').scaled(2))",
    "hold(20).then(piecewise({30: 0.1, '50.5 steps': 0.7}, between='linear'))",
)
TEXTS = (*(text for row in CATALOGUE for text in row.examples), *COMPOSITIONS)


@pytest.fixture(params=TEXTS)
def schedule(request: pytest.FixtureRequest) -> Schedule:
    """Every example of the catalogue and a set of compositions, in turn."""
    made: Schedule = parse(request.param)
    return made


@pytest.fixture(scope="session")
def texts() -> tuple[str, ...]:
    """All of their texts."""
    return TEXTS


@pytest.fixture(
    params=(
        Horizon(steps=1000, steps_per_epoch=50, samples_per_step=32, tokens_per_step=2048),
        Horizon(steps=1, steps_per_epoch=1, samples_per_step=1, tokens_per_step=1),
        Horizon(steps=7, steps_per_epoch=3, samples_per_step=10**9, tokens_per_step=5),
        Horizon(steps=99_991, steps_per_epoch=391, samples_per_step=7, tokens_per_step=1),
        Horizon(steps=10**12, steps_per_epoch=10**6, samples_per_step=1, tokens_per_step=1),
    ),
    ids=lambda horizon: f"{horizon.steps}-steps",
)
def horizon(request: pytest.FixtureRequest) -> Horizon:
    """Runs of one step, a few, a prime number and a million million."""
    run: Horizon = request.param
    return run


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run `lehr ...` as a shell does, in a terminal of 80 columns; exit code, output, errors."""
    monkeypatch.setenv("COLUMNS", "80")

    def run_command(*arguments: str) -> tuple[int, str, str]:
        from lehr.cli.app import run  # the core is tested without what the command line needs

        monkeypatch.setattr(sys, "argv", ["lehr", *arguments])
        try:
            code: int | str | None = run()
        except SystemExit as stop:
            code = stop.code
        output, errors = capsys.readouterr()
        return int(code or 0), output, errors

    return run_command
