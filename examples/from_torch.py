"""Coming from torch's schedulers: change one import, see what you have, and go on in Lehr's own words."""

import torch

import lehr
from lehr.torch.dropin import CosineAnnealingLR, LinearLR, SequentialLR  # instead of torch.optim.lr_scheduler


def main() -> None:
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    warm = LinearLR(optimizer, start_factor=0.01, total_iters=20)
    scheduler = SequentialLR(optimizer, [warm, CosineAnnealingLR(optimizer, T_max=180)], milestones=[20])

    # What it is, as a value that can be printed, saved, drawn and checked.
    print("policy:", scheduler.policy)
    for finding in lehr.check(scheduler.policy, steps=400, lr=1e-2):
        print("finding:", finding)  # the run is to have 400 steps, the schedule ends at 200

    inputs = torch.randn(64, 4)
    target = inputs.sum(dim=1, keepdim=True)
    for _ in range(100):
        loss = torch.nn.functional.mse_loss(model(inputs), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()

    # Twice as long after all: see what that changes before changing it.
    longer = "warmup(20, start=0.01, zero_start=True).then(cosine())"
    print(scheduler.preview(longer, steps=400, no_jump=True))
    scheduler.replan(longer, steps=400, no_jump=True)
    print(scheduler.why())

    # The same from a configuration of transformers, without transformers.
    found = lehr.convert({"lr_scheduler_type": "cosine", "warmup_steps": 20, "max_steps": 400, "learning_rate": 1e-2})
    print("converted:", found.policy, found.lr, found.steps)


if __name__ == "__main__":
    main()
