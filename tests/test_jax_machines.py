"""Every machine in JAX against its trigger on the host: the same decisions at the same updates, whatever comes."""

from __future__ import annotations

import functools as ft
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lehr
from lehr.errors import LehrError
from lehr.jax.controller import controller
from lehr.jax.wide import in_64_bits, packed, rounded, single, stored, unpacked
from lehr.jax.window import report
from lehr.rules.catalogue import CATALOGUE

STEPS = 240
RUNS = 24
NAMES = ("loss", "accuracy", "distance", "alignment")
EPSILON32 = float(np.finfo(np.float32).eps)
Numbers = dict[str, np.ndarray[Any, Any]]

ACCURACY = "metric('accuracy', best='max')"
DISTANCE = "metric('distance', best='max')"
#: Rules that leave the LR alone stand together in one run, as each then decides for itself.
RULES = {
    "plateaus": [
        *(
            f"when(loss.plateaus({patience}, margin={margin}, flavor={flavor!r}, cooldown={cooldown})).scale(0.9)"
            for flavor in ("lehr", "torch", "keras", "optax", "paddle", "fastai")
            for patience, margin, cooldown in ((0, 1e-3, 0), (3, 0.01, 2))
            if not (flavor == "fastai" and cooldown)
        ),
        "when(loss.plateaus(2, margin=0.1, average=3)).scale(0.9)",
        "when(loss.plateaus(2, margin=0.1, average=3, flavor='optax')).scale(0.9)",
        "when(loss.plateaus(3, margin=0.01, margin_mode='abs')).scale(0.9)",
        "when(loss.plateaus(3, margin=0.01, margin_mode='abs', flavor='optax')).scale(0.9)",
        f"when({ACCURACY}.plateaus(2, margin=0.01)).scale(0.9)",
        f"when({ACCURACY}.plateaus(2, margin=0.01, flavor='paddle')).scale(0.9)",
        f"when({ACCURACY}.plateaus(2, margin=0.01, flavor='torch')).scale(0.9)",
    ],
    "thresholds": [
        f"when({ACCURACY}.reaches(0.5)).scale(0.9)",
        f"when({ACCURACY}.reaches(0.5, rearm=0.3, sustained=2)).scale(0.9)",
        "when(loss.reaches(1.1, rearm=1.5)).scale(0.9).at_most(3)",
        f"when({ACCURACY}.reaches(0.7)).scale(0.9).every_time()",
        f"when({ACCURACY}.at_least(0.5)).scale(0.9)",
        "when(loss.diverges()).scale(0.9)",
        "when(loss.diverges()).scale(0.9).every_time()",
        "when(loss.improves_in_a_row(2, margin=0)).scale(1.01)",
        "when(loss.smoothed(20).improves_in_a_row(3)).scale(1.01)",
        f"when({ACCURACY}.spikes(2, span=10)).scale(0.9)",
        "when(loss.spikes(3, span=30)).scale(0.9)",
        f"when({DISTANCE}.levels_off()).scale(0.9)",
        f"when({DISTANCE}.levels_off(0.9, ratio=1.2, burn_in=2)).scale(0.9)",
    ],
    "joined": [
        f"when(~{ACCURACY}.at_least(0.5)).scale(0.9).rest(20)",
        f"when({ACCURACY}.at_least(0.5) & loss.plateaus(2)).scale(0.9)",
        f"when({ACCURACY}.at_least(0.5) & ~loss.at_least(1.2)).scale(0.9)",
        f"when(~({ACCURACY}.at_least(0.5) | loss.plateaus(2))).scale(0.9)",
        f"when({ACCURACY}.reaches(0.6, rearm=0.5) | loss.plateaus(4)).scale(0.9)",
        f"when(always() & {ACCURACY}.at_least(0.6)).scale(0.99)",
        f"when(always() | {ACCURACY}.at_least(0.6)).scale(0.99)",
        "when(~loss.diverges()).scale(0.9).every_time().at_most(9)",
        f"when(loss.diverges() | {ACCURACY}.diverges()).scale(0.9)",
        f"when((loss.reaches(1.2, rearm=1.3) | {ACCURACY}.reaches(0.5)) & always()).scale(0.9)",
    ],
    "means": [
        "when(loss.improves_less_than(0.05, over=20, test='means')).scale(0.9)",
        "when(loss.improves_less_than(0.01, over='5 observations', test='means')).scale(0.9)",
        f"when({ACCURACY}.improves_less_than(0, over=7, test='means')).scale(0.9)",
        f"when({ACCURACY}.smoothed(3).improves_less_than(0.01, over=1, test='means')).scale(0.9)",
        "when(loss.smoothed(7).plateaus(3)).scale(0.9)",
    ],
    "medians": [
        "when(loss.derails()).scale(0.9)",
        "when(loss.derails(0.3, unrecovered=9, smooth=15, nonfinite=2)).scale(0.9)",
        f"when({ACCURACY}.derails(0.3, unrecovered=9, smooth=20) | loss.plateaus(6)).scale(0.9)",
        "when(metric('distance', best='min').sticks()).scale(0.9)",
        "when(loss.sticks(after=5, smooth=15)).scale(0.9)",
    ],
    "modifiers": [
        "when(loss.plateaus(4)).scale(0.9).after(80)",
        "when(loss.plateaus(4)).scale(0.9).after('30 observations').rest('9 observations')",
        "when(loss.plateaus(2)).scale(0.9).rest(30)",
        "when(loss.plateaus(1)).scale(0.9).within(0.2, 1)",
        "when(loss.plateaus(9)).stop()",
        "when(loss.plateaus(3), shadow=True).rollback()",
        "when(always()).relax(0.001)",
        "when(loss.plateaus(4)).saturate(0.9, eps=1e-4)",
        "when(loss.improves_in_a_row(2)).scale(1.3).within(0.2, 1.5)",
    ],
}
POLICIES = {
    **{name: f"Policy(constant(), rules=[{', '.join(texts)}])" for name, texts in RULES.items()},
    "steers": "when(metric('alignment', best='max').steers(0.1)).follow().within(0.1, 1)",
    "steers smoothed": "when(metric('alignment', best='max').smoothed(5).steers(0.2)).follow()",
    "greedy": "when(loss.greedy_lr(0.8, patience=2, cooldown=3, average=3)).follow()",
    "greedy resets": "when(loss.greedy_lr(0.8, patience=1, warmup=2, min_lr=0.02, reset_start=3, "
    "threshold=0.01, threshold_mode='rel')).follow()",
    "warm-up and bounds": "Policy(warmup(60).then(cosine(to=0.1)), "
    "rules=[when(loss.plateaus(2)).scale(0.5), when(loss.derails(smooth=15)).scale(0.5)], min_lr=0.02, max_lr=0.08)",
    "cadence": "Policy(warmup(13).then(linear()), rules=[when(loss.plateaus(2)).scale(0.5), "
    "when(always()).relax(0.001)], min_lr=0.001, cadence=7)",
    "cadence in the warm-up": "Policy(warmup(13).then(linear()), rules=[when(loss.plateaus(2)).scale(0.5), "
    "when(loss.derails(smooth=15, nonfinite=2)).scale(0.9)], cadence=5)",
}
REFUSED = {  # rows of the catalogue: what their memory, their signal or their action is, no jitted program holds
    "improves_less_than",
    "reaches(confidence=)",
    "at_least",  # of an evaluation
    "within_best",
    "stalls",
    "begin",
    "rollback",
    "guard",
}


def parsed(text: str) -> lehr.Policy:
    value = lehr.parse(text)
    return value if isinstance(value, lehr.Policy) else lehr.Policy(lehr.constant(), [value])


@ft.cache
def drawn(dtype: str = "float32", runs: int = RUNS, seed: int = 7) -> tuple[Numbers, Numbers]:
    """What is reported in each run, and at which updates: curves, ties, gaps, NaN, negative, huge and tiny numbers."""
    random, t = np.random.default_rng(seed), np.arange(STEPS)
    numbers: Numbers = {name: np.empty((runs, STEPS), dtype) for name in NAMES}
    for run in range(runs):
        noise = 10.0 ** random.uniform(-4, -0.5)
        loss = 1 + np.exp(-t / 10 ** random.uniform(0.5, 2.2)) + noise * random.standard_normal(STEPS)
        dip = 0.4 * ((t > 120) & (t < 150))
        accuracy = 0.9 - 0.6 * np.exp(-t / 30) - dip + noise * random.standard_normal(STEPS)
        distance = np.minimum(t + 1.0, random.integers(5, 200)) * (1 + noise * random.standard_normal(STEPS))
        alignment = np.tanh(random.standard_normal(STEPS) + (t < 60))
        match run % 8:
            case 1:
                loss -= 3
            case 2:
                loss[random.random(STEPS) < 0.1], loss[100:104] = math.nan, math.inf
                accuracy[random.random(STEPS) < 0.05] = -math.inf
            case 3:
                loss, accuracy, alignment = np.round(10 * loss) / 10, np.round(10 * accuracy) / 10, np.round(alignment)
            case 4:
                loss *= 10.0 ** random.uniform(-12, 30)
            case 5:
                loss, accuracy = np.cumsum(random.standard_normal((2, STEPS)), axis=1)
            case 6:
                loss = np.where(t < 50, loss, loss * np.exp((t - 50) / random.uniform(5, 60)))
                distance = distance * np.where(t < 20, 1, 3)
            case 7:
                loss = random.choice([1.0, 2.0, 0.5, 0.0, -1.0, 0.999, 0.99, 0.9], STEPS)
        for name, values in zip(NAMES, (loss, accuracy, distance, alignment), strict=True):
            numbers[name][run] = values
    shares = random.choice([1.0, 0.7, 0.1], (runs, 1))
    return numbers, {name: random.random((runs, STEPS)) < shares for name in NAMES}


class Decisions(NamedTuple):
    """Of a run at each update: the LR it used, how often each rule had fired after it, whether the run was over."""

    lrs: Any
    fired: Any
    done: Any


def jitted(policy: lehr.Policy, numbers: Mapping[str, Any], new: Mapping[str, Any]) -> Decisions:
    """All runs, in one compiled program."""
    tx = controller(policy, 0.1, steps=STEPS)
    gradient = jnp.ones(())

    def run(values: Any, flags: Any) -> Any:
        def step(state: Any, now: Any) -> Any:
            update, state = tx.update(gradient, state, **{k: report(*pair) for k, pair in now.items()})
            return state, Decisions(-update, jnp.stack([rule.fired for rule in state.rules]), state.done)

        return jax.lax.scan(step, tx.init(gradient), {name: (values[name], flags[name]) for name in values})[1]

    runs = jax.jit(lambda *told: jax.lax.map(lambda one: run(*one), told))
    return Decisions(*map(np.asarray, runs(dict(numbers), dict(new))))


def on_the_host(policy: lehr.Policy, numbers: Mapping[str, Any], new: Mapping[str, Any], i: int) -> Decisions:
    run = lehr.start(policy, lr=0.1, steps=STEPS)
    lrs, fired, done = [], [], []
    for t in range(STEPS):
        lrs.append(run.lr)
        told: dict[str, Any] = {name: float(values[i, t]) for name, values in numbers.items() if new[name][i, t]}
        run.step(**told)
        fired.append([rule.fired for rule in run.states[0][2].rules])
        done.append(run.done)
    return Decisions(np.array(lrs), np.array(fired), np.array(done))


def assert_the_same_decisions(text: str, dtype: str) -> None:
    policy = parsed(text)
    numbers, new = drawn(dtype)
    ours = jitted(policy, numbers, new)
    assert ours.lrs.dtype == dtype
    fired = np.zeros(len(policy.rules), dtype=int)
    for i in range(RUNS):
        theirs = on_the_host(policy, numbers, new, i)
        assert (ours.fired[i] == theirs.fired).all(), i
        assert (ours.done[i] == theirs.done).all(), i
        # The host's LR rounded to float32; a curve of cosines may differ in its last bit, which rounding may show.
        epsilon = EPSILON32 if dtype == "float32" else 1e-12
        assert np.abs(ours.lrs[i] - theirs.lrs).max() <= epsilon * theirs.lrs.max(), i
        fired += theirs.fired[-1]
    assert (fired > 0).all(), "a rule that never fires is not compared"


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.filterwarnings("ignore:no 'loss' was reported")
@pytest.mark.filterwarnings("ignore:no 'accuracy' was reported")
def test_without_64_bits_it_decides_as_the_host(name: str) -> None:
    assert_the_same_decisions(POLICIES[name], "float32")


@pytest.mark.parametrize("name", ["means", "greedy", "cadence"])
@pytest.mark.filterwarnings("ignore:no 'loss' was reported")
def test_with_64_bits_it_decides_as_the_host_on_numbers_that_float32_does_not_hold(name: str) -> None:
    with jax.enable_x64(True):
        assert_the_same_decisions(POLICIES[name], "float64")


@pytest.mark.parametrize("row", CATALOGUE, ids=[row.name for row in CATALOGUE])
def test_each_row_of_the_catalogue_runs_or_is_refused_by_name(row: Any) -> None:
    policy = parsed(row.example)
    if row.name not in REFUSED and "evaluation(" not in row.example:
        state = controller(policy, 0.1, steps=STEPS).init(jnp.ones(()))
        assert len(state.rules) == len(policy.rules)
        return
    with pytest.raises(LehrError) as refused:
        controller(policy, 0.1, steps=STEPS)
    assert any(repr(rule) in str(refused.value) for rule in policy.rules)
    assert "Run it on the host: lehr.jax.hosted(lehr.start(policy, ...))" in str(refused.value)


def test_a_number_of_64_bits_is_stored_in_32_without_loss() -> None:
    random = np.random.default_rng(0)
    values = random.standard_normal(10_000) * 10.0 ** random.uniform(-21, 38, 10_000)
    values = values[(np.abs(values) > 1e-22) & (np.abs(values) < 3e38)]
    values = np.concatenate([values, [0.0, 1.0, 0.1, np.nextafter(1, 0), -0.0, math.inf, -math.inf]])
    with in_64_bits():
        kept = jax.jit(packed)(jnp.asarray(values))
    assert kept.dtype == jnp.float32
    with in_64_bits():
        back = np.asarray(jax.jit(unpacked)(kept))
    assert np.array_equal(back, values)
    assert np.array_equal(np.asarray(kept)[:, 0], values.astype(np.float32))  # what a human reads


def test_nan_is_stored_without_a_nan_also_when_a_memory_begins() -> None:
    with in_64_bits():
        kept = [jax.jit(packed)(jnp.asarray([1.5, math.nan])), stored(np.array([1.5, math.nan]))]
        back = [np.asarray(jax.jit(unpacked)(parts)) for parts in kept]
    assert not np.isnan(kept).any()
    assert np.array_equal(back, [[1.5, math.nan]] * 2, equal_nan=True)


def test_a_product_is_rounded_before_it_is_added() -> None:
    a, b, c = np.random.default_rng(0).standard_normal((3, 10_000))
    with in_64_bits():
        ours = np.asarray(jax.jit(lambda a, b, c: rounded(a * b) + c)(a, b, c))
    assert np.array_equal(ours, a * b + c)


def test_a_number_is_rounded_to_float32_as_numpy_does() -> None:
    values = np.random.default_rng(0).standard_normal(10_000)
    with in_64_bits():
        ours = np.asarray(jax.jit(lambda x: x - single(x))(values))
    assert np.array_equal(ours, values - values.astype(np.float32))
