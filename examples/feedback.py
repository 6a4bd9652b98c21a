"""Feedback on real training: cut when it is shown that the loss stands still, roll back when training breaks.

Run it: python examples/feedback.py
"""

import torch
from sklearn.datasets import load_digits

import lehr
from lehr.torch import Scheduler

STEPS = 1500


def train(lr: float, rules: list[lehr.Rule], snapshots: bool) -> None:
    """A small net on handwritten digits, with momentum SGD."""
    torch.manual_seed(0)
    data = load_digits()
    inputs = torch.tensor(data.data, dtype=torch.float32) / 16
    targets = torch.tensor(data.target)
    train_set, held_out = slice(0, 1400), slice(1400, None)
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    policy = lehr.Policy(lehr.warmup("2%").then(lehr.hold()), rules)
    scheduler = Scheduler(optimizer, policy, steps=STEPS, model=model, snapshots=snapshots or None)
    generator = torch.Generator().manual_seed(1)
    for _ in range(STEPS):
        batch = torch.randint(0, 1400, (64,), generator=generator)
        noise = 0.3 * torch.randn(64, 64, generator=generator)
        loss = torch.nn.functional.cross_entropy(model(inputs[train_set][batch] + noise), targets[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step(loss=loss)
    with torch.no_grad():
        right = (model(inputs[held_out]).argmax(dim=1) == targets[held_out]).float().mean()
    print(f"LR {lr}: accuracy {right:.3f}, last loss {loss:.3f}, LR at the end {scheduler.last_lr[0]:.3g}")
    for event in scheduler.events:
        print("   ", event)


# "Slower than 10 % per tenth of the run" is asked; the noise of a batch loss decides how soon that can be shown.
train(0.1, [lehr.when(lehr.loss.improves_less_than(0.1, over="10%", risk=0.1)).scale(0.3)], snapshots=False)

# Fifty times too large: the guard goes back to the start, or to a snapshot, and halves the LR until it works.
train(5.0, lehr.guard(), snapshots=True)
