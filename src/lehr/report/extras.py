"""What to install when a drawing library is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lehr.errors import LehrError

__all__ = ["needs"]


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Around an import: a missing module becomes an error that says what to type.

    Args:
        extra: of Lehr, which installs the module.

    Raises:
        LehrError: The import failed because something is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as missing:
        raise LehrError(f"this needs {missing.name}, which is not installed; pip install 'lehr[{extra}]'") from missing
