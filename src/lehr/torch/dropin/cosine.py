"""torch's cosines, and the anneal of stochastic weight averaging."""

from __future__ import annotations

import functools as ft
from collections.abc import Mapping
from typing import Any, Literal

import torch

from lehr.controller import OnChange
from lehr.converters import torch_schedules as convert
from lehr.schedules import Schedule
from lehr.torch.dropin.arguments import Given, per_group
from lehr.torch.dropin.base import Dropin
from lehr.torch.dropin.decay import Shared
from lehr.torch.dropin.parts import Originals, Part, Parts

__all__ = ["SWALR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts"]


class CosineAnnealingLR(Shared):
    """Half a cosine to `eta_min` over `T_max` steps; there it holds (torch's rises again).

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
        >>> CosineAnnealingLR(optimizer, T_max=100, eta_min=1e-5).policy
        Policy(cosine(100, to_lr=1e-05))
    """

    T_max, eta_min = Given[int](), Given[float]()

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        T_max: int,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def _schedule(self) -> Schedule:
        return convert.cosine_annealing_lr(self.T_max, self.eta_min)


class CosineAnnealingWarmRestarts(Shared):
    """Cosines to `eta_min`, the first of `T_0` steps, each `T_mult` times as long as the one before it.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
        >>> CosineAnnealingWarmRestarts(optimizer, T_0=10, T_mult=2).policy
        Policy(cosine(10).repeat(stretch=2))
    """

    T_0, T_mult, eta_min = Given[int](), Given[int](), Given[float]()
    overwrites = True

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        T_0: int,
        T_mult: int = 1,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        self.T_0, self.T_mult, self.eta_min = T_0, T_mult, eta_min
        super().__init__(optimizer, last_epoch)

    def _schedule(self) -> Schedule:
        return convert.cosine_annealing_warm_restarts(self.T_0, self.T_mult, self.eta_min)

    @property
    def T_i(self) -> int:
        """The steps of the present cosine."""
        return self._cycle[1]

    @property
    def T_cur(self) -> int:
        """The steps done of the present cosine."""
        return self._cycle[0]

    @property
    def _cycle(self) -> tuple[int, int]:
        if self.T_mult == 1:
            return self.t % self.T_0, self.T_0
        done, length = self.t, self.T_0
        while done >= length:
            done, length = done - length, length * self.T_mult
        return done, length


class SWALR(Dropin):
    """From the present LR to `swa_lr` (one or one per group) over `anneal_epochs` steps.

    Built early beside another scheduler, it begins at the LR that the other one has reached at its first `step()`.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
        >>> SWALR(optimizer, swa_lr=0.05).policy
        Policy(cosine(10, to_lr=0.05))
    """

    swa_lr, anneal_epochs, anneal_strategy = Given[Any](), Given[int](), Given[Literal["cos", "linear"]]()
    overwrites = True
    from_present = True

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        swa_lr: float | list[float],
        anneal_epochs: int = 10,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        last_epoch: int = -1,
    ) -> None:
        self.swa_lr, self.anneal_epochs, self.anneal_strategy = swa_lr, anneal_epochs, anneal_strategy
        super().__init__(optimizer, last_epoch)

    def draw(self, originals: Originals, groups: int) -> Parts:
        """From the LR found, or in a sequence from that of the phase before it."""
        ends = per_group(self.swa_lr, "SWALR(swa_lr=...)", groups)
        parts = []
        for lr, end in zip(originals["lr"], ends, strict=True):
            anneal = ft.partial(convert.swa_lr, end, self.anneal_epochs, self.anneal_strategy)
            parts.append({"lr": Part(lr, anneal(), onward=anneal)})
        return tuple(parts)

    def step(self, epoch: float | None = None, *, applied: bool = True, **numbers: Any) -> None:
        """See `Dropin.step`."""
        if self.waits:
            self._absorb()
            self._begun = True
        super().step(epoch, applied=applied, **numbers)

    def load_state_dict(self, state_dict: Mapping[str, Any], on_change: OnChange | None = None) -> None:
        """See `Dropin.load_state_dict`."""
        super().load_state_dict(state_dict, on_change)
        self._begun = self.t > 0

    @property
    def waits(self) -> bool:
        """Whether it has not begun: the LR is that of another scheduler still."""
        return self.built and self.t == 0 and not self._begun and self.anneal_epochs > 0

    _begun = False

    def _absorb(self) -> None:
        """Before its first step, what another scheduler or a hand wrote is where it begins."""
        groups = self.optimizer.param_groups
        found = tuple(float(group["lr"]) for group in groups)
        if self.waits and len(groups) == len(self.base_lrs) and found != self._basis["lr"]:
            self._basis = {**self._basis, "lr": found}
            self._groups, self._run = groups, self._rerun(self._basis)
            super()._write()
        super()._absorb()

    def _write(self) -> None:
        if not self.waits:
            super()._write()
