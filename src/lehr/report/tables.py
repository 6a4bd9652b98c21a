"""The ranking of a workload as an HTML table: a number where there is one, a picture of its interval, and caveats."""

from __future__ import annotations

from lehr.report.contents import Section
from lehr.report.markup import Markup, joined, tag
from lehr.report.palette import Ink
from lehr.report.wording import change, count, number, peak
from lehr.study.stats import CONTROL, Ranking

__all__ = ["notes", "ranking_table", "swatch"]

WIDTH, HEIGHT, MARGIN = 120, 18, 5  # pixels of an interval's picture


def ranking_table(section: Section) -> Markup:
    """The table of a workload, best policy first."""
    inks = {line.policy: line.ink for line in section.lines}
    span = _span(section.rankings)
    body = [_row(ranking, inks[ranking.policy], span) for ranking in section.rankings]
    table = tag("table", tag("thead", _head(section)), tag("tbody", body), aria_describedby=f"{section.anchor}-table")
    name = f"Ranking on {section.name}"
    return joined([_caption(section), tag("div", table, class_="scroll", tabindex="0", role="region", aria_label=name)])


def _caption(section: Section) -> Markup:
    """What the columns mean: above the table, so that it does not scroll with it."""
    seeds = max((ranking.seeds for ranking in section.rankings), default=0)
    return tag(
        "p",
        f"Medians over {count(seeds, 'ranking seed')}, each policy at the peak learning rate that its own tuning runs "
        "chose. Difference: mean of test loss minus the constant’s with the same seed; below zero is better.",
        class_="caption",
        id=f"{section.anchor}-table",
    )


def _head(section: Section) -> Markup:
    better = "higher" if section.facts["best"] == "max" else "lower"
    return tag(
        "tr",
        tag("th", "Rank", scope="col", class_="number"),
        tag("th", "Policy", scope="col"),
        tag("th", "Test loss", scope="col", class_="number"),
        tag("th", f"Test {section.metric}", tag("br"), f"({better} is better)", scope="col", class_="number"),
        tag("th", "Difference to constant LR,", tag("br"), "with 95 % interval", scope="col"),
        tag("th", "Rank", tag("br"), "untuned", scope="col", class_="number"),
        tag("th", "Peak", scope="col", class_="number"),
        tag("th", "Steps to the", tag("br"), "constant’s end", scope="col", class_="number"),
        tag("th", "Notes", scope="col"),
    )


def _row(ranking: Ranking, ink: Ink, span: tuple[float, float]) -> Markup:
    return tag(
        "tr",
        tag("td", ranking.rank, class_="number"),
        tag("th", swatch(ink), ranking.policy, scope="row"),
        tag("td", number(ranking.test_loss), class_="number"),
        tag("td", number(ranking.test_metric), class_="number"),
        _difference(ranking, span),
        tag("td", ranking.untuned_rank, class_="number"),
        tag("td", peak(ranking.peak), class_="number"),
        tag("td", "never" if ranking.steps_to is None else f"{ranking.steps_to:,}".replace(",", " "), class_="number"),
        tag("td", [tag("span", note, class_="note") for note in notes(ranking)]),
        class_="control" if ranking.policy == CONTROL else None,
        data_policy=ranking.policy,
    )


def notes(ranking: Ranking) -> list[str]:
    """What a reader must know before trusting a row."""
    silent = len(ranking.silent_rules)
    found = [
        ranking.edge and f"{ranking.edge}est peak tried",
        silent and ("rule never fired" if ranking.rules == 1 else f"{silent} of {ranking.rules} rules never fired"),
        ranking.diverged_at_peak and f"{ranking.diverged_at_peak} of {count(ranking.seeds, 'run')} diverged",
        ranking.diverged > ranking.diverged_at_peak and "diverged at another peak",
        ranking.failed and f"{ranking.failed} failed",
    ]
    return [str(note) for note in found if note]


def swatch(ink: Ink) -> Markup:
    """A piece of a policy's line, to find its curves by."""
    style = f"--light: {ink.light}; --dark: {ink.dark}"
    return tag("span", class_="swatch dashed" if ink.dash else "swatch", style=style, aria_hidden="true")


def _difference(ranking: Ranking, span: tuple[float, float]) -> Markup:
    if ranking.policy == CONTROL:
        return tag("td", "the control", class_="range")
    if ranking.difference is None or ranking.low is None or ranking.high is None:
        return tag("td", "–", class_="range")
    words = f"{change(ranking.low)} to {change(ranking.high)}"
    below = ranking.high < 0
    return tag(
        "td",
        tag("span", change(ranking.difference), tag("small", words), class_="of"),
        _interval(ranking.low, ranking.difference, ranking.high, span),
        class_="range below" if below else "range",
        title=f"from {count(ranking.pairs, 'pair')} of runs",
    )


def _span(rankings: tuple[Ranking, ...]) -> tuple[float, float]:
    """The range that all pictures of intervals share: zero and every interval, but for a few far worse ones.

    Worse ones are cut off at twice the size of the median interval's worst end, so that the others can be seen.
    """
    ends = [(ranking.low, ranking.high) for ranking in rankings if ranking.low is not None and ranking.high is not None]
    if not ends:
        return -1.0, 1.0
    sizes = sorted(max(abs(low), abs(high)) for low, high in ends)
    most = 2 * sizes[len(sizes) // 2]
    low, high = min(0.0, *(low for low, _ in ends)), max(0.0, *(high for _, high in ends))
    return (low, min(high, most)) if low < 0 or min(high, most) > 0 else (-1.0, 1.0)


def _interval(low: float, middle: float, high: float, span: tuple[float, float]) -> Markup:
    """The interval as a bar with its mean as a dot, beside a line at zero."""

    def place(value: float) -> str:
        share = (min(max(value, span[0]), span[1]) - span[0]) / (span[1] - span[0])
        return f"{MARGIN + share * (WIDTH - 2 * MARGIN):.1f}"

    height = HEIGHT / 2
    return tag(
        "svg",
        tag("line", x1=place(0), x2=place(0), y1=1, y2=HEIGHT - 1, class_="zero"),
        tag("line", x1=place(low), x2=place(high), y1=height, y2=height, class_="bar"),
        tag("circle", cx=place(middle), cy=height, r=3.5, class_="mean"),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        class_="interval",
        aria_hidden="true",
    )
