"""How a value prints: as the Python call of public names that makes it.

Every schedule, signal, trigger, rule and policy is a `Value`: immutable, equal by content, and its `repr` is its one
serial form (`lehr.parse` reads it back). Defaults are left out unless `full=True` asks for all of them.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["Pairs", "Value", "brief", "call", "shown", "spell"]


class Value(ABC):
    """An immutable value whose text is a Python expression of public names."""

    __slots__ = ()

    @abstractmethod
    def text(self, full: bool = False) -> str:
        """The expression that makes this value; `full=True` spells out every default."""

    def __repr__(self) -> str:
        return self.text()

    def __copy__(self) -> Value:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Value:
        return self


class Pairs(tuple[tuple[Any, Any], ...]):
    """A dict as a hashable value: pairs in their order; prints as the dict."""

    __slots__ = ()


def spell(value: Any, full: bool = False) -> str:
    """Print one argument: numbers without a needless `.0`, containers and values by their own text."""
    if isinstance(value, Value):
        return value.text(full)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, Pairs):
        return "{" + ", ".join(f"{spell(key, full)}: {spell(item, full)}" for key, item in value) + "}"
    if isinstance(value, tuple):
        return "[" + ", ".join(spell(item, full) for item in value) + "]"
    return repr(value)


def call(function: Callable[..., Any], arguments: Mapping[str, Any], full: bool = False, name: str = "") -> str:
    """Print the call of `function` with `arguments`: in the signature's order, defaults left out unless `full`.

    The first argument and those without a default print without their names, as people write them.
    """
    signature = inspect.signature(function).parameters
    parameters = [signature[key] for key in signature if key in arguments]
    printed: list[str] = []
    for parameter in parameters:
        text = spell(arguments[parameter.name], full)
        optional = parameter.default is not parameter.empty
        if optional and not full and text == spell(parameter.default):
            continue
        bare = parameter.kind is not parameter.KEYWORD_ONLY and (parameter is parameters[0] or not optional)
        printed.append(text if bare else f"{parameter.name}={text}")
    return f"{name or function.__name__}({', '.join(printed)})"


def shown(value: Any, longest: int = 80) -> str:
    """How an error message shows what was given: its `repr`, cut to a readable length."""
    if isinstance(value, str):
        return repr(value if len(value) <= longest else f"{value[: longest - 3]}...")
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # too deep; or an integer of more digits than Python prints
        return f"<{type(value).__name__} too large to print>"
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def brief(error: BaseException, longest: int = 200) -> str:
    """The first line of another error's message, cut to a readable length; its type if it has none."""
    line = next(iter(str(error).splitlines()), type(error).__name__)
    return line if len(line) <= longest else f"{line[: longest - 3]}..."
