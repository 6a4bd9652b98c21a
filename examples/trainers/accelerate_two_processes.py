"""accelerate's loop in two processes: the schedule advances once an update, and the rules hear the mean of both.

Run it: python examples/trainers/accelerate_two_processes.py
"""

import torch
from accelerate import Accelerator, debug_launcher
from sklearn.datasets import load_digits

from lehr import Horizon
from lehr.torch import Scheduler

POLICY = "Policy(warmup('10%').then(cosine()), rules=[when(loss.reaches(1.0)).scale(0.5)])"
EPOCHS, ACCUMULATE = 5, 2


def train() -> None:
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=ACCUMULATE)
    images, digits = load_digits(return_X_y=True)
    data = torch.utils.data.TensorDataset(torch.tensor(images / 16, dtype=torch.float32), torch.tensor(digits))
    torch.manual_seed(0)
    model = torch.nn.Linear(64, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    loader = torch.utils.data.DataLoader(data, 32, shuffle=True)
    horizon = Horizon.from_loader(loader, epochs=EPOCHS, accumulate=ACCUMULATE, world_size=accelerator.num_processes)

    # The prepared scheduler calls step() twice an update, as there are two processes: so count what really happens.
    scheduler = Scheduler(optimizer, POLICY, horizon=horizon, count="updates")
    model, optimizer, loader, prepared = accelerator.prepare(model, optimizer, loader, scheduler)
    for _ in range(EPOCHS):
        for pixels, labels in loader:
            with accelerator.accumulate(model):
                loss = torch.nn.functional.cross_entropy(model(pixels), labels)
                accelerator.backward(loss)
                optimizer.step()
                prepared.step(loss=loss)
                optimizer.zero_grad()

    rank = accelerator.process_index
    event = next(event for event in scheduler.events if event.kind == "rule")
    print(
        f"process {rank}: {scheduler.t} of {horizon.steps} updates, LR {scheduler.last_lr[0]:.6f}; {event}", flush=True
    )


if __name__ == "__main__":
    debug_launcher(train, num_processes=2)
