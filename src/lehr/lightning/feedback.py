"""The callback: what was logged reaches the rules when it is new, and what they decide reaches the trainer."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import distributed

from lehr.errors import LehrError
from lehr.extras import needs
from lehr.lightning.run import Loggers, Run
from lehr.logs.meanings import python_name
from lehr.torch import Scheduler
from lehr.trackers import Tracker

__all__ = ["Feedback"]

NAMES = ("lightning.pytorch", "pytorch_lightning")
OBSERVED = "lehr_observed"  # in a checkpoint: what rules may still wait for


def _callback() -> Any:
    """`Callback`, by the name of the package that the script has imported, else by the one that is installed."""
    for name in sorted(NAMES, key=lambda name: name not in sys.modules):
        with suppress(ModuleNotFoundError):
            return importlib.import_module(name).Callback
    with needs("lightning"):
        return importlib.import_module(NAMES[0]).Callback


class Feedback(_callback()):  # type: ignore[misc]
    """Lets rules hear of a fit, carries out what they decide, and writes it to the loggers.

    It makes the steps of every scheduler of Lehr's that `configure_optimizers` returned, one after each update that its
    optimiser really made; when Lightning calls them does not matter. In manual optimisation nobody else need.

    What rules hear, each number once, when it is new:
        `loss`: what `training_step` returns, as the mean over the micro-batches of an update. Where it returns none, a
            metric that is logged under this name. A "loss" that validation or the end of an epoch logs is not heard.
        metrics logged on step: likewise as means. One that is logged on step and on epoch has the name `acc_step`
            here, and `acc` and `acc_epoch` once an epoch.
        metrics of validation and of epochs: when validation, or the epoch, ends.
    A rule reads "val/acc" as `metric("val_acc", best="max")`, the name that `lehr.read_trace` gives such a column, too.
    On many ranks they hear the mean over the ranks. With several optimisers every scheduler hears every number; its
    rules name what they read, such as `metric("g_loss", best="min")`.

    Where `StochasticWeightAveraging` puts its own scheduler in, it has the LR from then on, and rules hear no more.

    A `stop`, or the end of a schedule that a rule has begun, sets `trainer.should_stop`, after which Lightning goes on
    until `min_epochs` and `min_steps` are met. `rollback` needs `scheduled(..., model=self, snapshots=True)`. LR, gain
    (every `log_every_n_steps`) and events go to the trainer's loggers as `lehr/lr`, `lehr/gain` and, where a logger can
    write text, `lehr/event`.

    If a fit resumes from a step's checkpoint right after which a validation was due, Lightning leaves this validation
    out, and rules cannot hear of it.

    Raises:
        LehrError: at the start of a fit, if there is no scheduler of Lehr's, or one that does not count updates.

    Example:
        >>> import lightning.pytorch as L
        >>> trainer = L.Trainer(max_epochs=3, callbacks=[Feedback()], logger=False)
    """

    def __init__(self) -> None:
        self._runs: list[Run] = []
        self._seen: dict[str, torch.Tensor] = {}
        self._observed: dict[str, Any] = {}  # since the last update

    # When Lightning calls

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Forget an earlier fit."""
        self._runs, self._seen, self._observed = [], {}, {}

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Take over the steps."""
        configs = [config for config in trainer.lr_scheduler_configs if isinstance(config.scheduler, Scheduler)]
        if not configs:
            raise LehrError(
                "Feedback() found no scheduler of Lehr's. Let configure_optimizers return "
                "lehr.lightning.scheduled(optimizer, policy, self.trainer)"
            )
        self._runs = [Run(config.scheduler) for config in configs]
        for i, config in enumerate(configs):
            if trainer.loggers and trainer.log_every_n_steps:
                place = "lehr" if len(configs) == 1 else f"lehr/{config.name or i}"
                config.scheduler.subscribe(Tracker(Loggers(trainer, place), trainer.log_every_n_steps))

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: Mapping[str, Any]) -> None:
        """Remember what the rules of many ranks had not been told when this was saved."""
        self._observed = dict(checkpoint.get(OBSERVED, {}))

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Go on where a checkpoint left off."""
        self._observe(trainer, self._observed)

    def on_before_zero_grad(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """Forget the losses of gradients that are gone: a skipped update leaves some."""
        for run in self._runs:
            run.forget()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Hear what the micro-batch brought; after an update, step."""
        numbers = self._news(trainer)
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else None
        if loss is not None:  # Lightning has divided it, in automatic optimisation
            numbers["loss"] = loss * (trainer.accumulate_grad_batches if pl_module.automatic_optimization else 1)
        elif "loss_step" in numbers:  # logged on step and on epoch
            numbers["loss"] = numbers["loss_step"]
        held = [config.scheduler for config in trainer.lr_scheduler_configs]
        self._runs = [run for run in self._runs if run.scheduler in held]  # StochasticWeightAveraging puts in its own
        for run in self._runs:
            run.hear(numbers)
            if run.step():
                self._observed = {}
        self._heed(trainer)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Hear what validation brought."""
        if not trainer.sanity_checking:
            self._observe(trainer, self._news(trainer))

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Hear what the epoch brought."""
        self._observe(trainer, self._news(trainer))
        if trainer.current_epoch == 0 and not pl_module.automatic_optimization:
            for run in self._runs:
                run.check_pace()

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Hear what the module's own `on_train_epoch_end` has logged, which comes after ours."""
        self._observe(trainer, self._news(trainer))

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """The same of the last epoch."""
        self._observe(trainer, self._news(trainer))

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Let the checkpoint hold what was logged right before it."""
        if self._runs:
            self._observe(trainer, self._news(trainer))
            checkpoint["lr_schedulers"] = [config.scheduler.state_dict() for config in trainer.lr_scheduler_configs]
            checkpoint[OBSERVED] = _over_ranks({name: float(value) for name, value in self._observed.items()})

    # Inside

    def _news(self, trainer: Any) -> dict[str, Any]:
        """What was logged since the last look, by name.

        Lightning hands out the same memory again, in another tensor, until a metric is logged anew.
        """
        logged, seen = dict(trainer.callback_metrics), self._seen
        self._seen = logged  # held, so that nothing new comes to lie where it was
        news = {name: v for name, v in logged.items() if name not in seen or v.data_ptr() != seen[name].data_ptr()}
        own = sorted((name for name in news if f"{name}_step" not in news), key=lambda name: name == python_name(name))
        return {python_name(name): news[name] for name in own}  # of two that become one name, who has it by right

    def _observe(self, trainer: Any, numbers: Mapping[str, Any]) -> None:
        numbers = {name: value for name, value in numbers.items() if name != "loss"}
        self._observed |= numbers
        for run in self._runs:
            run.scheduler.observe(**numbers)
        self._heed(trainer)

    def _heed(self, trainer: Any) -> None:
        """Stop the trainer if a rule has stopped the run; that its planned end has come, the trainer knows."""
        if any(run.stopped for run in self._runs):
            trainer.should_stop = True


def _over_ranks(numbers: dict[str, float]) -> dict[str, float]:
    """The mean over the ranks, which rules would have heard at the next update."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return numbers
    everyone: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(everyone, numbers)
    told = {name: [each[name] for each in everyone if name in each] for each in everyone for name in each}
    return {name: math.fsum(values) / len(values) for name, values in told.items()}
