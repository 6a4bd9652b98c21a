"""Many ranks, as real gloo processes: what must hold, and that each fault is seen by every rank."""

from __future__ import annotations

import json
import math
import pickle
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import lehr
from gloo import Played, Processes, Script
from lehr.gather import Sum
from lehr.torch import Scheduler
from lehr.torch.ranks import Ranks, Standing, disagreement, local_metrics, merged, packed, standing

pytestmark = pytest.mark.frameworks

PLATEAU = "when(loss.plateaus(1)).scale(0.5)"
ACC = "when(metric('acc', best='max').plateaus(1)).scale(0.9)"
BAD = "when(loss.diverges()).scale(0.1)"
ASKED: tuple[Script, Script] = ([], [("observe", {"trouble": 1.0})])  # by rank 1 alone
RNG = random.Random(7)
NOISY = [[math.exp(-t / 3) + RNG.gauss(0, 0.2) for t in range(40)] for _ in range(2)]


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    workers = Processes(2)
    yield workers
    workers.end()


class Runs:
    """Plays scripts on the processes, each time with a new process group."""

    def __init__(self, processes: Processes, folder: Path) -> None:
        self._processes, self._folder, self._count = processes, folder, 0

    def __call__(self, policy: Any, *scripts: Script, **options: Any) -> list[Played]:
        self._count += 1
        policies = policy if isinstance(policy, list) else [policy] * len(scripts)
        return self._processes.play(self._folder / f"store{self._count}", policies, scripts, **options)


@pytest.fixture
def runs(processes: Processes, tmp_path: Path) -> Runs:
    return Runs(processes, tmp_path)


def policy(*rules: str, cadence: int | None = 4) -> str:
    return f"Policy(constant(), rules=[{', '.join(rules)}], cadence={cadence})"


def updates(losses: Sequence[float], **more: float) -> Script:
    return [("update", {"loss": x, **more}) for x in losses]


def alone(text: str, losses: Sequence[Sequence[float]], cadence: int) -> list[list[float]]:
    """The LRs of one process that is told, at each cadence point, the mean over windows and ranks."""
    run = lehr.start(text, lr=0.1, steps=1000)
    lrs = []
    for t in range(len(losses[0])):
        run.t = t
        if (t + 1) % cadence == 0:
            totals = []
            for of_rank in losses:
                total = of_rank[t + 1 - cadence]
                for x in of_rank[t + 2 - cadence : t + 1]:
                    total += x
                totals.append(total)
            total = totals[0]
            for x in totals[1:]:
                total += x
            run.step(loss=total / (cadence * len(losses)))
        else:
            run.step()
        lrs.append(run.lrs)
    return lrs


# What must hold


@pytest.mark.parametrize("cadence", [1, 4])
def test_all_ranks_decide_on_the_mean_of_all_their_reports(runs: Runs, cadence: int) -> None:
    one, two = runs(policy(PLATEAU, cadence=cadence), *map(updates, NOISY))
    assert one.lrs == two.lrs == alone(policy(PLATEAU, cadence=None), NOISY, cadence)
    assert one.events == two.events != []
    assert (one.warned, two.warned) == ([], [])


def test_without_ranks_each_decides_by_itself(runs: Runs) -> None:
    one, two = runs(policy(PLATEAU), *map(updates, NOISY), scheduler={"ranks": False})
    assert one.lrs != two.lrs
    assert one.gathers[-1] == two.gathers[-1] == 0
    assert one.lrs == alone(policy(PLATEAU, cadence=None), NOISY[:1], 4)


def test_without_a_cadence_they_speak_with_each_other_at_every_update(runs: Runs) -> None:
    one, two = runs(policy(PLATEAU, cadence=None), *map(updates, NOISY))
    assert one.lrs == two.lrs == alone(policy(PLATEAU, cadence=None), NOISY, 1)
    assert one.gathers == list(range(1, 41))


def test_states_are_equal_on_all_ranks_at_every_step(runs: Runs) -> None:
    told: Script = [("observe", {"acc": 0.5}), ("observe", {"acc": 0.6})]
    scripts = [[*updates(NOISY[0][:10]), *told], [*updates(NOISY[1][:10]), *[("observe", {})] * 2]]
    one, two = runs(policy(PLATEAU, ACC), *scripts)
    assert ("acc was reported twice at step 10" in one.warned[0], two.warned) == (True, [])
    assert one.states == two.states
    assert "window" not in one.states[-1]
    json.dumps(one.states[-1], allow_nan=False)


def test_how_often_they_speak_depends_on_the_count_of_steps_alone(runs: Runs) -> None:
    text = f"Policy(warmup(6).then(hold()), rules=[{PLATEAU}, {ACC}], cadence=4)"
    quiet: Script = [("update", {})] * 12
    loud: Script = [*(item for t in range(11) for item in [("observe", {"acc": float(t)}), ("update", {})]), quiet[0]]
    one, two = runs(text, quiet, loud)
    assert one.gathers == [(t + 1) // 4 for t in range(12)]
    assert two.gathers[-1] == 3
    assert (one.error, two.error) == ("", "")


def test_nothing_is_said_between_ranks_where_there_are_no_rules(runs: Runs) -> None:
    one, two = runs("cosine()", updates([1.0] * 9), updates([1.0] * 4))
    assert (one.gathers[-1], two.gathers[-1]) == (0, 0)
    assert (one.error, two.error) == ("", "")


def test_each_rank_evaluates_at_the_same_steps_and_the_results_are_averaged(runs: Runs) -> None:
    rule = "when(evaluation('score', every=3, best='max').reaches(0.5)).scale(0.5)"
    one, two = runs(policy(rule, cadence=3), *[[("update", {})] * 9] * 2, scores=[[0.25, 0.5, 0.9], [0.25, 0.25, 0.3]])
    assert one.evaluated == two.evaluated == [2, 5, 8]
    assert one.lrs == two.lrs == [[0.1]] * 8 + [[0.05]]  # (0.9 + 0.3) / 2 is the first mean of at least 0.5
    assert one.warned == []


def test_a_group_with_one_rank_hears_what_a_single_process_hears(runs: Runs) -> None:
    (one,) = runs(policy(PLATEAU), updates(NOISY[0]))
    assert one.lrs == alone(policy(PLATEAU, cadence=None), NOISY[:1], 4)


@pytest.mark.parametrize("wrap", ["ddp", "fsdp2"])
def test_a_wrapped_model_trains_with_one_lr_on_all_ranks(runs: Runs, wrap: str) -> None:
    rules = ("when(loss.reaches(0.5)).scale(0.5)", "when(metric('norm', best='min').plateaus(1)).scale(0.9)")
    scripts: list[Script] = [[("train", 2 * t + rank) for t in range(40)] for rank in range(2)]
    one, two = runs(policy(*rules), *scripts, wrap=wrap)
    assert (one.error, two.error) == ("", "")
    assert one.lrs == two.lrs
    assert len({lr for (lr,) in one.lrs}) > 1
    assert one.weights == two.weights
    assert one.warned == []  # the norm of all gradients is the same on all ranks


# Faults, each with its healthy twin


def test_a_nan_on_one_rank_is_left_out_of_the_mean_on_all(runs: Runs) -> None:
    sick = [list(NOISY[0]), list(NOISY[1])]
    sick[1][5] = math.nan
    one, two = runs(policy(PLATEAU, BAD), *map(updates, sick))
    assert one.lrs == two.lrs
    assert one.states == two.states
    assert [lr for (lr,) in one.lrs] == sorted((lr for (lr,) in one.lrs), reverse=True)
    hears = runs(policy("when(loss.reaches(0.5)).scale(0.5)", cadence=2), updates([1, 0.5]), updates([0.25, math.nan]))
    assert [rank.lrs[-1] for rank in hears] == [[0.1], [0.1]]  # (1 + 0.5 + 0.25) / 3 is above 0.5


def test_nan_on_all_ranks_is_heard_as_nan_on_all(runs: Runs) -> None:
    one, two = runs(policy(BAD, cadence=2), *[updates([1.0, 1.0, math.nan, math.inf])] * 2)
    assert one.lrs == two.lrs == [[0.1]] * 3 + [[0.010000000000000002]]


def test_a_metric_that_differs_between_ranks_is_noticed_once_and_averaged(runs: Runs) -> None:
    rule = "when(metric('acc', best='max').reaches(0.5)).scale(0.5)"
    one, two = runs(policy(rule), updates([1.0] * 8, acc=0.25), updates([1.0] * 8, acc=0.75))
    words = "acc is not the same on all ranks (rank 0: 0.25; rank 1: 0.75); the mean of all reports, 0.5, is used"
    for rank in (one, two):
        assert [text.startswith(words) for text in rank.warned] == [True]
        assert [event.startswith("warning: step 4: acc is not") for event in rank.events] == [True, False]
        assert rank.lrs[-1] == [0.05]


def test_a_metric_that_is_the_same_on_all_ranks_is_not_remarked_on(runs: Runs) -> None:
    for rank in runs(policy(ACC), *[updates([1.0] * 8, acc=0.1)] * 2):
        assert rank.warned == []


def test_a_metric_that_one_rank_alone_reports_is_noticed_and_heard_by_all(runs: Runs) -> None:
    rule = "when(metric('acc', best='max').reaches(0.5)).scale(0.5)"
    one, two = runs(policy(rule), updates([1.0] * 8, acc=0.75), updates([1.0] * 8))
    assert one.lrs == two.lrs == [[0.1]] * 3 + [[0.05]] * 5
    assert one.warned == two.warned
    assert "rank 0: 0.75; rank 1: not reported" in one.warned[0]


def test_a_metric_that_another_rank_reports_is_not_missed(runs: Runs) -> None:
    script: Script = [("update", {})] * 130
    late: Script = [*script[:95], ("update", {"acc": 0.5}), *script[96:]]
    for text, scripts in (
        ("acc is not the same on all ranks", [late, script]),
        ("no 'acc' was reported", [script] * 2),
    ):
        for rank in runs(policy(ACC, cadence=30), *scripts):
            assert [words[: len(text)] for words in rank.warned] == [text]


def test_a_loss_that_differs_is_not_remarked_on_as_it_is_local(runs: Runs) -> None:
    for rank in runs(policy(PLATEAU), updates([1.0] * 4), updates([2.0] * 4)):
        assert rank.warned == []


def test_a_rank_that_steps_twice_is_told_on_all_ranks(runs: Runs) -> None:
    once: Script = [("update", {"loss": 1.0})] * 8
    twice: Script = [("update", {"loss": 1.0}), ("step", {"loss": 1.0})] * 4
    one, two = runs(policy(PLATEAU), once, twice)
    assert one.error == two.error
    assert "do not agree on steps of the optimizer" in one.error
    assert "rank 0: t = 4 after 4 steps of the optimizer, LR 0.1" in one.error
    assert "rank 1: t = 4 after 2 steps of the optimizer, LR 0.1" in one.error


def test_all_ranks_that_step_twice_agree(runs: Runs) -> None:
    one, two = runs(policy(PLATEAU), *[[("update", {}), ("step", {})] * 4] * 2)
    assert (one.error, two.error) == ("", "")
    assert one.gathers[-1] == 2


def test_a_wrapper_that_steps_many_times_is_harmless_where_updates_are_counted(runs: Runs) -> None:
    plain = updates(NOISY[0])
    wrapped = [item for x in NOISY[1] for item in [("update", {"loss": x}), *[("step", {"loss": x})] * 3]]
    one, two = runs(policy(PLATEAU), plain, wrapped, scheduler={"count": "updates"})
    assert one.lrs == two.lrs[3::4] == alone(policy(PLATEAU, cadence=None), NOISY, 4)
    assert (one.gathers[-1], two.gathers[-1]) == (10, 10)


def test_ranks_that_count_updates_at_unlike_steps_are_told(runs: Runs) -> None:
    one, two = runs(
        policy(PLATEAU, cadence=2),
        [("update", {})] * 4,
        [("optimizer", None), ("optimizer", None), ("update", {}), ("update", {})],
        scheduler={"count": "updates"},
    )
    assert one.error == two.error
    assert "do not agree on updates applied" in one.error
    assert "rank 0: t = 2" in one.error
    assert "rank 1: t = 3" in one.error


def test_a_hand_edit_on_one_rank_is_told_at_the_next_cadence_point(runs: Runs) -> None:
    script = list(updates([1.0] * 12))
    one, two = runs(policy(PLATEAU), script, [*script[:5], ("edit", 0.02), *script[5:]])
    assert one.error == two.error
    assert "rank 1: t = 8 after 8 steps of the optimizer, LR 0.02" in one.error
    assert (len(one.lrs), len(two.lrs)) == (7, 8)  # nothing was said before


def test_a_hand_edit_on_all_ranks_is_adopted(runs: Runs) -> None:
    script = [*updates([1.0] * 5), ("edit", 0.02), *updates([0.5] * 7)]
    one, two = runs(policy(PLATEAU), script, script)
    assert (one.error, two.error) == ("", "")
    assert one.lrs[-1] == two.lrs[-1] == [0.02]


def test_an_update_that_one_rank_alone_has_skipped_is_told(runs: Runs) -> None:
    script = updates([1.0] * 5)
    one, two = runs(policy(PLATEAU), script, [script[0], ("skipped", None), *script[1:]])
    assert (one.error, two.error) == ("", "")  # it was made up for: the ranks agree again
    one, two = runs(policy(PLATEAU), script, [script[0], ("optimizer", None), ("skipped", None), *script[1:]])
    assert one.error == two.error
    assert "rank 1: t = 4 after 5 steps of the optimizer" in one.error


def test_unlike_policies_or_horizons_are_told_at_the_first_cadence_point(runs: Runs) -> None:
    texts = [policy(PLATEAU), policy(PLATEAU, BAD, ACC)]
    for told in (runs(texts, *[updates([1.0] * 5)] * 2), runs(texts[0], *[updates([1.0] * 5)] * 2, steps=[99, 100])):
        assert told[0].error == told[1].error
        assert "do not agree on policy, horizon or base values" in told[0].error
        assert len(told[0].lrs) == 3


def test_a_rank_that_does_not_come_is_an_error_on_the_others(runs: Runs) -> None:
    one, two = runs(policy(PLATEAU), updates([1.0] * 8), updates([1.0] * 6), own_group=5)
    assert one.error.startswith("the ranks did not meet (here t = 8 after 8 steps of the optimizer)")
    assert two.error == ""


@pytest.mark.parametrize("wrap", ["ddp", "fsdp2"])
def test_a_rank_that_steps_twice_between_the_collectives_of_a_wrapper_is_told_in_a_group_of_our_own(
    runs: Runs, wrap: str
) -> None:
    once: Script = [("train", 1)] * 6
    twice: Script = [("train", 1), ("step", {})] * 6
    one, two = runs(policy(PLATEAU, cadence=2), once, twice, wrap=wrap, timeout=8, own_group=1)
    assert two.error.startswith("the ranks did not meet (here t = 2 after 1 step of the optimizer)")
    assert one.error != ""  # torch's own, as the other rank has left


# Other numbers of ranks


def test_a_run_goes_on_with_another_number_of_ranks(runs: Runs) -> None:
    halves = [NOISY[0][:30], NOISY[1][:30]]
    two_ranks = runs(policy(PLATEAU), *map(updates, halves))
    state = json.loads(json.dumps(two_ranks[0].states[-1]))
    rest: Script = [("load", state), *updates(NOISY[0][30:])]
    (group_of_one,) = runs(policy(PLATEAU), rest)
    (no_group,) = runs(policy(PLATEAU), rest, group=False)
    again = runs(policy(PLATEAU), rest, rest)
    for played in (group_of_one, no_group, *again):
        assert played.lrs[0] == two_ranks[0].lrs[-1] < [0.1]
        assert played.error == ""
    assert group_of_one.lrs == no_group.lrs
    assert again[0].states == again[1].states


def test_a_state_of_a_single_process_goes_on_with_ranks_its_open_window_included(runs: Runs) -> None:
    rule = "when(loss.reaches(0.5)).scale(0.5)"
    (single,) = runs(policy(rule), updates([1.0, 0.5]), group=False)
    assert single.states[-1]["window"] == {"since": 0, "sums": {"loss": [1.5, 2, 0, 0.5, 1.0]}}
    rest: Script = [("load", single.states[-1]), *updates([0.25, 0.25])]
    one, two = runs(policy(rule), rest, rest)
    assert one.lrs == two.lrs == [[0.1], [0.1], [0.05]]  # (1 + 0.5 + 0.25 + 0.25) / 4


# The pure parts


def row(names: Sequence[str], sums: dict[str, Sum], **where: Any) -> list[float]:
    at = Standing(t=4, updates=4, plan=1, memory=2, values=3, groups=1, lrs=(0.1,))._replace(**where)
    return packed(at, names, sums)


NUMBERS = st.floats(-1e9, 1e9)
SUMS = st.builds(Sum, NUMBERS, st.integers(1, 99), st.integers(0, 9), NUMBERS, NUMBERS)


@given(st.lists(st.tuples(SUMS, SUMS), min_size=1, max_size=9))
def test_sums_of_ranks_are_added_in_their_order(given: list[tuple[Sum, Sum]]) -> None:
    names = ("acc", "loss")
    sums = merged([row(names, dict(zip(names, pair, strict=True))) for pair in given], names)
    for k, name in enumerate(names):
        total = given[0][k].total
        for pair in given[1:]:
            total += pair[k].total
        low, high = min(p[k].low for p in given), max(p[k].high for p in given)
        assert sums[name] == Sum(total, sum(p[k].finite for p in given), sum(p[k].bad for p in given), low, high)


def test_a_row_is_equally_long_whatever_was_heard_and_for_unlike_policies() -> None:
    rows = [row(names, {}) for names in ((), ("loss",), tuple("abcdefgh"))]
    assert {len(item) for item in rows} == {64}
    assert merged(rows[1:2], ("loss",)) == {}


def test_where_a_rank_stands_tells_of_all_that_its_rules_remember_and_of_every_value() -> None:
    def run(loss: float, edited: float) -> lehr.Controller:
        made = lehr.start(policy(PLATEAU, cadence=None), lr=[0.1] * 9)
        made.step(loss=loss)
        made.adopt(8, edited)
        return made

    at = standing(run(1.0, 0.05), 0)
    assert at == standing(run(1.0, 0.05), 0)
    assert at.lrs == (0.1,) * 8
    told = {name for name, one, two in zip(at._fields, at, standing(run(2.0, 0.05), 0), strict=True) if one != two}
    assert told == {"memory"}
    told = {name for name, one, two in zip(at._fields, at, standing(run(1.0, 0.06), 0), strict=True) if one != two}
    assert told == {"memory", "values"}


FIELDS = {"t": 5, "updates": 5, "plan": 9, "memory": 9, "values": 9, "groups": 2, "lrs": (0.2,)}


@pytest.mark.parametrize("field", FIELDS)
def test_ranks_must_agree_on_each_number_of_where_they_stand(field: str) -> None:
    rows = [row((), {}), row((), {}), row((), {}, **{field: FIELDS[field]}), row((), {})]
    assert disagreement([rows[0]] * 4) == ""
    words = disagreement(rows)
    assert "ranks 0, 1, 3: t = 4" in words
    assert "; rank 2: t = " in words


def test_the_last_bit_of_an_lr_is_told() -> None:
    words = disagreement([row((), {}), row((), {}, lrs=(math.nextafter(0.1, 1),))])
    assert "LR 0.1;" in words
    assert "LR 0.10000000000000002." in words


def test_of_a_thousand_ranks_the_message_names_a_few() -> None:
    rows = [row((), {}, t=4 + (rank % 2)) for rank in range(1000)]
    assert len(disagreement(rows)) < 700
    heard = [row(("acc",), {"acc": Sum(float(rank), 1, 0)}) for rank in range(1000)]
    ((key, words),) = local_metrics(heard, ("acc",), {"loss"})
    assert (key, len(words) < 500) == ("ranks acc", True)


def test_reports_that_agree_to_the_bit_and_in_number_are_one_metric() -> None:
    names = ("acc",)
    rows = [row(names, {"acc": Sum(0.5, 1, 0)}), row(names, {"acc": Sum(0.5, 1, 0)})]
    assert local_metrics(rows, names, ()) == []
    others = (Sum(math.nextafter(0.5, 1), 1, 0), Sum(1.0, 2, 0), Sum(0.5, 1, 1), Sum(-0.0, 0, 1), Sum())
    for other in others:
        assert local_metrics([rows[0], row(names, {"acc": other})], names, ()) != []
        assert local_metrics([rows[0], row(names, {"acc": other})], names, {"acc"}) == []


@pytest.mark.parametrize("wrap", ["ddp", "fsdp2"])
def test_a_rollback_that_one_rank_asks_for_restores_the_same_snapshot_on_all(runs: Runs, wrap: str) -> None:
    text = policy("when(metric('trouble', best='max').reaches(1)).rollback(0.5, rewarm=4)")
    how: dict[str, Any] = {"wrap": wrap, "scheduler": {"snapshots": 5}}
    trained: list[Script] = [[("train", 2 * t + rank) for t in range(13)] for rank in range(2)]
    back: list[Script] = [[*script[:10], *more, *script[10:12]] for script, more in zip(trained, ASKED, strict=True)]
    before = runs(text, *(script[:5] for script in trained), **how)
    after = runs(text, *back, **how)
    assert [rank.error for rank in after] == ["", ""]
    assert after[0].events == after[1].events
    assert "restored the snapshot of step 5" in after[0].events[-1]
    assert after[0].weights == after[1].weights == before[0].weights
    assert [rank.lrs[-1] for rank in after] == [[0.1 * 0.5 / 4]] * 2


def test_a_window_that_one_rank_began_in_the_warm_up_is_slept_through_on_all(runs: Runs) -> None:
    rules = "[when(loss.derails()).scale(0.5), when(loss.plateaus(1)).scale(0.5)]"
    text = f"Policy(warmup(6).then(hold()), rules={rules}, cadence=4)"
    late: Script = [*[("update", {})] * 6, *updates([1.0] * 14)]
    ranks = runs(text, updates([1.0] * 20), late)
    assert [rank.error for rank in ranks] == ["", ""]
    assert ranks[0].lrs == ranks[1].lrs
    # The third window is the first one heard, so the one update more than the patience allows ends the fifth.
    assert [t for t in range(7, 20) if ranks[0].lrs[t] < ranks[0].lrs[t - 1]] == [19]


# One process


def scheduler(**options: Any) -> Scheduler:
    model = torch.nn.Linear(1, 1)
    return Scheduler(torch.optim.SGD(model.parameters(), lr=0.1), policy(PLATEAU), count="updates", **options)


def test_where_torch_distributed_is_not_in_use_there_are_no_ranks() -> None:
    assert Ranks.of(None, lambda: 0) is None
    assert scheduler()._ranks is None


def test_a_process_group_needs_torch_distributed_and_ranks() -> None:
    with pytest.raises(lehr.LehrError, match="initialised first"):
        scheduler(process_group="any")
    with pytest.raises(lehr.LehrError, match="ranks=False"):
        scheduler(process_group="any", ranks=False)


def test_a_rank_that_is_pickled_goes_on_alone_where_there_are_no_others() -> None:
    again: Ranks = pickle.loads(pickle.dumps(Ranks("a group", int)))
    run = lehr.start(policy(PLATEAU), lr=0.1)
    window, noticed = again.share(run, lehr.gather.Window(0, {"loss": Sum(1.5, 2, 1)}))
    assert (window.sums, noticed) == ({"loss": Sum(1.5, 2, 1)}, [])


def test_a_group_that_is_destroyed_in_mid_run_is_not_taken_for_a_run_without_ranks() -> None:
    run = lehr.start(policy(PLATEAU), lr=0.1)
    with pytest.raises(lehr.LehrError, match="was destroyed"):
        Ranks(None, int, alone=False).share(run, lehr.gather.Window(0, {}))


def test_a_trace_on_one_rank_does_not_change_what_the_ranks_compare() -> None:
    store = torch.distributed.HashStore()  # type: ignore[attr-defined]  # public, though not listed
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        counts = []
        for traced in (True, False):
            weight = torch.nn.Parameter(torch.ones(1))
            optimizer = torch.optim.SGD([weight], lr=0.1)
            sched = Scheduler(optimizer, "cosine()", steps=100)
            if traced:
                sched.subscribe(lambda *_: None, on="steps")
            for t in range(12):
                optimizer.step()
                sched.step(loss=1.0)
                if t == 7:
                    sched.replan(policy(PLATEAU))
            counts.append(sched._updates.all())
        assert counts[0] == counts[1]
    finally:
        torch.distributed.destroy_process_group()
