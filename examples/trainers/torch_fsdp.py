"""FSDP2 by hand on two processes: sharded parameters, a distributed checkpoint, a rule on the norm of the gradient.

Run it: python examples/trainers/torch_fsdp.py   (pip install 'lehr[torch]' scikit-learn)
"""

import json
import tempfile
from pathlib import Path

import torch
import torch.multiprocessing
from torch import distributed
from torch.distributed import checkpoint
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from lehr.torch import Scheduler, grad_norm

RANKS, UPDATES = 2, 100
POLICY = (
    "Policy(warmup('5%').then(cosine(to=0.01)), cadence=5, rules=["
    "when(loss.plateaus(2, margin=0.1)).scale(0.7), when(metric('grad_norm', best='min').reaches(0.3)).scale(0.5)])"
)


def train(rank: int, images: torch.Tensor, labels: torch.Tensor, folder: str, first: int, last: int) -> None:
    """Updates `first` to `last` of one rank; if it is not the first, on from what was saved."""
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet-{first}", rank=rank, world_size=RANKS)
    torch.set_num_threads(1)
    images, labels = images[rank::RANKS], labels[rank::RANKS]  # each rank has its share

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    fully_shard(model, mesh=init_device_mesh("cpu", (RANKS,)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    scheduler = Scheduler(optimizer, POLICY, steps=UPDATES)
    saved = Path(folder) / "saved"
    if first:
        weights, state = get_state_dict(model, optimizer)
        parts = {"model": weights, "optimizer": state, "scheduler": ""}
        checkpoint.load(parts, checkpoint_id=saved)
        set_state_dict(model, optimizer, model_state_dict=weights, optim_state_dict=state)
        scheduler.load_state_dict(json.loads(parts["scheduler"]))

    for update in range(first, last):
        rows = torch.randint(len(images), (64,), generator=torch.Generator().manual_seed(update))
        loss = torch.nn.functional.cross_entropy(model(images[rows]), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step(loss=loss, grad_norm=grad_norm(model.parameters()))  # the norm over all shards

    if last < UPDATES:
        weights, state = get_state_dict(model, optimizer)
        # As text: a distributed checkpoint takes nested states apart, and ours has not the same parts at every step.
        parts = {"model": weights, "optimizer": state, "scheduler": json.dumps(scheduler.state_dict())}
        checkpoint.save(parts, checkpoint_id=saved)
    told: list[object] = [None] * RANKS
    distributed.all_gather_object(told, [scheduler.t, scheduler.lr])
    if rank == 0:
        print(f"t, LR on each rank: {told}; last loss {loss.item():.4f}")
        for event in scheduler.events:
            print(f"  {event}")
    distributed.destroy_process_group()


def main() -> None:
    from sklearn.datasets import load_digits  # not in the processes that train

    images, labels = (torch.as_tensor(part) for part in load_digits(return_X_y=True))
    with tempfile.TemporaryDirectory() as folder:
        for first, last in ((0, 60), (60, UPDATES)):  # the second time new processes go on
            torch.multiprocessing.spawn(train, args=(images.float() / 16, labels, folder, first, last), nprocs=RANKS)


if __name__ == "__main__":
    main()
