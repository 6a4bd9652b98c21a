"""The charts of the report: what each can show of a workload's runs, on which axis, and its Altair specification.

A specification holds no data. The page draws two of them side by side and fills their named data sets (`lines`,
`marks`, `cursor`, `dots`) from one table of curves, which is how both show the same step and the same choice of lines.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lehr.extras import needs
from lehr.report.contents import LR, TRAINING, VALIDATION, Section
from lehr.study.stats import CONTROL

__all__ = ["Axis", "View", "left_views", "right_views", "robust_range", "specification"]

DECADES = 4  # below the highest, on a log axis of learning rates: where zero is drawn
LOG_FROM = 4.0  # a loss that changes by more than this factor is shown on a log axis


@dataclass(frozen=True)
class Axis:
    """A value axis."""

    title: str
    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class View:
    """One thing that a chart can show."""

    label: str  # of the button that chooses it
    curve: str  # name of the curve (`lehr.report.contents.Line.curves`)
    axis: Axis


def left_views(section: Section) -> list[View]:
    """The learning rate, on a linear and on a log axis."""
    high = max((float(values.max()) for values in _curves(section, LR)), default=1.0) or 1.0
    return [
        View("linear", LR, Axis("learning rate", 0.0, high * 1.04)),
        View("log", LR, Axis("learning rate", high / 10**DECADES, high * 1.3, log=True)),
    ]


def right_views(section: Section) -> list[View]:
    """The losses and the metric, as far as there are any."""
    axes = {TRAINING: _loss_axis, VALIDATION: _loss_axis, section.metric: _metric_axis}
    return [View(name, name, axis(section, name)) for name, axis in axes.items() if _curves(section, name)]


def _loss_axis(section: Section, name: str) -> Axis:
    """A log axis if the losses are positive and change much."""
    curves = _curves(section, name)
    lowest, highest = min(float(y.min()) for y in curves), max(float(y.max()) for y in curves)
    log = lowest > 0 and highest / lowest > LOG_FROM
    low, high = robust_range(curves, _reference(section, name), log)
    return Axis(f"{name}, log scale" if log else name, low, high, log)


def _metric_axis(section: Section, name: str) -> Axis:
    reference = _late(_reference(section, name))
    return Axis(f"validation {name}", *robust_range(_curves(section, name), reference, False, section.facts["best"]))


def _reference(section: Section, name: str) -> ArrayLike:
    """The values of the control; none if it was not run."""
    return next((line.curves[name].y for line in section.lines if line.policy == CONTROL and name in line.curves), [])


def _late(values: ArrayLike) -> NDArray[np.float64]:
    """All but the first tenth: a metric begins far from where it ends, and its early rise would flatten the rest."""
    known = np.asarray(values, dtype=np.float64)
    return known[len(known) // 10 :]


def _curves(section: Section, name: str) -> list[NDArray[np.float64]]:
    return [line.curves[name].y for line in section.lines if name in line.curves]


def robust_range(
    curves: Sequence[ArrayLike], reference: ArrayLike, log: bool, best: str = "min"
) -> tuple[float, float]:
    """The range of values to draw: all of them, but for bad ones far outside the range of a reference curve.

    A diverged run would flatten all others, so what is worse than the reference's worst by more than half of the
    reference's range (on a log axis: of its logarithms) is cut off.

    Args:
        curves: values of each line.
        reference: values of the line that decides what is far outside; empty: nothing is.
        log: whether the range is for a log axis; then values must be positive.
        best: "min" if large values are the bad ones, "max" if small ones are.
    """
    values = np.concatenate([_scaled(curve, log) for curve in curves])
    low, high = float(values.min()), float(values.max())
    known = _scaled(reference, log)
    if known.size:
        room = 0.5 * float(np.ptp(known)) or 0.5 * (high - low)
        low = max(low, float(known.min()) - room) if best == "max" else low
        high = min(high, float(known.max()) + room) if best == "min" else high
    margin = 0.03 * (high - low) or 0.5
    low, high = low - margin, high + margin
    return (10.0**low, 10.0**high) if log else (low, high)


def _scaled(values: ArrayLike, log: bool) -> NDArray[np.float64]:
    known = np.asarray(values, dtype=np.float64)
    return np.log10(known) if log else known


def specification(axis: Axis, steps: int, height: int = 300) -> dict[str, Any]:
    """The Vega-Lite specification of one chart, as wide as its place, without data.

    Its data sets have the fields x (step), y (value), p (policy) and c (colour); `lines` have d (dash) too and `marks`
    have t (what the tooltip says). The parameter `focus` names the policy that stands out, "" none.
    """
    with needs("plot"):  # here, so that the command line starts without it
        import altair as alt

    x = alt.X(
        "x:Q", title="step", scale=alt.Scale(domain=[0, steps], nice=False), axis=alt.Axis(tickCount=5, grid=False)
    )
    y = alt.Y("y:Q", title=axis.title, scale=alt.Scale(**_scale(axis)), axis=alt.Axis(format="~g", **_ticks(axis)))
    colour = alt.Color("c:N", scale=None)
    faded = alt.condition("focus == '' || datum.p == focus", alt.value(1.0), alt.value(0.15))
    cursor = alt.Chart(alt.NamedData("cursor")).mark_rule(strokeWidth=1).encode(x)
    lines = (
        alt.Chart(alt.NamedData("lines"))
        .mark_line(clip=True, strokeWidth=1.8, strokeJoin="round", strokeCap="round")
        .encode(x, y, colour, detail="p:N", strokeDash=alt.StrokeDash("d:N", scale=None), opacity=faded)
    )
    dots = alt.Chart(alt.NamedData("dots")).mark_circle(clip=True, size=42, opacity=1).encode(x, y, colour)
    marks = (
        alt.Chart(alt.NamedData("marks"))
        .mark_point(shape="triangle-down", filled=True, size=90, clip=True, yOffset=-7)
        .encode(x, y, colour, opacity=faded, tooltip=alt.Tooltip("t:N"))
    )
    chart = alt.layer(cursor, lines, dots, marks).add_params(alt.param(name="focus", value=""))
    specified: dict[str, Any] = chart.properties(width="container", height=height).to_dict()
    return {key: value for key, value in specified.items() if key not in ("$schema", "config")}  # the page says both


def _scale(axis: Axis) -> dict[str, Any]:
    kind = {"type": "log", "clamp": True} if axis.log else {"type": "linear", "zero": False}
    return {"domain": [axis.low, axis.high], "nice": False, **kind}


def _ticks(axis: Axis) -> dict[str, Any]:
    """On a log axis powers of ten, and twice and five times as much if there would be few of them."""
    if not axis.log:
        return {"tickCount": 5}
    powers = range(math.floor(math.log10(axis.low)), math.ceil(math.log10(axis.high)))
    digits = (1,) if axis.high / axis.low > 300 else (1, 2, 5)
    ticks = [float(f"{digit}e{power}") for power in powers for digit in digits]
    return {"values": [tick for tick in ticks if axis.low <= tick <= axis.high]}
