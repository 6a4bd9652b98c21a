"""The words of the report: its sections in the order of the page, as HTML."""

from __future__ import annotations

from collections.abc import Sequence

from lehr.report.contents import LR, Line, Section, Study
from lehr.report.markup import Markup, joined, tag
from lehr.report.panels import View, left_views, right_views
from lehr.report.tables import ranking_table, swatch
from lehr.report.wording import count, event_sentence, listed, number, peak, short, verdict
from lehr.study.store import ROWS, TRACES

__all__ = ["content", "title"]

TOLD = 6  # events of a policy that are told before the rest is folded away


def title(study: Study) -> str:
    """The page's title."""
    return f"Learning-rate policies on {listed(section.name for section in study.sections)}"


def content(study: Study) -> Markup:
    """Everything between the page's start and its scripts."""
    header = tag("header", tag("h1", title(study)), _summary(study), _navigation(study))
    return joined([header, tag("main", [_workload(part) for part in study.sections], _reading(), _reproducing(study))])


def _summary(study: Study) -> Markup:
    policies = max((len(section.lines) for section in study.sections), default=0)
    return tag(
        "p",
        f"{count(policies, 'policy', 'policies')}, each tuned at {count(len(study.facts['peaks']), 'peak learning rate')} "
        f"and then run with {count(len(study.facts['seeds']), 'fresh seed')}. Every number comes from a model that was "
        "trained for this page.",
        class_="lead quiet",
    )


def _navigation(study: Study) -> Markup:
    targets = [(section.anchor, section.name) for section in study.sections]
    targets += [("reading", "How to read this"), ("reproducing", "How to reproduce")]
    return tag("nav", [tag("a", words, href=f"#{target}") for target, words in targets], aria_label="On this page")


def _workload(section: Section) -> Markup:
    return tag(
        "section",
        tag("h2", section.name),
        tag("p", section.facts["about"], class_="quiet"),
        tag("p", verdict(section.rankings)),
        [tag("p", note) for note in section.facts["notes"]],
        ranking_table(section),
        _charts(section),
        tag("h3", "Policies and what their rules did"),
        tag("div", [_policy(line) for line in _ranked(section)], class_="policies"),
        id=section.anchor,
    )


def _ranked(section: Section) -> list[Line]:
    """The lines in the order of the table."""
    places = {ranking.policy: place for place, ranking in enumerate(section.rankings)}
    return sorted(section.lines, key=lambda line: places.get(line.policy, len(places)))


# ---- charts -------------------------------------------------------------------------------------------------------


def _charts(section: Section) -> Markup:
    left, right = left_views(section), right_views(section)
    if not right:
        return tag("p", "No run left a trace, so there are no curves to show.", class_="quiet")
    return joined(
        [
            tag("h3", "Learning rate and loss"),
            tag("p", _what_is_shown(section), class_="quiet"),
            tag(
                "div",
                _chart(section, "Learning rate", left, "left"),
                _chart(section, "Progress", right, "right"),
                class_="charts",
            ),
            _legend(section),
        ]
    )


def _what_is_shown(section: Section) -> str:
    return (
        f"One run of each policy, all with seed {section.seed}, each at its own peak. A triangle is a rule that acted: "
        "point at it to read why. The training loss is a running mean over 1/40 of the run. Point at a chart, or use the "
        "arrow keys, to read values at a step; switch lines off in the list below."
    )


def _chart(section: Section, name: str, views: Sequence[View], side: str) -> Markup:
    head = tag("div", tag("span", name, class_="title"), _choice(section, name, views, side), class_="head")
    plot = tag(
        "div",
        class_="plot",
        tabindex="0",
        role="group",
        aria_label=f"{name} by step on {section.name}. Arrow keys move the step; the list below says the values.",
    )
    return tag("div", head, plot, class_="chart")


def _choice(section: Section, name: str, views: Sequence[View], side: str) -> Markup:
    """One button for each thing that the chart can show."""
    buttons = [
        tag(
            "label",
            tag("input", type="radio", name=f"{section.anchor}-{side}", value=i, checked=i == 0, autocomplete="off"),
            view.label,
        )
        for i, view in enumerate(views)
    ]
    return tag("fieldset", tag("legend", f"What the chart “{name}” shows", class_="hidden"), buttons, class_="choice")


def _legend(section: Section) -> Markup:
    head = tag(
        "div",
        tag("span", "At step ", tag("b", "–", class_="step"), ": learning rate and ", tag("span", class_="measure")),
        tag("button", "show all", type="button", class_="plain", data_show="all"),
        tag("button", "hide all", type="button", class_="plain", data_show="none"),
        class_="head",
    )
    lines = [tag("li", _switch(line)) for line in _ranked(section) if LR in line.curves]
    return tag("div", head, tag("ul", lines), class_="legend")


def _switch(line: Line) -> Markup:
    """A button that switches a line on and off and says its values."""
    return tag(
        "button",
        swatch(line.ink),
        tag("span", line.policy, class_="name"),
        tag("span", class_="value"),
        tag("span", class_="value"),
        type="button",
        class_="line",
        aria_pressed="true",
        data_policy=line.policy,
    )


# ---- policies -----------------------------------------------------------------------------------------------------


def _policy(line: Line) -> Markup:
    return tag(
        "div",
        tag("h4", swatch(line.ink), line.policy),
        tag("pre", tag("code", line.text)),
        _events(line),
        class_="policy",
        data_policy=line.policy,
    )


def _events(line: Line) -> Markup | None:
    """The events of the run shown, as sentences."""
    if line.row is None:
        return tag("p", "No trace of a ranking run.", class_="quiet")
    if not line.events:
        has_rules = bool(line.row.fired)
        return tag("p", "Its rules did not act in the run shown.", class_="quiet") if has_rules else None
    items = [tag("li", event_sentence(event)) for event in line.events]
    rest = items[TOLD:]
    if not rest:
        return tag("ol", items)
    summary = tag("summary", f"{count(len(rest), 'more event')}")
    return joined([tag("ol", items[:TOLD]), tag("details", summary, tag("ol", rest, start=TOLD + 1))])


# ---- reading and reproducing --------------------------------------------------------------------------------------


def _reading() -> Markup:
    points = [
        "Every policy had the same tuning budget: the same peaks were tried on validation data with seeds that are "
        "not used again, and the best was kept. One peak for all would rank peaks, not policies. “Untuned” ranks the "
        "policies at peak ×1, which is what somebody gets who does not tune.",
        "Losses and metrics in the table are from test data that chose nothing.",
        "Differences are between runs with the same initial weights and the same batches. The interval is a bootstrap "
        "of their mean. With 3 seeds it is no more than the range of 3 differences and misses the true mean in about "
        "one of four studies; with 10 seeds, in about one of ten. Read an interval across zero as “not known”.",
        "“Highest peak tried” and “lowest peak tried” mean that a still better one may lie beyond: the policy may be "
        "better than it looks here. “Rule never fired” means that only its schedule was tested.",
        "A run that diverged counts as infinitely bad in the medians.",
        "“Steps to the constant’s end” is when the validation loss first was as low as the constant’s at its end.",
        "These are small models. Which policy wins on yours is a question for your own workload: "
        "`lehr compare train.py:make`.",
    ]
    items = [tag("li", _with_code(point)) for point in points]
    return tag("section", tag("h2", "How to read this"), tag("ul", items), id="reading")


def _with_code(text: str) -> list[object]:
    """Text whose parts between backticks are code."""
    return [tag("code", part) if i % 2 else part for i, part in enumerate(text.split("`"))]


def _reproducing(study: Study) -> Markup:
    facts = study.facts
    versions = listed(
        f"{name} {facts[key]}" for name, key in (("Lehr", "lehr"), ("Python", "python"), ("PyTorch", "torch"))
    )
    rows: list[tuple[str, object]] = [
        ("Versions", versions),
        ("Ranking seeds", listed(facts["seeds"])),
        ("Tuning seeds", listed(facts["tuning_seeds"])),
        ("Peaks", listed(peak(each) for each in facts["peaks"])),
        *((section.name, _workload_facts(section)) for section in study.sections),
        ("Files", _with_code(f"`{ROWS}` holds every run, `{TRACES}/` every step of it; a run's key names its trace.")),
    ]
    return tag(
        "section",
        tag("h2", "How to reproduce"),
        tag("pre", tag("code", facts["command"])),
        tag("dl", [(tag("dt", name), tag("dd", words)) for name, words in rows]),
        id="reproducing",
    )


def _workload_facts(section: Section) -> list[object]:
    facts = section.facts
    words = f"{facts['steps']:,} steps".replace(",", " ")
    parts: list[object] = [f"{words}, peak LR ×1 = {short(facts['lr'])}"]
    if facts["threshold"] is not None:
        parts.append(f", threshold {number(facts['threshold'], 3)}")
    return [*parts, ", data ", tag("code", facts["data_hash"])] if facts["data_hash"] else parts
