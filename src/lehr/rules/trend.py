"""The trend test: can it be shown that a signal improves more slowly than asked?

Tests for improvement take its absence for a plateau, so that noise alone makes one. Here the question is turned round:
with the line fitted to a window that ends now, improvement is *shown to be slow* where the upper confidence bound of
its rate lies below the share asked. There are four verdicts: flat (slow is shown), worsening (the bound is even below
zero), improving (the lower bound lies above the share), undecided (the noise is too large for so few observations).

Every window is looked at, from the shortest on; the shortest that decides has the word, and only windows of at most
twice `over` may say that the signal improves. The error budget is spent in proportion to the window's span, so that
each size of window has the same share of it in a stretch of the run.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import Any, Literal, NamedTuple

import numpy as np

from lehr.errors import LehrError
from lehr.rules.estimators import KEPT, Array, Bin, absorbed, clipped, noise_of, windows
from lehr.schedules.schedule import number

__all__ = ["LEAST", "RISK", "Estimate", "TrendState", "estimate", "estimated", "heard"]

RISK = 0.2  # at the boundary, where it is hardest to keep: on curves that fall visibly the error is far smaller
LEAST = 24  # observations in a window
TIMES = 6.0  # a window holds at least so many integrated autocorrelation times
SHARE = 0.013  # of the budget for one look at one window: calibrated at the boundary, benchmarks/triggers.py
NORMAL = NormalDist()
LATE = 2.0  # times `over`: no longer a window says that the signal improves
STRETCH = 10.0  # the risk is that of a stretch of ten times `over`
LOOKS = 48  # looks while the history grows e-fold


class TrendState(NamedTuple):
    """Memory of the trend test."""

    recent: tuple[Any, ...] = ()  # the last fifteen values
    last: tuple[Any, ...] = ()  # the last 512 values, outliers pulled in
    bins: tuple[Bin, ...] = ()
    seen: int = 0
    due: int = LEAST  # observations at which it looks next


class Estimate(NamedTuple):
    """What is known of a signal now; arrays with one entry a run.

    Attributes:
        verdict: "improving", "flat", "worsening" or "undecided".
        count: observations in the window that decided (where none did, the longest of at most twice `over`).
        level: of the fitted line, now; `level_low` and `level_high` bound it.
        rate: improvement over `over` as a share of the level; `rate_low` and `rate_high` bound it.
        noise: standard deviation of one observation, outliers pulled in to two of them.
        autocorrelation: of neighbouring observations, taken two standard errors higher than estimated.
        needed: how many more observations it should take to decide, if it is flat; 0 where it is decided.
    """

    verdict: Any
    count: Any
    level: Any
    level_low: Any
    level_high: Any
    rate: Any
    rate_low: Any
    rate_high: Any
    noise: Any
    autocorrelation: Any
    needed: Any


def heard(state: TrendState, at: float, value: Any) -> tuple[TrendState, bool]:
    """The memory after an observation at position `at`, and whether it is time to look."""
    recent, value = clipped(state.recent, value)
    seen = state.seen + 1
    last = (*state.last[-KEPT + 1 :], value)
    state = TrendState(recent, last, absorbed(state.bins, at, value), seen, state.due)
    if seen < state.due:
        return state, False
    return state._replace(due=seen + max(1, seen // LOOKS)), True


def estimated(state: TrendState, improvement: float, over: float, risk: float = RISK, best: str = "min") -> Estimate:
    """Look at every window.

    Args:
        state: with at least two observations.
        improvement: the share asked, over `over`; positive.
        over: in units of position; positive.
        risk: chance of calling a signal flat that improves exactly as asked, in a stretch of ten times `over`.
        best: "min" or "max".
    """
    w = windows(state.bins)
    w = {name: column[1:] for name, column in w.items()}  # a line needs two bins
    noise = noise_of(state.last)
    sd, rho, times = noise.sd, noise.rho, noise.times
    unit = np.maximum(np.maximum(np.abs(w["mean"]), sd), 1e-300)
    rate = (-1.0 if best == "min" else 1.0) * w["slope"] * over / unit
    span = -2 * w["middle"]
    z = _critical(span / (STRETCH * over), risk)
    free = np.maximum(noise.known * (1 - rho**2) / (1 + rho**2) / 2, 4.0)
    t = z * (1 + (z**2 + 1) / (4 * free))  # Student's t, to first order in 1/free
    reach = t * np.sqrt(noise.long_run / w["spread"]) * over / unit
    able = (w["count"] >= LEAST) & (w["count"] >= TIMES * times)
    late = (span <= LATE * over) | (
        w["count"] <= 2 * LEAST
    )  # what was long ago says nothing of whether it improves now
    better, slow = able & late & (rate - reach > improvement), able & (rate + reach < improvement)
    decided = (better | slow).any(axis=0)
    at = np.where(decided, np.argmax(better | slow, axis=0), np.count_nonzero(late) - 1)

    def chosen(values: Array) -> Array:
        return np.broadcast_to(values, rate.shape)[at, np.arange(len(sd))]

    count, bound = chosen(w["count"]), chosen(rate + reach)
    verdict = np.where(chosen(better), "improving", np.where(bound < 0, "worsening", "flat"))
    level = chosen(w["mean"] - w["slope"] * w["middle"])
    margin = 1.96 * np.sqrt(noise.long_run * (1 / count + chosen(w["middle"]) ** 2 / chosen(w["spread"])))
    more = np.maximum(count * (chosen(reach) / improvement) ** (2 / 3), np.maximum(TIMES * times, LEAST)) - count
    return Estimate(
        np.where(decided, verdict, "undecided"),
        count,
        level,
        level - margin,
        level + margin,
        chosen(rate),
        chosen(rate - reach),
        bound,
        sd,
        rho,
        np.where(decided, 0.0, np.maximum(np.ceil(more), 1.0)),
    )


def estimate(
    values: Any,
    *,
    improvement: float = 0.01,
    over: float,
    at: Any = None,
    best: Literal["min", "max"] = "min",
    risk: float = RISK,
) -> Estimate:
    """What is known of a recorded signal at its end: level, trend and noise, each with its interval.

    Args:
        values: of the signal, oldest first; what is not finite is left out.
        improvement: the share of the level asked over `over`, between 0 and 1, as in `improves_less_than`.
        over: positive, in units of `at`; without `at`, in observations.
        at: the step of each value, rising.
        best: "min" or "max".
        risk: see `improves_less_than`.

    Raises:
        LehrError: fewer than three finite values, not one `at` a value, or an argument out of its range.

    Example:
        >>> import numpy as np
        >>> noise = 0.01 * np.random.default_rng(0).standard_normal(400)
        >>> found = estimate(np.maximum(2 - np.arange(400) / 200, 1) + noise, over=100)
        >>> found.verdict, round(found.level, 2), round(found.noise, 2)
        ('flat', 1.0, 0.01)

    Source: our choice; see the head of this module.
    """
    for name, value, high in (("improvement", improvement, 1.0), ("over", over, np.inf), ("risk", risk, 0.5)):
        if not 0 < number(value, f"estimate({name}=...)") < high:
            raise LehrError(f"estimate({name}=...) must be above 0 and below {high:g}, got {value!r}")
    if best not in ("min", "max"):
        raise LehrError(f"estimate(best=...) must be 'min' or 'max', got {best!r}")
    series = np.asarray(values, dtype=float).ravel()
    places = np.arange(len(series)) if at is None else np.asarray(at, dtype=float).ravel()
    if len(places) != len(series):
        raise LehrError(f"estimate(at=...) must have one entry a value, got {len(places)} for {len(series)} values")
    finite = np.isfinite(series)
    if finite.sum() < 3:
        raise LehrError(f"estimate(values) needs at least 3 finite values, got {finite.sum()}")
    state = TrendState()
    for place, value in zip(places[finite].tolist(), series[finite].tolist(), strict=True):
        state, _ = heard(state, place, value)
    found = estimated(state, improvement, over, risk, best)
    return Estimate(str(found.verdict[0]), *(float(column[0]) for column in found[1:]))


def _critical(stretch: Array, risk: float) -> Array:
    """The one-sided normal quantile for a window that spans this share of the stretch."""
    shares = np.clip(stretch, 1e-6, 1.0) * risk * SHARE
    return np.array([[-NORMAL.inv_cdf(share)] for share in shares[:, 0].tolist()])
