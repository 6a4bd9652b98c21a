"""Many ranks: at every cadence point each tells all others what it heard and where it stands; then all decide alike.

One `all_gather` of a row of numbers a rank, in `step()` alone, at steps that the policy fixes and no data can change.
The sums are added in the order of the ranks, on every rank, so that all see the same bits. Where the ranks stand (step,
updates, plan, memory of the rules, values) must be equal, number by number; else every rank raises the same error.
"""

from __future__ import annotations

import functools as ft
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple
from zlib import crc32

import torch
from torch import distributed

from lehr.controller import Controller
from lehr.errors import LehrError
from lehr.gather import Sum, Window
from lehr.spelling import brief

__all__ = ["Ranks", "Standing", "disagreement", "local_metrics", "merged", "packed", "standing"]

Row = Sequence[float]

SHOWN = 8  # groups whose LR is told in numbers; the others are in the checksum
STEP = 64  # a row is as long as a multiple of this, so that ranks with unlike policies can still compare
REMEDY = (
    "Call step() on every rank once after every update, with the same policy, horizon and groups, and change an LR by "
    "hand on all ranks or on none; Scheduler(..., ranks=False) gives each rank rules of its own"
)


class Standing(NamedTuple):
    """Where a rank stands; whole numbers are exact as floats."""

    t: int  # updates applied
    updates: int  # of the optimiser, since the scheduler was built
    plan: int  # checksum of policy, horizon and base values
    memory: int  # checksum of gains and of all that the rules remember: the decisions so far
    values: int  # checksum of every value for the next update
    groups: int  # parameter groups
    lrs: tuple[float, ...]  # the LRs of the first groups


WORDS = {
    "t": "updates applied",
    "updates": "steps of the optimizer",
    "plan": "policy, horizon or base values",
    "memory": "what the rules remember",
    "values": "the LRs",
    "groups": "the number of parameter groups",
    "lrs": "the LRs",
}
HEAD = len(Standing._fields) - 1 + SHOWN


class Ranks:
    """The ranks of a process group, as `Controller(share=...)` wants them."""

    def __init__(self, group: Any, updates: Callable[[], int], alone: bool = True) -> None:
        self._group = group
        self._updates = updates
        self._alone = alone

    @classmethod
    def of(cls, group: Any, updates: Callable[[], int]) -> Ranks | None:
        """The ranks of `group`, or of the default group; None where torch.distributed is not in use.

        Raises:
            LehrError: a group that this rank is not in.
        """
        if not (distributed.is_available() and distributed.is_initialized()):
            if group is not None:
                raise LehrError("Scheduler(process_group=...) needs torch.distributed to be initialised first")
            return None
        if distributed.get_rank(group) < 0:
            raise LehrError("Scheduler(process_group=...) must be a group that this rank is in; give ranks=False here")
        return cls(group, updates, alone=distributed.get_world_size(group) == 1)

    def share(self, run: Controller, window: Window) -> tuple[Window, list[tuple[str, str]]]:
        """The window of all ranks, and what is to be warned of: (key, words).

        Raises:
            LehrError: the ranks do not agree, or did not meet.
        """
        names = run.gathered
        at = standing(run, self._updates())
        rows = self._rows(packed(at, names, window.sums, window.since), at)
        if words := disagreement(rows):
            raise LehrError(words)
        noticed = local_metrics(rows, names, run.evaluated | {"loss"})
        return Window(min(int(row[HEAD]) for row in rows), merged(rows, names)), noticed

    def _rows(self, mine: Row, at: Standing) -> list[Row]:
        """The rows of all ranks; a rank that is alone has its own."""
        if not distributed.is_initialized():
            if not self._alone:
                raise LehrError("the process group was destroyed, so the ranks cannot decide alike; end the run first")
            return [mine]
        row = torch.tensor(mine, dtype=torch.float64).to(_device(self._group))
        rows = [torch.empty_like(row) for _ in range(distributed.get_world_size(self._group))]
        try:
            distributed.all_gather(rows, row, group=self._group)
        except RuntimeError as error:
            here = f"here t = {at.t} after {_steps(at)}"
            raise LehrError(f"the ranks did not meet ({here}): {brief(error)}. {REMEDY}") from error
        gathered: list[Row] = torch.stack(rows).tolist()
        return gathered

    def __getstate__(self) -> dict[str, Any]:
        # A group lives in its process; elsewhere the default one counts, and without one there are no other ranks.
        return {**vars(self), "_group": None, "_alone": True}


def standing(run: Controller, updates: int) -> Standing:
    """Where a run stands."""
    values, bases = run.hyper, run.bases
    plan = _plan_sum(run.policy, run.horizon, tuple(sorted(bases.items())))
    lrs = tuple(values["lr"])
    sums = (crc32(repr(run.states).encode()), crc32(repr(sorted(values.items())).encode()))
    return Standing(run.t, updates, plan, *sums, len(lrs), lrs[:SHOWN])


@ft.lru_cache(maxsize=8)
def _plan_sum(policy: Any, horizon: Any, bases: Any) -> int:
    return crc32(f"{policy.text(full=True)} {horizon} {bases}".encode())


def packed(mine: Standing, names: Sequence[str], sums: Any, since: int = 0) -> list[float]:
    """A rank's row: where it stands, since when it has gathered, then what it heard of each name, then zeros."""
    row = [float(number) for number in mine[:-1]]
    row += [*mine.lrs, *[0.0] * (SHOWN - len(mine.lrs)), float(since)]
    for name in names:
        row += map(float, sums.get(name, Sum()))
    return row + [0.0] * (-len(row) % STEP)


def disagreement(rows: Sequence[Row]) -> str:
    """What the ranks do not agree on, in words; empty if they do."""
    heads = [tuple(row[:HEAD]) for row in rows]
    if all(head == heads[0] for head in heads):
        return ""
    stands: dict[Standing, list[int]] = {}
    for rank, head in enumerate(heads):
        stands.setdefault(_read(head), []).append(rank)
    fields = (f for f in Standing._fields if len({getattr(standing, f) for standing in stands}) > 1)
    what = ", ".join(dict.fromkeys(WORDS[field] for field in fields))
    told = "; ".join(
        f"{_listed(ranks)}: t = {at.t} after {_steps(at)}, LR {', '.join(map(repr, at.lrs))}"
        for at, ranks in stands.items()
    )
    return f"the ranks do not agree on {what}. {told}. {REMEDY}"


def merged(rows: Sequence[Row], names: Sequence[str]) -> dict[str, Sum]:
    """The sums of all ranks, added in their order; names that none has heard of are left out."""
    sums = {name: ft.reduce(Sum.both, _reports(rows, k)) for k, name in enumerate(names)}
    return {name: item for name, item in sums.items() if item.finite or item.bad}


def local_metrics(rows: Sequence[Row], names: Sequence[str], local: Collection[str]) -> list[tuple[str, str]]:
    """Metrics that the ranks do not report alike, but for those that are `local` by nature: (key, words)."""
    noticed = []
    for k, name in enumerate(names):
        reports = _reports(rows, k)
        if name in local or len(set(reports)) == 1:
            continue
        values: dict[str, list[int]] = {}
        for rank, item in enumerate(reports):
            value = f"{item.mean!r}" if item.finite or item.bad else "not reported"
            values.setdefault(value, []).append(rank)
        told = [f"{_listed(ranks)}: {value}" for value, ranks in values.items()]
        told = [*told[:SHOWN], "…"] if len(told) > SHOWN else told
        mean = ft.reduce(Sum.both, reports).mean
        words = (
            f"{name} is not the same on all ranks ({'; '.join(told)}); the mean of all reports, {mean!r}, is used. "
            "Reduce it over the ranks and report it on each, or let Lehr do so and take this as said"
        )
        noticed.append((f"ranks {name}", words))
    return noticed


def _reports(rows: Sequence[Row], k: int) -> list[Sum]:
    """What each rank has heard of name k."""
    at = HEAD + 1 + len(Sum._fields) * k
    return [Sum(row[at], int(row[at + 1]), int(row[at + 2]), row[at + 3], row[at + 4]) for row in rows]


def _read(head: Row) -> Standing:
    t, updates, plan, memory, values, groups = map(int, head[:-SHOWN])
    return Standing(t, updates, plan, memory, values, groups, tuple(head[-SHOWN:][:groups]))


def _steps(at: Standing) -> str:
    return f"{at.updates} step{'' if at.updates == 1 else 's'} of the optimizer"


def _listed(ranks: Sequence[int]) -> str:
    """`rank 3`, or `ranks 0, 1, 2`, or the first of many."""
    if len(ranks) == 1:
        return f"rank {ranks[0]}"
    more = f" and {len(ranks) - SHOWN} more" if len(ranks) > SHOWN else ""
    return f"ranks {', '.join(map(str, ranks[:SHOWN]))}{more}"


def _device(group: Any) -> torch.device:
    """Where the group's backend wants its tensors."""
    backend = distributed.get_backend(group)
    accelerator = torch.accelerator.current_accelerator()
    on_host = any(name in backend for name in ("gloo", "mpi", "cpu", "undefined"))
    return torch.device("cpu") if on_host or accelerator is None else accelerator
