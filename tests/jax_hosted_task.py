"""A bare loop of two rules that fire, and the same run behind compiled updates."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import lehr

STEPS = 120
LOSSES = np.random.default_rng(0).normal(1.0, 0.01, STEPS).astype(np.float32)  # stands still: the rules fire
ACCURACY = np.linspace(0.5, 0.9, STEPS, dtype=np.float32)
POLICY = lehr.Policy(
    lehr.warmup(5).then(lehr.cosine(to=0.1)),
    rules=[
        lehr.when(lehr.loss.improves_less_than(0.05, over=30, risk=0.2)).scale(0.5),
        lehr.when(lehr.metric("accuracy", best="max").reaches(0.8)).saturate(eta=0.5, eps=1e-3),
    ],
    min_lr=1e-4,
)
ONE = jnp.ones(())


def start() -> lehr.Controller:
    return lehr.start(POLICY, lr=0.1, steps=STEPS)


def bare(losses: Any = LOSSES, accuracy: Any = ACCURACY) -> tuple[list[float], lehr.Controller]:
    """The LR of each update of a bare loop, rounded to float32, and its run."""
    run, lrs = start(), []
    for loss, right in zip(losses, accuracy, strict=True):
        lrs.append(float(np.float32(run.lr)))
        run.step(loss=float(loss), accuracy=float(right))
    return lrs, run


def fired(run: lehr.Controller) -> list[str]:
    return [str(event) for event in run.events]


def scan(optimizer: Any, state: Any, gradients: Any, losses: Any, accuracy: Any) -> tuple[Any, list[float]]:
    """The state and −updates after one compiled call a loss."""

    def call(state: Any, row: Any) -> Any:
        gradient, loss, right = row
        updates, state = optimizer.update(gradient, state, ONE, value=loss, accuracy=right)
        return state, -updates

    rows = jnp.asarray(gradients, jnp.float32), jnp.asarray(losses), jnp.asarray(accuracy)
    state, lrs = jax.jit(lambda state: jax.lax.scan(call, state, rows))(state)
    return state, np.asarray(lrs).tolist()
