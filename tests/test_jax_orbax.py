"""Killed and resumed from an orbax checkpoint: LRs and parameters as if the run had not been interrupted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lehr
import lehr.jax

pytestmark = [pytest.mark.peers, pytest.mark.frameworks]

STEPS = 90
FLAT = "Policy(warmup(5).then(cosine(to=0.1)), rules=[when(loss.plateaus(patience=6)).scale(0.5)])"
INPUTS = jnp.asarray(np.random.default_rng(0).normal(size=(STEPS, 16, 4)), jnp.float32)
WEIGHTS = jnp.zeros(4)


def losses(weights: Any, inputs: Any) -> Any:
    return jnp.mean((inputs @ (weights - 1.0) + jnp.sin(7 * inputs[:, 0])) ** 2)


def train(optimizer: Any, weights: Any, state: Any, first: int, last: int) -> tuple[Any, Any, list[float]]:
    """Updates `first` to `last`, one scan; the last part of the optimiser writes down each LR."""

    def update(carry: Any, inputs: Any) -> Any:
        weights, state = carry
        loss, gradients = jax.value_and_grad(losses)(weights, inputs)
        updates, state = optimizer.update(gradients, state, weights, value=loss)
        return (optax.apply_updates(weights, updates), state), optax.tree.get(state, "used")

    (weights, state), lrs = jax.jit(lambda carry: jax.lax.scan(update, carry, INPUTS[first:last]))((weights, state))
    return weights, state, np.asarray(lrs).tolist()


def watched(scale: Any) -> Any:
    """Adam and what scales its updates by −LR; the state says under `used` by what one entry was scaled."""

    def init(params: Any) -> Any:
        return {"inner": inner.init(params), "used": jnp.zeros(())}

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        gradient = {"w": updates, "one": jnp.ones(())}
        scaled, new = inner.update(gradient, state["inner"], params, **extra)
        return scaled["w"], {"inner": new, "used": -scaled["one"]}

    inner = optax.with_extra_args_support(scale)
    return optax.chain(optax.scale_by_adam(), optax.GradientTransformationExtraArgs(init, update))


def saved(folder: Path, tree: Any) -> Callable[[Any], Any]:
    """Save a tree of arrays with orbax; the function that restores it into a template."""
    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder / "state", tree)

    def restore(template: Any) -> Any:
        with ocp.StandardCheckpointer() as checkpointer:
            return checkpointer.restore(folder / "state", jax.tree.map(ocp.utils.to_shape_dtype_struct, template))

    return restore


MAKERS: dict[str, Callable[[], Any]] = {
    "schedule": lambda: watched(
        optax.scale_by_learning_rate(lehr.jax.schedule("warmup(5).then(cosine())", 0.1, steps=STEPS))
    ),
    "controller": lambda: watched(lehr.jax.controller(FLAT, 0.1, steps=STEPS)),
    "controller, accumulating": lambda: optax.MultiSteps(
        watched(lehr.jax.controller(FLAT, 0.1, steps=STEPS)), every_k_schedule=2
    ),
}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("at", [31, 60])
def test_a_state_of_arrays_is_all_there_is_to_save(name: str, at: int, tmp_path: Path) -> None:
    optimizer = MAKERS[name]()
    weights, _, whole = train(optimizer, WEIGHTS, optimizer.init(WEIGHTS), 0, STEPS)
    half, state, before = train(optimizer, WEIGHTS, optimizer.init(WEIGHTS), 0, at)
    restore = saved(tmp_path, {"weights": half, "state": state})

    fresh = MAKERS[name]()
    back = restore({"weights": WEIGHTS, "state": fresh.init(WEIGHTS)})
    end, _, after = train(fresh, back["weights"], back["state"], at, STEPS)
    assert before + after == whole
    assert end.tolist() == weights.tolist()


def test_the_rule_of_these_tests_fires_before_and_after_the_kill() -> None:
    run = lehr.start(FLAT, lr=0.1, steps=STEPS)
    optimizer = watched(lehr.jax.hosted(run))
    train(optimizer, WEIGHTS, optimizer.init(WEIGHTS), 0, STEPS)
    steps = [event.step for event in run.events if event.kind == "rule"]
    assert min(steps) < 31
    assert max(steps) > 60


@pytest.mark.parametrize("at", [31, 60])
def test_a_hosted_run_is_saved_beside_it_as_json(at: int, tmp_path: Path) -> None:
    import orbax.checkpoint as ocp

    run = lehr.start(FLAT, lr=0.1, steps=STEPS)
    optimizer = watched(lehr.jax.hosted(run))
    weights, end_state, whole = train(optimizer, WEIGHTS, optimizer.init(WEIGHTS), 0, STEPS)

    first = lehr.start(FLAT, lr=0.1, steps=STEPS)
    optimizer = watched(lehr.jax.hosted(first))
    half, state, before = train(optimizer, WEIGHTS, optimizer.init(WEIGHTS), 0, at)
    with ocp.CheckpointManager(tmp_path) as manager:
        arrays = ocp.args.StandardSave({"weights": half, "state": state})
        plain = ocp.args.JsonSave(lehr.jax.settle(first, state).state_dict())
        manager.save(at, args=ocp.args.Composite(arrays=arrays, run=plain))

    second = lehr.start(FLAT, lr=0.1, steps=STEPS)
    optimizer = watched(lehr.jax.hosted(second))
    template = {"weights": WEIGHTS, "state": optimizer.init(WEIGHTS)}
    with ocp.CheckpointManager(tmp_path) as manager:
        parts = ocp.args.Composite(arrays=ocp.args.StandardRestore(template), run=ocp.args.JsonRestore())
        back = manager.restore(manager.latest_step(), args=parts)
    second.load_state_dict(back.run)
    end, state, after = train(optimizer, back.arrays["weights"], back.arrays["state"], at, STEPS)
    assert before + after == whole
    assert end.tolist() == weights.tolist()
    assert lehr.jax.settle(second, state).state_dict() == lehr.jax.settle(run, end_state).state_dict()
