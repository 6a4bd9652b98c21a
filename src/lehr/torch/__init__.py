"""Lehr in PyTorch: `from lehr.torch import Scheduler`."""

from lehr.extras import needs

with needs("torch"):
    from lehr.torch.scheduler import Scheduler
    from lehr.torch.signals import Distance, Hypergradient, grad_norm
    from lehr.torch.snapshot import Snapshots

__all__ = ["Distance", "Hypergradient", "Scheduler", "Snapshots", "grad_norm"]
