"""Actions: what a rule changes. Most change the gain of each parameter group; `begin` the plan, `stop` the run.

Write α for the group's LR when the rule fires.
"""

from __future__ import annotations

from dataclasses import dataclass

from lehr.schedules import Schedule
from lehr.spelling import Value, spell

__all__ = ["Action", "Begin", "Relax", "Saturate", "Scale", "Stop"]

LARGEST_GAIN = 1e100


@dataclass(frozen=True, repr=False)
class Scale(Value):
    """gain ← gain·k, and never beyond 1e100, so that an LR stays a finite number."""

    k: float

    def text(self, full: bool = False) -> str:
        """`scale(k)`."""
        return f"scale({spell(self.k)})"

    def gain(self, gain: float, lr: float) -> float:
        """The new gain of a group with this gain and LR."""
        return min(gain * self.k, LARGEST_GAIN)


@dataclass(frozen=True, repr=False)
class Saturate(Value):
    """gain ← gain·min(1, η·α/(α + ε))."""

    eta: float
    eps: float = 1e-8

    def text(self, full: bool = False) -> str:
        """`saturate(eta=…, eps=…)`."""
        return f"saturate({_eta_eps(self.eta, self.eps, full)})"

    def gain(self, gain: float, lr: float) -> float:
        """The new gain of a group with this gain and LR."""
        return gain * min(1.0, self.eta * lr / (lr + self.eps)) if lr > 0 else gain


@dataclass(frozen=True, repr=False)
class Relax(Value):
    """gain ← gain·(1 − η·α/(α + ε))."""

    eta: float
    eps: float = 1e-8

    def text(self, full: bool = False) -> str:
        """`relax(eta=…, eps=…)`."""
        return f"relax({_eta_eps(self.eta, self.eps, full)})"

    def gain(self, gain: float, lr: float) -> float:
        """The new gain of a group with this gain and LR."""
        return gain * (1.0 - self.eta * lr / (lr + self.eps)) if lr > 0 else gain


@dataclass(frozen=True, repr=False)
class Begin(Value):
    """From the next update the rest of the plan is `schedule`, beginning at the present factor."""

    schedule: Schedule

    def text(self, full: bool = False) -> str:
        """`begin(schedule)`."""
        return f"begin({self.schedule.text(full)})"


@dataclass(frozen=True, repr=False)
class Stop(Value):
    """The run is done."""

    def text(self, full: bool = False) -> str:
        """`stop()`."""
        return "stop()"


Action = Scale | Saturate | Relax | Begin | Stop


def _eta_eps(eta: float, eps: float, full: bool) -> str:
    return f"eta={spell(eta)}" + (f", eps={spell(eps)}" if full or eps != 1e-8 else "")
