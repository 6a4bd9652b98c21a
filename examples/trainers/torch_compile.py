"""A compiled optimiser step: with a tensor LR it is compiled once, however often the LR changes.

Run it: python examples/trainers/torch_compile.py   (pip install 'lehr[torch]' scikit-learn)
"""

import torch
from sklearn.datasets import load_digits

from lehr.torch import Scheduler

UPDATES = 150
POLICY = "Policy(warmup('5%').then(cosine(to=0.01)), rules=[when(loss.plateaus(20, margin=0.02)).scale(0.7)])"

graphs = []


def counting(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> torch.fx.GraphModule:
    """A compiler that only counts what it is given; in your script leave `backend` out."""
    graphs.append(graph)
    return graph


torch.manual_seed(0)
images, labels = (torch.as_tensor(part) for part in load_digits(return_X_y=True))
images = images.float() / 16
for lr in (torch.tensor(0.01), 0.01):
    torch.compiler.reset()
    graphs.clear()
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    scheduler = Scheduler(optimizer, POLICY, steps=UPDATES, count="updates")
    step = torch.compile(optimizer.step, backend=counting)
    for _ in range(UPDATES):
        rows = torch.randint(len(images), (64,))
        loss = torch.nn.functional.cross_entropy(model(images[rows]), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        step()
        scheduler.step(loss=loss)
    kind = "tensor" if isinstance(lr, torch.Tensor) else "float"
    told = f"compiled {len(graphs)} times, {scheduler.t} updates, {len(scheduler.events)} events"
    print(f"{kind} LR: {told}, last LR {scheduler.last_lr[0]:.6f}, last loss {loss.item():.4f}")
