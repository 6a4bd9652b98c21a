"""A small task for Lightning, the trainer that fits it, and the same training as a loop written by hand."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

import lehr

Batch = tuple[torch.Tensor, torch.Tensor]

QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
}
NOISE = (  # of Lightning itself
    r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated",
    "ignore:The '.*_dataloader' does not have many workers",
    "ignore:.*`tensorboardX` has been removed as a dependency",
    "ignore:The number of training batches .* is smaller than the logging interval",
    "ignore:Checkpoint directory .* exists and is not empty",
    "ignore:.*GPU available but not used",
    "ignore:You defined a `validation_step` but have no `val_dataloader`",
    "ignore:The dirpath has changed",
    "ignore:Trying to infer the `batch_size` from an ambiguous collection",
)


class Batches:
    """A loader that remembers where it stands: `count` batches of 8 rows; those in `broken` overflow."""

    def __init__(self, count: int, seed: int = 0, broken: Sequence[int] = ()) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.batches: list[Batch] = []
        for i in range(count):
            x = torch.randn(8, 4, generator=generator)
            y = x.sum(1, keepdim=True) + 0.1 * torch.randn(8, 1, generator=generator)
            self.batches.append((x, y + float("inf") if i in broken else y))
        self.batch_size = 8
        self.at = self._first = 0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        first, self._first = self._first, 0
        for i in range(first, len(self)):
            self.at = i + 1
            yield self.batches[i]

    def state_dict(self) -> dict[str, Any]:
        return {"at": self.at}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._first = state["at"] % len(self)


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Linear(4, 1)


def loss_of(net: torch.nn.Module, batch: Batch) -> torch.Tensor:
    loss: torch.Tensor = (net(batch[0]) - batch[1]).square().mean()
    return loss


def recorded(optimizer: torch.optim.Optimizer, lrs: list[float]) -> torch.optim.Optimizer:
    """The optimiser, which writes down the LR that each of its updates uses."""
    optimizer.register_step_pre_hook(lambda *_: lrs.append(float(optimizer.param_groups[0]["lr"])))
    return optimizer


def module(configure: Callable[[Any, torch.optim.Optimizer], Any], **more: Any) -> Any:
    """A LightningModule whose optimiser is configured so; `more` replaces its methods; `lrs` are those used."""
    import lightning.pytorch as pl

    return module_of(pl, configure, more)


def module_of(pl: Any, configure: Callable[[Any, torch.optim.Optimizer], Any], more: dict[str, Any]) -> Any:
    class Task(pl.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = network()
            self.lrs: list[float] = []

        def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
            return loss_of(self.net, batch)

        def validation_step(self, batch: Batch, batch_idx: int) -> None:
            self.log("val/loss", loss_of(self.net, batch))

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.5)
            return configure(self, recorded(optimizer, self.lrs))

    return type("Changed", (Task,), more)()


def fit(task: Any, train: Any, val: Any = None, ckpt_path: Any = None, **how: Any) -> Any:
    """Fit a module; the trainer."""
    import lightning.pytorch as pl

    trainer = pl.Trainer(**{**QUIET, **how})
    trainer.fit(task, train, val, ckpt_path=ckpt_path)
    return trainer


def under(policy: str, **how: Any) -> Callable[[Any, torch.optim.Optimizer], Any]:
    """As Lehr configures an optimiser."""
    from lehr.lightning import scheduled

    return lambda task, optimizer: scheduled(optimizer, policy, task.trainer, **how)


def scheduler_of(trainer: Any) -> Any:
    return trainer.lr_scheduler_configs[0].scheduler


def by_hand(
    run: Any,
    train: Batches,
    val: Batches | None = None,
    *,
    epochs: int,
    accumulate: int = 1,
    every: int | None = None,
    scaler: Any = None,
) -> list[float]:
    """The LR of each update of the same training as a plain loop; `every` batches it is validated, or once an epoch.

    `run` is what `lehr.start` returns; its events say what the rules did.
    """
    net, lrs, losses = network(), list[float](), list[torch.Tensor]()
    optimizer = recorded(torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.5), lrs)
    cast: Any = contextlib.nullcontext if scaler is None else lambda: torch.autocast("cpu", torch.half)
    for _ in range(epochs):
        for i, batch in enumerate(train.batches):
            if i % accumulate == 0:
                optimizer.zero_grad()
                losses = []
            with cast():
                loss = loss_of(net, batch)
            losses.append(loss.detach())
            loss = loss / accumulate
            (loss if scaler is None else scaler.scale(loss)).backward()
            if (i + 1) % accumulate == 0 or i + 1 == len(train):
                optimizer.param_groups[0]["lr"] = run.lr
                before = len(lrs)
                if scaler is None:
                    optimizer.step()
                else:
                    scaler.step(optimizer)
                    scaler.update()
                if len(lrs) > before:
                    run.step(loss=sum(losses) / len(losses))
            if val is not None and (i + 1) % (every or len(train)) == 0:
                with torch.no_grad(), cast():
                    run.observe(val_loss=loss_of(net, val.batches[0]))
    return lrs


def half_precision() -> Any:
    """Mixed precision on the CPU, with a scaler that really skips."""
    from lightning.pytorch.plugins import MixedPrecision

    return MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=256.0))


def started(policy: str, steps: int | None, **facts: int) -> Any:
    return lehr.start(policy, lr=0.1, horizon=lehr.Horizon(steps=steps, **facts))
