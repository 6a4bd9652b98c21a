"""What the parity tests draw, and how they run a peer's torch scheduler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from numpy.typing import NDArray

__all__ = ["FACTORS", "LENGTHS", "LRS", "OPEN_FACTORS", "forty", "lrs_of_updates"]

LENGTHS = st.integers(1, 60)
FACTORS = st.floats(0, 1)
OPEN_FACTORS = st.floats(0.001, 0.999)
LRS = st.floats(1e-6, 10)

forty = settings(max_examples=40)


def lrs_of_updates(make: Callable[[Any], Any], lrs: list[float], steps: int) -> NDArray[np.float64]:
    """The LRs, a row a parameter group, that updates 0 … steps − 1 use under a peer's scheduler for torch."""
    import torch

    groups = [{"params": [torch.zeros(1, requires_grad=True)], "lr": lr} for lr in lrs]
    optimizer = torch.optim.SGD(groups)
    scheduler = make(optimizer)
    rows = []
    for _ in range(steps):
        rows.append([float(group["lr"]) for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return np.array(rows).T
