"""What happens inside a training step on the torch backend, where everything is on the host's way."""

from __future__ import annotations

from typing import Any

__all__ = ["TorchTap"]


class TorchTap:
    """The tap on the torch backend.

    Args:
        iterations: the optimiser's count of micro-batches.
    """

    def __init__(self, iterations: Any) -> None:
        self._iterations = iterations
        self._count = int(iterations)
        self._loss: Any = None  # of a step of which it is not known yet whether it counts
        self._heard: list[float] = []

    def heard(self, loss: Any) -> None:
        """A training step has a loss."""
        self._settle()
        self._loss = loss.detach().clone()

    def rate(self, step: Any) -> Any:
        """The host is to be asked, always."""
        return None

    def take(self) -> tuple[list[float], int]:
        """The losses of the steps that counted, and the count."""
        self._settle()
        heard, self._heard = self._heard, []
        return heard, self._count

    def refresh(self) -> None:
        """Nothing is handed over."""

    def _settle(self) -> None:
        """A step counts if the optimiser has counted it; an update that is skipped it does not count."""
        count = int(self._iterations)
        if count > self._count:
            self._heard += [] if self._loss is None else [float(self._loss)]
            self._loss, self._count = None, count
