"""How noisy is my loss, and what patience does it need? A small net is trained and recorded, then calibrated on.

Run it: python examples/calibrate.py
The same from a shell: lehr calibrate run.jsonl --improvement 0.05 --over 20% -o noise.png
"""

import torch
from sklearn.datasets import load_digits

import lehr
from lehr.torch import Scheduler

STEPS = 600


def train(path: str) -> None:
    """Train with a constant LR and record the loss of every batch."""
    torch.manual_seed(0)
    pixels, labels = load_digits(return_X_y=True)
    inputs, targets = torch.tensor(pixels / 16, dtype=torch.float32), torch.tensor(labels)
    model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = Scheduler(optimizer, lehr.constant(), steps=STEPS)
    with lehr.record(scheduler, path, data="digits"):
        while not scheduler.done:
            rows = torch.randint(0, len(inputs), (32,))
            loss = torch.nn.functional.cross_entropy(model(inputs[rows]), targets[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step(loss=loss)


def main() -> None:
    train("run.jsonl")
    found = lehr.calibrate("run.jsonl", improvement=0.05, over="20%", runs=50)
    print(found)
    for row in found.recommended[:1]:
        print(f"\npolicy: {lehr.when(row.trigger).scale(0.3)!r}")


if __name__ == "__main__":
    main()
