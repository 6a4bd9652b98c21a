"""What an optimiser held before any scheduler touched it, as far as that can be known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from lehr.errors import LehrError
from lehr.torch.dropin.parts import Originals
from lehr.torch.values import holds, read

__all__ = ["found", "noted", "settled", "stored"]

TARGETS = ("lr", "momentum", "betas[0]")  # what torch's schedulers write


def found(optimizer: torch.optim.Optimizer, before: Callable[[str, int], float | None]) -> dict[str, tuple[float, ...]]:
    """What each group holds.

    Args:
        optimizer: whose groups are read.
        before: of a hyperparameter and a group: the value that stood there before a scheduler, still alive, wrote what
            stands there now; None if no scheduler did.
    """
    values: dict[str, tuple[float, ...]] = {}
    for target in TARGETS:
        if all(holds(group, target) for group in optimizer.param_groups):
            earlier = [before(target, i) for i in range(len(optimizer.param_groups))]
            values[target] = tuple(
                _read(group, target, i) if earlier[i] is None else earlier[i]  # type: ignore[misc]  # not None here
                for i, group in enumerate(optimizer.param_groups)
            )
    return values


def noted(optimizer: torch.optim.Optimizer) -> tuple[float, ...]:
    """The base LRs that an earlier scheduler noted in the groups, which torch reads when `last_epoch` is given.

    Raises:
        LehrError: there are none.
    """
    for i, group in enumerate(optimizer.param_groups):
        if "initial_lr" not in group:
            raise LehrError(
                f"last_epoch=... needs 'initial_lr' in parameter group {i}, as a saved optimiser has it; to resume, "
                "leave last_epoch out and call load_state_dict(...) with the state of the scheduler"
            )
    return tuple(float(group["initial_lr"]) for group in optimizer.param_groups)


def settled(now: Originals, state: Mapping[str, Any]) -> dict[str, tuple[float, ...]]:
    """What was read at construction; where the saved run had only begun with it, written or held it, the first."""
    saved, written, held = (state.get(name, {}) for name in ("basis", "values", "held"))
    result = {}
    for target, values in now.items():
        begun = saved.get(target, values)
        known = zip(begun, written.get(target, begun), held.get(target, begun), strict=True)
        result[target] = tuple(
            of_group[0] if any(stored(value, item) for item in of_group) else value
            for value, of_group in zip(values, known, strict=True)
        )
    return result


def _read(group: Mapping[str, Any], target: str, index: int) -> float:
    """What stands there; for an LR of 0, of which nothing can be a factor, the base that an earlier scheduler noted."""
    value = read(group, target, index)
    return float(group["initial_lr"]) if target == "lr" and value == 0 and "initial_lr" in group else value


def stored(read: float, value: float) -> bool:
    """Whether `read` is `value`, maybe by way of a float32 tensor."""
    return read in (value, float(np.float32(value)))
