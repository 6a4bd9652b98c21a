"""The picture of a calibration as an Altair chart: what patience costs and brings, beside the trend test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lehr.calibrate import ALLOWED, Calibration
from lehr.extras import needs
from lehr.report.palette import HUES
from lehr.rules.common import percent
from lehr.rules.improves import ImprovesLessThan
from lehr.rules.plateaus import Plateaus
from lehr.trials import Tried

if TYPE_CHECKING:
    import altair as alt

__all__ = ["calibration_chart"]

BLUE, ORANGE, GREEN, PURPLE = (HUES[i].light for i in (0, 1, 2, 7))
GREY = "#7b8086"
DASH = [6, 3]
WIDTH, HEIGHT = 640, 210  # pixels
TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000)


def calibration_chart(found: Calibration) -> alt.VConcatChart:
    """Above the share of runs in which a patience is too early, with its 95 % interval; below, its median delay.

    Raises:
        LehrError: altair is not installed.
    """
    with needs("plot"):  # here, so that the command line starts without it
        import altair as alt

    early = _panel(found, "premature", "too early, % of the runs", 100.0)
    late = _panel(found, "delay", "median delay, observations", 1.0)
    asked = f"{percent(found.setting.improvement)} over {found.setting.window.words()}"
    title = alt.TitleParams(
        f"{found.signal.name}: noise {percent(found.noise.sd)} of the level, autocorrelation {found.noise.rho:.2f}",
        subtitle=[
            f"Flat: improving by less than {asked}. It can be told from about n* = {found.needed:.0f} observations on."
        ],
        anchor="start",
        offset=12,
    )
    chart: alt.VConcatChart = (
        alt.vconcat(early, late, spacing=24, bounds="flush")
        .properties(title=title, padding={"left": 70, "right": 14, "top": 10, "bottom": 20})
        .configure_axis(labelFontSize=12, titleFontSize=12, titleFontWeight="normal", gridOpacity=0.6, domain=False)
        .configure_legend(labelFontSize=12, title=None, labelLimit=WIDTH, symbolStrokeWidth=2.5, columns=1)
        .configure_title(fontSize=13, subtitleFontSize=12, subtitlePadding=6, fontWeight="normal")
        .configure_view(stroke=None)
    )
    return chart


def _panel(found: Calibration, column: str, title: str, unit: float) -> Any:
    """A line for each kind of plateau, a dot at what is recommended, and the trend tests as levels."""
    import altair as alt

    below = column == "delay"
    labels = [*(_kind(curve.trigger) for curve in found.patience), *(repr(row.trigger) for row in _trends(found))]
    shades = alt.Scale(domain=labels, range=[BLUE, ORANGE, GREEN, PURPLE][: len(labels)])
    dashes = alt.Scale(domain=labels, range=[[1, 0] if "…" in label else DASH for label in labels])
    legend = alt.Legend(orient="bottom", symbolType="stroke", symbolOpacity=1, symbolSize=300)
    dash = alt.StrokeDash("trigger:N", scale=dashes, legend=legend, sort=labels)
    colour = alt.Color("trigger:N", scale=shades, legend=legend, sort=labels)
    most = float(found.patience[0].patience[-1])
    shown = [tick for tick in TICKS if tick <= most]
    axis = alt.Axis(values=shown, format="d", grid=False, labels=below, ticks=below)
    span = alt.Scale(type="log", domain=[1, most], nice=False)
    x = alt.X("patience:Q", title="patience, observations, log scale" if below else None, scale=span, axis=axis)
    high = found.setting.length / 2 if below else 100.0
    reach = alt.Scale(domain=[-0.015 * high, 1.015 * high], nice=False)  # lines along an edge are seen whole
    ticks = alt.Axis(tickCount=5, format="d")
    y = alt.Y("value:Q", title=title, scale=reach, axis=ticks)
    tip = ["trigger:N", "patience:Q", "value:Q"]
    rows = _rows(found, column, unit)
    dots = alt.Chart(alt.InlineData(values=_dots(found, column, unit)))
    levels = alt.Chart(alt.InlineData(values=_levels(found, column, unit)))
    lines = alt.Chart(alt.InlineData(values=rows)).mark_line(strokeWidth=2.2, strokeJoin="round", clip=True)
    layers = [
        levels.mark_rule(strokeWidth=2.2, clip=True).encode(y=y, color=colour, strokeDash=dash, tooltip=tip[::2]),
        lines.encode(x, y, colour, dash, tooltip=tip),
        dots.mark_point(filled=True, size=80, opacity=1).encode(x, y, colour, tooltip=tip),
    ]
    if not below:
        area = alt.Chart(alt.InlineData(values=rows)).mark_area(opacity=0.2, clip=True)
        limit = alt.Chart(alt.InlineData(values=[{"value": unit * ALLOWED}])).mark_rule(strokeDash=[2, 3], color=GREY)
        low = alt.Y("low:Q", title=title, scale=reach, axis=ticks)
        layers = [area.encode(x, low, colour, y2="high:Q"), limit.encode(y=y), *layers]
        said = dots.mark_text(dy=-12, dx=10, fontSize=12, fontWeight="bold")
        layers.append(said.encode(x, y, colour, text="patience:Q"))
    return alt.layer(*layers).properties(width=WIDTH, height=HEIGHT)


def _rows(found: Calibration, column: str, unit: float) -> list[dict[str, Any]]:
    """The points of the lines, with their intervals."""
    rows = []
    for curve in found.patience:
        columns = (curve.patience, getattr(curve, column), curve.low, curve.high)
        for patience, value, low, high in np.array(columns).T.tolist():
            if np.isfinite(value):
                row = {"trigger": _kind(curve.trigger), "patience": patience, "value": unit * value}
                rows.append(row | {"low": unit * low, "high": unit * high})
    return rows


def _dots(found: Calibration, column: str, unit: float) -> list[dict[str, Any]]:
    """Where the recommended plateaus lie."""
    return [
        {"trigger": _kind(trigger), "patience": trigger.patience, "value": unit * getattr(row, column)}
        for row in found.recommended
        if isinstance(trigger := row.trigger, Plateaus)
    ]


def _levels(found: Calibration, column: str, unit: float) -> list[dict[str, Any]]:
    rows = [{"trigger": repr(row.trigger), "value": unit * getattr(row, column)} for row in _trends(found)]
    return [row for row in rows if np.isfinite(row["value"])]


def _trends(found: Calibration) -> list[Tried]:
    """The trend tests that were tried, each once, two at most."""
    rows = [row for row in (*found.tried, *found.recommended) if isinstance(row.trigger, ImprovesLessThan)]
    tests = {
        row.trigger: row for row in rows if isinstance(row.trigger, ImprovesLessThan) and row.trigger.test == "trend"
    }
    return list(tests.values())[:2]


def _kind(trigger: Plateaus) -> str:
    """What all patiences have in common."""
    return f"{trigger.signal!r}.plateaus(…)"
