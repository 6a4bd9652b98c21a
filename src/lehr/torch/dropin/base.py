"""What the drop-in schedulers share: a Lehr `Scheduler` whose policy is made from torch's arguments.

Several are often built on one optimiser before they are joined, and each writes its LR at once. So each remembers what
the optimiser held before any of them (`originals`), and its parts are made from that.
"""

from __future__ import annotations

import weakref
from abc import abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Generic, NoReturn, TypeVar, overload

import numpy as np
import torch

from lehr.controller import Controller, OnChange
from lehr.errors import LehrError
from lehr.spelling import shown
from lehr.state import check
from lehr.text import as_policy
from lehr.torch.dropin import originals
from lehr.torch.dropin.parts import Originals, Parts, bases, policy, rebased
from lehr.torch.dropin.user import UserFunction
from lehr.torch.scheduler import Scheduler
from lehr.torch.values import facts_of, held, put, read, untouched

__all__ = ["Dropin", "Given", "per_group"]

T = TypeVar("T")

_latest: weakref.WeakKeyDictionary[torch.optim.Optimizer, weakref.ref[Dropin]] = weakref.WeakKeyDictionary()


class Given(Generic[T]):
    """An argument of torch's. Set in mid-run it changes the plan: from the next update on, the new curve."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, scheduler: None, owner: type) -> Given[T]: ...
    @overload
    def __get__(self, scheduler: Dropin, owner: type) -> T: ...
    def __get__(self, scheduler: Dropin | None, owner: type) -> Given[T] | T:
        if scheduler is None:
            return self
        value: T = scheduler.__dict__[self.name]
        return value

    def __set__(self, scheduler: Dropin, value: T) -> None:
        before = scheduler.__dict__.get(self.name)
        scheduler.__dict__[self.name] = value
        if not scheduler.built:
            return
        try:
            scheduler.redraw()
        except LehrError:
            scheduler.__dict__[self.name] = before
            raise


class Dropin(Scheduler):
    """A scheduler of torch's as a Lehr `Scheduler`: its `policy`, `why()`, `state_dict()`, `replan()` and the rest."""

    built = False
    overwrites = False  # whether it names its LRs itself, whatever the optimiser's is
    from_present = False  # whether it begins at the LR found, even if another scheduler wrote that
    functions: tuple[UserFunction, ...] = ()  # the user's, if any

    def __init__(self, optimizer: torch.optim.Optimizer, last_epoch: int = -1) -> None:
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise LehrError(f"{type(self).__name__}(optimizer) must be a torch.optim.Optimizer, got {shown(optimizer)}")
        found = tuple(float(group["lr"]) for group in optimizer.param_groups)
        self._originals: Originals = originals.found(optimizer, _before(optimizer))
        if last_epoch != -1:
            self._originals = {**self._originals, "lr": originals.noted(optimizer)}
        #: What its own parts are made from.
        self._basis: Originals = {**self._originals, "lr": found} if self.from_present else self._originals
        parts = self.draw(self._basis, len(optimizer.param_groups))
        for target, values in bases(parts).items():
            for group, value in zip(optimizer.param_groups, values, strict=True):
                put(group, target, value)
        super().__init__(optimizer, policy(parts))
        if self._run.base_lrs != list(bases(parts)["lr"]):  # a float32 tensor rounded them
            self._run = self._rerun(self._basis)
        for i, group in enumerate(optimizer.param_groups):
            group["initial_lr"] = self._originals["lr"][i]
            base = self._originals["lr"][i]
            if last_epoch == -1 and not self.overwrites and found[i] != base and base > 0:
                # Another scheduler is at work on this optimiser: chained by hand, their factors multiply.
                self._run.adopt(i, self.lrs[i] * (found[i] / base))
        self._write()
        self._left = {
            (target, i): held(group, target)
            for target in self._originals
            for i, group in enumerate(optimizer.param_groups)
        }
        self.built = True
        _latest[optimizer] = weakref.ref(self)
        if last_epoch != -1:
            self._go_to(last_epoch + 1)

    @abstractmethod
    def draw(self, originals: Originals, groups: int) -> Parts:
        """What it does to each hyperparameter of each group, given what the optimiser held before."""

    # torch's names

    def step(self, epoch: int | None = None, *, applied: bool = True, **numbers: Any) -> None:
        """Say that an update was applied, or go to a step; see `Scheduler.step`.

        Args:
            epoch: the step to go to, instead of the next one; torch has deprecated it.
            applied: false for an update that was skipped (AMP overflow).
            numbers: what was measured at this update.

        Raises:
            LehrError: an epoch that is not a whole number.
        """
        if epoch is not None:
            self._absorb()
            self._go_to(epoch)
        elif numbers:
            super().step(applied=applied, **numbers)
        else:
            super().step(applied=applied)  # the usual call, a little faster

    def get_last_lr(self) -> list[float]:  # type: ignore[override]
        """The LR of each group, as last written; of a part, what the whole has written."""
        if self.retired:
            return [read(group, "lr", i) for i, group in enumerate(self.optimizer.param_groups)]
        return super().get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        """Everything that is needed to go on, as JSON-plain data; `torch.load(weights_only=True)` reads it."""
        return super().state_dict() | {"basis": {name: list(values) for name, values in self._basis.items()}}

    def load_state_dict(self, state_dict: Mapping[str, Any], on_change: OnChange | None = None) -> None:
        """Go on from a saved state, in any order relative to the optimiser. See `Controller.load_state_dict`."""
        if "schema" not in state_dict and "last_epoch" in state_dict:
            raise LehrError(
                f"this is a state of torch's own {type(self).__name__}; to go on from it, build this one on an "
                f"optimiser with the original LRs, call step({state_dict['last_epoch']}), and load the optimiser then"
            )
        check(state_dict, len(self.base_lrs))
        if self.retired:
            self._refuse()
        self.announce()
        before = self._controller(), self._basis
        basis = originals.settled(self._basis, state_dict)
        if self.from_present:  # what it found this time has no meaning
            basis |= {name: tuple(values) for name, values in state_dict.get("basis", {}).items()}
        try:
            if basis != self._basis:
                self._basis, self._run = basis, self._rerun(basis)
            super().load_state_dict(state_dict, on_change)
        except LehrError:
            self._run, self._basis = before
            raise

    # For composites, and for other schedulers on the same optimiser

    def original(self, target: str, index: int) -> float | None:
        """What stood there before any scheduler, if what stands there now is what this one wrote or left."""
        self._controller()
        key, groups = (target, index), self.optimizer.param_groups
        if groups is not self._groups or key not in self._left:
            return None
        as_left = untouched(held(groups[index], target), self._written.get(key, self._left[key]))
        return self._originals[target][index] if as_left else None

    def announce(self) -> None:
        """Let the names of the user's functions, in a state that is about to be read, mean those of this scheduler."""
        for function in self.functions:
            function.register()

    def retire(self, part_of: str) -> None:
        """Become a part of another scheduler: from now on nothing is written, and there is nothing to be stepped."""
        self._controller()
        self._hook.remove()
        self._part_of = part_of
        self._write = _nothing  # type: ignore[method-assign]  # the hook after a load calls it
        self.step = partial(Dropin._refuse, weakref.proxy(self))  # type: ignore[method-assign]

    def _refuse(self, *args: Any, **numbers: Any) -> NoReturn:
        raise LehrError(
            f"this {type(self).__name__} is a part of a {self._part_of} now; use that one, or build it anew"
        )

    @property
    def retired(self) -> bool:
        """Whether it is a part of another scheduler."""
        return self._part_of is not None

    _part_of: str | None = None

    def redraw(self) -> None:
        """Make the policy again, from arguments that have changed, and go on with it from the present step."""
        if self.retired:
            self._refuse()
        parts = self.draw(self._basis, len(self.base_lrs))
        self.replan(policy(rebased(parts, self._run.state_dict()["bases"], type(self).__name__)))

    # Inside

    def _go_to(self, epoch: int) -> None:
        if isinstance(epoch, bool) or not isinstance(epoch, int | np.integer) or epoch < 0:
            raise LehrError(
                f"step(epoch) must be a whole number of at least 0, got {shown(epoch)}; for parts of an epoch count "
                "updates: give the lengths in updates and call step() after every update"
            )
        self.load_state_dict(self.state_dict() | {"step": int(epoch)})

    def _rerun(self, basis: Originals) -> Controller:
        """A controller for parts made anew, at step 0."""
        parts = self.draw(basis, len(self.base_lrs))
        facts = [facts_of(group) for group in self.optimizer.param_groups]
        run = Controller(as_policy(policy(parts)), bases(parts), self.horizon, evaluate={}, groups=facts)
        run._subscribers = self._run._subscribers
        return run

    def _absorb(self) -> None:
        super()._absorb()
        for i in range(len(self._basis["lr"]), len(self._run.base_lrs)):
            group = self.optimizer.param_groups[i]
            group["initial_lr"] = self._run.base_lrs[i]
            late = {target: read(group, target, i) for target in self._basis} | {"lr": self._run.base_lrs[i]}
            self._basis = {target: (*values, late[target]) for target, values in self._basis.items()}
            self._originals = {target: (*values, late[target]) for target, values in self._originals.items()}

    def _watch(self, updates: int) -> None:
        """A scheduler of torch's may be stepped once an epoch: many updates between two calls are no misuse."""
        super()._watch(min(updates, 1))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.policy!r}, t={self.t})"


def per_group(value: Any, what: str, groups: int) -> tuple[float, ...]:
    """One number for each group from a number or a list of them.

    Raises:
        LehrError: a list of another length, or something that is no number.
    """
    items = list(value) if isinstance(value, list | tuple) else [value] * groups
    if len(items) != groups:
        raise LehrError(f"{what} must be one number or {groups}, one for each group, got {shown(value)}")
    try:
        return tuple(float(item) for item in items)
    except (TypeError, ValueError):
        raise LehrError(f"{what} must be a number or a list of numbers, got {shown(value)}") from None


def _before(optimizer: torch.optim.Optimizer) -> Callable[[str, int], float | None]:
    """What stood in the optimiser before its latest scheduler that is still alive; see `originals.found`."""
    reference = _latest.get(optimizer)
    scheduler = reference() if reference is not None else None
    return (lambda target, index: None) if scheduler is None else scheduler.original


def _nothing() -> None:
    """What a retired scheduler writes."""
