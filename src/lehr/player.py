"""The player of a log: it lets a controller hear what was recorded, as it would have heard it in the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from lehr.controller import Controller
from lehr.rules import Observation
from lehr.trace import RESERVED, Column

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
        self._run = run
        self._steps: list[int] = []  # a row for each advance and each report between two
        self._lrs: list[list[float]] = [[] for _ in run.lrs]
        self._heard: list[tuple[int, Mapping[str, float]]] = []
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

    def columns(self) -> dict[str, Column]:
        """The LR at every step, and what was heard, as the columns of a trace."""
        steps = np.array(self._steps, dtype=np.float64)
        last = np.append(steps[1:] != steps[:-1], [True] * bool(len(steps)))  # the row of an update comes last
        columns = {"step": steps[last]}
        columns |= {f"lr.{k}" if k else "lr": np.array(lrs)[last] for k, lrs in enumerate(self._lrs)}
        rows = np.searchsorted(columns["step"], [step for step, _ in self._heard])
        for row, (_, numbers) in zip(rows, self._heard, strict=True):
            for name, value in numbers.items():
                given = f"{name}_" if name in RESERVED else name
                if given not in columns:
                    columns[given] = np.full(len(columns["step"]), np.nan)
                columns[given][row] = value
        return columns

    def standings(self) -> list[Standing]:
        """Which verdict stood when."""
        return sorted([*self._ended, *self._standing.values()], key=lambda standing: standing.first)

    def _hear(self, observation: Observation) -> bool:
        """Hear one observation; false if the run is over before it."""
        run, step = self._run, observation.step
        if not (self._own and observation.applied):
            self._pass(step)
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

    def _pass(self, step: int) -> None:
        """Let updates go by in silence up to `step`: at once, where no rule heeds that."""
        run = self._run
        tracks = run._tracks
        silence = Observation(run.t, {}, True)
        heeded = any(rule.trigger.heeds(silence) for track in tracks for rule in track.plan.rules)
        gathered = any(track.plan.policy.cadence is not None for track in tracks)
        while run.t < step and not run.done:
            if heeded or gathered or self._kept:
                self._advance(1, {})
                continue
            table = run.ahead()
            stop = min(step, table.start + table.size, step if table.end is None else table.end)
            self._steps.extend(range(run.t, stop))
            for column, values in zip(self._lrs, table.columns["lr"], strict=True):
                column.extend(values[run.t - table.start : stop - table.start])
            run.glide(stop)

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
                    standing = standing or Standing(rule.text(), memory.verdict, step, step)
                    self._standing[i, k] = standing._replace(last=step)

    def _note_row(self, step: int, lrs: Sequence[float], numbers: Mapping[str, float]) -> None:
        self._steps.append(step)
        for column, lr in zip(self._lrs, lrs, strict=True):
            column.append(lr)
        if numbers:
            self._heard.append((step, numbers))
