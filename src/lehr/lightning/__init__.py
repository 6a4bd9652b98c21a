"""Lehr in Lightning: a policy as its `lr_scheduler`, and one callback that makes every step.

    def configure_optimizers(self):
        return scheduled(torch.optim.AdamW(self.parameters(), lr=3e-4), "warmup('2%').then(cosine())", self.trainer)

    trainer = L.Trainer(callbacks=[Feedback()])

It serves both names of the package, `lightning.pytorch` and `pytorch_lightning`.
"""

from lehr.lightning.feedback import Feedback
from lehr.lightning.scheduled import horizon, scheduled

__all__ = ["Feedback", "horizon", "scheduled"]
