"""The callback: rules hear of the losses and metrics of a `fit`, and a rule that stops the run stops it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from numbers import Real
from typing import Any

import keras
import numpy as np

from lehr.controller import Controller
from lehr.errors import LehrError
from lehr.keras.on_torch import TorchTap
from lehr.keras.schedule import Schedule

__all__ = ["Feedback", "run_of"]

Evaluation = Callable[[Any], float]


def run_of(model: Any) -> Controller:
    """The running policy of a compiled model: `run_of(model).why()`, after `load_model` too.

    Args:
        model: compiled with an optimiser whose learning rate is a `Schedule`.

    Raises:
        LehrError: it is not.

    Example:
        >>> import keras
        >>> from lehr.keras import Schedule
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        >>> model.compile(keras.optimizers.SGD(Schedule("cosine()", lr=0.1, steps=10)), loss="mse")
        >>> run_of(model).lr
        0.1
    """
    return _schedule_of(model).run


class Feedback(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Lets the rules of a `Schedule` hear of a `fit`. Put it first among the callbacks, before those that save.

    What rules hear, each number when it is new:
        `loss`: of each update, that of its own batch or the mean over its micro-batches, not the mean over the epoch so
            far that Keras shows. Updates that a `LossScaleOptimizer` skips are not heard. With
            `steps_per_execution=n` (JAX) the mean of n updates is heard after the last of them.
        `val_loss`, `val_accuracy`, ...: after each validation of `fit`, by Keras's names.
        `epoch_loss`, `accuracy`, ...: means over the epoch, at its end; the loss has another name here than in Keras.
    A rule acts from the next update on. A `stop` ends `fit` after the update, or the epoch, that asked for it. A policy
    without rules does not need this callback; with it, its run counts the updates, and `accumulate` is checked.

    With it, files of weights alone hold what the rules remember too: `BackupAndRestore` goes on where it stood, and so
    does `model.load_weights` of a model that a `Feedback` was set for. `logs["learning_rate"]` of an epoch is the LR of
    its last update.

    Args:
        evaluate: name → function of the model, for each `evaluation(name, ...)` of the policy. It is called between
            two updates and must leave training alone: use `model(x, training=False)`, not `model.evaluate`.

    Raises:
        LehrError: when `fit` begins: the model's optimiser has no `Schedule`, or another `gradient_accumulation_steps`;
            it has applied other updates than the run has heard of; a rule has already stopped the run.

    Example:
        >>> import keras
        >>> from lehr.keras import Schedule
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        >>> policy = "Policy(cosine(), rules=[when(loss.reaches(1e9)).scale(0.5)])"
        >>> import numpy as np
        >>> model.compile(keras.optimizers.SGD(Schedule(policy, lr=0.1, steps=10)), loss="mse")
        >>> history = model.fit(np.ones((8, 1)), np.ones((8, 1)), batch_size=4, verbose=0, callbacks=[Feedback()])
        >>> run = run_of(model)
        >>> run.t, run.lr < 0.05
        (2, True)
    """

    def __init__(self, evaluate: Mapping[str, Evaluation] | None = None) -> None:
        super().__init__()
        self._evaluate = dict(evaluate or {})
        self._schedule: Schedule | None = None  # while `fit` runs
        self._begun = False

    def set_model(self, model: Any) -> None:
        """Take the model; from now on its files of weights hold what the rules remember."""
        super().set_model(model)
        schedule = _find(model)
        if schedule is not None and schedule.rules:
            model.lehr_memory = _Memory(schedule)

    def on_train_begin(self, logs: Any = None) -> None:
        """Look for the schedule."""
        self._schedule, self._begun = _schedule_of(self._model), False

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Before the first epoch begin to listen: by now other callbacks have restored what they restore."""
        if self._schedule is not None and not self._begun:
            self._begun = True
            self._begin(self._schedule)
        if self._schedule is not None and self._schedule.rules and keras.backend.backend() == "jax":
            from lehr.keras.on_jax import commit

            model = self._model
            commit([*model.variables, *model.metrics_variables, *model.optimizer.variables])

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Hear of the update, and stop if a rule said so."""
        if self._schedule is not None:
            self._schedule.catch_up()
            self._heed()

    def on_test_end(self, logs: Any = None) -> None:
        """Hear what the validation of `fit` brought, before any callback saves it."""
        self._observe({f"val_{name}": value for name, value in (logs or {}).items()})

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Hear the means of the epoch."""
        if self._schedule is not None and not self._schedule.rules:
            self._schedule.follow(_inner(self._model.optimizer)._iterations)
        means = {name: value for name, value in (logs or {}).items() if not name.startswith("val_")}
        self._observe({"epoch_loss" if name == "loss" else name: value for name, value in means.items()})
        if logs is not None and self._schedule is not None:
            logs.setdefault("learning_rate", self._schedule.run.last_lr[0])

    def on_train_end(self, logs: Any = None) -> None:
        """Listen no more."""
        if self._schedule is not None:
            vars(self._model.optimizer).pop("scale_loss", None)
            self._schedule.detach()
            self._schedule = None

    # Inside

    def _begin(self, schedule: Schedule) -> None:
        optimizer = self._model.optimizer
        _check(schedule, _inner(optimizer))
        if not schedule.rules:
            return
        tap = _tap(schedule, _inner(optimizer), self._model)
        schedule.attach(tap, {name: partial(self._evaluated, name) for name in self._evaluate})
        vars(optimizer).pop("scale_loss", None)  # of a `fit` that was interrupted
        plain = optimizer.scale_loss

        def scale_loss(loss: Any) -> Any:
            tap.heard(loss)
            return plain(loss)

        # A public method of every optimiser, and the one place where a training step shows the loss of its own batch.
        optimizer.scale_loss = scale_loss

    def _evaluated(self, name: str) -> float:
        return float(self._evaluate[name](self.model))  # on JAX, `model` brings the weights to the model first

    def _observe(self, logs: Mapping[str, Any]) -> None:
        if self._schedule is not None and self._begun:
            self._schedule.observe({name: float(value) for name, value in logs.items() if isinstance(value, Real)})
            self._heed()

    def _heed(self) -> None:
        if self._schedule is not None and _stopped(self._schedule.run):
            self._model.stop_training = True


class _Memory(keras.losses.Loss):  # type: ignore[misc]  # Keras has no types
    """What the rules remember, in files of weights.

    A loss, as this is the public kind of object that Keras looks for among a model's attributes when it writes and
    reads weights, and that takes no part in the computation.
    """

    def __init__(self, schedule: Schedule) -> None:
        super().__init__(name="lehr_memory")
        self._schedule = schedule

    def save_own_variables(self, store: Any) -> None:
        """Write the state, as the bytes of a text."""
        store["state"] = np.frombuffer(self._schedule.state.encode(), np.uint8)

    def load_own_variables(self, store: Any) -> None:
        """Read it, from a file that has it."""
        if "state" in store.keys():  # noqa: SIM118  # a store of Keras is no mapping
            self._schedule.state = bytes(np.asarray(store["state"])).decode()


def _find(model: Any) -> Schedule | None:
    optimizer = getattr(model, "optimizer", None)
    schedule = getattr(_inner(optimizer), "_learning_rate", None)  # `learning_rate` is its present value
    return schedule if isinstance(schedule, Schedule) else None


def _schedule_of(model: Any) -> Schedule:
    schedule = _find(model)
    if schedule is None:
        raise LehrError(
            "this model's optimizer has no schedule of Lehr's; compile it with one: "
            "keras.optimizers.Adam(lehr.keras.Schedule(policy, lr=3e-4, steps=1000))"
        )
    return schedule


def _inner(optimizer: Any) -> Any:
    """The optimiser inside a `LossScaleOptimizer`."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def _check(schedule: Schedule, optimizer: Any) -> None:
    """Whether schedule and optimiser agree on what an update is, and on how many there were."""
    accumulate = optimizer.gradient_accumulation_steps or 1
    if accumulate != schedule.accumulate:
        raise LehrError(
            f"the optimizer accumulates {accumulate} micro-batches in an update, the schedule {schedule.accumulate}; "
            f"give Schedule(..., accumulate={accumulate})"
        )
    if not schedule.rules:
        return
    run, applied = schedule.run, int(optimizer._iterations) // accumulate
    if applied != run.t:
        remedy = (
            "the weights of a file without the rules' memory were loaded; load all of a model "
            "(keras.models.load_model), or call Feedback().set_model(model) before load_weights and where it was saved"
            if applied > run.t
            else "a new optimizer begins a new run; make a new Schedule(...) for it"
        )
        raise LehrError(f"the optimizer has applied {applied} updates, and the rules have heard of {run.t}: {remedy}")
    if _stopped(run):
        raise LehrError(
            f"a rule has stopped this run at update {run.t}, as its why() says; a new run needs a new Schedule"
        )


def _stopped(run: Controller) -> bool:
    """Whether rules have ended the run; that its planned end has come is the trainer's own business."""
    steps = run.horizon.steps
    return run.done and not (steps is not None and run.t >= steps)


def _tap(schedule: Schedule, optimizer: Any, model: Any) -> Any:
    """The tap of this backend. On JAX it stays the schedule's, as compiled steps hold on to it."""
    if keras.backend.backend() != "jax":
        return TorchTap(optimizer._iterations)
    from lehr.keras.on_jax import JaxTap

    iterations = optimizer._iterations.value
    size, eager = model.steps_per_execution, model.run_eagerly or not model.jit_compile
    tap = schedule.kept
    if not isinstance(tap, JaxTap) or (tap.size, tap.eager) != (size, eager):
        schedule.kept = tap = JaxTap(schedule, iterations, size, eager)
    tap.begin(iterations)
    return tap
