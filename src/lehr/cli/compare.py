"""`lehr compare`: train real models under many policies, and print who was better."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lehr import study
from lehr.cli.live import watching
from lehr.cli.ranking import print_comparison
from lehr.errors import LehrError
from lehr.report import page

DEFAULT = ("digits", "flights")
QUICK = ("digits",)
SEEDS, QUICK_SEEDS = 5, 3
FOLDER = Path("lehr-report")

HELP = (
    "Train real models under every policy and rank the policies.\n\n"
    "Every policy is tuned alike (peak LR ×⅓, ×1, ×3, chosen on validation data) and judged on test data with other "
    "seeds. Stop it whenever you like: finished runs are kept, and the same command goes on from there.\n\n"
    "Exit codes: 0 done, 1 some runs failed, 2 something given cannot be right, 130 interrupted."
)
EXAMPLES = """
[bold]Examples[/bold]

  [dim]Every built-in policy on digits and flights, about 3 minutes[/dim]
  lehr compare

  [dim]digits alone, well under a minute[/dim]
  lehr compare --quick

  [dim]A policy of your own beside the others[/dim]
  lehr compare digits --policy "mine=warmup('5%').then(cosine(to=0.1))"

  [dim]Your own task: a function that takes a seed[/dim]
  lehr compare train.py:make --seeds 3
"""


def compare(
    workloads: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[WORKLOAD]...", help="digits, flights, pybytes, or file.py:function.", show_default=False
        ),
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="A policy beside the built-in ones, or LABEL=TEXT. May be repeated."),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help=f"Runs that are reported for each policy. \\[default: {SEEDS}; --quick: {QUICK_SEEDS}]",
        ),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help=f"digits alone, {QUICK_SEEDS} seeds.")] = False,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the report, rows and traces go.")] = FOLDER,
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Processes, one thread each. \\[default: one a core, at most 2]"),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget the runs that are in the folder.")] = False,
) -> None:
    """Train real models under every policy and rank the policies."""
    if quick and workloads:
        raise LehrError(f"--quick means digits alone, got {', '.join(workloads)} as well; give one or the other")
    names = tuple(workloads or (QUICK if quick else DEFAULT))
    seeds = seeds if seeds is not None else QUICK_SEEDS if quick else SEEDS
    again = _command(names, policy or (), seeds, out)
    request = study.Request(
        workloads=names,
        policies=tuple(map(study.named, policy or ())),
        seeds=seeds,
        folder=out,
        workers=workers,
        fresh=fresh,
        command=again,
    )
    console = Console()
    try:
        with watching(console) as watch:
            comparisons = study.compare(request, watch)
        report = page.write(out)
    except KeyboardInterrupt:
        console.print("\nStopped. Finished runs are kept; to go on, type:", highlight=False)
        console.print(f"  {again}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(130) from None
    for comparison in comparisons:
        print_comparison(console, comparison)
    for what, path in (("report", report), ("rows", out / "rows.jsonl"), ("traces", out / "traces")):
        console.print(f"{what:>8}  {path}", markup=False, highlight=False, soft_wrap=True)
    if any(comparison.failures for comparison in comparisons):
        raise typer.Exit(1)


def _command(workloads: Sequence[str], policies: Sequence[str], seeds: int, out: Path) -> str:
    """What to type for the same study again."""
    options = [option for text in policies for option in ("--policy", text)]
    options += ["--seeds", str(seeds)] if seeds != SEEDS else []
    options += ["--out", str(out)] if out != FOLDER else []
    return shlex.join(["lehr", "compare", *workloads, *options])
