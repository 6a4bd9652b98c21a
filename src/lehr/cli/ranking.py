"""The ranking of one workload as a table for the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lehr.study import Comparison, Ranking

EDGES = {"low": "◂", "high": "▸"}
FAILURES = 5  # shown; the rest is in the rows


def times(peak: float) -> str:
    """A multiplier of the LR, as in ×⅓."""
    return "×⅓" if abs(peak - 1 / 3) < 1e-9 else f"×{peak:g}"


def print_comparison(console: Console, comparison: Comparison) -> None:
    """Print the table of a workload and what must be known to read it."""
    facts = comparison.design.facts
    console.print()
    console.print(Text(facts.name, style="bold"), Text(facts.about, style="dim"))
    console.print(table(comparison))
    for ranking in comparison.ranking:
        if warnings := marks(ranking):
            _print_line(console, f"! {ranking.policy}: {', '.join(warnings)}", style="yellow")
    for row in comparison.failures[:FAILURES]:
        place = f"{row.policy}, peak {times(row.peak)}, seed {row.seed}"
        _print_line(console, f"failed: {place}: {row.message}", style="red")
    for line in (*_legend(comparison), *comparison.notes):
        _print_line(console, line, style="dim")
    console.print()


def _print_line(console: Console, line: str, style: str) -> None:
    console.print(Padding(Text(line, style=style), (0, 0, 0, 2)))


def table(comparison: Comparison) -> Table:
    """One line for each policy, best first; it fits into 80 columns."""
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    made.add_column("#", justify="right", no_wrap=True)
    made.add_column("un-\ntuned", justify="right", no_wrap=True)
    made.add_column("policy", overflow="fold")
    made.add_column("peak", no_wrap=True)
    for title in ("test\nloss", comparison.design.facts.metric, "difference to\nconstant [95 %]", "steps\nto it"):
        made.add_column(title, justify="right", no_wrap=True)
    for ranking in comparison.ranking:
        made.add_row(*_cells(ranking))
    return made


def _cells(ranking: Ranking) -> tuple[str | Text, ...]:
    return (
        str(ranking.rank),
        str(ranking.untuned_rank),
        Text(ranking.policy + " !" * bool(marks(ranking))),
        times(ranking.peak) + EDGES.get(ranking.edge or "", ""),
        _number(ranking.test_loss),
        _number(ranking.test_metric),
        Text(_difference(ranking)),
        "never" if ranking.steps_to is None else str(ranking.steps_to),
    )


def marks(ranking: Ranking) -> list[str]:
    """What a reader must know of a policy's runs beside its numbers."""
    said = []
    if ranking.silent_rules:
        said.append("rule never fired" if len(ranking.silent_rules) == ranking.rules else "a rule never fired")
    if ranking.diverged:
        said.append(f"diverged {ranking.diverged} ({ranking.diverged_at_peak or 'none'} at the chosen peak)")
    if ranking.failed:
        said.append(f"failed {ranking.failed}")
    return said


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _difference(ranking: Ranking) -> str:
    if ranking.difference is None or ranking.low is None or ranking.high is None:
        return ""
    return f"{ranking.difference:+.2g} [{ranking.low:+.2g}, {ranking.high:+.2g}]"


def _legend(comparison: Comparison) -> list[str]:
    seeds = comparison.design.seeds
    lines = [
        f"#: by median test loss over {seeds} fresh seeds, each policy at its best peak LR of ×⅓, ×1, ×3 (chosen on "
        "validation data); untuned: all at ×1. Steps to it: updates to the constant's final validation loss.",
        f"[95 %]: bootstrap over {seeds} seeds"
        + ", too few for the promise to hold: read it as a range." * (seeds < 10),
    ]
    if any(ranking.edge for ranking in comparison.ranking):
        lines.append("◂ ▸: the chosen peak is the lowest or highest tried; a better one may lie beyond.")
    return lines
