"""What to install when a library is missing that only a part of Lehr needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lehr.errors import LehrError

__all__ = ["MissingExtra", "needs"]


class MissingExtra(LehrError, ImportError):
    """A library is missing; the text says what to install. `except ImportError` catches it too."""


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Around an import: a missing module becomes an error that says what to type.

    Args:
        extra: of Lehr, which installs the module.

    Raises:
        MissingExtra: The import failed because something is not installed.
    """
    try:
        yield
    except MissingExtra:
        raise
    except ModuleNotFoundError as missing:
        raise MissingExtra(
            f"this needs {missing.name}, which is not installed; pip install 'lehr[{extra}]'"
        ) from missing
