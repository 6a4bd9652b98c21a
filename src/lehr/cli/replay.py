"""`lehr replay`: what a policy would have done in a run that was logged."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.text import Text

from lehr.cli import options
from lehr.cli.check import WIDEST, plain_console
from lehr.cli.show import aligned, width
from lehr.extras import needs
from lehr.lengths import Horizon
from lehr.logs import read_trace
from lehr.replay import Replay, replay
from lehr.report.replay_chart import replay_chart
from lehr.report.replayed import summary
from lehr.report.saving import check_suffix, save
from lehr.report.wording import short
from lehr.trace import Trace

HEIGHT, LOWER = 12, 9  # lines of a drawing of a number, and of the LRs
TOLD = 12  # events of a kind that are printed
HELP = """Run a policy over the log of a run: what it would have done, when and why, with a picture.

The log is a trace of Lehr, a csv, a jsonl, or the trainer_state.json of Hugging Face's Trainer."""
EXAMPLES = """[bold]Examples[/bold]

  lehr replay metrics.csv --policy "when(loss.improves_less_than(0.02, '10%')).scale(0.5)"

  lehr replay trainer_state.json --policy "when(metric('eval_loss', best='min').plateaus(3)).scale(0.3)" -o seen.png

  lehr replay wandb.csv --column "loss=train/loss_ce" --policy "when(loss.diverges()).scale(0.5)"

  lehr replay lehr-report/traces/run.jsonl
"""


def run_replay(
    log: Annotated[Path, typer.Argument(metavar="LOG", help="What a run has logged.")],
    policy: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What to replay. \\[default: the policy that the log names]")
    ] = None,
    lr: Annotated[
        list[float] | None,
        typer.Option(metavar="X", help="Base LR; once for each group. \\[default: the largest in the log]"),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(metavar="N", help="Updates in the run. \\[default: as the log says, else its own]")
    ] = None,
    steps_per_epoch: options.StepsPerEpoch = None,
    column: options.Columns = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write a figure: .png, .svg or .html.")
    ] = None,
) -> None:
    """Replay a policy over a log; print what was read, what it would have done, and draw it."""
    if output is not None:
        check_suffix(output)
    trace = read_trace(log, columns=options.named_columns(column))
    horizon = Horizon(steps=steps, steps_per_epoch=steps_per_epoch)
    done = replay(trace, policy, lr=lr or None, horizon=horizon)
    console = plain_console()
    console.print()
    _print_read(console, trace)
    _print_folded(console, f"policy  {done.policy!r}")
    if output is None:
        _draw(console, done)
    _print_events(console, done)
    _print_lrs(console, done)
    for words in done.caveats():
        _print_folded(console, words, style="dim")
    console.print()
    if output is not None:
        save(replay_chart(done), output)
        console.print(f"written to {output}", style="dim", markup=False, highlight=False, soft_wrap=True)


def _print_read(console: Console, trace: Trace) -> None:
    """What was taken from the log."""
    about, steps = trace.header["read"], trace.columns["step"]
    span = f"{len(steps)} step{'s' * (len(steps) != 1)} with a report, from {steps[0]:.0f} to {steps[-1]:.0f}"
    console.print(Text.assemble(("log     ", "dim"), f"{about['path']}, {about['format']}: {span}"))
    rows = [
        (f"  {name}", str(int(np.isfinite(trace.columns[name]).sum())), f"from {column!r}" if column != name else "")
        for name, column in about["columns"].items()
        if name in trace.columns
    ]
    console.print(aligned([("  name", "values", ""), *rows], dim=(1, 2)))
    if about["left_out"]:
        console.print(Text(f"  left out, as they hold no numbers: {', '.join(about['left_out'])}", style="dim"))
    for note in about["notes"]:
        console.print(Text(f"  {note}", style="dim"))


def _draw(console: Console, done: Replay) -> None:
    with needs("cli"):
        from lehr.report.replay_terminal import lr_drawing, number_drawings
        from lehr.report.terminal import pens
    coloured = console.is_terminal and not console.no_color
    (pen,) = pens(1, coloured, console.encoding)
    for caption, drawn in number_drawings(done, pen, width(), HEIGHT):
        console.print()
        console.print(Text(caption, style="dim"))
        console.out(drawn, highlight=False)
    known = bool(np.isfinite(done.recorded_lr).any())
    drawn_with = pens(1 + known, coloured, console.encoding)
    names = ["of the policy", "recorded"][: 1 + known]
    keys = [f"{each.symbol} " if len(each.symbol) == 1 and known else "" for each in drawn_with]
    console.print()
    names_of = Text("learning rate  ", style="dim")
    for name, key, each in zip(names, keys, drawn_with, strict=True):
        names_of.append(f" {key}{name} ", style="" if each.colour is None else f"color({each.colour})")
    console.print(names_of)
    console.out(lr_drawing(done, drawn_with, width(), LOWER), highlight=False)


def _print_events(console: Console, done: Replay) -> None:
    """The decisions, with their sentences."""
    console.print()
    console.print(Text(summary(done), style="bold"))
    titles = {"rule": "", "shadow": "in the shadow", "verdict": "verdicts", "warning": "warnings"}
    for kind, title in titles.items():
        events = done.of(kind)
        if events and title:
            console.print(Text(title, style="dim"))
        for event in events[:TOLD]:
            _print_folded(console, f"  {event}")
        if len(events) > TOLD:
            console.print(Text(f"  … and {len(events) - TOLD} more", style="dim"))


def _print_folded(console: Console, words: str, style: str = "") -> None:
    """A sentence in lines that the eye can follow."""
    lines = fill(words, min(console.width, WIDEST), subsequent_indent="    ", break_long_words=False)
    console.print(Text(lines, style=style))


def _print_lrs(console: Console, done: Replay) -> None:
    """Both LRs at the first and the last step, and where they part."""
    steps, lr, recorded = done.trace.columns["step"], done.trace.columns["lr"], done.recorded_lr
    known = recorded[np.isfinite(recorded)]
    rows = [("LR", f"at step {steps[0]:.0f}", f"at step {steps[-1]:.0f}")]
    rows += [("  recorded", short(float(known[0])), short(float(known[-1])))] if len(known) else []
    rows.append(("  of the policy", short(float(lr[0])), short(float(lr[-1]))))
    console.print()
    console.print(aligned(rows, dim=(0,)))
