"""Trackers: the LR, the gain and the events of a run in TensorBoard, W&B or MLflow, by one `subscribe`.

    scheduler.subscribe(lehr.trackers.tensorboard(SummaryWriter("runs/1")))
    scheduler.subscribe(lehr.trackers.wandb(wandb.init()))
    scheduler.subscribe(lehr.trackers.mlflow())

They write `lehr/lr` and `lehr/gain` at the step of the update that used them; from the first update on at which groups
differ, `lehr/lr/<name or index of the group>`. Verdicts of rules are texts under `lehr/verdict`, all other events
(rules that fired, shadows, hand edits, changes of plan, warnings, the end) under `lehr/event`, at the step that they
tell. What a resumed run remembers of what happened is not told again; updates that it does anew, since its checkpoint,
are. Of several ranks, subscribe on one: each that subscribes writes.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from lehr.errors import LehrError, LehrWarning
from lehr.extras import needs
from lehr.journal import Event

__all__ = ["Sink", "Tracker", "mlflow", "tensorboard", "wandb"]

EVENT, VERDICT = "lehr/event", "lehr/verdict"
OFTEN = 100  # events, up to which MLflow's file of them is written anew at each
UNSEEN = 10  # LRs in a row that wait for one row of W&B, after which that is said


def tensorboard(writer: Any, *, every: int = 10) -> Tracker:
    """A listener that writes to TensorBoard.

    Args:
        writer: a `SummaryWriter` of torch or tensorboardX, such as Lightning's `logger.experiment`. It stays yours to
            close. It writes float32: read back, an LR has 7 digits.
        every: updates between two points of a curve.

    Raises:
        LehrError: `writer` is no such writer, or `every` no whole number of at least 1.

    Example:
        >>> import lehr
        >>> class Writer:  # stands for SummaryWriter("runs/1")
        ...     def add_scalar(self, tag, value, step):
        ...         print(step, tag, value)
        ...     def add_text(self, tag, text, step):
        ...         print(step, tag, text)
        >>> run = lehr.start("when(loss.reaches(0.5)).scale(0.5)", lr=0.1, steps=100)
        >>> _ = run.subscribe(tensorboard(Writer(), every=2))
        >>> for loss in (0.9, 0.4, 0.3):
        ...     run.step(loss=loss)
        0 lehr/lr 0.1
        0 lehr/gain 1.0
        2 lehr/event step 2: loss 0.4 reached 0.5 → scale(0.5): LR 0.1 → 0.05
        2 lehr/lr 0.05
        2 lehr/gain 0.5
    """
    _require(writer, "tensorboard(writer)", "a SummaryWriter", "add_scalar", "add_text")
    return Tracker(_TensorBoard(writer), every)


def wandb(run: Any, *, every: int = 10, commit: bool = False) -> Tracker:
    """A listener that writes to W&B, online or offline.

    W&B drops what is logged to an earlier step than the last one. So Lehr never moves W&B's step: its numbers wait for
    the row that you, or your trainer, log next, and are drawn over their own axis, `lehr/step`. Of several numbers that
    wait for one row, W&B keeps the last; if nobody has logged yet when ten have waited, a warning says so. The last row
    is written by `run.finish()`.

    Args:
        run: what `wandb.init(...)` returns.
        every: updates between two points of a curve.
        commit: whether Lehr logs rows of its own instead: for a run in which nobody else logs, or seldom. Each moves
            W&B's step on by one, so it does not go with calls of `run.log(..., step=...)`.

    Raises:
        LehrError: `run` is no run of W&B, or `every` no whole number of at least 1.

    Example:
        >>> class Run:  # stands for wandb.init(...)
        ...     step = 0
        ...     def define_metric(self, name, **how):
        ...         print(name, how)
        ...     def log(self, row, commit):
        ...         print(row, commit)
        >>> tracker = wandb(Run(), every=5)
        lehr/* {'step_metric': 'lehr/step'}
        >>> tracker.update(0, {"0": 0.1}, {"0": 1.0})
        {'lehr/step': 0, 'lehr/lr': 0.1, 'lehr/gain': 1.0} False
    """
    _require(run, "wandb(run)", "what wandb.init() returns", "log", "define_metric")
    return Tracker(_WandB(run, commit), every)


def mlflow(client: Any = None, run_id: str | None = None, *, every: int = 10) -> Tracker:
    """A listener that writes to MLflow.

    The last event and the last verdict are tags of the run; all events since the start or the resume are lines of its
    artifact `lehr/events_from_<step>.jsonl`, as `Event.plain` gives them.

    Args:
        client: an `MlflowClient`; default: one of the present tracking URI.
        run_id: of the run; default: the active one.
        every: updates between two points of a curve; each is a request to MLflow's server.

    Raises:
        LehrError: no run is active, or `every` is no whole number of at least 1.
        MissingExtra: MLflow is not installed.

    Example:
        >>> tracker = mlflow(every=0)
        Traceback (most recent call last):
        lehr.errors.LehrError: a tracker's every must be a whole number of at least 1, got 0
    """
    _check_every(every)
    with needs("mlflow"):
        import mlflow as module
        from mlflow.entities import Metric
    if run_id is None:
        active = module.active_run()
        if active is None:
            raise LehrError("mlflow() writes to the active run, and there is none; mlflow.start_run(), or give run_id=")
        run_id = active.info.run_id
    return Tracker(_MLflow(client or module.MlflowClient(), run_id, Metric), every)


class Sink(Protocol):
    """Where a tracker writes to."""

    def numbers(self, step: int, numbers: Mapping[str, float]) -> None:
        """Write numbers at a step."""

    def event(self, event: Event) -> None:
        """Write what happened."""


class Tracker:
    """A listener that gives names to what it hears and hands it on; it never stops a run.

    What cannot be written (a network that is down, a closed writer) is a warning, once. Then it tries again, each time
    it fails after twice as many things to write.

    Args:
        sink: where it writes to; `tensorboard`, `wandb` and `mlflow` bring theirs.
        every: it writes the LRs of the updates 0, every, 2·every, …
    """

    def __init__(self, sink: Sink, every: int = 10) -> None:
        _check_every(every)
        self.every = every
        self._sink = sink
        self._apart: set[str] = set()  # of which each group has had a series of its own
        self._failures = self._pause = 0
        self._told = False

    def update(self, step: int, lrs: Mapping[str, float], gains: Mapping[str, float]) -> None:
        """The LR that update `step` used, and the gain in it, by group."""
        numbers = self._series("lr", lrs) | self._series("gain", gains)
        self._try(lambda: self._sink.numbers(step, numbers))

    def event(self, event: Event) -> None:
        """What happened."""
        self._try(lambda: self._sink.event(event))

    def _series(self, what: str, values: Mapping[str, float]) -> dict[str, float]:
        """One number for all groups as long as they agree, from then on one for each."""
        if len(set(values.values())) > 1:
            self._apart.add(what)
        if what in self._apart:
            return {f"lehr/{what}/{group}": value for group, value in values.items()}
        return {f"lehr/{what}": value for value in values.values()}

    def _try(self, write: Callable[[], None]) -> None:
        if self._pause > 0:
            self._pause -= 1
            return
        try:
            write()
        except LehrWarning:  # where warnings are errors
            raise
        except Exception as error:  # whatever goes wrong there, the run is worth more
            self._failures += 1
            self._pause = 2**self._failures - 1
            if not self._told:
                self._told = True
                name = type(self._sink).__name__.lstrip("_")
                warnings.warn(
                    f"{name} could not be written ({type(error).__name__}: {error}); the run goes on, later ones are "
                    "tried and not told",
                    LehrWarning,
                    stacklevel=3,
                )
        else:
            self._failures = 0


class _TensorBoard:
    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def numbers(self, step: int, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)

    def event(self, event: Event) -> None:
        self._writer.add_text(_tag(event), str(event), event.step)


class _WandB:
    def __init__(self, run: Any, commit: bool) -> None:
        self._run, self._commit = run, commit
        self._row: int | None = None  # W&B's step
        self._waiting: dict[str, str] = {}  # our texts in the row that waits for it
        self._first, self._unseen = _row(run), 0  # W&B's step as it was; the LRs since then if nobody has logged
        run.define_metric("lehr/*", step_metric="lehr/step")

    def numbers(self, step: int, numbers: Mapping[str, float]) -> None:
        self._run.log({"lehr/step": step, **numbers}, commit=self._commit)
        if self._commit or self._first is None or self._unseen >= UNSEEN:
            return
        waits = _row(self._run) == self._first
        self._unseen = self._unseen + 1 if waits else UNSEEN
        if waits and self._unseen == UNSEEN:
            warnings.warn(
                f"nobody has logged to this run of W&B up to update {step}: of the LRs so far it keeps the last. Log "
                "something, or let Lehr log rows of its own: lehr.trackers.wandb(run, commit=True)",
                LehrWarning,
                stacklevel=3,
            )

    def event(self, event: Event) -> None:
        tag, text = _tag(event), str(event)
        if self._commit:
            self._run.log({"lehr/step": event.step, tag: text}, commit=True)
            return
        row = _row(self._run)
        if row is None or row != self._row:
            self._row, self._waiting = row, {}
        self._waiting[tag] = f"{self._waiting[tag]}\n{text}" if tag in self._waiting else text
        self._run.log({tag: self._waiting[tag]}, commit=False)


class _MLflow:
    def __init__(self, client: Any, run_id: str, metric: Callable[..., Any]) -> None:
        self._client, self._run_id, self._metric = client, run_id, metric
        self._lines: list[str] = []
        self._file, self._written = "", 0

    def numbers(self, step: int, numbers: Mapping[str, float]) -> None:
        now = time.time_ns() // 1_000_000
        metrics = [self._metric(name, value, now, step) for name, value in numbers.items()]
        self._client.log_batch(self._run_id, metrics=metrics)

    def event(self, event: Event) -> None:
        self._lines.append(json.dumps(event.plain()))
        self._file = self._file or f"lehr/events_from_{event.step}.jsonl"
        if event.kind == "finish" or len(self._lines) > max(self._written, 1.1 * self._written - 0.1 * OFTEN):
            self._client.log_text(self._run_id, "".join(f"{line}\n" for line in self._lines), self._file)
            self._written = len(self._lines)
        self._client.set_tag(self._run_id, _tag(event), str(event))


def _row(run: Any) -> int | None:
    """W&B's step, which it must ask its own process for; None where many write to one run (mode="shared")."""
    try:
        return int(run.step)
    except Exception:  # W&B's own, which has no type
        return None


def _tag(event: Event) -> str:
    return VERDICT if event.kind == "verdict" else EVENT


def _require(thing: Any, call: str, wanted: str, *methods: str) -> None:
    if not all(callable(getattr(thing, method, None)) for method in methods):
        raise LehrError(f"{call} must be {wanted}, with {' and '.join(methods)}; got {type(thing).__name__}")


def _check_every(every: int) -> None:
    if isinstance(every, bool) or not isinstance(every, int) or every < 1:
        raise LehrError(f"a tracker's every must be a whole number of at least 1, got {every!r}")
