"""What a log says of a signal and of its run."""

from __future__ import annotations

from dataclasses import fields
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from lehr.errors import LehrError
from lehr.lengths import Horizon
from lehr.rules import Signal
from lehr.trace import Trace

__all__ = ["reported", "run_of"]


def reported(trace: Trace, signal: Signal) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Steps and finite values."""
    if signal.name not in trace.columns:
        there = [name for name in trace.columns if name not in ("step", "lr")]
        raise LehrError(
            f"the log has no column {signal.name!r}; there are {', '.join(there) or 'none'}: say which is meant, such "
            "as signal=metric('val_loss', best='min')"
        )
    values = trace.columns[signal.name]
    told = np.isfinite(values)
    return trace.columns["step"][told], values[told]


def run_of(trace: Trace, steps: NDArray[np.float64]) -> tuple[Horizon, Fraction]:
    """The run's facts, and the usual number of steps between two observations."""
    logged = trace.header.get("horizon")
    known = {field.name for field in fields(Horizon)}
    facts = {name: value for name, value in (logged or {}).items() if name in known and value is not None}
    if len(steps) < 2:
        return Horizon(**facts), Fraction(1)
    last = int(trace.columns["step"][-1]) + 1
    horizon = Horizon(**facts | {"steps": max(int(facts.get("steps", 0)), last)})
    return horizon, max(Fraction(float(np.median(np.diff(steps)))), Fraction(1))
