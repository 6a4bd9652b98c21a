"""A finding: what looks wrong, why, and what to write instead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["SEVERITIES", "Finding", "Severity"]

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")  # the worst first


@dataclass(frozen=True)
class Finding:
    """One thing that a check found.

    Attributes:
        code: short and stable, such as "LR101"; `docs/checks.md` lists all.
        severity: "error" (the run cannot do what the policy says), "warning" (very likely not meant) or "note".
        reason: one sentence, with the numbers.
        remedy: what to write or do instead.

    Example:
        >>> import lehr
        >>> [finding.code for finding in lehr.check("warmup(200).then(linear())", steps=100)]
        ['LR104']
    """

    code: str
    severity: Severity
    reason: str
    remedy: str

    def __str__(self) -> str:
        """One line for people."""
        return f"{self.severity} {self.code}: {self.reason}; {self.remedy}"
