"""What a run remembers, as JSON-plain data: numbers, texts, lists and dicts; no NaN, no callables.

Hyperparameters are saved once, as the policy's full text; all else is position and memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lehr.errors import LehrError
from lehr.journal import Event
from lehr.lengths import Horizon
from lehr.plan import Begun, Track
from lehr.rules import Rule
from lehr.rules.actions import Ramp
from lehr.schedules import Schedule
from lehr.text import read_back

__all__ = ["SCHEMA", "Remembered", "carry_over", "check", "facts", "last_decisions", "read", "remembered", "save"]

SCHEMA = 1
NEEDED = {"schema", "policy", "horizon", "step", "bases", "values", "last", "tracks", "reported", "decisions"}


def save(track: Track) -> dict[str, Any]:
    """A track as plain data."""
    policy = track.plan.policy
    return {
        "target": track.target,
        "groups": list(track.groups),
        "schedule": policy.schedule.text(full=True),
        "gains": list(track.state.gains),
        "begun": _plain_begun(track.state.begun),
        "stopped": track.state.stopped,
        "ramp": None if track.state.ramp is None else list(track.state.ramp),
        "rules": [
            {"text": rule.text(full=True), "memory": _plain(memory)}
            for rule, memory in zip(policy.rules, track.state.rules, strict=True)
        ],
    }


@dataclass(frozen=True)
class Remembered:
    """What a track remembers, for one that takes its place."""

    target: str
    groups: tuple[int, ...]
    schedule: Schedule
    gains: tuple[float, ...]
    begun: Begun | None
    stopped: bool
    rules: tuple[tuple[Rule, Any], ...]  # each with its memory, as the plan has it or as plain data
    ramp: Ramp | None


def remembered(track: Track) -> Remembered:
    """The memory of a running track."""
    policy, state = track.plan.policy, track.state
    rules = tuple(zip(policy.rules, state.rules, strict=True))
    fields = (policy.schedule, state.gains, state.begun, state.stopped, rules, state.ramp)
    return Remembered(track.target, track.groups, *fields)


def read(plain: Mapping[str, Any]) -> Remembered:
    """The memory of a saved track."""
    rules = tuple((read_back(item["text"]), item["memory"]) for item in plain["rules"])
    return Remembered(
        plain["target"],
        tuple(plain["groups"]),
        read_back(plain["schedule"]),
        tuple(plain["gains"]),
        _read_begun(plain["begun"]),
        bool(plain["stopped"]),
        rules,
        Ramp(*plain["ramp"]) if plain.get("ramp") else None,
    )


def carry_over(track: Track, before: Sequence[Remembered], step: int, same: bool) -> None:
    """Give a track what those before it of its target remember, wherever that still means something.

    Gains stay with their groups, as does a warm-up after a rollback; memory stays with its rule, a begun plan with its
    schedule (one that fills takes what is left of the run now). A stop only stays where the run is the `same`: whoever
    changes the plan wants to go on.
    """
    state = track.state._replace(step=step)
    gains = dict(zip(track.groups, state.gains, strict=True))
    memories = list(state.rules)
    free: list[Rule | None] = list(track.plan.policy.rules)
    for old in before:
        if old.target != track.target or gains.keys().isdisjoint(old.groups):
            continue
        state = state._replace(ramp=old.ramp)
        gains |= {g: gain for g, gain in zip(old.groups, old.gains, strict=True) if g in gains}
        for rule, memory in old.rules:
            if rule in free:
                i = free.index(rule)
                free[i] = None  # taken: an equal rule has a memory of its own
                memories[i] = _read(memories[i], memory) if isinstance(memory, Mapping) else memory
        if old.groups == track.groups and old.schedule == track.plan.policy.schedule:
            begun = None if old.begun is None else track.plan.fitted(old.begun)
            state = state._replace(begun=begun, stopped=old.stopped and same)
    track.state = state._replace(gains=tuple(gains[g] for g in track.groups), rules=tuple(memories))


def check(state: Mapping[str, Any], groups: int) -> None:
    """Refuse what is no state of this run.

    Raises:
        LehrError: not a state of Lehr's, of a later version, or for another number of parameter groups.
    """
    missing = sorted(NEEDED - set(state)) if isinstance(state, Mapping) else sorted(NEEDED)
    if missing:
        raise LehrError(f"this is not a state that Lehr saved: it lacks {', '.join(missing)}")
    if state["schema"] > SCHEMA:
        schema = state["schema"]
        raise LehrError(f"this state was saved by a later Lehr (schema {schema}, known is {SCHEMA}); update Lehr")
    saved = len(state["bases"]["lr"])
    if saved != groups:
        raise LehrError(f"the saved run had {saved} parameter groups, this one has {groups}; build the same ones first")


def last_decisions(events: Sequence[Event]) -> list[Event]:
    """The last event of each rule and kind, in order."""
    last = {(event.kind, event.rule): event for event in events}
    return [event for event in events if last[event.kind, event.rule] is event]


def facts(horizon: Horizon) -> str:
    """What a horizon knows, in words."""
    known = {name: value for name, value in asdict(horizon).items() if value is not None}
    return ", ".join(f"{name}={value}" for name, value in known.items()) or "none"


def _plain_begun(begun: Begun | None) -> dict[str, Any] | None:
    if begun is None:
        return None
    return {**begun._asdict(), "schedule": begun.schedule.text(full=True), "start": list(begun.start)}


def _read_begun(plain: Mapping[str, Any] | None) -> Begun | None:
    if plain is None:
        return None
    return Begun(read_back(plain["schedule"]), plain["at"], tuple(plain["start"]), plain["length"])


def _plain(memory: Any) -> Any:
    """A NamedTuple of plain numbers as a dict; a plain tuple as a list."""
    if not isinstance(memory, tuple):
        return memory
    if not hasattr(memory, "_fields"):
        return [_plain(item) for item in memory]
    return {name: _plain(getattr(memory, name)) for name in memory._fields}


def _read(template: Any, plain: Any) -> Any:
    """The inverse of `_plain`, with a fresh memory as the template; what was not saved then is fresh."""
    if isinstance(plain, list):
        return tuple(_read(None, item) for item in plain)
    if not isinstance(template, tuple) or not isinstance(plain, Mapping):
        return plain
    fresh: dict[str, Any] = template._asdict()  # type: ignore[attr-defined]  # each is a NamedTuple
    return type(template)(**{name: _read(value, plain.get(name, _plain(value))) for name, value in fresh.items()})
