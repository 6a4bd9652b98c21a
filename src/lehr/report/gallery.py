"""The gallery of schedules, `docs/catalogue.md`: a picture, formula, parameters and source for each row.

Made from the catalogue and the docstrings by `python -m lehr.report.gallery docs`.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import numpy as np

from lehr.errors import LehrError
from lehr.lengths import Horizon
from lehr.report.thin import thinned
from lehr.schedules import register
from lehr.schedules.catalogue import CATALOGUE, EXAMPLE_FUNCTIONS, Row
from lehr.schedules.schedule import Schedule
from lehr.text import METHODS, parse

__all__ = ["pages", "picture", "sections"]

RUN = Horizon(steps=1000, steps_per_epoch=50, samples_per_step=32, tokens_per_step=2048)
LR = 0.1  # for the examples with an absolute end
WIDTH, HEIGHT, EDGE = 260.0, 80.0, 4.0
ORDER = ("decay", "warmups", "steps", "powers", "falls", "knots", "recipes")  # most used families first
INK, FRAME = "#2f7fc1", "#9aa0a6"  # readable on light and on dark pages
HEAD = """# The catalogue of schedules

Every shape and recipe, drawn over a run of 1000 steps (20 epochs of 50) from its first example. In formulas x = i/n is
the position in a segment of n steps, t the step, s the start that is handed down (1 at the top) and e the end (`to`).
Members join with `a.then(b)`, `a * b`, `a + b`, `minimum(a, b)`, `maximum(a, b)` and the methods at the end.

The examples of `of_step`, `of_position` and `of_previous` call functions that were registered before, as by
`lehr.register("example.inverse", lambda t: 1 / (1 + 0.01 * t))`; `example.cubic` is (1 − x)³ and `example.shrink`
1 − 0.1/(1 + t).

This page is made by `python -m lehr.report.gallery docs`.
"""


def pages() -> dict[str, str]:
    """File name, below the folder of documentation → content: the page and its pictures."""
    for name, function in EXAMPLE_FUNCTIONS.items():
        register(name, function)
    families = groupby(sorted(CATALOGUE, key=_family), key=_family)
    index = " · ".join(f"[{row.name}](#{row.name})" for row in CATALOGUE) + "\n"
    bodies = (f"## {title}\n\n" + "\n".join(map(_entry, rows)) for (_, title), rows in families)
    parts = [HEAD, index, *bodies, _operations()]
    pictures = {f"catalogue/{row.name}.svg": picture(row.examples[0]) for row in CATALOGUE}
    return {"catalogue.md": "\n".join(parts)} | pictures


def picture(text: str) -> str:
    """A small drawing of a schedule over the run, from 0 to its peak, as SVG."""
    values = np.asarray(parse(text).resolve(RUN, lr=LR)(np.arange(RUN.steps or 0)))
    kept = thinned(values)
    across = EDGE + (WIDTH - 2 * EDGE) * kept / (len(values) - 1)
    down = HEIGHT - EDGE - (HEIGHT - 2 * EDGE) * values[kept] / max(values.max(), 1e-300)
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, down, strict=True))
    bottom, right = HEIGHT - EDGE, WIDTH - EDGE
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH:g}" height="{HEIGHT:g}" role="img">'
        f"<title>{text.replace('<', '&lt;')}</title>"
        f'<path d="M{EDGE:g} {EDGE:g}V{bottom:g}H{right:g}" fill="none" stroke="{FRAME}"/>'
        f'<polyline points="{points}" fill="none" stroke="{INK}" stroke-width="1.8" stroke-linejoin="round"/></svg>\n'
    )


def sections(function: object) -> dict[str, str]:
    """The sections of a docstring: "" is what comes before the first named one."""
    found: dict[str, list[str]] = {"": []}
    name = ""
    for line in (inspect.getdoc(function) or "").splitlines():
        title = re.fullmatch(r"(Args|Raises|Returns|Example):|Source: (.*)", line)
        if title is None:
            found[name].append(line)
            continue
        name = title[1] or "Source"
        found[name] = [title[2]] if title[2] else []
    return {name: inspect.cleandoc("\n".join(lines)) for name, lines in found.items()}


def _family(row: Row) -> tuple[int, str]:
    """The place of the module that a shape is in, and its first line up to the colon."""
    module = inspect.getmodule(row.make)
    line = (inspect.getdoc(module) or "").splitlines()[0]
    place = next((i for i, name in enumerate(ORDER) if str(row.make.__module__).endswith(f".{name}")), len(ORDER))
    return place, line.split(":")[0].rstrip(".").split(", each")[0].split(", in a form")[0]


def _entry(row: Row) -> str:
    doc = sections(row.make)
    formula, *rest = doc[""].split("\n\n")
    lines = [
        f"### {row.name}",
        "",
        f"![{row.name}](catalogue/{row.name}.svg)",
        "",
        f"`{row.examples[0]}`",
        "",
        formula.replace("\n", " "),
        *(f"\n{paragraph}" for paragraph in rest),
        "",
        *_parameters(row, doc.get("Args", "")),
        "",
        f"Source: {doc['Source']}",
        "",
    ]
    return "\n".join(lines)


def _parameters(row: Row, described: str) -> Iterator[str]:
    defaults = {name: p.default for name, p in inspect.signature(row.make).parameters.items()}
    for item in re.split(r"\n(?=\w+: )", described):
        name, _, words = item.partition(": ")
        if name not in defaults:
            raise LehrError(f"{row.name} describes {name!r}, which is none of its parameters {list(defaults)}")
        default = "" if defaults[name] is inspect.Parameter.empty else f" = {defaults[name]!r}"
        yield f"- `{name}{default}`: {' '.join(words.split())}"


def _operations() -> str:
    """What can be done with any schedule."""
    lines = ["## Operations on any schedule", "", "| operation | what it does |", "|---|---|"]
    for name in METHODS[Schedule]:
        method = getattr(Schedule, name)
        signature = str(inspect.signature(method)).replace("(self, ", "(").replace("(self)", "()").split(" ->")[0]
        signature = re.sub(r": [^,=)]+(?= =|,|\))", "", signature).replace(" = ", "=")
        lines.append(f"| `a.{name}{signature}` | {sections(method)[''].splitlines()[0]} |")
    return "\n".join(lines) + "\n"


def main(folder: str) -> None:
    """Write the page and its pictures."""
    for name, content in pages().items():
        path = Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
