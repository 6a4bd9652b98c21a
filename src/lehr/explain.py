"""Why an LR is what it is, in words: pure functions of the plans in force and the journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lehr.errors import LehrError
from lehr.journal import Event, Journal
from lehr.plan import Track

__all__ = ["finished", "why_now", "why_then"]


def why_now(tracks: Sequence[Track], values: Mapping[str, Sequence[float]], step: int, events: Journal) -> str:
    """The next update: base × factor × gain, where in the plan, what last changed it, what rules say."""
    lines: list[str] = []
    for track in tracks:
        factors = [float(column[0]) for column in track.plan.factors(track.state, step)]
        for k, group in enumerate(track.groups):
            base, gain, value = track.plan.bases[k], track.state.gains[k], values[track.target][group]
            line = f"{track.target} {value:.6g} = base {base:.6g} × factor {factors[k]:.6g}"
            line += f" × gain {gain:.6g}" if gain != 1 else ""
            bounded = value != base * factors[k] * gain
            line += ", bounded by min_lr and max_lr" if bounded else ""
            if line not in (text.split(" (")[0] for text in lines):
                lines.append(f"{line} ({_where(track, k, step)})")
    return "\n".join([*lines, *_journaled(step, events.last_change, events)])


def why_then(step: int, now: int, events: Journal) -> str:
    """An update in the past: the last change before it, and what each rule said of its signal then.

    Raises:
        LehrError: a step that is still to come.
    """
    if isinstance(step, bool) or not isinstance(step, int) or not 0 <= step < now:
        raise LehrError(f"why(step) must be an update from 0 to {now}, the next one, got {step!r}")
    if step < events.since:
        return f"update {step}: the journal is whole from step {events.since} on only; look into the trace"
    change = events.last_change_by(step)
    line = f"update {step}"
    if change is not None and change.end <= step:
        left = ", ".join(f"{value:.6g}" for value in dict.fromkeys(change.lr_after))
        line += f", {step - change.end} after the last change, which left the LR at {left}"
    return "\n".join([line, *_journaled(step, change, events)])


def finished(step: int, total: int | None) -> str:
    """How much of the schedule a run saw."""
    if total is None:
        return f"finished after {step} steps"
    if step < total:
        return f"finished at {100 * step / total:.3g} % of the schedule ({step} of {total} steps)"
    return f"finished the schedule of {total} steps"


def _journaled(step: int, change: Event | None, events: Journal) -> list[str]:
    none = "no rule has fired, nothing was changed by hand"
    if events.dropped:
        none = f"no change since step {events.since}; of what came before a trace tells"
    said = (f"verdict of {event.rule}: {event.verdict}, {event}" for event in events.verdicts(step))
    return [none if change is None else f"last change: {change}", *said]


def _where(track: Track, k: int, now: int) -> str:
    begun = track.state.begun
    step = now - begun.at if begun is not None else now
    curve = track.plan.curves[k]
    text = track.plan.policy.schedule.text()
    if begun is None and curve.parts:
        part = next((p for p in reversed(curve.parts) if p.start <= step), curve.parts[0])
        text = part.text
    elif begun is not None:
        text = f"{begun.schedule.text()}, begun at step {begun.at}"
    of = f" of {track.plan.total}" if track.plan.total is not None else ""
    ramp = track.state.ramp
    again = f", warming up again over {ramp.length} steps from {ramp.at}" if ramp and now < ramp.end else ""
    return f"step {now}{of}, in {text}{again}"
