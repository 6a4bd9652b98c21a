"""Lightning: how a fit under a policy begins: names, horizons, what is refused, what is missing."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import lehr
from lehr.lengths import Horizon
from lightning_task import (
    NOISE,
    QUIET,
    Batches,
    by_hand,
    fit,
    loss_of,
    module,
    module_of,
    network,
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


def test_both_names_of_the_package_take_the_callback() -> None:
    import pytorch_lightning as other

    task = module_of(other, under(RULES), {})
    other.Trainer(**{**QUIET, "callbacks": [feedback()], "max_epochs": 2}).fit(task, TRAIN, VAL)
    assert task.lrs == by_hand(started(RULES, 20, steps_per_epoch=10), TRAIN, VAL, epochs=2)


@pytest.mark.parametrize("name", ["lightning.pytorch", "pytorch_lightning"])
def test_the_callback_is_that_of_the_package_which_the_script_has_imported(name: str) -> None:
    other = {"lightning.pytorch": "pytorch_lightning", "pytorch_lightning": "lightning"}[name]
    code = (
        f"import sys, {name} as pl; from lehr.lightning import Feedback; assert issubclass(Feedback, pl.Callback); "
        f"assert {other!r} not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


def test_a_missing_lightning_names_what_to_install() -> None:
    code = (
        "import sys; sys.modules['lightning'] = sys.modules['pytorch_lightning'] = None\n"
        "import lehr\ntry:\n    import lehr.lightning\nexcept ImportError as error:\n    print(error)"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert "pip install 'lehr[lightning]'" in said


def test_a_fit_without_a_scheduler_of_lehrs_says_what_to_write() -> None:
    with pytest.raises(lehr.LehrError, match=r"return lehr\.lightning\.scheduled\(optimizer"):
        fit(module(lambda task, optimizer: optimizer), TRAIN, max_epochs=1, callbacks=[feedback()])


def test_rules_that_nobody_tells_anything_are_warned_of_soon() -> None:
    with pytest.warns(lehr.LehrWarning, match=r"rules read loss, val_loss.*add lehr\.lightning\.Feedback\(\)"):
        fit(module(under(RULES)), TRAIN, max_epochs=1)


def test_a_module_that_tells_the_rules_itself_needs_no_callback() -> None:
    def training_step(self: Any, batch: Any, batch_idx: int) -> torch.Tensor:
        self.lr_schedulers().observe(loss=1.0 - batch_idx / 10)
        return loss_of(self.net, batch)

    task = module(under("when(loss.reaches(0.55)).scale(0.5)"), training_step=training_step)
    trainer = fit(task, TRAIN, max_epochs=1)
    assert [event.step for event in scheduler_of(trainer).events] == [5]


def test_a_manual_optimisation_with_fewer_updates_than_planned_is_warned_of() -> None:
    def training_step(self: Any, batch: Any, batch_idx: int) -> None:
        self.manual_backward(loss_of(self.net, batch))
        if batch_idx % 5 == 4:
            self.optimizers().step()
            self.optimizers().zero_grad()

    how = {"training_step": training_step, "automatic_optimization": False}
    with pytest.warns(lehr.LehrWarning, match=r"made 2 updates in the first epoch.*laid out for 10.*steps=\.\.\."):
        fit(module(under("linear()"), **how), TRAIN, max_epochs=2, callbacks=[feedback()])
    task = module(under("linear()", steps=4), **how)
    fit(task, TRAIN, max_epochs=2, callbacks=[feedback()])
    assert task.lrs == [0.1, 0.1 * 0.75, 0.1 * 0.5, 0.1 * 0.25]


@pytest.mark.parametrize("count", ["calls", "epochs"])
def test_a_scheduler_that_counts_something_else_is_refused_at_the_start(count: Any) -> None:
    from lehr.torch import Scheduler

    task = module(lambda task, o: ([o], [Scheduler(o, "cosine()", steps=10, count=count)]))
    with pytest.raises(lehr.LehrError, match=rf"counts {count}.*count='updates'"):
        fit(task, TRAIN, max_epochs=1, callbacks=[feedback()])


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"max_epochs": 3}, Horizon(30, 10, 8)),
        ({"max_epochs": 3, "accumulate_grad_batches": 4}, Horizon(9, 3, 32)),
        ({"max_epochs": 3, "limit_train_batches": 5, "accumulate_grad_batches": 2}, Horizon(9, 3, 16)),
        ({"max_epochs": 3, "limit_train_batches": 0.5}, Horizon(15, 5, 8)),
        ({"max_epochs": 3, "max_steps": 7}, Horizon(7, 10, 8)),
        ({"max_epochs": -1, "max_steps": 25}, Horizon(25, 10, 8)),
        ({"max_epochs": -1, "accumulate_grad_batches": 3}, Horizon(None, 4, 24)),
    ],
)
def test_the_horizon_is_the_trainers(how: dict[str, Any], expected: Horizon) -> None:
    from lehr.lightning import horizon

    found: list[Horizon] = []

    def configure(task: Any, optimizer: Any) -> Any:
        found.append(horizon(task.trainer))
        return optimizer

    task = module(configure, on_train_batch_end=_stop_when_endless)
    trainer = fit(task, TRAIN, **how)
    assert found == [expected]
    assert trainer.global_step == (expected.steps or trainer.global_step)


def _stop_when_endless(self: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
    self.trainer.should_stop = self.trainer.max_epochs == -1 and self.trainer.max_steps == -1


def test_a_loader_without_a_length_gives_a_horizon_of_what_is_known() -> None:
    from lehr.lightning import horizon

    class Stream(torch.utils.data.IterableDataset[Any]):
        def __iter__(self) -> Any:
            return iter([row for batch in TRAIN.batches for row in zip(*batch, strict=True)])

    found: list[Horizon] = []

    def configure(task: Any, optimizer: Any) -> Any:
        found.append(horizon(task.trainer))
        return optimizer

    for steps in (-1, 5):
        fit(module(configure), torch.utils.data.DataLoader(Stream(), batch_size=4), max_epochs=1, max_steps=steps)
    assert found == [Horizon(None, None, 4), Horizon(5, None, 4)]


QUICK_START = """
import lightning as L
class LitAutoEncoder(L.LightningModule):
    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder
    def training_step(self, batch, batch_idx):
        return torch.nn.functional.mse_loss(self.encoder(batch[0]), batch[1])
    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=1e-3)
        return optimizer
autoencoder = LitAutoEncoder(network())
trainer = L.Trainer(limit_train_batches=100, max_epochs=1)
trainer.fit(model=autoencoder, train_dataloaders=train_loader)
"""
CHANGED = {
    "import lightning as L": "import lightning as L\nfrom lehr.lightning import Feedback, scheduled",
    "return optimizer": """return scheduled(optimizer, "warmup('20%').then(cosine())", self.trainer)""",
    "max_epochs=1)": "max_epochs=1, callbacks=[Feedback()])",
}


def test_lightnings_quick_start_changes_in_three_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # it writes logs and a checkpoint
    script = QUICK_START
    for old, new in CHANGED.items():
        assert script.count(old) == 1
        script = script.replace(old, new)
    assert len(set(script.splitlines()) - set(QUICK_START.splitlines())) == 3
    names: dict[str, Any] = {"torch": torch, "network": network, "train_loader": TRAIN}
    exec(script, names)
    run = scheduler_of(names["trainer"])
    assert (run.t, run.get_last_lr()) == (10, [0.0])
