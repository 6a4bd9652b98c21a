"""A compiled optimiser step: compiled once, every update counted, the LRs of a bare loop."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

import lehr
from lehr.torch import Scheduler

pytestmark = [
    pytest.mark.frameworks,
    pytest.mark.filterwarnings("ignore:.*torch.jit"),  # torch's own, as it compiles
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch"),
]

MICRO, WINDOWS = 2, 14
OVERFLOW = 4  # the window whose update is skipped
POLICY = "Policy(warmup(3).then(cosine()), rules=[when(loss.plateaus(1, margin=0.4)).scale(0.5)])"


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def counted(backend: str = "eager") -> Any:
    """A compiler that counts the graphs it was given."""
    from torch._dynamo.testing import CompileCounterWithBackend

    return CompileCounterWithBackend(backend)


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Linear(4, 1)


def adamw(model: torch.nn.Module, lr: Any = 0.1) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=lr)


def losses_of(model: torch.nn.Module, window: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(window)
    inputs = [torch.randn(8, 4, generator=generator) for _ in range(MICRO)]
    losses = [(model(x) - x.sum(1, keepdim=True) - 1).square().mean() for x in inputs]
    return [loss * float("inf") for loss in losses] if window == OVERFLOW else losses


def bare() -> tuple[list[float], list[int]]:
    """An eager loop by hand; its updates read a tensor LR in float64, as the compiled ones."""
    model = network()
    optimizer, scaler = adamw(model), torch.amp.GradScaler("cpu", init_scale=4.0)
    run, lrs = lehr.start(POLICY, lr=0.1, steps=WINDOWS), []
    for window in range(WINDOWS):
        optimizer.zero_grad()
        losses = losses_of(model, window)
        for loss in losses:
            scaler.scale(loss / MICRO).backward()  # type: ignore[no-untyped-call]
        optimizer.param_groups[0]["lr"] = run.lr
        scaler.step(optimizer)
        scaler.update()
        lrs += [] if window == OVERFLOW else [run.lr]
        run.step(applied=window != OVERFLOW, loss=sum(loss.item() for loss in losses) / MICRO)
    return lrs, [event.step for event in run.events if event.kind == "rule"]


class Loop:
    """A loop whose scaler steps a compiled optimiser."""

    def __init__(self, backend: Any) -> None:
        self.model = network()
        self.optimizer = adamw(self.model, torch.tensor(0.1, dtype=torch.float64))
        self.scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
        self.scheduler = Scheduler(self.optimizer, POLICY, steps=WINDOWS, count="updates")
        self.compiled: Callable[[], Any] = torch.compile(self.optimizer.step, backend=backend)
        self.lrs: list[float] = []

    def run(self, windows: range) -> Loop:
        for window in windows:
            self.optimizer.zero_grad()
            losses = losses_of(self.model, window)
            for loss in losses:
                self.scaler.scale(loss / MICRO).backward()  # type: ignore[no-untyped-call]
            self.scaler.unscale_(self.optimizer)
            gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
            if all(gradient.isfinite().all() for gradient in gradients):
                self.lrs.append(self.optimizer.param_groups[0]["lr"].item())
                self.compiled()
            self.scaler.update()
            self.scheduler.step(loss=sum(loss.item() for loss in losses) / MICRO)
        return self

    @property
    def parts(self) -> list[Any]:
        return [self.model, self.optimizer, self.scaler, self.scheduler]


def test_the_lrs_are_those_of_a_bare_loop_and_the_step_is_compiled_once() -> None:
    """With accumulation, a skipped update, and a kill after which all is loaded from a file and compiled anew."""
    lrs, fired = bare()
    assert len(fired) > 1
    compiler, killed = counted(), 7
    begun = Loop(compiler).run(range(killed))
    assert compiler.frame_count == 1
    file = io.BytesIO()
    torch.save([part.state_dict() for part in begun.parts], file)
    file.seek(0)
    torch._dynamo.reset()
    again = counted()
    resumed = Loop(again)
    for part, state in zip(resumed.parts, torch.load(file, weights_only=True), strict=True):
        part.load_state_dict(state)
    resumed.run(range(killed, WINDOWS))
    assert again.frame_count == 1
    assert begun.lrs + resumed.lrs == lrs
    assert resumed.scheduler.t == len(lrs) == WINDOWS - 1
    events = {e.step for loop in (begun, resumed) for e in loop.scheduler.events if e.kind == "rule"}
    assert sorted(events) == fired


def steps(optimizer: torch.optim.Optimizer, scheduler: Any, compiler: Any, how: str, n: int = 12, **more: Any) -> None:
    """n updates with gradients of one."""

    def whole() -> None:
        optimizer.step()

    compiled = torch.compile(whole if how == "around" else optimizer.step, backend=compiler, **more)
    for _ in range(n):
        for group in optimizer.param_groups:
            for weight in group["params"]:
                weight.grad = torch.ones_like(weight)
        compiled()
        scheduler.step()


@pytest.mark.parametrize("how", ["itself", "around"])
@pytest.mark.parametrize("count", ["calls", "updates"])
def test_every_update_of_a_compiled_step_is_counted_and_uses_its_lr(how: str, count: Any) -> None:
    weight = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
    optimizer = torch.optim.SGD([weight], lr=torch.tensor(0.1, dtype=torch.float64))
    scheduler, compiler = Scheduler(optimizer, "warmup(4).then(cosine())", steps=12, count=count), counted()
    steps(optimizer, scheduler, compiler, how)
    expected = torch.zeros(3, dtype=torch.float64)
    for t in range(12):
        expected -= 0.1 * lehr.warmup(4).then(lehr.cosine()).resolve(steps=12)(t)
    assert (scheduler.t, compiler.frame_count) == (12, 1)
    torch.testing.assert_close(weight.detach(), expected, rtol=1e-14, atol=0)


def test_machine_code_uses_the_lr_of_each_update() -> None:
    weight = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
    optimizer = torch.optim.SGD([weight], lr=torch.tensor(0.1, dtype=torch.float64))
    steps(optimizer, Scheduler(optimizer, "linear()", steps=12, count="updates"), "inductor", "itself")
    torch.testing.assert_close(weight.detach(), -0.1 * torch.arange(1, 13).double().sum().expand(3) / 12)


@pytest.mark.parametrize(("lr", "dynamic", "frames"), [(0.1, None, 2), (0.1, False, 6), (torch.tensor(0.1), False, 1)])
def test_a_float_lr_is_compiled_twice_but_for_every_lr_where_nothing_may_be_dynamic(
    lr: Any, dynamic: Any, frames: int
) -> None:
    weight, compiler = torch.nn.Parameter(torch.zeros(3)), counted()
    optimizer = torch.optim.AdamW([weight], lr=lr)
    scheduler = Scheduler(optimizer, "linear()", steps=12, count="updates")
    steps(optimizer, scheduler, compiler, "itself", n=6, dynamic=dynamic)
    assert compiler.frame_count == frames


def test_momentum_may_be_a_tensor_too_where_torch_s_one_cycle_writes_floats() -> None:
    """Compiled for fixed shapes and numbers, torch's own scheduler has the step compiled again at every update."""
    frames = {}
    for name in ("torch", "lehr"):
        torch._dynamo.reset()
        weight, compiler = torch.nn.Parameter(torch.zeros(3)), counted()
        betas: Any = (torch.tensor(0.95), torch.tensor(0.999))
        optimizer = torch.optim.AdamW([weight], lr=torch.tensor(0.1), betas=betas, capturable=True)
        cycle = lehr.linear(6, start=0.04, to=1).then(lehr.cosine(to=0))
        scheduler: Any = (
            torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=20)
            if name == "torch"
            else Scheduler(
                optimizer, lehr.bind(**{"lr": cycle, "betas[0]": lehr.linear(6, to=0.9)}), steps=20, count="updates"
            )
        )
        steps(optimizer, scheduler, compiler, "itself", n=6, dynamic=False)
        frames[name] = compiler.frame_count
    assert frames == {"torch": 6, "lehr": 1}
