"""Checks of what a schedule says: units of its decay, factors that look like LRs, what its run must know."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lehr.checks.row import Found
from lehr.checks.subject import Subject, leaves, steps_in
from lehr.lengths import Length
from lehr.schedules import Schedule
from lehr.schedules.algebra import Sequence, Together, kind
from lehr.schedules.schedule import Extent
from lehr.schedules.shape import Shape

FACTORS = ("to", "start", "value", "low")  # arguments of shapes that are factors of the base LR


def not_enough_known(subject: Subject) -> Iterator[Found]:
    """The checks against a run were left out, as too little is known of it."""
    facts = subject.missing
    if facts:
        yield Found(
            f"{subject.policy.schedule!r} was not looked at over a run, as {' and '.join(facts)} "
            f"{'is' if len(facts) == 1 else 'are'} not known",
            f"give {' and '.join(f'{fact}=' if fact in ('steps', 'lr') else f'Horizon({fact}=...)' for fact in facts)}",
        )


def not_resolvable(subject: Subject) -> Iterator[Found]:
    """The schedule has no curve in this run."""
    if subject.obstacle:
        yield Found(f"the schedule cannot be resolved for this run: {subject.obstacle}")


def decay_per_batch(subject: Subject) -> Iterator[Found]:
    """A decay that counts steps with numbers that suit epochs."""
    run, horizon = subject.planned, subject.horizon
    total, epoch = horizon.steps, horizon.steps_per_epoch
    if total is None or (run is not None and float(run.curve(total - 1)) > 0.02 * run.top):  # before any bounds
        return
    epochs = None if epoch is None else total / epoch
    spans = [] if epoch is None else [(float(epoch), 1e-3, f"one epoch of {epoch} steps")]
    spans.append((total / 10, 1e-8, f"a tenth of the run of {total} steps"))
    for shape, pace in leaves(subject.policy.schedule):
        for steps, least, words in spans:
            falls = _fall(shape, steps / pace)
            if falls is not None and falls < least and _suits_epochs(shape, epochs):
                reason = f"{shape!r} counts steps: {words} takes the LR down to {falls:.2g} of what it was"
                yield Found(reason, _cure(shape))
                break
        last = _last_drop(shape)
        if last is not None and last * pace <= max(total / 100, min(total / 20, epochs or 0)):
            after = 100 * last * pace / total
            yield Found(
                f"{shape!r} counts steps: its last drop comes at step {last * pace:.0f} of {total}, "
                f"after {after:.2g} % of the run",
                _cure(shape),
            )


def drop_beyond_the_run(subject: Subject) -> Iterator[Found]:
    """A drop at a step that the run does not reach."""
    total = subject.horizon.steps
    for shape, pace in leaves(subject.policy.schedule):
        drops = [(length, steps_in(length, subject.horizon)) for length in _drops(shape)]
        beyond = [(length, round(steps * pace)) for length, steps in drops if steps is not None]
        beyond = [(length, steps) for length, steps in beyond if total is not None and steps >= total]
        if beyond:
            length, steps = beyond[0]
            at = f"{length.words()!r}, step {steps}," if length.unit != "steps" else f"step {steps}"
            yield Found(f"{shape!r} drops the LR at {at} but the run has only {total} steps")


def factor_like_an_lr(subject: Subject) -> Iterator[Found]:
    """A factor of the base LR so small that an LR was probably meant; not beside a start that is a factor."""
    shapes = [shape for shape, _ in leaves(subject.policy.schedule)]
    if any((dict(shape.arguments).get("start") or 0.0) >= 1e-4 for shape in shapes):
        return
    for shape in shapes:
        for name, value in shape.arguments:
            if name in FACTORS and isinstance(value, float) and 0 < value < 1e-4 and not _rises(name, value, shape):
                lr = "" if subject.base is None else f": an LR of {value * subject.base:.2g}"
                yield Found(
                    f"{shape!r} has {name}={value:g}, which is a factor of the base LR{lr}",
                    "did you mean to_lr=? It is an LR; to= is a factor"
                    if name == "to"
                    else f"{name}= is a factor of the base LR; divide the LR that you mean by the base LR",
                )


def end_above_base(subject: Subject) -> Iterator[Found]:
    """An absolute end that lies above the base LR."""
    for shape, _ in leaves(subject.policy.schedule):
        end = dict(shape.arguments).get("to_lr")
        if subject.base and isinstance(end, float) and end > subject.base:
            yield Found(f"{shape!r} goes up to an LR of {end:g}, the base LR is {subject.base:g}")


def _rises(name: str, value: float, shape: Shape) -> bool:
    """Whether this is the start of a rise from almost nothing, as in a test of the range of the LR."""
    return name == "start" and (dict(shape.arguments).get("to") or 0.0) > value


def _fall(shape: Shape, steps: float) -> float | None:
    """What is left of the LR after so many steps, of a decay that counts steps."""
    arguments: dict[str, Any] = dict(shape.arguments)
    gamma = arguments.get("gamma", 1.0)
    if shape.name == "compounding":
        return float(gamma ** (steps * (steps + 1) / 2))
    period = arguments.get({"exponential": "per", "step_decay": "every"}.get(shape.name, ""))
    if not isinstance(period, Length) or period.unit != "steps":
        return None
    count = steps / float(period.amount)
    return float(gamma ** (count // 1 if shape.name == "step_decay" else count))


def _suits_epochs(shape: Shape, epochs: float | None) -> bool:
    """Whether the decay would be a sensible one if it counted the run's epochs."""
    if epochs is None:
        return True
    falls = _fall(shape, epochs)
    return falls is not None and 1e-8 < falls < 0.99


def _drops(shape: Shape) -> list[Length]:
    """When a shape of stairs changes, as far as it says so."""
    arguments: dict[str, Any] = dict(shape.arguments)
    if shape.name == "multistep":
        return list(arguments["milestones"])
    if shape.name == "piecewise":
        return [length for length, _ in arguments["values"]]
    return [arguments["every"]] if shape.name == "step_decay" else []


def _last_drop(shape: Shape) -> float | None:
    """The step of the last drop, if all are told in steps and there are several."""
    drops = _drops(shape)
    if len(drops) < 2 or any(length.unit != "steps" for length in drops):
        return None
    return max(float(length.amount) for length in drops)


def _cure(shape: Shape) -> str:
    arguments: dict[str, Any] = dict(shape.arguments)
    if shape.name == "exponential":
        per = arguments["per"].amount
        return f'write per="{per} epoch{"s" * (per != 1)}"'
    if shape.name == "step_decay":
        return f'write every="{arguments["every"].amount} epochs"'
    if shape.name == "compounding":
        return 'compounding has no unit but steps; use exponential(gamma, per="1 epoch") instead'
    return f'write the lengths with their unit, such as "{_drops(shape)[-1].amount} epochs"'


def endless_member_stands_still(subject: Subject) -> Iterator[Found]:
    """A product or sum that ends with its longest fixed member, and its endless one with it, long before the run."""
    run, last = subject.planned, subject.policy.schedule
    if isinstance(last, Sequence):
        last = last.members[-1]
    if run is None or run.curve.length is None or not isinstance(last, Together):
        return
    still = [member for member in last.members if kind(member) is Extent.ENDLESS and not _is_constant(member)]
    if still and run.curve.length < 0.99 * run.total:
        yield Found(
            f"in {last!r} the endless {still[0]!r} stands still from step {run.curve.length} of {run.total} on, "
            "where the longest fixed member ends",
            "let that member go on for ever: (....then(hold())) instead of it",
        )


def _is_constant(schedule: Schedule) -> bool:
    return isinstance(schedule, Shape) and schedule.name == "constant"
