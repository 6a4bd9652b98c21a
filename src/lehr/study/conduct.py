"""A study from request to results: describe the workloads, run the cells, rank the policies, write it all down."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lehr.study import workloads
from lehr.study.design import Cell, Design, Facts, in_turn
from lehr.study.executor import Finished, Pool, Running
from lehr.study.job import Job
from lehr.study.policies import NamedPolicy, built_in
from lehr.study.progress import Pace, Progress
from lehr.study.results import Comparison, comparison, study_json
from lehr.study.rows import Row
from lehr.study.stats import CONTROL
from lehr.study.store import TRACES, Store

Watch = Callable[[Progress], None]


@dataclass(frozen=True)
class Request:
    """What somebody wants compared.

    Args:
        workloads: Built-in names, or file.py:function.
        policies: Beside the built-in ones.
        seeds: Runs that are reported for each policy; 3 at least for a ranking worth the name.
        folder: Where everything goes.
        workers: Processes; None: one a core, at most 2.
        fresh: Forget what the folder holds.
        command: What to type to do it again; kept with the results.
        only: Labels of the built-in policies to take beside the control; empty: all of them.
    """

    workloads: tuple[str, ...]
    policies: tuple[NamedPolicy, ...] = ()
    seeds: int = 5
    folder: Path = Path("lehr-report")
    workers: int | None = None
    fresh: bool = False
    command: str = ""
    only: tuple[str, ...] = ()


def compare(request: Request, watch: Watch = lambda progress: None) -> list[Comparison]:
    """Run a study, or what is left of it, and write its rows, traces and results into its folder.

    Args:
        request: What to compare.
        watch: Called a few times a second while cells train.

    Raises:
        LehrError: The request cannot be met; the text says why.
    """
    for name in request.workloads:
        if ":" not in name:  # a misspelt name is told at once; a user's file is run only in a worker
            workloads.find(name)
    workers = min(2, os.cpu_count() or 1) if request.workers is None else request.workers
    with Store(request.folder, fresh=request.fresh) as store, Pool(workers) as pool:
        designs = [_design(facts, request, pool) for facts in pool.describe(dict.fromkeys(request.workloads))]
        conductor = _Conductor(designs, store, pool, watch)
        conductor.train()
        comparisons = [conductor.comparison(one) for one in designs]
        store.complete([row for one in comparisons for row in one.rows])
        store.write_results(study_json(comparisons, request.command))
    return comparisons


def _design(facts: Facts, request: Request, pool: Pool) -> Design:
    offered = built_in(facts.metric, facts.best, facts.threshold)
    taken = [policy for policy in offered if not request.only or policy.label in (CONTROL, *request.only)]
    return Design(facts, pool.fitting(facts.spec, (*taken, *request.policies)), request.seeds)


class _Conductor:
    """Runs the cells of all designs, and remembers what it hears."""

    def __init__(self, designs: Sequence[Design], store: Store, pool: Pool, watch: Watch) -> None:
        self._designs = designs
        self._facts = {one.facts.name: one.facts for one in designs}
        self._store = store
        self._pool = pool
        self._watch = watch
        self._pace = Pace(pool.workers)
        self._rows: dict[str, Row] = {}
        self._warnings: dict[tuple[str, str], None] = {}  # (workload, sentence), in order, each once

    def train(self) -> None:
        """Both parts of the study: what is known before any training, and what follows from the chosen peaks."""
        most = Counter({one.facts.name: one.most_closing() for one in self._designs})
        self._run(in_turn([one.opening() for one in self._designs]), later=most)
        self._run(in_turn([one.closing(self._rows.values()) for one in self._designs]), later=Counter())

    def comparison(self, one: Design) -> Comparison:
        """What came out on one workload."""
        cells = [*one.opening(), *one.closing(self._rows.values())]
        rows = [self._rows[cell.key] for cell in cells]
        said = [sentence for workload, sentence in self._warnings if workload == one.facts.name]
        return comparison(one, rows, self._store.folder, said)

    def _run(self, cells: Sequence[Cell], later: Counter[str]) -> None:
        """Run those cells that no earlier run of the study has finished.

        Args:
            cells: In the order to run them.
            later: How many cells may follow these, by workload.
        """
        self._rows |= {cell.key: row for cell in cells if (row := self._store.finished(cell.key))}
        missing = [cell for cell in cells if cell.key not in self._rows]
        total = len(self._rows) + len(missing) + later.total()
        for finished in self._pool.run(
            map(self._job, missing), watch=lambda running: self._look(running, missing, later, total)
        ):
            self._keep(finished)

    def _job(self, cell: Cell) -> Job:
        return Job(cell, self._facts[cell.workload], self._store.folder, f"{TRACES}/{cell.key}.jsonl")

    def _keep(self, finished: Finished) -> None:
        row = finished.outcome.row
        self._store.append(row)
        self._rows[row.key] = row
        self._pace.add(row.workload, finished.seconds, row.steps)
        self._warnings |= {(row.workload, f"{row.policy}: {said}"): None for said in finished.outcome.warnings}

    def _look(self, running: tuple[Running, ...], cells: Sequence[Cell], later: Counter[str], total: int) -> None:
        begun = self._rows.keys() | {one.job.cell.key for one in running}
        waiting = Counter(cell.workload for cell in cells if cell.key not in begun) + later
        updates = {name: count * self._facts[name].steps for name, count in waiting.items()}
        self._watch(Progress(running, len(self._rows), total, self._pace.seconds_left(updates, running)))
