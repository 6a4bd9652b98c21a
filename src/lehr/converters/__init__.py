"""convert: a peer's configuration, read and said as a policy. One peer a file."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lehr.checks import check
from lehr.converters import deepspeed, keras, megatron, timm, torch_state, transformers_arguments
from lehr.converters.conversion import Conversion, Given
from lehr.converters.sources import PEERS, Source, peers_of, source_of
from lehr.errors import LehrError
from lehr.policy import PolicyLike
from lehr.schedules.schedule import number
from lehr.spelling import shown

__all__ = ["PEERS", "Conversion", "convert"]

SMALL_FACTOR = "LR205"


def convert(
    source: Any,
    *,
    peer: str | None = None,
    lr: float | None = None,
    steps: int | None = None,
    steps_per_epoch: int | None = None,
    metric: str | None = None,
    kind: str | None = None,
) -> Conversion:
    """Read a peer's configuration as a policy, with findings about it.

    Its curve is the peer's, wherever the peer is right. Where the peer is wrong (it rises after its end, skips its
    peak, is one step late) the policy does what is meant and a finding says so. What changes the LR and cannot be said
    as a policy is a finding of severity "error".

    Args:
        source: a torch scheduler, its state dict, or a checkpoint that holds one; a scheduler of Lehr; transformers'
            `get_scheduler` arguments or `TrainingArguments`, or diffusers' flags; a DeepSpeed config; Megatron's or
            timm's flags; a Keras schedule, optimiser, config or a callback's arguments. As an object, a dict, a
            namespace, JSON, a command line (text or list), or a file of these.
        peer: whose it is, one of `PEERS`; default: recognised by its keys.
        lr: the base LR, where the source does not say it (or instead of what it says).
        steps: updates in the run, likewise.
        steps_per_epoch: updates in an epoch.
        metric: the name of the number that a plateau rule reads.
        kind: the class, where the keys fit more than one ("LambdaLR", "ExponentialDecay").

    Raises:
        LehrError: the source cannot be read, may be several peers', or lacks what a policy needs.

    Example:
        >>> import lehr
        >>> found = lehr.convert({"lr_scheduler_type": "cosine", "max_steps": 1000, "warmup_steps": 20})
        >>> found.policy, found.lr, found.steps
        (warmup(20, zero_start=True).then(cosine()), 5e-05, 1000)
    """
    if peer is not None and peer not in PEERS:
        raise LehrError(f"convert(peer=...) must be one of {', '.join(PEERS)}, got {shown(peer)}")
    if lr is not None and number(lr, "convert(lr=...)") <= 0:
        raise LehrError(f"convert(lr=...) must be above 0, got {lr!r}")
    given = Given(lr, steps, steps_per_epoch, metric, kind)
    if isinstance(policy := getattr(source, "policy", None), PolicyLike) and hasattr(source, "base_lrs"):
        return _of_lehr(source, policy, given)
    if torch_state.is_scheduler(source) and peer in (None, "torch"):
        return _checked(torch_state.read_object(source, given))
    found = source_of(source)
    if peer == "torch" or (peer is None and not peers_of(found.values)):
        found = Source(torch_state.inside(found.values))
    return _checked(_read(_peer(found, peer), found, given))


def _of_lehr(source: Any, policy: PolicyLike, given: Given) -> Conversion:
    """A controller, or a scheduler of `lehr.torch`: it has a policy already."""
    lrs = tuple(float(lr) for lr in source.base_lrs)
    lr = given.lr or (lrs[0] if len(set(lrs)) == 1 else lrs)
    known = {"steps": given.steps, "steps_per_epoch": given.steps_per_epoch}
    horizon = replace(source.horizon, **{name: value for name, value in known.items() if value is not None})
    return Conversion(policy, "lehr", lr, horizon)


def _peer(source: Source, peer: str | None) -> str:
    if peer is not None:
        return peer
    candidates = peers_of(source.values) or (["torch"] if torch_state.kinds_of(source.values) else [])
    if len(candidates) != 1:
        keys = ", ".join(map(str, list(source.values)[:8])) or "none"
        whose = f"{' or '.join(candidates)} may have" if candidates else "it is not clear which peer has"
        raise LehrError(
            f"{whose} a configuration with the keys {keys}; say it by convert(..., peer=...), --peer on the command "
            f"line: {', '.join(PEERS)}"
        )
    return candidates[0]


def _read(peer: str, source: Source, given: Given) -> Conversion:
    if peer == "timm":
        return timm.read(source.values, given, script=source.flags)
    reader = {
        "torch": torch_state.read_state,
        "transformers": transformers_arguments.read,
        "deepspeed": deepspeed.read,
        "megatron": megatron.read,
        "keras": keras.read,
    }[peer]
    return reader(source.values, given)


def _checked(found: Conversion) -> Conversion:
    """The same, with what looks wrong in the policy itself.

    A small factor is no slip here: it is the peer's own, or an LR of the peer's divided by the base.
    """
    lr = list(found.lr) if isinstance(found.lr, tuple) else found.lr
    notes = [item for item in check(found.policy, horizon=found.horizon, lr=lr) if item.code != SMALL_FACTOR]
    return Conversion(found.policy, found.peer, found.lr, found.horizon, found.epochs, (*found.findings, *notes))
