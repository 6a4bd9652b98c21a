"""`lehr diff`: two policies over one run, and where they part."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.text import Text

from lehr.cli import options
from lehr.cli.check import plain_console
from lehr.cli.show import HEIGHT, aligned, heading, width
from lehr.difference import Difference
from lehr.errors import LehrError
from lehr.extras import needs
from lehr.lengths import Horizon
from lehr.report.facts import DEFAULT_STEPS, Facts, Strand, facts_of, planned, strands, unseen
from lehr.report.wording import short

HELP = """Draw two policies over one run, and say where they part, by how much, and what it comes to.

Exit code: 0 the curves agree, to 1e-12 of the peak; 1 they differ; 2 something given cannot be right."""
EXAMPLES = """[bold]Examples[/bold]

  lehr diff "warmup('2%').then(cosine(to=0.1))" "wsd()" --steps 50000 --lr 3e-4

  lehr diff "exponential(0.95, per='1 epoch')" "step_decay('10 epochs', 0.6)" --epochs 90 --steps-per-epoch 391
"""


def diff(
    one: Annotated[str, typer.Argument(metavar="A", help="A policy.")],
    other: Annotated[str, typer.Argument(metavar="B", help="Another.")],
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
) -> None:
    """Print the difference of two policies; the exit code says whether there is one."""
    horizon = options.run_to_look_at(
        steps,
        epochs,
        samples,
        tokens,
        steps_per_epoch=steps_per_epoch,
        samples_per_step=samples_per_step,
        tokens_per_step=tokens_per_step,
    )
    pairs = _pairs(strands(one), strands(other))
    console = plain_console()
    differ = [_print(console, pair, horizon, lr) for pair in pairs]
    if any(differ):
        raise typer.Exit(1)


def _pairs(ones: Sequence[Strand], others: Sequence[Strand]) -> list[tuple[Strand, Strand]]:
    """The curves of both that belong together: those of one group and hyperparameter."""
    names = [strand.name for strand in ones], [strand.name for strand in others]
    if names[0] != names[1]:
        raise LehrError(
            f"diff compares curves of the same groups and hyperparameters, got {names[0]} and {names[1]}; "
            "write both policies with the same groups(...) and bind(...)"
        )
    return list(zip(ones, others, strict=True))


def _print(console: Console, pair: tuple[Strand, Strand], horizon: Horizon, lr: float | None) -> bool:
    """Print one pair; whether they differ."""
    plans = [planned(strand.policy, horizon, strand.base(lr)) for strand in pair]
    values = [values for _, values in plans]
    difference = Difference(np.arange(len(values[0])), values[0], values[1])
    with needs("cli"):
        from lehr.report.terminal import drawing, pens
    drawn_with = pens(2, console.is_terminal and not console.no_color, console.encoding)
    console.print()
    console.out(drawing(values, drawn_with, width(), HEIGHT), highlight=False)
    console.print()
    for strand, pen in zip(pair, drawn_with, strict=True):
        console.print(heading(strand, pen, alone=False))
    console.print()
    console.print(_facts(*(facts_of(curve, values) for curve, values in plans)))
    console.print()
    for line in difference.words():
        console.print(Text(f"  {line}"))
    hidden = unseen(pair[0].policy, pair[1].policy, pair[0].base(lr))
    for line in hidden:
        console.print(Text(f"  {line}", style="dim"))
    console.print()
    return not difference.equal or bool(hidden)


def _facts(one: Facts, other: Facts) -> Text:
    """The facts of both, side by side."""
    rows = [
        ("", "A", "B"),
        ("peak", *(f"{short(facts.peak)} at step {facts.peak_step}" for facts in (one, other))),
        ("first", short(one.first), short(other.first)),
        ("final", short(one.final), short(other.final)),
        ("area", *(f"{short(facts.area, 3)} of peak × steps" for facts in (one, other))),
        ("above half", *(f"{short(100 * facts.above_half, 3)} % of the steps" for facts in (one, other))),
    ]
    starts = [[str(part.start) for part in facts.parts] for facts in (one, other)]
    if max(map(len, starts)) > 1:
        parts = [[part.text for part in facts.parts] for facts in (one, other)]
        for i, (a, b) in enumerate(zip_longest(*parts, fillvalue="")):
            at = [f"from {start[i]}: " if i < len(start) else "" for start in starts]
            rows.append(("parts" if i == 0 else "", at[0] + a, at[1] + b))
    return aligned(rows, dim=(0,))
