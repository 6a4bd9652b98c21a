"""Lehr decides the learning rate of a training run.

A policy is a schedule (open loop, planned before training) times rules (closed loop, reacting to the loss, a metric or
the evaluated model). Lehr makes policies as values, runs them exactly, explains them and compares them.

Example:
    >>> import lehr
    >>> policy = lehr.parse("warmup('2%').then(cosine(to=0.1))")
    >>> run = lehr.start(policy, lr=3e-4, steps=50_000)
    >>> run.lr
    3e-07
"""

from typing import TYPE_CHECKING, Any

from lehr import schedules
from lehr import trackers as trackers
from lehr.calibrate import Calibration, calibrate
from lehr.checks import Finding, check
from lehr.controller import Controller, start
from lehr.converters import Conversion, convert
from lehr.difference import Difference
from lehr.errors import LehrError, LehrWarning
from lehr.journal import Event, Journal
from lehr.lengths import Horizon, Length
from lehr.listeners import Listener
from lehr.logs import read_trace
from lehr.policy import Bind, Groups, Policy, bind, groups
from lehr.replay import Replay, replay
from lehr.rules import (
    Rule,
    Signal,
    Trigger,
    always,
    evaluation,
    greedy,
    guard,
    hypergradient,
    loss,
    metric,
    reduce_on_plateau,
    when,
)
from lehr.rules.ladder import ladder
from lehr.rules.trend import estimate
from lehr.schedules import Curve, Schedule, maximum, minimum, register
from lehr.schedules.decay import *
from lehr.schedules.falls import *
from lehr.schedules.knots import *
from lehr.schedules.literal import *
from lehr.schedules.odd import *
from lehr.schedules.powers import *
from lehr.schedules.recipes import *
from lehr.schedules.steps import *
from lehr.schedules.user import *
from lehr.schedules.warmups import *
from lehr.simulate import simulate
from lehr.text import as_policy, parse
from lehr.trace import Trace, record
from lehr.version import __version__

if TYPE_CHECKING:
    from lehr.report.facts import diff
    from lehr.report.figures import plot

__all__ = [
    "Bind",
    "Calibration",
    "Controller",
    "Conversion",
    "Curve",
    "Difference",
    "Event",
    "Finding",
    "Groups",
    "Horizon",
    "Journal",
    "LehrError",
    "LehrWarning",
    "Length",
    "Listener",
    "Policy",
    "Replay",
    "Rule",
    "Schedule",
    "Signal",
    "Trace",
    "Trigger",
    "__version__",
    "always",
    "as_policy",
    "bind",
    "calibrate",
    "check",
    "convert",
    "diff",
    "estimate",
    "evaluation",
    "greedy",
    "groups",
    "guard",
    "hypergradient",
    "ladder",
    "loss",
    "maximum",
    "metric",
    "minimum",
    "parse",
    "plot",
    "read_trace",
    "record",
    "reduce_on_plateau",
    "register",
    "replay",
    "simulate",
    "start",
    "when",
]
__all__ += [row.name for row in schedules.catalogue.CATALOGUE]
__all__.sort()


if not TYPE_CHECKING:  # a type checker would take it for the type of every name

    def __getattr__(name: str) -> Any:
        """Load what needs more than NumPy, or is rarely needed, on first use."""
        if name == "plot":
            from lehr.report.figures import plot

            return plot
        if name == "diff":
            from lehr.report.facts import diff

            return diff
        raise AttributeError(f"module 'lehr' has no attribute {name!r}")
