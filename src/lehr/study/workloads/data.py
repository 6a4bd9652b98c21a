"""Tables of tensors: fixed splits, seeded batches, and a hash that names the data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Table:
    """Rows of inputs and targets of one split.

    Args:
        inputs: one row an example.
        targets: as many rows.
    """

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)


@dataclass(frozen=True)
class Shuffled:
    """Batches of a table, epoch after epoch, every epoch in an order of its own; rows beyond the last full batch wait.

    Args:
        table: the training rows.
        size: rows in a batch.
        steps: batches in all.
        seed: decides the order, the same at every iteration.
    """

    table: Table
    size: int
    steps: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in one pass."""
        return len(self.table) // self.size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        draw = np.random.default_rng(self.seed)
        for step in range(self.steps):
            place = step % self.steps_per_epoch * self.size
            if place == 0:
                order = torch.from_numpy(draw.permutation(len(self.table)))
            rows = order[place : place + self.size]
            yield self.table.inputs[rows], self.table.targets[rows]


def fixed_split(rows: int, validation: int, test: int) -> tuple[NDArray[np.int64], ...]:
    """Row numbers of train, validation and test: one permutation, the same in every process and for every seed."""
    order = np.random.default_rng(0).permutation(rows)
    return order[validation + test :], order[:validation], order[validation : validation + test]


def short_hash(parts: Iterable[bytes]) -> str:
    """The first 12 hex digits of the SHA-256 of all parts together."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:12]
