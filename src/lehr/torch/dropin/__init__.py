"""torch's schedulers with torch's names and signatures: change one import, and the rest of the program stays.

    from lehr.torch.dropin import CosineAnnealingLR, LinearLR, SequentialLR  # instead of torch.optim.lr_scheduler

The LR, and the momentum of the cycles, is torch's after every step wherever torch is right. It is not torch's here:

- Past its end a schedule holds its value; torch's cosine and one cycle turn back, or raise.
- Composites nest, a plateau can follow a warm-up, and every phase begins at the optimiser's own LR.
- A state restores the run in any order relative to the optimiser; changed arguments are an error, not lost.
- A plateau's margin means something for negative metrics, and a metric that is not finite is no report.
- Wrong arguments are refused when the scheduler is built, and so is a class that overrides `get_lr`: it would never be
  called.
- An LR changed by hand stays a factor of what follows. torch's closed forms (`LambdaLR`, the warm restarts, the cycles)
  forget it at their next step.
- Of two schedulers on one optimiser the factors multiply in that way too, where torch's closed forms write over the
  other; a new `LambdaLR` takes the place of one that is still there. A restore brings back what the optimiser held.
- `step(epoch)` takes whole numbers only; count updates instead of parts of an epoch.
- A state holds no `__dict__` of a function that is an object. `last_epoch` may be set; `base_lrs` may not.
- The parts of a composite do not count: their `last_epoch` stays as it was when they were joined.

Each is a Lehr `Scheduler` too: `scheduler.policy` is its policy, `why()` says why the LR is what it is.
"""

from torch.optim.lr_scheduler import LRScheduler

from lehr.torch.dropin.composite import ChainedScheduler, SequentialLR
from lehr.torch.dropin.cosine import SWALR, CosineAnnealingLR, CosineAnnealingWarmRestarts
from lehr.torch.dropin.cycles import CyclicLR, OneCycleLR
from lehr.torch.dropin.decay import ConstantLR, ExponentialLR, LinearLR, MultiStepLR, PolynomialLR, StepLR
from lehr.torch.dropin.functions import LambdaLR, MultiplicativeLR
from lehr.torch.dropin.plateau import ReduceLROnPlateau

_LRScheduler = LRScheduler  # torch's old name

__all__ = [
    "SWALR",
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]
