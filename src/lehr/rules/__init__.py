"""Rules: the closed loop. A signal is read, a trigger decides, an action changes; all are values."""

from lehr.rules.actions import Action, Begin, Follow, Rollback, Scale, Stop
from lehr.rules.greedy_recipe import greedy, hypergradient
from lehr.rules.guard import guard
from lehr.rules.plateau_recipe import reduce_on_plateau
from lehr.rules.rule import Heard, Rule, RuleState, when
from lehr.rules.signals import Signal, evaluation, loss, metric
from lehr.rules.trigger import Observation, Trigger, always

__all__ = [
    "Action",
    "Begin",
    "Follow",
    "Heard",
    "Observation",
    "Rollback",
    "Rule",
    "RuleState",
    "Scale",
    "Signal",
    "Stop",
    "Trigger",
    "always",
    "evaluation",
    "greedy",
    "guard",
    "hypergradient",
    "loss",
    "metric",
    "reduce_on_plateau",
    "when",
]
