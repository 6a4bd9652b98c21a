"""Rules: the closed loop. A signal is read, a trigger decides, an action changes; all are values."""

from lehr.rules.actions import Action, Begin, Stop
from lehr.rules.rule import Heard, Rule, RuleState, when
from lehr.rules.signals import Signal, evaluation, loss, metric
from lehr.rules.trigger import Observation, Trigger, always

__all__ = [
    "Action",
    "Begin",
    "Heard",
    "Observation",
    "Rule",
    "RuleState",
    "Signal",
    "Stop",
    "Trigger",
    "always",
    "evaluation",
    "loss",
    "metric",
    "when",
]
