"""Ladders: a cut for each of several thresholds."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from lehr.errors import LehrError
from lehr.rules.rule import Rule, when
from lehr.rules.signals import Signal
from lehr.schedules.schedule import number
from lehr.spelling import shown

__all__ = ["ladder"]


def ladder(signal: Signal, rungs: Mapping[float, float], **how: Any) -> list[Rule]:
    """A rule for each threshold of a signal: at `threshold` the LR is `factor` times what it was below all of them.

    Args:
        signal: what is read.
        rungs: threshold → factor, from the worst threshold to the best; the factors fall and are positive.
        how: `confidence=` or `sustained=` of `reaches`, for each rung.

    Returns:
        Rules for `Policy(rules=[...])`. Each fires once; each scales by the ratio of its factor to the one before, so
        that a signal which jumps over several rungs ends at the last one's factor.

    Raises:
        LehrError: no rungs, thresholds that do not rise towards better values, factors that do not fall, or `rearm=`.

    Example:
        >>> import lehr
        >>> accuracy = lehr.metric("accuracy", best="max")
        >>> for rule in lehr.ladder(accuracy, {0.90: 0.5, 0.95: 0.1}, sustained=2):
        ...     print(rule)
        when(metric('accuracy', best='max').reaches(0.9, sustained=2)).scale(0.5)
        when(metric('accuracy', best='max').reaches(0.95, sustained=2)).scale(0.2)

    Source: our choice.
    """
    if not isinstance(signal, Signal):
        raise LehrError(f"ladder(signal) must be a signal such as metric('accuracy', best='max'), got {shown(signal)}")
    if not isinstance(rungs, Mapping) or not rungs:
        raise LehrError(f"ladder(rungs) must be a dict of threshold → factor, such as {{0.9: 0.5}}, got {shown(rungs)}")
    steps = [(number(t, "a threshold of ladder(...)"), number(f, "a factor of ladder(...)")) for t, f in rungs.items()]
    for (worse, before), (better, after) in pairwise(steps):
        if not (better > worse if signal.best == "max" else better < worse):
            raise LehrError(f"the thresholds of ladder(...) must go from worse to better, got {worse!r}, {better!r}")
        if not after < before:
            raise LehrError(f"the factors of ladder(...) must fall from rung to rung, got {before!r}, {after!r}")
    if "rearm" in how:
        raise LehrError(
            "ladder(...) takes no rearm=: a rung that fires again would scale again; write the rules singly"
        )
    factors = [1.0, *(factor for _, factor in steps)]
    if min(factors) <= 0:
        raise LehrError(f"the factors of ladder(...) must be positive, got {min(factors)!r}")
    ratios = [float(f"{after / before:.12g}") for before, after in pairwise(factors)]  # 0.1/0.5 is to print as 0.2
    return [when(signal.reaches(t, **how)).scale(k) for (t, _), k in zip(steps, ratios, strict=True)]
