"""What another policy would have done: a small net is trained and recorded once, then two policies are replayed.

Run it: python examples/replay.py
The same from a shell: lehr replay run.jsonl --policy "when(metric('val_loss', best='min').plateaus(3)).scale(0.3)"
"""

import torch
from sklearn.datasets import load_digits

import lehr
from lehr.torch import Scheduler

STEPS, EVERY = 600, 30  # updates in the run, and between two looks at the held-out digits
POLICIES = {
    "a patient plateau": "when(metric('val_loss', best='min').plateaus(3)).scale(0.3)",
    "a trend of the loss": "when(loss.improves_less_than(0.05, over='10%')).scale(0.3).at_most(2)",
}


def train(path: str) -> None:
    """Train with a constant LR and record what is reported."""
    torch.manual_seed(0)
    pixels, labels = load_digits(return_X_y=True)
    inputs, targets = torch.tensor(pixels / 16, dtype=torch.float32), torch.tensor(labels)
    model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    scheduler = Scheduler(optimizer, lehr.constant(), steps=STEPS)
    with lehr.record(scheduler, path, data="digits"):
        while not scheduler.done:
            rows = torch.randint(0, 1500, (32,))
            loss = torch.nn.functional.cross_entropy(model(inputs[rows]), targets[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step(loss=loss)
            if scheduler.t % EVERY == 0:
                with torch.no_grad():
                    held_out = torch.nn.functional.cross_entropy(model(inputs[1500:]), targets[1500:])
                scheduler.observe(val_loss=held_out)
        scheduler.finish()


def main() -> None:
    train("run.jsonl")
    for name, policy in POLICIES.items():
        seen = lehr.replay("run.jsonl", policy)
        print(f"{name}: {policy}")
        print(f"{seen}\n")


if __name__ == "__main__":
    main()
