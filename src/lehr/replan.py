"""Changes that come from outside: another plan, another base, a value written by hand, a group that joins.

Pure functions of the tracks in force; the controller takes over what they return.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lehr.difference import Difference, Steps, Values, sampled
from lehr.lengths import Horizon
from lehr.plan import MOVED, PolicyState, Track
from lehr.state import facts

__all__ = ["InForce", "anchored", "compared", "edited", "joined", "replanned"]


@dataclass(frozen=True)
class InForce:
    """What is in force in a run: its tracks, the base values of each hyperparameter, and where the run will end."""

    tracks: Sequence[Track]
    bases: Mapping[str, tuple[float, ...]]
    end: int | None

    def curve(self, target: str, group: int, steps: Steps) -> Values:
        """The value of a group at future steps, as if no rule fired."""
        for track in self.tracks:
            if track.target == target and group in track.groups:
                return track.values(group, steps)
        return np.full(len(steps), self.bases[target][group])

    @property
    def rules(self) -> set[tuple[Any, ...]]:
        """Every rule, with what it acts on."""
        return {(t.target, group, rule) for t in self.tracks for group in t.groups for rule in t.plan.policy.rules}


def compared(before: InForce, after: InForce, step: int, target: str, group: int, notes: Sequence[str]) -> Difference:
    """Both curves of a group from `step` to the later end; further notes name what else changes."""
    last = max((end - 1 for end in (before.end, after.end) if end is not None), default=3 * step + 1000)
    at = sampled(step, max(last, step))
    seen = {
        (name, i): Difference(at, before.curve(name, i, at), after.curve(name, i, at), before.end, after.end)
        for name, values in before.bases.items()
        for i in range(len(values))
    }
    others = [f"{name} of group {i}" for (name, i), d in seen.items() if (name, i) != (target, group) and not d.equal]
    told = list(notes)
    if others:
        told.append(f"other curves change too: {', '.join(others)}; see preview(..., group=..., target=...)")
    if before.rules != after.rules:
        told.append("the rules change; rules react to the run, so they are not in the curves")
    return replace(seen[target, group], notes=tuple(told))


def replanned(
    old: str, new: str, horizon: Horizon, before: Mapping[str, Sequence[float]], after: Mapping[str, Sequence[float]]
) -> str:
    """A change of plan in words: its policies, and the values that nothing governs any longer."""
    left = {name: values for name, values in before.items() if name not in after}
    stays = "".join(f"; {name} stays at {', '.join(f'{v:.6g}' for v in values)}" for name, values in left.items())
    return f"the plan was changed: {old} → {new}, {facts(horizon)}{stays}"


def anchored(track: Track, wanted: Mapping[str, Sequence[float]], step: int) -> tuple[PolicyState, bool]:
    """The gains take up the difference to the wanted values; and whether one had to jump, the schedule being at 0."""
    gains, jumped = list(track.state.gains), False
    for k, (group, plain) in enumerate(zip(track.groups, _plain(track, step), strict=True)):
        if plain > 0 and track.target in wanted:
            gains[k] = wanted[track.target][group] / plain
        jumped = jumped or plain == 0
    return track.state._replace(gains=tuple(gains)), jumped


def edited(track: Track, group: int, old: float, value: float, step: int) -> PolicyState | None:
    """The gain takes up a value that a hand has written in place of `old`; None where the schedule is at 0."""
    k = track.groups.index(group)
    plain = _plain(track, step)[k]
    if plain == 0:
        return None
    gains = list(track.state.gains)
    gains[k] = value / plain
    state = track.state._replace(gains=tuple(gains))
    return track.plan.changed(state) if abs(value - old) > MOVED * old else state


def joined(track: Track, before: Track) -> PolicyState:
    """A track with late groups: they begin with the gain 1, and where the first group began a schedule."""
    gains = dict(zip(before.groups, before.state.gains, strict=True))
    state = before.state._replace(gains=tuple(gains.get(group, 1.0) for group in track.groups))
    begun = state.begun
    if begun is None:
        return state
    starts = (*begun.start, *(begun.start[0] for _ in range(len(track.groups) - len(begun.start))))
    return state._replace(begun=begun._replace(start=starts))


def _plain(track: Track, step: int) -> list[float]:
    """Base × factor of each group."""
    factors = track.plan.factors(track.state, step)
    return [base * float(column[0]) for base, column in zip(track.plan.bases, factors, strict=True)]
