"""torch's schedulers that join others: one after another, and all at once. They nest, and a plateau may come last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from lehr.errors import LehrError
from lehr.spelling import shown
from lehr.torch.dropin.base import Dropin
from lehr.torch.dropin.parts import Originals, Parts, in_chain, in_sequence
from lehr.torch.dropin.plateau import Judged

__all__ = ["ChainedScheduler", "SequentialLR"]


class _Composite(Judged):
    """Takes its schedulers over: they become parts, and the optimiser's LR before them is the base."""

    overwrites = True

    def __init__(
        self, optimizer: torch.optim.Optimizer | None, schedulers: Sequence[Dropin], last_epoch: int = -1
    ) -> None:
        name, members = type(self).__name__, list(schedulers)
        if not members:
            raise LehrError(f"{name} needs at least one scheduler, got none")
        for member in members:
            if not isinstance(member, Dropin):
                raise LehrError(
                    f"{name} joins schedulers of lehr.torch.dropin, got {shown(member)}; import that one from there too"
                )
            if member.optimizer is not (optimizer or members[0].optimizer):
                raise LehrError(f"{name}: all schedulers must be built on one optimiser, {member!r} has another")
            if member.retired or members.count(member) > 1:
                raise LehrError(f"{name}: {member!r} is a part of another scheduler already; build a new one")
        judged = [member for member in members if isinstance(member, Judged) and member.judge is not None]
        if len(judged) > 1:
            raise LehrError(f"{name}: one ReduceLROnPlateau can be a part, got {len(judged)}")
        self._schedulers = members
        self.functions = tuple(function for member in members for function in member.functions)
        for member in judged:
            self.judge, self.memory, self.begins = member.judge, member.memory, member.begins + self._later(member)
        super().__init__(members[0].optimizer, last_epoch)
        for member in members:
            member.retire(name)

    def announce(self) -> None:
        """See `Dropin.announce`."""
        for member in self._schedulers:
            member.announce()

    def _later(self, member: Dropin) -> int:
        return 0

    def _drawn(self, originals: Originals, groups: int) -> list[Parts]:
        return [member.draw(originals, groups) for member in self._schedulers]


class SequentialLR(_Composite):
    """One scheduler after another: each from its own step 0 and from the base LR, the next from each milestone on.

    Any scheduler of this module may be a part, composites too; a `ReduceLROnPlateau` comes last, and from its
    milestone on `step` needs the metric.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
        >>> from lehr.torch.dropin import CosineAnnealingLR, LinearLR
        >>> parts = [LinearLR(optimizer, 0.1, total_iters=5), CosineAnnealingLR(optimizer, 95)]
        >>> SequentialLR(optimizer, parts, milestones=[5]).policy
        Policy(warmup(5, start=0.1, zero_start=True).then(cosine(95)))
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        schedulers: Sequence[Dropin],
        milestones: Sequence[int],
        last_epoch: int = -1,
    ) -> None:
        self._milestones = list(milestones)
        super().__init__(optimizer, schedulers, last_epoch)

    def draw(self, originals: Originals, groups: int) -> Parts:
        """Its parts side by side."""
        return in_sequence(self._drawn(originals, groups), self._milestones, originals)

    def _later(self, member: Dropin) -> int:
        at = self._schedulers.index(member)
        return self._milestones[at - 1] if 0 < at <= len(self._milestones) else 0


class ChainedScheduler(_Composite):
    """All schedulers at once: the LR is the base times the product of their factors.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
        >>> from lehr.torch.dropin import ConstantLR, ExponentialLR
        >>> ChainedScheduler([ConstantLR(optimizer, 0.1, 4), ExponentialLR(optimizer, 0.9)]).policy
        Policy(piecewise({0: 0.1, 4: 1}) * exponential(0.9))
    """

    def __init__(self, schedulers: Sequence[Dropin], optimizer: torch.optim.Optimizer | None = None) -> None:
        super().__init__(optimizer, schedulers)

    def _from_torch(self, state: Mapping[str, Any]) -> str:
        return self._schedulers[0]._from_torch(state["_schedulers"][0])

    def draw(self, originals: Originals, groups: int) -> Parts:
        """Its parts multiplied."""
        return in_chain(self._drawn(originals, groups), originals)
