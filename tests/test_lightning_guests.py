"""Lightning: its own callbacks and its tuner, which change optimisers and schedulers, beside a policy."""

from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_task import NOISE, Batches, fit, loss_of, module, network, scheduler_of, under

pytestmark = [pytest.mark.peers, *(pytest.mark.filterwarnings(noise) for noise in NOISE)]

TRAIN = Batches(10)


def feedback() -> Any:
    from lehr.lightning import Feedback

    return Feedback()


@pytest.mark.filterwarnings("ignore:SWA is currently only supported every epoch")
@pytest.mark.parametrize("first", [True, False])
def test_stochastic_weight_averaging_has_the_lr_from_where_it_begins(first: bool) -> None:
    from lightning.pytorch.callbacks import StochasticWeightAveraging

    averaging = StochasticWeightAveraging(swa_lrs=0.02, swa_epoch_start=3, annealing_epochs=1)
    callbacks = [feedback(), averaging] if first else [averaging, feedback()]
    task = module(under("cosine()"))
    fit(task, TRAIN, max_epochs=6, callbacks=callbacks)
    half_way = 0.1 * 0.75  # of the cosine, after 20 of 60 updates
    assert task.lrs[20:] == pytest.approx([half_way] * 10 + [0.02] * 30)


def test_groups_that_finetuning_adds_in_mid_run_go_on_at_a_resume(tmp_path: Path) -> None:
    from lightning.pytorch.callbacks import BaseFinetuning, ModelCheckpoint

    class Unfreeze(BaseFinetuning):  # type: ignore[misc]
        def freeze_before_training(self, pl_module: Any) -> None:
            self.freeze(pl_module.backbone)

        def finetune_function(self, pl_module: Any, epoch: int, optimizer: Any) -> None:
            if epoch == 1:
                self.unfreeze_and_add_param_group(pl_module.backbone, optimizer, lr=0.05)

    def run(path: Path | None = None) -> list[list[float]]:
        def configure_optimizers(self: Any) -> Any:
            from lehr.lightning import scheduled

            head = torch.optim.SGD(self.net.parameters(), lr=0.1)
            return scheduled(head, "cosine()", self.trainer)

        seen: list[list[float]] = []

        def training_step(self: Any, batch: Any, batch_idx: int) -> torch.Tensor:
            seen.append([group["lr"] for group in self.optimizers().param_groups])
            return loss_of(self.net, (self.backbone(batch[0]), batch[1]))

        task = module(under(""), configure_optimizers=configure_optimizers, training_step=training_step)
        task.backbone = torch.nn.Linear(4, 4)
        keeping = ModelCheckpoint(tmp_path / str(path is None), filename="{epoch}", save_top_k=-1)
        callbacks = [feedback(), Unfreeze(), keeping]
        fit(task, Batches(10), None, path, max_epochs=4, enable_checkpointing=True, callbacks=callbacks)
        return seen

    whole = run()
    assert {len(lrs) for lrs in whole[11:]} == {2}
    assert run(tmp_path / "True" / "epoch=1.ckpt") == whole[20:]


@pytest.mark.filterwarnings("ignore:The `srun` command", "ignore:.*`weights_only` was not set")
def test_lightnings_tuner_works_beside_a_policy_and_is_not_warned(tmp_path: Path) -> None:
    import lightning.pytorch as pl
    from lightning.pytorch.tuner import Tuner

    from lehr.lightning import scheduled
    from lightning_task import QUIET

    class Task(pl.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.net, self.lr, self.batch_size = network(), 0.1, 2

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            return loss_of(self.net, batch)

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=self.lr)
            policy = "Policy(cosine(), rules=[when(loss.reaches(0)).scale(0.5)])"
            return scheduled(optimizer, policy, self.trainer)

        def train_dataloader(self) -> Any:
            data = torch.utils.data.TensorDataset(torch.ones(64, 4), torch.ones(64, 1))
            return torch.utils.data.DataLoader(data, self.batch_size)

    task = Task()
    how = {"max_epochs": 2, "callbacks": [feedback()], "enable_checkpointing": True, "default_root_dir": tmp_path}
    trainer = pl.Trainer(**{**QUIET, **how})
    Tuner(trainer).lr_find(task, num_training=20)
    Tuner(trainer).scale_batch_size(task, max_trials=2, init_val=2)
    trainer.fit(task)
    run = scheduler_of(trainer)
    assert run.t == run.horizon.steps == 2 * 64 // task.batch_size
    assert run.base_lrs == [task.lr] != [0.1]
