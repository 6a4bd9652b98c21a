"""`lehr calibrate`: the noise of a log, and how triggers do on it."""

from __future__ import annotations

import math
from pathlib import Path
from textwrap import fill
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lehr.calibrate import Calibration, calibrate
from lehr.cli import options
from lehr.cli.check import WIDEST, plain_console
from lehr.logs import read_trace
from lehr.report.calibration_chart import calibration_chart
from lehr.report.saving import check_suffix, save
from lehr.trials import Tried

HELP = """Estimate the noise of a logged signal, try triggers on curves with such noise, and say which to use.

The log is a trace of Lehr, a csv, a jsonl, or the trainer_state.json of Hugging Face's Trainer."""
EXAMPLES = """[bold]Examples[/bold]

  lehr calibrate metrics.csv

  lehr calibrate metrics.csv --signal "metric('val_loss', best='min')" --improvement 0.02 --over 20% -o noise.png

  lehr calibrate run.jsonl --policy "when(loss.plateaus(30)).scale(0.5)"
"""
LEGEND = (
    "Too early: fires while the curve still improves as asked; of all runs, with the 95 % interval. Delay: median, "
    "from when it is flat, in observations and in units of n*. Missed: of the runs in which 2 n* or more were left."
)


def run_calibrate(
    log: Annotated[Path, typer.Argument(metavar="LOG", help="What a run has logged.")],
    signal: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What to look at. \\[default: what the policy reads, else loss]")
    ] = None,
    improvement: Annotated[float, typer.Option(metavar="X", help="A curve that improves by less is flat.")] = 0.01,
    over: Annotated[str, typer.Option(metavar="LENGTH", help="The window of that improvement.")] = "10%",
    policy: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Whose triggers to try. \\[default: the usual ones]")
    ] = None,
    runs: Annotated[int, typer.Option(metavar="N", help="Runs of each of the four families of curves.")] = 200,
    seed: Annotated[int, typer.Option(metavar="N", help="Of the curves.")] = 0,
    column: options.Columns = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write a figure: .png, .svg or .html.")
    ] = None,
) -> None:
    """Calibrate on a log; print the noise, the table and what to write."""
    if output is not None:
        check_suffix(output)
    trace = read_trace(log, columns=options.named_columns(column))
    window = int(over) if over.isdigit() else over
    found = calibrate(trace, signal=signal, improvement=improvement, over=window, policy=policy, runs=runs, seed=seed)
    console = plain_console()
    console.print()
    about = trace.header["read"]
    source = about["columns"].get(found.signal.name, found.signal.name)
    console.print(
        Text.assemble(("log  ", "dim"), f"{about['path']}, {about['format']}: {found.count} values of {source!r}")
    )
    for line in found.facts():
        _print_folded(console, line)
    console.print()
    console.print(_table(found))
    _print_folded(console, LEGEND, style="dim")
    console.print()
    for line in found.advice():
        _print_folded(console, line, style="bold" if line.startswith("write") else "")
    for note in found.notes:
        _print_folded(console, note, style="dim")
    console.print()
    if output is not None:
        save(calibration_chart(found), output)
        console.print(f"written to {output}", style="dim", markup=False, highlight=False, soft_wrap=True)


def _table(found: Calibration) -> Table:
    """A line for each trigger; it fits into 80 columns."""
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    made.add_column("trigger", overflow="fold")
    for title in ("too early [95 %]", "delay", "n*", "missed"):
        made.add_column(title, justify="right", no_wrap=True)
    for row in found.tried:
        made.add_row(Text(repr(row.trigger)), *_cells(row))
    return made


def _cells(row: Tried) -> tuple[Text | str, ...]:
    early = Text(f"{100 * row.premature:.1f} % [{100 * row.low:.1f}, {100 * row.high:.1f}]")
    missed = "–" if math.isnan(row.missed) else f"{100 * row.missed:.0f} %"
    if math.isnan(row.delay):
        return early, "–", "–", "–"
    if math.isinf(row.delay):
        return early, "never", "", missed
    return early, f"{row.delay:.0f}", f"{row.times:.1f}", missed


def _print_folded(console: Console, words: str, style: str = "") -> None:
    """A sentence in lines that the eye can follow."""
    lines = fill(words, min(console.width, WIDEST), subsequent_indent="    ", break_long_words=False)
    console.print(Text(lines, style=style))
