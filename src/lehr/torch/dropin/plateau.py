"""torch's reduction on a plateau: what torch counts, mended, and the rule that reads the count.

torch counts bad epochs: reports in a row that are no improvement, none of them in a cool-down. Here `Judge` makes the
count, with the core of the trigger `plateaus`, and it is reported to the rule
`when(num_bad_epochs.reaches(patience + 1)).scale(factor)`. Two things are not as in torch: the margin is relative to
the size of the best value, so that it also means something for negative ones, and a value that is not finite is no
report.
"""

from __future__ import annotations

import functools as ft
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch.optim import lr_scheduler

from lehr.controller import OnChange
from lehr.converters import torch_schedules as convert
from lehr.converters.torch_checks import from_zero
from lehr.errors import LehrError
from lehr.lengths import as_count
from lehr.policy import tracks
from lehr.reports import as_number
from lehr.rules.counting import Counting, Tally
from lehr.schedules import constant
from lehr.schedules.schedule import number
from lehr.spelling import shown
from lehr.torch.dropin.arguments import Given, per_group
from lehr.torch.dropin.base import Dropin
from lehr.torch.dropin.parts import Originals, Part, Parts
from lehr.torch.values import facts_of

__all__ = ["Judge", "Judged", "Memory", "ReduceLROnPlateau"]


class Memory(NamedTuple):
    """What torch's scheduler remembers, under torch's names."""

    best: float | None = None
    num_bad_epochs: int = 0
    cooldown_counter: int = 0


@dataclass(frozen=True)
class Judge:
    """Which reports are bad."""

    mode: str
    patience: int
    threshold: float
    threshold_mode: str
    cooldown: int

    def __post_init__(self) -> None:
        for name, choices in (("mode", ("min", "max")), ("threshold_mode", ("rel", "abs"))):
            if getattr(self, name) not in choices:
                wanted = " or ".join(map(repr, choices))
                raise LehrError(f"ReduceLROnPlateau({name}=...) must be {wanted}, got {shown(getattr(self, name))}")
        if number(self.threshold, "ReduceLROnPlateau(threshold=...)") < 0:
            raise LehrError(f"ReduceLROnPlateau(threshold=...) must be at least 0, got {self.threshold!r}")
        if self.cooldown != 0:
            as_count(self.cooldown, "ReduceLROnPlateau(cooldown=...)")

    def heard(self, memory: Memory, value: float) -> tuple[Memory, int]:
        """The memory after a report, and the count of bad ones that the rule reads."""
        counting = self.counting
        best = counting.start if memory.best is None else counting.sign * memory.best
        tally = Tally(best, memory.num_bad_epochs, memory.cooldown_counter)
        heard = counting.heard(tally, counting.sign * value)
        after = counting.fired(heard.tally) if heard.fires else heard.tally
        known = None if math.isnan(after.best) else counting.sign * after.best
        return Memory(known, after.bad, after.pause), heard.tally.bad

    @ft.cached_property
    def counting(self) -> Counting:
        """As torch counts, but for the sign of the margin and for what is not finite."""
        return Counting(
            better="safe" if self.threshold_mode == "rel" else "absolute",
            margin=self.threshold,
            sign=1.0 if self.mode == "min" else -1.0,
            limit=self.patience + 1,
            pause=self.cooldown,
            finite=True,
        )


class Judged(Dropin):
    """A scheduler with a plateau in it: `step` takes the metric.

    Attributes:
        judge: what counts bad reports; None where no part is a plateau.
        memory: of the judge.
        begins: the step from which on it listens.
    """

    judge: Judge | None = None
    memory = Memory()
    begins = 0

    def step(self, metrics: Any = None, *, applied: bool = True, **numbers: Any) -> None:  # type: ignore[override]
        """Say that an update was applied (or that an epoch has ended), with the metric if there is a plateau.

        Args:
            metrics: the metric, a number or a tensor of one element; without a plateau, the step to go to.
            applied: false for an update that was skipped (AMP overflow): the metric is not heard.
            numbers: what else was measured.

        Raises:
            LehrError: no metric where one is needed, or one that no part reads.
        """
        if self.judge is not None:
            if applied and -1 != self.last_epoch != self._step_count - 1:
                self._follow()
            numbers["num_bad_epochs"] = self._bad_epochs(metrics) if applied else 0
            numbers |= {} if metrics is None else {"metrics": metrics}
        elif metrics is not None and not isinstance(metrics, int):
            raise LehrError(f"no part of this {type(self).__name__} reads a metric, got step({shown(metrics)})")
        super().step(metrics if self.judge is None else None, applied=applied, **numbers)

    def state_dict(self) -> dict[str, Any]:
        """Everything that is needed to go on, as JSON-plain data; `torch.load(weights_only=True)` reads it."""
        if self.judge is None:
            return super().state_dict()
        return super().state_dict() | {"plateau": {**self.memory._asdict(), "judge": asdict(self.judge)}}

    def load_state_dict(self, state_dict: Mapping[str, Any], on_change: OnChange | None = None) -> None:
        """See `Dropin.load_state_dict`."""
        saved = dict(state_dict.get("plateau", {}))
        judge = Judge(**saved.pop("judge")) if saved else self.judge
        if judge != self.judge and on_change in (None, "error"):
            raise LehrError(
                f"the saved run differs: {judge} (saved) → {self.judge} (now). Say on_change='keep_saved' or 'use_new'"
            )
        super().load_state_dict(state_dict, on_change)
        self.memory = Memory(**saved)
        self.judge = judge if on_change == "keep_saved" else self.judge

    def _bad_epochs(self, metrics: Any) -> int:
        """The bad reports so far, this one included; before it begins there are none."""
        judge, begins = self.judge, max(self.begins, self._asleep)
        if judge is None or self.t + 1 <= begins:
            return 0
        if metrics is None:
            raise LehrError(f"step(metrics) needs the metric of the ReduceLROnPlateau from step {begins} on, got none")
        self.memory, bad = judge.heard(self.memory, as_number("metrics", metrics))
        return bad

    @property
    def _asleep(self) -> int:
        """Steps of a leading warm-up, in which rules sleep."""
        known, steps = self._slept
        if known is not self.policy:
            facts = [facts_of(group) for group in self.optimizer.param_groups]
            part = next(part for target, part, _ in tracks(self.policy, facts) if target == "lr")
            steps = part.resolve(self.horizon, lr=self._run.base_lrs[0] or 1.0).warmup
            self._slept = self.policy, steps
        return steps

    _slept: tuple[Any, int] = (None, 0)


class ReduceLROnPlateau(Judged, lr_scheduler.ReduceLROnPlateau):
    """The LR times `factor` after more than `patience` reports without improvement.

    Trainers that look for torch's class find it. The margin `threshold` means something for negative metrics too, and
    a metric that is not finite is no report.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
        >>> scheduler = ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
        >>> for loss in [1.0, 1.0, 1.0]:
        ...     optimizer.step()
        ...     scheduler.step(loss)
        >>> scheduler.get_last_lr()
        [0.05]
        >>> scheduler.events
        step 3: num_bad_epochs 2 reached 2 → scale(0.5): LR 0.1 → 0.05
    """

    mode, threshold_mode = Given[Literal["min", "max"]](), Given[Literal["rel", "abs"]]()
    factor, threshold, eps = Given[float](), Given[float](), Given[float]()
    patience, cooldown = Given[int](), Given[int]()
    min_lr = Given[list[float] | float]()

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        mode: Literal["min", "max"] = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: int = 0,
        min_lr: list[float] | float = 0,
        eps: float = 1e-8,
    ) -> None:
        self.mode, self.factor, self.patience = mode, factor, patience
        self.threshold, self.threshold_mode, self.cooldown = threshold, threshold_mode, cooldown
        self.min_lr, self.eps = min_lr, eps
        Dropin.__init__(self, optimizer)

    def draw(self, originals: Originals, groups: int) -> Parts:
        """A constant, and the rule; it ends where torch's reductions end, at `min_lr` or below `eps`."""
        self.judge = Judge(self.mode, self.patience, self.threshold, self.threshold_mode, self.cooldown)
        lows = per_group(self.min_lr, "ReduceLROnPlateau(min_lr=...)", groups)
        return tuple({"lr": self._part(lr, low)} for lr, low in zip(originals["lr"], lows, strict=True))

    def _part(self, lr: float, low: float) -> Part:
        """A floor of torch's only stops reductions: it lies nowhere above the LR."""
        rule = convert.reduce_lr_on_plateau(self.factor, self.patience)
        if low > 0:
            return Part(lr, constant(), (rule,), convert.plateau_floor(lr, self.factor, low, self.eps))
        if self.eps <= 0:
            return Part(lr, constant(), (rule,))
        cuts = convert.plateau_cuts(lr, self.factor, self.eps)
        return Part(lr, constant(), (rule.at_most(cuts),) if cuts else ())

    def step(self, metrics: Any, epoch: Any = None, *, applied: bool = True, **numbers: Any) -> None:  # type: ignore[override]
        """Report the metric; see `Judged.step`.

        Raises:
            LehrError: an epoch, which torch has deprecated.
        """
        if epoch is not None:
            raise LehrError(f"ReduceLROnPlateau counts its reports; leave epoch={shown(epoch)} out of step(metrics)")
        Judged.step(self, metrics, applied=applied, **numbers)

    @property
    def best(self) -> float:
        """The best value so far."""
        worst = math.inf if self.mode == "min" else -math.inf
        return worst if self.memory.best is None else self.memory.best

    @best.setter
    def best(self, value: float) -> None:
        self.memory = self.memory._replace(best=float(value) if math.isfinite(value) else None)

    @property
    def num_bad_epochs(self) -> int:
        """Reports in a row without improvement."""
        return self.memory.num_bad_epochs

    @num_bad_epochs.setter
    def num_bad_epochs(self, value: int) -> None:
        self.memory = self.memory._replace(num_bad_epochs=from_zero(value, "num_bad_epochs"))

    @property
    def cooldown_counter(self) -> int:
        """Reports that are still not counted, after a reduction."""
        return self.memory.cooldown_counter

    @cooldown_counter.setter
    def cooldown_counter(self, value: int) -> None:
        self.memory = self.memory._replace(cooldown_counter=from_zero(value, "cooldown_counter"))

    @property
    def min_lrs(self) -> list[float]:  # type: ignore[override]
        """The least LR of each group."""
        return list(per_group(self.min_lr, "ReduceLROnPlateau(min_lr=...)", len(self.base_lrs)))

    def _from_torch(self, state: Mapping[str, Any]) -> str:
        known = ", ".join(f"{name}={state.get(name)!r}" for name in Memory._fields)
        return (
            f"to go on from it, load the optimiser, build this one on it with the same arguments, and set its {known}"
        )

    def _reset(self) -> None:
        """Forget the metric, as torch's does."""
        self.memory = Memory()
