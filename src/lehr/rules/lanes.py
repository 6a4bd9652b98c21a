"""Many runs at once: when a trigger first fires in each of them.

What counts alike in every run is written on arrays, an element a run ("lanes"). A trigger joins with `@lanes.register`;
one that has not is shown each run by itself.
"""

from __future__ import annotations

import functools as ft

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lehr.errors import LehrError
from lehr.lengths import Horizon
from lehr.rules.counting import Tally
from lehr.rules.improves import ImprovesLessThan
from lehr.rules.plateaus import Plateaus
from lehr.rules.trend import TrendState, estimated, heard
from lehr.rules.trigger import Observation, Trigger

__all__ = ["first_firings", "lanes"]

Runs = NDArray[np.float64]
Firings = NDArray[np.int64]
NEVER = -1


def first_firings(trigger: Trigger, values: ArrayLike, horizon: Horizon | None = None) -> Firings:
    """The index of the observation at which the trigger first fires in each run; -1 where it never does.

    Args:
        trigger: of one signal.
        values: what is reported of it at updates 0, 1, 2, …: shape (runs, updates). A NaN is a report that is NaN.
        horizon: the facts of the runs. Default: as many steps as there are values.

    Raises:
        LehrError: a trigger of no or several signals; values that are no such array.

    Example:
        >>> import lehr
        >>> flat = lehr.loss.plateaus(3)
        >>> first_firings(flat, [[1, 1, 1, 1, 1], [1, 0.9, 0.9, 0.9, 0.8]]).tolist()
        [4, -1]
    """
    runs = np.asarray(values, dtype=np.float64)
    if runs.ndim != 2:
        raise LehrError(f"values must have the shape (runs, updates), got {runs.shape}; write [values] for one run")
    if len(set(trigger.signals())) != 1:
        raise LehrError(f"the trigger must read one signal, got {trigger!r}")
    return lanes(trigger.resolve(Horizon(steps=max(runs.shape[1], 1)) if horizon is None else horizon), runs)


@ft.singledispatch
def lanes(trigger: Trigger, runs: Runs) -> Firings:
    """The first firings of a resolved trigger of one signal, a run after another."""
    return np.array([_first(trigger, run) for run in runs.tolist()], dtype=np.int64)


@lanes.register
def _(trigger: Plateaus, runs: Runs) -> Firings:
    if trigger.signal.span is not None:  # a smoothed signal is read a run at a time
        return lanes.dispatch(Trigger)(trigger, runs)
    counting = trigger.counting
    first = np.full(len(runs), NEVER, dtype=np.int64)
    tally = Tally(*(np.full(len(runs), fresh) for fresh in counting.init()))
    with np.errstate(invalid="ignore", over="ignore"):  # as floats do, which say nothing
        for step, costs in enumerate(counting.sign * np.ascontiguousarray(runs.T)):
            tally, _, fires = counting.heard(tally, costs)
            first[fires & (first == NEVER)] = step
            if (first != NEVER).all():
                break
    return first


@lanes.register
def _(trigger: ImprovesLessThan, runs: Runs) -> Firings:
    if trigger.test != "trend" or trigger.signal.span is not None or not np.isfinite(runs).all():
        return lanes.dispatch(Trigger)(trigger, runs)
    over = int(trigger.window.amount)
    width = trigger.width
    first = np.full(len(runs), NEVER, dtype=np.int64)
    state = TrendState()
    for begin in range(0, runs.shape[1] - width + 1, width):
        state, look = heard(state, begin + width / 2, runs[:, begin : begin + width].mean(axis=1))
        if look:
            verdict = estimated(state, trigger.improvement, over, trigger.risk, trigger.signal.best).verdict
            first[((verdict == "flat") | (verdict == "worsening")) & (first == NEVER)] = begin + width - 1
            if (first != NEVER).all():
                break
    return first


def _first(trigger: Trigger, values: list[float]) -> int:
    (name,) = {signal.name for signal in trigger.signals()}
    state = trigger.init()
    for step, value in enumerate(values):
        state, reading = trigger.update(state, Observation(step, {name: value}, True))
        if reading.holds and reading.fresh:
            return step
    return NEVER
