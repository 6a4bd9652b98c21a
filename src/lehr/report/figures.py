"""`lehr.plot`: the curves of several policies on one axis, as an Altair chart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lehr.errors import LehrError
from lehr.extras import needs
from lehr.lengths import Horizon
from lehr.policy import PolicyLike
from lehr.report.facts import Strand, horizon_of, planned, strands
from lehr.report.palette import inks
from lehr.report.thin import thinned

if TYPE_CHECKING:
    import altair as alt

__all__ = ["plot"]


def plot(
    *policies: PolicyLike | str,
    steps: int | None = None,
    horizon: Horizon | None = None,
    lr: float | None = None,
    width: int = 640,
    height: int = 320,
) -> alt.Chart:
    """Curves of policies on one axis: x the step, y the LR.

    Rules react to a run, so only the schedules are drawn. Points that do not change the picture are left out.

    Args:
        policies: policies, schedules, rules or their texts; each curve is labelled by its text.
        steps: updates in the run; default 1000.
        horizon: the run, instead of `steps`, for lengths in epochs, samples or tokens.
        lr: base LR, in the unit of the optimiser; default: factors of it are drawn.
        width: of the plot in pixels.
        height: of the plot in pixels.

    Raises:
        LehrError: no policy, both `steps` and `horizon`, or a policy that cannot be read or resolved.

    Example:
        >>> import lehr
        >>> chart = lehr.plot("cosine()", "warmup('5%').then(linear(to=0))", steps=1000, lr=3e-4)
        >>> chart.save("curves.html")  # doctest: +SKIP
    """
    if not policies:
        raise LehrError('plot needs at least one policy, got none; for example lehr.plot("cosine()", steps=1000)')
    run = horizon_of(steps, horizon)
    lines = {strand.label: _points(strand, run, lr) for policy in policies for strand in strands(policy)}
    return _chart(lines, run.steps or 0, "factor" if lr is None else "learning rate", width, height)


def _points(strand: Strand, run: Horizon, lr: float | None) -> list[dict[str, Any]]:
    """The points of a curve that draw it."""
    _, values = planned(strand.policy, run, strand.base(lr))
    return [{"policy": strand.label, "step": int(step), "lr": float(values[step])} for step in thinned(values)]


def _chart(lines: dict[str, list[dict[str, Any]]], steps: int, unit: str, width: int, height: int) -> alt.Chart:
    with needs("plot"):  # here, so that the command line starts without it
        import altair as alt

    drawn = inks(lines, control="")
    colours = alt.Scale(domain=list(lines), range=[drawn[label].light for label in lines])
    legend = alt.Legend(orient="bottom", columns=1, labelLimit=width, title=None, symbolType="stroke")
    chart: alt.Chart = (
        alt.Chart(alt.InlineData(values=[point for points in lines.values() for point in points]))
        .mark_line(strokeWidth=2, strokeJoin="round", strokeCap="round")
        .encode(
            x=alt.X("step:Q", scale=alt.Scale(domain=[0, steps], nice=False), axis=alt.Axis(grid=False)),
            y=alt.Y("lr:Q", title=unit),
            color=alt.Color("policy:N", scale=colours, legend=legend),
            tooltip=["policy:N", "step:Q", "lr:Q"],
        )
        .properties(width=width, height=height)
        .configure_axis(labelFontSize=12, titleFontSize=12, titleFontWeight="normal", gridOpacity=0.6, domain=False)
        .configure_legend(labelFontSize=12)
        .configure_view(stroke=None)
    )
    return chart
