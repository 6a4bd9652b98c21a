"""torch.amp on the CPU: float16 gradients overflow, GradScaler skips those updates, and the schedule does not run on.

Run it: python examples/trainers/torch_amp.py   (pip install 'lehr[torch]' scikit-learn)
"""

import torch
from sklearn.datasets import load_digits

from lehr.torch import Scheduler

UPDATES = 150
POLICY = "Policy(warmup('5%').then(cosine(to=0.01)), rules=[when(loss.plateaus(20, margin=0.02)).scale(0.7)])"

torch.manual_seed(0)
images, labels = (torch.as_tensor(part) for part in load_digits(return_X_y=True))
images = images.float() / 16
model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, fused=True)
scaler = torch.amp.GradScaler("cpu", init_scale=2.0**24, growth_interval=40)  # grows until it is too large again

scheduler = Scheduler(optimizer, POLICY, steps=UPDATES, count="updates")
tries = 0
while not scheduler.done:
    rows = torch.randint(len(images), (64,))
    with torch.autocast("cpu", dtype=torch.float16):
        loss = torch.nn.functional.cross_entropy(model(images[rows]), labels[rows])
    optimizer.zero_grad()
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    before = scheduler.t
    scheduler.step(loss=loss)
    tries += 1
    if scheduler.t == before:
        print(f"try {tries}: skipped, the next LR is still {scheduler.lr:.6f}")
print(f"{tries} tries, {scheduler.t} updates, last LR {scheduler.last_lr[0]:.6f}, last loss {loss.item():.4f}")
