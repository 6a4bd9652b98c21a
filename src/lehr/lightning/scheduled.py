"""What `configure_optimizers` returns: an optimiser with its policy, over the run that the trainer has planned."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import torch

from lehr.errors import LehrWarning
from lehr.lengths import Horizon
from lehr.lightning.feedback import Feedback
from lehr.policy import PolicyLike
from lehr.resume import OnChange, mode_for_trainer
from lehr.torch import Scheduler

__all__ = ["horizon", "scheduled"]


def scheduled(
    optimizer: torch.optim.Optimizer,
    policy: PolicyLike | str,
    trainer: Any,
    *,
    on_change: OnChange | None = None,
    **how: Any,
) -> dict[str, Any]:
    """What `configure_optimizers` returns for an optimiser under a policy; for several, a list of these.

    The schedule counts the updates that the optimiser really made, whatever the interval: neither micro-batches nor
    updates that AMP skips. Rules need `Feedback` among the trainer's callbacks; a schedule alone works without, but in
    manual optimisation.

    Args:
        optimizer: any optimiser; its LR is the base LR.
        policy: a policy, schedule, rule, or the text of one.
        trainer: the module's `self.trainer`.
        on_change: as in `Scheduler`. Default: if a run is resumed with another horizon alone, such as a larger
            `max_epochs`, the new one is taken over without a jump of the LR, and the journal says so; any other change
            is an error.
        how: what else `lehr.torch.Scheduler` takes: `model=self, snapshots=True` for rules that roll back,
            `evaluate=`, or a `horizon=` or `steps=` other than `horizon(trainer)`.

    Raises:
        LehrError: as `Scheduler` does, early.

    Example:
        >>> import lightning.pytorch as L, torch
        >>> class Module(L.LightningModule):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.layer = torch.nn.Linear(2, 1)
        ...     def configure_optimizers(self):
        ...         return scheduled(torch.optim.SGD(self.parameters(), lr=0.1), "cosine()", self.trainer)
        >>> trainer = L.Trainer(max_epochs=3, callbacks=[Feedback()], logger=False)
    """
    if not {"steps", "horizon"} & how.keys():
        how["horizon"] = horizon(trainer)
    scheduler = Scheduled(optimizer, policy, count="updates", on_change=on_change or "error", **how)
    scheduler.resizes = on_change is None
    scheduler.alone = not any(isinstance(callback, Feedback) for callback in trainer.callbacks)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def horizon(trainer: Any) -> Horizon:
    """What a trainer knows of its run, for schedules that are built by hand.

    The steps are its `estimated_stepping_batches`: what `max_epochs`, `max_steps`, `limit_train_batches`, the loaders
    and `accumulate_grad_batches` make of them; a `GradientAccumulationScheduler`, which that leaves out, counts too. An
    epoch ends with an update even if fewer micro-batches are left. A step has as many samples as loader, accumulation
    and ranks tell. A run that nothing limits (`max_epochs=-1`) has no steps, and `max_time` is not known in steps. In
    manual optimisation the trainer reckons with an update at every batch; if an optimiser makes fewer, give `steps=`.

    Args:
        trainer: the module's `self.trainer`, in `configure_optimizers`.

    Example:
        >>> from types import SimpleNamespace
        >>> trainer = SimpleNamespace(
        ...     estimated_stepping_batches=9, num_training_batches=10, accumulate_grad_batches=4, world_size=2,
        ...     train_dataloader=SimpleNamespace(batch_size=8), callbacks=[], ckpt_path=None,
        ...     fit_loop=SimpleNamespace(setup_data=lambda: None))
        >>> horizon(trainer)
        Horizon(steps=9, steps_per_epoch=3, samples_per_step=64, tokens_per_step=None)
    """
    trainer.fit_loop.setup_data()  # does nothing if it was done
    steps, batches = trainer.estimated_stepping_batches, trainer.num_training_batches
    size = getattr(trainer.train_dataloader, "batch_size", None)
    if trainer.ckpt_path is not None:
        # Lightning restores the place in a stateful loader only if nobody has set the loader up before (its #20550).
        trainer.fit_loop._combined_loader = None
    factors = _factors(trainer)
    if factors is not None and math.isfinite(batches) and trainer.max_epochs > 0:
        steps = sum(math.ceil(batches / factor) for factor in factors)
        steps = min(steps, trainer.max_steps) if trainer.max_steps > 0 else steps
    constant = trainer.accumulate_grad_batches if factors is None else factors[0] if len(set(factors)) == 1 else None
    return Horizon(
        steps=int(steps) if 0 < steps < math.inf else None,
        steps_per_epoch=math.ceil(batches / constant) if constant and 0 < batches < math.inf else None,
        samples_per_step=size * constant * trainer.world_size if constant and isinstance(size, int) else None,
    )


def _factors(trainer: Any) -> list[int] | None:
    """Micro-batches in an update, epoch by epoch, if a `GradientAccumulationScheduler` says so."""
    for callback in trainer.callbacks:
        of_epoch = getattr(callback, "get_accumulate_grad_batches", None)
        if of_epoch is not None:
            return [of_epoch(epoch) for epoch in range(max(trainer.max_epochs, 0))]
    return None


class Scheduled(Scheduler):
    """A scheduler whose run the trainer may make longer or shorter before it is resumed."""

    resizes = False
    alone = False  # whether no callback hears; not asked later, as Lightning's tuner takes all callbacks away

    def step(self, *, applied: bool = True, **numbers: Any) -> None:  # type: ignore[override]
        """As a scheduler's; the trainer calls it without numbers, which is said once if rules wait for some."""
        if self.alone:
            self.alone = False
            if self.awaited and not numbers and not self.state_dict()["reported"]:
                names = ", ".join(sorted(self.awaited))
                words = f"rules read {names}, and nobody tells them: add lehr.lightning.Feedback() to the callbacks"
                warnings.warn(words, LehrWarning, stacklevel=2)
        super().step(applied=applied, **numbers)

    def load_state_dict(self, state_dict: Mapping[str, Any], on_change: OnChange | None = None) -> None:
        """As a scheduler's, but that another horizon alone is taken over without a jump of the LR."""
        self._join()
        if on_change is None and self.resizes:
            on_change = mode_for_trainer(state_dict, self.policy, self.horizon, self.bases)
        super().load_state_dict(state_dict, on_change)
