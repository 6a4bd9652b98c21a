"""A row of the catalogue: a code, how bad it is, what it means, and the function that looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from lehr.checks.finding import Finding, Severity

__all__ = ["Check", "Found"]

T = TypeVar("T")


class Found(NamedTuple):
    """What a check function yields: the reason, and a remedy if it knows a better one than its row."""

    reason: str
    remedy: str = ""


@dataclass(frozen=True)
class Check(Generic[T]):
    """One check."""

    code: str
    severity: Severity
    title: str  # what it finds, as the table in docs/checks.md says it
    remedy: str  # what to do in general
    look: Callable[[T], Iterator[Found]]

    def findings(self, subject: T) -> list[Finding]:
        """What it finds in a subject."""
        return [
            Finding(self.code, self.severity, found.reason, found.remedy or self.remedy) for found in self.look(subject)
        ]
