"""Recipes of feedback that goes both ways: up while it helps, down when it does not."""

from __future__ import annotations

from typing import Literal

from lehr.errors import LehrError
from lehr.rules.rule import Rule, when
from lehr.rules.signals import Signal, metric
from lehr.schedules.schedule import number
from lehr.spelling import shown

__all__ = ["GreedyFlavor", "greedy", "hypergradient"]

GreedyFlavor = Literal["lehr", "transformers"]


def greedy(
    signal: Signal,
    *,
    down: float = 0.95,
    patience: int = 10,
    margin: float | None = None,
    low: float | None = None,
    high: float | None = None,
    flavor: GreedyFlavor = "lehr",
) -> list[Rule]:
    """Greedy up and down: LR ← LR/down after patience + 1 improvements in a row, LR ← LR·down at a plateau.

    The rules of `Policy(schedule, greedy(signal))`. Bounds are relative to the schedule, so they mean the same at any
    LR, and by default the LR is not raised above the schedule's: what goes up is what was cut before. A single value
    that is no improvement ends a row, so watch a smoothed signal.

    Args:
        signal: the number to watch.
        down: between 0 and 1; its inverse is the factor of a rise.
        patience: observations of standing still that are tolerated; one more acts, up as well as down.
        margin: of an improvement, relative. Default: 1e-4. "transformers": absolute, 1e-6.
        low: the least gain. Default: 0.01. "transformers": the least LR, 1e-3.
        high: the largest gain. Default: 1; more opts in to an LR above the schedule's. "transformers": the largest
            LR, 1.
        flavor: "lehr", or "transformers" for one rule that decides as its GreedyLR, faults included: an LR below its
            floor, as in any fine-tuning, can only rise; `Signal.greedy_lr` has the rest of its options.

    Raises:
        LehrError: a number out of its range.

    Example:
        >>> import lehr
        >>> down, up = lehr.greedy(lehr.loss.smoothed(50), high=4)
        >>> down
        when(loss.smoothed(50).plateaus(10)).scale(0.95).within(0.01, 4)
        >>> up
        when(loss.smoothed(50).improves_in_a_row(11)).scale(1.0526315789473684).within(0.01, 4)

    Source: GreedyLR (arXiv 2512.14527) and transformers 5.23's class of that name; relative bounds are our choice.
    """
    if not isinstance(signal, Signal):
        raise LehrError(f"greedy(signal) needs a signal such as loss.smoothed(50), got {shown(signal)}")
    if not 0 < number(down, "greedy(down=...)") < 1:
        raise LehrError(f"greedy(down=...) must be above 0 and below 1, got {down!r}")
    if flavor == "transformers":
        peer = signal.greedy_lr(
            down,
            patience,
            threshold=1e-6 if margin is None else margin,
            min_lr=1e-3 if low is None else low,
            max_lr=1.0 if high is None else high,
        )
        return [when(peer).follow()]
    if flavor != "lehr":
        raise LehrError(f"greedy(flavor=...) must be 'lehr' or 'transformers', got {flavor!r}")
    share = 1e-4 if margin is None else margin
    least, most = 0.01 if low is None else low, 1.0 if high is None else high
    cut = when(signal.plateaus(patience, margin=share)).scale(down)
    rise = when(signal.improves_in_a_row(patience + 1, margin=share)).scale(1.0 / down)
    return [cut.within(least, most), rise.within(least, most)]


def hypergradient(
    rate: float = 0.02,
    signal: Signal | None = None,
    *,
    low: float = 0.01,
    high: float = 1.0,
) -> Rule:
    """Multiplicative hypergradient descent: LR ← LR·(1 + rate·cos(−g_t, u_{t−1})), the update before being u_{t−1}.

    The cosine is that of the present descent direction with the last update; `lehr.torch.Hypergradient(optimizer)`
    computes it. Where updates agree the LR was too small, where they turn back it was too large. The cosine of single
    batches is noise for the most part, and greedy: what helps the next step only leads to LRs that are too small
    (short-horizon bias, arXiv 1803.02021).

    Args:
        rate: β, between 0 and 1; the share by which the LR changes at most at an observation.
        signal: a number between −1 and 1. Default: `metric("alignment", best="max")`.
        low: the least gain.
        high: the largest gain; more than 1 opts in to an LR above the schedule's.

    Raises:
        LehrError: a number out of its range.

    Example:
        >>> import lehr
        >>> lehr.hypergradient(0.05, high=10)
        when(metric('alignment', best='max').steers(0.05)).follow().within(0.01, 10)

    Source: Baydin et al. 2018 (arXiv 1703.04782), section 3.1 and the multiplicative rule (8) there, normalised by the
        norms; the bounds and β are our choice.
    """
    chosen = metric("alignment", best="max") if signal is None else signal
    if not isinstance(chosen, Signal):
        raise LehrError(f"hypergradient(signal=...) must be a signal, got {shown(chosen)}")
    return when(chosen.steers(rate)).follow().within(low, high)
