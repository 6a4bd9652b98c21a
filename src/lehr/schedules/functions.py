"""Functions of the user: known by name once registered, so that a schedule that uses one can be saved and read."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lehr.errors import LehrError
from lehr.spelling import Value, shown

__all__ = ["Function", "FunctionLike", "as_function", "register", "registered"]

FunctionLike = Callable[[Any], Any] | str

_registered: dict[str, Callable[[Any], Any]] = {}


@dataclass(frozen=True, repr=False)
class Function(Value):
    """A function of one number, and the name that it is registered under (empty if it is not)."""

    name: str = field(compare=False)
    call: Callable[[Any], Any] = field(hash=False)

    def text(self, full: bool = False) -> str:
        """The name in quotes."""
        name = self.name or _name_of(self.call)
        if not name and full:
            raise LehrError(
                f"{_title(self.call)} is not registered, so what uses it cannot be saved; "
                'say lehr.register("a name", function) before, at every start of the program'
            )
        return repr(name) if name else f"<{_title(self.call)}>"


def register(name: str, function: Callable[[Any], Any], *, replace: bool = False) -> Callable[[Any], Any]:
    """Give a function a name, so that schedules that use it can be printed, saved and read back.

    Args:
        name: how texts call it: a letter, then letters, digits, "_", "-" and ".".
        function: of one number; see `of_step`, `of_position` and `of_previous`.
        replace: whether another function may have had this name before, as when a notebook's cell runs again.

    Returns:
        The function itself.

    Raises:
        LehrError: not a name, not callable, or the name is taken by another function.

    Example:
        >>> import lehr
        >>> halving = lehr.register("halving", lambda t: 0.5**t)
        >>> lehr.of_step(halving)
        of_step('halving')
        >>> lehr.parse("of_step('halving')").resolve()(3)
        0.125
    """
    plain = isinstance(name, str) and name[:1].isalpha() and all(c.isalnum() or c in "_-." for c in name)
    if not plain or len(name) > 80:
        raise LehrError(f'register(name) must be a short name such as "my_decay", got {shown(name)}')
    if not callable(function):
        raise LehrError(f"register({name!r}, function) must be given a function, got {shown(function)}")
    if not replace and _registered.get(name, function) is not function:
        raise LehrError(
            f"{name!r} is registered as {_title(_registered[name])}; take another name, "
            f"or say register({name!r}, function, replace=True)"
        )
    _registered[name] = function
    return function


def registered(name: str) -> bool:
    """Whether a function has this name."""
    return name in _registered


def as_function(value: FunctionLike | Function, what: str) -> Function:
    """A function, or the name of one.

    Raises:
        LehrError: neither, or nothing is registered under the name.
    """
    if isinstance(value, Function):
        return value
    if isinstance(value, str):
        if value not in _registered:
            near = difflib.get_close_matches(value, _registered, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"say lehr.register({shown(value)}, function) before"
            raise LehrError(f"{what}: no function is registered as {shown(value)}; {hint}")
        return Function(value, _registered[value])
    if not callable(value):
        raise LehrError(f"{what} must be a function or the name of a registered one, got {shown(value)}")
    return Function(_name_of(value), value)


def _name_of(function: Callable[[Any], Any]) -> str:
    return next((name for name, known in _registered.items() if known is function), "")


def _title(function: Callable[[Any], Any]) -> str:
    return f"function {getattr(function, '__qualname__', type(function).__name__)}"
