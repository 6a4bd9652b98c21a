"""torch's schedulers that are given a function of the step."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from itertools import count
from typing import Any

import torch

from lehr.converters import torch_schedules as convert
from lehr.errors import LehrError
from lehr.torch.dropin.base import Dropin
from lehr.torch.dropin.parts import Originals, Part, Parts
from lehr.torch.dropin.user import UserFunction

__all__ = ["LambdaLR", "MultiplicativeLR"]

Function = Callable[[int], Any]

_numbers: weakref.WeakKeyDictionary[torch.optim.Optimizer, weakref.WeakKeyDictionary[Dropin, int]] = (
    weakref.WeakKeyDictionary()
)


class LambdaLR(Dropin):
    """Any function of the step, or one a group.

    It must give the same at every call. A negative value is an LR of 0, with one warning. A state names the function;
    it holds no code.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
        >>> scheduler = LambdaLR(optimizer, lambda step: 0.5**step)
        >>> optimizer.step(); scheduler.step()
        >>> scheduler.get_last_lr()
        [0.05]
    """

    overwrites = True

    def __init__(
        self, optimizer: torch.optim.Optimizer, lr_lambda: Function | list[Function], last_epoch: int = -1
    ) -> None:
        given: list[Any] = list(lr_lambda) if isinstance(lr_lambda, list | tuple) else [lr_lambda]
        name = type(self).__name__
        for function in given:
            if not callable(function):
                raise LehrError(f"{name}(lr_lambda) must be a function of the step, or a list, got {function!r}")
        if isinstance(lr_lambda, list | tuple) and len(given) != len(optimizer.param_groups):
            groups = len(optimizer.param_groups)
            raise LehrError(f"{name} needs one function for each of {groups} parameter groups, got {len(given)}")
        self.lr_lambdas = given * (1 if isinstance(lr_lambda, list | tuple) else len(optimizer.param_groups))
        self.functions = _named(self, optimizer, given, self._of_step)
        super().__init__(optimizer, last_epoch)

    def draw(self, originals: Originals, groups: int) -> Parts:
        """Each group's function on its base LR."""
        schedules = [convert.lambda_lr(function.value) for function in self.functions]
        return tuple({"lr": Part(originals["lr"][i], schedules[i % len(schedules)])} for i in range(groups))

    def _of_step(self, function: Function) -> Function:
        return function


class MultiplicativeLR(LambdaLR):
    """Each LR is f(t) times the one before it; see `LambdaLR` for the function.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.4)
        >>> scheduler = MultiplicativeLR(optimizer, lambda step: 0.5)
        >>> optimizer.step(); scheduler.step(); optimizer.step(); scheduler.step()
        >>> scheduler.get_last_lr()
        [0.1]
    """

    overwrites = False

    def _of_step(self, function: Function) -> Function:
        return convert.multiplicative_lr(function)


def _named(
    scheduler: Dropin,
    optimizer: torch.optim.Optimizer,
    given: list[Function],
    of_step: Callable[[Function], Function],
) -> tuple[UserFunction, ...]:
    """The functions under names that no other living scheduler of the optimiser uses, the same in every process."""
    numbers = _numbers.setdefault(optimizer, weakref.WeakKeyDictionary())
    taken = set(numbers.values())
    number = numbers[scheduler] = next(n for n in count() if n not in taken)
    titles = [getattr(function, "__qualname__", type(function).__qualname__) for function in given]
    return tuple(
        UserFunction(of_step(function), f"{title}.{number}.{i}")
        for i, (function, title) in enumerate(zip(given, titles, strict=True))
    )
