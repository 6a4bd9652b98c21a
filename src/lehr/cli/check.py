"""`lehr check`: what looks wrong in a policy, or in the log of a run."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from textwrap import fill
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from lehr.checks import Finding, check
from lehr.cli import options
from lehr.errors import LehrError
from lehr.lengths import Horizon
from lehr.logs import read_trace

WIDEST, INDENT = 100, "    "
COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}
HELP = """Say what looks wrong in a policy before it trains, or in the log of a run, with a reason and a remedy.

Exit code: 0 nothing worse than a note; 1 a warning or an error; 2 something given cannot be right."""
EXAMPLES = """[bold]Examples[/bold]

  lehr check "warmup(2000).then(cosine())" --steps 1000 --lr 3e-4

  lehr check "exponential(0.95)" --epochs 90 --steps-per-epoch 391

  lehr check "cosine()" --steps 3000 --epochs 3 --batches 1000 --accumulate 4

  lehr check lehr-report/traces/run.jsonl --steps 1600

  lehr check metrics.csv --policy "cosine()" --lr 0.1
"""


def run_check(
    texts: Annotated[
        list[str], typer.Argument(metavar="TEXT|LOG", help="Policies, or logs of runs: files or folders.")
    ],
    steps: options.Steps = None,
    lr: Annotated[
        list[float] | None, typer.Option(metavar="X", help="Base LR; once for each group. \\[default: not known]")
    ] = None,
    epochs: Annotated[float | None, typer.Option(metavar="N", help="The run's length in epochs.")] = None,
    steps_per_epoch: options.StepsPerEpoch = None,
    samples: options.Samples = None,
    samples_per_step: options.SamplesPerStep = None,
    tokens: options.Tokens = None,
    tokens_per_step: options.TokensPerStep = None,
    batches: Annotated[int | None, typer.Option(metavar="N", help="Batches that the loader makes.")] = None,
    accumulate: Annotated[int, typer.Option(metavar="N", help="Micro-batches in an update.")] = 1,
    world_size: Annotated[int, typer.Option(metavar="N", help="Ranks that share the batches.")] = 1,
    policy: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What logs are held against. \\[default: as their header says]")
    ] = None,
    column: options.Columns = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, for machines.")] = False,
) -> None:
    """Check every text or log, print the findings, and say by the exit code whether there are bad ones."""
    horizon = Horizon(
        steps=steps,
        epochs=None if batches is not None else epochs,
        steps_per_epoch=steps_per_epoch,
        samples=samples,
        samples_per_step=samples_per_step,
        tokens=tokens,
        tokens_per_step=tokens_per_step,
    )
    loader = None if batches is None else range(batches)
    about: dict[str, Any] = {"lr": lr, "loader": loader, "accumulate": accumulate, "world_size": world_size}
    about["epochs"] = epochs if loader is not None else None
    console = plain_console()
    bad = False
    for text in texts:
        findings = _findings(text, policy, horizon, options.named_columns(column), about)
        bad |= any(finding.severity != "note" for finding in findings)
        if as_json:
            for finding in findings:
                typer.echo(json.dumps({"checked": text} | asdict(finding), ensure_ascii=False))
            continue
        console.print(Text(text, style="bold"))
        if not findings:
            console.print("  nothing found", style="dim")
        print_findings(console, findings)
    if bad:
        raise typer.Exit(1)


def plain_console() -> Console:
    """Colours only for a terminal that wants them; characters that an encoding lacks become question marks."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    return Console(highlight=False, soft_wrap=True)


def print_findings(console: Console, findings: Sequence[Finding]) -> None:
    """Each finding with its remedy below, folded to the width of the terminal."""
    width = min(console.width, WIDEST)
    for finding in findings:
        head = f"  {finding.severity} {finding.code}"
        line = Text(fill(f"{head}  {finding.reason}", width, subsequent_indent=INDENT, break_long_words=False))
        line.stylize(COLOURS[finding.severity], 2, len(head))
        console.print(line)
        remedy = fill(finding.remedy, width, initial_indent=INDENT, subsequent_indent=INDENT, break_long_words=False)
        console.print(Text(remedy, style="dim"))


def _findings(
    text: str, policy: str | None, horizon: Horizon, columns: dict[str, str], about: dict[str, Any]
) -> list[Finding]:
    """Of a log if there is such a file or folder, else of a policy."""
    if not os.path.exists(text):
        if text.endswith(".jsonl"):
            raise LehrError(f"there is no log {text!r}; give the path of a log, or the text of a policy")
        return check(text, horizon=horizon, **about)
    return check(policy, horizon=horizon, log=read_trace(text, columns=columns), **about)
