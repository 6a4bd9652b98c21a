"""Checks of the length of the run against a data loader: epochs for steps, accumulation, ranks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lehr.checks.row import Found
from lehr.lengths import Horizon

FEW = 1000  # a run of so many steps that are less than an epoch was probably told in epochs


@dataclass(frozen=True)
class Loading:
    """The run as it is planned, and the loader that it reads."""

    horizon: Horizon
    loader: Any = None
    epochs: float | None = None  # passes over the loader that are meant
    accumulate: int = 1
    world_size: int = 1

    @property
    def epoch(self) -> int | None:
        """Updates in an epoch: of the loader, else as the horizon says."""
        if self.loader is None:
            return self.horizon.steps_per_epoch
        return self._of_loader.steps_per_epoch

    @property
    def planned(self) -> tuple[int, int, str] | None:
        """Steps of the run or else of one epoch, as planned and as the loader makes them, and which of the two."""
        horizon, epoch = self.horizon, self.epoch
        if self.loader is None or epoch is None:
            return None
        if horizon.steps is not None and self.epochs is not None:
            return horizon.steps, Horizon(epochs=self.epochs, steps_per_epoch=epoch).steps or 1, "run"
        return None if horizon.steps_per_epoch is None else (horizon.steps_per_epoch, epoch, "epoch")

    @cached_property
    def _of_loader(self) -> Horizon:
        return Horizon.from_loader(self.loader, steps=1, accumulate=self.accumulate, world_size=self.world_size)


def steps_like_epochs(loading: Loading) -> Iterator[Found]:
    """The run has few steps, less than an epoch."""
    steps, epoch = loading.horizon.steps, loading.epoch
    if steps is not None and epoch is not None and steps <= FEW and steps < epoch:
        yield Found(
            f"the run has {steps} steps, and an epoch has {epoch}, so it ends after {100 * steps / epoch:.2g} % of one",
            f"write Horizon(epochs={steps}, steps_per_epoch={epoch}) if epochs were meant",
        )


def off_by_accumulation_or_ranks(loading: Loading) -> Iterator[Found]:
    """The run is longer or shorter than the loader makes it, by just the accumulation or the ranks."""
    cause = _cause(loading)
    if cause and loading.planned is not None:
        planned, made, of = loading.planned
        factor = max(planned, made) / min(planned, made)
        yield Found(
            f"{planned} steps are planned for the {of} and the loader makes {made}: off by a factor of {factor:.3g}, "
            f"which is {cause}"
        )


def off_otherwise(loading: Loading) -> Iterator[Found]:
    """The run is longer or shorter than the loader makes it, by more than 1 %."""
    if loading.planned is not None and not _cause(loading):
        planned, made, of = loading.planned
        if abs(planned - made) > max(0.01 * made, 1):
            yield Found(f"{planned} steps are planned for the {of} and the loader makes {made}")


def _cause(loading: Loading) -> str:
    """Which factor lies between what is planned and what the loader makes; empty if none does."""
    if loading.planned is None:
        return ""
    planned, made, _ = loading.planned
    accumulate, ranks = loading.accumulate, loading.world_size
    factors = {
        f"accumulate={accumulate}": accumulate,
        f"world_size={ranks}": ranks,
        f"accumulate × world_size = {accumulate} × {ranks}": accumulate * ranks,
    }
    ratio = max(planned, made) / min(planned, made)
    rounding = 0.01 + 1 / min(planned, made)
    return next((words for words, k in factors.items() if k > 1 and abs(ratio / k - 1) <= rounding), "")
