"""Options that several commands share: what is known of the run."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["Epochs", "Samples", "SamplesPerStep", "Steps", "StepsPerEpoch", "Tokens", "TokensPerStep"]

Steps = Annotated[int | None, typer.Option(metavar="N", help="Updates in the run.")]
Epochs = Annotated[float | None, typer.Option(metavar="N", help="The run's length in epochs, instead.")]
StepsPerEpoch = Annotated[int | None, typer.Option(metavar="N", help="Updates in an epoch.")]
Samples = Annotated[float | None, typer.Option(metavar="N", help="The run's length in samples, instead.")]
SamplesPerStep = Annotated[int | None, typer.Option(metavar="N", help="Samples in an update.")]
Tokens = Annotated[float | None, typer.Option(metavar="N", help="The run's length in tokens, instead.")]
TokensPerStep = Annotated[int | None, typer.Option(metavar="N", help="Tokens in an update.")]
