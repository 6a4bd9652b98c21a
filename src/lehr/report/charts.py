"""The place of the charts on the page: headings, what each can show, and the legend that switches lines off.

`page.js` draws the charts into it and brings it to life; the specifications are in `panels`.
"""

from __future__ import annotations

from collections.abc import Sequence

from lehr.report.contents import LR, Line, Section
from lehr.report.markup import Markup, joined, tag
from lehr.report.panels import View, left_views, right_views
from lehr.report.tables import swatch

__all__ = ["charts"]


def charts(section: Section) -> Markup:
    """The two charts of a workload and their legend; a sentence if there is nothing to draw."""
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
        "point at it to read why. The training loss is a running mean over 1/20 of the run. Point at a chart, or use "
        "the arrow keys, to read values at a step; switch lines off in the list below."
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
    lines = [tag("li", _switch(line)) for line in section.ranked_lines if LR in line.curves]
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
