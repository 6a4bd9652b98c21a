"""A row: what one finished training run of a study came to.

`rows.jsonl` holds one row a line. A row says nothing about time, host or process, so a study that was killed and
continued has the same rows, byte for byte, as one that was left alone.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["tune", "rank"]
Status = Literal["ok", "diverged", "failed"]


@dataclass(frozen=True)
class Row:
    """One finished cell. Numbers that do not exist, or are not finite, are None (null in JSON)."""

    key: str  # of the cell (`Cell.key`); also the name of its trace
    workload: str
    policy: str  # label
    text: str  # the policy, parseable
    peak: float  # multiplier of the workload's own LR
    lr: float | None  # base LR of the first parameter group, peak included
    seed: int
    role: Role  # "tune": chooses the peak, on validation; "rank": is reported, on test
    status: Status
    steps: int  # updates applied
    metric: str
    best: Literal["min", "max"]
    test_loss: float | None = None
    test_metric: float | None = None
    validation_loss: float | None = None  # after the last update
    validation_metric: float | None = None
    fired: dict[str, int] = field(default_factory=dict)  # rule text → how often; 0 for a rule that stayed silent
    steps_to: int | None = None  # updates until validation loss reached the control's final one, same seed
    trace: str = ""  # path inside the study's folder
    data_hash: str = ""
    python: str = ""
    torch: str = ""
    lehr: str = ""
    message: str | None = None  # of a failed cell

    def line(self) -> str:
        """The row as one line of JSON, without its newline."""
        return json.dumps({name: _plain(value) for name, value in dataclasses.asdict(self).items()}, allow_nan=False)

    @classmethod
    def from_line(cls, line: str) -> Row:
        """Read a line back.

        Raises:
            ValueError: The line is no JSON object with the fields of a row.
        """
        values: Any = json.loads(line)
        try:
            return cls(**values)
        except TypeError as error:
            raise ValueError(str(error)) from error


def _plain(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value
