"""Greedy feedback: `improves_in_a_row`, `within`, the recipe `greedy`; transformers' GreedyLR decision by decision."""

from __future__ import annotations

import math
import random
from itertools import pairwise
from typing import Any

import pytest

import lehr
from lehr.rules.greedy import Greedy
from lehr.rules.streak import StreakState
from lehr.rules.trigger import Observation, Smooth

NAN, INF = math.nan, math.inf
m = lehr.metric("m", best="min")


def lrs_of(policy: lehr.Policy, values: list[float], lr: float = 0.1) -> list[float]:
    """The LR after each value."""
    run, after = lehr.start(policy, lr=lr, steps=len(values) + 1), []
    for value in values:
        run.step(m=value)
        after.append(run.lr)
    return after


def rows(values: list[float], times: int, margin: float) -> list[int]:
    """Where a row of `times` improvements on the best value is full: the rule as a loop."""
    best, row, full = None, 0, []
    for i, value in enumerate(values):
        if not math.isfinite(value):
            continue
        if best is None or best - value > margin * abs(best):
            row, best = row + (best is not None), value
        else:
            row = 0
        if row == times:
            full.append(i)
            row = 0
    return full


def fired(trigger: lehr.Trigger, name: str, values: list[float]) -> list[int]:
    rule = lehr.when(trigger).scale(0.5)
    state, steps = rule.init(), []
    for step, value in enumerate(values):
        state, heard = rule.update(state, Observation(step, {name: value}, True))
        steps += [step] if heard is not None and heard.fires else []
    return steps


def drawn(seed: int, length: int = 120) -> list[float]:
    """A coarse falling value that may turn negative, with ties and values that are not finite."""
    rng = random.Random(seed)
    shift, fall = rng.choice([0.0, -1.0, 5.0]), rng.choice([0.01, 0.05, 0.2])
    values = [round(shift + 2 * math.exp(-fall * i) + rng.gauss(0, 0.02), 2) for i in range(length)]
    for _ in range(5):
        values[rng.randrange(length)] = rng.choice([NAN, INF, -INF])
    return values


@pytest.mark.parametrize("times", [1, 2, 4])
@pytest.mark.parametrize("margin", [0.0, 1e-4, 0.05])
def test_a_row_is_so_many_improvements_on_the_best_value(times: int, margin: float) -> None:
    for seed in range(30):
        values = drawn(seed)
        assert fired(m.improves_in_a_row(times, margin), "m", values) == rows(values, times, margin), seed
        largest = lehr.metric("m", best="max").improves_in_a_row(times, margin)
        assert fired(largest, "m", [-v for v in values]) == rows(values, times, margin), seed


def test_one_transition_of_a_row() -> None:
    trigger = m.improves_in_a_row(2, margin=0.1)
    state = StreakState(Smooth(), 2.0, 1, False, "")
    after, reading = trigger.update(state, Observation(7, {"m": 1.7}, True))
    assert after == StreakState(Smooth(), 1.7, 2, True, "m has improved 2 times in a row (now 1.7)")
    assert (reading.holds, reading.fresh) == (True, True)
    assert trigger.after_firing(after) == StreakState(Smooth(), 1.7, 0, False, "")
    assert trigger.update(state, Observation(7, {"m": 1.9}, True))[0] == StreakState(Smooth(), 2.0, 0, False, "")


def test_a_fall_back_after_a_rise_is_no_row_of_improvements() -> None:
    values = [3.0, 2.0, 1.0, 9.0, 8.0, 7.0, 6.0, 5.0]  # the best value stays 1
    assert fired(m.improves_in_a_row(2), "m", values) == [2]


def greedy_loop(values: list[float], down: float, patience: int, low: float, high: float) -> list[float]:
    """Ups and downs as a loop: each side forgets as its trigger does, and the gain stays within its bounds."""
    gain, gains = 1.0, []
    record: float | None = None
    bad, starts = 0, rows(values, patience + 1, 1e-4)
    for i, value in enumerate(values):
        if math.isfinite(value):
            if record is None or record - value > 1e-4 * abs(record):
                record, bad = value, 0
            else:
                bad += 1
        if bad > patience:
            gain, record, bad = max(gain * down, low), None, 0
        if i in starts:
            gain = min(gain / down, high)
        gains.append(gain)
    return gains


@pytest.mark.parametrize(("patience", "low", "high"), [(1, 0.01, 1.0), (2, 0.5, 1.2), (0, 0.9, 100.0)])
def test_greedy_is_a_cut_at_a_plateau_and_a_rise_after_a_row(patience: int, low: float, high: float) -> None:
    moved = set()
    for seed in range(12):
        values = drawn(seed)
        rules = lehr.greedy(m, down=0.8, patience=patience, low=low, high=high)
        expected = [0.1 * gain for gain in greedy_loop(values, 0.8, patience, low, high)]
        assert lrs_of(lehr.Policy(lehr.constant(), rules), values) == pytest.approx(expected, rel=1e-12)
        moved |= {new > old for old, new in pairwise(expected) if new != old}
    assert moved == {True, False}  # both ways


@pytest.mark.parametrize("lr", [5e-5, 1e-3, 1.0, 30.0])
def test_bounds_mean_the_same_at_any_lr_and_no_rise_is_made_unasked(lr: float) -> None:
    falling = [1000 * 0.9**i for i in range(60)]
    policy = lehr.Policy(lehr.constant(), lehr.greedy(m, patience=1))
    assert lrs_of(policy, falling, lr) == pytest.approx([lr] * 60, rel=1e-12)  # it only improves
    opted = lehr.Policy(lehr.constant(), lehr.greedy(m, patience=1, high=4))
    assert max(lrs_of(opted, falling, lr)) == pytest.approx(4 * lr, rel=1e-12)
    standing = lehr.Policy(lehr.constant(), lehr.greedy(m, patience=1, down=0.5))
    assert min(lrs_of(standing, [1.0] * 60, lr)) == pytest.approx(0.01 * lr, rel=1e-12)


def test_a_rule_that_cuts_never_raises_what_another_has_cut_further() -> None:
    deep = lehr.when(m.reaches(0.0)).scale(1e-4)
    bounded = lehr.when(m.plateaus(0)).scale(0.5).within(0.01, 1)
    after = lrs_of(lehr.Policy(lehr.constant(), [deep, bounded]), [0.0, 0.0, 0.0, 0.0], lr=1.0)
    assert after == pytest.approx([1e-4] * 4, rel=1e-12)
    rise = lehr.when(m.improves_in_a_row(1)).scale(2).within(0.01, 1)
    high = lehr.when(m.reaches(10.0)).scale(8)
    assert lrs_of(lehr.Policy(lehr.constant(), [high, rise]), [9.0, 8.0], lr=1.0) == [8.0, 8.0]


# transformers' GreedyLR

FAST = {"patience": [0, 1, 3], "cooldown": [0, 0, 2], "warmup": [0, 0, 3], "reset_start": [1, 2, 500]}


def drawn_case(rng: random.Random) -> tuple[dict[str, Any], list[float], list[float]]:
    """Options, LRs of two groups and a sequence: falls, ties, negative values, NaN and infinities."""
    options: dict[str, Any] = {name: rng.choice(choices) for name, choices in FAST.items()}
    options |= {"factor": rng.choice([0.5, 0.8, 0.95]), "average": rng.choice([1, 1, 3])}
    options |= {"threshold": rng.choice([0.0, 1e-6, 0.03]), "threshold_mode": rng.choice(["abs", "rel"])}
    options |= {"eps": rng.choice([1e-8, 1e-8, 0.03])}
    options |= {"min_lr": rng.choice([0.0, 1e-3, 0.02]), "max_lr": rng.choice([1.0, 0.3])}
    lrs = [rng.choice([5e-5, 1e-3, 0.1, 0.7]) * rng.uniform(0.9, 1.1) for _ in range(2)]
    level, fall, noise = rng.choice([1.0, 0.0, -2.0]), rng.choice([0.0, 0.05, 0.5]), rng.choice([0.0, 0.05])
    values = [round(level + math.exp(-fall * i) + rng.gauss(0, noise), 2) for i in range(rng.choice([10, 30, 60]))]
    if rng.random() < 0.3:
        values[rng.randrange(len(values))] = rng.choice([NAN, INF, -INF])
    return options, lrs, values


def ours(options: dict[str, Any], best: Any, lrs: list[float], values: list[float]) -> list[list[float]]:
    """The LRs after each value, by the trigger's proposals."""
    trigger = Greedy(lehr.metric("m", best=best), **options)
    state, now, after = trigger.init(), lrs, []
    for step, value in enumerate(values):
        state, reading = trigger.update(state, Observation(step, {"m": value}, True, lrs=tuple(now)))
        now = [lr * k for lr, k in zip(now, reading.by, strict=True)] if reading.holds else now
        after.append(now)
    return after


@pytest.mark.peers
def test_the_transformers_flavor_is_the_installed_class_on_10_000_sequences() -> None:
    import torch
    from transformers.optimization import GreedyLR

    rng, ups, downs, resets = random.Random(4), 0, 0, 0
    weights = [torch.zeros(1, requires_grad=True) for _ in range(2)]
    for _ in range(10_000):
        options, lrs, values = drawn_case(rng)
        best = rng.choice(["min", "max"])
        values = [-v for v in values] if best == "max" else values
        peer_options = dict(options)
        window = peer_options.pop("average")
        optimizer = torch.optim.SGD([{"params": [w], "lr": lr} for w, lr in zip(weights, lrs, strict=True)], lr=1.0)
        theirs = GreedyLR(optimizer, mode=best, smooth=window > 1, window_size=window, **peer_options)
        expected = []
        for value in values:
            theirs.step(value)
            expected.append([group["lr"] for group in optimizer.param_groups])
        found = ours(options, best, lrs, values)
        pairs = [pair for got, row in zip(found, expected, strict=True) for pair in zip(got, row, strict=True)]
        assert all(math.isclose(a, b, rel_tol=1e-9) for a, b in pairs), (options, best, lrs, values)
        for old, new in pairwise([lrs, *expected]):
            ups, downs = ups + (new > old), downs + (new < old)
            resets += new == lrs != old and options["reset_start"] < 3
    assert min(ups, downs, resets) > 1000  # each kind of decision was met


@pytest.mark.peers
def test_the_whole_controller_in_the_transformers_flavor_writes_the_lrs_of_the_installed_class() -> None:
    import torch
    from transformers.optimization import GreedyLR

    for seed in range(40):
        values = drawn(seed)
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
        theirs, expected = GreedyLR(optimizer, patience=2), []
        for value in values:
            theirs.step(value)
            expected.append(optimizer.param_groups[0]["lr"])
        policy = lehr.Policy(lehr.constant(), lehr.greedy(m, patience=2, flavor="transformers"))
        assert lrs_of(policy, values) == pytest.approx(expected, rel=1e-9), seed


def test_at_a_fine_tuning_lr_the_transformers_flavor_can_only_rise_and_lehr_can_fall() -> None:
    flat, falling = [1.0] * 60, [100 - 0.5 * i for i in range(200)]
    theirs = lehr.Policy(lehr.constant(), lehr.greedy(m, flavor="transformers"))
    own = lehr.Policy(lehr.constant(), lehr.greedy(m))
    assert lrs_of(theirs, flat, 5e-5)[-1] == 5e-5  # five cuts that are none
    assert lrs_of(theirs, falling, 5e-5)[-1] > 1e-4
    assert lrs_of(own, flat, 5e-5)[-1] == pytest.approx(5e-5 * 0.95**5, rel=1e-12)
    assert lrs_of(own, falling, 5e-5)[-1] == 5e-5


def test_each_option_of_the_transformers_flavor_changes_what_is_decided() -> None:
    values = [5.0, 4.0, 3.0, 2.0, 1.99, 1.99, 5.0, 5.0, 5.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.2, 0.1, 0.1, 0.1, 0.1]
    base: dict[str, Any] = {"patience": 1, "min_lr": 0.01, "max_lr": 1.0, "factor": 0.5, "reset_start": 3}
    plain = ours(base, "min", [0.02, 0.1], values)
    others: dict[str, Any] = {
        "factor": 0.6,
        "patience": 2,
        "threshold": 0.3,
        "cooldown": 2,
        "warmup": 2,
        "min_lr": 0.03,
        "max_lr": 0.05,
        "eps": 0.05,
        "average": 3,
    }
    for name, value in others.items():
        assert ours(base | {name: value}, "min", [0.02, 0.1], values) != plain, name
    relative = base | {"threshold": 0.6}
    assert ours(relative | {"threshold_mode": "rel"}, "min", [0.1], values) != ours(relative, "min", [0.1], values)
    low = base | {"min_lr": 0.1}
    fresh = ours(low | {"reset_start": 1}, "min", [0.2, 0.1], [1.0] * 9)
    assert fresh != ours(low, "min", [0.2, 0.1], [1.0] * 9)


def test_state_is_plain_and_a_resume_at_any_step_goes_on_the_same() -> None:
    import json

    policy = lehr.Policy(
        lehr.constant(), [lehr.when(m.greedy_lr(patience=1, average=3, reset_start=2, min_lr=0.05)).follow()]
    )
    values = drawn(3, 40)
    whole = lrs_of(policy, values)
    for cut in range(0, 40, 3):
        run = lehr.start(policy, lr=0.1, steps=41)
        for value in values[:cut]:
            run.step(m=value)
        saved = json.loads(json.dumps(run.state_dict(), allow_nan=False))
        again = lehr.start(policy, lr=0.1, steps=41)
        again.load_state_dict(saved)
        rest = []
        for value in values[cut:]:
            again.step(m=value)
            rest.append(again.lr)
        assert rest == whole[cut:], cut


REFUSED: list[tuple[str, Any, str]] = [
    ("a rise that is none", lambda: lehr.greedy(m, down=1.0), "below 1"),
    ("no signal", lambda: lehr.greedy("loss"), "signal"),  # type: ignore[arg-type]
    ("another flavor", lambda: lehr.greedy(m, flavor="keras"), "transformers"),  # type: ignore[arg-type]
    ("crossed bounds", lambda: lehr.greedy(m, low=2.0), "low < high"),
    ("a negative bound", lambda: lehr.when(m.plateaus(3)).scale(0.5).within(-1, 1), "low < high"),
    ("a row of none", lambda: m.improves_in_a_row(0), "at least 1"),
    ("a margin of a share", lambda: m.improves_in_a_row(2, margin=1.0), "between 0 and 1"),
    ("following what leads nowhere", lambda: lehr.when(m.plateaus(3)).follow(), "how far"),
    ("a factor above one", lambda: m.greedy_lr(factor=1.05), "below 1"),
    ("another mode", lambda: m.greedy_lr(threshold_mode="relative"), "rel"),  # type: ignore[arg-type]
    ("a negative floor", lambda: m.greedy_lr(min_lr=-1e-3), "at least 0"),
]


@pytest.mark.parametrize(("make", "says"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refused(make: Any, says: str) -> None:
    with pytest.raises(lehr.LehrError, match=says):
        make()


TEXTS = [
    "when(loss.improves_in_a_row(3)).scale(1.5).within(0.1, 4)",
    "when(loss.greedy_lr(0.9, cooldown=3)).follow()",
    "when(loss.plateaus(3)).scale(0.5).rest(5).at_most(2).within(0, 1)",
]


@pytest.mark.parametrize("text", TEXTS)
def test_texts_read_back(text: str) -> None:
    rule = lehr.parse(text)
    assert repr(rule) == text
    assert lehr.parse(rule.text(full=True)) == rule
    policy = lehr.parse(f"Policy(constant(), rules=[{text}])")
    assert lehr.parse(repr(policy)) == policy
