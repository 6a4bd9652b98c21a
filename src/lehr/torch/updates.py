"""How often the optimiser was stepped between two calls of a scheduler, and what to say if that was not once.

Two kinds of steps are none: a fused optimiser is stepped even if `GradScaler` found an overflow, and then does nothing;
`torch.distributed.checkpoint` steps an optimiser with LR 0 and gradients 0, only to have its state made.
"""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["Updates", "misuse"]


class Updates:
    """Counts the optimiser's updates; its `count` is a hook of the optimiser's step."""

    def __init__(self) -> None:
        self.n = 0  # steps since the last call
        self._before = 0  # updates and steps until then
        self._found: list[torch.Tensor] = []  # of scaled steps: whether there was an overflow; not yet read
        self.warned = False  # that they were not one a call

    def count(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """Hear of a step."""
        if _only_makes_state(optimizer, kwargs):
            return
        self.n += 1
        found = getattr(optimizer, "found_inf", None)  # given by GradScaler to an optimiser that skips by itself
        if isinstance(found, torch.Tensor):
            self._found.append(found.detach())

    def all(self) -> int:
        """Updates since the scheduler was built."""
        self._before -= self._skipped()
        return self._before + self.n

    def taken(self) -> int:
        """Updates since this was last asked. Where a fused optimiser is scaled, the host waits for its device."""
        skipped = self._skipped()
        updates = max(self.n - skipped, 0)  # more were skipped only if `passed` left them unread
        self._before += self.n - skipped
        self.n = 0
        return updates

    def passed(self) -> int:
        """Steps since this was last asked, skipped ones included; nobody waits for a device."""
        steps, self.n = self.n, 0
        self._before += steps
        return steps

    def _skipped(self) -> int:
        """How many of the steps that are not yet read were skipped."""
        found, self._found = self._found, []
        return sum(bool(overflow > 0) for overflow in found)


def _only_makes_state(optimizer: Any, kwargs: Any) -> bool:
    """Whether torch.distributed.checkpoint has made this step, `optim.step(closure=None)` under LRs of 0."""
    return kwargs.get("closure", kwargs) is None and all(group["lr"] == 0 for group in optimizer.param_groups)


def misuse(updates: int) -> str:
    """What a call of `step()` gets wrong if so many updates came before it; empty if it is right."""
    if updates == 1:
        return ""
    if updates > 1:
        return (
            f"optimizer stepped {updates} times since the last call: call step() after every update, "
            "or build the Scheduler with count='updates' or count='epochs'"
        )
    return (
        "the optimizer was not stepped since the last call: call step() after optimizer.step(); while "
        "accumulating gradients do not call it, and pass step(applied=False) for an update that was skipped. If "
        "something else calls it, as accelerate's prepared scheduler does once for each process, build the Scheduler "
        "with count='updates'"
    )
