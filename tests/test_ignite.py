"""pytorch-ignite: the LRs of a bare loop, whatever the trainer does; and what ignite by itself gets wrong."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import lehr
from lehr.torch import Scheduler

pytestmark = [
    pytest.mark.peers,
    pytest.mark.frameworks,
    pytest.mark.filterwarnings("ignore:.torch.jit"),  # torch warns as ignite is imported
    pytest.mark.filterwarnings("ignore:CUDA is not available or torch_xla"),  # ignite's step under AMP asks for it
]

BATCHES, MICRO, EPOCHS = 10, 4, 6  # 15 updates, as ignite counts micro-batches through the whole run
OVERFLOW = 21  # the micro-batch, counted from 1, whose gradient is not finite: the sixth update is skipped
POLICY = (
    "Policy(warmup(2).then(cosine()), rules=["
    "when(loss.plateaus(1, margin=0.3)).scale(0.5), "
    "when(metric('val_loss', best='min').plateaus(0, margin=0.2)).scale(0.8)])"
)

Batch = tuple[torch.Tensor, torch.Tensor]


def engine() -> Any:
    return importlib.import_module("ignite.engine")


def ours() -> Any:
    return importlib.import_module("lehr.ignite")


def batches(count: int = BATCHES, seed: int = 0) -> list[Batch]:
    generator = torch.Generator().manual_seed(seed)
    inputs = [torch.randn(8, 4, generator=generator) for _ in range(count)]
    return [(x, x.sum(1, keepdim=True) + 0.3 * torch.randn(8, 1, generator=generator)) for x in inputs]


def made(lr: float = 0.2) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 1)
    return model, torch.optim.SGD(model.parameters(), lr=lr)


def recorded(optimizer: torch.optim.Optimizer, lrs: list[float]) -> None:
    """Write down the LR that each update uses."""
    optimizer.register_step_pre_hook(lambda *_: lrs.append(float(optimizer.param_groups[0]["lr"])))


def error(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.mse_loss(prediction, target)


def bare(policy: str, updates: int, overflow: int = OVERFLOW, validate: bool = True) -> tuple[list[float], list[str]]:
    """The LRs of a loop by hand under `lehr.start`, and what its rules did."""
    model, optimizer = made()
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    run = lehr.start(policy, lr=0.2, steps=updates)
    lrs: list[float] = []
    losses: list[float] = []
    data, held_out = batches(), batches(2, seed=1)
    for count in range(1, BATCHES * EPOCHS + 1):
        x, y = data[(count - 1) % BATCHES]
        if count % MICRO == 1:
            optimizer.zero_grad()
            losses = []
        loss = error(model(x), y) * (float("inf") if count == overflow else 1)
        scaler.scale(loss / MICRO).backward()  # type: ignore[no-untyped-call]
        losses.append(loss.item())
        if count % MICRO == 0:
            before = scaler.get_scale()
            optimizer.param_groups[0]["lr"] = run.lr
            scaler.step(optimizer)
            scaler.update()
            applied = scaler.get_scale() == before
            lrs += [run.lr] * applied
            run.step(applied=applied, loss=sum(losses) / MICRO)
        if count % BATCHES == 0 and validate:
            with torch.no_grad():
                errors = [error(model(x), y).item() * len(x) for x, y in held_out]
            run.observe(val_loss=sum(errors) / 16)
        if run.done and run.t < updates:
            break
    return lrs, [str(event) for event in run.events if event.kind == "rule"]


class Fit:
    """Model, optimiser, trainer, evaluator and scheduler, as a script builds them; `run` trains."""

    def __init__(self, policy: str = POLICY, overflow: int = OVERFLOW, **how: Any) -> None:
        self.model, self.optimizer = made()
        self.scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
        self.lrs: list[float] = []
        recorded(self.optimizer, self.lrs)
        self.trainer: Any = engine().DeterministicEngine(  # which resumes the data in mid-epoch too
            engine().supervised_training_step_amp(
                self.model,
                self.optimizer,
                lambda y_pred, y: error(y_pred, y) * (float("inf") if self.trainer.state.iteration == overflow else 1),
                scaler=self.scaler,
                gradient_accumulation_steps=MICRO,
                **how,
            )
        )
        metrics = importlib.import_module("ignite.metrics")
        self.evaluator = engine().create_supervised_evaluator(self.model, {"loss": metrics.Loss(error)})
        self.scheduler = Scheduler(
            self.optimizer, policy, horizon=ours().horizon(batches(), epochs=EPOCHS, accumulate=MICRO), count="updates"
        )

    def attach(self, **how: Any) -> Fit:
        ours().Feedback(self.scheduler, accumulate=MICRO, **how).attach(self.trainer, val=self.evaluator)
        completed = engine().Events.EPOCH_COMPLETED
        self.trainer.add_event_handler(completed, lambda: self.evaluator.run(batches(2, seed=1)))
        return self

    @property
    def parts(self) -> dict[str, Any]:
        names = ("model", "optimizer", "trainer", "scheduler", "scaler")
        return {name: getattr(self, name) for name in names}

    @property
    def rules(self) -> list[str]:
        return [str(event) for event in self.scheduler.events if event.kind == "rule"]

    def run(self) -> Fit:
        self.trainer.run(batches(), max_epochs=EPOCHS)
        return self


class Killed(Exception):
    pass


def test_the_lrs_are_those_of_a_bare_loop_under_accumulation_and_skipped_updates() -> None:
    lrs, rules = bare(POLICY, updates=15)
    fit = Fit().attach().run()
    assert fit.lrs == lrs
    assert fit.rules == rules
    assert len(lrs) == fit.scheduler.t == 14
    assert len({rule.split(":")[0] for rule in rules}) > 1  # rules of both kinds have fired


@pytest.mark.parametrize("first", ["handler", "checkpoint"])
def test_a_run_killed_in_mid_epoch_and_resumed_has_the_same_lrs(tmp_path: Path, first: str) -> None:
    handlers = importlib.import_module("ignite.handlers")
    lrs, rules = bare(POLICY, updates=15)
    begun, every = Fit(), engine().Events.ITERATION_COMPLETED(every=16)
    saves = handlers.Checkpoint(begun.parts, str(tmp_path), n_saved=None, filename_pattern="{global_step}.pt")
    saves.global_step_transform = lambda *_: begun.trainer.state.iteration
    if first == "handler":
        begun.attach()
    begun.trainer.add_event_handler(every, saves)
    if first == "checkpoint":
        begun.attach()

    def kill() -> None:
        raise Killed

    begun.trainer.add_event_handler(engine().Events.ITERATION_COMPLETED(once=39), kill)
    with pytest.raises(Killed):
        begun.run()
    assert len(begun.lrs) == 8  # one more than the checkpoint of update 7, after 32 micro-batches, knows

    resumed = Fit().attach()
    saved = torch.load(tmp_path / "32.pt", weights_only=False)  # ignite saves states of NumPy
    handlers.Checkpoint.load_objects(resumed.parts, saved)
    assert (resumed.scheduler.t, resumed.trainer.state.iteration) == (7, 32)
    resumed.run()
    assert begun.lrs[:7] + resumed.lrs == lrs
    assert [rule for rule in rules if rule not in begun.rules] == [r for r in resumed.rules if r not in begun.rules]


def test_metrics_are_heard_when_an_evaluator_has_run_and_only_then() -> None:
    fit, heard = Fit("Policy(cosine(), rules=[when(metric('val_loss', best='min').reaches(0)).stop()])"), []
    ours().Feedback(fit.scheduler).attach(fit.trainer, val=fit.evaluator)
    events = engine().Events.ITERATION_COMPLETED(every=15)  # several times in an epoch and less than once
    fit.trainer.add_event_handler(events, lambda: fit.evaluator.run(batches(2, seed=1)))
    fit.scheduler.subscribe(lambda step, lrs, numbers: heard.append((step, sorted(numbers))), on="steps")
    fit.run()
    assert [step for step, names in heard if names == ["val_loss"]] == [3, 6, 10, 14]
    assert {tuple(names) for _, names in heard} == {("loss",), ("val_loss",)}


def test_a_stop_terminates_the_trainer_and_the_planned_end_does_not() -> None:
    fit = Fit("Policy(constant(), rules=[when(loss.reaches(3)).stop()])", overflow=0).attach().run()
    lrs, _ = bare("Policy(constant(), rules=[when(loss.reaches(3)).stop()])", 15, overflow=0)
    assert fit.lrs == lrs
    assert fit.trainer.state.iteration == 4 * len(lrs) < BATCHES * EPOCHS
    fit, ends = Fit("cosine()", overflow=0).attach(), []
    fit.trainer.add_event_handler(engine().Events.EPOCH_COMPLETED, lambda e: ends.append(e.state.epoch))
    fit.run()
    assert fit.scheduler.done
    assert ends == [1, 2, 3, 4, 5, 6]


def test_a_run_that_was_stopped_stays_stopped_when_it_is_resumed() -> None:
    stopped = Fit("Policy(constant(), rules=[when(loss.reaches(3)).stop()])", overflow=0).attach().run()
    resumed = Fit("Policy(constant(), rules=[when(loss.reaches(3)).stop()])", overflow=0).attach()
    for name, part in stopped.parts.items():
        resumed.parts[name].load_state_dict(part.state_dict())
    assert resumed.run().lrs == []
    assert resumed.trainer.state.iteration == stopped.trainer.state.iteration


def test_rules_hear_whatever_is_made_of_the_output() -> None:
    policy = "Policy(constant(), rules=[when(metric('norm', best='min').reaches(0)).stop()])"
    fit = Fit(policy, overflow=0, output_transform=lambda x, y, y_pred, loss: {"loss": loss, "norm": 2 * loss}).attach()
    heard: list[Any] = []
    fit.scheduler.subscribe(lambda step, lrs, numbers: heard.append(numbers), on="steps")
    fit.run()
    both = [numbers for numbers in heard if "norm" in numbers]
    assert len(both) == 15
    assert all(numbers["norm"] == 2 * numbers["loss"] for numbers in both)


@pytest.mark.parametrize(
    ("accumulate", "means"),
    [
        (
            None,
            [3.0, 4.5],
        ),  # at a skipped update the weights stay: all losses since the last one are of the same weights
        (2, [4.0, 4.5]),
    ],
)
def test_the_loss_is_the_mean_over_the_micro_batches(accumulate: int | None, means: list[float]) -> None:
    """Of three updates the first is skipped; that the script steps the scheduler too does no harm."""
    optimizer = made()[1]
    scheduler = Scheduler(optimizer, "when(loss.reaches(0)).stop()", steps=9, count="updates")
    losses, heard = iter([1.0, 3.0, 2.0, 6.0, 5.0, 4.0]), list[float]()

    def update(trainer: Any, batch: Any) -> float:
        if trainer.state.iteration in (4, 6):
            optimizer.step()
            scheduler.step(loss=100.0)
        return next(losses)

    trainer = engine().Engine(update)
    ours().Feedback(scheduler, accumulate=accumulate).attach(trainer)
    scheduler.subscribe(lambda step, lrs, numbers: heard.append(numbers["loss"]), on="steps")
    trainer.run(range(6))
    assert heard == means


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda optimizer: ours().Feedback(Scheduler(optimizer, "cosine()", steps=9)), "counts updates"),
        (lambda optimizer: ours().Feedback(torch.optim.lr_scheduler.StepLR(optimizer, 1)), "counts updates"),
        (lambda optimizer: ours().horizon(range(10), epochs=3, accumulate=0), "accumulate"),
        (lambda optimizer: ours().horizon(iter([1]), epochs=3), "no length"),
        (lambda optimizer: ours().horizon(range(2), epochs=3, accumulate=9), "updates of this run"),
    ],
)
def test_what_cannot_be_right_is_refused(make: Callable[[Any], Any], words: str) -> None:
    with pytest.raises(lehr.LehrError, match=words):
        make(made()[1])


@pytest.mark.parametrize("output", [(1, 2), "loss", {"loss": torch.ones(2)}])
def test_an_output_that_is_no_loss_is_refused(output: Any) -> None:
    scheduler = Scheduler(made()[1], "cosine()", steps=9, count="updates")
    trainer = engine().Engine(lambda trainer, batch: output)
    ours().Feedback(scheduler).attach(trainer)
    with pytest.raises(lehr.LehrError, match="output_transform"):
        trainer.run([0])


@pytest.mark.parametrize(("epochs", "micro", "updates"), [(3, 4, 7), (3, 5, 6), (1, 1, 10)])
def test_the_horizon_is_what_the_trainer_does(epochs: int, micro: int, updates: int) -> None:
    model, optimizer = made()
    lrs: list[float] = []
    recorded(optimizer, lrs)
    trainer = engine().create_supervised_trainer(model, optimizer, error, gradient_accumulation_steps=micro)
    trainer.run(batches(), max_epochs=epochs)
    horizon = ours().horizon(batches(), epochs=epochs, accumulate=micro)
    assert horizon.steps == len(lrs) == updates
    assert horizon.steps_per_epoch == (None if 10 % micro else 10 // micro)


def test_where_it_cannot_be_first_it_says_what_to_do() -> None:
    class Other:  # an engine whose handlers lie elsewhere
        def add_event_handler(self, *_: Any) -> None: ...

    feedback = ours().Feedback(Scheduler(made()[1], "cosine()", steps=9, count="updates"))
    with pytest.warns(lehr.errors.LehrWarning, match="before you add a Checkpoint"):
        feedback.attach(Other())


def test_a_missing_ignite_names_the_line_that_installs_it() -> None:
    script = (
        "import sys; sys.modules['ignite'] = None\n"
        "try:\n    import lehr.ignite\nexcept ImportError as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.startswith("MissingExtra this needs ignite")
    assert done.stdout.strip().endswith("pip install 'lehr[ignite]'")


# What ignite gets wrong by itself


def test_ignite_s_schedule_runs_as_many_times_too_fast_as_gradients_are_accumulated() -> None:
    model, optimizer = made()
    lrs: list[float] = []
    recorded(optimizer, lrs)
    trainer = engine().create_supervised_trainer(model, optimizer, error, gradient_accumulation_steps=MICRO)
    schedulers = importlib.import_module("ignite.handlers.param_scheduler")
    updates = 15
    decay = schedulers.LinearCyclicalScheduler(optimizer, "lr", 0.2, 0.0, cycle_size=updates, monotonic=True)
    trainer.add_event_handler(engine().Events.ITERATION_STARTED, decay)
    trainer.run(batches(), max_epochs=EPOCHS)
    wanted = [0.2 * (1 - t / updates) for t in range(updates)]
    assert lrs[1] == pytest.approx(wanted[7])  # after one update it stands where it should after seven
    fit = Fit("linear()", overflow=0).attach().run()
    assert fit.lrs == pytest.approx(wanted, abs=1e-15)


def test_ignite_s_schedule_runs_on_while_updates_are_skipped() -> None:
    schedulers = importlib.import_module("ignite.handlers.param_scheduler")
    model, optimizer = made()
    scaler, lrs = torch.amp.GradScaler("cpu", init_scale=8.0), list[float]()
    recorded(optimizer, lrs)
    trainer: Any = engine().Engine(
        engine().supervised_training_step_amp(
            model,
            optimizer,
            lambda y_pred, y: error(y_pred, y) * (float("inf") if trainer.state.iteration == 3 else 1),
            scaler=scaler,
        )
    )
    decay = schedulers.LinearCyclicalScheduler(optimizer, "lr", 0.2, 0.0, cycle_size=10, monotonic=True)
    trainer.add_event_handler(engine().Events.ITERATION_STARTED, decay)
    trainer.run(batches())
    assert lrs == pytest.approx([0.2 * (1 - t / 10) for t in (0, 1, 3, 4, 5, 6, 7, 8, 9)])
    assert Fit("linear()", overflow=OVERFLOW).attach().run().lrs == pytest.approx(
        [0.2 * (1 - t / 15) for t in range(14)], abs=1e-15
    )


def evaluations(values: list[float], handler: Callable[[Any], None]) -> None:
    """Run an evaluator whose metric has these values, one after another."""
    rest: Iterator[float] = iter(values)
    evaluator = engine().Engine(lambda *_: None)
    evaluator.add_event_handler(engine().Events.COMPLETED, lambda each: each.state.metrics.update({"loss": next(rest)}))
    evaluator.add_event_handler(engine().Events.COMPLETED, handler)
    for _ in values:
        evaluator.run([0])


def test_ignite_s_plateau_drops_min_lr() -> None:
    schedulers = importlib.import_module("ignite.handlers.param_scheduler")
    optimizer = made(lr=0.1)[1]
    plateau = schedulers.ReduceLROnPlateauScheduler(optimizer, "loss", factor=0.1, patience=0, min_lr=0.05)
    evaluations([1.0] * 4, plateau)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * 0.1**3)  # though it was to be 0.05 at least
    policy = "Policy(constant(), rules=[when(metric('val_loss', best='min').plateaus(0)).scale(0.1)], min_lr=0.05)"
    scheduler = Scheduler(made(lr=0.1)[1], policy, steps=99, count="updates")
    trainer = engine().Engine(lambda *_: scheduler.optimizer.step())
    evaluator = engine().Engine(lambda *_: None)
    evaluator.add_event_handler(engine().Events.COMPLETED, lambda each: each.state.metrics.update({"loss": 1.0}))
    ours().Feedback(scheduler).attach(trainer, val=evaluator)
    trainer.add_event_handler(engine().Events.ITERATION_COMPLETED, lambda: evaluator.run([0]) and None)
    trainer.run([0] * 4)
    assert len([event for event in scheduler.events if event.kind == "rule"]) > 0
    assert scheduler.lr == 0.05
