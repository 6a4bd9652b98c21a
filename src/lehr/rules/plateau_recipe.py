"""The recipe that every peer has: cut the LR when a number stands still."""

from __future__ import annotations

from lehr.errors import LehrError
from lehr.rules.plateaus import Flavor, MarginMode
from lehr.rules.rule import Rule, when
from lehr.rules.signals import Signal
from lehr.schedules.schedule import number
from lehr.spelling import shown

__all__ = ["reduce_on_plateau"]


def reduce_on_plateau(
    signal: Signal,
    *,
    factor: float = 0.1,
    patience: int | None = None,
    threshold: float | None = None,
    threshold_mode: MarginMode | None = None,
    cooldown: int = 0,
    average: int = 1,
    flavor: Flavor = "lehr",
) -> Rule:
    """Reduce on plateau: LR ← LR·factor when `signal` has not improved in a while, again and again.

    The same as `when(signal.plateaus(...)).scale(factor)`, with the peer's own defaults. A floor of the LR is the
    policy's: `Policy(rule, min_lr=...)`. What a peer does with the LR beyond that is left out: torch and Paddle refuse
    a cut of less than 1e-8, Keras begins no cooldown at its `min_lr`.

    Args:
        signal: the number to watch.
        factor: between 0 and 1; fastai divides by 1/factor.
        patience: observations without improvement. Default: 10, of fastai 1.
        threshold: the margin of an improvement. Default: 1e-4, of fastai 0.
        threshold_mode: "rel" or "abs". Default: "abs" for Keras and fastai, else "rel".
        cooldown: observations after a cut that do not count.
        average: observations of which the mean is judged; "lehr" and "optax" only, which calls it accumulation_size.
        flavor: whose meaning of these words; see `Signal.plateaus`.

    Raises:
        LehrError: a number out of its range, or what the flavor does not have.

    Example:
        >>> import lehr
        >>> lehr.reduce_on_plateau(lehr.metric("val_loss", best="min"), factor=0.5, flavor="fastai")
        when(metric('val_loss', best='min').plateaus(1, margin=0, flavor='fastai')).scale(0.5)

    Source: torch 2.13, Keras 3.15, optax 0.2.8, Paddle 3 and fastai 2.7, each under its own flavor.
    """
    if not isinstance(signal, Signal):
        raise LehrError(f"reduce_on_plateau(signal) needs a signal such as loss, got {shown(signal)}")
    if not 0 < number(factor, "reduce_on_plateau(factor=...)") < 1:
        raise LehrError(f"reduce_on_plateau(factor=...) must be above 0 and below 1, got {factor!r}")
    own_patience, own_threshold = (1, 0.0) if flavor == "fastai" else (10, 1e-4)
    trigger = signal.plateaus(
        own_patience if patience is None else patience,
        margin=own_threshold if threshold is None else threshold,
        flavor=flavor,
        cooldown=cooldown,
        margin_mode=threshold_mode,
        average=average,
    )
    return when(trigger).scale(factor)
