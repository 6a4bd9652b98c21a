"""The six methods, each in a bare PyTorch loop: change one line, keep the rest.

Run it: python examples/six_methods.py
"""

import torch

import lehr
from lehr.torch import Scheduler

STEPS = 300
ACCURACY = lehr.metric("accuracy", best="max")

POLICIES = {
    # decay: planned before training
    "step decay": lehr.step_decay(every="30%", gamma=0.1),
    "exponential decay": lehr.exponential(0.99),
    "cosine decay": lehr.cosine(to=0.01),
    # the same as recurrences, literally
    "exponential, compounding": lehr.compounding(0.9999),
    "cosine, as a product": lehr.cosine_product(0.005),
    # adjustment: reacting to what is measured
    "loss-based": lehr.when(lehr.loss.improves_less_than(0.2, over=50)).scale(0.5),
    "metric-based": lehr.when(ACCURACY.reaches(0.9)).saturate(eta=0.3),
    "performance-based": lehr.when(lehr.evaluation("held_out", every=20, best="max").reaches(0.9)).saturate(eta=0.3),
    "naive feedback at every update": lehr.when(lehr.always()).relax(eta=0.005),
}


def data(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two spirals: points in the plane and which arm they are on."""
    generator = torch.Generator().manual_seed(seed)
    arm = torch.randint(0, 2, (600,), generator=generator)
    radius = torch.rand(600, generator=generator) * 3
    angle = radius * 2 + arm * torch.pi
    points = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)
    return points + 0.05 * torch.randn(600, 2, generator=generator), arm


def share_right(model: torch.nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> float:
    return float((model(inputs).argmax(dim=1) == targets).float().mean())


def train(policy: lehr.Schedule | lehr.Rule, optimizer_class: type[torch.optim.Optimizer], lr: float) -> Scheduler:
    torch.manual_seed(0)
    inputs, targets = data(seed=1)
    held_out = data(seed=2)
    model = torch.nn.Sequential(torch.nn.Linear(2, 64), torch.nn.Tanh(), torch.nn.Linear(64, 2))
    optimizer = optimizer_class(model.parameters(), lr=lr)
    scheduler = Scheduler(
        optimizer, policy, steps=STEPS, model=model, evaluate={"held_out": lambda m: share_right(m, *held_out)}
    )
    while not scheduler.done:
        loss = torch.nn.functional.cross_entropy(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        accuracy = share_right(model, inputs, targets)
        scheduler.step(loss=loss, accuracy=accuracy)
    scheduler.finish()
    print(f"    accuracy {share_right(model, *held_out):.3f}, LR at the end {scheduler.lr:.3g}")
    return scheduler


def main() -> None:
    for optimizer_class, lr in ((torch.optim.SGD, 0.5), (torch.optim.AdamW, 0.02)):
        for name, policy in POLICIES.items():
            print(f"{optimizer_class.__name__}, {name}: {policy!r}")
            scheduler = train(policy, optimizer_class, lr)
            for event in scheduler.events:
                print(f"    {event}")


if __name__ == "__main__":
    main()
