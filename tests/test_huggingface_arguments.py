"""`PolicyArguments` and `PolicyTrainer`: a policy as a flag of a script; rules hear the loss of every update."""

from __future__ import annotations

import math
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

import lehr
from huggingface_digits import (
    HELD_OUT,
    LOG,
    LR,
    TRAIN,
    Classifier,
    Digits,
    Killed,
    accuracy,
    arguments,
    bare_loop,
    killer,
    sgd,
    weights,
)

pytestmark = [pytest.mark.peers, pytest.mark.frameworks]

POLICY = (
    "Policy(warmup('10%').then(cosine(to=0.1)), rules=[when(loss.reaches(1.2)).scale(0.5), "
    "when(metric('eval_accuracy', best='max').reaches(0.7)).scale(0.7)])"
)


def policy_trainer(folder: Path, policy: str = POLICY, model: Any = None, **given: Any) -> tuple[Any, list[float]]:
    """A trainer of the arguments alone, and the LRs that its updates use."""
    from transformers import TrainerCallback

    from lehr.huggingface import PolicyArguments, PolicyTrainer

    model = model or Classifier()
    lrs: list[float] = []

    class Watch(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *args: Any, optimizer: Any, **kwargs: Any) -> None:
            optimizer.optimizer.register_step_pre_hook(lambda o, a, k: lrs.append(o.param_groups[0]["lr"]))

    usual = {"eval_strategy": "steps", "eval_steps": LOG, "optim_args": "momentum=0.9"}
    trainer = PolicyTrainer(
        model,
        arguments(folder, PolicyArguments, lr_policy=policy, **{**usual, **given}),
        train_dataset=Digits(TRAIN),
        eval_dataset=Digits(HELD_OUT),
        compute_metrics=accuracy,
        callbacks=[Watch()],
    )
    return trainer, lrs


def fired(trainer: Any) -> list[str]:
    return [str(event) for event in trainer.lr_scheduler.events if event.kind == "rule"]


def test_rules_hear_the_loss_of_every_update_as_in_a_bare_loop(tmp_path: Path) -> None:
    trainer, lrs = policy_trainer(tmp_path)
    trainer.train()
    bare = bare_loop(POLICY, 30, each=True)
    assert lrs == bare.lrs
    assert weights(trainer.model) == bare.weights
    assert fired(trainer) == bare.events
    assert len(bare.events) == 2
    assert bare.lrs != bare_loop(POLICY, 30).lrs, "the mean that is logged tells it later"


def test_a_stop_asked_for_by_the_loss_of_an_update_is_at_once(tmp_path: Path) -> None:
    policy = "Policy(constant(), rules=[when(loss.reaches(1.2)).stop()])"
    trainer, lrs = policy_trainer(tmp_path, policy)
    trainer.train()
    assert lrs == bare_loop(policy, 30, each=True).lrs
    assert trainer.state.global_step == len(lrs) < 30


def test_a_kill_and_a_resume_by_the_arguments_alone_are_bit_equal(tmp_path: Path) -> None:
    saving: dict[str, Any] = {"save_strategy": "steps", "save_steps": 8}
    trainer, first = policy_trainer(tmp_path, **saving)
    trainer.add_callback(killer(13))
    with pytest.raises(Killed):
        trainer.train()
    trainer, lrs = policy_trainer(tmp_path, **saving)
    trainer.train(resume_from_checkpoint=True)
    assert first[:8] + lrs == bare_loop(POLICY, 30, each=True).lrs


def test_the_flag_is_read_from_a_command_line(tmp_path: Path) -> None:
    from transformers import HfArgumentParser

    from lehr.huggingface import PolicyArguments, PolicyTrainer

    parser = HfArgumentParser(PolicyArguments)
    assert "--lr_policy" in parser.format_help()
    flags = ["--output_dir", str(tmp_path), "--use_cpu", "--report_to", "none", "--max_steps", "20"]
    flags += ["--dataloader_pin_memory", "false", "--logging_steps", "1", "--learning_rate", "0.5"]
    (args,) = parser.parse_args_into_dataclasses([*flags, "--lr_policy", "warmup('20%').then(cosine())"])
    trainer = PolicyTrainer(Classifier(), args, train_dataset=Digits(TRAIN))
    trainer.train()
    logged = [log["learning_rate"] for log in trainer.state.log_history if "learning_rate" in log]
    assert logged == [0.5 * f for f in lehr.warmup(4).then(lehr.cosine(16)).resolve(steps=20)(range(20))]


def test_without_the_flag_it_is_a_plain_trainer(tmp_path: Path) -> None:
    trainer, lrs = policy_trainer(tmp_path, "", lr_scheduler_type="constant", eval_strategy="no")
    trainer.train()
    assert lrs == [LR] * 30
    assert isinstance(trainer.lr_scheduler, torch.optim.lr_scheduler.LambdaLR)


@pytest.mark.parametrize("policy", ["", "cosine()"])
def test_losses_are_not_kept_for_longer_than_an_update(tmp_path: Path, policy: str) -> None:
    from lehr.huggingface import PolicyArguments, PolicyTrainer

    made: list[Any] = []
    living: list[int] = []

    class Noting(PolicyTrainer):
        def training_step(self, *args: Any, **kwargs: Any) -> Any:
            loss = super().training_step(*args, **kwargs)
            made.append(weakref.ref(loss))
            living.append(sum(one() is not None for one in made))
            return loss

    args = arguments(tmp_path, PolicyArguments, lr_policy=policy)
    Noting(Classifier(), args, train_dataset=Digits(TRAIN)).train()
    assert len(made) == 80
    assert max(living) <= 4


def test_a_loss_that_is_not_finite_is_heard_where_the_logs_hide_it(tmp_path: Path) -> None:
    class Breaks(Classifier):
        calls = 0

        def forward(self, pixels: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
            out = super().forward(pixels, labels)
            self.calls += 1
            return {**out, "loss": out["loss"] * (math.nan if self.calls == 5 else 1.0)}

    policy = "Policy(constant(), rules=[when(loss.diverges()).rollback(to='start')])"
    trainer, _ = policy_trainer(tmp_path, policy, Breaks(), gradient_accumulation_steps=1, eval_strategy="no")
    trainer.train()
    assert [event.step for event in trainer.lr_scheduler.events if event.kind == "rule"] == [5]
    assert all(math.isfinite(w) for w in weights(trainer.model)), "the snapshot was put back"

    from transformers import Trainer

    from lehr.huggingface import Feedback, Scheduler

    model = Breaks()
    optimizer = sgd(model)
    scheduler = Scheduler(optimizer, policy, model=model, snapshots=True)
    given: dict[str, Any] = {"gradient_accumulation_steps": 1, "logging_steps": 1}
    how: dict[str, Any] = {"optimizers": (optimizer, scheduler), "callbacks": [Feedback()]}
    plain = Trainer(model, arguments(tmp_path, **given), train_dataset=Digits(TRAIN), **how)
    plain.train()
    logged = [log["loss"] for log in plain.state.log_history if "loss" in log]
    assert logged[4:] == [0.0] * len(logged[4:]), "theirs logs 0 in place of NaN"
    assert all(math.isnan(w) for w in weights(model)[:64])
    assert not [event for event in scheduler.events if event.kind == "rule"]


def test_another_choice_on_resume_is_a_flag_too(tmp_path: Path) -> None:
    saving: dict[str, Any] = {"save_strategy": "steps", "save_steps": 10, "eval_strategy": "no"}
    trainer, _ = policy_trainer(tmp_path, "cosine()", **saving)
    trainer.train()
    at = str(tmp_path / "checkpoint-10")
    trainer, _ = policy_trainer(tmp_path, "linear()", **saving)
    with pytest.raises(lehr.LehrError, match="the saved run differs"):
        trainer.train(resume_from_checkpoint=at)
    trainer, lrs = policy_trainer(tmp_path, "linear()", lr_on_change="use_new", **saving)
    trainer.train(resume_from_checkpoint=at)
    assert lrs == [LR * f for f in lehr.linear(30).resolve(steps=30)(range(10, 30))]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"lr_policy": "cosin()"}, "cosine"),
        ({"lr_policy": "cosine()", "warmup_steps": 0.1}, r"warmup\('10%'\)"),
        ({"lr_policy": "cosine()", "warmup_steps": 100}, r"warmup\(100\)"),
        ({"lr_policy": "cosine()", "lr_on_change": "maybe"}, "use_new_no_jump"),
    ],
)
def test_what_cannot_be_is_refused_as_the_arguments_are_made(tmp_path: Path, given: dict[str, Any], words: str) -> None:
    from lehr.huggingface import PolicyArguments

    with pytest.raises(lehr.LehrError, match=words):
        arguments(tmp_path, PolicyArguments, **given)


def test_a_scheduler_or_feedback_beside_the_flag_is_refused(tmp_path: Path) -> None:
    from lehr.huggingface import Feedback, PolicyArguments, PolicyTrainer, Scheduler

    model, args = Classifier(), arguments(tmp_path, PolicyArguments, lr_policy="cosine()")
    optimizer = sgd(model)
    given: list[dict[str, Any]] = [
        {"optimizers": (optimizer, Scheduler(optimizer, "cosine()"))},
        {"callbacks": [Feedback()]},
    ]
    for how in given:
        with pytest.raises(lehr.LehrError, match="lr_policy brings a scheduler and its feedback"):
            PolicyTrainer(model, args, train_dataset=Digits(TRAIN), **how)


def test_a_model_that_the_trainer_makes_anew_gets_a_new_scheduler(tmp_path: Path) -> None:
    from lehr.huggingface import PolicyArguments, PolicyTrainer

    args = arguments(tmp_path, PolicyArguments, lr_policy="cosine()", logging_steps=1)
    trainer = PolicyTrainer(args=args, model_init=Classifier, train_dataset=Digits(TRAIN))
    trainer.train()
    trainer.train()
    logged = [log["learning_rate"] for log in trainer.state.log_history if "learning_rate" in log]
    assert logged == bare_loop("cosine()", 30).lrs
