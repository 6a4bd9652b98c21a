"""Lightning: a fit that goes on from a checkpoint."""

from pathlib import Path
from typing import Any

import pytest
import torch

import lehr
from lightning_task import NOISE, Batches, by_hand, fit, half_precision, loss_of, module, scheduler_of, started, under

pytestmark = [pytest.mark.peers, *(pytest.mark.filterwarnings(noise) for noise in NOISE)]

VAL = Batches(1, seed=1)
RULES = (
    "Policy(warmup(3).then(cosine(to=0.1)), rules=["
    "when(loss.reaches(1.0)).scale(0.5), "
    "when(metric('val_loss', best='min').plateaus(patience=1, margin=0.9)).scale(0.7)])"
)


class PowerCut(Exception):
    """What ends a fit at once."""


def feedback() -> Any:
    from lehr.lightning import Feedback

    return Feedback()


def keeping(folder: Path, **when: Any) -> Any:
    from lightning.pytorch.callbacks import ModelCheckpoint

    return ModelCheckpoint(folder, filename="last", save_top_k=1, enable_version_counter=False, **when)


def dying(after: int) -> Any:
    """A `training_step` that is cut off in the fit's batch number `after`."""
    seen: list[int] = []

    def training_step(self: Any, batch: Any, batch_idx: int) -> torch.Tensor:
        if len(seen) == after:
            raise PowerCut
        seen.append(batch_idx)
        return loss_of(self.net, batch)

    return training_step


@pytest.mark.parametrize(("after", "every"), [(19, 4), (13, 5), (31, 8)])
def test_a_fit_that_was_cut_off_in_mid_epoch_goes_on_with_the_same_lrs_to_the_last_bit(
    after: int, every: int, tmp_path: Path
) -> None:
    how = {"max_epochs": 5, "accumulate_grad_batches": 2, "val_check_interval": 4, "enable_checkpointing": True}
    train = Batches(9, broken=[2])  # five updates an epoch; the second of them overflows
    first = module(under(RULES), training_step=dying(after))
    callbacks = [feedback(), keeping(tmp_path, every_n_train_steps=every)]
    with pytest.raises(PowerCut):
        fit(first, train, VAL, callbacks=callbacks, plugins=[half_precision()], **how)
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)["lr_schedulers"][0]
    assert 0 < saved["step"] < len(first.lrs) + 1

    second, again = module(under(RULES)), Batches(9, broken=[2])
    callbacks = [feedback(), keeping(tmp_path / "again", every_n_train_steps=every)]
    trainer = fit(second, again, VAL, tmp_path / "last.ckpt", callbacks=callbacks, plugins=[half_precision()], **how)
    run = started(RULES, 25, steps_per_epoch=5)
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    assert first.lrs[: saved["step"]] + second.lrs == by_hand(
        run, train, VAL, epochs=5, accumulate=2, every=4, scaler=scaler
    )
    assert (scheduler_of(trainer).t, run.t) == (20, 20)
    assert len({event.rule for event in run.events}) == 2
    assert scheduler_of(trainer).lr == run.lr


def saved_after(updates: int, policy: str, folder: Path, **how: Any) -> Path:
    """A checkpoint of a fit over 30 updates that was cut off after some."""
    task = module(under(policy, **how), training_step=dying(updates + 1))
    callbacks = [feedback(), keeping(folder, every_n_train_steps=updates)]
    with pytest.raises(PowerCut):
        fit(task, Batches(10), VAL, max_epochs=3, callbacks=callbacks, enable_checkpointing=True)
    return folder / "last.ckpt"


def resumed(path: Path, policy: str, max_epochs: int = 6, updates: int = 15, **how: Any) -> tuple[Any, Any]:
    """The module and the trainer of a fit that goes on from there."""
    task = module(under(policy, **how))
    callbacks = [feedback(), keeping(path.parent / "again", every_n_train_steps=updates)]
    trainer = fit(
        task, Batches(10), VAL, path, max_epochs=max_epochs, callbacks=callbacks, enable_checkpointing=True
    )  # fmt: skip
    return task, trainer


def test_more_epochs_at_a_resume_do_not_make_the_lr_jump_and_the_journal_tells(tmp_path: Path) -> None:
    task, trainer = resumed(saved_after(15, "cosine()", tmp_path), "cosine()")
    old, new = lehr.cosine().resolve(steps=30), lehr.cosine().resolve(steps=60)
    expected = [0.1 * float(new(t)) * float(old(15)) / float(new(15)) for t in range(15, 60)]
    assert task.lrs == pytest.approx(expected, rel=1e-12)
    assert task.lrs[0] == 0.1 * float(old(15))
    [event] = scheduler_of(trainer).events
    assert event.kind == "replan"
    assert "steps=30" in event.words
    assert "steps=60" in event.words


def test_the_choice_at_a_resume_can_be_made_otherwise(tmp_path: Path) -> None:
    path = saved_after(15, "cosine()", tmp_path)
    new = lehr.cosine().resolve(steps=60)
    task, _ = resumed(path, "cosine()", on_change="use_new")
    assert task.lrs == [0.1 * float(new(t)) for t in range(15, 60)]
    with pytest.raises(lehr.LehrError, match=r"steps=30.*steps=60"):
        resumed(path, "cosine()", on_change="error")


def test_another_policy_at_a_resume_is_an_error_even_with_another_length(tmp_path: Path) -> None:
    path = saved_after(15, "cosine()", tmp_path)
    with pytest.raises(lehr.LehrError, match=r"policy .*cosine\(\).*linear\(\)"):
        resumed(path, "linear()")


def test_a_run_that_has_come_down_to_0_is_not_silently_kept_there(tmp_path: Path) -> None:
    path = saved_after(15, "linear(10)", tmp_path)
    with pytest.raises(lehr.LehrError, match=r"LR of 0 at step 15.*on_change='use_new'"):
        resumed(path, "linear(10)")
    task, _ = resumed(path, "linear(10)", max_epochs=3)  # the run as it was planned goes on
    assert task.lrs == [0.0] * 15


def test_a_stopped_run_stays_stopped(tmp_path: Path) -> None:
    policy = "Policy(hold(), rules=[when(loss.reaches(1e9)).stop()])"
    task = module(under(policy))
    callbacks = [feedback(), keeping(tmp_path, save_on_train_epoch_end=True)]
    fit(task, Batches(10), VAL, max_epochs=3, callbacks=callbacks, enable_checkpointing=True)
    assert len(task.lrs) == 1
    again = module(under(policy))
    callbacks = [feedback(), keeping(tmp_path / "again", save_on_train_epoch_end=True)]
    fit(again, Batches(10), VAL, tmp_path / "last.ckpt", max_epochs=3, callbacks=callbacks, enable_checkpointing=True)
    assert again.lrs == []


@pytest.mark.parametrize("hook", ["on_validation_epoch_end", "on_train_epoch_end"])
def test_a_checkpoint_holds_what_was_logged_right_before_it(hook: str, tmp_path: Path) -> None:
    def log(self: Any) -> None:
        self.log("score", torch.tensor(0.5))

    policy = "when(metric('score', best='max').reaches(0.5)).scale(0.1)"
    callbacks = [feedback(), keeping(tmp_path, save_on_train_epoch_end=hook == "on_train_epoch_end")]
    task = module(under(policy), **{hook: log})
    fit(task, Batches(10), VAL, max_epochs=1, callbacks=callbacks, enable_checkpointing=True)
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert saved["lr_schedulers"][0]["values"]["lr"] == [0.1 * 0.1]
    assert saved["lehr_observed"]["score"] == 0.5


def test_the_rules_of_a_second_fit_begin_anew() -> None:
    import lightning.pytorch as pl

    from lightning_task import QUIET

    def validation_step(self: Any, batch: Any, batch_idx: int) -> None:
        self.log("score", torch.tensor(float(self.current_epoch)))

    policy = "when(metric('score', best='max').reaches(1)).scale(0.5)"
    callback = feedback()
    for _ in range(2):
        task = module(under(policy), validation_step=validation_step)
        pl.Trainer(**{**QUIET, "max_epochs": 3, "callbacks": [callback]}).fit(task, Batches(10), VAL)
        assert task.lrs == [0.1] * 20 + [0.05] * 10
