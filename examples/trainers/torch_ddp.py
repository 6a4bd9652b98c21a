"""DDP by hand on two processes: accumulation without needless exchange, rules that hear the mean over ranks, a resume.

Run it: python examples/trainers/torch_ddp.py   (pip install 'lehr[torch]' scikit-learn)
"""

import contextlib
import tempfile
from pathlib import Path

import torch
import torch.multiprocessing
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from lehr.torch import Scheduler

RANKS, UPDATES, MICRO_BATCHES = 2, 100, 2
POLICY = "Policy(warmup('5%').then(cosine(to=0.01)), rules=[when(loss.plateaus(2, margin=0.1)).scale(0.7)], cadence=5)"


def train(rank: int, images: torch.Tensor, labels: torch.Tensor, folder: str, first: int, last: int) -> None:
    """Updates `first` to `last` of one rank; if it is not the first, on from what was saved."""
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet-{first}", rank=rank, world_size=RANKS)
    torch.set_num_threads(1)
    images, labels = images[rank::RANKS], labels[rank::RANKS]  # each rank has its share

    torch.manual_seed(0)
    model = DistributedDataParallel(
        torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    scheduler = Scheduler(optimizer, POLICY, steps=UPDATES)
    saved = Path(folder) / "saved.pt"
    if first:
        for part, state in zip((model, optimizer, scheduler), torch.load(saved, weights_only=True), strict=True):
            part.load_state_dict(state)

    for update in range(first, last):
        optimizer.zero_grad()
        total = torch.zeros(())
        for micro in range(MICRO_BATCHES):
            rows = torch.randint(len(images), (32,), generator=torch.Generator().manual_seed(10 * update + micro))
            with contextlib.nullcontext() if micro == MICRO_BATCHES - 1 else model.no_sync():
                loss = torch.nn.functional.cross_entropy(model(images[rows]), labels[rows]) / MICRO_BATCHES
                loss.backward()
            total += loss.detach()
        optimizer.step()
        scheduler.step(loss=total)  # on every rank, with its own loss

    told: list[object] = [None] * RANKS
    distributed.all_gather_object(told, [scheduler.t, scheduler.lr])
    if rank == 0:
        torch.save([part.state_dict() for part in (model, optimizer, scheduler)], saved)
        print(f"t, LR on each rank: {told}; last loss {total.item():.4f}")
        for event in scheduler.events:
            print(f"  {event}")
    del model  # torch may hang where a DDP model outlives its process group
    distributed.destroy_process_group()


def main() -> None:
    from sklearn.datasets import load_digits  # not in the processes that train

    images, labels = (torch.as_tensor(part) for part in load_digits(return_X_y=True))
    with tempfile.TemporaryDirectory() as folder:
        for first, last in ((0, 60), (60, UPDATES)):  # the second time new processes go on
            torch.multiprocessing.spawn(train, args=(images.float() / 16, labels, folder, first, last), nprocs=RANKS)


if __name__ == "__main__":
    main()
