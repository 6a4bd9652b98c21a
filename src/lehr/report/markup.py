"""HTML by functions: whatever is not already markup is escaped, so no text of a study can become part of the page."""

from __future__ import annotations

import html
from collections.abc import Iterable

__all__ = ["Markup", "joined", "tag"]

VOID = frozenset({"br", "input"})


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(name: str, /, *content: object, **attributes: object) -> Markup:
    """An element.

    Args:
        name: of the element.
        content: what is inside, in order; texts and numbers are escaped, None is left out, lists are spliced in.
        attributes: `class_` and `for_` lose their underscore, others turn `_` into `-`; True stands alone, False and
            None are left out.
    """
    start = name + "".join(_attribute(key, value) for key, value in attributes.items())
    return Markup(f"<{start}>") if name in VOID else Markup(f"<{start}>{joined(content)}</{name}>")


def joined(content: Iterable[object]) -> Markup:
    """Pieces of content one after the other, each escaped unless it is markup."""
    return Markup("".join(_piece(item) for item in content))


def _piece(item: object) -> str:
    if item is None:
        return ""
    if isinstance(item, Markup):
        return item
    if isinstance(item, list | tuple):
        return joined(item)
    return html.escape(str(item))


def _attribute(key: str, value: object) -> str:
    if value is None or value is False:
        return ""
    name = key.removesuffix("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{html.escape(str(value))}"'
