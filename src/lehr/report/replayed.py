"""What the picture of a replay holds: numbers as the rules read them, marks where they act, lanes of their verdicts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lehr.replay import Replay
from lehr.report.panels import LOG_FROM, robust_range
from lehr.report.thin import smoothed
from lehr.report.wording import count, event_sentence

__all__ = ["ACTS", "BAD", "SHADOW", "Lane", "Mark", "Number", "Reach", "lanes", "marks", "numbers", "reach", "summary"]

ACTS, SHADOW, BAD = "acts", "would act (shadow)", "not finite"
SMOOTH_FROM = 40  # values; fewer are drawn as they are
Floats = NDArray[np.float64]


class Number(NamedTuple):
    """A number that was recorded, as it is drawn."""

    name: str
    best: str
    steps: Floats
    values: Floats
    mean: tuple[Floats, Floats] | None  # steps and running mean; none of a few values
    bad: Floats  # the steps at which it was not finite


class Mark(NamedTuple):
    """Something that happened, at a step or in a row of steps."""

    kind: str
    first: int
    last: int
    words: str


class Lane(NamedTuple):
    """The verdicts of a rule."""

    label: str
    spans: list[tuple[int, int, str]]  # first step, last step, verdict


class Reach(NamedTuple):
    """The range of a number's axis."""

    low: float
    high: float
    log: bool


def numbers(replay: Replay) -> list[Number]:
    """The numbers that the rules read; the loss, if they read none and there is one."""
    best = {signal.name: signal.best for signal in replay.signals} or {"loss": "min"}
    return [_number(replay, name, direction) for name, direction in best.items() if name in replay.log.columns]


def _number(replay: Replay, name: str, best: str) -> Number:
    told = [(seen.step, seen.numbers[name]) for seen in replay.observations if name in seen.numbers]
    steps, values = np.array(told, dtype=np.float64).reshape(-1, 2).T
    fine = np.isfinite(values)
    x, y = steps[fine], values[fine]
    return Number(name, best, x, y, smoothed(x, y) if len(y) >= SMOOTH_FROM else None, steps[~fine])


def reach(number: Number) -> Reach:
    """The values to draw: bad ones far from the running mean are cut off; on a log axis if they change much."""
    if not len(number.values):
        return Reach(0.0, 1.0, False)
    mean = number.values if number.mean is None else number.mean[1]
    log = bool(number.values.min() > 0 and mean.max() / mean.min() > LOG_FROM)
    return Reach(*robust_range([number.values], mean, log, number.best), log)


def marks(replay: Replay, number: Number) -> list[Mark]:
    """Where rules that read the number act, and where it was not finite."""
    reading = {rule.text() for rule in replay.rules if _reads(rule.trigger.signals(), number.name)}
    kinds = {"rule": ACTS, "shadow": SHADOW}
    found = [
        Mark(kinds[event.kind], event.step, event.end, event_sentence(event))
        for event in replay.events
        if event.kind in kinds and event.rule in reading
    ]
    return found + [
        Mark(BAD, int(step), int(step), f"Step {step:g}: {number.name} is not finite") for step in number.bad
    ]


def _reads(signals: tuple[object, ...], name: str) -> bool:
    """A rule that reads nothing belongs to every number."""
    return not signals or any(getattr(signal, "name", None) == name for signal in signals)


def lanes(replay: Replay) -> list[Lane]:
    """A lane for each rule that gave a verdict; one at which it acted counts from there to the next step."""
    found = []
    for rule in dict.fromkeys(replay.rules):
        text = rule.text()
        spans = [(s.first, s.last, s.verdict) for s in replay.standings if s.rule == text]
        acted = [event for event in replay.events if event.kind in ("rule", "shadow") and event.rule == text]
        spans += [(event.step, event.end + 1, event.verdict) for event in acted if event.verdict]
        if spans:
            read = ", ".join(dict.fromkeys(signal.name for signal in rule.trigger.signals()))
            found.append((f"verdict: {read}", sorted(spans)))
    names = [name for name, _ in found]
    twice = {name for name in names if names.count(name) > 1}
    return [Lane(f"{name} {i}" if name in twice else name, spans) for i, (name, spans) in enumerate(found, 1)]


def summary(replay: Replay) -> str:
    """How often it would have acted, in a few words."""
    times = sum(event.times for event in replay.firings)
    shadows = sum(event.times for event in replay.of("shadow"))
    words = f"would have acted {count(times, 'time')}" if times else "would not have acted"
    return words + (f", in the shadow {count(shadows, 'time')}" if shadows else "")
