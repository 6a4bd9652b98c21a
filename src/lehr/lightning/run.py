"""A scheduler in Lightning's hands: what it hears, when it steps, and where it is written down."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch

from lehr.errors import LehrError, LehrWarning
from lehr.journal import Event
from lehr.torch import Scheduler

__all__ = ["Loggers", "Run"]


class Run:
    """A scheduler whose steps the callback makes, and what was heard since its last update."""

    def __init__(self, scheduler: Scheduler) -> None:
        if scheduler.count != "updates":
            raise LehrError(
                f"Feedback() needs a scheduler that counts updates, and this one counts {scheduler.count}: "
                "Scheduler(..., count='updates'), or lehr.lightning.scheduled(optimizer, policy, self.trainer)"
            )
        self.scheduler = scheduler
        self._step = scheduler.drive()
        self._sums: dict[str, tuple[torch.Tensor, int]] = {}  # name → sum, number

    @property
    def stopped(self) -> bool:
        """Whether rules have ended the run; that its planned end has come, the trainer knows itself."""
        steps = self.scheduler.horizon.steps
        return self.scheduler.done and not (steps is not None and self.scheduler.t >= steps)

    def check_pace(self) -> None:
        """Say, at the end of the first epoch, if the horizon takes the module to make far more or fewer updates."""
        made, planned = self.scheduler.t, self.scheduler.horizon.steps_per_epoch
        if planned is not None and not planned < 2 * made < 4 * planned:
            warnings.warn(
                f"the optimizer made {made} updates in the first epoch, and the schedule is laid out for {planned}: in "
                "manual optimisation the trainer does not know how many there are; give scheduled(..., steps=...)",
                LehrWarning,
                stacklevel=2,
            )

    def forget(self) -> None:
        """What was heard belongs to no update."""
        self._sums = {}

    def hear(self, numbers: Mapping[str, torch.Tensor]) -> None:
        """Add what a micro-batch brought, on its device; never kept by reference."""
        for name, value in numbers.items():
            value = value.detach().to(torch.promote_types(value.dtype, torch.float32), copy=True)
            total, n = self._sums.get(name, (None, 0))
            self._sums[name] = (value if total is None else total + value, n + 1)

    def step(self) -> bool:
        """Step if there was an update; whether there was."""
        before = self.scheduler.t
        self._step(**{name: total / n for name, (total, n) in self._sums.items()})
        if self.scheduler.t == before:
            return False
        self.forget()
        return True


class Loggers:
    """The loggers of a trainer, as what a tracker writes to."""

    def __init__(self, trainer: Any, place: str) -> None:
        self._trainer = trainer
        self._place = place

    def numbers(self, step: int, numbers: Mapping[str, float]) -> None:
        """Write numbers at a step."""
        for logger in self._trainer.loggers:
            logger.log_metrics({name.replace("lehr", self._place, 1): v for name, v in numbers.items()}, step=step)

    def event(self, event: Event) -> None:
        """Write what happened, where text can be written, as TensorBoard can."""
        tag = f"{self._place}/{'verdict' if event.kind == 'verdict' else 'event'}"
        for logger in self._trainer.loggers:
            write = getattr(getattr(logger, "experiment", None), "add_text", None)
            if write is not None:
                write(tag, str(event), event.end)
