"""Lehr in pytorch-ignite: a handler that makes a scheduler's steps, and lets its rules hear what engines measure.

`import lehr.ignite` is enough for the whole: `lehr.torch.Scheduler` is there with it.
"""

from __future__ import annotations

import functools as ft
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from numbers import Real
from typing import Any

import torch

from lehr.errors import LehrError, LehrWarning
from lehr.extras import needs
from lehr.lengths import Horizon, as_count
from lehr.torch import Scheduler

with needs("ignite"):
    from ignite.engine import Events

__all__ = ["Feedback", "horizon"]

Number = float | torch.Tensor


def _itself(output: Any) -> Any:
    return output


class Feedback:
    """Makes a scheduler's steps, one after each update that its optimiser really made, and carries its `stop` out.

    Neither the micro-batches of an update nor updates that `GradScaler` skips advance the schedule. Rules hear:

    `loss`, or whatever `output_transform` makes of the trainer's output, as the mean over the micro-batches since the
        last update. Ignite's own training steps put out the loss of a micro-batch, undivided.
    metrics of evaluators that are single numbers, each time a run of the evaluator ends, whenever that is: `accuracy`
        of `attach(trainer, val=evaluator)` is `val_accuracy`. Evaluate before you save.

    Where several processes train, all must run the evaluators. A `stop`, or the end of a schedule that a rule has
    begun, terminates the trainer, as ignite's `EarlyStopping` does. The scheduler goes into `Checkpoint` as it is.

    Args:
        scheduler: one that counts updates: `Scheduler(..., count="updates")`.
        output_transform: makes of the trainer's output the loss, or numbers by name; None if there is nothing to hear.
        accumulate: micro-batches in an update, as ignite's `gradient_accumulation_steps`. Give it where a `GradScaler`
            may skip updates: then the losses of a skipped update are not heard. Default: they count for the next one.

    Raises:
        LehrError: the scheduler does not count updates; later, an output that is no number.

    Example:
        >>> import torch
        >>> from ignite.engine import create_supervised_trainer
        >>> model, data = torch.nn.Linear(2, 1), [(torch.ones(4, 2), torch.ones(4, 1))] * 10
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> trainer = create_supervised_trainer(model, optimizer, torch.nn.functional.mse_loss)
        >>> scheduler = Scheduler(optimizer, "cosine()", horizon=horizon(data, epochs=3), count="updates")
        >>> Feedback(scheduler).attach(trainer)
        >>> state = trainer.run(data, max_epochs=3)
        >>> scheduler.t, scheduler.lr
        (30, 0.0)
    """

    def __init__(
        self,
        scheduler: Scheduler,
        *,
        output_transform: Callable[[Any], Number | Mapping[str, Number] | None] = _itself,
        accumulate: int | None = None,
    ) -> None:
        if not isinstance(scheduler, Scheduler) or scheduler.count != "updates":
            raise LehrError(
                "Feedback(scheduler) needs one that counts updates, lehr.torch.Scheduler(..., count='updates'); "
                f"got {scheduler!r}"
            )
        self._scheduler = scheduler
        self._transform = output_transform
        self._accumulate = None if accumulate is None else as_count(accumulate, "Feedback(accumulate=...)")
        self._sums: dict[str, tuple[Number, int]] = {}  # name → sum over micro-batches, their number

    def attach(self, trainer: Any, **evaluators: Any) -> None:
        """Take over the steps.

        Args:
            trainer: the engine that steps the optimiser.
            evaluators: engines whose metrics the rules hear, by what their names shall begin with.
        """
        self._step = self._scheduler.drive()
        trainer.add_event_handler(Events.STARTED, self._started)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self._iterated)
        _put_first(trainer)
        for name, evaluator in evaluators.items():
            evaluator.add_event_handler(Events.COMPLETED, ft.partial(self._evaluated, trainer=trainer, name=name))

    def _started(self, trainer: Any) -> None:
        self._sums = {}
        self._heed(trainer)  # what was resumed may have been stopped

    def _iterated(self, trainer: Any) -> None:
        """Hear what the micro-batch brought; after an update, step."""
        for name, value in _numbers(self._transform(trainer.state.output)).items():
            total, n = self._sums.get(name, (0.0, 0))
            self._sums[name] = total + value, n + 1
        before = self._scheduler.t
        self._step(applied=True, **{name: total / n for name, (total, n) in self._sums.items()})
        ended = self._accumulate is not None and trainer.state.iteration % self._accumulate == 0
        if ended or self._scheduler.t > before:
            self._sums = {}
        self._heed(trainer)

    def _evaluated(self, evaluator: Any, trainer: Any, name: str) -> None:
        metrics = evaluator.state.metrics.items()
        self._scheduler.observe(**{f"{name}_{metric}": value for metric, value in metrics if _is_number(value)})
        self._heed(trainer)

    def _heed(self, trainer: Any) -> None:
        """Terminate if rules have ended the run; that its planned end has come, the trainer knows itself."""
        steps = self._scheduler.horizon.steps
        if self._scheduler.done and (steps is None or self._scheduler.t < steps):
            trainer.terminate()


def _put_first(trainer: Any) -> None:
    """Have the handler that joined last called first; ignite itself offers only the order in which they join.

    A handler that saves a checkpoint would else find the scheduler an update behind the optimiser.
    """
    handlers = getattr(trainer, "_event_handlers", {}).get(Events.ITERATION_COMPLETED)
    if handlers:
        handlers.insert(0, handlers.pop())
    else:
        warnings.warn(
            "this version of pytorch-ignite does not say where its handlers are: call Feedback.attach(trainer) before "
            "you add a Checkpoint, which would else save the scheduler an update behind the optimiser",
            LehrWarning,
            stacklevel=3,
        )


def horizon(loader: Any, *, epochs: int, accumulate: int = 1) -> Horizon:
    """The horizon of a run of ignite's own training steps.

    They count micro-batches through the whole run: 3 epochs of 10 in groups of 4 are 7 updates, and the last 2
    micro-batches are lost. There an epoch is no whole number of updates, and lengths in epochs are refused. For steps
    of your own that end each epoch with an update (9 of them here), take `Horizon.from_loader`.

    Args:
        loader: what the trainer runs over: anything with a length in batches; with `epoch_length=n`, `range(n)`.
        epochs: the trainer's `max_epochs`.
        accumulate: its `gradient_accumulation_steps`.

    Raises:
        LehrError: the loader has no length, or there is no update in the whole run.

    Example:
        >>> horizon(range(10), epochs=3, accumulate=4).steps
        7
    """
    accumulate = as_count(accumulate, "horizon(accumulate=...)")
    batches = Horizon.from_loader(loader, epochs=1).steps or 0
    steps = as_count(as_count(epochs, "horizon(epochs=...)") * batches // accumulate, "the updates of this run")
    whole = Horizon.from_loader(loader, steps=steps, accumulate=accumulate)
    return whole if batches % accumulate == 0 else replace(whole, steps_per_epoch=None)


def _numbers(output: Any) -> Mapping[str, Number]:
    """What an output says, by name.

    Raises:
        LehrError: it is neither a number, nor numbers by name, nor nothing.
    """
    given = {} if output is None else output if isinstance(output, Mapping) else {"loss": output}
    for name, value in given.items():
        if not _is_number(value):
            raise LehrError(
                f"the trainer's output must be the loss, numbers by name, or None; got {type(value).__name__} for "
                f"{name!r}: say where the loss is, such as Feedback(output_transform=lambda output: output[0])"
            )
    return {name: _wide(value) if isinstance(value, torch.Tensor) else value for name, value in given.items()}


def _wide(value: torch.Tensor) -> torch.Tensor:
    return value.detach().to(torch.promote_types(value.dtype, torch.float32))


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) or (isinstance(value, torch.Tensor) and value.numel() == 1)
