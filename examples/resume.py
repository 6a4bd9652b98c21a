"""Stop and go on: the resumed run has the same LRs, bit for bit, in whatever order things are built and loaded.

Run it: python examples/resume.py
"""

import io

import torch

from lehr.torch import Scheduler

POLICY = "Policy(warmup(10).then(cosine()), rules=[when(loss.improves_less_than(0.01, over=20)).scale(0.5)])"


def build() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 1)
    return model, torch.optim.AdamW(model.parameters(), lr=0.01)


def train(model: torch.nn.Module, optimizer: torch.optim.Optimizer, scheduler: Scheduler, updates: int) -> list[float]:
    lrs = []
    for _ in range(updates):
        lrs.append(scheduler.lr)
        loss = (model(torch.ones(8, 4)) - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step(loss=loss)
    return lrs


def main() -> None:
    model, optimizer = build()
    whole = train(model, optimizer, Scheduler(optimizer, POLICY, steps=100), 100)

    model, optimizer = build()
    scheduler = Scheduler(optimizer, POLICY, steps=100)
    first = train(model, optimizer, scheduler, 40)
    file = io.BytesIO()
    torch.save([model.state_dict(), optimizer.state_dict(), scheduler.state_dict()], file)

    file.seek(0)
    saved = torch.load(file, weights_only=True)
    model, optimizer = build()
    optimizer.load_state_dict(saved[1])  # torch's schedulers go wrong if built after this line
    scheduler = Scheduler(optimizer, POLICY, steps=100)
    scheduler.load_state_dict(saved[2])
    model.load_state_dict(saved[0])
    resumed = first + train(model, optimizer, scheduler, 60)

    print(f"the same 100 LRs: {resumed == whole}")
    print(scheduler.why())
    if resumed != whole:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
