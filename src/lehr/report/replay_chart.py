"""The picture of a replay as an Altair chart: what the rules read, what they said of it, and both LRs, on one axis."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from lehr.extras import needs
from lehr.replay import Replay
from lehr.report.palette import HUES
from lehr.report.replayed import (
    ACTS,
    BAD,
    SHADOW,
    Floats,
    Lane,
    Mark,
    Number,
    Reach,
    lanes,
    marks,
    numbers,
    reach,
    summary,
)
from lehr.report.thin import envelope, thinned

if TYPE_CHECKING:
    import altair as alt

__all__ = ["replay_chart"]

BLUE, ORANGE, GREEN, RED = (HUES[i].light for i in (0, 1, 2, 6))
FAINT = "#b4b9bf"
VERDICTS = {"improving": GREEN, "flat": ORANGE, "worsening": RED, "undecided": FAINT}
SHAPES = {ACTS: "triangle-down", SHADOW: "diamond", BAD: "cross"}
WIDTH, HEIGHT, LANE, LOWER = 640, 200, 16, 130  # pixels
SPACING = 26  # between panels: marks stand above theirs
RAW_POINTS = 600


def replay_chart(replay: Replay) -> alt.VConcatChart:
    """Above the numbers that the rules read, with marks where they act; then their verdicts; below, the LRs.

    Raises:
        LehrError: altair is not installed.
    """
    with needs("plot"):  # here, so that the command line starts without it
        import altair as alt

    end = float(max(replay.log.columns["step"][-1], replay.trace.columns["step"].max(initial=0))) + 1
    panels = [_number_panel(number, marks(replay, number), end) for number in numbers(replay)]
    panels += [_lane_panel(found, end)] if (found := lanes(replay)) else []
    head = alt.TitleParams(
        textwrap.wrap(repr(replay.policy), 100), subtitle=[summary(replay)], anchor="start", offset=14
    )
    chart: alt.VConcatChart = (
        alt.vconcat(*panels, _lr_panel(replay, end), spacing=SPACING, bounds="flush")
        .resolve_scale(color="independent", shape="independent", y="independent")
        .properties(title=head, padding={"left": 120, "right": 10, "top": 10, "bottom": 45})
        .configure_axis(labelFontSize=12, titleFontSize=12, titleFontWeight="normal", gridOpacity=0.6, domain=False)
        .configure_legend(labelFontSize=12, title=None, labelLimit=220, symbolStrokeWidth=2.5)
        .configure_title(fontSize=13, subtitleFontSize=13, subtitlePadding=6, fontWeight="normal")
        .configure_view(stroke=None)
    )
    return chart


def _number_panel(number: Number, found: list[Mark], end: float) -> Any:
    """The recorded values faint, their running mean strong, and the marks."""
    import altair as alt

    span = reach(number)
    names = ["as recorded"] if number.mean is None else ["as recorded", "running mean"]
    kept = envelope(number.values, RAW_POINTS) if len(number.values) > RAW_POINTS else slice(None)
    rows = [_rows(names[0], number.steps[kept], number.values[kept])]
    rows += [_rows(names[1], *number.mean)] if number.mean is not None else []
    scale = alt.Scale(domain=[span.low, span.high], nice=False, type="log" if span.log else "linear", clamp=True)
    y = alt.Y("value:Q", title=number.name + ", log scale" * span.log, scale=scale, axis=alt.Axis(**_axis(span)))
    colours = alt.Scale(domain=names, range=[BLUE] if number.mean is None else [FAINT, BLUE])
    legend = None if number.mean is None else alt.Legend()
    lines = [
        alt.Chart(alt.InlineData(values=values))
        .mark_line(clip=True, strokeWidth=width, strokeJoin="round", point=_dots(number))
        .encode(_x(end), y, alt.Color("series:N", scale=colours, legend=legend))
        for values, width in zip(rows, (1.0 if number.mean is not None else 1.8, 2.2), strict=False)
    ]
    return (
        alt.layer(*_marked(found, end), alt.layer(*lines))
        .resolve_scale(color="independent")
        .properties(width=WIDTH, height=HEIGHT)
    )


def _dots(number: Number) -> Any:
    return {"size": 22, "filled": True} if number.mean is None else False


def _axis(span: Reach) -> dict[str, Any]:
    """Ticks; on a log axis at 1, 2 and 5 times powers of ten."""
    if not span.log:
        return {"format": "~g", "tickCount": 5}
    powers = range(math.floor(math.log10(span.low)), math.ceil(math.log10(span.high)))
    digits = (1,) if span.high / span.low > 300 else (1, 2, 5)
    ticks = [float(f"{digit}e{power}") for power in powers for digit in digits]
    return {"format": "~g", "values": [tick for tick in ticks if span.low <= tick <= span.high]}


def _marked(found: list[Mark], end: float) -> list[Any]:
    """A symbol above the panel for each mark, a line down from it where a rule acts, a stripe where it goes on."""
    import altair as alt

    if not found:
        return []
    data = [{"step": mark.first, "last": mark.last + 1, "mark": mark.kind, "why": mark.words} for mark in found]
    present = [kind for kind in SHAPES if any(mark.kind == kind for mark in found)]
    shapes = alt.Scale(domain=present, range=[SHAPES[kind] for kind in present])
    legend = alt.Legend(symbolFillColor=RED, symbolStrokeColor=RED)
    acts = [row for row in data if row["mark"] != BAD]
    rows = [row for row, mark in zip(data, found, strict=True) if mark.last > mark.first]
    stripes = alt.Chart(alt.InlineData(values=rows)).mark_rect(opacity=0.08, color=RED)
    lines = alt.Chart(alt.InlineData(values=acts)).mark_rule(strokeDash=[3, 3], strokeWidth=1.2, color=RED)
    symbols = alt.Chart(alt.InlineData(values=data)).mark_point(filled=True, size=90, opacity=1, yOffset=-8, color=RED)
    shape = alt.Shape("mark:N", scale=shapes, legend=legend)
    return [
        stripes.encode(_x(end), x2="last:Q"),
        lines.encode(_x(end)),
        symbols.encode(_x(end), y=alt.value(0), shape=shape, tooltip="why:N"),
    ]


def _lane_panel(found: list[Lane], end: float) -> Any:
    """A lane for each rule, coloured as it judges its signal."""
    import altair as alt

    least = end / 150  # narrower spans would not be seen
    rows = [
        {"step": first, "last": max(last, first + least), "lane": lane.label, "verdict": verdict}
        for lane in found
        for first, last, verdict in lane.spans
    ]
    present = [verdict for verdict in VERDICTS if any(row["verdict"] == verdict for row in rows)]
    shades = alt.Scale(domain=present, range=[VERDICTS[verdict] for verdict in present])
    colour = alt.Color("verdict:N", scale=shades, legend=alt.Legend(columns=2))
    y = alt.Y(
        "lane:N",
        title=None,
        sort=[lane.label for lane in found],
        axis=alt.Axis(grid=False, ticks=False),
        scale=alt.Scale(paddingInner=0.15),
    )
    drawn = alt.Chart(alt.InlineData(values=rows)).mark_rect(clip=True)
    drawn = drawn.encode(_x(end), y, colour, x2="last:Q", tooltip=["lane:N", "verdict:N", "step:Q", "last:Q"])
    return drawn.properties(width=WIDTH, height=LANE * len(found))


def _lr_panel(replay: Replay, end: float) -> Any:
    """The recorded LR broad and faint, that of the policy on top."""
    import altair as alt

    steps, lr = replay.trace.columns["step"], replay.trace.columns["lr"]
    recorded = replay.log.columns.get("lr", np.array([]))
    known = np.isfinite(recorded)
    curves = {"LR of the policy": (steps, lr, BLUE, 2.0)}
    if known.any():
        curves = {"LR recorded": (replay.log.columns["step"][known], recorded[known], FAINT, 5.0), **curves}
    factor = not known.any() and replay.trace.header["base_lrs"] == [1.0]
    high = max(float(values.max()) for _, values, _, _ in curves.values()) or 1.0
    scale = alt.Scale(domain=[0, 1.06 * high], nice=False)
    y = alt.Y("value:Q", title="factor of the LR" if factor else "learning rate", scale=scale, axis=_plain_axis())
    colours = alt.Scale(domain=list(curves), range=[colour for _, _, colour, _ in curves.values()])
    lines = []
    for name, (x, values, _, width) in curves.items():
        kept = thinned(values)
        drawn = alt.Chart(alt.InlineData(values=_rows(name, x[kept], values[kept])))
        line = drawn.mark_line(strokeWidth=width, strokeJoin="round", strokeCap="butt")
        lines.append(line.encode(_x(end, last=True), y, alt.Color("series:N", scale=colours)))
    return alt.layer(*lines).properties(width=WIDTH, height=LOWER)


def _plain_axis() -> Any:
    import altair as alt

    return alt.Axis(format="~g", tickCount=4)


def _x(end: float, last: bool = False) -> Any:
    """The axis of steps, which all panels share and the last one shows."""
    import altair as alt

    axis = alt.Axis(grid=False, tickCount=8, format="~s" if end >= 1e5 else "d", labels=last, ticks=last)
    return alt.X("step:Q", title="step" if last else None, scale=alt.Scale(domain=[0, end], nice=False), axis=axis)


def _rows(series: str, steps: Floats, values: Floats) -> list[dict[str, Any]]:
    return [{"series": series, "step": float(x), "value": float(y)} for x, y in zip(steps, values, strict=True)]
