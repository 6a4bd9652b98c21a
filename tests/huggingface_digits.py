"""A tiny classifier of scikit-learn's digits for the Hugging Face Trainer, and the same training as a bare loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch.utils.data import Dataset

import lehr

BATCH, ACCUMULATE, LOG, LR = 16, 3, 5, 0.5
SAMPLES = 250  # 16 batches, the last one small; 6 updates an epoch, the last one of a single micro-batch
TRAIN, HELD_OUT = slice(0, SAMPLES), slice(1000, 1400)


class Classifier(torch.nn.Module):
    """As transformers' models are: called with labels it returns a loss."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))

    def forward(self, pixels: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        logits = self.layers(pixels)
        return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}


class Digits(Dataset[dict[str, torch.Tensor]]):
    """Some of the digits."""

    def __init__(self, part: slice) -> None:
        images, labels = load_digits(return_X_y=True)
        self.pixels = torch.tensor(images[part] / 16, dtype=torch.float32)
        self.labels = torch.tensor(labels[part])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> dict[str, torch.Tensor]:
        return {"pixels": self.pixels[i], "labels": self.labels[i]}


def accuracy(prediction: Any) -> dict[str, float]:
    """The metric of an evaluation, as the Trainer asks for it."""
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}


def sgd(model: torch.nn.Module, lr: float = LR) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)


def watched(optimizer: torch.optim.Optimizer) -> list[float]:
    """The LR that each real update uses, as the updates come."""
    lrs: list[float] = []
    optimizer.register_step_pre_hook(lambda o, args, kwargs: lrs.append(float(o.param_groups[0]["lr"])))
    return lrs


def arguments(folder: Path | str, kind: Any = None, **given: Any) -> Any:
    """`TrainingArguments` for a quick, quiet run on the CPU, over the data in their order."""
    from transformers import TrainingArguments

    usual: dict[str, Any] = {
        "output_dir": str(folder),
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "per_device_train_batch_size": BATCH,
        "per_device_eval_batch_size": 400,
        "gradient_accumulation_steps": ACCUMULATE,
        "num_train_epochs": 5,
        "logging_steps": LOG,
        "save_strategy": "no",
        "max_grad_norm": 0.0,
        "train_sampling_strategy": "sequential",
        "learning_rate": LR,
        "optim": "sgd",
    }
    return (kind or TrainingArguments)(**{**usual, **given})


@dataclass
class Run:
    """What a training did."""

    lrs: list[float] = field(default_factory=list)  # of each real update
    logs: list[dict[str, Any]] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    events: list[str] = field(default_factory=list)


def weights(model: torch.nn.Module) -> list[float]:
    return [float(w) for p in model.parameters() for w in p.detach().flatten()]


class Overflow:
    """Makes the gradients of some backward passes overflow, so that a `GradScaler` skips their updates."""

    def __init__(self, model: torch.nn.Module, passes: Sequence[int]) -> None:
        self.done, self.passes = 0, passes
        next(model.parameters()).register_hook(self)  # type: ignore[no-untyped-call]

    def __call__(self, gradient: torch.Tensor) -> torch.Tensor:
        self.done += 1
        return gradient * float("inf") if self.done - 1 in self.passes else gradient


def bare_loop(policy: Any, updates: int, *, overflow: Sequence[int] = (), each: bool = False, steps: int = 0) -> Run:
    """The training that `arguments` ask for, by hand: torch and `lehr.start`, no trainer and no adapter.

    Args:
        policy: the policy.
        updates: updates tried.
        overflow: the backward passes whose gradients overflow.
        each: whether the loss of every update is reported, instead of the mean at each log.
        steps: of the policy; default: updates.
    """
    model, train, held_out = Classifier(), Digits(TRAIN), Digits(HELD_OUT)
    optimizer, scaler = sgd(model), torch.amp.GradScaler("cpu", enabled=bool(overflow))
    Overflow(model, overflow)
    lrs = watched(optimizer)
    batches = [slice(i, min(i + BATCH, SAMPLES)) for i in range(0, SAMPLES, BATCH)]
    per_epoch = -(-len(batches) // ACCUMULATE)
    run = lehr.start(policy, lr=LR, horizon=lehr.Horizon(steps=steps or updates, steps_per_epoch=per_epoch))
    total = torch.tensor(0.0)
    for update in range(updates):
        k = update % per_epoch
        micro = batches[k * ACCUMULATE : (k + 1) * ACCUMULATE]
        own = torch.tensor(0.0)
        for part in micro:
            loss = model(train.pixels[part], train.labels[part])["loss"] / len(micro)
            scaler.scale(loss).backward()
            total, own = total + loss.detach(), own + loss.detach()
        optimizer.param_groups[0]["lr"] = run.lr
        tried = len(lrs)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        numbers = {"loss": float(own)} if each else {}
        run.step(applied=len(lrs) > tried, **numbers)
        if (update + 1) % LOG == 0:
            if not each:
                run.observe(loss=float(total) / LOG)
            with torch.no_grad():
                right = model(held_out.pixels, held_out.labels)["logits"].argmax(-1) == held_out.labels
            run.observe(eval_accuracy=float(right.numpy().mean()))
            total = torch.tensor(0.0)
        if run.done:
            break
    return Run(lrs, weights=weights(model), events=[str(event) for event in run.events if event.kind == "rule"])


class Killed(BaseException):
    """The process died."""


def killer(step: int) -> Any:
    """A callback that ends the training like a power cut, after `step` updates."""
    from transformers import TrainerCallback

    class Killer(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == step:
                raise Killed

    return Killer()
