"""What the drop-in schedulers share: a Lehr `Scheduler` whose policy is made from torch's arguments.

Several are often built on one optimiser before they are joined, and each writes its LR at once. So each remembers what
the optimiser held before any of them (`originals`), and its parts are made from that. Where several stay at work on one
optimiser, what it holds is the work of all: a restore brings that back, and each takes it over at its next step.
"""

from __future__ import annotations

import weakref
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from numbers import Real
from typing import Any, NoReturn

import torch

from lehr.controller import Controller, OnChange
from lehr.errors import LehrError
from lehr.spelling import shown
from lehr.state import check
from lehr.text import as_policy
from lehr.torch.dropin import crowd, originals
from lehr.torch.dropin.parts import Originals, Parts, bases, policy, rebased
from lehr.torch.dropin.user import UserFunction
from lehr.torch.scheduler import Scheduler
from lehr.torch.updates import bare
from lehr.torch.values import facts_of, held, put, read, undo_rewrites, untouched

__all__ = ["Dropin"]


class Dropin(Scheduler):
    """A scheduler of torch's as a Lehr `Scheduler`: its `policy`, `why()`, `state_dict()`, `replan()` and the rest."""

    built = False
    overwrites = False  # whether it names its LRs itself, whatever the optimiser's is
    from_present = False  # whether it begins at the LR found, even if another scheduler wrote that
    functions: tuple[UserFunction, ...] = ()  # the user's, if any

    def __init__(self, optimizer: torch.optim.Optimizer, last_epoch: int = -1) -> None:
        optimizer = bare(optimizer, type(self).__name__)
        undo_rewrites(optimizer)
        found = tuple(float(group["lr"]) for group in optimizer.param_groups)
        self._originals: Originals = originals.found(optimizer, crowd.before(optimizer))
        if last_epoch != -1:
            self._originals = {**self._originals, "lr": originals.noted(optimizer)}
        #: What its own parts are made from.
        self._basis: Originals = {**self._originals, "lr": found} if self.from_present else self._originals
        parts = self.draw(self._basis, len(optimizer.param_groups))
        for target, values in bases(parts).items():
            for group, value in zip(optimizer.param_groups, values, strict=True):
                put(group, target, value)
        super().__init__(optimizer, policy(parts), ranks=False)  # torch's never communicate
        if self._run.base_lrs != list(bases(parts)["lr"]):  # a float32 tensor rounded them
            self._run = self._rerun(self._basis)
        for i, (group, base) in enumerate(zip(optimizer.param_groups, self._originals["lr"], strict=True)):
            group["initial_lr"] = base
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
        crowd.join(self)
        if last_epoch != -1:
            self._go_to(last_epoch + 1)

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for name in ("get_lr", "_get_closed_form_lr"):
            if getattr(cls, name, None) not in (None, Scheduler.get_lr):
                raise LehrError(
                    f"{cls.__name__}.{name} would never be called: the LR comes from the policy; give the function of "
                    "the step to LambdaLR(optimizer, function), or make the class from torch's own"
                )

    @abstractmethod
    def draw(self, originals: Originals, groups: int) -> Parts:
        """What it does to each hyperparameter of each group, given what the optimiser held before."""

    # torch's names

    def step(self, epoch: float | None = None, *, applied: bool = True, **numbers: Any) -> None:
        """Say that an update was applied, or go to a step; see `Scheduler.step`.

        Args:
            epoch: the step to go to, instead of the next one; torch has deprecated it.
            applied: false for an update that was skipped (AMP overflow).
            numbers: what was measured at this update.

        Raises:
            LehrError: an epoch that is not a whole number.
        """
        if applied and self.last_epoch + 1 != self._step_count:
            epoch = self._follow() if epoch is None else epoch
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
        state = super().state_dict()
        return state | {"basis": {name: list(values) for name, values in self._basis.items()}, "held": self._holds()}

    def load_state_dict(self, state_dict: Mapping[str, Any], on_change: OnChange | None = None) -> None:
        """Go on from a saved state, in any order relative to the optimiser. See `Controller.load_state_dict`.

        Where other schedulers are at work on the optimiser too, it gets back what it held at the save, and whatever
        `on_change` says, no LR jumps.
        """
        if "schema" not in state_dict and state_dict.keys() & {"last_epoch", "_schedulers"}:
            raise LehrError(f"this is a state of torch's own {type(self).__name__}; {self._from_torch(state_dict)}")
        if self.retired:
            self._refuse()
        self._join()
        check(state_dict, len(self.base_lrs))
        self.announce()
        before = self._controller(), self._basis
        basis = originals.settled(self._basis, state_dict)
        if self.from_present:  # what it found this time has no meaning
            basis |= {name: tuple(values) for name, values in state_dict.get("basis", {}).items()}
        try:
            if basis != self._basis:
                self._basis, self._run = basis, self._rerun(basis)
            self._step_count = self.last_epoch + 1  # an epoch set by hand before has no meaning
            super().load_state_dict(state_dict, on_change)
        except LehrError:
            self._run, self._basis = before
            raise
        if crowd.shares(self):
            self._give_way(state_dict.get("held", {}))

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
        self._silence()

    def _silence(self) -> None:
        crowd.leave(self)
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

    @property
    def base_lrs(self) -> list[float | torch.Tensor]:
        """The LR of each group that factor 1 means."""
        return list(self._run.base_lrs)

    @base_lrs.setter
    def base_lrs(self, values: list[float | torch.Tensor]) -> None:
        if list(values) != self._run.base_lrs:
            raise LehrError(
                f"base_lrs cannot be set, got {shown(values)}; multiply the LR in the optimiser's groups: it lasts"
            )

    # Inside

    def _holds(self) -> dict[str, list[float]]:
        """What the optimiser holds of all that torch's schedulers write."""
        groups = self.optimizer.param_groups
        return {target: [read(group, target, i) for i, group in enumerate(groups)] for target in self._basis}

    def _give_way(self, values: Mapping[str, Sequence[float]]) -> None:
        """Write other values than its own; what differs is taken over as an edit at the next step."""
        own = self._controller().hyper
        for target, i in self._run.governed:
            value = values.get(target, own[target])[i]
            wrote = put(self._groups[i], target, value)
            if originals.stored(value, own[target][i]):
                self._written[target, i] = wrote

    def _follow(self) -> int | None:
        """Go where `last_epoch` was set to by hand, as recipes for resuming do; or the step to go to instead."""
        wanted, updates = self.last_epoch, self._updates.n
        self._step_count = wanted + 1
        if wanted == -1:
            return 0
        self._absorb()
        self._go_to(wanted)
        self._updates.n = updates
        return None

    def _from_torch(self, state: Mapping[str, Any]) -> str:
        """How to go on from a state of torch's own scheduler."""
        words = "to go on from it, build this one on an optimiser with the original LRs"
        return f"{words}, call step({state['last_epoch']}), and load the optimiser then"

    def _write(self) -> None:
        by_hand = self.last_epoch if self.built and self.last_epoch + 1 != self._step_count else None
        others = self._holds() if self._groups is not self._seen and crowd.shares(self) else None
        super()._write()
        self._seen = self._groups
        if others is not None:  # the optimiser was restored
            self._give_way(others)
        if by_hand is not None:
            self.last_epoch = by_hand

    _seen: list[dict[str, Any]] | None = None  # the groups when it last looked

    def __getstate__(self) -> dict[str, Any]:
        self.announce()  # functions are pickled by their names
        return {name: value for name, value in super().__getstate__().items() if name not in ("step", "_write")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        crowd.join(self)
        if self.retired:
            self._hook.remove()
            self._silence()

    def _go_to(self, epoch: Any) -> None:
        if isinstance(epoch, bool) or not isinstance(epoch, Real) or epoch < 0 or epoch % 1 != 0:
            raise LehrError(
                f"step(epoch) must be a whole number of at least 0, got {shown(epoch)}; for parts of an epoch count "
                "updates: give lengths in updates and call step() after each"
            )
        self.announce()
        super().load_state_dict(self.state_dict() | {"step": round(epoch)})

    def _rerun(self, basis: Originals) -> Controller:
        """A controller for parts made anew, at step 0."""
        parts = self.draw(basis, len(self.base_lrs))
        facts = [facts_of(group) for group in self.optimizer.param_groups]
        run = Controller(as_policy(policy(parts)), bases(parts), self.horizon, evaluate={}, groups=facts)
        run._audience = self._run._audience
        return run

    def _absorb(self) -> None:
        if self._groups is not self.optimizer.param_groups and crowd.shares(self):
            self._groups = self.optimizer.param_groups  # what was restored is the work of all
        super()._absorb()
        self._seen = self._groups

    def _join(self) -> None:
        super()._join()
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


def _nothing() -> None:
    """What a retired scheduler writes."""
