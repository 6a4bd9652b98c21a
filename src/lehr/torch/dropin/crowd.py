"""Which drop-in schedulers are at work on an optimiser: alive, and no part of another one."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from lehr.torch.dropin.base import Dropin

__all__ = ["before", "join", "leave", "shares"]

_crowds: weakref.WeakKeyDictionary[torch.optim.Optimizer, weakref.WeakSet[Dropin]] = weakref.WeakKeyDictionary()


def join(scheduler: Dropin) -> None:
    """It is at work on its optimiser."""
    _crowds.setdefault(scheduler.optimizer, weakref.WeakSet()).add(scheduler)


def leave(scheduler: Dropin) -> None:
    """It is so no longer."""
    _crowds[scheduler.optimizer].discard(scheduler)


def shares(scheduler: Dropin) -> bool:
    """Whether it is at work, and others too."""
    crowd = _crowds.get(scheduler.optimizer, ())
    return len(crowd) > 1 and scheduler in crowd


def before(optimizer: torch.optim.Optimizer) -> Callable[[str, int], float | None]:
    """What stood in the optimiser before any scheduler wrote what stands there; see `originals.found`."""
    schedulers = list(_crowds.get(optimizer, ()))

    def original(target: str, index: int) -> float | None:
        known = (scheduler.original(target, index) for scheduler in schedulers)
        return next((value for value in known if value is not None), None)

    return original
