"""What a training task is to a study: one value, made freshly for every seed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor, nn, optim

Split = Literal["validation", "test"]


@dataclass
class Workload:
    """A training task, ready for its first update.

    The seed it was made with decides the initial weights and the order of the batches, nothing else: data and splits
    are the same for every seed, so that two policies with one seed differ by their learning rates alone.

    Args:
        model: the network, freshly initialised.
        optimizer: holds the model's parameters; its LR is the workload's own peak, the ×1 of a study's tuning grid.
        batches: at least `steps` batches, in an order fixed by the seed; may be iterated more than once.
        loss: (model, batch) → scalar training loss.
        evaluate: (model, split) → {"loss": ..., metric: ...}. The caller puts the model in eval mode under `no_grad`.
        steps: updates in a run.
        metric: name of the metric among the numbers that `evaluate` returns.
        best: whether a small ("min") or a large ("max") metric is the better one.
        threshold: a value of the metric on validation data that a decent run at constant LR reaches about midway;
            policies that wait for a performance wait for this one. None: such policies do not run here.
        steps_per_epoch: updates in one pass over the training data; None where an epoch means nothing.
        evaluate_every: updates between two reports on validation data; None: steps // 20.
        data_hash: identifies the data of all splits, so that rows from different data are never compared.
        about: one sentence for the report: data, model, optimiser, metric with its unit.
    """

    model: nn.Module
    optimizer: optim.Optimizer
    batches: Iterable[Any]
    loss: Callable[[nn.Module, Any], Tensor]
    evaluate: Callable[[nn.Module, Split], dict[str, float]]
    steps: int
    metric: str
    best: Literal["min", "max"]
    threshold: float | None = None
    steps_per_epoch: int | None = None
    evaluate_every: int | None = None
    data_hash: str = ""
    about: str = ""


Maker = Callable[[int], Workload]
