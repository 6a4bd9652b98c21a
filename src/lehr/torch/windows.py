"""Reports that lie on a device: added there to a sum, and read by the host once a cadence.

Such a tensor is detached and added at once, never kept: under CUDA graphs the next replay overwrites it. A tensor on
the CPU goes the plain way, as a Python float.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from lehr.errors import LehrError
from lehr.gather import Sum, Tally

__all__ = ["OnDevice", "keep"]

HOST = "cpu"
IDENTITY = -0.0  # what leaves every number as it is when added, as in `Sum`


class OnDevice:
    """A sum of reports on a device, in float64 (float32 where it has none); the same bits as the host's sum."""

    def __init__(self, start: Sum, device: torch.device) -> None:
        self.device = device
        self._reports = start.finite + start.bad
        single = device.type == "mps"  # has no float64
        numbers = torch.tensor([start.total, start.bad, start.low, -start.high], dtype=torch.float64)
        numbers = numbers.to(torch.float32 if single else torch.float64).to(device)
        self._sums, self._range = numbers[:2], numbers[2:]

    def plus(self, value: torch.Tensor) -> OnDevice:
        """One report more; the host does not wait for it."""
        number = value.detach().reshape(()).to(self._sums.dtype)
        finite = torch.isfinite(number)
        # Not in place: a tensor that was made in inference mode cannot be changed outside of it.
        self._sums = self._sums + torch.stack((torch.where(finite, number, IDENTITY), ~finite))
        self._range = torch.minimum(self._range, torch.where(finite, torch.stack((number, -number)), math.inf))
        self._reports += 1
        return self

    def read(self) -> Sum:
        """The sum, on the host, which waits for the device."""
        total, bad, low, negative = torch.cat((self._sums, self._range)).tolist()
        return Sum(total, self._reports - int(bad), int(bad), low, -negative)


def keep(name: str, value: Any) -> Callable[[Tally], Tally] | None:
    """How to add a report where it lies; None for one that is to be read.

    Raises:
        LehrError: more than one element, or a tensor of which every rank has a part.
    """
    if not isinstance(value, torch.Tensor):
        return None
    placements = getattr(value, "placements", None)  # a DTensor, such as FSDP2's gradient norm
    if placements is not None:
        if not all(placement.is_replicate() for placement in placements):
            raise LehrError(f"{name} is spread over the ranks ({placements}); report its .full_tensor()")
        value = value.to_local()  # type: ignore[attr-defined]  # as a DTensor has it
    if value.device.type == HOST:
        return None
    if value.numel() != 1:
        raise LehrError(f"{name} must be one number, got {value.numel()}; report its .mean()")
    return lambda tally: _there(tally, value.device).plus(value)


def _there(tally: Tally, device: torch.device) -> OnDevice:
    """The sum on that device; one that lies elsewhere moves, with all its bits."""
    if isinstance(tally, OnDevice) and tally.device == device:
        return tally
    return OnDevice(tally.read(), device)
