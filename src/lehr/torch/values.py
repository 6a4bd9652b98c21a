"""What stands in an optimiser's parameter groups: reading it, writing it, and telling whether somebody else wrote.

A target is the name of a number in the group, such as "lr", or one of several numbers, such as "betas[0]".
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

import torch

from lehr.errors import LehrError
from lehr.policy import Facts
from lehr.spelling import shown

__all__ = ["facts_of", "held", "holds", "put", "read", "rewritten", "undo_rewrites", "untouched"]


Place = tuple[str, int]  # a target, and the index of a group

_rewritten: weakref.WeakKeyDictionary[
    torch.optim.Optimizer, tuple[list[dict[str, Any]], Mapping[Place, float], Mapping[Place, Any]]
] = weakref.WeakKeyDictionary()


class _Tensor:
    """A tensor as it was written: which one, and its version, which every later write in place raises."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor
        self.version = _version(tensor)

    def same(self, other: Any) -> bool:
        return other is self.tensor and self.version == _version(other)


def _version(tensor: torch.Tensor) -> int:
    return -1 if tensor.is_inference() else tensor._version


def facts_of(group: Mapping[str, Any]) -> Facts:
    """The name of a group, and its plain numbers."""
    return {"name": ""} | {key: value for key, value in group.items() if isinstance(value, str | int | float)}


def holds(group: Mapping[str, Any], target: str) -> bool:
    """Whether the group has this number."""
    name, place = _split(target)
    return name in group and (place is None or (_is_list(group[name]) and place < len(group[name])))


def held(group: Mapping[str, Any], target: str) -> Any:
    """What stands there: a number or a tensor."""
    name, place = _split(target)
    return group[name] if place is None else group[name][place]


def read(group: Mapping[str, Any], target: str, index: int) -> float:
    """The number that stands there.

    Raises:
        LehrError: there is none.
    """
    if not holds(group, target):
        numbers = sorted(key for key, value in group.items() if isinstance(value, float))
        numbers += [f"{key}[{i}]" for key, value in group.items() if _is_list(value) for i in range(len(value))]
        raise LehrError(f"parameter group {index} has no {target!r} to schedule; it has {', '.join(numbers)}")
    try:
        return float(held(group, target))
    except (TypeError, ValueError):
        raise LehrError(
            f"{target!r} of parameter group {index} must be a number, got {shown(held(group, target))}"
        ) from None


def put(group: dict[str, Any], target: str, value: float) -> Any:
    """Write a value, in place if a tensor is there; what comes back tells later whether somebody else wrote."""
    there = held(group, target)
    if isinstance(there, torch.Tensor):
        with torch.no_grad():
            there.fill_(value)
        return _Tensor(there)
    name, place = _split(target)
    if place is None:
        group[name] = value
    else:
        group[name] = type(group[name])([*group[name][:place], value, *group[name][place + 1 :]])
    return value


def untouched(now: Any, written: Any) -> bool:
    """Whether what stands there is still what `put` wrote."""
    if isinstance(written, _Tensor):
        return written.same(now)
    return bool(now is written or (not isinstance(now, torch.Tensor) and now == written))


def rewritten(optimizer: torch.optim.Optimizer, restored: Mapping[Place, float], written: Mapping[Place, Any]) -> None:
    """Note what a restore of the optimiser had brought, where a scheduler has written over it at once."""
    groups, known, _ = _rewritten.get(optimizer, (None, {}, {}))
    first = {} if groups is not optimizer.param_groups else known  # of several schedulers, the first saw the truth
    _rewritten[optimizer] = (optimizer.param_groups, {**restored, **first}, dict(written))


def undo_rewrites(optimizer: torch.optim.Optimizer) -> None:
    """Put back what a restore had brought: a new scheduler begins from it, not from what an old one wrote over it."""
    groups, restored, written = _rewritten.pop(optimizer, (None, {}, {}))
    if groups is optimizer.param_groups:
        for (target, i), value in restored.items():
            if (target, i) in written and untouched(held(groups[i], target), written[target, i]):
                put(groups[i], target, value)


def _split(target: str) -> tuple[str, int | None]:
    if not target.endswith("]"):
        return target, None
    name, _, place = target[:-1].partition("[")
    return name, int(place)


def _is_list(value: Any) -> bool:
    return isinstance(value, tuple | list) and all(isinstance(item, float | torch.Tensor) for item in value)
