"""Cost of a jitted update under `lehr.jax.controller` with two rules, beside optax's reduce_on_plateau and no feedback.

    pytest benchmarks/test_jax_step.py --benchmark-only --benchmark-disable-gc

The three run inside one `lax.scan` each, so that what is measured is the program and not the call of it; they are
interleaved in short rounds, as in test_scheduler_step.py, and the ratios are the figures to quote.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lehr
import lehr.jax

STEPS = 10**6
UPDATES = 1000  # in a scan
POLICY = lehr.Policy(
    lehr.cosine(),
    rules=[
        lehr.when(lehr.loss.plateaus(20)).scale(0.5),
        lehr.when(lehr.loss.smoothed(50).improves_in_a_row(5)).scale(1.1).within(0.1, 2),
    ],
)
PARAMETERS = {"w": jnp.ones((256, 64)), "b": jnp.ones((64,))}
LOSSES = jnp.asarray(np.random.default_rng(0).random(UPDATES), dtype=jnp.float32)
COSINE = optax.cosine_decay_schedule(3e-4, STEPS)
MAKERS = {
    "schedule": lambda: optax.chain(optax.scale_by_adam(), optax.scale_by_learning_rate(COSINE)),
    "reduce_on_plateau": lambda: optax.chain(
        optax.scale_by_adam(), optax.scale_by_learning_rate(COSINE), optax.contrib.reduce_on_plateau(patience=20)
    ),
    "lehr": lambda: optax.chain(optax.scale_by_adam(), lehr.jax.controller(POLICY, lr=3e-4, steps=STEPS)),
}


def scanned(name: str) -> Callable[[], Any]:
    """A thousand updates in one program; the parameters are moved, so that no work is left out."""
    tx = optax.with_extra_args_support(MAKERS[name]())

    def step(carry: Any, loss: Any) -> Any:
        parameters, state = carry
        updates, state = tx.update(parameters, state, parameters, value=loss)
        return (optax.apply_updates(parameters, updates), state), None

    run = jax.jit(lambda carry, losses: jax.lax.scan(step, carry, losses)[0])
    begin = PARAMETERS, tx.init(PARAMETERS)
    jax.block_until_ready(run(begin, LOSSES))
    return lambda: jax.block_until_ready(run(begin, LOSSES))


def called(name: str) -> Callable[[], Any]:
    """One update, as a jitted function that Python calls."""
    tx = optax.with_extra_args_support(MAKERS[name]())
    update = jax.jit(lambda state, loss: tx.update(PARAMETERS, state, PARAMETERS, value=loss))
    state = tx.init(PARAMETERS)
    jax.block_until_ready(update(state, LOSSES[0]))
    return lambda: jax.block_until_ready(update(state, LOSSES[0]))


@pytest.mark.parametrize(("make", "updates", "rounds"), [(scanned, UPDATES, 40), (called, 1, 2000)])
def test_paired_ratio(benchmark: Any, capsys: pytest.CaptureFixture[str], make: Any, updates: int, rounds: int) -> None:
    runs = {name: make(name) for name in MAKERS}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            begin = time.perf_counter_ns()
            run()
            times[name].append((time.perf_counter_ns() - begin) / updates / 1000)
    ratios = {
        name: statistics.median(a / b for a, b in zip(times[name], times["schedule"], strict=True)) for name in runs
    }
    benchmark.extra_info.update(ratios)
    with capsys.disabled():
        each = {name: statistics.median(values) for name, values in times.items()}
        print(f"\n{make.__name__}: " + ", ".join(f"{name} {each[name]:.2f} µs ({ratios[name]:.2f}x)" for name in runs))
    benchmark.pedantic(runs["lehr"], rounds=5, iterations=1)
