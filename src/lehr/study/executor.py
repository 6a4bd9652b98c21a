"""Worker processes: cells run side by side, one thread each, and say how far they are.

A forkserver that has imported torch once gives a ready worker in about 10 ms (`docs/dev/design.md`); where there is no
forkserver, workers are spawned. Every worker has a slot on the `Board`, a few numbers in shared memory that it writes
after each update and the study reads a few times a second: no queue, no lock, nothing that a killed worker could leave
in a bad state.

No worker outlives the study. Asked to stop, it ends at its next update; if the study is killed, the pipe between the
two closes, and a thread that waits for that ends the worker at once.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import wait as wait_for_any
from multiprocessing.context import BaseContext
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from lehr.errors import LehrError

if TYPE_CHECKING:
    from lehr.study.design import Facts
    from lehr.study.job import Job, Outcome
    from lehr.study.policies import NamedPolicy

T = TypeVar("T")

TICK = 0.2  # seconds between two looks at the board
WIDTH = 4  # numbers a slot: updates applied, LR, loss, seconds since the first update


class Stopped(BaseException):
    """Raised inside a worker that was asked to stop. No `Exception`: a workload cannot swallow it by accident."""


class Board:
    """How far each worker is.

    Args:
        numbers: Shared memory: one flag (not zero: stop), then WIDTH numbers for each slot.
    """

    def __init__(self, numbers: Any) -> None:
        self.numbers = numbers

    @classmethod
    def of(cls, context: BaseContext, slots: int) -> Self:
        """A clear board."""
        return cls(context.RawArray("d", 1 + WIDTH * slots))

    def write(self, slot: int, step: int, lr: float, loss: float, seconds: float) -> None:
        """Say how far a slot's worker is."""
        start = 1 + WIDTH * slot
        self.numbers[start : start + WIDTH] = [step, lr, loss, seconds]

    def read(self, slot: int) -> tuple[int, float, float, float]:
        """Updates applied, LR of the next one, loss of the last one, seconds since the first one."""
        step, lr, loss, seconds = self.numbers[1 + WIDTH * slot : 1 + WIDTH * (slot + 1)]
        return int(step), lr, loss, seconds

    @property
    def stop(self) -> bool:
        """Whether all workers are to stop."""
        return bool(self.numbers[0])

    def ask_to_stop(self) -> None:
        """Make every worker end at its next update."""
        self.numbers[0] = 1.0


@dataclass(frozen=True)
class Running:
    """A cell in training, as last seen."""

    job: Job
    step: int  # updates applied
    lr: float
    loss: float
    seconds: float  # since its first update: what a worker needs to get ready does not count


@dataclass(frozen=True)
class Finished:
    """A cell that has come back."""

    outcome: Outcome
    seconds: float  # from the first update to the last


class Pool:
    """Worker processes for one study: a context manager.

    Args:
        workers: How many run at once.
    """

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise LehrError(f"workers must be at least 1, got {workers}; left out, it is one a core, at most 2")
        context = _context()
        self.workers = workers
        self._board = Board.of(context, workers)
        self._executor = ProcessPoolExecutor(
            workers, mp_context=context, initializer=_begin, initargs=(self._board.numbers,)
        )

    def __enter__(self) -> Self:
        """Nothing starts before the first job."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the workers and wait until they are gone."""
        self._board.ask_to_stop()
        self._executor.shutdown(wait=True, cancel_futures=True)

    def describe(self, names: Iterable[str]) -> list[Facts]:
        """The facts of workloads, each found in a worker.

        Raises:
            LehrError: A workload cannot be found or made.
        """
        return [_result(future) for future in [self._executor.submit(_describe, name) for name in names]]

    def fitting(self, name: str, policies: Sequence[NamedPolicy]) -> tuple[NamedPolicy, ...]:
        """The policies as Lehr spells them, each tried on the workload in a worker (`lehr.study.prepare.fitting`)."""
        return _result(self._executor.submit(_fitting, name, policies))

    def run(self, jobs: Iterable[Job], watch: Callable[[tuple[Running, ...]], None]) -> Iterator[Finished]:
        """Run jobs in order, as many at once as there are workers, and give each back when it has finished.

        Args:
            jobs: Taken one at a time, whenever a worker is free.
            watch: Called a few times a second with the cells in training.
        """
        waiting = iter(jobs)
        places: dict[Future[Outcome], tuple[Job, int]] = {}  # and the slot
        free = list(range(self.workers))
        while True:
            while free and (job := next(waiting, None)):
                slot = free.pop()
                self._board.write(slot, 0, job.facts.lr * job.cell.peak, math.nan, 0.0)
                places[self._executor.submit(_run, job, slot)] = (job, slot)
            watch(tuple(Running(job, *self._board.read(slot)) for job, slot in places.values()))
            if not places:
                return
            done, _ = wait(places, timeout=TICK, return_when=FIRST_COMPLETED)
            for future in done:
                _, slot = places.pop(future)
                free.append(slot)
                yield Finished(_result(future), self._board.read(slot)[-1])


def _result(future: Future[T]) -> T:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise LehrError(
            "a worker process died, perhaps for want of memory; finished cells are kept: "
            "run the same command again, or with --workers 1"
        ) from error


def _context() -> BaseContext:
    if sys.platform == "win32":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lehr.study.run", "torch._dynamo"])  # the first optimizer imports the second
    # The server inherits the mask: Ctrl-C while it imports torch is the study's business, not a traceback of its own.
    # The tracker goes first, because its start lifts the mask.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


# Below: what runs inside a worker.

_board = Board([])


def _begin(numbers: Any) -> None:
    """Set up a worker: leave Ctrl-C to the study, and end when the study ends."""
    global _board
    _board = Board(numbers)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_study, daemon=True).start()


def _end_with_the_study() -> None:
    study = multiprocessing.parent_process()
    if study is not None:
        wait_for_any([study.sentinel])
        os._exit(1)


def _describe(name: str) -> Facts:
    from lehr.study.prepare import describe

    return describe(name)


def _fitting(name: str, policies: Sequence[NamedPolicy]) -> tuple[NamedPolicy, ...]:
    from lehr.study.prepare import fitting

    return fitting(name, policies)


def _run(job: Job, slot: int) -> Outcome:
    from lehr.study.run import run_cell

    board, begin = _board, math.nan

    def tell(step: int, lr: float, loss: float) -> None:
        nonlocal begin
        now = time.monotonic()
        begin = begin if step > 1 else now
        board.write(slot, step, lr, loss, now - begin)
        if board.stop:
            raise Stopped

    return run_cell(job, tell)
