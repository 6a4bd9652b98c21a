"""The scheduler of a `Trainer`: how long the run is, it learns when the training begins.

Trainer builds its data loader, and so the length of the run, in `train()`; optimizer and scheduler were given before.
It loads a checkpoint before any callback is asked, so a saved state waits until then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from lehr import torch as adapter
from lehr.controller import Controller, OnChange
from lehr.errors import LehrError
from lehr.lengths import Horizon
from lehr.policy import Bind, Groups, Policy, PolicyLike, tracks
from lehr.resume import as_on_change, mode_for_trainer
from lehr.text import as_policy
from lehr.torch.updates import bare
from lehr.torch.values import facts_of, held, put, read, undo_rewrites, untouched

__all__ = ["Scheduler"]

OBSERVED = "observed"  # in a saved state: what rules may still wait for
OPTIONS = {"evaluate", "model", "process_group", "ranks", "snapshots", "strict"}


class Scheduler(adapter.Scheduler):
    """Runs a policy in `Trainer(optimizers=(optimizer, scheduler), callbacks=[Feedback()])`.

    The run's length comes from the trainer, and every `train()` begins the policy anew. `resume_from_checkpoint` goes
    on where it was, bit by bit. If the trainer's arguments make the run longer or shorter now, the LR does not jump:
    the new curve is scaled to begin at the LR that the saved run had come to, and the journal says so.

    Args:
        optimizer: of the model; its `lr` is the base LR of each group.
        policy: a policy, schedule, rule, or the text of one.
        tokens_per_step: tokens in one update, over all processes, if the policy counts in tokens: the trainer does not
            know.
        on_change: what a resume does if policy, horizon or base LR are not the saved ones: "error", "keep_saved",
            "use_new" or "use_new_no_jump". Default: "use_new_no_jump" if only the horizon differs, else "error".
        **how: `model`, `evaluate`, `snapshots`, `strict`, `ranks`, `process_group`, as in `lehr.torch.Scheduler`.

    Raises:
        LehrError: the policy cannot be, or an argument is the trainer's to give.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
        >>> scheduler = Scheduler(optimizer, "warmup('50%').then(cosine())")
        >>> scheduler.begin(Horizon(steps=4))  # `Feedback` does this when the training begins
        >>> scheduler.get_last_lr()
        [0.05]
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        policy: PolicyLike | str,
        *,
        tokens_per_step: int | None = None,
        on_change: OnChange | None = None,
        **how: Any,
    ) -> None:
        strange = sorted(how.keys() - OPTIONS)
        if strange:
            raise LehrError(
                f"lehr.huggingface.Scheduler takes no {', '.join(strange)}: how long the run is, and when an update "
                "was made, the trainer tells. In a loop of your own take lehr.torch.Scheduler(..., count='updates')"
            )
        self.optimizer = bare(optimizer, "lehr.huggingface.Scheduler")
        self._policy = as_policy(policy)
        self._tokens_per_step = tokens_per_step
        self._on_change = None if on_change is None else as_on_change(on_change)
        self._how = how
        self._loaded: tuple[dict[str, Any], OnChange | None] | None = None  # waits for the training to begin
        self._subscriptions: list[tuple[Any, ...]] = []
        self._observed: dict[str, Any] = {}  # since the last update
        self._written: dict[tuple[str, int], Any] = {}  # nothing so far
        groups = self.optimizer.param_groups
        governed = {("lr", i) for i in range(len(groups))} | {
            (target, i)
            for target, _, indices in tracks(self._policy, [facts_of(group) for group in groups])
            for i in indices
        }
        self._given = {(target, i): read(groups[i], target, i) for target, i in governed}

    @property
    def begun(self) -> bool:
        """Whether the trainer has told how long the run is."""
        return "_run" in vars(self)

    @property
    def waiting(self) -> bool:
        """Whether a saved state waits for the training to begin."""
        return self._loaded is not None

    def begin(self, horizon: Horizon) -> None:
        """Begin a run of this length, or go on with the saved state that was loaded. `Feedback` calls this.

        Args:
            horizon: the facts of the run.

        Raises:
            LehrError: the policy needs a fact that is missing, or the saved run differs.
        """
        self._rewind()
        horizon = replace(horizon, tokens_per_step=horizon.tokens_per_step or self._tokens_per_step)
        if self.begun:
            self._hook.remove()
        super().__init__(self.optimizer, self._policy, horizon=horizon, count="updates", **self._how)
        self._given = {(target, i): self._run.bases[target][i] for target, i in self._run.governed}
        for subscription in self._subscriptions:
            super().subscribe(*subscription)
        self._observed = {}
        if self._loaded is not None:
            waited, self._loaded = self._loaded, None
            self._load(*waited)

    def get_last_lr(self) -> list[float]:  # type: ignore[override]
        """The LR of each group for the next update."""
        if self.begun:
            return super().get_last_lr()
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Everything that is needed to go on, as JSON-plain data.

        Also what was reported since the last update: several processes hear that together with the next one, and a
        trainer saves right after it has evaluated.
        """
        if self._loaded is not None and not self.begun:
            return dict(self._loaded[0])
        return super().state_dict() | {OBSERVED: {name: float(value) for name, value in self._observed.items()}}

    def load_state_dict(self, state_dict: Mapping[str, Any], on_change: OnChange | None = None) -> None:
        """Go on from a saved state, from the next beginning of a training on; in mid-run also at once."""
        if self.begun:
            self._load(state_dict, on_change)
        self._loaded = dict(state_dict), on_change

    def observe(self, **numbers: Any) -> None:
        """Report numbers at the present step, without advancing."""
        super().observe(**numbers)
        self._observed |= numbers

    def subscribe(self, function: Any, on: Any = "events") -> Callable[[], None]:
        """See `Controller.subscribe`; may be called before the training begins, and lasts over all trainings."""
        subscription = (function, on)
        self._subscriptions.append(subscription)
        ends = [super().subscribe(function, on)] if self.begun else []

        def end() -> None:
            if subscription in self._subscriptions:
                self._subscriptions.remove(subscription)
            for each in ends:
                each()

        return end

    @property
    def policy(self) -> Policy | Groups | Bind:
        """The policy in force, or to be."""
        return self._run.policy if self.begun else self._policy

    def __repr__(self) -> str:
        return f"Scheduler({self.policy!r}, {f't={self.t}' if self.begun else 'not begun'})"

    # Inside

    @property
    def _run(self) -> Controller:
        try:
            run: Controller = vars(self)["_run"]
        except KeyError:
            raise LehrError(
                "lehr.huggingface.Scheduler does not know yet how long the run is: add lehr.huggingface.Feedback() to "
                "the trainer's callbacks, which tells it when the training begins"
            ) from None
        return run

    @_run.setter
    def _run(self, run: Controller) -> None:
        vars(self)["_run"] = run

    def _step(self, applied: bool, numbers: Mapping[str, Any]) -> None:
        before = self.t
        super()._step(applied, numbers)
        if self.t > before:
            self._observed = {}

    def _rewind(self) -> None:
        """Put the base values back where an earlier training, or a checkpoint of the optimizer, has written others.

        A value that somebody else wrote stays: it is the new base.
        """
        undo_rewrites(self.optimizer)
        groups = self.optimizer.param_groups
        for (target, i), base in self._given.items():
            ours = (target, i) in self._written and untouched(held(groups[i], target), self._written[target, i])
            if ours or self._loaded is not None:
                put(groups[i], target, base)

    def _load(self, state: Mapping[str, Any], on_change: OnChange | None) -> None:
        """Load a state; a run that is only longer or shorter than it was begins at the LR it had come to."""
        mode = on_change or self._on_change or mode_for_trainer(state, self.policy, self.horizon, self.bases)
        super().load_state_dict(state, mode)
        self._observed = {}
        self.observe(**state.get(OBSERVED, {}))
