"""The log of a run that is over: read TensorBoard's event files, ask how noisy the loss is, and what a rule would do.

Run it: python examples/trainers/read_logs.py (needs tensorboard: pip install 'lehr[logs]')
The same from a shell: lehr calibrate runs/plain; lehr replay runs/plain --policy "when(loss.plateaus(60)).scale(0.3)"
"""

import torch
from sklearn.datasets import load_digits
from torch.utils.tensorboard import SummaryWriter

import lehr

STEPS = 600


def train() -> None:
    """A run as it may lie on your disk: constant LR, loss and LR in TensorBoard, no Lehr in sight."""
    torch.manual_seed(0)
    pixels, labels = load_digits(return_X_y=True)
    inputs, targets = torch.tensor(pixels / 16, dtype=torch.float32), torch.tensor(labels)
    model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    with SummaryWriter("runs/plain") as writer:
        for step in range(STEPS):
            rows = torch.randint(0, len(inputs), (32,))
            loss = torch.nn.functional.cross_entropy(model(inputs[rows]), targets[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            writer.add_scalar("train/loss", loss.item(), step)
            writer.add_scalar("train/lr", optimizer.param_groups[0]["lr"], step)


train()
trace = lehr.read_trace("runs/plain")  # a folder; a csv, a jsonl, a parquet file or a trainer_state.json is read alike
print("read:", trace.header["read"]["columns"])
found = lehr.calibrate(trace, improvement=0.05, runs=20)
print(f"noise of the loss: {found.noise.sd:.0%} of its level")
for patience in (20, 60):
    seen = lehr.replay(trace, f"when(loss.plateaus({patience})).scale(0.3).at_most(2)")
    print(f"a patience of {patience} would have acted at steps", [event.step for event in seen.firings])
