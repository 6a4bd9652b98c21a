"""Replay: any policy over what a recorded run reported, exactly as a controller would have heard it."""

from __future__ import annotations

import difflib
import itertools
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lehr.controller import Controller
from lehr.errors import LehrError, LehrWarning
from lehr.journal import Event
from lehr.lengths import Horizon, as_horizon
from lehr.logs import read_trace
from lehr.player import Player, Standing
from lehr.policy import PolicyLike, tracks
from lehr.rules import Observation, Rule, Signal
from lehr.text import as_policy
from lehr.trace import RESERVED, Column, Trace

__all__ = ["Replay", "replay"]

_LR = re.compile(r"lr(\.\d+)?")
_GIVEN = re.compile(r"step|lr(\.\d+)?")  # columns that are no reports
SAME = 5e-3  # relative: two LRs as near as this are one, as many logs round to three digits


@dataclass(frozen=True)
class Replay:
    """What a policy would have done in a recorded run; `print` it.

    Attributes:
        trace: what would have been: the policy's LR at every step, what it heard, and its events.
        log: what was recorded.
        policy: what was replayed.
        rules: those of the policy, of all groups.
        standings: which verdict each rule gave, and for how long.
        notes: what must be known to read it: where the base LR comes from, and where the log ends before or after.
    """

    trace: Trace
    log: Trace
    policy: PolicyLike
    rules: tuple[Rule, ...]
    standings: tuple[Standing, ...]
    notes: tuple[str, ...]

    @property
    def signals(self) -> tuple[Signal, ...]:
        """What the rules read."""
        return tuple(dict.fromkeys(signal for rule in self.rules for signal in rule.trigger.signals()))

    @property
    def events(self) -> list[Event]:
        """All events, in order."""
        return self.trace.events

    @property
    def firings(self) -> list[Event]:
        """The events at which a rule acted."""
        return self.of("rule")

    def of(self, kind: str) -> list[Event]:
        """The events of a kind: "rule", "shadow", "verdict" or "warning"."""
        return [event for event in self.events if event.kind == kind]

    @property
    def observations(self) -> list[Observation]:
        """What the log tells, in order."""
        return _told(self.log)

    @property
    def recorded_lr(self) -> Column:
        """The LR of the first group that was recorded, at every step of `trace`: the last one known there."""
        return self._at_steps(self.log.columns.get("lr", np.array([])), self.log.columns["step"])

    @property
    def parts_at(self) -> int | None:
        """The first step at which the LR is not the recorded one, as far as that is known; None if it always is.

        Where the LR was recorded now and then, that is the first action since it was last the same.
        """
        log, steps = self.log.columns, self.trace.columns["step"]
        known = np.isfinite(log.get("lr", np.full(len(log["step"]), np.nan)))
        both, here, there = np.intersect1d(steps, log["step"][known], return_indices=True)
        ours, recorded = self.trace.columns["lr"][here], log["lr"][known][there] if known.any() else np.array([])
        off = np.flatnonzero(np.abs(ours - recorded) > SAME * np.maximum(np.abs(ours), np.abs(recorded)))
        first = off[0] if len(off) else len(both)
        same_until = both[first - 1] if first else -1
        parted = both[first] if len(off) else steps[-1] if len(steps) else -1
        acted = (event.step for event in self.firings if same_until < event.step <= parted)
        return next(acted, int(parted) if len(off) else None)

    def words(self) -> list[str]:
        """What came out, as sentences: the actions, the caveat, the notes."""
        acted, shadows, told = self.firings, self.of("shadow"), self.of("verdict")
        lines = [f"would have acted {_times(acted)}{':' if acted else ''}", *(f"  {event}" for event in acted)]
        if shadows:
            lines += [f"rules in the shadow would have acted {_times(shadows)}:", *(f"  {e}" for e in shadows)]
        if told:
            lines += [f"verdicts changed {_times(told)}:", *(f"  {event}" for event in told)]
        lines += [f"warning: {event}" for event in self.of("warning")]
        return [*lines, *self.caveats()]

    def caveats(self) -> list[str]:
        """What the replay cannot know, and the notes."""
        parts = self.parts_at
        if parts is None:
            return list(self.notes)
        caveat = (
            f"from step {parts} on the LR is another than the recorded one, and what was recorded belongs to that: "
            "what the rules say later shows how they read such a run, not what this one would have become"
        )
        return [caveat, *self.notes]

    def __str__(self) -> str:
        """All of it."""
        return "\n".join(self.words())

    def _at_steps(self, values: Column, steps: Column) -> Column:
        known = np.isfinite(values)
        places = np.searchsorted(steps[: len(values)][known], self.trace.columns["step"], side="right") - 1
        return np.where(places >= 0, np.append(values[known], np.nan)[places], np.nan)


def replay(
    log: Trace | str | Path,
    policy: PolicyLike | str | None = None,
    *,
    lr: float | Sequence[float] | None = None,
    steps: int | None = None,
    horizon: Horizon | None = None,
    names: Sequence[str] | None = None,
    columns: Mapping[str, str] | None = None,
) -> Replay:
    """Run a policy over a log: what it would have done, and when.

    The rules hear what was reported, at the step at which it was; where a log says nothing of a step, they hear
    nothing. The replay of a trace of Lehr with its own policy comes to its own decisions, to the last bit. A signal
    `evaluation(name, every=)` hears, at its cadence, the last value reported since it heard one, if there is any. The
    replay ends with the log, or where the policy ends the run.

    Args:
        log: a trace, or the path of any log that `lehr.read_trace` reads.
        policy: a policy, schedule, rule or text; None: the one that the log names.
        lr: the base LR, one number or one per group. Default: as the header says, else the largest recorded one, else
            1. (The first one recorded is no base where there was a warm-up.)
        steps: updates in the run; or `horizon`. Default: as the header says, else to the last recorded step.
        horizon: the facts of the run; those that it lacks are taken from the header.
        names: of the groups, for `groups(head=...)`.
        columns: name → column of the log, as in `lehr.read_trace`; only with a path.

    Raises:
        LehrError: the log cannot be read, no policy is given or named, the policy reads what the log lacks, or the
            policy cannot run.

    Example:
        >>> import lehr
        >>> losses = [1.0, 0.6, 0.4, 0.35, 0.35, 0.35, 0.34, 0.34]
        >>> log = lehr.simulate("constant()", lr=0.1, steps=8, observations={"loss": losses})
        >>> again = lehr.replay(log, "when(loss.plateaus(1, margin=0.05)).scale(0.5)")
        >>> [event.step for event in again.firings], again.trace.columns["lr"].tolist()
        ([6], [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.05, 0.05])
    """
    if isinstance(log, Trace) and columns is not None:
        raise LehrError("replay(columns=...) names columns of a file; give the log's path, or rename trace.columns")
    trace = log if isinstance(log, Trace) else read_trace(log, columns=columns)
    chosen = as_policy(_named(trace) if policy is None else policy)
    seen = _told(trace)
    if not seen:
        raise LehrError("the log holds no step; replay needs at least one")
    for before, after in itertools.pairwise(seen):
        if after.step < before.step + (before.applied and after.applied):
            raise LehrError(f"the steps of a log must increase, got {after.step} after {before.step}")
    bases, origin = _bases(trace, lr)
    facts, notes = _horizon(trace, seen, steps, horizon)
    if names is not None and len(names) != len(bases):
        raise LehrError(f"replay(names=...) has {len(names)} names for the {len(bases)} groups of the log")
    groups = [{"name": name, "lr": base} for name, base in zip(names or [""] * len(bases), bases, strict=True)]
    governed = tracks(chosen, groups)
    rules = tuple(rule for _, part, _ in governed for rule in part.rules)
    signals = [signal for rule in rules for signal in rule.trigger.signals()]
    if policy is not None:  # what the run itself was never told is no mistake here
        _refuse_unknown(signals, seen, trace)
    run = Controller(
        chosen,
        {target: (1.0,) * len(bases) for target, _, _ in governed} | {"lr": bases},  # all but LRs are seen as factors
        facts,
        evaluate={signal.name: _no_evaluation for signal in signals},
        groups=groups,
        carry_out=lambda action, event: "in a replay nothing is restored",
    )
    player = Player(run, own=_is_own(trace))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LehrWarning)  # the journal has them
        player.play(seen)
    header = {"policy": run.policy.text(full=True), "groups": len(bases), "base_lrs": list(bases)}
    header["horizon"] = {name: value for name, value in asdict(run.horizon).items() if value is not None}
    would = Trace(header, player.columns(), list(run.events))
    return Replay(would, trace, chosen, rules, tuple(player.standings()), (origin, *notes, *player.notes))


def _is_own(trace: Trace) -> bool:
    """Whether Lehr has recorded it."""
    return "lehr" in trace.header


def _no_evaluation() -> float:
    raise LehrError("a replay evaluates nothing")


def _named(trace: Trace) -> str:
    text = trace.header.get("policy")
    if not isinstance(text, str):
        raise LehrError("the log names no policy; say which one to replay: replay(log, policy), or --policy in a shell")
    return text


def _told(trace: Trace) -> list[Observation]:
    """What was reported; of a trace that was not read from a file its rows, in which a NaN is none."""
    if trace.observations:
        return trace.observations
    names = {name: name[:-1] if name[:-1] in RESERVED else name for name in trace.columns if not _GIVEN.fullmatch(name)}
    return [
        Observation(int(step), {name: float(v) for name, v in zip(names.values(), row, strict=True) if v == v}, True)
        for step, *row in zip(trace.columns.get("step", ()), *(trace.columns[name] for name in names), strict=True)
    ]


def _bases(trace: Trace, lr: float | Sequence[float] | None) -> tuple[tuple[float, ...], str]:
    """The base LR of each group, and where it comes from."""
    if lr is not None:
        given = tuple(float(value) for value in (lr if isinstance(lr, Sequence | np.ndarray) else [lr]))
        if not given or not all(0 <= value < math.inf for value in given):
            raise LehrError(f"replay(lr=...) must be a finite number of at least 0, or one a group, got {lr!r}")
        return given, f"base LR {_listed(given)}, as given"
    if isinstance(trace.header.get("base_lrs"), list):
        recorded = tuple(map(float, trace.header["base_lrs"]))
        return recorded, f"base LR {_listed(recorded)}, as the log says"
    columns = [values for name, values in trace.columns.items() if _LR.fullmatch(name)]
    largest = tuple(float(v[np.isfinite(v)].max(initial=0.0)) for v in columns)
    if largest and all(largest):
        return largest, f"base LR {_listed(largest)}, the largest that was recorded"
    return (1.0,), "no LR was recorded: the base LR is 1, and LRs are factors of it"


def _horizon(
    trace: Trace, seen: Sequence[Observation], steps: int | None, horizon: Horizon | None
) -> tuple[Horizon, list[str]]:
    """The facts of the run: as given, else as the log says; its length, if nobody says it, is that of the log."""
    given = as_horizon(steps, horizon)
    logged = trace.header.get("horizon")
    facts = logged if isinstance(logged, dict) else {}
    found = replace(given, **{name: fact for name, fact in facts.items() if getattr(given, name, 0) is None})
    notes = []
    if _is_own(trace) and seen[0].step > 0:
        notes.append(f"the log begins at step {seen[0].step}; what was heard before is not known")
    if found.steps is not None:
        return found, notes
    length = seen[-1].step + bool(seen[-1].applied)
    return replace(found, steps=max(length, 1)), [
        *notes,
        f"the log does not say how long the run was; its {length} steps are taken",
    ]


def _refuse_unknown(signals: Sequence[Signal], seen: Sequence[Observation], trace: Trace) -> None:
    reported = dict.fromkeys(name for observation in seen for name in observation.numbers)
    about = trace.header.get("read", {})
    for signal in signals:
        if signal.name in about.get("left_out", ()):
            raise LehrError(
                f"the policy reads {signal.name!r}, and that column holds no numbers; they look like 0.5, with a point"
            )
        if signal.name not in reported:
            near = difflib.get_close_matches(signal.name, reported, n=1, cutoff=0.0)
            there = f"there are {', '.join(reported)}" if reported else "it holds no numbers"
            hint = f"; the nearest is {near[0]!r}: {_renamed(signal.name, near[0], about)}" if near else ""
            raise LehrError(f"the policy reads {signal.name!r}, which the log does not hold; {there}{hint}")


def _renamed(name: str, reported: str, about: Mapping[str, Any]) -> str:
    """How to say that the signal is what was reported under another name."""
    column = about.get("columns", {}).get(reported, reported)
    return f"columns={{{name!r}: {column!r}}}, or --column {name}={column!r} in a shell"


def _times(events: Sequence[Event]) -> str:
    count = sum(event.times for event in events)
    return "1 time" if count == 1 else f"{count} times"


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.6g}" for value in dict.fromkeys(values))
