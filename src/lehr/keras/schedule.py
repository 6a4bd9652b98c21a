"""A policy as a learning rate schedule of Keras: a function of the iteration, or, with rules, what the run says."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Protocol

import keras

from lehr.controller import start
from lehr.errors import LehrError
from lehr.lengths import Horizon
from lehr.plan import Plan, Track
from lehr.policy import Policy, PolicyLike, tracks
from lehr.resume import OnChange
from lehr.spelling import shown
from lehr.tabulated import Table
from lehr.text import as_policy, read_back

__all__ = ["Schedule", "Tap"]

BACKENDS = ("torch", "jax", "numpy")


class Tap(Protocol):
    """What a training step tells, on one backend."""

    def take(self) -> tuple[list[float], int]:
        """The loss of each micro-batch that counted since the last call, and how many have counted in all."""

    def rate(self, step: Any) -> Any:
        """The LR of iteration `step` from inside a training step, or None: the host is to be asked."""

    def refresh(self) -> None:
        """Let training steps know the LRs to come."""


@keras.saving.register_keras_serializable("lehr")
class Schedule(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]  # Keras has no types
    """A policy as the `learning_rate` of an optimiser of Keras.

    Without rules it is a pure function of the optimiser's iterations: inside the jitted step of the JAX backend it is
    traced, elsewhere looked up; both give the LRs of `lehr.start`, rounded to float32. A policy with rules needs
    `Feedback()` among the callbacks of `fit`; then each update uses the LR of `run`, rounded to float32.

    What the rules remember is part of the config: `model.save` and `keras.models.load_model` go on where the run
    stood. Updates that a `LossScaleOptimizer` skips do not count.

    Args:
        policy: a policy, schedule, rule, or the text of one; of one LR, without `groups` and `bind`.
        lr: the base LR, ≥ 0.
        steps: updates in the run; short for `horizon=Horizon(steps=...)`, never both.
        horizon: the facts of the run.
        accumulate: the optimiser's `gradient_accumulation_steps`, of which it tells a schedule nothing; steps are
            updates, each of so many micro-batches. ≥ 1.
        on_change: what is done if a file brings the memory of another policy, horizon or LR, as in `Scheduler`.

    Raises:
        LehrError: something is missing or cannot be right. When an LR is asked for: rules without `Feedback()`, or an
            optimiser that has applied other updates than the run.

    Attributes:
        run: the running policy: `run.why()`, `run.events`, `run.subscribe(...)`.

    Example:
        >>> from lehr.keras import Schedule
        >>> schedule = Schedule("warmup(2).then(linear(to=0))", lr=0.5, steps=4)
        >>> [float(schedule(step)) for step in range(5)]
        [0.25, 0.5, 0.5, 0.25, 0.0]
        >>> import keras
        >>> optimizer = keras.optimizers.Adam(schedule)
        >>> float(optimizer.learning_rate)
        0.25
    """

    def __init__(
        self,
        policy: PolicyLike | str,
        lr: float,
        *,
        steps: int | None = None,
        horizon: Horizon | None = None,
        accumulate: int = 1,
        on_change: OnChange = "error",
    ) -> None:
        if keras.backend.backend() not in BACKENDS:
            raise LehrError(
                f"lehr.keras works on the torch and JAX backends of Keras, this is {keras.backend.backend()}; "
                "set KERAS_BACKEND=torch or jax before keras is imported"
            )
        given = as_policy(policy)
        if not isinstance(given, Policy):
            raise LehrError(f"an optimiser of Keras has one LR for all parameters, got {shown(given)}; give one policy")
        if isinstance(accumulate, bool) or not isinstance(accumulate, int) or accumulate < 1:
            raise LehrError(f"Schedule(accumulate=...) must be a whole number of at least 1, got {accumulate!r}")
        if any(getattr(rule.action, "by_hand", False) and not rule.shadow for rule in given.rules):
            raise LehrError(
                f"{shown(given)} restores weights, which lehr.keras leaves to Keras: "
                "keras.callbacks.EarlyStopping(restore_best_weights=True), or ModelCheckpoint(save_best_only=True)"
            )
        self._evaluations: Mapping[str, Callable[[], float]] = {}
        names = {s.name for rule in given.rules for s in rule.trigger.signals() if s.every is not None}
        evaluate = {name: lambda name=name: self._evaluations[name]() for name in names}
        self.run = start(given, lr=lr, steps=steps, horizon=horizon, evaluate=evaluate, on_change=on_change)
        self.accumulate = accumulate
        self._policy, self._lr, self._on_change = given, float(lr), on_change
        self._losses: list[float] = []  # of the micro-batches of the update that is being accumulated
        self._tap: Tap | None = None
        self.kept: Any = None  # by Feedback, for the next `fit`
        plan = Plan.of(given, self.run.horizon, (self._lr,))
        self._track = Track("lr", (0,), plan, plan.init())
        self._table = Table.of([self._track], {"lr": (self._lr,)}, 0)
        self._traced: Callable[[Any], Any] | None = None

    # For Keras

    def __call__(self, step: Any) -> Any:
        """The LR of iteration `step` of an optimiser, which counts micro-batches."""
        step = keras.ops.convert_to_tensor(step)
        if not self.rules:
            lr = self._traced_rate(step // self.accumulate) if _traced(step) else self._planned(self._update(step))
        else:
            lr = self._tap.rate(step) if self._tap is not None else None
            if lr is None and _traced(step):
                raise LehrError(f"{_forgotten(self.run.policy)}, to train with model.fit")
            lr = self._decided(self._update(step)) if lr is None else lr
        return keras.ops.convert_to_tensor(lr, "float64" if keras.config.floatx() == "float64" else "float32")

    def get_config(self) -> dict[str, Any]:
        """What is saved with a model: policy, base LR, horizon, and where the run stands, as JSON."""
        return {
            "policy": self.run.policy.text(full=True),
            "lr": self._lr,
            "horizon": {name: value for name, value in asdict(self.run.horizon).items() if value is not None},
            "accumulate": self.accumulate,
            "on_change": self._on_change,
            **({"state": self.state} if self.rules and (self.run.t or self._losses) else {}),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Schedule:
        """The schedule of a config, its run where it stood."""
        horizon, state = Horizon(**config["horizon"]), config.get("state")
        given = {name: config[name] for name in ("lr", "accumulate", "on_change")}
        schedule = cls(read_back(config["policy"]), horizon=horizon, **given)
        if state is not None:
            schedule.state = state
        return schedule

    # For Feedback

    @property
    def rules(self) -> bool:
        """Whether the LR depends on what is measured."""
        return bool(self._track.plan.rules)

    @property
    def state(self) -> str:
        """What the run and its rules remember, as JSON."""
        self.catch_up()
        return json.dumps({"run": self.run.state_dict(), "losses": self._losses})

    @state.setter
    def state(self, text: str) -> None:
        saved = json.loads(text)
        self.run.load_state_dict(saved["run"])
        self._losses = list(saved["losses"])

    def attach(self, tap: Tap, evaluate: Mapping[str, Callable[[], float]]) -> None:
        """Listen to training steps.

        Raises:
            LehrError: a rule reads an evaluation whose function is missing.
        """
        missing = sorted(self.run.evaluated - evaluate.keys())
        if missing:
            raise LehrError(
                f"rules read {', '.join(f'evaluation({name!r})' for name in missing)}, which needs a function of the "
                f"model: Feedback(evaluate={{{missing[0]!r}: function}}); or read metric('val_...'), which fit measures"
            )
        self._tap, self._evaluations = tap, evaluate
        tap.refresh()

    def detach(self) -> None:
        """The end of a `fit`."""
        self.catch_up()
        self._tap = None

    def catch_up(self) -> None:
        """Let the run hear of the updates since the last call: it is where the optimiser is.

        Their mean loss is heard at the last of them; there is more than one with `steps_per_execution` only.
        """
        if self._tap is None:
            return
        losses, count = self._tap.take()
        self._losses += losses
        updates = count // self.accumulate - self.run.t
        if updates > 0:
            heard = self._losses[: len(self._losses) - count % self.accumulate]
            self._losses = self._losses[len(heard) :]
            self.run.advance(updates, {"loss": sum(heard) / len(heard)} if heard else {})
            self._tap.refresh()

    def follow(self, iterations: Any) -> None:
        """Let the run of a policy without rules count the updates of an optimiser."""
        if self.run.policy != self._policy:
            raise LehrError(
                "a schedule without rules is part of the compiled step, and its run cannot be replanned; set "
                "model.optimizer.learning_rate = Schedule(...) and compile the model again"
            )
        updates = int(iterations) // self.accumulate - self.run.t
        if updates > 0:
            self.run.advance(updates, {})

    def observe(self, numbers: Mapping[str, float]) -> None:
        """Let the run hear of numbers at the present step."""
        self.catch_up()
        self.run.observe(**numbers)
        if self._tap is not None:
            self._tap.refresh()

    def lrs(self, count: int) -> tuple[int, list[float]]:
        """The next update, and the LRs from it on, at least `count` of them, if no rule fires.

        Raises:
            LehrError: so many are not known.
        """
        table, t = self.run.ahead(), self.run.t
        if not table.covers(t + count - 1):
            plan = Plan.of(tracks(self.run.policy, [{}])[0][1], self.run.horizon, self.run.bases["lr"])
            table = Table.of([Track("lr", (0,), plan, self.run.states[0][2])], self.run.bases, t)
        lrs = table.columns["lr"][0][t - table.start :]
        if len(lrs) < count:
            raise LehrError(
                f"steps_per_execution={count} needs the LRs of as many updates ahead, and with this policy {len(lrs)} "
                "are known; compile with fewer"
            )
        return t, lrs

    # Inside

    def _update(self, step: Any) -> int:
        return int(step) // self.accumulate

    def _planned(self, t: int) -> float:
        if not self._table.covers(t):
            self._table = Table.of([self._track], self.run.bases, t)
        return self._table.at(t)["lr"][0]

    def _traced_rate(self, t: Any) -> Any:
        if self._traced is None:
            from lehr.jax import schedule

            self._traced = schedule(self.run.policy, self._lr, horizon=self.run.horizon)
        return self._traced(t)

    def _decided(self, t: int) -> float:
        self.catch_up()
        if self._tap is None and t > self.run.t:
            raise LehrError(
                f"{_forgotten(self.run.policy)}; or, in a loop of your own, call schedule.run.step(loss=...) after "
                f"each update. The optimizer has applied {t} updates, the run has heard of {self.run.t}"
            )
        if t != self.run.t:
            raise LehrError(
                f"the LR of update {t} is not known: the run is at update {self.run.t}, and its rules decide"
            )
        return self.run.lr


def _forgotten(policy: Any) -> str:
    return f"{shown(policy)} has rules, which hear of the training by a callback: give fit(callbacks=[Feedback(), ...])"


def _traced(step: Any) -> bool:
    if keras.backend.backend() != "jax":
        return False
    import jax

    return isinstance(step, jax.core.Tracer)
