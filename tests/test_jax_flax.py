"""Flax NNX: `nnx.Optimizer` hands `value=loss` on, and every LR is that of a bare loop."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lehr
import lehr.jax

pytestmark = [pytest.mark.peers, pytest.mark.frameworks]

STEPS = 60
LOSSES = (1 + 0.01 * np.sin(np.arange(STEPS) ** 2)).astype(np.float32)  # stands still, so the rule fires
POLICY = "Policy(warmup(5).then(cosine(to=0.1)), rules=[when(loss.plateaus(patience=6)).scale(0.5).rest(9)])"
TRANSFORMATIONS: dict[str, Callable[[lehr.Controller], Any]] = {
    "controller": lambda run: lehr.jax.controller(POLICY, lr=0.1, steps=STEPS),
    "hosted": lehr.jax.hosted,
}


def start() -> lehr.Controller:
    return lehr.start(POLICY, lr=0.1, steps=STEPS)


def bare() -> tuple[list[float], lehr.Controller]:
    run, lrs = start(), []
    for loss in LOSSES:
        lrs.append(float(np.float32(run.lr)))
        run.step(loss=float(loss))
    return lrs, run


def optimized(tx: Any) -> tuple[Any, Any]:
    """A model of one weight and its optimiser."""
    from flax import nnx

    class Model(nnx.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            self.w = nnx.Param(jnp.zeros(()))

    model = Model()
    return model, nnx.Optimizer(model, tx, wrt=nnx.Param)


def updates_of(model: Any, optimizer: Any, losses: Any) -> list[float]:
    """What each update takes off the weight, for a gradient of one."""
    from flax import nnx

    def train_step(model: Any, optimizer: Any, loss: Any) -> Any:
        gradients = nnx.grad(lambda model: model.w[...])(model)
        return optimizer.update(model, gradients, value=loss)

    compiled = nnx.jit(train_step)
    return [-float(jax.tree.leaves(compiled(model, optimizer, loss))[0]) for loss in losses]


def test_the_rule_of_these_tests_fires_more_than_once() -> None:
    assert sum(event.kind == "rule" for event in bare()[1].events) > 1


def test_a_schedule_gives_each_update_its_lr() -> None:
    model, optimizer = optimized(optax.sgd(lehr.jax.schedule("warmup(5).then(cosine())", 0.1, steps=STEPS)))
    run, expected = lehr.start("warmup(5).then(cosine())", lr=0.1, steps=STEPS), []
    for _ in range(STEPS):
        expected.append(float(np.float32(run.lr)))
        run.step()
    assert updates_of(model, optimizer, LOSSES) == expected


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_rules_hear_the_loss_and_decide_as_in_a_bare_loop(name: str) -> None:
    run = start()
    model, optimizer = optimized(TRANSFORMATIONS[name](run))
    assert updates_of(model, optimizer, LOSSES) == bare()[0]
    assert int(optimizer.step[...]) == STEPS
    if name == "hosted":
        assert lehr.jax.settle(run, optimizer.opt_state).state_dict() == bare()[1].state_dict()


@pytest.mark.parametrize("name", TRANSFORMATIONS)
@pytest.mark.parametrize("at", [8, 37])
def test_killed_and_resumed_the_lrs_are_those_of_a_bare_loop(name: str, at: int) -> None:
    from flax import nnx

    run = start()
    model, optimizer = optimized(TRANSFORMATIONS[name](run))
    before = updates_of(model, optimizer, LOSSES[:at])
    arrays = jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state((model, optimizer))))
    plain = json.dumps(lehr.jax.settle(run, optimizer.opt_state).state_dict()) if name == "hosted" else ""

    run = start()
    if plain:
        run.load_state_dict(json.loads(plain))
    model, optimizer = optimized(TRANSFORMATIONS[name](run))
    state = nnx.state((model, optimizer))
    nnx.replace_by_pure_dict(state, arrays)
    nnx.update((model, optimizer), state)
    assert before + updates_of(model, optimizer, LOSSES[at:]) == bare()[0]


QUICK_START = """
import jax, jax.numpy as jnp, optax
from flax import nnx

model = nnx.Linear(2, 1, rngs=nnx.Rngs(0))
tx = optax.adam(0.1)
optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)

@nnx.jit
def train_step(model, optimizer, x, y):
    loss_fn = lambda model: ((model(x) - y) ** 2).mean()
    loss, grads = nnx.value_and_grad(loss_fn)(model)
    optimizer.update(model, grads)
    return loss

x, y = jnp.ones((4, 2)), jnp.ones((4, 1))
for _ in range(20):
    loss = train_step(model, optimizer, x, y)
"""
RULE = "when(loss.plateaus(patience=2)).scale(0.5)"
TX = f'optax.chain(optax.scale_by_adam(), lehr.jax.controller("{RULE}", lr=0.1, steps=20))'
CHANGES = {
    "from flax import nnx": "from flax import nnx; import lehr.jax",
    "optax.adam(0.1)": TX,
    "update(model, grads)": "update(model, grads, value=loss)",
}


def test_three_lines_of_the_quick_start_change() -> None:
    script = QUICK_START
    for old, new in CHANGES.items():
        script = script.replace(old, new)
    changed = [line for line in difflib.ndiff(QUICK_START.splitlines(), script.splitlines()) if line.startswith("+ ")]
    assert len(changed) == 3
    names: dict[str, Any] = {}
    exec(script, names)
    fired = [int(np.asarray(rule.fired[...])) for rule in lehr.jax.controller_state(names["optimizer"].opt_state).rules]
    assert fired[0] > 0
