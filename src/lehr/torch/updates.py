"""How often the optimiser was stepped between two calls of a scheduler, and what to say if that was not once.

Two kinds of steps are none: a fused optimiser is stepped even if `GradScaler` found an overflow, and then does nothing;
`torch.distributed.checkpoint` steps an optimiser with LRs and gradients of 0, only to have its state made.
"""

from __future__ import annotations

from typing import Any

import torch

from lehr.errors import LehrError
from lehr.spelling import shown

__all__ = ["Updates", "bare", "misuse"]


def bare(optimizer: Any, name: str = "Scheduler") -> torch.optim.Optimizer:
    """The optimiser whose steps can be counted: itself, or what a wrapper without hooks, as accelerate's, wraps.

    Raises:
        LehrError: it is no optimiser, or has neither hooks nor an optimiser inside.
    """
    inner = optimizer
    while isinstance(inner, torch.optim.Optimizer) and not hasattr(inner, "_optimizer_step_post_hooks"):
        inner = getattr(inner, "optimizer", None)
    if isinstance(inner, torch.optim.Optimizer):
        return inner
    if isinstance(optimizer, torch.optim.Optimizer):
        raise LehrError(
            f"{name}(optimizer) needs one whose steps can be counted, and {type(optimizer).__name__} never called "
            "torch.optim.Optimizer.__init__; give the optimizer that it wraps"
        )
    raise LehrError(f"{name}(optimizer) must be a torch.optim.Optimizer, got {shown(optimizer)}")


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
    """Whether torch.distributed.checkpoint has made this step: `optim.step(closure=None)`, LRs and gradients all 0.

    Gradients are only looked at if the rest is so; where they are sharded, over all ranks, which step together.
    """
    if kwargs.get("closure", kwargs) is not None or any(group["lr"] != 0 for group in optimizer.param_groups):
        return False
    moving = [weight for group in optimizer.param_groups for weight in group["params"] if weight.requires_grad]
    if any(weight.grad is None for weight in moving):
        return False
    sizes = [_size(weight.grad) for weight in moving]  # of all, as the ranks must ask for the same ones
    return not any(sizes)


def _size(gradient: torch.Tensor) -> float:
    """Σ|g_i|: unlike a norm it is 0 for zeros alone."""
    total = gradient.detach().abs().sum()
    return float(total.full_tensor() if hasattr(total, "full_tensor") else total)  # a DTensor


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
        "something else calls it, as accelerate's prepared scheduler does once for each process, build "
        "lehr.torch.Scheduler(optimizer, policy, steps=..., count='updates'); the policy of a drop-in is its .policy"
    )
