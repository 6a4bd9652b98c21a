"""torch's schedulers that multiply the LR: constant, linear, steps, exponential, polynomial."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from lehr.converters import torch_schedules as convert
from lehr.schedules import Schedule
from lehr.torch.dropin.arguments import Given
from lehr.torch.dropin.base import Dropin
from lehr.torch.dropin.parts import Originals, Part, Parts

__all__ = ["ConstantLR", "ExponentialLR", "LinearLR", "MultiStepLR", "PolynomialLR", "Shared", "StepLR"]


class Shared(Dropin):
    """A scheduler whose factors are the same for all groups."""

    def draw(self, originals: Originals, groups: int) -> Parts:
        """One schedule on the base LR of each group."""
        schedule = self._schedule()
        return tuple({"lr": Part(originals["lr"][i], schedule)} for i in range(groups))

    def _schedule(self) -> Schedule:
        raise NotImplementedError


class ConstantLR(Shared):
    """`factor` for `total_iters` steps, then 1. `factor=0` is allowed, and `total_iters=0` means 1 at once.

    Example:
        >>> import torch
        >>> scheduler = ConstantLR(torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.3), factor=0.5)
        >>> scheduler.policy, scheduler.get_last_lr()
        (Policy(piecewise({0: 0.5, 5: 1})), [0.15])
    """

    factor, total_iters = Given[float](), Given[int]()

    def __init__(
        self, optimizer: torch.optim.Optimizer, factor: float = 1.0 / 3, total_iters: int = 5, last_epoch: int = -1
    ) -> None:
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer, last_epoch)

    def _schedule(self) -> Schedule:
        return convert.constant_lr(self.factor, self.total_iters)


class LinearLR(Shared):
    """A line from `start_factor`, which may be 0, to `end_factor` over `total_iters` steps.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
        >>> LinearLR(optimizer, start_factor=0.5).policy
        Policy(warmup(5, start=0.5, zero_start=True))
    """

    start_factor, end_factor, total_iters = Given[float](), Given[float](), Given[int]()

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def _schedule(self) -> Schedule:
        return convert.linear_lr(self.start_factor, self.end_factor, self.total_iters)


class StepLR(Shared):
    """`gamma` every `step_size` steps.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
        >>> StepLR(optimizer, step_size=30).policy
        Policy(step_decay(30))
    """

    step_size, gamma = Given[int](), Given[float]()

    def __init__(
        self, optimizer: torch.optim.Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def _schedule(self) -> Schedule:
        return convert.step_lr(self.step_size, self.gamma)


class MultiStepLR(Shared):
    """`gamma` at each milestone.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
        >>> MultiStepLR(optimizer, milestones=[60, 30]).policy
        Policy(multistep([30, 60]))
    """

    milestones, gamma = Given[list[int]](), Given[float]()

    def __init__(
        self, optimizer: torch.optim.Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.milestones, self.gamma = list(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def _schedule(self) -> Schedule:
        return convert.multi_step_lr(self.milestones, self.gamma)


class ExponentialLR(Shared):
    """`gamma` at every step; above 1 it rises to 1e30 and holds there.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
        >>> ExponentialLR(optimizer, gamma=0.9).policy
        Policy(exponential(0.9))
    """

    gamma = Given[float]()

    def __init__(self, optimizer: torch.optim.Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _schedule(self) -> Schedule:
        return convert.exponential_lr(self.gamma)


class PolynomialLR(Shared):
    """(1 − t/`total_iters`)^`power`, then 0.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
        >>> PolynomialLR(optimizer, total_iters=100, power=2).policy
        Policy(polynomial(100))
    """

    total_iters, power = Given[int](), Given[float]()

    def __init__(
        self, optimizer: torch.optim.Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1
    ) -> None:
        self.total_iters, self.power = total_iters, power
        super().__init__(optimizer, last_epoch)

    def _schedule(self) -> Schedule:
        return convert.polynomial_lr(self.total_iters, self.power)
