"""The `lehr` command: its sub-commands, and one way for all of them to fail."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer
from rich.console import Console

from lehr.cli import calibrate, check, compare, convert, diff, replay, show
from lehr.errors import LehrError

app = typer.Typer(
    name="lehr",
    help="Decide the learning rate of a training run: see a policy, and compare policies by training for real.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
app.command()(show.show)
app.command(name="check", help=check.HELP, epilog=check.EXAMPLES)(check.run_check)
app.command(name="convert", help=convert.HELP, epilog=convert.EXAMPLES, context_settings=convert.SETTINGS)(
    convert.run_convert
)
app.command(help=diff.HELP, epilog=diff.EXAMPLES)(diff.diff)
app.command(name="replay", help=replay.HELP, epilog=replay.EXAMPLES)(replay.run_replay)
app.command(name="calibrate", help=calibrate.HELP, epilog=calibrate.EXAMPLES)(calibrate.run_calibrate)
app.command(help=compare.HELP, epilog=compare.EXAMPLES)(compare.compare)


def run() -> int:
    """Run the command line; the exit code. A `LehrError` is one red line, not a traceback."""
    try:
        app()
    except LehrError as error:
        Console(stderr=True, soft_wrap=True).print(f"lehr: {error}", style="bold red", markup=False, highlight=False)
        return 2
    return 0


@app.callback()
def _options(
    _version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", is_eager=True, callback=lambda on: _print_version(on)),
    ] = False,
) -> None:
    """Options of the command itself."""


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("lehr"))
        raise typer.Exit
