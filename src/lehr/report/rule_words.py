"""A rule as an English sentence, for where it cannot be drawn."""

from __future__ import annotations

from functools import singledispatch

from lehr.lengths import Length
from lehr.report.wording import short
from lehr.rules import Rule, Signal, Trigger
from lehr.rules.actions import Action, Begin, Relax, Saturate, Scale, Stop
from lehr.rules.diverges import Diverges
from lehr.rules.improves import ImprovesLessThan
from lehr.rules.plateaus import Plateaus
from lehr.rules.reaches import Reaches
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
    if isinstance(action, Begin):
        return f"begin {action.schedule!r}"
    return "stop the run" if isinstance(action, Stop) else repr(action)


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
    return f"{_name(trigger.signal)} has not improved in more than {_observations(trigger.patience)}{kind}"


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


def _observations(count: int) -> str:
    return "1 observation" if count == 1 else f"{count} observations"
