"""The controller and the schedule under JAX's own settings and in optax's own quick start."""

from __future__ import annotations

import difflib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lehr.jax
from lehr.errors import LehrError

pytestmark = pytest.mark.frameworks

RULES = "[when(loss.plateaus(2)).scale(0.5), when(loss.derails()).stop()]"
POLICY = f"Policy(warmup(3).then(cosine()), rules={RULES}, cadence=2)"


def lrs(kind: Any = jnp.float32) -> list[float]:
    tx = lehr.jax.controller(POLICY, lr=0.5, steps=20)
    one, update = jnp.ones((), kind), jax.jit(tx.update)
    state, used = tx.init(one), []
    for _ in range(20):
        scaled, state = update(one, state, one, value=jnp.ones((), kind))
        used.append(-float(scaled))
    return used


def bare() -> list[float]:
    run, used = lehr.start(POLICY, lr=0.5, steps=20), []
    for _ in range(20):
        used.append(float(np.float32(run.lr)))
        run.step(loss=1.0)
    return used


@pytest.mark.parametrize("setting", ["debug_nans", "check_tracer_leaks", "enable_checks"])
def test_it_runs_under_the_settings_by_which_one_looks_for_faults(setting: str) -> None:
    """Its memory says by NaN that there is no best value yet, which `jax_debug_nans` would take for a fault."""
    with getattr(jax, setting)(True):
        assert lrs() == bare()


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_it_runs_where_types_are_promoted_strictly(kind: str) -> None:
    with jax.numpy_dtype_promotion("strict"):
        used = lrs(jnp.dtype(kind))
        rate = jax.jit(lehr.jax.schedule("warmup(3).then(exponential(0.9))", 0.5))(jnp.asarray(4))
    assert used == np.asarray(jnp.asarray(bare(), jnp.dtype(kind)), dtype=np.float64).tolist()
    assert float(rate) == pytest.approx(0.45)


def test_nothing_is_moved_between_host_and_device_at_an_update() -> None:
    tx = lehr.jax.controller(POLICY, lr=0.5, steps=20)
    one, update = jnp.ones(()), jax.jit(tx.update)
    state = tx.init(one)
    _, state = update(one, state, one, value=one)
    with jax.transfer_guard("disallow_explicit"):
        for _ in range(3):
            _, state = update(one, state, one, value=one)
    assert int(state.step) == 4


def test_runs_under_vmap_decide_each_for_itself() -> None:
    tx = lehr.jax.controller("when(loss.reaches(0.5)).scale(0.5)", lr=1.0, steps=9)
    losses = jnp.asarray([0.4, 0.6, 0.5])
    update = jax.jit(jax.vmap(lambda state, loss: tx.update(jnp.ones(()), state, value=loss)[1]))
    state = update(jax.vmap(tx.init)(losses), losses)
    assert state.next_lr.tolist() == [0.5, 1.0, 0.5]
    with pytest.raises(LehrError, match=r"of one run, got the states of 3 \(vmap, pmap\).*leaf\[0\]"):
        lehr.jax.why("when(loss.reaches(0.5)).scale(0.5)", state)
    assert "fired once" in lehr.jax.why("when(loss.reaches(0.5)).scale(0.5)", jax.tree.map(lambda leaf: leaf[0], state))


# As in optax's README
QUICK_START = """
import jax, jax.numpy as jnp, optax

num_weights = 2
optimizer = optax.adam(learning_rate=0.1)
params = {"w": jnp.ones((num_weights,))}
opt_state = optimizer.init(params)
compute_loss = lambda params, x, y: optax.l2_loss(params["w"].dot(x), y)
xs, ys = jnp.ones((2,)), jnp.asarray(0.0)
for _ in range(50):
    loss, grads = jax.value_and_grad(compute_loss)(params, xs, ys)
    updates, opt_state = optimizer.update(grads, opt_state)
    params = optax.apply_updates(params, updates)
"""
RULE = "when(loss.plateaus(patience=2)).scale(0.5)"
TX = f'optax.chain(optax.scale_by_adam(), lehr.jax.controller("{RULE}", lr=0.1, steps=50))'
WAYS = {
    "schedule": {
        "import jax, ": "import lehr.jax, jax, ",
        "learning_rate=0.1": 'lehr.jax.schedule("cosine()", lr=0.1, steps=50)',
    },
    "controller": {
        "import jax, ": "import lehr.jax, jax, ",
        "optax.adam(learning_rate=0.1)": TX,
        "update(grads, opt_state)": "update(grads, opt_state, value=loss)",
    },
}


@pytest.mark.parametrize("way", WAYS)
def test_at_most_three_lines_of_the_quick_start_change(way: str) -> None:
    script = QUICK_START
    for old, new in WAYS[way].items():
        assert script.count(old) == 1
        script = script.replace(old, new)
    changed = [line for line in difflib.ndiff(QUICK_START.splitlines(), script.splitlines()) if line.startswith("+ ")]
    assert len(changed) == len(WAYS[way]) <= 3
    names: dict[str, Any] = {}
    exec(script, names)
    if way == "controller":
        assert int(lehr.jax.controller_state(names["opt_state"]).rules[0].fired) > 0
    else:
        assert int(names["opt_state"][0].count) == 50
