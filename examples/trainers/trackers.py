"""The LR, the gain and every decision of a run in TensorBoard, W&B and MLflow, by one `subscribe` each.

Run it: python examples/trainers/trackers.py (needs tensorboard, wandb and mlflow-skinny; nothing leaves the machine)
Then:   tensorboard --logdir runs
"""

import os

os.environ.update(WANDB_SILENT="true", MLFLOW_ALLOW_FILE_STORE="true")  # a file store: no server, no database

import mlflow
import torch
import wandb
from sklearn.datasets import load_digits
from torch.utils.tensorboard import SummaryWriter

import lehr
from lehr.torch import Scheduler

POLICY = "Policy(warmup('5%').then(cosine()), rules=[when(loss.reaches(0.5)).scale(0.5)])"
STEPS = 300

torch.manual_seed(0)
pixels, labels = load_digits(return_X_y=True)
inputs, targets = torch.tensor(pixels / 16, dtype=torch.float32), torch.tensor(labels)
model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
scheduler = Scheduler(optimizer, POLICY, steps=STEPS)

writer = SummaryWriter("runs/digits")
mlflow.set_tracking_uri("file:mlruns")
with mlflow.start_run() as active, wandb.init(mode="offline", project="digits") as run:
    scheduler.subscribe(lehr.trackers.tensorboard(writer))
    scheduler.subscribe(lehr.trackers.wandb(run))
    scheduler.subscribe(lehr.trackers.mlflow())
    while not scheduler.done:
        rows = torch.randint(0, len(inputs), (32,))
        loss = torch.nn.functional.cross_entropy(model(inputs[rows]), targets[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step(loss=loss)
        if scheduler.t % 10 == 1:
            run.log({"loss": loss.item()})  # the LR stands in the same row
            writer.add_scalar("loss", loss.item(), scheduler.t - 1)
    scheduler.finish()
    summary = {name: run.summary[name] for name in ("lehr/step", "lehr/lr", "lehr/gain")}
writer.close()

print("TensorBoard has  ", lehr.read_trace("runs/digits").header["read"]["columns"])
history = mlflow.MlflowClient().get_metric_history(active.info.run_id, "lehr/lr")
print("MLflow has       ", len(history), "LRs; the last at step", history[-1].step)
print("W&B's summary is ", summary)
print("all three tell   ", *scheduler.events, sep="\n  ")
