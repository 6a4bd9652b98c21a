"""The PyTorch adapter: `Scheduler` runs a policy on an optimiser's parameter groups.

It is an `LRScheduler` for `isinstance` only: torch's constructor, which wraps `optimizer.step` and takes a first step,
is never called. All decisions are the controller's; this file reads and writes the groups.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch.optim.lr_scheduler import LRScheduler

from lehr.controller import Controller, OnChange
from lehr.difference import Difference
from lehr.errors import LehrError, LehrWarning
from lehr.journal import Journal
from lehr.lengths import Horizon, LengthLike, as_horizon
from lehr.listeners import Listener
from lehr.policy import Bind, Facts, Groups, Policy, PolicyLike, tracks
from lehr.text import as_policy
from lehr.torch.evaluating import evaluating
from lehr.torch.fast_lane import CLOSED, FastLane
from lehr.torch.ranks import Ranks
from lehr.torch.snapshot import Snapshots, as_snapshots
from lehr.torch.updates import Updates, bare, misuse
from lehr.torch.values import facts_of, held, holds, put, read, rewritten, undo_rewrites, untouched
from lehr.torch.windows import keep

__all__ = ["Scheduler"]

Count = Literal["calls", "updates", "epochs"]
WATCHED = 3  # calls of step() after which the hook that watches for misuse removes itself


class Scheduler(LRScheduler):
    """Runs a policy on an optimiser: one line instead of torch's scheduler.

    Building it reads `group["lr"]` as the base LR of each group and writes the LR of the first update. Call
    `step(loss=loss)` once after every `optimizer.step()`.

    Args:
        optimizer: any `torch.optim.Optimizer`, or accelerate's wrapper of one. A tensor LR is written in place and
            stays the same tensor, so that `torch.compile` compiles the optimiser's step once; with a float LR it does
            so twice, and with `dynamic=False` at every new LR, until it gives up.
        policy: a policy, schedule, rule, or the text of one.
        steps: updates in the run; short for `horizon=Horizon(steps=...)`, never both.
        horizon: the facts of the run.
        evaluate: name → function of the model, for each `evaluation(name, ...)` of the policy. It is called in eval
            mode and without gradients; afterwards the mode of every module and all RNG states are as they were.
        model: what the functions are given.
        on_change: what `load_state_dict` does if policy, horizon or base LR are not the saved ones: "error",
            "keep_saved", "use_new" or "use_new_no_jump".
        count: what advances. "calls": each `step()` is one update. "updates": each real update of the optimiser since
            the last call, so that calling too often, or an epoch late, is harmless, and updates that `GradScaler` skips
            do not count (of a fused optimiser the host learns that from the device, as of any other). "epochs": each
            `step()` is one epoch.
        strict: whether two different reports of one number at one step are an error instead of a warning.
        ranks: whether the rules of all ranks decide alike, where torch.distributed is initialised and there are rules.
            Then the ranks speak with each other in `step()` at the policy's cadence (by default at every update), and
            nowhere else: so every rank must call it. The rules hear the mean of all reports of all ranks; what
            `observe()` reports waits for that. Ranks that disagree on the step, the plan, what the rules remember or an
            LR raise a `LehrError`, all of them. A metric (not `loss`, which is local, and no evaluation) that is not
            the same on all ranks is warned of once. Each saves the same state, which goes on with any number of ranks;
            what was reported since the last cadence point is not in it.
        process_group: the ranks that are meant; default: all. One of gloo spares a GPU the wait.
        snapshots: what rules such as `rollback` go back to: a `Snapshots`, or how often one is taken of `model`; True:
            as `Snapshots(model)`.

    Raises:
        LehrError: something is missing or cannot be right; nothing is found out later in the run.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> scheduler = Scheduler(optimizer, "cosine()", steps=10)
        >>> for _ in range(10):
        ...     loss = model(torch.ones(2)).square().mean()
        ...     optimizer.zero_grad(); loss.backward(); optimizer.step()
        ...     scheduler.step(loss=loss)
        >>> scheduler.get_last_lr(), scheduler.done
        ([0.0], True)
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        policy: PolicyLike | str,
        *,
        steps: int | None = None,
        horizon: Horizon | None = None,
        evaluate: Mapping[str, Callable[[Any], Any]] | None = None,
        model: torch.nn.Module | None = None,
        on_change: OnChange = "error",
        count: Count = "calls",
        strict: bool = False,
        ranks: bool = True,
        process_group: Any = None,
        snapshots: Snapshots | LengthLike | bool | None = None,
    ) -> None:
        optimizer = bare(optimizer)
        if count not in ("calls", "updates", "epochs"):
            raise LehrError(f"Scheduler(count=...) must be 'calls', 'updates' or 'epochs', got {count!r}")
        if evaluate and model is None:
            raise LehrError("Scheduler(evaluate=...) calls fn(model); give model= too")
        horizon = as_horizon(steps, horizon)
        if count == "epochs" and horizon.steps_per_epoch is None:
            horizon = Horizon(horizon.steps, 1, horizon.samples_per_step, horizon.tokens_per_step)
        if process_group is not None and not ranks:
            raise LehrError("Scheduler(process_group=...) says which ranks decide alike, and ranks=False that none do")
        self._updates = Updates()
        self._ranks = Ranks.of(process_group, self._updates.all) if ranks else None
        self._snapshots = as_snapshots(snapshots, model)
        undo_rewrites(optimizer)
        self.optimizer = optimizer
        self._count: Count = count
        self._groups = optimizer.param_groups
        value, facts = as_policy(policy), [facts_of(group) for group in self._groups]
        self._run = Controller(
            value,
            _bases(value, facts, self._groups),
            horizon,
            evaluate={name: _on(model, fn) for name, fn in (evaluate or {}).items() if model is not None},
            groups=facts,
            on_change=on_change,
            strict=strict,
            keep=keep,
            share=None if self._ranks is None else self._ranks.share,
            carry_out=None if self._snapshots is None else self._snapshots.carry_out,
            heed=None if self._snapshots is None else self._snapshots.heed,
        )
        if self._snapshots is not None:
            self._snapshots.attach(optimizer)
        self._tell_snapshots()
        self._written: dict[tuple[str, int], Any] = {}  # (hyperparameter, group) → the object that was written
        self._calls = 0
        self._register()
        self._write()

    # torch's names

    base_lrs: list[float | torch.Tensor]

    @property  # type: ignore[override]  # torch makes a list at every step; that is half of our cost
    def _last_lr(self) -> list[float]:
        return self.lrs if self._said is None else self._said

    @_last_lr.setter
    def _last_lr(self, values: list[float]) -> None:
        self._controller()
        self._lane, self._said = CLOSED, values  # until the next step() says otherwise

    def get_last_lr(self) -> list[float]:  # type: ignore[override]  # torch's may hold tensors; ours are floats
        """The LR of each group as last written: that of the next update, as torch has it after `step()`."""
        return list(self._last_lr)

    def get_lr(self) -> list[float]:  # type: ignore[override]
        """The same as `lrs`."""
        return self.lrs

    def step(self, *, applied: bool = True, **numbers: Any) -> None:  # type: ignore[override]
        """Say that an update was applied; call it once after each `optimizer.step()`.

        Args:
            applied: false for an update that was skipped (AMP overflow): nothing advances, nothing is evaluated, and
                the numbers are not heard.
            numbers: what was measured at this update; a tensor must have one element. Without rules it is not read, so
                a loss on a GPU costs no synchronisation. With a cadence it is added up on its device and read once a
                cadence, unless somebody has subscribed to the steps (a trace): then each number is read at once.

        Raises:
            LehrError: a number that is not one.
        """
        if applied and self._lane.walk(self.optimizer.param_groups):
            self.last_epoch += 1
            self._step_count += 1
            return
        if not self._driven:
            self._step(applied, numbers)

    def drive(self) -> Callable[..., None]:
        """Let a trainer's callback make the steps, where the trainer calls `step()` when and as often as it sees fit.

        From now on `step()` does nothing.

        Returns:
            What `step` was: a function of the same arguments, to be called after each update.

        Example:
            >>> import torch
            >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
            >>> scheduler = Scheduler(optimizer, "linear()", steps=10, count="updates")
            >>> step = scheduler.drive()
            >>> optimizer.step(); scheduler.step(); scheduler.t
            0
            >>> step(loss=0.7); scheduler.t
            1
        """
        self._controller()
        self._driven, self._lane = True, CLOSED
        return self._make_step

    def state_dict(self) -> dict[str, Any]:
        """Everything that is needed to go on, as JSON-plain data; `torch.load(weights_only=True)` reads it.

        Give `torch.distributed.checkpoint` the text `json.dumps(scheduler.state_dict())`. If it is given the scheduler
        itself, it saves it but cannot load it: it loads no more than a fresh run has, which knows of no events yet.
        """
        return self._controller().state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any], on_change: OnChange | None = None) -> None:
        """Go on from a saved state, in any order relative to the optimiser. See `Controller.load_state_dict`."""
        run = self._controller()
        self._lane = CLOSED  # it stands where the run stood
        self._join()
        run.load_state_dict(state_dict, on_change)
        self._groups = self.optimizer.param_groups
        self._updates.taken()
        if self._snapshots is not None:
            self._snapshots.forget()
        self._tell_snapshots()
        self._write()

    # The controller's names

    @property
    def policy(self) -> Policy | Groups | Bind:
        """The policy in force."""
        return self._run.policy

    @property
    def horizon(self) -> Horizon:
        """The facts of the run."""
        return self._run.horizon

    @property
    def count(self) -> Count:
        """What advances it."""
        return self._count

    @property
    def bases(self) -> dict[str, tuple[float, ...]]:
        """The base value of each hyperparameter that the policy governs, one per group."""
        return self._controller().bases

    @property
    def awaited(self) -> set[str]:
        """The names of the numbers that rules wait for somebody to report."""
        return set(self._run.gathered) - self._run.evaluated

    @property
    def t(self) -> int:
        """Updates applied so far; the next one is update t."""
        return self._run.t if self._lane is CLOSED else self._lane.step

    @property
    def events(self) -> Journal:
        """The journal, oldest first."""
        return self._run.events

    @property
    def lr(self) -> float:
        """The LR of the first group for the next update."""
        return self._controller().lr if self._lane is CLOSED else self._lane.lr

    @property
    def lrs(self) -> list[float]:
        """The LR of each group for the next update."""
        return self._controller().lrs

    @property
    def last_lr(self) -> list[float]:
        """The LR of each group that the last update used; torch's `get_last_lr` is that of the next one."""
        return self._controller().last_lr

    @property
    def hyper(self) -> dict[str, list[float]]:
        """Every hyperparameter that the policy governs, for the next update, one value per group."""
        return self._controller().hyper

    @property
    def done(self) -> bool:
        """Whether the run is over; loops write `if scheduler.done: break`."""
        return self._run.ended(self.t)

    def why(self, step: int | None = None) -> str:
        """Why the LR is what it is, or was at `step`; see `Controller.why`."""
        return self._controller().why(step)

    def observe(self, **numbers: Any) -> None:
        """Report numbers at the present step, without advancing."""
        self._absorb()
        self._controller().observe(**numbers)
        self._write()

    def subscribe(
        self, function: Callable[..., None] | Listener, on: Literal["events", "steps"] = "events"
    ) -> Callable[[], None]:
        """See `Controller.subscribe`."""
        end = self._controller().subscribe(function, on)
        self._enter_lane()
        return end

    def replan(self, policy: PolicyLike | str, **how: Any) -> None:
        """Change the plan in mid-run; see `Controller.replan`."""
        self._absorb()
        self._learn(policy)
        self._controller().replan(policy, **how)
        self._tell_snapshots()
        self._write()

    def preview(self, policy: PolicyLike | str, **how: Any) -> Difference:
        """What `replan` would change; see `Controller.preview`."""
        self._absorb()
        self._learn(policy)
        return self._controller().preview(policy, **how)

    def finish(self) -> str:
        """Say that the run has ended; see `Controller.finish`."""
        return self._controller().finish()

    # Inside

    def _make_step(self, *, applied: bool = True, **numbers: Any) -> None:
        self._step(applied, numbers)

    def _step(self, applied: bool, numbers: Mapping[str, Any]) -> None:
        self._absorb()
        run = self._controller()
        asked = self._count == "updates" or self._calls < WATCHED
        updates = self._updates.taken() if asked else self._updates.passed()
        if applied and (updates > 0 or self._count != "updates"):
            count = updates if self._count == "updates" else 1
            if self._count == "epochs":
                count = run.horizon.steps_per_epoch or 1
            self._watch(updates)
            before = run.t
            run.advance(count, numbers)
            if self._snapshots is not None:
                self._snapshots.advanced(before, run.t)
        self._write()

    def _learn(self, policy: PolicyLike | str) -> None:
        """Tell the controller what the groups hold of hyperparameters that this policy will govern."""
        facts = [facts_of(group) for group in self._groups]
        self._controller().learn(_bases(as_policy(policy), facts, self._groups))

    def _tell_snapshots(self) -> None:
        """Tell the snapshots what rules there are."""
        if self._snapshots is not None:
            facts = [facts_of(group) for group in self._groups]
            rules = [rule for _, part, _ in tracks(self._run.policy, facts) for rule in part.rules]
            self._snapshots.follow(rules, self._run.horizon, {name for name, _ in self._run.governed})

    def _controller(self) -> Controller:
        """The controller, brought up to where the fast lane has run ahead."""
        if self._lane is not CLOSED:
            self._run.glide(self._lane.step)
            self._written = dict.fromkeys(self._written, self._lane.lr)
        return self._run

    def _enter_lane(self) -> None:
        """Enter the fast lane, up to the next update of which a listener wants to hear, if all groups share one LR, it
        is a float, and nobody reads what is reported.
        """
        run = self._controller()
        self._lane = CLOSED
        if run.listens or self._driven or self._count != "calls" or self._calls < WATCHED:
            return
        table = run.ahead()
        column, at = table.columns["lr"][0], run.t - table.start
        quiet = run.quiet(len(column))
        everything = [("lr", i) for i in range(len(self._groups))]
        if quiet and list(self._written) == everything and all(w is column[at] for w in self._written.values()):
            self._lane = FastLane(self._groups, column[at : at + quiet + 1], run.t, 0)

    def _absorb(self) -> None:
        """Take notice of what happened to the groups since they were written: restores, late groups, hand edits."""
        groups = self.optimizer.param_groups
        run = self._controller()
        if len(groups) < len(run.base_lrs):
            known = len(run.base_lrs)
            raise LehrError(
                f"the optimiser had {known} parameter groups and now has {len(groups)}; build a new Scheduler for it"
            )
        restored = groups is not self._groups
        self._groups = groups
        for (name, i), old in list(self._written.items()):
            if not restored and not untouched(held(groups[i], name), old):
                run.adopt(i, read(groups[i], name, i), name)
        self._join()

    def _join(self) -> None:
        """Let groups that have been added to the optimiser join the run."""
        run, groups = self._controller(), self.optimizer.param_groups
        for i in range(len(run.base_lrs), len(groups)):
            late = {name: read(groups[i], name, i) for name in run.hyper if holds(groups[i], name)}
            run.add_group(late, facts_of(groups[i]))

    def _write(self) -> None:
        """Write the values of the next update into the groups that the policy governs."""
        run = self._controller()
        self._lane = CLOSED
        values = run.ahead().at(run.t)
        self._written = {(name, i): put(self._groups[i], name, values[name][i]) for name, i in run.governed}
        self.base_lrs = list(run.base_lrs)
        self.last_epoch = run.t if self._count != "epochs" else run.t // (run.horizon.steps_per_epoch or 1)
        self._step_count = self.last_epoch + 1
        self._said = None
        self._enter_lane()

    def _watch(self, updates: int) -> None:
        """In the first calls, notice that the optimiser was stepped more or less often than step() was called."""
        if self._count == "updates" or self._calls >= WATCHED:
            return
        self._calls += 1
        if self._calls == WATCHED and not self._compares:
            self._hook.remove()
        words = "" if self._count == "epochs" or self._updates.warned else misuse(updates)
        if words:
            self._updates.warned = True
            warnings.warn(words, LehrWarning, stacklevel=4)

    def _register(self) -> None:
        """Count updates in the first calls; write our LR again after `optimizer.load_state_dict`, at once."""
        me = weakref.ref(self)

        def loaded(optimizer: torch.optim.Optimizer) -> None:
            scheduler = me()
            if scheduler is None or scheduler.optimizer is not optimizer:
                return
            if len(optimizer.param_groups) == len(scheduler.base_lrs):
                run = scheduler._controller()
                scheduler._groups = optimizer.param_groups
                restored = {(name, i): read(scheduler._groups[i], name, i) for name, i in run.governed}
                scheduler._write()
                rewritten(optimizer, restored, scheduler._written)

        self._hook = self.optimizer.register_step_post_hook(self._updates.count)
        hooks = [self._hook, self.optimizer.register_load_state_dict_post_hook(loaded)]
        weakref.finalize(self, _remove, hooks)

    def __getstate__(self) -> dict[str, Any]:
        self._controller()
        return {name: value for name, value in vars(self).items() if name not in ("_hook", "_lane")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._register()
        if self._calls >= WATCHED and not self._compares:
            self._hook.remove()
        self._enter_lane()

    @property
    def _compares(self) -> bool:
        """Whether ranks compare how often their optimisers were stepped."""
        return self._ranks is not None and bool(self._run.gathered)

    def __repr__(self) -> str:
        return f"Scheduler({self.policy!r}, t={self.t})"

    _lane: FastLane = CLOSED
    _driven: bool = False  # whether a trainer's callback makes the steps
    _said: list[float] | None = None  # what somebody wrote into `_last_lr`


def _remove(hooks: list[Any]) -> None:
    for hook in hooks:
        hook.remove()


def _bases(policy: PolicyLike, facts: Sequence[Facts], groups: list[dict[str, Any]]) -> dict[str, tuple[float, ...]]:
    """The base values of the LR and of what else the policy governs, one per group (0 where it does not)."""
    governed = {("lr", i) for i in range(len(groups))}
    governed |= {(target, i) for target, _, indices in tracks(policy, facts) for i in indices}
    return {
        target: tuple(read(g, target, i) if (target, i) in governed else 0.0 for i, g in enumerate(groups))
        for target in sorted({target for target, _ in governed})
    }


def _on(model: torch.nn.Module, function: Callable[[Any], Any]) -> Callable[[], Any]:
    def evaluated() -> Any:
        with evaluating(model):
            return function(model)

    return evaluated
