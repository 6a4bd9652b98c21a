"""How often the optimiser was stepped between two calls of a scheduler, and what to say if that was not once."""

from __future__ import annotations

from typing import Any

__all__ = ["Updates", "misuse"]


class Updates:
    """Counts the optimiser's updates; its `count` is a hook of the optimiser's step."""

    def __init__(self) -> None:
        self.n = 0  # since the last call
        self._before = 0
        self.warned = False  # that they were not one a call

    def count(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """Hear of an update."""
        self.n += 1

    def all(self) -> int:
        """Updates since the scheduler was built."""
        return self._before + self.n

    def taken(self) -> int:
        """Updates since this was last asked."""
        n, self.n = self.n, 0
        self._before += n
        return n


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
        "accumulating gradients do not call it, and pass step(applied=False) for an update that was skipped"
    )
