"""Real processes with torch.distributed over gloo, kept for many tests: each test has them play a script a rank.

A script is a list of (what, argument): "update" (step the optimizer, then the scheduler with these numbers), "step",
"observe", "optimizer", "skipped", "edit" (write an LR by hand), "load" (a state), "train" (a batch of this seed),
"time" (steps, rounds).
"""

from __future__ import annotations

import contextlib
import datetime
import multiprocessing
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

Script = Sequence[tuple[str, Any]]


@dataclass
class Played:
    """What a rank has seen."""

    lrs: list[list[float]] = field(default_factory=list)  # after each entry of the script
    states: list[dict[str, Any]] = field(default_factory=list)  # likewise
    gathers: list[int] = field(default_factory=list)  # collectives of Lehr's so far, likewise
    warned: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    evaluated: list[int] = field(default_factory=list)  # steps at which the function was called
    weights: list[float] = field(default_factory=list)  # of the model, at the end
    times: list[float] = field(default_factory=list)  # µs a step, of each round
    error: str = ""


class Processes:
    """Workers that play scripts together."""

    def __init__(self, size: int, patience: float = 180) -> None:
        self._patience = patience  # seconds to wait for an answer; on a busy machine the first takes long
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._workers = []
        for _ in range(size):
            mine, theirs = context.Pipe()
            worker = context.Process(target=_serve, args=(theirs,), daemon=True)
            worker.start()
            self._pipes.append(mine)
            self._workers.append(worker)

    def play(self, store: Path, policies: Sequence[Any], scripts: Sequence[Script], **options: Any) -> list[Played]:
        """Have rank r play `scripts[r]` under `policies[r]`, with a fresh process group that meets at a file."""
        for rank, (policy, script) in enumerate(zip(policies, scripts, strict=True)):
            self._pipes[rank].send((rank, len(scripts), str(store), policy, list(script), options))
        answers = [self._answer(rank) for rank in range(len(scripts))]  # of all, before anything is said of one
        for answer in answers:
            if isinstance(answer, str):
                raise RuntimeError(answer)
        return [answer for answer in answers if isinstance(answer, Played)]

    def _answer(self, rank: int) -> Played | str:
        if not self._pipes[rank].poll(self._patience):
            raise TimeoutError(f"rank {rank} hangs")
        answer: Played | str = self._pipes[rank].recv()
        return answer

    def end(self) -> None:
        """End the workers."""
        for worker in self._workers:
            worker.terminate()
        for worker in self._workers:
            worker.join()


def _serve(pipe: Connection) -> None:
    while True:
        work = pipe.recv()
        try:
            pipe.send(play(*work))
        except Exception:
            pipe.send(traceback.format_exc())


def play(rank: int, size: int, store: str, policy: Any, script: Script, options: dict[str, Any]) -> Played:
    """Play a script as one of `size` ranks; with `group=False`, without torch.distributed."""
    import torch
    from torch import distributed

    if not options.get("group", True):
        return _play(rank, policy, script, options)
    limit = datetime.timedelta(seconds=options.get("timeout", 60))
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size, timeout=limit)
    try:
        return _play(rank, policy, script, options)
    finally:
        with contextlib.suppress(RuntimeError):  # a peer that failed has closed the connection
            distributed.destroy_process_group()


def _play(rank: int, policy: Any, script: Script, options: dict[str, Any]) -> Played:
    import torch

    import lehr
    from lehr.torch import Scheduler

    played = Played()
    inner, model = _model(options.get("wrap", ""))
    optimizer = torch.optim.SGD(model.parameters(), lr=options.get("lr", 0.1))
    scores = options.get("scores", [[]])[rank % len(options.get("scores", [[]]))]

    def evaluate(_: Any) -> Any:
        played.evaluated.append(scheduler.t)
        return scores[len(played.evaluated) - 1]

    with warnings.catch_warnings(record=True) as caught, _counted() as gathers:
        warnings.simplefilter("always", lehr.errors.LehrWarning)
        try:
            scheduler = Scheduler(
                optimizer,
                policy,
                steps=options.get("steps", [1000])[rank % len(options.get("steps", [1000]))],
                evaluate={"score": evaluate} if "evaluation" in str(policy) else None,
                model=model,
                process_group=_own_group(options),
                **options.get("scheduler", {}),
            )
            for what, argument in script:
                if what == "time":
                    played.times = [_time(scheduler, argument[0]) for _ in range(argument[1])]
                    continue
                _do(what, argument, model, optimizer, scheduler)
                played.lrs.append(scheduler.lrs)
                played.states.append(scheduler.state_dict())
                played.gathers.append(gathers[0])
            played.events = [f"{event.kind}: {event}" for event in scheduler.events]
        except (lehr.LehrError, RuntimeError) as error:
            played.error = str(error)
    played.warned = [str(item.message) for item in caught if issubclass(item.category, lehr.errors.LehrWarning)]
    if not played.error:
        played.weights = _weights(inner)
    return played


def _own_group(options: dict[str, Any]) -> Any:
    """A process group for the scheduler alone, with a limit in seconds, if the test wants one."""
    from torch import distributed

    if "own_group" not in options:
        return None
    return distributed.new_group(timeout=datetime.timedelta(seconds=options["own_group"]))


def _do(what: str, argument: Any, model: Any, optimizer: Any, scheduler: Any) -> None:
    import torch

    if what == "update":
        optimizer.step()
        scheduler.step(**argument)
    elif what == "step":
        scheduler.step(**argument)
    elif what == "observe":
        scheduler.observe(**argument)
    elif what == "optimizer":
        optimizer.step()
    elif what == "skipped":
        scheduler.step(applied=False)
    elif what == "edit":
        optimizer.param_groups[0]["lr"] = argument
    elif what == "load":
        scheduler.load_state_dict(argument)
    elif what == "train":
        batch = torch.randn(8, 4, generator=torch.Generator().manual_seed(argument))
        loss = (model(batch) - batch.sum(1, keepdim=True)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        scheduler.step(loss=loss, norm=norm)
    else:
        raise ValueError(what)


def _time(scheduler: Any, steps: int) -> float:
    """µs that `step(loss=...)` takes in the mean of so many steps."""
    begin = time.perf_counter()
    for _ in range(steps):
        scheduler.step(loss=1.0)
    return 1e6 * (time.perf_counter() - begin) / steps


def _model(wrap: str) -> tuple[Any, Any]:
    import torch

    torch.manual_seed(0)
    inner = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    if wrap == "ddp":
        return inner, torch.nn.parallel.DistributedDataParallel(inner)
    if wrap == "fsdp2":
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh("cpu", (torch.distributed.get_world_size(),))
        return inner, fully_shard(inner, mesh=mesh)
    return inner, inner


def _weights(inner: Any) -> list[float]:
    """All weights, wherever they lie."""
    full = [p.full_tensor() if hasattr(p, "full_tensor") else p for p in inner.parameters()]
    return [float(number) for p in full for number in p.detach().flatten()]


@contextlib.contextmanager
def _counted() -> Iterator[list[int]]:
    """Count the calls of `all_gather`."""
    from torch import distributed

    count, plain = [0], distributed.all_gather

    def counted(*args: Any, **more: Any) -> Any:
        count[0] += 1
        return plain(*args, **more)

    distributed.all_gather = counted
    try:
        yield count
    finally:
        distributed.all_gather = plain
