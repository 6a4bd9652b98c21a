"""A run of two real processes over gloo, wrapped by DDP or FSDP2: what each rank does, and the same run as a bare loop.

A window of micro-batches makes an update; one micro-batch of one rank overflows, so GradScaler skips an update on both.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
from pathlib import Path
from typing import Any

import torch

import lehr

RANKS, MICRO, WINDOWS, SAVED, KILLED = 2, 4, 16, 7, 9  # SAVED, KILLED: after so many windows
OVERFLOW = (5, 2, 1)  # window, micro-batch, rank
LATE = [[0.05, 0.0375], [0.0375, 0.025], [0.025, 0.005, 0.0125, 0.0025], [0.0125, 0.0025, 0.0, 0.0]]  # see `late`
POLICY = "Policy(warmup(3).then(cosine()), rules=[when(loss.plateaus(1, margin=0.5)).scale(0.5)])"


def batch(window: int, micro: int, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(1000 * window + 10 * micro + rank))
    return x, x.sum(1, keepdim=True) + 1.0


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))


def loss_of(model: torch.nn.Module, window: int, micro: int, rank: int) -> torch.Tensor:
    x, y = batch(window, micro, rank)
    loss: torch.Tensor = (model(x) - y).square().mean() * (float("inf") if (window, micro, rank) == OVERFLOW else 1.0)
    return loss


def adamw(model: torch.nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=0.05)


def bare(policy: str) -> tuple[list[float], list[int]]:
    """One process that sees the data of all ranks: the LR of each update, and the steps at which the rule fired."""
    model = network()
    optimizer, scaler = adamw(model), torch.amp.GradScaler("cpu", init_scale=8.0)
    run, lrs = lehr.start(policy, lr=0.05, steps=WINDOWS), []
    for window in range(WINDOWS):
        optimizer.zero_grad()
        losses = []
        for micro in range(MICRO):
            for rank in range(RANKS):
                loss = loss_of(model, window, micro, rank)
                scaler.scale(loss / (MICRO * RANKS)).backward()  # type: ignore[no-untyped-call]
                losses.append(loss.item())
        optimizer.param_groups[0]["lr"] = run.lr
        applied = torch.isfinite(torch.tensor(losses)).all().item()
        lrs += [run.lr] if applied else []
        scaler.step(optimizer)
        scaler.update()
        run.step(applied=bool(applied), loss=sum(losses) / len(losses))
    return lrs, [event.step for event in run.events if event.kind == "rule"]


def played(folder: Path, wrap: str, resume: bool) -> list[dict[str, Any]]:
    """Have two processes train, from the start until they are killed, or on from what they saved; what each wrote."""
    context = multiprocessing.get_context("forkserver")  # torch is imported once, not by each of them
    context.set_forkserver_preload(["lehr.torch", "torch.distributed.fsdp", "torch.distributed.checkpoint.state_dict"])
    workers = [context.Process(target=train, args=(rank, str(folder), wrap, resume)) for rank in range(RANKS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    codes = [worker.exitcode for worker in workers]
    if codes != [0 if resume else 7] * RANKS:
        raise RuntimeError(f"the ranks ended with {codes}")
    return [json.loads((folder / f"{rank}-{resume}.json").read_text()) for rank in range(RANKS)]


def train(rank: int, folder: str, wrap: str, resume: bool) -> None:
    """What a rank does."""
    from torch import distributed

    from lehr.torch import Scheduler, grad_norm

    torch.set_num_threads(1)
    place = Path(folder)
    distributed.init_process_group("gloo", init_method=f"file://{place}/store-{resume}", rank=rank, world_size=RANKS)
    model = wrapped(network(), wrap)
    optimizer, scaler = adamw(model), torch.amp.GradScaler("cpu", init_scale=8.0)
    scheduler = Scheduler(optimizer, POLICY, steps=WINDOWS, count="updates")
    window = 0
    if resume:
        window = load(place, wrap, model, optimizer, scheduler, scaler)
    lrs: list[float] = []
    optimizer.register_step_pre_hook(lambda *_: lrs.append(optimizer.param_groups[0]["lr"]))
    seen: dict[str, Any] = {"norms": [], "theirs": []}
    while window < WINDOWS:
        optimizer.zero_grad()
        losses = []
        for micro in range(MICRO):
            with accumulating(model, wrap, last=micro == MICRO - 1):
                loss = loss_of(model, window, micro, rank)
                scaler.scale(loss / MICRO).backward()  # type: ignore[no-untyped-call]
            losses.append(loss.item())
        scaler.unscale_(optimizer)
        theirs: Any = torch.nn.utils.clip_grad_norm_(model.parameters(), 1e9)
        seen["norms"].append(grad_norm(model.parameters()).item())
        seen["theirs"].append((theirs.full_tensor() if wrap == "fsdp2" else theirs).item())
        scaler.step(optimizer)
        scaler.update()
        scheduler.step(loss=sum(losses) / MICRO)
        window += 1
        if window == SAVED and not resume:
            save(place, wrap, rank, model, optimizer, {"scheduler": scheduler.state_dict(), "window": window}, scaler)
        if window == KILLED and not resume:
            break
    rules = [event.step for event in scheduler.events if event.kind == "rule"]
    seen |= {"lrs": lrs, "t": scheduler.t, "rules": rules, "words": [str(event) for event in scheduler.events]}
    if resume and wrap == "fsdp2":
        seen |= {"rolled": rolled(rank), "from_zero": from_zero()}
    if resume:
        seen["late"] = late(wrap)
    (place / f"{rank}-{resume}.json").write_text(json.dumps(seen))
    distributed.barrier()
    # Killed: nothing is closed or saved. Nor at the end, where a DDP model that outlives its process group may hang.
    os._exit(0 if resume else 7)


def updated(model: torch.nn.Module, optimizer: torch.optim.Optimizer, window: int, rank: int, **how: Any) -> None:
    """An update of one micro-batch."""
    optimizer.zero_grad()
    loss_of(model, window, 0, rank).backward()  # type: ignore[no-untyped-call]
    optimizer.step(**how)


def rolled(rank: int) -> dict[str, Any]:
    """A run under FSDP2 that is evaluated after each update, the third time best, and goes back: what it held then."""
    from lehr.torch import Scheduler, Snapshots

    model = wrapped(network(), "fsdp2")
    optimizer = adamw(model)
    snapshots = Snapshots(model)
    rule = "when(metric('val_loss', best='min').plateaus(2)).rollback(to='best')"
    scheduler = Scheduler(optimizer, f"Policy(constant(), rules=[{rule}])", steps=9, snapshots=snapshots)
    seen: dict[str, Any] = {"shards": [], "outputs": []}
    for window, value in enumerate((3.0, 2.0, 1.0, 4.0, 4.0, 4.0)):
        updated(model, optimizer, window, rank)
        with torch.no_grad():
            model(batch(99, 0, 0)[0])
        scheduler.step(val_loss=value)
        with torch.no_grad():
            seen["outputs"].append(model(batch(99, 0, 0)[0]).tolist())
        moments = [moment for state in optimizer.state.values() for moment in state.values()]
        held: list[Any] = [*optimizer.param_groups[0]["params"], *moments]
        seen["shards"].append([(part.to_local() if hasattr(part, "to_local") else part).tolist() for part in held])
    seen["events"] = [event.step for event in scheduler.events]
    kept = [weight for snapshot in snapshots.best.values() for weight, _ in snapshot.weights]
    return seen | {"whole": [tuple(weight.shape) for weight in kept if not hasattr(weight, "to_local")]}


def from_zero() -> dict[str, Any]:
    """A warm-up from 0 under FSDP2 of one row of weights, of which only one rank has a part."""
    from lehr.torch import Scheduler

    model = wrapped(torch.nn.Linear(4, 1, bias=False), "fsdp2")
    optimizer, ts = adamw(model), []
    scheduler = Scheduler(optimizer, "warmup(3, zero_start=True)", steps=9, count="updates")
    for window in range(3):
        updated(model, optimizer, window, 0, closure=None)
        scheduler.step()
        ts.append(scheduler.t)
    (weight,) = model.parameters()
    return {"elements": weight.to_local().numel(), "ts": ts}  # type: ignore[attr-defined]  # a DTensor


def late(wrap: str) -> list[list[float]]:
    """Layers unfrozen in mid-run, with a base LR of their own: the last and the next LRs, after each update."""
    from lehr.torch import Scheduler

    model: Any = network()
    for weight in model[0].parameters():
        weight.requires_grad_(False)
    model = wrapped(model, wrap)
    optimizer = torch.optim.SGD([weight for weight in model.parameters() if weight.requires_grad], lr=0.05)
    scheduler, seen = Scheduler(optimizer, "linear()", steps=4), []
    for window in range(4):
        if window == 2:
            frozen = [weight for weight in model.parameters() if not weight.requires_grad]
            optimizer.add_param_group({"params": [weight.requires_grad_() for weight in frozen], "lr": 0.01})
        updated(model, optimizer, window, 0)
        scheduler.step()
        seen.append([*scheduler.last_lr, *scheduler.lrs])
    return seen


def wrapped(model: torch.nn.Module, wrap: str) -> torch.nn.Module:
    if wrap == "ddp":
        return torch.nn.parallel.DistributedDataParallel(model)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    fully_shard(model, mesh=init_device_mesh("cpu", (RANKS,)))  # in place
    return model


def accumulating(model: Any, wrap: str, last: bool) -> Any:
    """Gradients are exchanged at the last micro-batch alone."""
    if wrap == "ddp":
        return contextlib.nullcontext() if last else model.no_sync()
    model.set_requires_gradient_sync(last)
    return contextlib.nullcontext()


def save(place: Path, wrap: str, rank: int, model: Any, optimizer: Any, rest: dict[str, Any], scaler: Any) -> None:
    rest = rest | {"scaler": scaler.state_dict()}
    if wrap == "ddp":
        if rank == 0:
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), **rest}, place / "saved.pt")
        return
    from torch.distributed import checkpoint
    from torch.distributed.checkpoint.state_dict import get_state_dict

    weights, state = get_state_dict(model, optimizer)
    saved = {"model": weights, "optimizer": state, "rest": json.dumps(rest)}
    checkpoint.save(saved, checkpoint_id=place / "saved")  # type: ignore[attr-defined]  # it is public


def load(place: Path, wrap: str, model: Any, optimizer: Any, scheduler: Any, scaler: Any) -> int:
    if wrap == "ddp":
        rest = torch.load(place / "saved.pt", weights_only=True)
        model.load_state_dict(rest["model"])
        optimizer.load_state_dict(rest["optimizer"])
        scheduler.load_state_dict(rest["scheduler"])
    else:
        from torch.distributed import checkpoint
        from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict

        weights, state = get_state_dict(model, optimizer)
        saved: dict[str, Any] = {"model": weights, "optimizer": state, "rest": ""}
        checkpoint.load(saved, checkpoint_id=place / "saved")  # type: ignore[attr-defined]  # it is public
        rest = json.loads(saved["rest"])
        scheduler.load_state_dict(rest["scheduler"])  # before the optimiser: any order will do
        set_state_dict(model, optimizer, model_state_dict=weights, optim_state_dict=state)
    scaler.load_state_dict(rest["scaler"])
    return int(rest["window"])
