"""Replay: a trace with its own policy comes to its own decisions; any other policy hears what was recorded, no more."""

from __future__ import annotations

import math
import random
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lehr
from lehr.rules.catalogue import CATALOGUE

STEPS = 240
RNG = random.Random(3)
LOSSES = [2 * math.exp(-t / 40) + 0.3 + RNG.gauss(0, 0.03) + (0.4 if 150 <= t < 170 else 0) for t in range(STEPS)]
LOSSES[70] = LOSSES[71] = math.nan
LOSSES[120] = math.inf
VALIDATION = [0.9 - 0.5 * math.exp(-t / 50) + RNG.gauss(0, 0.01) for t in range(STEPS)]

POLICIES = [
    "Policy(warmup(20).then(cosine()), rules=[when(loss.improves_less_than(0.05, 20, test='means')).scale(0.7)])",
    "when(loss.improves_less_than(0.05, '10%')).scale(0.7)",
    "when(loss.improves_less_than(0.05, '10%'), shadow=True).scale(0.7)",
    "when(loss.smoothed(5).plateaus(3, margin=0.02)).scale(0.8).rest(10)",
    "when(loss.plateaus(4, flavor='torch')).scale(0.5)",
    "when(metric('accuracy', best='max').plateaus(1)).scale(0.5).at_most(2)",
    "when(metric('accuracy', best='max').reaches(0.7, rearm=0.6)).saturate(0.5)",
    "when(loss.diverges()).scale(0.5)",
    "when(always()).relax(0.01)",
    "when(loss.reaches(0.5) & metric('accuracy', best='max').reaches(0.8)).begin(linear('20%'))",
    "when(loss.reaches(0.31) | loss.diverges()).scale(0.9).after('30%').every_time()",
    "when(~loss.reaches(1.0)).scale(0.9)",
    "when(evaluation('held', every=25, best='max').reaches(0.8)).stop()",
    "when(evaluation('held', every='10%', best='max').plateaus(0)).scale(0.5)",
    "Policy(linear(), rules=[when(loss.reaches(0.6)).scale(0.5), when(loss.diverges()).scale(2)], max_lr=0.05)",
    "groups(cosine(), when(loss.reaches(0.4)).saturate(0.5))",
]


def recorded(path: Path, policy: Any, every: int = 1) -> lehr.Controller:
    """A run in which a loss is reported at updates, and an accuracy between them."""
    run: lehr.Controller = lehr.Controller(
        lehr.as_policy(policy),
        {"lr": (0.1, 0.3)},
        lehr.Horizon(steps=STEPS),
        evaluate=dict.fromkeys(("held", "loss", "accuracy"), lambda: VALIDATION[run.t]),
        groups=[{}, {}],
        carry_out=lambda action, event: "restored",
    )
    with lehr.record(run, path), warnings.catch_warnings():
        warnings.simplefilter("ignore", lehr.LehrWarning)  # of what is not reported; it is in the journal, too
        while not run.done:
            last = min(run.t + every, STEPS) - 1
            run.advance(
                last + 1 - run.t,
                {"loss": LOSSES[last], "distance": abs(math.sin(last / 9)), "alignment": math.cos(last)},
            )
            if run.t % 10 == 0:
                run.observe(accuracy=VALIDATION[last], speed=last)
        run.finish()
    return run


def decisions(events: Any) -> list[Any]:
    """All of each event but what an adapter says that it did."""
    return [(e.step, e.last, e.kind, e.rule, e.action, e.lr_before, e.lr_after, e.times, e.verdict) for e in events]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("every", [1, 7])
def test_a_trace_with_its_own_policy_comes_to_its_own_decisions(policy: str, every: int, tmp_path: Path) -> None:
    run = recorded(tmp_path / "t", policy, every)
    again = lehr.replay(tmp_path / "t")
    assert every > 1 or [event for event in run.events if event.kind != "finish"], "this policy decides nothing"
    assert again.events == list(run.events)
    assert again.parts_at is None
    real = lehr.Trace.read(tmp_path / "t")
    assert again.trace.columns.keys() == real.columns.keys()
    for name, column in again.trace.columns.items():
        assert np.array_equal(column, real.columns[name], equal_nan=True), name


@pytest.mark.parametrize("text", sorted({row.example for row in CATALOGUE}))
def test_every_rule_of_the_catalogue_replays_to_its_own_decisions(text: str, tmp_path: Path) -> None:
    run = recorded(tmp_path / "t", text)
    again = lehr.replay(tmp_path / "t")
    assert decisions(again.events) == decisions(run.events)
    assert np.array_equal(again.trace.columns["lr"], lehr.Trace.read(tmp_path / "t").columns["lr"])


def test_a_report_between_updates_is_heard_between_them(tmp_path: Path) -> None:
    run = lehr.start("when(metric('acc', best='max').reaches(0.5)).scale(0.5)", lr=1.0, steps=4)
    with lehr.record(run, tmp_path / "t"):
        run.step(loss=1.0)
        run.observe(acc=0.6)
        assert run.lr == 0.5  # update 1 uses it already
        for _ in range(3):
            run.step(loss=1.0)
    again = lehr.replay(tmp_path / "t")
    assert [event.step for event in again.firings] == [1]
    assert again.trace.columns["lr"].tolist() == [1.0, 0.5, 0.5, 0.5]


def log(steps: list[int], **numbers: list[float]) -> lehr.Trace:
    """A trace as a foreign log leaves it."""
    columns = {name: np.array(values) for name, values in numbers.items()}
    return lehr.Trace({}, {"step": np.array(steps, dtype=float), **columns})


def test_another_policy_hears_what_was_recorded_when_it_was(tmp_path: Path) -> None:
    losses = [1.0, 0.8, 0.8, 0.8, 0.8, 0.5]
    seen = lehr.replay(log([9, 19, 29, 39, 49, 59], loss=losses, lr=[0.2] * 6), "when(loss.plateaus(1)).scale(0.5)")
    # 0.8 is the best at step 19; the second observation without improvement is at 39, and update 40 feels it.
    assert [(event.step, event.lr_before, event.lr_after) for event in seen.firings] == [(40, (0.2,), (0.1,))]
    assert seen.trace.columns["lr"].tolist() == [0.2] * 40 + [0.1] * 20
    assert seen.recorded_lr.tolist()[8:] != seen.trace.columns["lr"].tolist()[8:]
    assert np.isnan(seen.recorded_lr[:9]).all()
    assert (seen.recorded_lr[9:] == 0.2).all()
    assert seen.parts_at == 40


def test_rules_that_act_at_every_update_act_between_the_reports_too() -> None:
    seen = lehr.replay(log([4, 9], loss=[1.0, 1.0]), "when(always()).scale(0.5)")
    assert seen.trace.columns["lr"].tolist() == [0.5**t for t in range(10)]
    assert sum(event.times for event in seen.firings) == 10


def test_an_evaluation_hears_the_last_report_once(tmp_path: Path) -> None:
    # Reported at 3, 5 and 25; evaluated after updates 9, 19 and 29: the one at 19 has nothing new to hear.
    seen = lehr.replay(
        log([3, 5, 25, 29], acc=[0.9, 0.1, 0.5, math.nan], loss=[1.0] * 4),
        "when(evaluation('acc', every=10, best='max').plateaus(0)).scale(0.5)",
    )
    heard = seen.trace.columns["acc"]
    assert {int(t): heard[t] for t in np.flatnonzero(np.isfinite(heard))} == {9: 0.1, 29: 0.5}
    assert not seen.firings


def test_a_stop_ends_the_replay_and_says_what_was_left() -> None:
    seen = lehr.replay(log(list(range(50)), loss=[1.0] * 20 + [0.1] * 30), "when(loss.reaches(0.5)).stop()")
    assert len(seen.trace.columns["lr"]) == 21
    assert "the run would have been over at step 21; the log goes on to 49" in seen.notes
    assert "would have acted 1 time:" in seen.words()


def test_the_caveat_is_said_once_and_only_where_the_lr_parts_from_the_recorded_one() -> None:
    seen = log(list(range(100)), loss=[1.0] * 100, lr=[0.1] * 100)
    twice = lehr.replay(seen, "when(loss.plateaus(9)).scale(0.5)")
    assert len(twice.firings) > 1
    assert str(twice).count("belongs to that") == 1
    assert f"from step {twice.firings[0].step} on" in str(twice)
    shadow = lehr.replay(seen, "when(loss.plateaus(9), shadow=True).scale(0.5)")
    assert shadow.of("shadow")
    assert "belongs to that" not in str(shadow)
    assert str(shadow).startswith("would have acted 0 times\nrules in the shadow would have acted")
    unknown = lehr.replay(log(list(range(100)), loss=[1.0] * 100), "when(loss.plateaus(9)).scale(0.5)")
    assert unknown.parts_at == unknown.firings[0].step


@pytest.mark.parametrize(
    ("columns", "given", "bases", "words"),
    [
        ({"lr": [0.0, 0.3, 0.2]}, None, [0.3], "base LR 0.3, the largest that was recorded"),
        ({"lr": [0.1] * 3, "lr.1": [0.2, 0.4, 0.1]}, None, [0.1, 0.4], "base LR 0.1, 0.4, the largest"),
        ({"lr": [0.1] * 3}, 0.5, [0.5], "base LR 0.5, as given"),
        ({"lr": [math.nan] * 3}, None, [1.0], "no LR was recorded: the base LR is 1"),
        ({}, None, [1.0], "no LR was recorded"),
    ],
)
def test_where_the_base_lr_comes_from(columns: Any, given: Any, bases: list[float], words: str) -> None:
    seen = lehr.replay(log([0, 1, 2], loss=[1.0] * 3, **columns), "constant()", lr=given)
    assert seen.trace.header["base_lrs"] == bases
    assert [seen.trace.columns[name][0] for name in ("lr", "lr.1")[: len(bases)]] == bases
    assert any(note.startswith(words) for note in seen.notes)


def test_the_length_of_the_run_is_as_given_else_as_the_log_says_else_its_own() -> None:
    seen = log(list(range(10)), loss=[1.0] * 10)
    assert lehr.replay(seen, "linear()").trace.columns["lr"][5] == 0.5
    assert lehr.replay(seen, "linear()", steps=20).trace.columns["lr"][5] == 0.75
    seen.header["horizon"] = {"steps": 40, "steps_per_epoch": 4}
    assert lehr.replay(seen, "linear('5 epochs')").trace.columns["lr"][5] == 0.75
    assert lehr.replay(seen, "linear()", steps=20).trace.columns["lr"][5] == 0.75
    assert lehr.replay(seen, "linear()", horizon=lehr.Horizon(steps_per_epoch=2)).trace.columns["lr"][5] == 0.875
    assert (
        lehr.replay(seen, "linear('5 epochs')", horizon=lehr.Horizon(steps_per_epoch=2)).trace.columns["lr"][5] == 0.5
    )


def test_a_run_that_was_longer_than_the_policy_is_replayed_to_its_end() -> None:
    seen = lehr.replay(log(list(range(10)), loss=[1.0] * 10), "constant()", steps=6)
    assert len(seen.trace.columns["lr"]) == 6
    assert "the run would have been over at step 6; the log goes on to 9" in seen.notes


def test_groups_have_the_names_that_are_given() -> None:
    seen = log([0, 1], loss=[1.0, 1.0], **{"lr": [0.1, 0.1], "lr.1": [0.2, 0.2]})
    policy = "groups(head=constant(), default=constant(0.5))"
    found = lehr.replay(seen, policy, names=["body", "head"])
    assert [found.trace.columns[name][0] for name in ("lr", "lr.1")] == [0.05, 0.2]
    with pytest.raises(lehr.LehrError, match="1 names for the 2 groups"):
        lehr.replay(seen, policy, names=["head"])


def test_other_hyperparameters_are_replayed_as_factors() -> None:
    seen = lehr.replay(log([0, 1], loss=[1.0, 1.0], lr=[0.1, 0.1]), "bind(lr=constant(), momentum=linear())")
    assert seen.trace.columns["lr"].tolist() == [0.1, 0.1]


def test_verdicts_stand_from_the_step_on_at_which_they_are_given(tmp_path: Path) -> None:
    path = tmp_path / "t"
    recorded(path, "when(loss.improves_less_than(0.05, '10%'), shadow=True).scale(0.7)")
    again = lehr.replay(path)
    told = [(event.step, event.verdict) for event in again.of("verdict")]
    assert told, "the log is too dull"
    assert set(told) <= {(standing.first, standing.verdict) for standing in again.standings}
    assert all(one.last <= other.first for one, other in zip(again.standings, again.standings[1:], strict=False))


def test_what_the_log_lacks_is_named_with_the_nearest_that_it_has() -> None:
    seen = log([0, 1], eval_loss=[1.0, 1.0], speed=[1.0, 1.0])
    words = r"reads 'val_loss'.*there are eval_loss, speed; the nearest is 'eval_loss'.*--column val_loss='eval_loss'"
    with pytest.raises(lehr.LehrError, match=words):
        lehr.replay(seen, "when(metric('val_loss', best='min').reaches(1)).stop()")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"policy": None}, "names no policy"),
        ({"steps": 5, "horizon": lehr.Horizon(steps=5)}, "steps= or horizon=, not both"),
        ({"lr": -1.0}, "finite number of at least 0"),
        ({"lr": math.nan}, "finite number of at least 0"),
        ({"columns": {"loss": "x"}}, "names columns of a file"),
    ],
)
def test_what_cannot_be_replayed_is_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(lehr.LehrError, match=words):
        lehr.replay(log([0, 1], loss=[1.0, 1.0]), **{"policy": "constant()", **arguments})


def test_an_empty_log_is_refused() -> None:
    with pytest.raises(lehr.LehrError, match="holds no step"):
        lehr.replay(lehr.Trace({}, {"step": np.array([])}), "constant()")


def test_a_log_that_is_sparse_brings_no_warnings_of_forgotten_reports() -> None:
    seen = lehr.replay(log([499, 999], loss=[1.0, 0.9]), "when(loss.reaches(0.1)).stop()")
    assert seen.of("warning") == []


def test_a_simulated_trace_can_be_replayed(tmp_path: Path) -> None:
    policy = "Policy(linear(), rules=[when(loss.plateaus(3)).scale(0.5)])"
    trace = lehr.simulate(policy, lr=0.1, steps=70, observations={"loss": LOSSES[:70]})
    again = lehr.replay(trace, policy)
    assert again.events == trace.events
    assert again.trace.columns["lr"].tolist() == trace.columns["lr"].tolist()


@pytest.mark.frameworks
@pytest.mark.parametrize("count", ["calls", "updates"])
def test_a_torch_run_replays_to_its_own_decisions(count: Any, tmp_path: Path) -> None:
    import torch

    from lehr.torch import Scheduler

    torch.manual_seed(0)
    model = torch.nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    policy = (
        "Policy(warmup(5).then(cosine(to=0.1)), rules=[when(loss.plateaus(3, margin=0.01)).scale(0.8), "
        "when(metric('val', best='min').plateaus(1)).scale(0.5), "
        "when(evaluation('weight', every=20, best='min').reaches(0.9)).scale(0.9)])"
    )
    sched = Scheduler(
        optimizer, policy, steps=120, count=count, model=model, evaluate={"weight": lambda m: float(m.weight.norm())}
    )
    inputs = torch.randn(120, 16, 4)
    with lehr.record(sched, tmp_path / "t"):
        for t, batch in enumerate(inputs):
            loss = (model(batch) - batch.sum(dim=1, keepdim=True)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if count == "calls" or t % 4 == 3:
                sched.step(loss=loss)
            if t % 8 == 7:
                sched.observe(val=float(loss.detach()) + 0.01 * t)
        sched.finish()
    again = lehr.replay(tmp_path / "t")
    assert len(again.firings) > 3
    assert again.events == list(sched.events)
    assert again.trace.columns["lr"].tolist() == lehr.Trace.read(tmp_path / "t").columns["lr"].tolist()


def test_the_logs_own_policy_may_read_what_was_never_reported(tmp_path: Path) -> None:
    run = lehr.start("when(metric('val', best='min').reaches(0)).stop()", lr=0.1, steps=5)
    with lehr.record(run, tmp_path / "t"):
        for _ in range(5):
            run.step(loss=1.0)
    assert not lehr.replay(tmp_path / "t").firings


@pytest.mark.parametrize("rule", ["when(always()).scale(0.999)", "when(loss.plateaus(1)).scale(0.9)"])
def test_silence_is_passed_at_once_as_step_by_step(rule: str) -> None:
    """A rule that heeds silence makes the player go step by step; beside one that never acts nothing may differ."""
    steps = [17, 180, 4500, 9001, 9002, 12_000]
    numbers = {"loss": [1.0, 1.0, 1.0, 0.5, 0.5, 0.5], "acc": [0.1, 0.2, 0.2, 0.2, 0.1, 0.3], "lr": [0.1] * 6}
    held = "when(evaluation('acc', every=1000, best='max').plateaus(0)).scale(0.7)"
    policy = f"Policy(warmup(50).then(cosine()), rules=[{rule}, {held}], min_lr=1e-4)"
    slow = policy.replace("rules=[", "rules=[when(always(), shadow=True).scale(0.5), ")
    one, other = (lehr.replay(log(steps, **numbers), text) for text in (policy, slow))
    assert one.firings == other.firings
    for name, column in one.trace.columns.items():
        assert np.array_equal(column, other.trace.columns[name], equal_nan=True), name
    assert len(one.trace.columns["step"]) == 12_001


def test_a_cadence_gathers_in_a_replay_as_in_a_run(tmp_path: Path) -> None:
    policy = "Policy(cosine(), rules=[when(loss.plateaus(2, margin=0.05)).scale(0.8)], cadence=8)"
    run = recorded(tmp_path / "t", policy)
    again = lehr.replay(tmp_path / "t")
    assert again.firings
    assert again.events == list(run.events)


def test_steps_that_go_back_are_refused() -> None:
    with pytest.raises(lehr.LehrError, match="must increase, got 3 after 5"):
        lehr.replay(log([0, 5, 3], loss=[1.0] * 3), "constant()")


def test_an_lr_that_was_recorded_now_and_then_and_rounded_is_still_the_same() -> None:
    lrs = lehr.cosine().resolve(steps=1000)(np.arange(1000))
    steps = list(range(49, 1000, 50))
    seen = log(steps, loss=[1.0] * 20, lr=[float(f"{0.3 * lrs[t]:.2e}") for t in steps])
    assert lehr.replay(seen, "cosine()", lr=0.3).parts_at is None
    assert lehr.replay(seen, "cosine(to=0.5)", lr=0.3).parts_at == 99  # 0.988 of the peak where 0.976 was recorded
    assert lehr.replay(seen, "Policy(cosine(), rules=[when(loss.plateaus(4)).stop()])", lr=0.3).parts_at is None
    cut = lehr.replay(seen, "Policy(cosine(), rules=[when(loss.plateaus(4)).scale(0.5)])", lr=0.3)
    assert cut.parts_at == cut.firings[0].step == 300


def test_decimal_commas_are_said(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("step;loss\n0;1,5\n1;1,25\n")
    with pytest.raises(lehr.LehrError, match=r"'loss', and that column holds no numbers; they look like 0\.5"):
        lehr.replay(tmp_path / "log.csv", "when(loss.reaches(1)).stop()")


def test_an_action_that_restores_weights_is_noted_and_not_done(tmp_path: Path) -> None:
    rows = [f"{t},{'nan' if 20 <= t < 23 else 1.0}" for t in range(40)]
    (tmp_path / "log.csv").write_text("\n".join(["step,loss", *rows]))
    again = lehr.replay(tmp_path / "log.csv", "Policy(constant(), rules=guard())", lr=0.1)
    (event,) = again.firings
    assert event.step == 23
    assert "in a replay nothing is restored" in event.words
