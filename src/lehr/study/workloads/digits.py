"""Handwritten digits: 8×8 images of scikit-learn, a small net, SGD with momentum at batch 8.

A batch this small keeps the gradient noisy, and weight decay keeps it so to the end; a constant LR then stalls at a
height that a decaying one passes. Where the net fits every image no schedule matters (`docs/workloads.md`).
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from lehr.study.workloads.data import Shuffled, Table, fixed_split, short_hash
from lehr.study.workloads.workload import Split, Workload

STEPS = 1600
BATCH = 8  # images
HIDDEN = 128
PEAK = 0.04
WEIGHT_DECAY = 7e-3  # keeps the net from fitting every image, after which no schedule matters
VALIDATION, TEST = 300, 600  # images; 897 are left for training


class Digits(NamedTuple):
    """The images, split."""

    train: Table
    validation: Table
    test: Table
    data_hash: str


@functools.cache
def digits() -> Digits:
    """Read and split the images, once a process."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    pixels, labels = pixels.astype(np.uint8), labels.astype(np.uint8)
    parts = [(pixels[rows], labels[rows]) for rows in fixed_split(len(labels), VALIDATION, TEST)]
    mean, spread = _brightness(parts[0][0])
    train, validation, test = [
        Table((torch.from_numpy(images) - mean) / spread, torch.from_numpy(values).long()) for images, values in parts
    ]
    return Digits(train, validation, test, short_hash(array.tobytes() for part in parts for array in part))


def _brightness(images: NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
    """Mean of each pixel, and one spread for all: centred pixels share the noise of the gradient among many weights."""
    pixels = torch.from_numpy(images).float()
    mean = pixels.mean(dim=0)
    return mean, (pixels - mean).std()


def make(seed: int) -> Workload:
    """The task for one seed.

    Args:
        seed: any integer ≥ 0; decides the initial weights and the order of the batches.
    """
    data = digits()
    batches = Shuffled(data.train, BATCH, STEPS, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(64, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 10))
    return Workload(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=PEAK, momentum=0.9, weight_decay=WEIGHT_DECAY),
        batches=batches,
        loss=loss,
        evaluate=evaluate,
        steps=STEPS,
        metric="accuracy",
        best="max",
        threshold=0.97,
        steps_per_epoch=batches.steps_per_epoch,
        data_hash=data.data_hash,
        about=(
            f"Handwritten digits (scikit-learn, 8×8 pixels, {len(data.train)} for training): "
            f"a net with {HIDDEN} tanh units, SGD with momentum 0.9, batch {BATCH}; share of digits read right."
        ),
    )


def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Cross-entropy, in nats."""
    images, labels = batch
    return functional.cross_entropy(model(images), labels)


def evaluate(model: nn.Module, split: Split) -> dict[str, float]:
    """Cross-entropy in nats, and the share of digits read right."""
    table: Table = getattr(digits(), split)
    scores = model(table.inputs)
    right = (scores.argmax(dim=1) == table.targets).float().mean()
    return {"loss": functional.cross_entropy(scores, table.targets).item(), "accuracy": right.item()}
