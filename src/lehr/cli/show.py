"""`lehr show`: see a policy before anything trains."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from lehr.checks import Finding, check
from lehr.checks.subject import subjects
from lehr.cli import options
from lehr.cli.check import plain_console, print_findings
from lehr.extras import needs
from lehr.lengths import Horizon
from lehr.policy import Policy
from lehr.report.facts import DEFAULT_STEPS, Facts, Strand, facts_of, planned, strands
from lehr.report.figures import plot
from lehr.report.rule_words import rule_in_words
from lehr.report.saving import check_suffix, save
from lehr.report.wording import short

if TYPE_CHECKING:
    from lehr.report.terminal import Pen

WIDEST, HEIGHT = 100, 18  # characters and lines of a drawing
EXAMPLES = """
[bold]Examples[/bold]

  lehr show "cosine()"

  lehr show "warmup('2%').then(cosine(to=0.1))" --steps 50000 --lr 3e-4

  lehr show "step_decay('30 epochs', 0.1)" --epochs 90 --steps-per-epoch 391 --lr 0.1

  lehr show "cosine()" "linear(to=0)" "wsd(decay='20%')" -o curves.png
"""


def show(
    texts: Annotated[list[str], typer.Argument(metavar="TEXT", help="Policies; several share one axis.")],
    steps: Annotated[
        int | None, typer.Option(metavar="N", help=f"Updates in the run. \\[default: {DEFAULT_STEPS}]")
    ] = None,
    lr: Annotated[float | None, typer.Option(metavar="X", help="Base LR. \\[default: none, factors are shown]")] = None,
    epochs: options.Epochs = None,
    steps_per_epoch: options.StepsPerEpoch = None,
    samples: options.Samples = None,
    samples_per_step: options.SamplesPerStep = None,
    tokens: options.Tokens = None,
    tokens_per_step: options.TokensPerStep = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write a figure: .png, .svg or .html.")
    ] = None,
) -> None:
    """Draw the learning rate of a policy and say what it comes to: peak, end, area, parts and rules."""
    if output is not None:
        check_suffix(output)
    horizon = options.run_to_look_at(
        steps,
        epochs,
        samples,
        tokens,
        steps_per_epoch=steps_per_epoch,
        samples_per_step=samples_per_step,
        tokens_per_step=tokens_per_step,
    )
    shown = list(dict.fromkeys(strand for text in texts for strand in strands(text)))
    console = plain_console()
    found = {one.policy: check(one.policy, horizon=horizon, lr=lr) for text in texts for one in subjects(text, horizon)}
    _print(console, shown, horizon, lr, found)
    if output is not None:
        save(plot(*texts, horizon=horizon, lr=lr), output)
        console.print(f"written to {output}", style="dim", markup=False, highlight=False, soft_wrap=True)


def _print(
    console: Console,
    shown: Sequence[Strand],
    horizon: Horizon,
    lr: float | None,
    found: Mapping[Policy, Sequence[Finding]],
) -> None:
    plans = [planned(strand.policy, horizon, strand.base(lr)) for strand in shown]
    with needs("cli"):
        from lehr.report.terminal import drawing, pens
    drawn_with = pens(len(shown), console.is_terminal and not console.no_color, console.encoding)
    console.print()
    console.out(drawing([values for _, values in plans], drawn_with, width(), HEIGHT), highlight=False)
    for strand, pen, (curve, values) in zip(shown, drawn_with, plans, strict=True):
        console.print()
        console.print(heading(strand, pen, alone=len(shown) == 1))
        facts = facts_of(curve, values)
        console.print(_numbers(facts, strand.base(lr)))
        _print_parts(console, facts)
        _print_rules(console, strand)
        if found.get(strand.policy):
            console.print()
            print_findings(console, found[strand.policy])
    console.print()


def width() -> int:
    """Characters for a drawing: what the terminal has, 80 without one, but not more than the eye likes."""
    return max(20, min(shutil.get_terminal_size().columns - 1, WIDEST))


def heading(strand: Strand, pen: Pen, alone: bool) -> Text:
    """The text of a policy, behind the colour or letter of its curve if there are several."""
    text = Text(strand.label, style="bold")
    if alone:
        return text
    key = Text(f"{pen.symbol}  ") if pen.colour is None else Text("━━ ", style=f"color({pen.colour})")
    return key.append_text(text)


def _numbers(facts: Facts, lr: float | None) -> Text:
    """The facts as two columns of names and values."""
    peak = "peak" if lr is None else "peak LR"
    pairs = [
        (peak, f"{short(facts.peak)} at step {facts.peak_step}", "steps", str(facts.steps)),
        ("first", short(facts.first), "warm-up", f"{facts.warmup} steps" if facts.warmup else "none"),
        ("final", short(facts.final), "above half", f"{short(100 * facts.above_half, 3)} % of the steps"),
        ("area", f"{short(facts.area, 3)} of peak × steps", "", ""),
    ]
    return aligned(pairs, dim=(0, 2))


def _print_parts(console: Console, facts: Facts) -> None:
    """Which member governs which steps, if there is more than one."""
    if len(facts.parts) < 2:
        return
    ends = [facts.steps if part.stop is None else min(part.stop, facts.steps) for part in facts.parts]
    rows = [(f"steps {part.start}–{end - 1}", part.text) for part, end in zip(facts.parts, ends, strict=True)]
    console.print()
    console.print(aligned(rows, dim=(0,)))


def aligned(rows: Sequence[Sequence[str]], dim: Sequence[int]) -> Text:
    """Rows as lines in columns, some of them dim, without blanks at the ends."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        line = Text("   ").join(
            Text(cell.ljust(width), style="dim" if place in dim else "")
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        line.rstrip()
        lines.append(line)
    return Text("\n").join(lines)


def _print_rules(console: Console, strand: Strand) -> None:
    """The rules, which react to a run and so have no curve."""
    policy = strand.policy
    bounds = [(name, bound) for name, bound in (("min", policy.min_lr), ("max", policy.max_lr)) if bound is not None]
    if not policy.rules and not bounds:
        return
    console.print()
    if policy.rules:
        console.print("rules react to the run, so they are not drawn", style="dim")
    for rule in policy.rules:
        console.print(Text(f"  {rule_in_words(rule)}"))
    for name, bound in bounds:
        console.print(Text(f"  {name} LR {bound}"), style="dim")


show.__doc__ = f"{show.__doc__}\n{EXAMPLES}"
