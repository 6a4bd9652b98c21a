"""The harness of the parity tests: our curve of an expression, held against a peer's; the table `docs/parity.md`.

A module of such tests has `pytestmark = [pytest.mark.peers, pytest.mark.frameworks]` and imports the peer inside
functions or a fixture, because pytest collects the module where the peer is missing, too. (pytest's `pythonpath` makes
this module importable.)

    from parity import agree, curve, differ

    @given(w=LENGTHS, n=LENGTHS, lr=LRS)
    def test_cosine(w: int, n: int, lr: float) -> None:
        ours = curve("warmup({w}, zero_start=True).then(cosine({n}))", w + n + 20, lr, w=w, n=n)
        agree("optax", "warmup_cosine_decay_schedule", theirs, ours)

- `curve(template, steps, lr, **numbers)` fills the template (`str.format` fields; strings go in as they are, other
  values as their `repr`), parses the text and evaluates it for the updates 0 … steps − 1. The table prints the template
  and, as its example, the shortest text with the fewest zeros and ones, so it shows nothing that was not tested.
- `agree(peer, function, theirs, ours)`: equal to 1e-12 of the peak, over the whole array.
- `differ(peer, function, fault, theirs, ours, definition)`: ours is the definition (coded independently of both), the
  peer's is not; the table shows the fault in words and the value at the step where the peer is farthest off.

What is drawn and how torch's schedulers are stepped lies in `parity_draws`, functions that texts call by name in
`parity_functions`. Every peer and function must stand in `parity_coverage.COVERAGE`. `pytest --write-parity` runs all
comparisons and writes the table if none is lacking.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

import lehr
from parity_coverage import COVERAGE
from parity_functions import FUNCTIONS

__all__ = ["FUNCTIONS", "TABLE", "TOLERANCE", "Ours", "Record", "agree", "curve", "differ", "missing", "page", "write"]

TABLE = Path(__file__).parent.parent / "docs" / "parity.md"
TOLERANCE = 1e-12
VISIBLE = 1e-6
EDGES = re.compile(r"(?<![\w.])[01](?:\.0)?(?![\w.])")  # 0 and 1, which make poor examples

_records: dict[tuple[str, str, str, str], Record] = {}


@dataclass(frozen=True)
class Ours:
    """Our LRs of one filled template."""

    template: str
    text: str
    lr: float
    values: NDArray[np.float64]


@dataclass(frozen=True)
class Record:
    """One row of the table: the worst error over all examples, or a fault of the peer."""

    peer: str
    function: str
    template: str
    text: str
    error: float
    fault: str = ""
    shown_by: str = ""


def curve(template: str, steps: int, lr: float, *, horizon: lehr.Horizon | None = None, **numbers: object) -> Ours:
    """Our LRs for the updates 0 … steps − 1 of the template filled with the numbers."""
    fields = {name: value if isinstance(value, str) else repr(value) for name, value in numbers.items()}
    text = template.format_map(fields)
    resolved = lehr.parse(text).resolve(horizon, lr=lr)
    values: NDArray[np.float64] = lr * np.asarray(resolved(np.arange(steps)), np.float64)
    return Ours(template.format_map({name: name for name in fields}), text, lr, values)


def agree(peer: str, function: str, theirs: ArrayLike, ours: Ours) -> None:
    """Ours equals theirs to 1e-12 of the peak."""
    expected = _same_shape(theirs, ours)
    error = float(np.max(np.abs(expected - ours.values)) / _peak(ours, expected))
    assert error <= TOLERANCE, _words(f"{peer} {function}: {ours.text} is not theirs", expected, ours.values)
    _record(Record(peer, function, ours.template, ours.text, error))


def differ(peer: str, function: str, fault: str, theirs: ArrayLike, ours: Ours, definition: ArrayLike) -> None:
    """Ours equals the definition to 1e-12 of the peak, theirs visibly does not."""
    expected, given = _same_shape(definition, ours), _same_shape(theirs, ours)
    error = float(np.max(np.abs(expected - ours.values)) / _peak(ours, expected))
    assert error <= TOLERANCE, _words(f"{ours.text} is not the definition", expected, ours.values)
    off = np.nan_to_num(np.abs(given - expected) / _peak(ours, expected), nan=np.inf)
    assert off.max() > VISIBLE, f"{peer} {function} is right: {ours.text}"
    worst = int(np.argmax(off))
    value = "no LR" if np.isnan(given[worst]) else f"{given[worst] / ours.lr:.6g}·LR"
    numbers = f"step {worst}: {value}, right is {expected[worst] / ours.lr:.6g}·LR"
    _record(Record(peer, function, ours.template, ours.text, error, fault=fault, shown_by=numbers))


def missing() -> list[str]:
    """What the session has not compared of all that the table must name."""
    met = {(peer, function) for peer, function, *_ in _records}
    wanted = [(peer.name, function) for peer in COVERAGE for function in peer.functions]
    return [f"{peer} {function}" for peer, function in wanted if (peer, function) not in met]


def write() -> None:
    """Write what the session compared."""
    TABLE.write_text(page(_records.values()), encoding="utf-8")


def page(records: Iterable[Record]) -> str:
    """The table as Markdown, peers and functions in the order of `COVERAGE`."""
    rows = list(records)
    lines = [
        "# Parity with the peers",
        "",
        "Written by `pytest --write-parity`; do not edit. Every schedule function of every peer, the Lehr expression",
        "that means the same, and the largest difference between the two over all steps of all drawn examples, in",
        "parts of the peak LR (1e-12 is allowed). Where the peer departs from its own definition, Lehr equals the",
        "definition to 1e-12 and the row names the fault. Words in an expression stand for numbers; the example is",
        "one that was tested.",
        "",
        "| peer | functions | comparisons | largest error | faults |",
        "|---|---|---|---|---|",
        *(
            _summary(peer.name, len(peer.functions), [row for row in rows if row.peer == peer.name])
            for peer in COVERAGE
        ),
        _summary("all", sum(len(peer.functions) for peer in COVERAGE), rows),
    ]
    for peer in COVERAGE:
        lines += ["", f"## {peer.name} ({_version(peer.distribution)})", ""]
        lines += ["| function | our expression | example | largest error, or the fault |", "|---|---|---|---|"]
        for function in peer.functions:
            found = [row for row in rows if (row.peer, row.function) == (peer.name, function)]
            ordered = sorted(found, key=lambda row: (bool(row.fault), len(row.template), row.template))
            lines += [f"| `{function}` | `{row.template}` | `{row.text}` | {_outcome(row)} |" for row in ordered]
    return "\n".join(lines) + "\n"


def _summary(name: str, functions: int, rows: list[Record]) -> str:
    worst = max((row.error for row in rows), default=0.0)
    return f"| {name} | {functions} | {len(rows)} | {worst:.1e} | {sum(bool(row.fault) for row in rows)} |"


def _outcome(row: Record) -> str:
    if row.fault:
        return f"**fault**: {row.fault} ({row.shown_by})"
    return f"{row.error:.1e}" if row.error > 1e-17 else "0"


def _version(distribution: str | None) -> str:
    if distribution is None:
        return "published definition"
    try:
        return version(distribution).partition("+")[0]
    except PackageNotFoundError:
        return "not installed"


def _record(new: Record) -> None:
    assert any(new.peer == peer.name and new.function in peer.functions for peer in COVERAGE), f"not in COVERAGE: {new}"
    key = (new.peer, new.function, new.template, new.fault)
    old = _records.get(key, new)
    telling = min(old, new, key=lambda row: (len(EDGES.findall(row.text)), len(row.text)))
    _records[key] = replace(telling, error=max(old.error, new.error))


def _same_shape(theirs: ArrayLike, ours: Ours) -> NDArray[np.float64]:
    values = np.asarray(theirs, np.float64)
    assert values.shape == ours.values.shape, f"{values.shape} values against {ours.values.shape}"
    return values


def _peak(ours: Ours, theirs: NDArray[np.float64]) -> float:
    return max(float(np.max(np.abs(theirs))), ours.lr)


def _words(what: str, theirs: NDArray[np.float64], ours: NDArray[np.float64]) -> str:
    off = np.nan_to_num(np.abs(theirs - ours), nan=np.inf)
    first = int(np.argmax(off > 1e-12 * np.max(np.abs(ours))))
    found = f"first at step {first}: {theirs[first]!r}, ours {ours[first]!r}"
    return f"{what}\n{found}\ntheirs {theirs[:20]}\nours   {ours[:20]}"
