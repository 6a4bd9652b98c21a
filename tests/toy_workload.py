"""A workload that trains in milliseconds, and some that go wrong, as a user would write them."""

import dataclasses
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from lehr.study.workloads import Split, Workload

STEPS = 60
DRAWS = torch.Generator().manual_seed(0)
SLOPES = torch.tensor([[1.0], [-2.0], [0.5]])


def table(rows: int) -> tuple[Tensor, Tensor]:
    inputs = torch.randn(rows, 3, generator=DRAWS)
    return inputs, inputs @ SLOPES + 0.1 * torch.randn(rows, 1, generator=DRAWS)


TRAIN, VALIDATION, TEST = table(64), table(32), table(32)


@dataclasses.dataclass
class Batches:
    seed: int
    count: int = STEPS

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        draws = torch.Generator().manual_seed(self.seed)
        for _ in range(self.count):
            rows = torch.randint(0, 64, (4,), generator=draws)
            yield TRAIN[0][rows], TRAIN[1][rows]


def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    error: Tensor = model(batch[0]) - batch[1]
    return (error**2).mean()


def evaluate(model: nn.Module, split: Split) -> dict[str, float]:
    error = loss(model, VALIDATION if split == "validation" else TEST).item()
    return {"loss": error, "rmse": error**0.5}


def make(seed: int) -> Workload:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Dropout(0.1), nn.Linear(3, 1))
    return Workload(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.05),
        batches=Batches(seed),
        loss=loss,
        evaluate=evaluate,
        steps=STEPS,
        metric="rmse",
        best="min",
        threshold=1.0,
        steps_per_epoch=16,
        data_hash="toy",
        about="Three slopes; root mean squared error.",
    )


def unbounded(seed: int) -> Workload:
    """Diverges at any LR worth the name, and has no threshold."""
    workload = make(seed)
    workload.optimizer.param_groups[0]["lr"] = 50.0
    return dataclasses.replace(workload, threshold=None)


def failing(seed: int) -> Workload:
    """Breaks at its first update when the seed is 2."""

    def broken(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        if seed == 2:
            raise KeyError("no such column")
        return loss(model, batch)

    return dataclasses.replace(make(seed), loss=broken)


def short(seed: int) -> Workload:
    """Has fewer batches than steps."""
    return dataclasses.replace(make(seed), batches=Batches(seed, STEPS - 1))


def random_evaluation(seed: int) -> Workload:
    """Draws random numbers whenever it is evaluated."""

    def noisy(model: nn.Module, split: Split) -> dict[str, float]:
        torch.rand(3)
        return evaluate(model, split)

    return dataclasses.replace(make(seed), evaluate=noisy)


def without_dropout(seed: int) -> Workload:
    """Keeps its dropout in eval mode while the rest trains."""
    workload = make(seed)
    assert isinstance(workload.model, nn.Sequential)
    workload.model[0].eval()

    def checked(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        assert [part.training for part in model.children()] == [False, True]
        return loss(model, batch)

    return dataclasses.replace(workload, loss=checked)


def incomplete(seed: int) -> Workload:
    """Does not measure what it says."""
    return dataclasses.replace(make(seed), evaluate=lambda model, split: {"loss": 1.0})


def unmakable(seed: int) -> Workload:
    raise FileNotFoundError("data.csv")
