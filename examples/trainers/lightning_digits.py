"""Lightning: a policy as the `lr_scheduler`, a callback that lets its rules hear of the fit.

Run it: python examples/trainers/lightning_digits.py
"""

import logging
import warnings

import lightning as L
import torch
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset, random_split

from lehr.lightning import Feedback, scheduled

# After a warm-up the LR is held until validation stands still; then it comes down to zero, and the fit ends.
POLICY = """Policy(warmup('2%').then(hold()), rules=[
    when(metric('val_loss', best='min').plateaus(patience=3)).begin(linear('20%', to=0)),
])"""


class Digits(L.LightningModule):
    """A small net on handwritten digits."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        """The loss of a micro-batch."""
        return torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
        """What the rules wait for."""
        logits = self.net(batch[0])
        self.log("val/loss", torch.nn.functional.cross_entropy(logits, batch[1]))
        self.log("val/accuracy", (logits.argmax(dim=1) == batch[1]).float().mean())

    def configure_optimizers(self) -> dict[str, object]:
        """The optimiser under its policy."""
        optimizer = torch.optim.AdamW(self.parameters(), lr=1e-2)
        return scheduled(optimizer, POLICY, self.trainer)


def main() -> None:
    L.seed_everything(0, verbose=False)
    digits = load_digits()
    data = TensorDataset(torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target))
    train, held_out = random_split(data, [1400, len(data) - 1400])
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    how = {"max_epochs": 30, "accumulate_grad_batches": 2, "val_check_interval": 0.5}
    trainer = L.Trainer(**how, **quiet, accelerator="cpu", callbacks=[Feedback()])
    trainer.fit(Digits(), DataLoader(train, batch_size=64, shuffle=True), DataLoader(held_out, batch_size=500))

    scheduler = trainer.lr_scheduler_configs[0].scheduler
    print(f"{scheduler.t} updates of {scheduler.horizon.steps} planned, LR at the end {scheduler.lr:.3g}")
    print(f"accuracy {trainer.callback_metrics['val/accuracy']:.3f}")
    for event in scheduler.events:
        print(event)


if __name__ == "__main__":
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*does not have many workers")
    main()
