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
from lehr.checks import Finding, check
from lehr.controller import Controller, start
from lehr.convert import Conversion, convert
from lehr.difference import Difference
from lehr.errors import LehrError, LehrWarning
from lehr.journal import Event, Journal
from lehr.lengths import Horizon, Length
from lehr.policy import Bind, Groups, Policy, bind, groups
from lehr.rules import Rule, Signal, Trigger, always, evaluation, loss, metric, when
from lehr.schedules import *
from lehr.simulate import simulate
from lehr.text import as_policy, parse
from lehr.trace import Trace, record
from lehr.version import __version__

if TYPE_CHECKING:
    from lehr.report.figures import plot

__all__ = [
    "Bind",
    "Controller",
    "Difference",
    "Conversion",
    "Event",
    "Finding",
    "Groups",
    "Horizon",
    "Journal",
    "LehrError",
    "LehrWarning",
    "Length",
    "Policy",
    "Rule",
    "Signal",
    "Trace",
    "Trigger",
    "__version__",
    "always",
    "as_policy",
    "bind",
    "check",
    "convert",
    "evaluation",
    "groups",
    "loss",
    "metric",
    "parse",
    "plot",
    "record",
    "simulate",
    "start",
    "when",
]
__all__ += schedules.__all__
__all__.sort()


def __getattr__(name: str) -> Any:
    """Load what needs more than NumPy on first use."""
    if name == "plot":
        from lehr.report.figures import plot

        return plot
    raise AttributeError(f"module 'lehr' has no attribute {name!r}")
