"""Lightning: what its fit does under a policy is what the same loop by hand does."""

from pathlib import Path
from typing import Any

import pytest
import torch

import lehr
from lehr.lengths import Horizon
from lightning_task import (
    NOISE,
    Batches,
    by_hand,
    fit,
    half_precision,
    loss_of,
    module,
    network,
    recorded,
    scheduler_of,
    started,
    under,
)

pytestmark = [pytest.mark.peers, *(pytest.mark.filterwarnings(noise) for noise in NOISE)]

RULES = (
    "Policy(warmup(3).then(cosine(to=0.1)), rules=["
    "when(loss.reaches(1.0)).scale(0.5), "
    "when(metric('val_loss', best='min').plateaus(patience=1, margin=0.9)).scale(0.7)])"
)
TRAIN, VAL = Batches(10), Batches(1, seed=1)


def feedback() -> Any:
    from lehr.lightning import Feedback

    return Feedback()


def events(run: Any) -> list[str]:
    return [str(event) for event in run.events]


def test_every_update_has_the_lr_of_the_loop_by_hand_with_accumulation_a_skipped_update_and_two_validations() -> None:
    train = Batches(10, broken=[5])  # three updates an epoch, the second of which overflows
    task = module(under(RULES))
    how = {"max_epochs": 4, "accumulate_grad_batches": 4, "val_check_interval": 5, "plugins": [half_precision()]}
    trainer = fit(task, train, VAL, callbacks=[feedback()], **how)
    run = started(RULES, 12, steps_per_epoch=3)
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    assert task.lrs == by_hand(run, train, VAL, epochs=4, accumulate=4, every=5, scaler=scaler)
    assert (len(task.lrs), scheduler_of(trainer).t, run.t) == (8, 8, 8)
    assert events(scheduler_of(trainer)) == events(run)
    assert {event.kind for event in run.events} == {"rule"}
    assert len({event.rule for event in run.events}) == 2


@pytest.mark.parametrize(
    "config", [{}, {"interval": "epoch"}, {"interval": "step"}, {"interval": "step", "frequency": 3}]
)
def test_any_interval_gives_the_same_lrs(config: dict[str, Any]) -> None:
    from lehr.lightning import horizon
    from lehr.torch import Scheduler

    def configure(task: Any, optimizer: Any) -> Any:
        scheduler = Scheduler(optimizer, RULES, horizon=horizon(task.trainer), count="updates")
        return [optimizer], [{"scheduler": scheduler, **config} if config else scheduler]

    task = module(configure)
    fit(task, TRAIN, VAL, max_epochs=3, accumulate_grad_batches=2, callbacks=[feedback()])
    run = started(RULES, 15, steps_per_epoch=5)
    assert task.lrs == by_hand(run, TRAIN, VAL, epochs=3, accumulate=2)
    assert len({event.rule for event in run.events}) == 2


def test_a_schedule_without_rules_needs_no_callback() -> None:
    train = Batches(10, broken=[5])
    task = module(under("warmup(2).then(linear())"))
    trainer = fit(task, train, max_epochs=3, accumulate_grad_batches=4, plugins=[half_precision()])
    assert task.lrs == [0.1 * factor for factor in (0.5, 1.0, 1.0, 6 / 7, 5 / 7, 4 / 7)]
    assert trainer.global_step == 9


@pytest.mark.parametrize(("how", "updates"), [({}, 4), ({"min_epochs": 2}, 20), ({"min_steps": 17}, 17)])
def test_a_stop_ends_the_fit_but_not_before_min_epochs(how: dict[str, Any], updates: int) -> None:
    losses = [float(i < 3) for i in range(50)]

    def training_step(self: Any, batch: Any, batch_idx: int) -> torch.Tensor:
        loss: torch.Tensor = 0 * loss_of(self.net, batch) + losses[self.global_step]
        return loss

    task = module(under("when(loss.reaches(0.5)).stop()"), training_step=training_step)
    trainer = fit(task, TRAIN, max_epochs=5, callbacks=[feedback()], **how)
    assert (len(task.lrs), trainer.should_stop) == (updates, True)


def test_the_end_of_a_begun_schedule_ends_the_fit_and_the_planned_end_does_not_meddle() -> None:
    begun = module(under("Policy(hold(), rules=[when(loss.reaches(1e9)).begin(linear(4))])"))
    fit(begun, TRAIN, max_epochs=5, callbacks=[feedback()])
    assert len(begun.lrs) == 5
    validations: list[int] = []
    planned = module(under("cosine()"), on_validation_end=lambda self: validations.append(self.current_epoch))
    trainer = fit(planned, TRAIN, VAL, max_epochs=3, check_val_every_n_epoch=2, callbacks=[feedback()])
    assert (validations, trainer.should_stop) == ([1], False)


def test_a_rollback_brings_the_same_weights_as_in_a_loop_by_hand() -> None:
    from lehr.torch import Scheduler

    policy = "Policy(hold(), rules=[when(loss.diverges()).rollback(), when(loss.diverges()).scale(0.5)])"
    train = Batches(10, broken=[7])

    def configure(task: Any, optimizer: Any) -> Any:
        from lehr.lightning import scheduled

        return scheduled(optimizer, policy, task.trainer, model=task, snapshots=5)

    task = module(configure)
    trainer = fit(task, train, max_epochs=2, callbacks=[feedback()])
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.5)
    scheduler = Scheduler(optimizer, policy, steps=20, model=net, snapshots=5)
    for batch in 2 * train.batches:
        optimizer.zero_grad()
        loss = loss_of(net, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        scheduler.step(loss=loss)
    assert events(scheduler_of(trainer)) == events(scheduler)
    assert "went back" in str(scheduler.events[0]) or "snapshot" in str(scheduler.events[0])
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(task.net.parameters(), net.parameters(), strict=True))
    assert all(bool(p.isfinite().all()) for p in net.parameters())


def test_an_evaluation_by_lehr_stops_the_fit() -> None:
    def error(task: Any) -> torch.Tensor:
        return loss_of(task.net, VAL.batches[0])

    def configure(task: Any, optimizer: Any) -> Any:
        from lehr.lightning import scheduled

        policy = "when(evaluation('error', every='1 epoch', best='min').reaches(0.5)).stop()"
        return scheduled(optimizer, policy, task.trainer, model=task, evaluate={"error": error})

    task = module(configure)
    fit(task, TRAIN, max_epochs=9, callbacks=[feedback()])
    assert len(task.lrs) % 10 == 0
    assert error(task).item() <= 0.5
    assert len(task.lrs) < 90


def test_a_fused_optimizer_that_amp_makes_skip_does_not_advance_the_schedule() -> None:
    def configure(task: Any, optimizer: Any) -> Any:
        return under("linear()")(task, torch.optim.Adam(task.parameters(), lr=0.1, fused=True))

    task = module(configure)
    trainer = fit(task, Batches(5, broken=[0, 3]), max_epochs=2, plugins=[half_precision()], callbacks=[feedback()])
    assert (scheduler_of(trainer).t, trainer.global_step) == (6, 10)
    assert float(task.optimizers().param_groups[0]["lr"]) == 0.1 * (1 - 6 / 10)


def test_each_optimizer_of_a_manual_optimisation_advances_by_its_own_updates() -> None:
    def configure_optimizers(self: Any) -> Any:
        from lehr.lightning import scheduled
        from lehr.lightning.scheduled import horizon

        self.lrs = {"g": [], "d": []}
        policy = "Policy(linear(), rules=[when(metric('{}_loss', best='min').reaches(0.25)).scale(0.5)])"
        assert horizon(self.trainer) == Horizon(20, 10, 8)
        return [
            scheduled(
                recorded(torch.optim.SGD(self.parameters(), lr=0.1), self.lrs[name]),
                policy.format(name),
                self.trainer,
                steps=steps,
            )
            for name, steps in (("g", 20), ("d", 10))
        ]

    def training_step(self: Any, batch: Any, batch_idx: int) -> None:
        g, d = self.optimizers()
        for name, optimizer, due in (("g", g, True), ("d", d, batch_idx % 2 == 1)):
            optimizer.zero_grad()
            self.manual_backward(loss_of(self.net, batch))
            if due:
                optimizer.step()
            self.log(f"{name}_loss", torch.tensor(1.0 - batch_idx / 10))

    more = {
        "automatic_optimization": False,
        "configure_optimizers": configure_optimizers,
        "training_step": training_step,
    }
    task = module(under("cosine()"), **more)
    trainer = fit(task, TRAIN, max_epochs=2, callbacks=[feedback()])
    # g hears 0.2 at its update 8; d hears means of two batches, 0.15 at its update 4
    expected = {"g": started("linear()", 20), "d": started("linear()", 10)}
    for name, n, at in (("g", 20, 8), ("d", 10, 4)):
        run = expected[name]
        lrs = []
        for t in range(n):
            lrs.append(run.lr * (0.5 if t > at else 1))
            run.step()
        assert task.lrs[name] == lrs
    assert [config.scheduler.t for config in trainer.lr_scheduler_configs] == [20, 10]


def test_the_learning_rate_monitor_logs_the_lr_of_every_update(tmp_path: Path) -> None:
    from lightning.pytorch.callbacks import LearningRateMonitor
    from lightning.pytorch.loggers import CSVLogger

    logger, monitor = CSVLogger(tmp_path), LearningRateMonitor()
    task = module(under(RULES))
    fit(task, TRAIN, VAL, max_epochs=2, logger=logger, log_every_n_steps=1, callbacks=[feedback(), monitor])
    assert monitor.lrs["lr-SGD"] == task.lrs
    rows = lehr.read_trace(Path(logger.log_dir) / "metrics.csv", columns={"lr": "lehr/lr"})
    assert rows.columns["lr"].tolist() == task.lrs


def test_lr_gain_and_events_are_written_to_tensorboard(tmp_path: Path) -> None:
    from lightning.pytorch.loggers import TensorBoardLogger
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(tmp_path)
    task = module(under("when(loss.reaches(1.0)).scale(0.5)"))
    trainer = fit(task, TRAIN, max_epochs=2, logger=logger, log_every_n_steps=1, callbacks=[feedback()])
    logger.experiment.close()
    written = EventAccumulator(logger.log_dir).Reload()
    assert [item.value for item in written.Scalars("lehr/lr")] == pytest.approx(task.lrs)
    assert {item.value for item in written.Scalars("lehr/gain")} == {1.0, 0.5}
    texts = [item.tensor_proto.string_val[0].decode() for item in written.Tensors("lehr/event/text_summary")]
    assert texts == events(scheduler_of(trainer))
    assert len(texts) == 1
