"""A study to watch: in a terminal a line for every running cell and a bar for all; elsewhere a plain line at times."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lehr.cli.ranking import times
from lehr.study import Progress

PLAIN_EVERY = 10.0  # seconds between two lines where there is no terminal


@contextmanager
def watching(console: Console) -> Iterator[Callable[[Progress], None]]:
    """Something to hand to `lehr.study.compare` as `watch`; what it drew is gone afterwards."""
    if not console.is_terminal:
        yield _Lines(console)
        return
    with Live(console=console, transient=True, refresh_per_second=5) as live:
        live.update(Text("Starting workers and reading data …", style="dim"))
        yield lambda progress: live.update(picture(progress))


class _Lines:
    """Plain lines, the first at once and then every PLAIN_EVERY seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next = 0.0

    def __call__(self, progress: Progress) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + PLAIN_EVERY
        self._console.print(summary(progress), highlight=False, soft_wrap=True)


def picture(progress: Progress) -> RenderableType:
    """The running cells, one a line, and the whole."""
    cells = Table.grid(padding=(0, 2))
    for running in progress.running:
        cell = running.job.cell
        steps = running.job.facts.steps
        cells.add_row(
            Text(cell.workload, style="cyan"),
            Text(cell.policy[:40]),
            f"peak {times(cell.peak)}",
            f"seed {cell.seed}",
            ProgressBar(total=steps, completed=running.step, width=20),
            f"{running.step}/{steps}",
            f"lr {running.lr:.2e}",
            f"loss {running.loss:.4g}" if math.isfinite(running.loss) else "",
        )
    whole = Table.grid(padding=(0, 2))
    whole.add_row(ProgressBar(total=max(1, progress.total), completed=progress.done, width=40), Text(summary(progress)))
    return Group(cells, whole)


def summary(progress: Progress) -> str:
    """How many runs are done, and the time left."""
    return f"{progress.done} of {progress.total} runs, {_left(progress.seconds_left)}"


def _left(seconds: float | None) -> str:
    if seconds is None:
        return "time left not known yet"
    minutes, seconds = divmod(math.ceil(seconds), 60)
    return f"about {minutes}:{seconds:02d} left"
