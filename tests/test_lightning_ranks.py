"""Lightning's DDP with two processes: both ranks have the same LRs, and rules hear the mean over the ranks."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.peers

POLICY = (
    "Policy(warmup(3).then(cosine(to=0.1)), rules=["
    "when(loss.reaches(0.55)).scale(0.5), when(metric('val_score', best='max').reaches(0.25)).scale(0.7)])"
)
SCRIPT = f"""
import json, os, sys, warnings
warnings.simplefilter("ignore")
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lehr.lightning import Feedback
from lightning_task import Batches, fit, loss_of, module, scheduler_of, under

RANK = int(os.environ.get("LOCAL_RANK", 0))
SYNC = sys.argv[2] == "True"

def training_step(self, batch, batch_idx):
    value = 1.0 - 0.1 * self.trainer.global_step + (0.1 if RANK else -0.1)  # the mean is without the last term
    return 0 * loss_of(self.net, batch) + value

def validation_step(self, batch, batch_idx):
    self.log("val/score", torch.tensor(0.3 * (self.current_epoch + 1) * (1.0 if RANK else 0.0)), sync_dist=SYNC)

def run(path=None):
    task = module(under({POLICY!r}), training_step=training_step, validation_step=validation_step)
    keeping = ModelCheckpoint(sys.argv[1], filename="{{epoch}}", save_top_k=-1, save_on_train_epoch_end=False)
    how = dict(max_epochs=3, accumulate_grad_batches=2, use_distributed_sampler=False, enable_checkpointing=True)
    how |= dict(strategy="ddp", devices=2, callbacks=[Feedback(), keeping])
    return task, fit(task, Batches(10, seed=RANK), Batches(1), path, **how)

task, trainer = run()
events = [str(event) for event in scheduler_of(trainer).events if event.kind == "rule"]
samples = scheduler_of(trainer).horizon.samples_per_step
resumed, _ = run(os.path.join(sys.argv[1], "epoch=1.ckpt"))  # saved when the validation had ended
with open(os.path.join(sys.argv[1], f"{{RANK}}.json"), "w") as file:
    json.dump([task.lrs, events, samples, resumed.lrs], file)
"""


@pytest.mark.parametrize("sync", [True, False])
def test_both_ranks_have_the_lrs_of_one_that_hears_the_mean(sync: bool, tmp_path: Path) -> None:
    import lehr

    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, script, tmp_path, str(sync)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    run: Any = lehr.start(POLICY, lr=0.1, horizon=lehr.Horizon(steps=15, steps_per_epoch=5))
    lrs, score = [], dict[str, float]()
    for t in range(15):
        lrs.append(run.lr)
        run.step(loss=1.0 - 0.1 * t, **score)  # the ranks speak of a validation at the next update
        score = {"val_score": 0.15 * (t // 5 + 1)} if t % 5 == 4 else {}
    assert first == second
    assert first[0] == lrs
    assert [event.split(":")[0] for event in first[1]] == [f"step {event.step}" for event in run.events]
    assert len(run.events) == 2
    assert first[2] == 8 * 2 * 2
    assert first[3] == lrs[10:]  # the validation right before the checkpoint is not lost
