"""The recipe of a guard: what rescues a run whose LR is far too high, and leaves all others alone."""

from __future__ import annotations

from lehr.errors import LehrError
from lehr.lengths import LengthLike
from lehr.rules.rule import Rule, when
from lehr.rules.signals import Signal, loss
from lehr.spelling import shown

__all__ = ["guard"]


def guard(
    signal: Signal = loss,
    *,
    scale: float = 0.5,
    stuck_scale: float = 0.25,
    retries: int = 6,
    stuck: LengthLike = "4%",
    lost: float = 0.5,
    unrecovered: LengthLike = "5%",
    smooth: LengthLike = "3%",
    rewarm: LengthLike | None = "5%",
) -> list[Rule]:
    """Two rules, slow to anger: back to the start from a run that sticks, to an older snapshot from one that derails.

    The same as `when(signal.sticks(stuck)).rollback(stuck_scale, to="start", rewarm=rewarm)` and
    `when(signal.derails(lost, unrecovered)).rollback(scale)`, each at most `retries` times. The adapter must hold
    snapshots: `lehr.torch.Scheduler(..., model=model, snapshots=True)`.

    Args:
        signal: what to watch: the training loss, which is reported at every update.
        scale: how much of the LR is left after a rollback, positive and at most 1.
        stuck_scale: the same for a run that sticks.
        retries: how often each rule may act.
        stuck: see `Signal.sticks`.
        lost: see `Signal.derails`.
        unrecovered: see `Signal.derails`.
        smooth: the window of a level, of both.
        rewarm: how long the LR rises again after a return to the start; None for not at all.

    Returns:
        the rules, for `Policy(schedule, rules=guard())` or `rules=[*guard(), other]`.

    Raises:
        LehrError: a number out of its range.

    Example:
        >>> import lehr
        >>> for rule in lehr.guard():
        ...     print(rule)
        when(loss.sticks()).rollback(0.25, to='start', rewarm='5%').at_most(6)
        when(loss.derails()).rollback().at_most(6)

    Source: our choice, measured by `benchmarks/guard.py`; rollback and halving as dlib's trainer does.
    """
    if not isinstance(signal, Signal):
        raise LehrError(f"guard(signal) needs a signal such as loss, got {shown(signal)}")
    sticks = when(signal.sticks(stuck, smooth=smooth)).rollback(stuck_scale, to="start", rewarm=rewarm)
    derails = when(signal.derails(lost, unrecovered=unrecovered, smooth=smooth)).rollback(scale)
    return [sticks.at_most(retries), derails.at_most(retries)]
