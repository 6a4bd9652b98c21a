"""What Lightning gets wrong by itself, shown by its own means, and what Lehr does instead."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler as schedulers

from lehr.lengths import Horizon
from lightning_task import NOISE, Batches, fit, half_precision, loss_of, module, scheduler_of, under

pytestmark = [pytest.mark.peers, *(pytest.mark.filterwarnings(noise) for noise in NOISE)]

TRAIN, VAL = Batches(10), Batches(1, seed=1)


def feedback() -> Any:
    from lehr.lightning import Feedback

    return Feedback()


def plateau(**config: Any) -> Any:
    """As Lightning's documentation configures `ReduceLROnPlateau`."""

    def configure(task: Any, optimizer: Any) -> Any:
        scheduler = schedulers.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "val/loss", **config}}

    return configure


PLATEAU = "when(metric('val_loss', best='min').plateaus(patience=1)).scale(0.5)"


def better_each_time(self: Any, batch: Any, batch_idx: int) -> None:
    self.log("val/loss", torch.tensor(1.0 / (1 + self.current_epoch)))


def test_a_plateau_per_step_cuts_the_lr_although_every_validation_improves() -> None:
    # at the first steps there is no metric at all, so it cannot be strict
    theirs = module(plateau(interval="step", strict=False), validation_step=better_each_time)
    with pytest.warns(RuntimeWarning, match="which is not available but strict is set to `False`"):
        fit(theirs, TRAIN, VAL, max_epochs=3)
    assert theirs.lrs[-1] < 0.01  # ten steps after each validation heard it again and again
    ours = module(under(PLATEAU), validation_step=better_each_time)
    fit(ours, TRAIN, VAL, max_epochs=3, callbacks=[feedback()])
    assert ours.lrs == [0.1] * 30


def test_a_plateau_per_epoch_cuts_the_lr_if_validation_comes_every_third_epoch() -> None:
    how = {"max_epochs": 9, "check_val_every_n_epoch": 3}
    theirs = module(plateau(strict=False), validation_step=better_each_time)
    with pytest.warns(RuntimeWarning, match="which is not available but strict is set to `False`"):
        fit(theirs, TRAIN, VAL, **how)
    assert theirs.lrs[-1] < 0.1
    ours = module(under(PLATEAU), validation_step=better_each_time)
    fit(ours, TRAIN, VAL, callbacks=[feedback()], **how)
    assert ours.lrs == [0.1] * 90


def test_updates_that_amp_skips_advance_a_scheduler_of_torch_under_lightning() -> None:
    def configure(task: Any, optimizer: Any) -> Any:
        scheduler = schedulers.LinearLR(optimizer, 1.0, 0.0, total_iters=task.trainer.estimated_stepping_batches)
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]

    broken = [1, 2, 5]
    theirs = module(configure)
    fit(theirs, Batches(10, broken=broken), max_epochs=1, plugins=[half_precision()])
    assert len(theirs.lrs) == 7
    assert theirs.lrs == pytest.approx([0.1 * (1 - t / 10) for t in range(10) if t not in broken])
    ours = module(under("linear()"))
    fit(ours, Batches(10, broken=broken), max_epochs=1, plugins=[half_precision()], callbacks=[feedback()])
    assert ours.lrs == pytest.approx([0.1 * (1 - t / 10) for t in range(7)])


def test_a_frequency_counts_batches_and_not_updates_while_gradients_accumulate() -> None:
    def configure(task: Any, optimizer: Any) -> Any:
        scheduler = schedulers.ExponentialLR(optimizer, 0.5)
        return [optimizer], [{"scheduler": scheduler, "interval": "step", "frequency": 2}]

    how = {"max_epochs": 1, "accumulate_grad_batches": 2}
    theirs = module(configure)
    fit(theirs, TRAIN, **how)
    assert theirs.lrs == [0.1 * 0.5**t for t in range(5)]  # meant: at every second update
    ours = module(under("exponential(0.5, per=2).staircase(2)"))
    fit(ours, TRAIN, callbacks=[feedback()], **how)
    assert ours.lrs == [0.1 * 0.5 ** (t // 2) for t in range(5)]


def test_a_schedule_over_all_updates_hardly_begins_at_lightnings_default_interval() -> None:
    def configure(task: Any, optimizer: Any) -> Any:
        steps = task.trainer.estimated_stepping_batches
        return [optimizer], [schedulers.CosineAnnealingLR(optimizer, steps)]

    theirs = module(configure)
    fit(theirs, TRAIN, max_epochs=3)
    assert min(theirs.lrs) > 0.098
    ours = module(under("cosine()"))
    fit(ours, TRAIN, max_epochs=3, callbacks=[feedback()])
    assert min(ours.lrs) < 0.001


def keeping(folder: Path) -> Any:
    from lightning.pytorch.callbacks import ModelCheckpoint

    return ModelCheckpoint(folder, filename="last", every_n_train_steps=25, enable_version_counter=False)


def interrupted(configure: Any, folder: Path, callbacks: list[Any], train: Any = TRAIN) -> Path:
    """A checkpoint after 25 of 30 updates, in mid-epoch."""

    def training_step(self: Any, batch: Any, batch_idx: int) -> torch.Tensor:
        if self.global_step == 26:
            raise InterruptedError
        return loss_of(self.net, batch)

    task = module(configure, training_step=training_step)
    with pytest.raises(InterruptedError):
        fit(task, train, max_epochs=3, enable_checkpointing=True, callbacks=[*callbacks, keeping(folder)])
    return folder / "last.ckpt"


def test_a_resume_with_more_epochs_keeps_the_old_length_and_climbs_again(tmp_path: Path) -> None:
    def configure(task: Any, optimizer: Any) -> Any:
        steps = task.trainer.estimated_stepping_batches
        return [optimizer], [{"scheduler": schedulers.CosineAnnealingLR(optimizer, steps), "interval": "step"}]

    how = {"max_epochs": 6, "enable_checkpointing": True}
    theirs = module(configure)
    path = interrupted(configure, tmp_path / "theirs", [])
    trainer = fit(theirs, Batches(10), None, path, callbacks=[keeping(tmp_path / "theirs2")], **how)
    assert scheduler_of(trainer).T_max == 30  # not 60
    assert min(theirs.lrs) == theirs.lrs[5] == pytest.approx(0, abs=1e-12)
    assert max(theirs.lrs[6:]) > 0.099  # back at the peak, at the end of training
    path = interrupted(under("cosine()"), tmp_path / "ours", [feedback()])
    ours = module(under("cosine()"))
    fit(ours, Batches(10), None, path, callbacks=[feedback(), keeping(tmp_path / "ours2")], **how)
    assert ours.lrs == sorted(ours.lrs, reverse=True)
    assert ours.lrs[0] == pytest.approx(theirs.lrs[0], rel=1e-12)
    assert (len(ours.lrs), len(theirs.lrs)) == (35, 35)


def test_a_resume_forgets_where_the_loader_stood_if_the_schedule_asked_how_long_the_run_is(tmp_path: Path) -> None:
    def configure(task: Any, optimizer: Any) -> Any:
        task.trainer.estimated_stepping_batches  # as Lightning's own documentation does for OneCycleLR
        return optimizer

    def batches_after_a_resume(configure: Any, name: str, callbacks: list[Any]) -> list[int]:
        path = interrupted(configure, tmp_path / name, callbacks, Batches(10))
        train = Batches(10)
        rows = [batch[0] for batch in train.batches]
        seen: list[int] = []

        def training_step(self: Any, batch: Any, batch_idx: int) -> torch.Tensor:
            seen.append(next(i for i, row in enumerate(rows) if torch.equal(row, batch[0])))
            return loss_of(self.net, batch)

        task = module(configure, training_step=training_step)
        callbacks = [*callbacks, keeping(tmp_path / f"{name}2")]
        fit(task, train, None, path, max_epochs=3, enable_checkpointing=True, callbacks=callbacks)
        return seen

    assert batches_after_a_resume(configure, "theirs", []) == [0, 1, 2, 3, 4]
    assert batches_after_a_resume(under("cosine()"), "ours", [feedback()]) == [5, 6, 7, 8, 9]


def test_a_scheduled_accumulation_is_left_out_of_the_length_of_the_run() -> None:
    from lightning.pytorch.callbacks import GradientAccumulationScheduler

    from lehr.lightning import horizon

    found: list[Any] = []

    def configure(task: Any, optimizer: Any) -> Any:
        found.extend((task.trainer.estimated_stepping_batches, horizon(task.trainer)))
        return optimizer

    trainer = fit(module(configure), TRAIN, max_epochs=3, callbacks=[GradientAccumulationScheduler({1: 4})])
    assert found == [30, Horizon(16)]  # 10 + 3 + 3
    assert trainer.global_step == 16


def test_a_constant_scheduled_accumulation_is_counted_too() -> None:
    from lightning.pytorch.callbacks import GradientAccumulationScheduler

    from lehr.lightning import horizon

    found: list[Any] = []

    def configure(task: Any, optimizer: Any) -> Any:
        found.append(horizon(task.trainer))
        return optimizer

    trainer = fit(module(configure), TRAIN, max_epochs=3, callbacks=[GradientAccumulationScheduler({0: 4})])
    assert found == [Horizon(9, 3, 32)]
    assert trainer.global_step == 9
