"""torch's arguments as attributes that may be set in mid-run, and one number for each group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from lehr.errors import LehrError
from lehr.spelling import shown

if TYPE_CHECKING:
    from lehr.torch.dropin.base import Dropin

__all__ = ["Given", "per_group"]

T = TypeVar("T")


class Given(Generic[T]):
    """An argument of torch's. Set in mid-run it changes the plan: from the next update on, the new curve."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, scheduler: None, owner: type) -> Given[T]: ...
    @overload
    def __get__(self, scheduler: Dropin, owner: type) -> T: ...
    def __get__(self, scheduler: Dropin | None, owner: type) -> Given[T] | T:
        if scheduler is None:
            return self
        value: T = scheduler.__dict__[self.name]
        return value

    def __set__(self, scheduler: Dropin, value: T) -> None:
        before = scheduler.__dict__.get(self.name)
        scheduler.__dict__[self.name] = value
        if not scheduler.built:
            return
        try:
            scheduler.redraw()
        except LehrError:
            scheduler.__dict__[self.name] = before
            raise


def per_group(value: Any, what: str, groups: int) -> tuple[float, ...]:
    """One number for each group from a number or a list of them.

    Raises:
        LehrError: a list of another length, or something that is no number.
    """
    items = list(value) if isinstance(value, list | tuple) else [value] * groups
    if len(items) != groups:
        raise LehrError(f"{what} must be one number or {groups}, one for each group, got {shown(value)}")
    try:
        return tuple(float(item) for item in items)
    except (TypeError, ValueError):
        raise LehrError(f"{what} must be a number or a list of numbers, got {shown(value)}") from None
