"""Checks of the rules: those that can never fire, those that always do, and those that change nothing.

What a signal will be is not known before the run, so that a threshold cannot be reached is never said; that there are
too few observations for a rule to fire is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction

from lehr.checks.row import Found
from lehr.checks.subject import Subject, steps_in
from lehr.lengths import whole_steps
from lehr.rules import Rule, Signal, Trigger
from lehr.rules.actions import Begin, Relax, Saturate, Scale, Stop
from lehr.rules.improves import ImprovesLessThan
from lehr.rules.plateaus import Plateaus
from lehr.rules.trigger import Always, And, Or
from lehr.schedules.schedule import Context

COLLAPSED = 1e-8  # of the LR: as for the underflow of a curve
GROWN = 10.0  # times the LR


def patience_longer_than_the_run(subject: Subject) -> Iterator[Found]:
    """A plateau that needs more observations than the run has."""
    for rule, trigger in _triggers(subject):
        if isinstance(trigger, Plateaus):
            most = _observations(subject, rule, trigger.signal)
            needed = trigger.fewest
            if most is not None and needed > most:
                yield Found(
                    f"{rule!r} can never fire: it needs {needed} observations of {trigger.signal.name!r}, and the run "
                    f"has at most {most} that it sees"
                )


def window_longer_than_half_the_run(subject: Subject) -> Iterator[Found]:
    """What `improves_less_than` must see before it can say anything does not fit into the run."""
    for rule, trigger in _triggers(subject):
        if isinstance(trigger, ImprovesLessThan):
            in_observations = trigger.window.unit == "observations"
            size = int(trigger.window.amount) if in_observations else steps_in(trigger.window, subject.horizon)
            most = _observations(subject, rule, trigger.signal if in_observations else None)
            needed = None if size is None else trigger.fewest(size)
            most = most if in_observations or most is None else most * (_cadence(subject) or 1)
            if needed is not None and most is not None and needed > most:
                unit = "observations" if in_observations else "steps"
                yield Found(
                    f"{rule!r} can never fire: it must see at least {needed} {unit}, and the run has at most {most} "
                    "that it sees"
                )


def cadence_longer_than_the_run(subject: Subject) -> Iterator[Found]:
    """No cadence point lies in the run."""
    total, every = subject.horizon.steps, _cadence(subject)
    if subject.policy.rules and total is not None and every is not None and every > total:
        yield Found(f"the rules hear of the run every {every} steps, and it has {total}: none can ever fire")


def never_awake(subject: Subject) -> Iterator[Found]:
    """A rule that sleeps through the run: `.after` beyond its end, or an evaluation that never comes."""
    for rule in subject.policy.rules:
        seen = [_observations(subject, rule, signal) for signal in rule.trigger.signals() or (None,)]
        total = subject.horizon.steps
        if total is not None and _first(subject, rule) < total and rule.not_before is None and not _evaluates(rule):
            continue
        warm = subject.planned.curve.warmup if subject.planned is not None else 0
        if seen and all(most == 0 for most in seen) and not (total is not None and warm >= total):
            yield Found(f"{rule!r} can never fire: nothing that it reads comes while it is awake in {total} steps")


def always_fires(subject: Subject) -> Iterator[Found]:
    """`always()` acts at every update, so that the LR collapses or explodes, or the run is over at once."""
    for rule in subject.policy.rules:
        most = _observations(subject, rule, None)
        if not most or not _always(rule.trigger):
            continue
        action, factor = rule.action, 1.0
        if isinstance(action, Stop | Begin) and rule.not_before is None:
            yield Found(f"{rule!r} fires at the first update that it sees", "add .after(length), such as .after('80%')")
        if isinstance(action, Scale):
            factor = action.k
        elif isinstance(action, Saturate | Relax):
            factor = min(1.0, action.eta) if isinstance(action, Saturate) else 1.0 - action.eta
        times = _firings(subject, rule, most)
        # In logarithms: 2 to the power of the steps of a run is beyond any float.
        grown = times * math.log(factor) if factor > 0 else -math.inf
        if grown < math.log(COLLAPSED) or grown > math.log(GROWN):
            reached = COLLAPSED if grown < 0 else GROWN
            needs = max(1, math.ceil(math.log(reached) / math.log(factor))) if factor > 0 else 1
            does = f"below {reached:g} of" if grown < 0 else f"above {reached:g} times"
            yield Found(f"{rule!r} fires {times} times and takes the LR {does} what is planned after {needs} of them")


def saturate_does_nothing(subject: Subject) -> Iterator[Found]:
    """η ≥ 1 + ε/α, so that min(1, η·α/(α + ε)) is 1."""
    for rule in subject.policy.rules:
        action = rule.action
        if not isinstance(action, Saturate) or action.eta < 1 or (action.eta == 1 and action.eps > 0):
            continue
        least = action.eps / (action.eta - 1.0) if action.eps else 0.0
        if least <= (1e-4 if subject.base is None else _peak(subject)):
            yield Found(f"{rule!r} does nothing: min(1, η·α/(α + ε)) is 1 at every LR α from {least:.3g} up")


def eps_near_the_lr(subject: Subject) -> Iterator[Found]:
    """ε is absolute, and not far below the LR."""
    for rule in subject.policy.rules:
        action = rule.action
        if not isinstance(action, Saturate | Relax) or subject.base is None:
            continue
        lr = subject.base if subject.planned is None else subject.planned.median
        if 0 < lr < 10 * action.eps:
            share = action.eta * lr / (lr + action.eps)
            yield Found(
                f"{rule!r} has an absolute ε of {action.eps:g} beside an LR of {lr:.3g} in the middle of the run, "
                f"where η·α/(α + ε) is {share:.3g} instead of {action.eta:g}"
            )


def without_effect(subject: Subject) -> Iterator[Found]:
    """A rule that cannot change the LR: a factor of 1, or a bound in its way."""
    run = subject.planned
    for rule in subject.policy.rules:
        action = rule.action
        if isinstance(action, Scale) and action.k == 1:
            yield Found(f"{rule!r} multiplies the LR by 1", "take a factor below 1 to lower the LR")
        elif run is None or subject.base is None or not isinstance(action, Scale | Saturate | Relax):
            continue
        elif subject.low is not None and subject.low >= run.peak and not (isinstance(action, Scale) and action.k > 1):
            yield Found(
                f"{rule!r} cannot lower the LR: min_lr={subject.low:g} and the LR is never above {run.peak:.3g}"
            )
        elif subject.high is not None and isinstance(action, Scale) and action.k > 1:
            least = float(run.values[run.steps >= run.curve.warmup].min(initial=math.inf))
            if subject.high <= least < math.inf:
                yield Found(f"{rule!r} cannot raise the LR: max_lr={subject.high:g}, and the LR is never below it")


def begun_longer_than_the_run(subject: Subject) -> Iterator[Found]:
    """A schedule to begin that is longer than the whole run."""
    total = subject.horizon.steps
    for rule in subject.policy.rules:
        if isinstance(rule.action, Begin) and total is not None:
            schedule = rule.action.schedule
            known = not any(subject.horizon.lacks(length) for length in schedule.lengths())
            extent = schedule.extent(Context(subject.horizon, lr=subject.base or 1.0)) if known else None
            if isinstance(extent, Fraction) and whole_steps(extent) > total:
                yield Found(
                    f"{rule!r} begins a schedule of {whole_steps(extent)} steps, more than the {total} of the run"
                )


def given_twice(subject: Subject) -> Iterator[Found]:
    """The same rule twice acts twice."""
    for rule, count in Counter(subject.policy.rules).items():
        if count > 1:
            yield Found(f"{rule!r} is given {count} times, and so acts {count} times")


def patience_in_batches(subject: Subject) -> Iterator[Found]:
    """The patience for a loss that is reported at every update is shorter than an epoch."""
    total, epoch = subject.horizon.steps, subject.horizon.steps_per_epoch
    span = epoch if epoch is not None else None if total is None else total // 100
    for rule, trigger in _triggers(subject):
        if isinstance(trigger, Plateaus) and trigger.signal.name == "loss" and span is not None:
            plain = trigger.signal.every is None and trigger.signal.span is None
            updates = trigger.patience * (_cadence(subject) or 1)
            if plain and updates < span:
                yield Found(
                    f"{rule!r} counts observations: {trigger.patience} of the loss are {updates} updates, if it is "
                    "reported at each"
                )


def patience_in_epochs(subject: Subject) -> Iterator[Found]:
    """The patience for a metric is as long as the run, if the metric comes once an epoch."""
    total, epoch = subject.horizon.steps, subject.horizon.steps_per_epoch
    if total is None or epoch is None or any(patience_longer_than_the_run(subject)):
        return
    for rule, trigger in _triggers(subject):
        if isinstance(trigger, Plateaus) and trigger.signal.name != "loss" and trigger.signal.every is None:
            epochs = total / epoch
            if trigger.patience >= epochs:
                yield Found(
                    f"{rule!r} waits for {trigger.patience} observations of {trigger.signal.name!r}, and the run has "
                    f"{epochs:.3g} epochs: reported once an epoch, it can never fire"
                )


def _triggers(subject: Subject) -> Iterator[tuple[Rule, Trigger]]:
    """Each rule with each trigger without which it cannot fire."""
    for rule in subject.policy.rules:
        for trigger in _needed(rule.trigger):
            yield rule, trigger


def _needed(trigger: Trigger) -> Iterator[Trigger]:
    """Both sides of `a & b`; neither of `a | b`."""
    if isinstance(trigger, And):
        yield from _needed(trigger.left)
        yield from _needed(trigger.right)
    elif not isinstance(trigger, Or):
        yield trigger


def _always(trigger: Trigger) -> bool:
    return isinstance(trigger, Always) or (
        isinstance(trigger, Or) and (_always(trigger.left) or _always(trigger.right))
    )


def _evaluates(rule: Rule) -> bool:
    return any(signal.every is not None for signal in rule.trigger.signals())


def _first(subject: Subject, rule: Rule) -> int:
    """The first step whose observations the rule sees."""
    warm = subject.planned.curve.warmup if subject.planned is not None else 0
    after = None if rule.not_before is None else steps_in(rule.not_before, subject.horizon)
    return max(warm, after or 0)


def _observations(subject: Subject, rule: Rule, signal: Signal | None) -> int | None:
    """The most observations that the rule can see: one at each update, of an evaluation or at the policy's cadence."""
    total, first = subject.horizon.steps, _first(subject, rule)
    if total is None:
        return None
    cadence = 1 if signal is None or signal.every is None else steps_in(signal.every, subject.horizon)
    if cadence is None or any(cadence_longer_than_the_run(subject)):
        return None
    cadence = max(cadence, _cadence(subject) or 1)
    most = max(total // cadence - first // cadence, 0)
    after = rule.not_before
    return max(most - int(after.amount), 0) if after is not None and after.unit == "observations" else most


def _cadence(subject: Subject) -> int | None:
    """The steps from one cadence point of the policy to the next, if they are known."""
    length = subject.policy.cadence
    return None if length is None else steps_in(length, subject.horizon)


def _firings(subject: Subject, rule: Rule, most: int) -> int:
    """How often a rule fires that always may."""
    pause = 0
    if rule.pause is not None:
        counted = rule.pause.unit == "observations"
        pause = int(rule.pause.amount) if counted else steps_in(rule.pause, subject.horizon) or 0
    times = -(-most // (pause + 1))
    return times if rule.limit is None else min(times, rule.limit)


def _peak(subject: Subject) -> float:
    return (subject.base or 0.0) if subject.planned is None else subject.planned.peak
