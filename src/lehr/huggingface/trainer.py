"""A `Trainer` that runs the policy which its arguments name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers import Trainer

from lehr.errors import LehrError
from lehr.huggingface.feedback import Feedback
from lehr.huggingface.scheduler import Scheduler

__all__ = ["PolicyTrainer"]


class PolicyTrainer(Trainer):  # type: ignore[misc]  # transformers has no types
    """A `Trainer` for `PolicyArguments`; all else is as in `Trainer`.

    Rules hear the loss of every update (the mean over its micro-batches, and over all processes), even one that is not
    finite, and what the trainer logs, as `Feedback` tells. Rules that roll back find snapshots of the model. Without
    `lr_policy` it is a plain `Trainer`.

    Example:
        >>> from lehr.huggingface import PolicyArguments
        >>> def train(model, data):
        ...     args = PolicyArguments("out", lr_policy="warmup('3%').then(cosine())", learning_rate=5e-5)
        ...     PolicyTrainer(model, args, train_dataset=data).train()
    """

    lr_scheduler: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._every_loss: EveryLoss | None = None
        if not getattr(self.args, "lr_policy", ""):
            return
        if self.lr_scheduler is not None or any(isinstance(one, Feedback) for one in self.callback_handler.callbacks):
            raise LehrError(
                "lr_policy brings a scheduler and its feedback; leave the scheduler out of optimizers= and Feedback() "
                "out of callbacks=, or take transformers' Trainer with both"
            )
        self._every_loss = EveryLoss()
        self.add_callback(self._every_loss)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """The scheduler that runs the policy, if none was given."""
        policy = getattr(self.args, "lr_policy", "")
        if self.lr_scheduler is None and policy:
            self.lr_scheduler = Scheduler(
                self.optimizer if optimizer is None else optimizer,
                policy,
                on_change=self.args.lr_on_change or None,
                model=self.model,
                snapshots=True,
            )
        return super().create_scheduler(num_training_steps, optimizer)

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """Train on a micro-batch, and note its loss."""
        loss = super().training_step(*args, **kwargs)
        if self._every_loss is not None:
            self._every_loss.add(loss)
        return loss


class EveryLoss(Feedback):
    """Feedback that reports the loss of each update, not the mean that is logged now and then."""

    reported_otherwise = frozenset({"loss"})

    def __init__(self) -> None:
        super().__init__()
        self._losses: list[Any] = []  # of the micro-batches of this update; the trainer has scaled them to be summed
        self._step: Callable[..., None]

    def add(self, loss: Any) -> None:
        """Note the loss of a micro-batch."""
        self._losses.append(loss)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin, and make the steps from now on: the trainer's own call knows no loss."""
        super().on_train_begin(args, state, control, **kwargs)
        if self._scheduler is not None:
            self._step = self._scheduler.drive()

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin an update."""
        self._losses = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Report its loss."""
        self._step(**({"loss": sum(self._losses)} if self._losses else {}))
        super().on_step_end(args, state, control, **kwargs)
