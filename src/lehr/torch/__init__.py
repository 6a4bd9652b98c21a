"""Lehr in PyTorch: `from lehr.torch import Scheduler`."""

from lehr.torch.scheduler import Scheduler

__all__ = ["Scheduler"]
