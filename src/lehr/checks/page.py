"""The page `docs/checks.md`, made from the catalogue: `python -m lehr.checks.page > docs/checks.md`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lehr.checks.catalogue import CURVE, LOADER, LOG, POLICY
from lehr.checks.row import Check

__all__ = ["page"]

HEAD = """# Findings

`lehr check "warmup(2000).then(cosine())" --steps 1000 --lr 3e-4` looks at a policy before it trains, `lehr check LOG`
at the trace of a run, and `lehr.check(policy, steps=..., lr=..., loader=..., log=...)` does both from Python. `lehr
show` prints the findings below the curve. A check says only what the given facts prove: without a base LR nothing is
said of `min_lr`, without a horizon nothing of the end of the run.

An **error** says that the run cannot be what the policy says, a **warning** that it is very likely not what was meant,
a **note** is worth knowing. The exit code of `lehr check` is 1 if there is a warning or an error.

This page is made from the catalogue: `python -m lehr.checks.page > docs/checks.md`.
"""


def page() -> str:
    """The whole page."""
    tables: dict[str, Iterable[Check[Any]]] = {
        "The curve over the run": CURVE,
        "The schedule, the bounds and the rules": POLICY,
        "The horizon and the data loader": LOADER,
        "The log of a run": LOG,
    }
    return "\n".join([HEAD, *(f"## {title}\n\n{_table(checks)}" for title, checks in tables.items())])


def _table(checks: Iterable[Check[Any]]) -> str:
    rows = [f"| {row.code} | {row.severity} | {_cell(row.title)} | {_cell(row.remedy)} |" for row in checks]
    return "\n".join(["| code | severity | what | remedy |", "|---|---|---|---|", *rows, ""])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print(page(), end="")
