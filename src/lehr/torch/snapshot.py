"""Snapshots: copies of weights, buffers, optimiser, scaler and random states, held in memory, to go back to.

They are taken at fixed steps, whatever the run does, so that all ranks take the same; each rank keeps its own shards.
They are never part of a state: after a resume there is none until the next is taken.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch

from lehr.errors import LehrError
from lehr.journal import Event
from lehr.lengths import Horizon, Length, LengthLike, as_length, whole_steps
from lehr.rules import Observation, Rollback, Rule, Signal, Stop
from lehr.rules.common import whole
from lehr.rules.trigger import Smooth
from lehr.torch.copies import local_part, mapped, put_back, put_random_states, random_states, shard_again

__all__ = ["Snapshot", "Snapshots", "as_snapshots"]

UNTOUCHED = frozenset({"params", "lr", "initial_lr"})  # in a parameter group: never restored
PLAIN = (torch.Tensor, float, int, str, list, tuple, dict, type(None))  # what is restored there; no lock, no function


class Snapshot(NamedTuple):
    """A copy of all that training changes."""

    step: int  # updates applied when it was taken
    weights: list[tuple[torch.Tensor, torch.Tensor]]  # each live parameter with its copy
    buffers: dict[str, torch.Tensor]
    state: dict[Any, Any]  # of the optimiser, by its own keys
    groups: list[dict[str, Any]]  # what else stands in the parameter groups
    scaler: dict[str, Any]
    rng: dict[str, Any]


class Snapshots:
    """What a scheduler goes back to when a rule says `rollback`: give it as `Scheduler(..., snapshots=...)`.

    Those that a rule may go back to are taken: for "older" the newest few; for "older" and "start" the one of the
    start, right before the first update; and one for each signal of which a rule wants the best. So there are at most
    keep + 2 with one such signal, each as large as the model and its optimiser's state. A rule that joins by `replan`
    finds those that were taken since.

    Args:
        model: whose parameters and buffers are kept. For a model with an averaged twin give both:
            `torch.nn.ModuleList([model, twin])`.
        every: steps between two snapshots. keep · every must be longer than it takes a rule to notice a trouble.
        keep: how many of them are kept, the newest ones.
        device: where copies lie: "cpu" spares the accelerator's memory. Default: beside what they are copies of.
        scaler: a `torch.amp.GradScaler`, if there is one.

    Raises:
        LehrError: a length of zero, or a number below 1.

    Example:
        >>> import lehr, torch
        >>> from lehr.torch import Scheduler, Snapshots
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        >>> policy = lehr.Policy(lehr.cosine(), rules=lehr.guard())
        >>> scheduler = Scheduler(optimizer, policy, steps=1000, snapshots=Snapshots(model, every="2%", keep=6))

    Source: our choice.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        every: LengthLike | Length = "4%",
        keep: int = 3,
        *,
        device: torch.device | str | None = None,
        scaler: Any = None,
    ) -> None:
        if not isinstance(model, torch.nn.Module):
            raise LehrError(f"Snapshots(model) must be a torch.nn.Module, got {type(model).__name__}")
        self.model = model
        self.every = as_length(every, "Snapshots(every=...)")
        self.keep = whole(keep, "Snapshots(keep=...), a number of snapshots,", least=1)
        if self.every.amount == 0:
            raise LehrError("Snapshots(every=...) must be a positive length, got 0")
        if scaler is not None and not (hasattr(scaler, "state_dict") and hasattr(scaler, "load_state_dict")):
            raise LehrError(f"Snapshots(scaler=...) must be a torch.amp.GradScaler, got {type(scaler).__name__}")
        self.scaler = scaler
        self._device = None if device is None else torch.device(device)
        self._governed: frozenset[str] = UNTOUCHED
        self._targets: set[str] = set()  # where rules want to go back to
        self._wanted: dict[str, Signal] = {}  # rule → the signal of which it wants the best
        self._awaited: Any = None  # the hook that takes the first one
        self.start: Snapshot | None = None
        self.forget()

    # What a scheduler says to it

    def attach(self, optimizer: torch.optim.Optimizer) -> None:
        """Hold copies of this optimiser, the first one right before its first update."""
        self._optimizer = optimizer
        me = weakref.ref(self)  # the optimiser may outlive it

        def first(*_: Any) -> None:
            snapshots = me()
            if snapshots is not None and snapshots._lacks_start:
                snapshots.start = snapshots._copy(0)

        self._awaited = optimizer.register_step_pre_hook(first)
        weakref.finalize(self, self._awaited.remove)

    def follow(self, rules: Iterable[Rule], horizon: Horizon, governed: Iterable[str]) -> None:
        """Serve these rules; what the policy governs in the parameter groups is not restored."""
        self._cadence = whole_steps(horizon.measure(self.every))
        self._governed = UNTOUCHED | {name.partition("[")[0] for name in governed}
        acting = [rule for rule in rules if not rule.shadow]
        self._targets = {rule.action.to for rule in acting if isinstance(rule.action, Rollback)}
        self._wanted = {rule.text(): rule.trigger.signals()[0] for rule in acting if _wants_best(rule.action)}

    def forget(self) -> None:
        """Drop them all, as after a resume."""
        self.start = None
        self.recent: list[Snapshot] = []
        self.best: dict[str, Snapshot] = {}
        self._records: dict[str, tuple[Smooth, float]] = {}  # signal → memory of its smoothing, best value so far
        self._await_no_more()

    def advanced(self, before: int, now: int) -> None:
        """Take one if the updates from step `before` to step `now` ended a cadence."""
        if not self._lacks_start:  # else the first update is still to come: a scaler has skipped it
            self._await_no_more()  # a hook cannot remove itself: torch walks along its list of them
        if "older" in self._targets and now // self._cadence > before // self._cadence:
            self.recent = self.recent[max(len(self.recent) - self.keep + 1, 0) :]  # dropped first: memory is scarce
            self.recent.append(self._copy(now))

    def heed(self, observation: Observation) -> None:
        """Take one of each wanted signal that is at its best."""
        for signal in dict.fromkeys(self._wanted.values()):
            memory, record = self._records.get(signal.text(), (Smooth(), math.inf))
            memory, value = signal.read(memory, observation)
            if value is None or not math.isfinite(value):
                continue
            value = value if signal.best == "min" else -value
            if value < record:
                self.best.pop(signal.text(), None)  # dropped first, as above
                self.best[signal.text()] = self._copy(observation.step + observation.applied)
            self._records[signal.text()] = memory, min(value, record)

    def carry_out(self, action: Any, event: Event) -> str:
        """Do what a rule asks for; what was done comes back in words."""
        stops = isinstance(action, Stop)
        snapshot = self._asked(action, event)
        if snapshot is None:
            done = "the weights stay as they are" if stops else "only the LR was scaled"
            return f"there is no such snapshot yet (none outlives a resume): {done}"
        left = self._restore(snapshot, rng=not stops and not action.skip_data)
        return f"restored the snapshot of step {snapshot.step}" + left

    @property
    def _lacks_start(self) -> bool:
        return self.start is None and not self._targets.isdisjoint(("older", "start"))

    def _await_no_more(self) -> None:
        if self._awaited is not None:
            self._awaited.remove()
            self._awaited = None

    def _asked(self, action: Any, event: Event) -> Snapshot | None:
        """The snapshot that a rule wants to go back to, if there is one."""
        if _wants_best(action):
            return self.best.get(self._wanted[event.rule].text())
        if action.to == "start":
            return self.start
        since = action.since
        older = [snapshot for snapshot in self.recent if since is None or snapshot.step <= since]
        return older[-1] if older else self.start

    # Taking

    @torch.no_grad()
    def _copy(self, step: int) -> Snapshot:
        optimizer = self._optimizer
        shard_again(self.model)
        return Snapshot(
            step,
            [(live, self._copied(live)) for live in self._weights()],
            {name: self._copied(buffer) for name, buffer in self.model.named_buffers()},
            {key: self._copied(value) for key, value in optimizer.state.items()},
            [self._copied(_own(group, self._governed)) for group in optimizer.param_groups],
            {} if self.scaler is None else self.scaler.state_dict(),
            random_states(),
        )

    def _weights(self) -> list[torch.Tensor]:
        """The parameters of model and optimiser, each once."""
        of_groups = (parameter for group in self._optimizer.param_groups for parameter in group["params"])
        return list({id(p): p for p in (*self.model.parameters(), *of_groups)}.values())

    def _copied(self, value: Any) -> Any:
        """A copy of tensors in any nesting of dicts, lists and tuples, and of anything else."""
        if isinstance(value, torch.Tensor):
            local = local_part(value.detach())
            return local.clone() if self._device is None else local.to(self._device, copy=True)
        return mapped(value, self._copied)

    # Going back

    @torch.no_grad()
    def _restore(self, snapshot: Snapshot, rng: bool) -> str:
        """Put everything back, in place, and drop what was taken later; what could not be put back, in words."""
        shard_again(self.model)
        known = {id(live) for live, _ in snapshot.weights}
        for live, kept in snapshot.weights:
            local_part(live).copy_(kept)
            if live.grad is not None:
                local_part(live.grad).zero_()  # of weights that were given up, and it may not be finite
        self._put_buffers(snapshot.buffers)
        self._put_optimizer(snapshot)
        if snapshot.scaler:
            self.scaler.load_state_dict(snapshot.scaler)
        if rng:
            put_random_states(snapshot.rng)
        self.recent = [other for other in self.recent if other.step <= snapshot.step]
        late = sum(id(weight) not in known for weight in self._weights())
        return f"; left as they are, as they joined later: {late} parameter{'s' if late > 1 else ''}" if late else ""

    def _put_buffers(self, kept: Mapping[str, torch.Tensor]) -> None:
        for name, buffer in self.model.named_buffers():
            if name in kept and local_part(buffer).shape == kept[name].shape:
                local_part(buffer).copy_(kept[name])
            elif name in kept:  # a buffer that has grown since
                path, _, leaf = name.rpartition(".")
                setattr(self.model.get_submodule(path), leaf, kept[name].to(buffer.device, copy=True))

    def _put_optimizer(self, snapshot: Snapshot) -> None:
        optimizer = self._optimizer
        known = {id(live) for live, _ in snapshot.weights}
        for key in list(optimizer.state):
            if key in snapshot.state:
                optimizer.state[key] = put_back(optimizer.state[key], snapshot.state[key], key)
            elif id(key) in known or not isinstance(key, torch.Tensor):
                del optimizer.state[key]  # it had none then
        for group, kept in zip(optimizer.param_groups, snapshot.groups, strict=False):
            for name, value in kept.items():
                group[name] = put_back(group.get(name), value, None)

    def __getstate__(self) -> dict[str, Any]:
        """Without the copies: they are in no checkpoint."""
        return vars(self) | {"start": None, "recent": [], "best": {}, "_records": {}, "_awaited": None}


def _wants_best(action: Any) -> bool:
    return (isinstance(action, Rollback) and action.to == "best") or (isinstance(action, Stop) and action.by_hand)


def as_snapshots(given: Snapshots | LengthLike | bool | None, model: torch.nn.Module | None) -> Snapshots | None:
    """What `Scheduler(snapshots=...)` was given; None for none.

    Raises:
        LehrError: a length without a model, or what is no length.
    """
    if isinstance(given, Snapshots):
        return given
    if given is None or given is False:
        return None
    if model is None:
        raise LehrError(f"Scheduler(snapshots={given!r}) needs the model they are taken of; give model= too")
    return Snapshots(model) if given is True else Snapshots(model, given)


def _own(group: Mapping[str, Any], governed: frozenset[str]) -> dict[str, Any]:
    """What an optimiser itself may keep in a group, such as a count; what the policy governs is not among it."""
    return {name: value for name, value in group.items() if name not in governed and isinstance(value, PLAIN)}
