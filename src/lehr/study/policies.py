"""The policies that every comparison holds: a control, the six methods, and three recipes of today.

Each is set as a practitioner would set it before seeing the task: lengths in percent of the run, no number fitted to
a workload but the threshold, which the workload brings along. While a study trains, validation numbers are reported
as `val_loss` and `val_<metric>`; `evaluation("<metric>", ...)` is the same measurement, but Lehr itself asks for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import lehr
from lehr.errors import LehrError
from lehr.study.stats import CONTROL


@dataclass(frozen=True)
class NamedPolicy:
    """A policy with the label it goes by in tables."""

    label: str
    text: str


OPEN_LOOP = (
    NamedPolicy(CONTROL, "constant()"),
    # a tenth at 30, 60 and 90 % of the run: He et al., arXiv:1512.03385, divide by ten at plateaus
    NamedPolicy("step decay", "step_decay(every='30%', gamma=0.1)"),
    # to 1 % over the run; 0.95 an epoch comes to the same in 90 epochs
    NamedPolicy("exponential decay", "exponential(0.01, per='100%')"),
    # Loshchilov and Hutter, arXiv:1608.03983
    NamedPolicy("cosine decay", "cosine()"),
)
RECIPES = (
    # 5 % warm-up: Goyal et al., arXiv:1706.02677, take 5 of 90 epochs
    NamedPolicy("warm-up + cosine", "warmup('5%').then(cosine())"),
    # Hägele et al., arXiv:2405.18392: the last 20 % by 1 − sqrt
    NamedPolicy("WSD, 1-sqrt", "warmup('2%').then(hold()).then(one_minus_sqrt('20%'))"),
    # Defazio et al., arXiv:2310.07831
    NamedPolicy("linear to zero", "linear(to=0)"),
)
# torch's ReduceLROnPlateau and keras's ReduceLROnPlateau both cut to a tenth; half is the milder habit for a signal
# as noisy as the loss of single batches
LOSS_BASED = NamedPolicy("loss-based", "when(loss.improves_less_than(0.01, over='5%')).scale(0.5)")


def built_in(metric: str, best: Literal["min", "max"], threshold: float | None) -> tuple[NamedPolicy, ...]:
    """The built-in policies for a workload, in the order of the tables.

    Args:
        metric: Name of the workload's metric.
        best: Which direction of it is good.
        threshold: Value at which the metric- and the performance-based policy act; None leaves those two out.
    """
    return (*OPEN_LOOP, LOSS_BASED, *_at_threshold(metric, best, threshold), *RECIPES)


def _at_threshold(metric: str, best: str, threshold: float | None) -> tuple[NamedPolicy, ...]:
    if threshold is None:
        return ()
    reported = f"metric({'val_' + metric!r}, best={best!r})"
    evaluated = f"evaluation({metric!r}, every='2%', best={best!r})"
    return (
        NamedPolicy("metric-based", f"when({reported}.reaches({threshold!r})).scale(0.1)"),
        NamedPolicy("performance-based", f"when({evaluated}.reaches({threshold!r})).scale(0.1)"),
    )


def named(text: str) -> NamedPolicy:
    """A user's policy from `TEXT` or `LABEL=TEXT`; without a label, the text is the label.

    Raises:
        LehrError: The label is empty, or what follows it is no policy.
    """
    before, equals, after = text.partition("=")
    if not equals or "(" in before:
        return _readable(NamedPolicy(text.strip(), text.strip()))
    if not before.strip() or not after.strip():
        raise LehrError(f"policy must read TEXT or LABEL=TEXT, got {text!r}; for example 'mine=cosine(to=0.1)'")
    return _readable(NamedPolicy(before.strip(), after.strip()))


def _readable(policy: NamedPolicy) -> NamedPolicy:
    try:
        lehr.as_policy(policy.text)
    except LehrError as error:
        raise LehrError(f"policy {policy.label!r} must be one that Lehr can read: {error}") from error
    return policy
