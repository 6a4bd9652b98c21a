"""Actions: what a rule changes. Most change the gain of each parameter group; `begin` the plan, `stop` the run.

Write α for the group's LR when the rule fires.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from lehr.lengths import Horizon, Length, whole_steps
from lehr.schedules import Schedule
from lehr.spelling import Value, call, spell

__all__ = ["Action", "Begin", "Follow", "Ramp", "Relax", "Rollback", "Saturate", "Scale", "Stop", "To", "Weights"]

To = Literal["older", "best", "start"]
Weights = Literal["last", "best"]
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
class Follow(Value):
    """gain ← gain·k as `Scale`, with the k that the trigger proposes, one for all groups or one for each."""

    def text(self, full: bool = False) -> str:
        """`follow()`."""
        return "follow()"


@dataclass(frozen=True, repr=False)
class Begin(Value):
    """From the next update the rest of the plan is `schedule`, beginning at the present factor."""

    schedule: Schedule

    def text(self, full: bool = False) -> str:
        """`begin(schedule)`."""
        return f"begin({self.schedule.text(full)})"


@dataclass(frozen=True, repr=False)
class Stop(Value):
    """The run is done; with weights="best" the adapter restores the best ones."""

    weights: str = "last"

    @property
    def by_hand(self) -> bool:
        """Whether an adapter has a part in it."""
        return self.weights == "best"

    def text(self, full: bool = False) -> str:
        """`stop(weights=…)`."""
        return f"stop(weights={self.weights!r})" if full or self.weights != "last" else "stop()"


class Ramp(NamedTuple):
    """A warm-up after a rollback: the factor is multiplied by (i + 1)/length at its update i."""

    at: int  # its first step
    length: int  # its steps

    @property
    def end(self) -> int:
        """The first step after it."""
        return self.at + self.length

    def share(self, steps: Any) -> Any:
        """The share of the factor that is left at these steps, an array of them."""
        return np.clip((steps - self.at + 1) / self.length, 0.0, 1.0)


@dataclass(frozen=True, repr=False)
class Rollback(Value):
    """gain ← gain·scale, and the adapter restores a snapshot; then maybe a warm-up."""

    scale: float = 0.5
    to: str = "older"
    skip_data: bool = True
    rewarm: Length | None = None
    since: int | None = None  # step before which the trouble had not begun; known once a rule has fired

    by_hand = True

    def text(self, full: bool = False) -> str:
        """`rollback(scale=…, to=…, skip_data=…, rewarm=…)`."""
        arguments = {"scale": self.scale, "to": self.to, "skip_data": self.skip_data, "rewarm": self.rewarm}
        return call(Rollback, arguments, full, name="rollback")

    def gain(self, gain: float, lr: float) -> float:
        """The new gain of a group with this gain and LR."""
        return min(gain * self.scale, LARGEST_GAIN)

    def ramp(self, at: int, horizon: Horizon) -> Ramp | None:
        """The warm-up after it, if there is one, from step `at` on."""
        return None if self.rewarm is None else Ramp(at, whole_steps(horizon.measure(self.rewarm)))


Action = Scale | Saturate | Relax | Follow | Begin | Stop | Rollback


def _eta_eps(eta: float, eps: float, full: bool) -> str:
    return f"eta={spell(eta)}" + (f", eps={spell(eps)}" if full or eps != 1e-8 else "")
