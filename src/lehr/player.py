"""The player of a log: it lets a controller hear what was recorded, as it would have heard it in the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lehr.controller import Controller
from lehr.rules import Observation
from lehr.trace import RESERVED

__all__ = ["Player", "Standing"]


class Standing(NamedTuple):
    """A verdict of a rule, and the steps for which it stood."""

    rule: str
    verdict: str
    first: int
    last: int


class Player:
    """Leads a controller through a log."""

    def __init__(self, run: Controller, own: bool) -> None:
        self.notes: list[str] = []
        self.rows: list[tuple[int, dict[str, float]]] = []
        self._run = run
        self._own = own  # Lehr's own: each advance has its row. Elsewhere what lies between rows is updates in silence
        self._due, run._evaluations = run._evaluations, set()  # called here, with what the log holds
        self._kept: dict[str, float] = {}  # for evaluations: what was reported since the last
        self._standing: dict[tuple[int, int], Standing] = {}
        self._ended: list[Standing] = []
        run.subscribe(self._note_row, on="steps")
        if not own:
            run._reports.expect([], run.horizon)  # a sparse log is not a run that forgets to report

    def play(self, seen: Sequence[Observation]) -> None:
        """Let the controller hear all of it, or as much as there is before the run is over."""
        for observation in seen:
            if not self._hear(observation):
                over, last = self._run.t, seen[-1].step
                self.notes.append(f"the run would have been over at step {over}; the log goes on to {last}")
                break
        self._run.finish()

    def standings(self) -> list[Standing]:
        """Which verdict stood when."""
        return sorted([*self._ended, *self._standing.values()], key=lambda standing: standing.first)

    def _hear(self, observation: Observation) -> bool:
        """Hear one observation; false if the run is over before it."""
        run, step = self._run, observation.step
        while run.t < step and not run.done and not (self._own and observation.applied):
            self._advance(1, {})
        if run.done and (observation.applied or run.t < step):
            return False
        evaluated = {name for name, _ in self._due}
        self._kept |= {name: value for name, value in observation.numbers.items() if name in evaluated}
        numbers = {name: value for name, value in observation.numbers.items() if name not in evaluated}
        if observation.applied:
            self._advance(step + 1 - run.t, numbers)
        else:
            run.observe(**numbers)
            self._judge()
        return True

    def _advance(self, count: int, numbers: dict[str, float]) -> None:
        run = self._run
        due = sorted({name for name, every in self._due if (run.t + count) // every > run.t // every})
        run.advance(count, numbers | {name: self._kept.pop(name) for name in due if name in self._kept})
        self._judge()

    def _judge(self) -> None:
        """Note which verdicts stand now."""
        step = self._run.t
        for i, track in enumerate(self._run._tracks):
            for k, (rule, memory) in enumerate(zip(track.plan.policy.rules, track.state.rules, strict=True)):
                standing = self._standing.pop((i, k), None)
                if standing is not None and standing.verdict != memory.verdict:
                    self._ended.append(standing._replace(last=step))
                    standing = None
                if memory.verdict:
                    first = step if standing is None else standing.first
                    self._standing[i, k] = Standing(rule.text(), memory.verdict, first, step)

    def _note_row(self, step: int, lrs: Sequence[float], numbers: Mapping[str, float]) -> None:
        row = {f"lr.{k}" if k else "lr": lr for k, lr in enumerate(lrs)}
        self.rows.append((step, row | {f"{name}_" if name in RESERVED else name: v for name, v in numbers.items()}))
