"""`lehr convert`: a peer's configuration as a policy."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer
from rich.text import Text

from lehr.cli import options
from lehr.cli.check import plain_console, print_findings
from lehr.converters import PEERS, Conversion, convert

HELP = """Read a peer's configuration and say it as a policy, with what was changed on purpose.

Exit code: 0 converted; 1 something that changes the LR was not; 2 it cannot be read."""
EXAMPLES = """[bold]Examples[/bold]

  lehr convert ds_config.json --lr 3e-4

  lehr convert training_args.json --steps-per-epoch 391

  lehr convert pretrain.sh

  lehr convert -- --sched cosine --lr 0.4 --epochs 90 --warmup-epochs 5
"""
SETTINGS = {"ignore_unknown_options": True}  # a text of flags is one argument that begins with --


def run_convert(
    source: Annotated[
        list[str], typer.Argument(metavar="FILE|TEXT", help="JSON or flags; flags also as they are, behind --.")
    ],
    lr: Annotated[float | None, typer.Option(metavar="X", help="Base LR. \\[default: as the source says]")] = None,
    steps: options.Steps = None,
    steps_per_epoch: options.StepsPerEpoch = None,
    peer: Annotated[
        str | None, typer.Option(metavar="NAME", help=f"Whose it is: {', '.join(PEERS)}. \\[default: by its keys]")
    ] = None,
    metric: Annotated[str | None, typer.Option(metavar="NAME", help="The number that a plateau reads.")] = None,
    kind: Annotated[str | None, typer.Option(metavar="CLASS", help="The class, where the keys fit several.")] = None,
) -> None:
    """Print the policy, the base LR, the steps, the findings, and the command that draws it."""
    given = source[0] if len(source) == 1 else source
    found = convert(given, peer=peer, lr=lr, steps=steps, steps_per_epoch=steps_per_epoch, metric=metric, kind=kind)
    console = plain_console()
    for name, value in _lines(found):
        console.print(Text.assemble((f"{name:8}", "dim"), value))
    if found.findings:
        console.print()
        print_findings(console, found.findings)
    console.print()
    console.print(Text(_command(found), style="bold"))
    if any(finding.severity == "error" for finding in found.findings):
        raise typer.Exit(1)


def _lines(found: Conversion) -> list[tuple[str, str]]:
    lines = [("peer", found.peer), ("policy", repr(found.policy))]
    if found.lr is not None:
        lines.append(("base LR", ", ".join(f"{lr:g}" for lr in _lrs(found))))
    if found.steps is not None:
        lines.append(("steps", str(found.steps)))
    if found.epochs is not None:
        lines.append(("epochs", f"{found.epochs:g}"))
    return lines


def _lrs(found: Conversion) -> tuple[float, ...]:
    return found.lr if isinstance(found.lr, tuple) else () if found.lr is None else (found.lr,)


def _command(found: Conversion) -> str:
    """The `lehr show` that draws the policy."""
    words = ["lehr", "show", repr(found.policy)]
    per_epoch = None if found.horizon is None else found.horizon.steps_per_epoch
    if found.steps is not None:
        words += ["--steps", str(found.steps)]
    elif found.epochs is not None:
        words += ["--epochs", f"{found.epochs:g}", "--steps-per-epoch", "N"]
    words += [] if per_epoch is None else ["--steps-per-epoch", str(per_epoch)]
    if found.horizon is not None and found.horizon.samples_per_step is not None:
        words += ["--samples-per-step", str(found.horizon.samples_per_step)]
    words += [] if not _lrs(found) else ["--lr", f"{_lrs(found)[0]!r}"]
    return " ".join(_quoted(word) for word in words)


def _quoted(word: str) -> str:
    """Double quotes read better around a policy, which is full of single ones."""
    plain = shlex.quote(word) == word
    return word if plain else shlex.quote(word) if '"' in word or "$" in word else f'"{word}"'
