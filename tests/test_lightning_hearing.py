"""Lightning: what rules hear of a fit, once and when it is new."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from lightning_task import (
    NOISE,
    Batches,
    fit,
    half_precision,
    loss_of,
    module,
    scheduler_of,
    under,
)

pytestmark = [pytest.mark.peers, *(pytest.mark.filterwarnings(noise) for noise in NOISE)]

TRAIN, VAL = Batches(10), Batches(1, seed=1)


def feedback() -> Any:
    from lehr.lightning import Feedback

    return Feedback()


def listening(heard: list[tuple[int, dict[str, float]]]) -> Any:
    """A callback that writes down what the rules of the first scheduler can hear."""
    import lightning.pytorch as pl

    class Listening(pl.Callback):  # type: ignore[misc]
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            def write(step: int, lrs: Any, numbers: Mapping[str, float]) -> None:
                heard.extend([(step, dict(numbers))] if numbers else [])

            scheduler_of(trainer).subscribe(write, on="steps")

    return Listening()


def test_rules_hear_the_loss_that_the_module_returned_as_the_mean_of_an_updates_batches() -> None:
    returned: list[float] = []

    def training_step(self: Any, batch: Any, batch_idx: int) -> dict[str, torch.Tensor]:
        loss = loss_of(self.net, batch)
        returned.append(loss.item())
        self.log("loss", -loss)  # neither this
        return {"loss": loss}

    def validation_step(self: Any, batch: Any, batch_idx: int) -> None:
        self.log("loss", torch.tensor(7.0))  # nor this

    heard: list[tuple[int, dict[str, float]]] = []
    task = module(
        under("when(loss.reaches(1e-9)).stop()"), training_step=training_step, validation_step=validation_step
    )
    fit(task, TRAIN, VAL, max_epochs=2, accumulate_grad_batches=4, callbacks=[feedback(), listening(heard)])
    batches = [returned[i : i + n] for i, n in ((0, 4), (4, 4), (8, 2), (10, 4), (14, 4), (18, 2))]
    assert [numbers["loss"] for _, numbers in heard] == pytest.approx([sum(b) / len(b) for b in batches], rel=1e-6)
    assert [step for step, _ in heard] == list(range(6))


def test_losses_of_a_skipped_update_are_not_heard() -> None:
    returned: list[float] = []

    def training_step(self: Any, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = loss_of(self.net, batch)
        returned.append(loss.item())
        return loss

    heard: list[tuple[int, dict[str, float]]] = []
    task = module(under("cosine()"), training_step=training_step)
    how = {"accumulate_grad_batches": 2, "plugins": [half_precision()], "callbacks": [feedback(), listening(heard)]}
    fit(task, Batches(6, broken=[2]), max_epochs=1, **how)
    means = [(returned[i] + returned[i + 1]) / 2 for i in (0, 4)]
    assert [step for step, _ in heard] == [0, 1]
    assert [numbers["loss"] for _, numbers in heard] == pytest.approx(means, rel=1e-6)


def test_the_sanity_check_is_not_heard() -> None:
    def validation_step(self: Any, batch: Any, batch_idx: int) -> None:
        self.log("score", torch.tensor(float(self.trainer.sanity_checking)))

    task = module(under("when(metric('score', best='max').reaches(0.5)).scale(0.5)"), validation_step=validation_step)
    fit(task, TRAIN, VAL, max_epochs=1, num_sanity_val_steps=1, callbacks=[feedback()])
    assert task.lrs == [0.1] * 10


@pytest.mark.parametrize("on_epoch", [False, True])
def test_a_loss_that_a_manual_optimisation_logs_is_heard(on_epoch: bool) -> None:
    def training_step(self: Any, batch: Any, batch_idx: int) -> None:
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(loss_of(self.net, batch))
        optimizer.step()
        self.log("loss", torch.tensor(1.0 - batch_idx / 10), on_step=True, on_epoch=on_epoch)

    heard: list[tuple[int, dict[str, float]]] = []
    task = module(under("cosine()"), training_step=training_step, automatic_optimization=False)
    fit(task, TRAIN, max_epochs=1, callbacks=[feedback(), listening(heard)])
    losses = {step: numbers["loss"] for step, numbers in heard if "loss" in numbers}
    assert losses == pytest.approx({t: 1 - t / 10 for t in range(10)})


@pytest.mark.parametrize(
    ("how", "steps"),
    [
        ({"val_check_interval": 5}, [5, 10, 15, 20, 25, 30, 35, 40]),
        ({"val_check_interval": 15, "check_val_every_n_epoch": None}, [15, 30]),
        ({"check_val_every_n_epoch": 2}, [20, 40]),
        ({"num_sanity_val_steps": 1}, [10, 20, 30, 40]),
    ],
)
def test_a_validation_is_heard_once_and_when_it_is_new(how: dict[str, Any], steps: list[int]) -> None:
    values: list[float] = []

    def validation_step(self: Any, batch: Any, batch_idx: int) -> None:
        if not self.trainer.sanity_checking:
            values.append(float(loss_of(self.net, batch)))
        self.log("val/constant", torch.tensor(0.5))  # the same value, and yet news
        self.log("val/loss", loss_of(self.net, batch))

    heard: list[tuple[int, dict[str, float]]] = []
    task = module(under("cosine()"), validation_step=validation_step)
    fit(task, TRAIN, VAL, max_epochs=4, callbacks=[feedback(), listening(heard)], **how)
    found = [(step, numbers) for step, numbers in heard if "val_loss" in numbers]
    expected = [{"val_loss": value, "val_constant": 0.5} for value in values]
    assert found == list(zip(steps, expected, strict=True))


def test_metrics_of_steps_and_of_epochs_are_heard_under_their_own_names() -> None:
    def training_step(self: Any, batch: Any, batch_idx: int) -> torch.Tensor:
        at = torch.tensor(float(batch_idx))
        self.log("both", at, on_step=True, on_epoch=True)
        self.log("epoch", at, on_step=False, on_epoch=True)
        if batch_idx % 5 == 0:
            self.log("seldom", at)
        return loss_of(self.net, batch)

    def on_train_epoch_end(self: Any) -> None:
        self.log("late", torch.tensor(float(self.current_epoch)))

    heard: list[tuple[int, dict[str, float]]] = []
    task = module(under("cosine()"), training_step=training_step, on_train_epoch_end=on_train_epoch_end)
    fit(task, TRAIN, max_epochs=2, accumulate_grad_batches=2, callbacks=[feedback(), listening(heard)])

    def of(name: str) -> list[tuple[int, float]]:
        return [(step, numbers[name]) for step, numbers in heard if name in numbers]

    assert of("both_step") == [(5 * epoch + i, 2 * i + 0.5) for epoch in range(2) for i in range(5)]
    assert of("both") == of("both_epoch") == of("epoch") == [(5, 4.5), (10, 4.5)]
    assert of("seldom") == [(0, 0.0), (2, 5.0), (5, 0.0), (7, 5.0)]
    assert of("late") == [(5, 0.0), (10, 1.0)]


def test_a_metric_with_a_slash_is_read_by_a_rule() -> None:
    def validation_step(self: Any, batch: Any, batch_idx: int) -> None:
        self.log("val/acc", torch.tensor(self.current_epoch / 4))

    task = module(under("when(metric('val_acc', best='max').reaches(0.5)).scale(0.1)"), validation_step=validation_step)
    fit(task, TRAIN, VAL, max_epochs=4, callbacks=[feedback()])
    assert task.lrs == [0.1] * 30 + [0.1 * 0.1] * 10
