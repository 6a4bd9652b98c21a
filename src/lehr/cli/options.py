"""Options that several commands share: what is known of the run."""

from __future__ import annotations

from typing import Annotated

import typer

from lehr.lengths import Horizon
from lehr.report.facts import DEFAULT_STEPS

__all__ = ["Epochs", "Samples", "SamplesPerStep", "Steps", "StepsPerEpoch", "Tokens", "TokensPerStep", "run_to_look_at"]

Steps = Annotated[int | None, typer.Option(metavar="N", help="Updates in the run.")]
Epochs = Annotated[float | None, typer.Option(metavar="N", help="The run's length in epochs, instead.")]
StepsPerEpoch = Annotated[int | None, typer.Option(metavar="N", help="Updates in an epoch.")]
Samples = Annotated[float | None, typer.Option(metavar="N", help="The run's length in samples, instead.")]
SamplesPerStep = Annotated[int | None, typer.Option(metavar="N", help="Samples in an update.")]
Tokens = Annotated[float | None, typer.Option(metavar="N", help="The run's length in tokens, instead.")]
TokensPerStep = Annotated[int | None, typer.Option(metavar="N", help="Tokens in an update.")]


def run_to_look_at(
    steps: int | None, epochs: float | None, samples: float | None, tokens: float | None, **rates: int | None
) -> Horizon:
    """The run that the options describe: 1000 steps unless they say how long it is."""
    given = any(length is not None for length in (steps, epochs, samples, tokens))
    return Horizon(steps=steps if given else DEFAULT_STEPS, epochs=epochs, samples=samples, tokens=tokens, **rates)
