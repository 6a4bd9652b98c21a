"""A rule as an English sentence, for where it cannot be drawn."""

from __future__ import annotations

from functools import singledispatch

from lehr.lengths import Length, LengthLike, as_length
from lehr.report.wording import short
from lehr.rules import Rule, Signal, Trigger
from lehr.rules.actions import Action, Begin, Follow, Relax, Rollback, Saturate, Scale
from lehr.rules.derails import Derails
from lehr.rules.diverges import Diverges
from lehr.rules.greedy import Greedy
from lehr.rules.improves import ImprovesLessThan
from lehr.rules.levels import LevelsOff
from lehr.rules.plateaus import Plateaus
from lehr.rules.reaches import Reaches
from lehr.rules.slope import Stalls
from lehr.rules.spikes import Spikes
from lehr.rules.steers import Steers
from lehr.rules.sticks import Sticks
from lehr.rules.streak import Streak
from lehr.rules.trigger import Always, And, Or

__all__ = ["rule_in_words"]


def rule_in_words(rule: Rule) -> str:
    """What a rule does, as one sentence without its full stop.

    Example:
        >>> import lehr
        >>> rule_in_words(lehr.parse("when(loss.improves_less_than(0.01, 200)).scale(0.5)"))
        'when loss improves by less than 1 % over 200 steps, multiply the LR by 0.5'
    """
    deed = "do nothing" if rule.action is None else _deed(rule.action)
    return f"when {_condition(rule.trigger)}, {deed}{_limits(rule)}"


def _limits(rule: Rule) -> str:
    """When the rule may not act."""
    limits = [
        rule.not_before is not None and f"not in the first {rule.not_before.words()}",
        rule.pause is not None and f"then rest for {rule.pause.words()}",
        rule.limit is not None and ("once" if rule.limit == 1 else f"at most {rule.limit} times"),
        rule.bounds is not None and "keeping the gain within " + " and ".join(short(bound) for bound in rule.bounds),
        rule.literal and "each time anew",
    ]
    return "".join(f", {limit}" for limit in limits if limit)


def _deed(action: Action) -> str:
    if isinstance(action, Scale):
        return f"multiply the LR by {short(action.k)}"
    if isinstance(action, Saturate):
        return f"multiply the LR by min(1, {short(action.eta)}·LR/(LR + {short(action.eps)}))"
    if isinstance(action, Relax):
        return f"multiply the LR by 1 − {short(action.eta)}·LR/(LR + {short(action.eps)})"
    if isinstance(action, Follow):
        return "change the LR accordingly"
    if isinstance(action, Begin):
        return f"begin {action.schedule!r}"
    if isinstance(action, Rollback):
        to = {"older": "to before that began", "best": "to the best one", "start": "to the start"}[action.to]
        again = "" if action.rewarm is None else f", then warm up again over {action.rewarm.words()}"
        return f"go back {to} and multiply the LR by {short(action.scale)}{again}"
    return "stop the run" if action.weights == "last" else "stop the run with the best weights"


@singledispatch
def _condition(trigger: Trigger) -> str:
    """A trigger as a clause; its text, for one that has no words here."""
    return repr(trigger)


@_condition.register
def _(trigger: ImprovesLessThan) -> str:
    share = short(100 * trigger.improvement)
    return f"{_name(trigger.signal)} improves by less than {share} % over {trigger.window.words()}"


@_condition.register
def _(trigger: Reaches) -> str:
    again = "" if trigger.rearm is None else f" (again after falling back to {short(trigger.rearm)})"
    return f"{_name(trigger.signal)} reaches {short(trigger.threshold)}{again}"


@_condition.register
def _(trigger: Plateaus) -> str:
    kind = "" if trigger.flavor == "lehr" else f" (as {trigger.flavor} counts)"
    mean = "" if trigger.average == 1 else f", averaged over {_observations(trigger.average)},"
    what = "observation" if trigger.average == 1 else "mean"
    quiet = f", not counting {_many(trigger.cooldown, what)} after each time" if trigger.cooldown else ""
    return f"{_name(trigger.signal)}{mean} has not improved in more than {_many(trigger.patience, what)}{kind}{quiet}"


@_condition.register
def _(trigger: Derails) -> str:
    share = short(100 * trigger.lost)
    return (
        f"{_name(trigger.signal)} has lost {share} % of its progress for {_length(trigger.unrecovered)}, or is not "
        f"finite in {_observations(trigger.nonfinite)} in a row"
    )


@_condition.register
def _(trigger: Sticks) -> str:
    return f"{_name(trigger.signal)} is no better than it began for {_length(trigger.after)}, though it has moved"


@_condition.register
def _(trigger: Streak) -> str:
    return f"{_name(trigger.signal)} has improved on its best in {_observations(trigger.times)} in a row"


@_condition.register
def _(trigger: Greedy) -> str:
    times = trigger.patience
    return f"{_name(trigger.signal)} has improved more than {times} times in a row, or not (as transformers counts)"


@_condition.register
def _(trigger: Steers) -> str:
    return f"{_name(trigger.signal)} asks for 1 + {short(trigger.rate)}·{trigger.signal.name} times the LR"


@_condition.register
def _(trigger: Stalls) -> str:
    return f"no improvement of {_name(trigger.signal)} can be shown over {trigger.window.words()}"


@_condition.register
def _(trigger: LevelsOff) -> str:
    return f"{_name(trigger.signal)} grows more slowly than n^{short(trigger.slope)} with the steps n"


@_condition.register
def _(trigger: Spikes) -> str:
    return f"{_name(trigger.signal)} is {short(trigger.by)} standard deviations worse than usual"


@_condition.register
def _(trigger: Diverges) -> str:
    return f"{_name(trigger.signal)} is not finite"


@_condition.register
def _(_trigger: Always) -> str:
    return "an update is done"


@_condition.register
def _(trigger: And) -> str:
    return f"{_condition(trigger.left)} and {_condition(trigger.right)}"


@_condition.register
def _(trigger: Or) -> str:
    return f"{_condition(trigger.left)} or {_condition(trigger.right)}"


def _name(signal: Signal) -> str:
    smoothed = "" if signal.span is None else f", smoothed over {_observations(signal.span)},"
    every: Length | None = signal.every
    return f"{signal.name}{smoothed}" if every is None else f"{signal.name}{smoothed} (evaluated every {every.words()})"


def _length(length: LengthLike | Length) -> str:
    return as_length(length, "a length").words()


def _observations(count: int) -> str:
    return _many(count, "observation")


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
