"""transformers' Trainer with a policy of Lehr: the LRs of a bare loop, over accumulation, skips, kill and resume."""

from __future__ import annotations

import difflib
import json
import logging
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import lehr
from huggingface_digits import (
    ACCUMULATE,
    HELD_OUT,
    LOG,
    LR,
    TRAIN,
    Classifier,
    Digits,
    Killed,
    Overflow,
    accuracy,
    arguments,
    bare_loop,
    killer,
    sgd,
    watched,
    weights,
)

pytestmark = [pytest.mark.peers, pytest.mark.frameworks]

SCHEDULE = "warmup('10%').then(cosine(to=0.1))"
POLICY = (
    f"Policy({SCHEDULE}, rules=[when(loss.reaches(1.2)).scale(0.5), "
    "when(metric('eval_accuracy', best='max').reaches(0.7)).scale(0.7)])"
)
UPDATES = 30  # 5 epochs of 6 updates


class Training:
    """A trainer with all its fresh objects, as a new process has them."""

    def __init__(
        self,
        folder: Path,
        policy: Any = POLICY,
        *,
        lr: float = LR,
        overflow: Sequence[int] | None = None,
        callbacks: Sequence[Any] = (),
        **given: Any,
    ) -> None:
        from transformers import Trainer

        from lehr.huggingface import Feedback, Scheduler

        self.model = Classifier()
        self.optimizer = sgd(self.model, lr)
        self.lrs = watched(self.optimizer)
        how: dict[str, Any] = {
            name: given.pop(name) for name in ("on_change", "snapshots", "strict", "tokens_per_step") if name in given
        }
        if "snapshots" in how:
            how["model"] = self.model
        self.scheduler = Scheduler(self.optimizer, policy, **how)
        evaluations = {"eval_strategy": "steps", "eval_steps": LOG}
        self.trainer = Trainer(
            self.model,
            arguments(folder, **{**evaluations, **given}),
            train_dataset=Digits(TRAIN),
            eval_dataset=Digits(HELD_OUT),
            compute_metrics=accuracy,
            optimizers=(self.optimizer, self.scheduler),
            callbacks=[Feedback(), *callbacks],
        )
        if overflow is not None:
            Overflow(self.model, overflow)
            self.trainer.accelerator.scaler = torch.amp.GradScaler("cpu")

    def run(self, **how: Any) -> Training:
        self.trainer.train(**how)
        return self

    @property
    def fired(self) -> list[str]:
        return [str(event) for event in self.scheduler.events if event.kind == "rule"]


def theirs(folder: Path, **given: Any) -> tuple[Any, list[float]]:
    """A Trainer with a scheduler of its own, and the LRs that its updates use."""
    from transformers import Trainer

    model = Classifier()
    optimizer = sgd(model)
    usual = {"lr_scheduler_type": "cosine", "eval_strategy": "no"}
    trainer = Trainer(
        model,
        arguments(folder, **{**usual, **given}),
        train_dataset=Digits(TRAIN),
        eval_dataset=Digits(HELD_OUT),
        compute_metrics=accuracy,
        optimizers=(optimizer, None),
    )
    return trainer, watched(optimizer)


# The same LRs as the bare loop


def test_lrs_and_weights_are_those_of_a_bare_loop_with_accumulation_and_evaluation(tmp_path: Path) -> None:
    mine, bare = Training(tmp_path).run(), bare_loop(POLICY, UPDATES)
    assert mine.lrs == bare.lrs
    assert weights(mine.model) == bare.weights
    assert mine.fired == bare.events
    assert len(bare.events) == 2, "both rules fire"


def test_a_skipped_update_and_a_kill_in_mid_epoch_leave_the_lrs_of_the_bare_loop(tmp_path: Path) -> None:
    skipped = 16 + 4  # the 21st backward pass, in the 8th update
    bare = bare_loop(POLICY, UPDATES, overflow=[skipped])
    first = Training(tmp_path, overflow=[skipped], save_strategy="steps", save_steps=LOG, callbacks=[killer(13)])
    with pytest.raises(Killed):
        first.run()
    assert len(first.lrs) == 12, "one of the 13 updates was skipped"
    resumed = Training(tmp_path, overflow=[], save_strategy="steps", save_steps=LOG).run(resume_from_checkpoint=True)
    assert resumed.trainer.state.global_step == UPDATES
    assert first.lrs[:9] + resumed.lrs == bare.lrs
    assert resumed.scheduler.t == len(bare.lrs) == UPDATES - 1
    assert weights(resumed.model) == bare.weights
    assert resumed.fired == bare.events


def test_a_second_training_begins_the_policy_anew_where_theirs_goes_on_at_its_end(tmp_path: Path) -> None:
    from transformers import Trainer, get_cosine_schedule_with_warmup

    mine = Training(tmp_path, SCHEDULE).run().run()
    assert mine.lrs[:UPDATES] == mine.lrs[UPDATES:]

    model = Classifier()
    optimizer = sgd(model)
    lrs = watched(optimizer)
    scheduler = get_cosine_schedule_with_warmup(optimizer, 0, UPDATES)
    trainer = Trainer(model, arguments(tmp_path), train_dataset=Digits(TRAIN), optimizers=(optimizer, scheduler))
    trainer.train()
    trainer.train()
    assert lrs[UPDATES] < 1e-12 * LR, "their second training begins at an LR of 0"


def test_a_resume_with_the_same_objects_is_bit_equal_too(tmp_path: Path) -> None:
    mine = Training(tmp_path, save_strategy="steps", save_steps=10).run()
    mine.run(resume_from_checkpoint=str(tmp_path / "checkpoint-20"))
    assert mine.lrs[UPDATES:] == mine.lrs[20:UPDATES]


# The horizon is the trainer's


def test_the_horizon_is_taken_from_the_trainer(tmp_path: Path) -> None:
    mine = Training(tmp_path, tokens_per_step=1000).run()
    assert mine.scheduler.horizon == lehr.Horizon(
        steps=5 * 6, steps_per_epoch=6, samples_per_step=16 * ACCUMULATE, tokens_per_step=1000
    )


def test_a_stream_has_a_length_in_steps_but_no_epochs(tmp_path: Path) -> None:
    from transformers import Trainer

    from lehr.huggingface import Feedback, Scheduler

    class Stream(torch.utils.data.IterableDataset[Any]):
        def __iter__(self) -> Any:
            digits = Digits(TRAIN)
            return (digits[i] for i in range(len(digits)))

    model = Classifier()
    optimizer = sgd(model)
    scheduler = Scheduler(optimizer, "warmup('50%').then(cosine())")
    lrs = watched(optimizer)
    how: dict[str, Any] = {"optimizers": (optimizer, scheduler), "callbacks": [Feedback()]}
    Trainer(model, arguments(tmp_path, max_steps=8), train_dataset=Stream(), **how).train()
    assert lrs == [LR * f for f in lehr.parse("warmup(4).then(cosine(4))").resolve(steps=8)(range(8))]
    assert scheduler.horizon.steps_per_epoch is None


def test_longer_training_on_resume_does_not_make_the_lr_jump_where_theirs_does(tmp_path: Path) -> None:
    saving: dict[str, Any] = {"save_strategy": "steps", "save_steps": 20}
    mine = Training(tmp_path / "mine", SCHEDULE, **saving).run()
    longer = Training(tmp_path / "mine", SCHEDULE, num_train_epochs=10, **saving)
    longer.run(resume_from_checkpoint=str(tmp_path / "mine" / "checkpoint-20"))
    assert longer.lrs[0] == pytest.approx(mine.lrs[20], rel=1e-15)
    assert all(b < a for a, b in zip(longer.lrs, longer.lrs[1:], strict=False))
    assert len(longer.lrs) == 40
    assert [e.kind for e in longer.scheduler.events] == ["replan"]
    # Up to a factor it is the curve of the longer run.
    curve = lehr.parse(SCHEDULE).resolve(steps=60)(range(20, 60))
    assert [lr / longer.lrs[0] for lr in longer.lrs] == pytest.approx(list(curve / curve[0]), rel=1e-12)

    trainer, lrs = theirs(tmp_path / "theirs", **saving)
    trainer.train()
    trainer, more = theirs(tmp_path / "theirs", num_train_epochs=10, **saving)
    trainer.train(resume_from_checkpoint=str(tmp_path / "theirs" / "checkpoint-20"))
    assert more[1] > 2 * lrs[21], "their LR is more than double of what it was to be"


def test_a_finished_run_that_came_down_to_0_is_not_stretched_without_a_word(tmp_path: Path) -> None:
    saving: dict[str, Any] = {"save_strategy": "steps", "save_steps": UPDATES, "policy": "linear()"}
    Training(tmp_path, **saving).run()
    with pytest.raises(lehr.LehrError, match=r"LR of 0 at step 30.*use_new"):
        Training(tmp_path, num_train_epochs=10, **saving).run(resume_from_checkpoint=True)
    longer = Training(tmp_path, num_train_epochs=10, on_change="use_new", **saving).run(resume_from_checkpoint=True)
    assert longer.lrs == [LR * f for f in lehr.parse("linear()").resolve(steps=60)(range(30, 60))]


def test_a_changed_learning_rate_on_resume_is_an_explicit_choice_where_theirs_is_ignored(tmp_path: Path) -> None:
    from transformers import Trainer

    saving: dict[str, Any] = {"save_strategy": "steps", "save_steps": 10}
    mine = Training(tmp_path / "mine", SCHEDULE, **saving).run()
    at = {"resume_from_checkpoint": str(tmp_path / "mine" / "checkpoint-20")}
    with pytest.raises(lehr.LehrError, match=r"base lr \[0.5\] \(saved\) → \[0.25\] \(now\)"):
        Training(tmp_path / "mine", SCHEDULE, lr=0.25, **saving).run(**at)
    halved = Training(tmp_path / "mine", SCHEDULE, lr=0.25, on_change="use_new", **saving).run(**at)
    assert halved.lrs == [lr / 2 for lr in mine.lrs[20:]]

    for lr in (0.5, 0.25):
        trainer = Trainer(
            Classifier(), arguments(tmp_path / "theirs", learning_rate=lr, **saving), train_dataset=Digits(TRAIN)
        )
        trainer.train(resume_from_checkpoint=None if lr == 0.5 else str(tmp_path / "theirs" / "checkpoint-10"))
    logged = {log["step"]: log["learning_rate"] for log in trainer.state.log_history if "learning_rate" in log}
    assert logged[15] == pytest.approx(0.5 * (1 - 14 / 30)), "learning_rate=0.25 did nothing"


def test_a_changed_policy_on_resume_is_an_error_unless_said(tmp_path: Path) -> None:
    saving: dict[str, Any] = {"save_strategy": "steps", "save_steps": 10}
    Training(tmp_path, "cosine()", **saving).run()
    at = {"resume_from_checkpoint": str(tmp_path / "checkpoint-10")}
    with pytest.raises(
        lehr.LehrError, match=r"Policy\(cosine\(\)\) \(saved\) → Policy\(linear\(\)\) \(now\).*keep_saved"
    ):
        Training(tmp_path, "linear()", **saving).run(**at)
    kept = Training(tmp_path, "linear()", on_change="keep_saved", **saving).run(**at)
    assert kept.lrs == [LR * f for f in lehr.parse("cosine()").resolve(steps=30)(range(10, 30))]


def test_a_checkpoint_without_a_scheduler_is_refused_where_theirs_begins_the_curve_again(tmp_path: Path) -> None:
    saving: dict[str, Any] = {"save_strategy": "steps", "save_steps": 20, "save_only_model": True}
    Training(tmp_path / "mine", SCHEDULE, **saving).run()
    with pytest.raises(lehr.LehrError, match="goes on at step 20, but the checkpoint has no state of the scheduler"):
        Training(tmp_path / "mine", SCHEDULE, **saving).run(
            resume_from_checkpoint=str(tmp_path / "mine" / "checkpoint-20")
        )

    theirs(tmp_path / "theirs", **saving)[0].train()
    trainer, lrs = theirs(tmp_path / "theirs", **saving)
    trainer.train(resume_from_checkpoint=str(tmp_path / "theirs" / "checkpoint-20"))
    assert lrs[0] == LR, "their run goes on at step 20 with the LR of step 0"


# What the rules hear


def test_each_number_is_heard_once_by_its_name_in_the_logs(tmp_path: Path) -> None:
    mine = Training(tmp_path, strict=True)  # two different reports at one step would be an error
    heard: list[tuple[tuple[int, str], float]] = []
    nobody: list[Any] = []
    mine.scheduler.subscribe(nobody.append)()  # ended before the training begins
    mine.scheduler.subscribe(
        lambda step, lrs, numbers: heard.extend(((step, name), value) for name, value in numbers.items()), on="steps"
    )
    mine.trainer.evaluate()  # before the training: heard by nobody
    mine.run()
    names = ("loss", "grad_norm", "eval_loss", "eval_accuracy", "train_loss")
    logged = [log for log in mine.trainer.state.log_history if log["step"] > 0]
    told = {(log["step"], name): log[name] for log in logged for name in names if name in log}
    with torch.no_grad():
        next(mine.model.parameters()).zero_()
    mine.trainer.evaluate()  # after it: another value at the same step, heard by nobody
    assert dict(heard) == told
    assert len(heard) == len(told)
    assert not nobody


def test_a_rule_that_stops_the_run_stops_the_trainer(tmp_path: Path) -> None:
    policy = f"Policy({SCHEDULE}, rules=[when(metric('eval_accuracy', best='max').reaches(0.6)).stop()])"
    mine, bare = Training(tmp_path, policy).run(), bare_loop(policy, UPDATES)
    assert mine.lrs == bare.lrs
    assert mine.trainer.state.global_step == len(bare.lrs) < UPDATES


def test_a_rollback_restores_the_weights(tmp_path: Path) -> None:
    policy = "Policy(constant(), rules=[when(metric('eval_accuracy', best='max').reaches(0.6)).rollback(to='start')])"
    mine = Training(tmp_path, policy, snapshots=True)
    seen: list[list[float]] = []
    from transformers import TrainerCallback

    class Look(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            seen.append(weights(mine.model))

    mine.trainer.add_callback(Look())
    mine.run()
    back = next(event.step for event in mine.scheduler.events if event.kind == "rule")
    assert seen[back] == seen[0] != seen[back - 1]


def test_events_go_to_pythons_logger_lehr(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="lehr"):
        mine = Training(tmp_path).run()
        first = mine.fired
        mine.run()
    said = [record.getMessage() for record in caplog.records if record.name == "lehr"]
    assert [words for words in said if " reached " in words] == first + mine.fired
    assert len(first) == len(mine.fired) == 2


# What cannot be


def test_without_the_callback_the_first_update_says_what_to_add(tmp_path: Path) -> None:
    from transformers import Trainer

    from lehr.huggingface import Scheduler

    model = Classifier()
    optimizer = sgd(model)
    scheduler = Scheduler(optimizer, SCHEDULE)
    assert isinstance(scheduler, torch.optim.lr_scheduler.LRScheduler)
    assert scheduler.get_last_lr() == [LR]
    assert "not begun" in repr(scheduler)
    with pytest.raises(lehr.LehrError, match=r"add lehr.huggingface.Feedback\(\) to the trainer's callbacks"):
        scheduler.state_dict()
    trainer = Trainer(model, arguments(tmp_path), train_dataset=Digits(TRAIN), optimizers=(optimizer, scheduler))
    with pytest.raises(lehr.LehrError, match=r"add lehr.huggingface.Feedback\(\) to the trainer's callbacks"):
        trainer.train()


def test_feedback_refuses_a_scheduler_that_is_not_lehrs(tmp_path: Path) -> None:
    from lehr.huggingface import Feedback

    trainer, _ = theirs(tmp_path)
    trainer.add_callback(Feedback())
    with pytest.raises(lehr.LehrError, match="this trainer runs LambdaLR"):
        trainer.train()


@pytest.mark.parametrize("given", [{"logging_strategy": "no"}, {"logging_steps": 500, "eval_steps": 5}])
def test_a_rule_that_waits_for_a_loss_needs_logs(tmp_path: Path, given: dict[str, Any]) -> None:
    with pytest.raises(lehr.LehrError, match="rules read the loss, but in 30 steps none is logged: set logging"):
        Training(tmp_path, **given).run()


def test_a_rule_that_waits_for_an_evaluation_needs_one(tmp_path: Path) -> None:
    for given in ({"eval_strategy": "no"}, {"eval_steps": 500}):
        with pytest.raises(lehr.LehrError, match="rules read eval_accuracy, but nothing is evaluated: set eval_str"):
            Training(tmp_path, **given).run()


@pytest.mark.parametrize("given", [{"steps": 10}, {"count": "calls"}, {"horizon": lehr.Horizon(steps=3)}, {"nope": 1}])
def test_what_the_trainer_tells_is_not_taken_from_elsewhere(given: dict[str, Any]) -> None:
    from lehr.huggingface import Scheduler

    with pytest.raises(lehr.LehrError, match=f"takes no {next(iter(given))}"):
        Scheduler(sgd(Classifier()), "cosine()", **given)


def test_feedback_serves_a_scheduler_with_a_length_of_its_own(tmp_path: Path) -> None:
    from transformers import Trainer

    from lehr.huggingface import Feedback
    from lehr.torch import Scheduler

    model = Classifier()
    optimizer = sgd(model)
    lrs = watched(optimizer)
    scheduler = Scheduler(optimizer, POLICY, steps=UPDATES)
    Trainer(
        model,
        arguments(tmp_path, eval_strategy="steps", eval_steps=LOG),
        train_dataset=Digits(TRAIN),
        eval_dataset=Digits(HELD_OUT),
        compute_metrics=accuracy,
        optimizers=(optimizer, scheduler),
        callbacks=[Feedback],  # transformers makes it
    ).train()
    assert lrs == bare_loop(POLICY, UPDATES).lrs


@pytest.mark.parametrize("missing", ["transformers", "accelerate"])
def test_without_the_extra_the_error_says_what_to_install(missing: str) -> None:
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "import lehr\n"
        "try:\n    import lehr.huggingface\n"
        "except lehr.LehrError as error:\n    print(error, isinstance(error, ImportError))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == f"this needs {missing}, which is not installed; pip install 'lehr[huggingface]' True"


# What their own plateau cannot


def test_their_plateau_ignores_the_warm_up_beside_it_and_hears_nothing_but_evaluations(tmp_path: Path) -> None:
    plateau: dict[str, Any] = {"lr_scheduler_type": "reduce_lr_on_plateau", "warmup_steps": 10}
    trainer, lrs = theirs(tmp_path, eval_strategy="steps", eval_steps=LOG, metric_for_best_model="loss", **plateau)
    trainer.train()
    assert lrs[0] == LR, "the warm-up of 10 steps did nothing"
    with pytest.raises(ValueError, match="requires an eval strategy"):
        arguments(tmp_path, **plateau)

    policy = "Policy(warmup(10).then(constant()), rules=[when(loss.plateaus(patience=0, margin=0.5)).scale(0.5)])"
    mine = Training(tmp_path, policy, eval_strategy="no").run()
    assert mine.lrs[:10] == [LR * (i + 1) / 10 for i in range(10)]
    assert mine.lrs[-1] < LR
    assert mine.fired


# The lines to change


QUICK_START = """
model = Classifier()
args = arguments(folder)
trainer = Trainer(
    model,
    args,
    train_dataset=Digits(TRAIN),
)
trainer.train()
"""
WITH_LEHR = """
model = Classifier()
args = arguments(folder)
optimizer = sgd(model)
trainer = Trainer(
    model,
    args,
    train_dataset=Digits(TRAIN),
    optimizers=(optimizer, Scheduler(optimizer, "warmup('10%').then(cosine(to=0.1))")),
    callbacks=[Feedback()],
)
trainer.train()
"""


def test_three_lines_change_in_the_quick_start(tmp_path: Path) -> None:
    from transformers import Trainer

    from lehr.huggingface import Feedback, Scheduler

    changed = [
        line
        for line in difflib.ndiff(QUICK_START.splitlines(), WITH_LEHR.splitlines())
        if line.startswith(("+ ", "- ")) and line[2:].strip()
    ]
    assert len(changed) == 3
    names: dict[str, Any] = {**globals(), "Trainer": Trainer, "Feedback": Feedback, "Scheduler": Scheduler}
    names["folder"] = tmp_path
    exec(QUICK_START, names)
    exec(WITH_LEHR, names)
    state = json.loads(json.dumps(names["trainer"].state.log_history))
    assert [log["learning_rate"] for log in state if "loss" in log] == bare_loop(SCHEDULE, UPDATES).lrs[LOG - 1 :: LOG]
