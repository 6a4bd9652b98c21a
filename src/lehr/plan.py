"""The plan: a policy resolved for one run, a pure state machine.

LR of a group = base LR × factor × gain: the factor comes from the schedule, the gain from the rules. `Plan.update` is
the one pure step: (state, observation) → (state, events).
"""

from __future__ import annotations

import functools as ft
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from lehr.errors import LehrError
from lehr.journal import Event
from lehr.lengths import Horizon, whole_steps
from lehr.policy import Policy
from lehr.rules import Action, Begin, Follow, Heard, Observation, Rollback, Rule, RuleState, Scale, Signal, Stop
from lehr.rules.actions import Ramp
from lehr.schedules import Curve, Schedule
from lehr.schedules.schedule import Context, Extent, least_steps

__all__ = ["Begun", "Decision", "Plan", "PolicyState", "Track", "end_of"]


MOVED = 0.05  # share by which an action must change an LR for evidence about the other one to be forgotten


class Begun(NamedTuple):
    """A schedule that a rule has begun, or that was anchored by a change of plan."""

    schedule: Schedule
    at: int  # its first step
    start: tuple[float, ...]  # the factor it begins from, one per group
    length: int | None  # its steps, if it ends


class PolicyState(NamedTuple):
    """All that a policy remembers."""

    step: int  # updates applied
    gains: tuple[float, ...]  # one per group
    rules: tuple[RuleState, ...]  # one per rule
    begun: Begun | None = None  # the plan in force, if it is not the policy's own
    stopped: bool = False  # a rule has stopped the run
    ramp: Ramp | None = None  # the last warm-up after a rollback; it may be over


class Decision(NamedTuple):
    """What a plan decided: the event, and the action that a rule asks for."""

    event: Event
    action: Action | None = None  # None for a verdict


@dataclass(frozen=True)
class Plan:
    """A policy resolved for one run: pure functions of its state. Make it with `Plan.of`."""

    policy: Policy
    horizon: Horizon
    bases: tuple[float, ...]
    rules: tuple[Rule, ...]
    curves: tuple[Curve, ...]  # one per group; the same object where groups share it

    @classmethod
    def of(cls, policy: Policy, horizon: Horizon, bases: tuple[float, ...]) -> Plan:
        """Resolve schedule and rules; everything that could be missing later is missed now."""
        for rule in policy.rules:
            if isinstance(rule.action, Begin):
                rule.action.schedule.resolve(horizon, lr=max(bases, default=1.0) or 1.0)
            if isinstance(rule.action, Rollback):
                rule.action.ramp(0, horizon)
        for name, bound in (("min_lr", policy.min_lr), ("max_lr", policy.max_lr)):
            if isinstance(bound, tuple) and len(bound) != len(bases):
                raise LehrError(f"Policy({name}=...) has {len(bound)} numbers for {len(bases)} parameter groups")
        rules = tuple(rule.resolve(horizon) for rule in policy.rules)
        return cls(policy, horizon, bases, rules, _curves(policy.schedule, horizon, bases, (1.0,) * len(bases), None))

    def foreign(self, state: PolicyState) -> bool:
        """Whether the schedule in force calls a function of the user."""
        return (self.policy.schedule if state.begun is None else state.begun.schedule).foreign

    @property
    def total(self) -> int | None:
        """Updates in the run: the horizon, or the schedule's own length."""
        return self.horizon.steps if self.horizon.steps is not None else self.curves[0].length

    @property
    def signals(self) -> tuple[Signal, ...]:
        """All that the rules read."""
        return tuple(dict.fromkeys(signal for rule in self.rules for signal in rule.trigger.signals()))

    def init(self) -> PolicyState:
        """The state before the first update."""
        return PolicyState(0, (1.0,) * len(self.bases), tuple(rule.init() for rule in self.rules))

    def end(self, state: PolicyState) -> int | None:
        """The step at which the run is over: now if stopped, else the horizon or the end of a begun fixed schedule."""
        if state.stopped:
            return 0
        begun = state.begun
        begun_end = None if begun is None or begun.length is None else begun.at + begun.length
        return min((end for end in (self.total, begun_end) if end is not None), default=None)

    def __reduce__(self) -> tuple[Any, ...]:
        return Plan.of, (self.policy, self.horizon, self.bases)  # curves are functions; they are made again

    def fitted(self, begun: Begun) -> Begun:
        """A begun plan in a run of this length: what fills takes what is left, all else stays as it is."""
        if self.total is None or begun.schedule.extent(self._context) is not Extent.FILLING:
            return begun
        return begun._replace(length=max(self.total - begun.at, 1))

    @property
    def _context(self) -> Context:
        return Context(self.horizon, lr=self.bases[0] or 1.0)

    def factors(self, state: PolicyState, steps: Any) -> list[np.ndarray[Any, np.dtype[np.float64]]]:
        """The factors of steps (an array, or one step), an array per group; the same object where they agree.

        Those of the schedule; of a run that warms up again after a rollback, a share of them.
        """
        curves, offset = self.curves, 0
        if state.begun is not None:
            begun = state.begun
            curves, offset = _curves(begun.schedule, self.horizon, self.bases, begun.start, begun.length), begun.at
        steps = np.atleast_1d(np.asarray(steps, dtype=np.int64))
        share = 1.0 if state.ramp is None else state.ramp.share(steps)
        seen: dict[int, Any] = {}
        for curve in curves:
            if id(curve) not in seen:
                seen[id(curve)] = curve(steps - offset) * share
        return [seen[id(curve)] for curve in curves]

    def lrs(self, state: PolicyState) -> tuple[float, ...]:
        """The LR of each group for the update `state.step`."""
        factors = [float(column[0]) for column in self.factors(state, state.step)]
        return tuple(self.bounded(state.step, i, self.bases[i] * f * state.gains[i]) for i, f in enumerate(factors))

    @property
    def warmup(self) -> int:
        """Steps of the leading warm-up, in which rules sleep and bounds do not hold."""
        return self.curves[0].warmup

    def bounds(self, group: int) -> tuple[float | None, float | None]:
        """The least and the largest LR of a group."""
        low, high = self.policy.min_lr, self.policy.max_lr
        return low[group] if isinstance(low, tuple) else low, high[group] if isinstance(high, tuple) else high

    def bounded(self, step: int, group: int, lr: float) -> float:
        """`lr` within the group's bounds."""
        low, high = self.bounds(group)
        if step < self.warmup:
            return lr
        lr = lr if high is None else min(lr, high)
        return lr if low is None else max(lr, low)

    def update(
        self, state: PolicyState, observation: Observation, since: int | None = None
    ) -> tuple[PolicyState, tuple[Decision, ...]]:
        """Show the rules an observation, gathered from step `since` on, and do what they decide. Pure.

        An applied update advances the step first: actions take effect from the next update. What was gathered in the
        leading warm-up, or in one after a rollback, even in part, is for those rules only that do not sleep there.
        """
        if observation.applied:
            state = state._replace(step=observation.step + 1)
        since = observation.step if since is None else since
        asleep = since < (self.warmup if state.ramp is None else max(self.warmup, state.ramp.end))
        if any(rule.trigger.heeds_lrs for rule in self.rules):
            observation = observation._replace(lrs=self.lrs(state))
        decisions: list[Decision] = []
        acted: set[int] = set()
        for i, rule in enumerate(self.rules):
            if asleep and not rule.trigger.heeds_warmup:
                continue
            memory, heard = rule.update(state.rules[i], observation)
            state = state._replace(rules=(*state.rules[:i], memory, *state.rules[i + 1 :]))
            if heard is None:
                continue
            if heard.fires:
                # Weights whose loss is part of the evidence may be harmed already, so the trouble began before it.
                heard = heard if heard.since is not None else heard._replace(since=max(since - 1, 0))
                state, decision = self._act(state, rule, self.policy.rules[i].text(), heard)
                acted |= {i} if not rule.shadow and _moved(decision.event) else set()
            else:
                text = self.policy.rules[i].text()
                decision = Decision(Event(state.step, "verdict", heard.words, text, verdict=heard.verdict or ""))
            decisions.append(decision)
            if isinstance(decision.action, Rollback) and not rule.shadow:
                break  # the observation is of a branch that was given up
        return (self.changed(state, but=acted) if acted else state), tuple(decisions)

    def changed(self, state: PolicyState, but: Collection[int] = ()) -> PolicyState:
        """The state after the LR was changed, by rules `but` or by hand: evidence of another LR is forgotten."""
        rules = (m if i in but else self.rules[i].after_change(m) for i, m in enumerate(state.rules))
        return state._replace(rules=tuple(rules))

    def rolled_back(self, state: PolicyState) -> PolicyState:
        """The state after a snapshot was restored: evidence of the branch that was given up is forgotten."""
        rules = (rule.after_rollback(memory) for rule, memory in zip(self.rules, state.rules, strict=True))
        return state._replace(rules=tuple(rules))

    def _act(self, state: PolicyState, rule: Rule, text: str, heard: Heard) -> tuple[PolicyState, Decision]:
        before, words = self.lrs(state), heard.words
        action = rule.action
        after = state
        if isinstance(action, Stop):
            after = state._replace(stopped=True)
        elif isinstance(action, Begin):
            after, note = self._begin(state, action.schedule)
            words += note
        elif action is not None:
            by = heard.by if len(heard.by) == len(before) else (heard.by or (1.0,)) * len(before)
            acts = [Scale(k) for k in by] if isinstance(action, Follow) else [action] * len(before)
            wanted = (act.gain(g, lr) for act, g, lr in zip(acts, state.gains, before, strict=True))
            gains = tuple(rule.bounded(g, want) for g, want in zip(state.gains, wanted, strict=True))
            after = state._replace(gains=gains)
        if isinstance(action, Rollback):
            action = replace(action, since=heard.since)
            if ramp := action.ramp(state.step, self.horizon):
                after = after._replace(ramp=ramp)
                words += f"; warms up again over {ramp.length} steps"
        event = Event(
            step=state.step,
            kind="shadow" if rule.shadow else "rule",
            rule=text,
            action=action.text() if action is not None else "",
            lr_before=before,
            lr_after=self.lrs(after),
            words=words,
            verdict=heard.verdict or "",
        )
        return state if rule.shadow else after, Decision(event, action)

    def _begin(self, state: PolicyState, schedule: Schedule) -> tuple[PolicyState, str]:
        """The state with `schedule` begun at the next update, and a note if it had to be shrunk."""
        left = None if self.total is None else max(self.total - state.step, 1)
        extent = schedule.extent(self._context)
        if isinstance(extent, Fraction):
            needed = whole_steps(extent)
            length: int | None = needed
        else:
            needed = least_steps(schedule, self._context)
            length = left if extent is Extent.FILLING else None
        note = ""
        if left is not None and needed > left:
            note = f"; {schedule!r} needs {needed} steps and was shrunk to the {left} left"
            length = left
        start = tuple(float(column[0]) for column in self.factors(state._replace(ramp=None), state.step))
        return state._replace(begun=Begun(schedule, state.step, start, length)), note


def _moved(event: Event) -> bool:
    """Whether the LR is another: less than 5 % is what schedules do all the time, and some rules at every update."""
    return any(abs(b - a) > MOVED * a for a, b in zip(event.lr_before, event.lr_after, strict=True))


@dataclass
class Track:
    """One policy over the groups it governs, for one hyperparameter, and where it stands."""

    target: str
    groups: tuple[int, ...]
    plan: Plan
    state: PolicyState

    def values(self, group: int, steps: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
        """The values of a group at steps from now on, as if no rule fired."""
        k = self.groups.index(group)
        low, high = self.plan.bounds(k)
        values = self.plan.bases[k] * self.plan.factors(self.state, steps)[k] * self.state.gains[k]
        if low is None and high is None:
            return values
        return np.where(np.asarray(steps) < self.plan.warmup, values, np.clip(values, low, high))


def end_of(tracks: Sequence[Track]) -> int | None:
    """The step at which a run is over: at once if a rule has stopped it, else when all its LRs have come to their end.

    Other hyperparameters have no say, unless nothing governs the LR.
    """
    if any(track.state.stopped for track in tracks):
        return 0
    deciding = [track for track in tracks if track.target == "lr"] or tracks
    ends = [track.plan.end(track.state) for track in deciding]
    return None if None in ends else max((end for end in ends if end is not None), default=None)


@ft.lru_cache(maxsize=64)  # a begun plan is a value in the state; its curves are made once
def _curves(
    schedule: Schedule, horizon: Horizon, bases: tuple[float, ...], starts: tuple[float, ...], length: int | None
) -> tuple[Curve, ...]:
    """One curve a group; groups share it unless it depends on their base LR or their start."""
    made: dict[tuple[float, float], Curve] = {}
    for base, start in zip(bases, starts, strict=True):
        key = (base if schedule.absolute else 0.0, start)
        if key not in made:
            made[key] = schedule.resolve(horizon, lr=base, start=start, length=length)
    return tuple(made[base if schedule.absolute else 0.0, start] for base, start in zip(bases, starts, strict=True))
