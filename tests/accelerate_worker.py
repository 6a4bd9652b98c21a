"""Trainings of each of two processes under `torchrun`; what they did is written for the tests that launched them.

Run: torchrun --standalone --nproc_per_node 2 accelerate_worker.py FOLDER
"""

from __future__ import annotations

import json
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch

from huggingface_digits import HELD_OUT, LOG, LR, TRAIN, Classifier, Digits, accuracy, arguments, sgd, watched
from lehr.torch import Scheduler

ACCUMULATE, EPOCHS = 2, 3
LOSS_POLICY = "Policy(warmup('10%').then(cosine(to=0.1)), rules=[when(loss.reaches(1.5)).scale(0.5)])"
LOGGED_POLICY = (
    "Policy(warmup('10%').then(cosine(to=0.1)), rules=[when(loss.reaches(1.2)).scale(0.5), "
    "when(metric('eval_accuracy', best='max').reaches(0.7)).scale(0.7)])"
)

SAVED_POLICY = "Policy(constant(), rules=[when(metric('eval_accuracy', best='max').reaches(0.6)).scale(0.7)])"


def by_hand(scheduler_of: Any, overflow: int | None = None, folder: str = "") -> dict[str, Any]:
    """accelerate's own loop, with gradient accumulation and a prepared scheduler."""
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=ACCUMULATE)
    if overflow is not None:
        accelerator.scaler = torch.amp.GradScaler("cpu")
    model = Classifier()
    optimizer = sgd(model)
    lrs = watched(optimizer)
    loader: Any = torch.utils.data.DataLoader(Digits(TRAIN), batch_size=16)
    batches = -(-len(loader) // accelerator.num_processes)
    steps = EPOCHS * -(-batches // ACCUMULATE)
    scheduler = scheduler_of(optimizer, steps)
    model, optimizer, loader, prepared = accelerator.prepare(model, optimizer, loader, scheduler)
    done: dict[str, Any] = {"lrs": lrs, "losses": [], "applied": [], "steps": steps, "written": []}
    saved: list[Any] = []
    tried, reported = 0, torch.tensor(0.0)
    for epoch in range(EPOCHS):
        for batch in loader:
            with accelerator.accumulate(model):
                loss = model(**batch)["loss"]
                accelerator.backward(loss)
                reported = reported + loss.detach() / ACCUMULATE
                if accelerator.sync_gradients and tried == overflow:
                    next(model.parameters()).grad.mul_(float("inf"))
                before = len(lrs)
                optimizer.step()
                numbers = {"loss": reported} if isinstance(scheduler, Scheduler) else {}
                prepared.step(**numbers)
                optimizer.zero_grad()
            if accelerator.sync_gradients:
                tried += 1
                done["losses"].append(float(reported))
                done["applied"].append(len(lrs) > before)
                reported = torch.tensor(0.0)
                done["written"].append(optimizer.param_groups[0]["lr"])
        if folder and epoch == 1:
            accelerator.save_state(folder)
            saved = [len(lrs), len(done["written"])]
    if saved:
        done["saved"] = saved
        accelerator.load_state(folder)
        done["loaded"] = optimizer.param_groups[0]["lr"], getattr(scheduler, "t", None)
    done["done"] = getattr(scheduler, "done", None)
    return done


def by_trainer(
    kind: str, folder: str, policy: str = LOGGED_POLICY, at: str | None = None, **saving: Any
) -> dict[str, Any]:
    """transformers' Trainer, or ours that hears every loss."""
    from transformers import Trainer, TrainerCallback

    from lehr.huggingface import Feedback, PolicyArguments, PolicyTrainer
    from lehr.huggingface import Scheduler as Late

    model = Classifier()
    losses: list[float] = []
    usual: dict[str, Any] = {"train_dataset": Digits(TRAIN), "eval_dataset": Digits(HELD_OUT)}
    usual["compute_metrics"] = accuracy
    given: dict[str, Any] = {"eval_strategy": "steps", "eval_steps": LOG, "per_device_eval_batch_size": 100, **saving}
    lrs: list[float] = []
    if kind == "policy":

        class Noting(PolicyTrainer):
            def training_step(self, *args: Any, **kwargs: Any) -> Any:
                loss = super().training_step(*args, **kwargs)
                losses.append(float(loss))
                return loss

        class Watch(TrainerCallback):  # type: ignore[misc]
            def on_train_begin(self, *args: Any, optimizer: Any, **kwargs: Any) -> None:
                optimizer.optimizer.register_step_pre_hook(lambda o, a, k: lrs.append(o.param_groups[0]["lr"]))

        args = arguments(folder, PolicyArguments, lr_policy=LOSS_POLICY, optim_args="momentum=0.9", **given)
        trainer: Any = Noting(model, args, callbacks=[Watch()], **usual)
    else:
        optimizer = sgd(model)
        lrs = watched(optimizer)
        scheduler = Late(optimizer, policy)
        trainer = Trainer(
            model,
            arguments(folder, **given),
            optimizers=(optimizer, scheduler),
            callbacks=[Feedback()],
            **usual,
        )
    trainer.train(resume_from_checkpoint=at)
    return {
        "lrs": lrs,
        "losses": losses,
        "logs": trainer.state.log_history,
        "horizon": str(trainer.lr_scheduler.horizon),
        "steps": trainer.state.global_step,
        "fired": [str(event) for event in trainer.lr_scheduler.events if event.kind == "rule"],
    }


def main() -> None:
    from accelerate import PartialState

    torch.set_num_threads(1)
    rank, out = PartialState(cpu=True).process_index, Path(sys.argv[1])
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR
    played = {"world": PartialState().num_processes, "backend": torch.distributed.get_backend()}
    played["updates"] = by_hand(
        lambda o, n: Scheduler(o, LOSS_POLICY, steps=n, count="updates"), folder=str(out / "state")
    )
    played["skipped"] = by_hand(lambda o, n: Scheduler(o, LOSS_POLICY, steps=n, count="updates"), overflow=3)
    played["torch"] = by_hand(lambda o, n: cosine(o, n))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        by_hand(lambda o, n: Scheduler(o, "cosine()", steps=n))
    played["warned"] = [str(item.message) for item in caught]
    for kind in ("logged", "policy"):
        played[kind] = by_trainer(kind, tempfile.mkdtemp())
    saving: dict[str, Any] = {
        "eval_steps": 1,
        "logging_steps": 1,
        "save_strategy": "steps",
        "save_steps": 1,
        "max_steps": 12,
    }
    played["whole"] = by_trainer("logged", str(out / "trainer"), SAVED_POLICY, **saving)
    played["from"] = sum(lr == LR for lr in played["whole"]["lrs"]) - 1  # saved right after what made the rule fire
    at = str(out / "trainer" / f"checkpoint-{played['from']}")
    played["resumed"] = by_trainer("logged", tempfile.mkdtemp(), SAVED_POLICY, at, **saving)
    (out / f"{rank}.json").write_text(json.dumps(played))


if __name__ == "__main__":
    main()
