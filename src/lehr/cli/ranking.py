"""The ranking of one workload as a table for the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lehr.study import Comparison, Ranking

EDGES = {"low": "◂", "high": "▸"}


def times(peak: float) -> str:
    """A multiplier of the LR, as in ×⅓."""
    return "×⅓" if abs(peak - 1 / 3) < 1e-9 else f"×{peak:g}"


def print_comparison(console: Console, comparison: Comparison) -> None:
    """Print the table of a workload and what must be known to read it."""
    facts = comparison.design.facts
    console.print()
    console.print(Text(facts.name, style="bold"), Text(facts.about, style="dim"))
    console.print(table(comparison))
    for line in (*_legend(comparison), *comparison.notes):
        console.print(f"  {line}", style="dim", markup=False, highlight=False)
    for row in comparison.failures[:5]:
        text = f"  failed: {row.policy}, peak {times(row.peak)}, seed {row.seed}: {row.message}"
        console.print(text, style="red", markup=False, highlight=False)
    console.print()


def table(comparison: Comparison) -> Table:
    """One line for each policy, best first."""
    facts = comparison.design.facts
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for title, justify in (("#", "right"), ("untuned", "right"), ("policy", "left"), ("peak", "left")):
        made.add_column(title, justify=justify, no_wrap=title != "policy")  # type: ignore[arg-type]
    for title in ("test loss", facts.metric, "− constant [95 %]", "steps to it"):
        made.add_column(title, justify="right", no_wrap=title != "− constant [95 %]")
    made.add_column("")
    for ranking in comparison.ranking:
        made.add_row(*_cells(ranking))
    return made


def _cells(ranking: Ranking) -> tuple[str | Text, ...]:
    return (
        str(ranking.rank),
        str(ranking.untuned_rank),
        Text(ranking.policy),
        times(ranking.peak) + EDGES.get(ranking.edge or "", ""),
        _number(ranking.test_loss),
        _number(ranking.test_metric),
        _difference(ranking),
        "never" if ranking.steps_to is None else str(ranking.steps_to),
        Text(", ".join(_marks(ranking)), style="yellow"),
    )


def _marks(ranking: Ranking) -> list[str]:
    marks = []
    if ranking.silent_rules:
        marks.append("rule never fired")
    if ranking.diverged:
        marks.append(f"diverged {ranking.diverged}")
    if ranking.failed:
        marks.append(f"failed {ranking.failed}")
    return marks


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _difference(ranking: Ranking) -> str:
    if ranking.difference is None or ranking.low is None or ranking.high is None:
        return ""
    return f"{ranking.difference:+.3g} [{ranking.low:+.3g}, {ranking.high:+.3g}]"


def _legend(comparison: Comparison) -> list[str]:
    seeds = comparison.design.seeds
    lines = [
        f"#: by median test loss over {seeds} fresh seeds, each policy at its own best peak LR (of ×⅓, ×1, ×3, on "
        "validation data); untuned: all at ×1. steps to it: updates to the constant's final validation loss.",
        f"[95 %]: bootstrap over {seeds} seeds"
        + (", too few for the promise to hold: read it as a range." * (seeds < 10)),
    ]
    if any(ranking.edge for ranking in comparison.ranking):
        lines.append("◂ ▸: the chosen peak is the lowest or highest tried; a better one may lie beyond.")
    return lines
