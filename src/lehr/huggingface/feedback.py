"""The callback: tells the scheduler how long the run is, reports what the trainer logs, and stops the run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from transformers import TrainerCallback

from lehr import torch as adapter
from lehr.errors import LehrError
from lehr.huggingface.scheduler import Scheduler
from lehr.journal import Event
from lehr.lengths import Horizon

__all__ = ["Feedback", "horizon_of"]

journal = logging.getLogger("lehr")

POSITIONS = {"epoch", "step", "learning_rate", "total_flos", "num_input_tokens_seen"}  # logged, but nothing measured
SPEEDS = ("_runtime", "_per_second", "_compilation_time", "_preparation_time")


class Feedback(TrainerCallback):  # type: ignore[misc]  # transformers has no types
    """Connects a scheduler of Lehr with the `Trainer` that it is given to.

    When the training begins it tells a `lehr.huggingface.Scheduler` how long the run is. Then rules hear what the
    trainer logs, by its names: `loss`, the mean since the last log (so set `logging_steps`), `grad_norm` of the last
    update, `eval_loss` and each `eval_...` of `compute_metrics`. A number belongs to the step at which it is logged,
    and acts from the next update on; with several processes it is heard together with the next update, by all of them
    alike. Two things the trainer's logs hide (`PolicyTrainer` hears every loss): one that is not finite, unless
    `logging_nan_inf_filter=False`; and, after a resume, losses between the last log and the checkpoint, unless
    `save_steps` is a multiple of `logging_steps`. A rule that stops the run stops the trainer.

    Events of the journal go to Python's logger "lehr", at level INFO, on the first process.

    Raises:
        LehrError: at the beginning of the training: the scheduler is not Lehr's, it needs a fact that is missing, a
            rule reads the loss or an evaluation and none is logged, or the checkpoint has no state of a scheduler.

    Example:
        >>> from transformers import Trainer
        >>> def trainer(model, args, data, optimizer, scheduler):
        ...     return Trainer(
        ...         model, args, train_dataset=data, optimizers=(optimizer, scheduler), callbacks=[Feedback()]
        ...     )
    """

    reported_otherwise: frozenset[str] = frozenset()  # names that do not come from the logs

    def __init__(self) -> None:
        self._scheduler: adapter.Scheduler | None = None  # while the training runs
        self._end: Callable[[], None] = lambda: None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Tell the scheduler how long the run is."""
        scheduler = kwargs.get("lr_scheduler")
        scheduler = getattr(scheduler, "scheduler", scheduler)  # accelerate wraps it
        if not isinstance(scheduler, adapter.Scheduler):
            raise LehrError(
                "Feedback() belongs to a scheduler of Lehr, but this trainer runs "
                f"{type(scheduler).__name__}; give Trainer(optimizers=(optimizer, lehr.huggingface.Scheduler(...)))"
            )
        if isinstance(scheduler, Scheduler):
            if state.global_step > 0 and not scheduler.waiting:
                raise LehrError(
                    f"the training goes on at step {state.global_step}, but the checkpoint has no state of the "
                    "scheduler (save_only_model=True?); train without resume_from_checkpoint to begin a new run"
                )
            scheduler.begin(horizon_of(args, state, kwargs.get("train_dataloader")))
        _check_that_all_will_come(scheduler.awaited - self.reported_otherwise, args, state)
        self._end()
        if state.is_world_process_zero:
            self._end = scheduler.subscribe(_log)
        self._scheduler = scheduler

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        """Report what was measured."""
        self._report(logs or {}, control)

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """Report the metrics; those that were logged already are heard once."""
        self._report(metrics or {}, control)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop if a rule said so."""
        self._stop(control)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Report nothing any more: `trainer.evaluate()` after the training is no part of it."""
        self._end()
        self._scheduler, self._end = None, lambda: None

    def _report(self, numbers: Mapping[str, Any], control: Any) -> None:
        measured = {
            name: value
            for name, value in numbers.items()
            if isinstance(value, int | float)
            and not isinstance(value, bool)
            and name not in POSITIONS | self.reported_otherwise
            and not name.endswith(SPEEDS)
        }
        if self._scheduler is not None and measured:
            self._scheduler.observe(**measured)
            self._stop(control)

    def _stop(self, control: Any) -> None:
        if self._scheduler is not None and self._scheduler.done:
            control.should_training_stop = True


def horizon_of(args: Any, state: Any, loader: Any) -> Horizon:
    """The facts of a trainer's run, as the trainer itself reckons them.

    Args:
        args: the `TrainingArguments`.
        state: the `TrainerState`, when the training begins.
        loader: the trainer's data loader, of this process.
    """
    accumulate = args.gradient_accumulation_steps
    try:
        batches = len(loader)
    except TypeError:  # a stream
        batches = 0
    size = state.train_batch_size if args.auto_find_batch_size else args.train_batch_size  # of one process
    return Horizon(
        steps=state.max_steps,
        steps_per_epoch=-(-batches // accumulate) if batches else None,
        samples_per_step=size * accumulate * args.world_size,
    )


def _check_that_all_will_come(names: set[str], args: Any, state: Any) -> None:
    """Refuse a run in which rules wait for an evaluation, or for a loss, that never comes."""
    missing = sorted(name for name in names if name.startswith("eval_"))
    if missing and _never(args.eval_strategy, state.eval_steps, state):
        raise LehrError(f"rules read {', '.join(missing)}, but nothing is evaluated: set eval_strategy and eval_steps")
    if "loss" in names and _never(args.logging_strategy, state.logging_steps, state):
        raise LehrError(
            f"rules read the loss, but in {state.max_steps} steps none is logged: set logging_strategy and "
            f"logging_steps ({args.logging_steps:g} now), or take PolicyTrainer, which hears the loss of every update"
        )


def _never(strategy: str, every: int | None, state: Any) -> bool:
    """Whether what is done so often is never done in this run."""
    return strategy == "no" or (strategy == "steps" and every is not None and every > state.max_steps)


def _log(event: Event) -> None:
    journal.info("%s", event)
