"""torch's cycles, which name the LR themselves and cycle the momentum (SGD) or β1 (Adam) against it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch

from lehr.converters import torch_schedules as convert
from lehr.errors import LehrError
from lehr.lengths import as_count
from lehr.torch.dropin.arguments import Given, per_group
from lehr.torch.dropin.base import Dropin
from lehr.torch.dropin.parts import Originals, Part, Parts

__all__ = ["CyclicLR", "OneCycleLR"]

PerGroup = float | list[float]


class OneCycleLR(Dropin):
    """Up to `max_lr` and far down again, once; past its end the last LR holds (torch's turns back, or raises).

    Factor 1 is `max_lr`. The peak lies at step `pct_start`·total_steps − 1, or at step 0 if that is before it.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1, momentum=0.9)
        >>> scheduler = OneCycleLR(optimizer, max_lr=1.0, total_steps=100, div_factor=10)
        >>> scheduler.get_last_lr(), optimizer.param_groups[0]["momentum"]
        ([0.1], 0.95)
    """

    max_lr, pct_start, anneal_strategy = Given[PerGroup](), Given[float](), Given[Literal["cos", "linear"]]()
    base_momentum, max_momentum = Given[PerGroup](), Given[PerGroup]()
    div_factor, final_div_factor, three_phase = Given[float](), Given[float](), Given[bool]()
    total_steps = Given[int]()
    overwrites = True

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        max_lr: PerGroup,
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        cycle_momentum: bool = True,
        base_momentum: PerGroup = 0.85,
        max_momentum: PerGroup = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise LehrError("OneCycleLR needs total_steps=..., or epochs=... and steps_per_epoch=...")
            total_steps = as_count(epochs, "OneCycleLR(epochs=...)")
            total_steps *= as_count(steps_per_epoch, "OneCycleLR(steps_per_epoch=...)")
        self.total_steps, self.max_lr = total_steps, max_lr
        self.pct_start, self.anneal_strategy, self.three_phase = pct_start, anneal_strategy, three_phase
        self.div_factor, self.final_div_factor = div_factor, final_div_factor
        self.base_momentum, self.max_momentum = base_momentum, max_momentum
        self.cycle_momentum = momentum_of(optimizer, "OneCycleLR") if cycle_momentum else None
        super().__init__(optimizer, last_epoch)

    def draw(self, originals: Originals, groups: int) -> Parts:
        """The LR from `max_lr`, the momentum from `max_momentum` of each group."""
        where = (self.total_steps, self.pct_start, self.anneal_strategy)
        lr = convert.one_cycle_lr(*where, self.div_factor, self.final_div_factor, self.three_phase)
        peaks = per_group(self.max_lr, "OneCycleLR(max_lr=...)", groups)
        parts = [{"lr": Part(peak, lr)} for peak in peaks]
        if self.cycle_momentum:
            for part, low, high in zip(parts, *momenta(self, "OneCycleLR", groups), strict=True):
                momentum = convert.one_cycle_momentum(*where, low, high, self.three_phase)
                part[self.cycle_momentum] = Part(high, momentum)
        return tuple(parts)


class CyclicLR(Dropin):
    """Triangles between `base_lr` and `max_lr`, for ever. Factor 1 is `max_lr`.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
        >>> CyclicLR(optimizer, base_lr=0.02, max_lr=0.1, step_size_up=10, cycle_momentum=False).policy
        Policy(linear(10, to=1, start=0.2).then(linear(10, to=0.2)).repeat())
    """

    base_lr, max_lr, mode, gamma = Given[PerGroup](), Given[PerGroup](), Given[str](), Given[float]()
    step_size_up, step_size_down, scale_mode = Given[int](), Given[int | None](), Given[str]()
    base_momentum, max_momentum = Given[PerGroup](), Given[PerGroup]()
    overwrites = True

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        base_lr: PerGroup,
        max_lr: PerGroup,
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: Literal["triangular", "triangular2", "exp_range"] = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: Literal["cycle", "iterations"] = "cycle",
        cycle_momentum: bool = True,
        base_momentum: PerGroup = 0.8,
        max_momentum: PerGroup = 0.9,
        last_epoch: int = -1,
    ) -> None:
        self.base_lr, self.max_lr, self.mode, self.gamma = base_lr, max_lr, mode, gamma
        self.step_size_up, self.step_size_down, self.scale_mode = step_size_up, step_size_down, scale_mode
        self.base_momentum, self.max_momentum = base_momentum, max_momentum
        self.cycle_momentum = momentum_of(optimizer, "CyclicLR") if cycle_momentum else None
        self.scale_fn = scale_fn
        super().__init__(optimizer, last_epoch)

    def draw(self, originals: Originals, groups: int) -> Parts:
        """The LR from `max_lr`, the momentum from `max_momentum` of each group."""
        where = (self.step_size_up, self.step_size_down, self.mode, self.gamma, self.scale_fn, self.scale_mode)
        lows = per_group(self.base_lr, "CyclicLR(base_lr=...)", groups)
        peaks = per_group(self.max_lr, "CyclicLR(max_lr=...)", groups)
        parts = [
            {"lr": Part(high, convert.cyclic_lr(low, high, *where))} for low, high in zip(lows, peaks, strict=True)
        ]
        if self.cycle_momentum:
            for part, low, high in zip(parts, *momenta(self, "CyclicLR", groups), strict=True):
                part[self.cycle_momentum] = Part(high, convert.cyclic_momentum(low, high, *where))
        return tuple(parts)

    @property
    def max_lrs(self) -> list[float]:
        """The highest LR of each group."""
        return list(per_group(self.max_lr, "CyclicLR(max_lr=...)", len(self.base_lrs)))

    @property
    def total_size(self) -> float:
        """The steps of a cycle."""
        return float(self.step_size_up + (self.step_size_down or self.step_size_up))

    @property
    def step_ratio(self) -> float:
        """The share of the way up in a cycle."""
        return self.step_size_up / self.total_size

    def announce(self) -> None:
        """See `Dropin.announce`: making the parts names the functions in them."""
        self.draw(self._basis, len(self.base_lrs))


def momentum_of(optimizer: torch.optim.Optimizer, name: str) -> str:
    """What stands for the momentum in this optimiser's groups.

    Raises:
        LehrError: the optimiser has none.
    """
    for key, target in (("betas", "betas[0]"), ("momentum", "momentum")):
        if key in optimizer.defaults:
            return target
    raise LehrError(f"{name}(cycle_momentum=True) needs an optimiser with momentum or betas; say cycle_momentum=False")


def momenta(scheduler: OneCycleLR | CyclicLR, name: str, groups: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The least and the largest momentum of each group."""
    low = per_group(scheduler.base_momentum, f"{name}(base_momentum=...)", groups)
    return low, per_group(scheduler.max_momentum, f"{name}(max_momentum=...)", groups)
