"""The exception and the warning that Lehr raises: one root each, so that one `except` catches everything."""

from __future__ import annotations

__all__ = ["LehrError", "LehrWarning"]


class LehrError(ValueError):
    """Something given to Lehr cannot be right. The text says what must hold, what was given and what to do."""


class LehrWarning(UserWarning):
    """Something looks wrong but cannot harm the run; said once."""
