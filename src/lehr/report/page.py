"""The report of a study: one HTML page that says what was compared, how it came out, and why.

The page needs nothing beside itself: style, script and the charting library (Vega, inlined once) are inside, so it
opens without a network and can be mailed. Its parts are plain files beside this one (`page.html`, `.css`, `.js`).
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lehr.extras import needs
from lehr.journal import Event
from lehr.report.contents import LR, Line, Section, Study, read
from lehr.report.markup import joined
from lehr.report.panels import View, left_views, right_views, specification
from lehr.report.passages import content, title
from lehr.report.wording import event_sentence
from lehr.study.store import REPORT

__all__ = ["render", "write"]

MARKS = 40  # at most so many events of a run are marks on its curve


def write(folder: Path) -> Path:
    """Write `report.html` into the folder of a finished study.

    Args:
        folder: holds `study.json`, `rows.jsonl` and `traces/`.

    Returns:
        The page's path.

    Raises:
        LehrError: The folder holds no finished study.
    """
    page, path = render(read(folder)), folder / REPORT
    new = path.with_name(path.name + ".new")
    new.write_text(page, encoding="utf-8")
    os.replace(new, path)
    return path


def render(study: Study) -> str:
    """The page as text."""
    parts = files("lehr.report")
    return Template(parts.joinpath("page.html").read_text(encoding="utf-8")).substitute(
        title=joined([title(study)]),
        style=parts.joinpath("page.css").read_text(encoding="utf-8"),
        content=content(study),
        charts=_inert(json.dumps([_chart_data(section) for section in study.sections], separators=(",", ":"))),
        library=_library(),
        script=parts.joinpath("page.js").read_text(encoding="utf-8"),
    )


@functools.cache
def _library() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, made offline by vl-convert."""
    with needs("plot"):  # here, so that the command line starts without it
        import vl_convert

    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return bundle.replace("</script", "<\\/script")


def _inert(text: str) -> str:
    """JSON that cannot end the script element it stands in, nor begin a comment there."""
    return text.replace("<", "\\u003c")


# ---- charts -------------------------------------------------------------------------------------------------------


def _chart_data(section: Section) -> dict[str, Any]:
    """All that `page.js` needs to draw the charts of a workload."""
    return {
        "id": section.anchor,
        "steps": section.facts["steps"],
        "lines": [_line(line) for line in section.lines],
        "views": [[_view(view, section) for view in views(section)] for views in (left_views, right_views)],
    }


def _line(line: Line) -> dict[str, Any]:
    return {
        "policy": line.policy,
        "light": line.ink.light,
        "dark": line.ink.dark,
        "dash": line.ink.dash,
        "curves": {name: [_rounded(curve.x), _rounded(curve.y)] for name, curve in line.curves.items()},
        "events": [{"step": _place(event, line), "text": event_sentence(event)} for event in _spread(line.events)],
    }


def _place(event: Event, line: Line) -> int:
    """The step of an event's mark: an event after the last update stands at the end of the curve."""
    return min(event.step, int(line.curves[LR].x[-1])) if LR in line.curves else event.step


def _spread(events: Sequence[Event]) -> Sequence[Event]:
    """At most `MARKS` events, evenly chosen: a rule that acts at every step would cover its curve with marks."""
    if len(events) <= MARKS:
        return events
    return [events[i] for i in np.linspace(0, len(events) - 1, MARKS).round().astype(int)]


def _view(view: View, section: Section) -> dict[str, Any]:
    return {
        "label": view.label,
        "curve": view.curve,
        "log": view.axis.log,
        "low": view.axis.low,
        "spec": specification(view.axis, section.facts["steps"]),
    }


def _rounded(values: NDArray[np.float64]) -> list[float]:
    """Five significant digits: more than a screen shows. Whole numbers are written without a point."""
    return [int(value) if value.is_integer() else value for value in (float(f"{item:.5g}") for item in values)]
