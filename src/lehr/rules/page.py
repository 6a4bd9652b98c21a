"""The page `docs/rules.md`, made from the catalogue: `python -m lehr.rules.page > docs/rules.md`."""

from __future__ import annotations

from lehr.rules.catalogue import CATALOGUE

__all__ = ["page"]

HEAD = """# Rules

A rule is one trigger with one action and any modifiers: `when(trigger).action().modifier()`. Triggers join with `&`
and `|`, and `~` turns one round. Recipes make whole rules. Everything here prints, reads back (`lehr.parse`) and is
saved as its text; `help(lehr.Signal.improves_less_than)` and the like tell the arguments. What the triggers are worth
on noisy curves stands in [feedback.md](feedback.md).

This page is made from the catalogue: `python -m lehr.rules.page > docs/rules.md`.
"""
TITLES = {"trigger": "Triggers", "action": "Actions", "modifier": "Modifiers", "recipe": "Recipes"}


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for kind, title in TITLES.items():
        rows = [
            f"| `{_cell(row.name)}` | {row.family} | {_cell(row.what)} | `{_cell(row.example)}` |"
            for row in CATALOGUE
            if row.kind == kind
        ]
        table = ["| name | reads | what it says or does | for example |", "|---|---|---|---|", *rows, ""]
        parts.append(f"## {title}\n\n" + "\n".join(table))
    return "\n".join(parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print(page(), end="")
