"""The report's sections, in the order of the page: what is said about a study, as HTML."""

from __future__ import annotations

from lehr.report.charts import charts
from lehr.report.contents import Line, Section, Study
from lehr.report.markup import Markup, joined, tag
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
    policies = count(max((len(section.lines) for section in study.sections), default=0), "policy", "policies")
    peaks = count(len(study.facts["peaks"]), "peak learning rate")
    seeds = count(len(study.facts["seeds"]), "fresh seed")
    words = f"{policies}, each tuned at {peaks} and then run with {seeds}. "
    return tag("p", words, "Every number comes from a model that was trained for this page.", class_="lead quiet")


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
        _failures(section),
        ranking_table(section),
        charts(section),
        tag("h3", "Policies and what their rules did"),
        tag("div", [_policy(line) for line in section.ranked_lines], class_="policies"),
        id=section.anchor,
    )


def _failures(section: Section) -> Markup | None:
    """The runs that raised an exception, if there are any."""
    failures = section.facts["failures"]
    if not failures:
        return None
    items = [
        tag("li", f"{each['policy']}, peak {peak(each['peak'])}, seed {each['seed']}: {each['message']}")
        for each in failures
    ]
    return tag("details", tag("summary", f"{count(len(items), 'run')} failed"), tag("ul", items))


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
    if len(items) <= TOLD + 2:  # nobody unfolds two lines
        return tag("ol", items)
    rest = items[TOLD:]
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
