"""torch.amp.GradScaler on the CPU: updates that it skips do not count, whichever optimiser skips them."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch

import lehr
from lehr.torch import Scheduler

pytestmark = pytest.mark.frameworks

WINDOWS, MICRO, UPDATES = 24, 2, 20
OVERFLOWS = (0, 1, 9, 17)  # windows whose gradient is not finite
POLICY = "Policy(warmup(3).then(cosine()), rules=[when(loss.plateaus(1, margin=0.4)).scale(0.5)])"


def adamw(model: torch.nn.Module, fused: bool) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=0.1, fused=fused)


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Linear(4, 1)


def loss_of(model: torch.nn.Module, window: int, micro: int) -> torch.Tensor:
    """A float16 product of an autocast layer, which overflows where the target is far."""
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(10 * window + micro))
    y = x.sum(1, keepdim=True) + 1
    with torch.autocast("cpu", dtype=torch.float16):
        error = model(x).float() - y
    loss: torch.Tensor = (error * (1e20 if window in OVERFLOWS and micro else 1)).square().mean()
    return loss


def skips(scaler: Any, optimizer: torch.optim.Optimizer) -> bool:
    """Step, and whether the scale fell, which torch's documentation recommends to ask."""
    before = scaler.get_scale()
    scaler.step(optimizer)
    scaler.update()
    return bool(scaler.get_scale() < before)


def bare(fused: bool) -> tuple[list[float], list[int]]:
    model = network()
    optimizer, scaler = adamw(model, fused), torch.amp.GradScaler("cpu", init_scale=1024.0)
    run, lrs = lehr.start(POLICY, lr=0.1, steps=UPDATES), []
    for window in range(WINDOWS):
        optimizer.zero_grad()
        losses = [loss_of(model, window, micro) for micro in range(MICRO)]
        for loss in losses:
            scaler.scale(loss / MICRO).backward()  # type: ignore[no-untyped-call]
        optimizer.param_groups[0]["lr"] = run.lr
        skipped = skips(scaler, optimizer)
        lrs += [] if skipped else [run.lr]
        run.step(applied=not skipped, loss=sum(loss.item() for loss in losses) / MICRO)
    return lrs, [event.step for event in run.events if event.kind == "rule"]


class Loop:
    """The loop of a user, as far as `until`."""

    def __init__(self, fused: bool, count: Any) -> None:
        self.model = network()
        self.optimizer, self.scaler = adamw(self.model, fused), torch.amp.GradScaler("cpu", init_scale=1024.0)
        self.scheduler = Scheduler(self.optimizer, POLICY, steps=UPDATES, count=count)
        self.count, self.window, self.lrs = count, 0, list[float]()

    def run(self, until: int) -> Loop:
        while self.window < until:
            self.optimizer.zero_grad()
            losses = [loss_of(self.model, self.window, micro) for micro in range(MICRO)]
            for loss in losses:
                self.scaler.scale(loss / MICRO).backward()  # type: ignore[no-untyped-call]
            lr = self.optimizer.param_groups[0]["lr"]
            skipped = skips(self.scaler, self.optimizer)
            self.lrs += [] if skipped else [lr]
            told = {"applied": not skipped} if self.count == "calls" else {}
            self.scheduler.step(loss=sum(loss.item() for loss in losses) / MICRO, **told)
            self.window += 1
        return self

    @property
    def parts(self) -> list[Any]:
        return [self.model, self.optimizer, self.scaler, self.scheduler]


@pytest.mark.parametrize("fused", [False, True], ids=["plain", "fused"])
@pytest.mark.parametrize("count", ["calls", "updates"])
@pytest.mark.parametrize("killed", [1, 9, 10, 16])
def test_the_lrs_are_those_of_a_bare_loop(fused: bool, count: Any, killed: int) -> None:
    """With accumulation, overflows from the first update on, and a kill after which all is loaded from a file."""
    lrs, fired = bare(fused)
    assert len(fired) > 2
    begun = Loop(fused, count).run(killed)
    file = io.BytesIO()
    torch.save([part.state_dict() for part in begun.parts], file)
    file.seek(0)
    resumed = Loop(fused, count)
    for part, state in zip(resumed.parts, torch.load(file, weights_only=True), strict=True):
        part.load_state_dict(state)
    resumed.window = killed
    resumed.run(WINDOWS)
    assert begun.lrs + resumed.lrs == lrs
    assert resumed.scheduler.t == len(lrs) == WINDOWS - len(OVERFLOWS)
    events = {e.step for loop in (begun, resumed) for e in loop.scheduler.events if e.kind == "rule"}
    assert sorted(events) == fired


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.Adagrad])
def test_every_fused_optimiser_that_skips_by_itself_is_understood(kind: Any) -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = kind([weight], lr=0.1, fused=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    scheduler = Scheduler(optimizer, "linear()", steps=9, count="updates")
    moved = 0
    for factor in (1.0, float("inf"), 1.0, float("nan"), float("inf"), 1.0):
        before = weight.detach().clone()
        optimizer.zero_grad()
        scaler.scale((weight * weight).sum() * factor).backward()  # type: ignore[no-untyped-call]
        scaler.step(optimizer)
        scaler.update()
        scheduler.step()
        moved += not torch.equal(before, weight)
        assert scheduler.t == scheduler._updates.all() == moved  # the latter is what ranks compare
    assert moved == 3


def test_a_fused_optimiser_that_skips_its_first_updates_is_noticed_where_calls_are_counted() -> None:
    loop = Loop(fused=True, count="updates")
    loop.scheduler = Scheduler(loop.optimizer, "linear()", steps=9)
    with pytest.warns(lehr.errors.LehrWarning, match=r"applied=False"):
        loop.run(1)


def test_where_nobody_asks_the_overflow_is_not_read_from_the_device() -> None:
    read = []

    class Found(torch.Tensor):
        def __bool__(self) -> bool:
            read.append(True)
            return super().__bool__()

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(3))], lr=0.1, fused=True)
    for count, reads in (("updates", 9), ("calls", 3)):  # three calls are watched for misuse
        read.clear()
        scheduler = Scheduler(optimizer, "linear()", steps=9, count=count)  # type: ignore[arg-type]
        for _ in range(9):
            optimizer.found_inf = torch.zeros(()).as_subclass(Found)  # type: ignore[attr-defined]
            optimizer.step()
            del optimizer.found_inf  # type: ignore[attr-defined]
            scheduler.step()
        assert len(read) == reads


def test_torch_s_scheduler_runs_on_while_updates_are_skipped() -> None:
    model = network()
    optimizer, scaler = adamw(model, fused=False), torch.amp.GradScaler("cpu", init_scale=1024.0)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=UPDATES)
    lrs: list[float] = []

    def run() -> None:
        for window in range(WINDOWS):
            optimizer.zero_grad()
            for micro in range(MICRO):
                scaler.scale(loss_of(model, window, micro) / MICRO).backward()  # type: ignore[no-untyped-call]
            lr = optimizer.param_groups[0]["lr"]
            lrs.extend([] if skips(scaler, optimizer) else [lr])
            scheduler.step()

    with pytest.warns(UserWarning, match=r"Detected call of `lr_scheduler\.step"):  # and it blames the caller
        run()
    assert len(lrs) == UPDATES
    assert lrs[0] == pytest.approx(0.1 * (1 - 2 / UPDATES))  # the first update has the LR of the third
    assert lrs[-3:] == [0.0, 0.0, 0.0]  # and the schedule is over before the updates are
