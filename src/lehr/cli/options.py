"""Options that several commands share: what is known of the run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from lehr.errors import LehrError
from lehr.lengths import Horizon
from lehr.report.facts import DEFAULT_STEPS

__all__ = [
    "Columns",
    "Epochs",
    "Samples",
    "SamplesPerStep",
    "Steps",
    "StepsPerEpoch",
    "Tokens",
    "TokensPerStep",
    "named_columns",
    "run_to_look_at",
]

Steps = Annotated[int | None, typer.Option(metavar="N", help="Updates in the run.")]
Epochs = Annotated[float | None, typer.Option(metavar="N", help="The run's length in epochs, instead.")]
StepsPerEpoch = Annotated[int | None, typer.Option(metavar="N", help="Updates in an epoch.")]
Samples = Annotated[float | None, typer.Option(metavar="N", help="The run's length in samples, instead.")]
SamplesPerStep = Annotated[int | None, typer.Option(metavar="N", help="Samples in an update.")]
Tokens = Annotated[float | None, typer.Option(metavar="N", help="The run's length in tokens, instead.")]
TokensPerStep = Annotated[int | None, typer.Option(metavar="N", help="Tokens in an update.")]
Columns = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=COLUMN", help="Which column is step, loss, lr, or a metric. May be repeated."),
]


def named_columns(pairs: Sequence[str] | None) -> dict[str, str]:
    """Name → column, of texts such as loss=train/loss.

    Raises:
        LehrError: a text without a name, an equals sign or a column.
    """
    found = {}
    for text in pairs or ():
        name, sign, column = text.partition("=")
        if not (name and sign and column):
            raise LehrError(f"--column must be NAME=COLUMN, such as loss=train/loss, got {text!r}")
        found[name.strip()] = column
    return found


def run_to_look_at(
    steps: int | None, epochs: float | None, samples: float | None, tokens: float | None, **rates: int | None
) -> Horizon:
    """The run that the options describe: 1000 steps unless they say how long it is."""
    given = any(length is not None for length in (steps, epochs, samples, tokens))
    return Horizon(steps=steps if given else DEFAULT_STEPS, epochs=epochs, samples=samples, tokens=tokens, **rates)
