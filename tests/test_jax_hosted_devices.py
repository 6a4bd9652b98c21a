"""`lehr.jax.hosted` asked by several at once: labels, devices, processes, the lanes of `vmap`."""

from __future__ import annotations

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lehr
import lehr.jax
from jax_hosted_task import ACCURACY, LOSSES, ONE, bare, start
from lehr.errors import LehrError

pytestmark = pytest.mark.frameworks


def test_one_run_may_stand_behind_several_labels() -> None:
    run = start()
    parts = {"a": optax.chain(optax.scale_by_adam(), lehr.jax.hosted(run)), "b": lehr.jax.hosted(run)}
    optimizer = optax.partition(parts, {"x": "a", "y": "b"})
    update, state, lrs = jax.jit(optimizer.update), optimizer.init({"x": ONE, "y": ONE}), []
    for loss, right in zip(LOSSES, ACCURACY, strict=True):
        updates, state = update({"x": ONE, "y": ONE}, state, value=loss, accuracy=right)
        lrs.append(-float(updates["y"]))
    expected, twin = bare()
    assert lrs == expected
    assert lehr.jax.settle(run, state).state_dict() == twin.state_dict()


def test_many_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(LehrError, match="works in one process, not 2"):
        lehr.jax.hosted(start()).init(ONE)


DEVICES = """
import time
import jax, jax.numpy as jnp, numpy as np, lehr, lehr.jax
from jax.sharding import NamedSharding, PartitionSpec as P
mesh = jax.make_mesh((2,), ("d",))
data = jax.device_put(jnp.arange(4.0), NamedSharding(mesh, P("d")))
everywhere = NamedSharding(mesh, P())
def start():
    return lehr.start("Policy(cosine(), rules=[when(loss.reaches(20)).scale(0.5)])", lr=0.1, steps=40)
def sharded(run, body):
    optimizer = lehr.jax.hosted(run)
    w, state = jax.device_put((jnp.ones(()), optimizer.init(jnp.ones(()))), everywhere)
    def update(w, state, data):
        loss = body(jnp.sum((data * w) ** 2)) + 10 * w
        updates, state = optimizer.update(jnp.ones(()), state, value=loss)
        return w + updates, state, loss, -updates
    return w, state, update
rows = {}
run = start()
w, state, update = sharded(run, lambda x: x)
rows["jit"] = [run, w, state, jax.jit(update)]
run = start()
run.subscribe(lambda *told: time.sleep(0.01), on="steps")  # both devices ask in the meantime
w, state, update = sharded(run, lambda x: jax.lax.psum(x, "d"))
specs = dict(mesh=mesh, in_specs=(P(), P(), P("d")), out_specs=P(), check_vma=False)
rows["shard_map"] = [run, w, state, jax.jit(jax.shard_map(update, **specs))]
for name, (run, w, state, update) in rows.items():
    twin, same = start(), True
    for _ in range(40):
        w, state, loss, lr = update(w, state, data)
        same &= {float(part.data) for part in lr.addressable_shards} == {float(np.float32(twin.lr))}
        twin.step(loss=float(loss))
    print(name, same, lehr.jax.settle(run, state).state_dict() == twin.state_dict(), len(twin.events))
"""


def test_on_two_devices_it_is_told_once() -> None:
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", DEVICES], capture_output=True, text=True, check=False, env=environment, timeout=100
    )
    assert done.stdout.splitlines() == ["jit True True 1", "shard_map True True 1"], done.stderr


def test_lanes_of_vmap_that_differ_are_refused_as_one_run_hears_one_loss() -> None:
    """Otherwise the first lane's loss would decide for all."""
    optimizer = lehr.jax.hosted(start())
    lanes = jnp.ones(2)
    update = jax.jit(jax.vmap(lambda state, loss: optimizer.update(ONE, state, value=loss)))
    state = jax.vmap(optimizer.init)(lanes)
    _, state = update(state, jnp.asarray([0.5, 0.25]))
    with pytest.raises(jax.errors.JaxRuntimeError, match=r"update 0 was reported with .*0\.5.* and with .*0\.25"):
        float(update(state, lanes)[0][0])


def test_the_state_of_lanes_that_agree_is_settled_and_of_others_refused() -> None:
    """As `pmap` and `flax.jax_utils.replicate` keep it: with the devices along its first axis."""
    run = lehr.start("when(loss.diverges()).stop()", lr=0.1, steps=9)
    optimizer = lehr.jax.hosted(run)
    _, state = optimizer.update(ONE, optimizer.init(ONE), value=np.nan)
    both = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), state)
    assert lehr.jax.settle(run, both).done
    with pytest.raises(LehrError, match=r"for one training, and its state says \[0, 1\] at once"):
        lehr.jax.settle(run, both._replace(step=jnp.asarray([0, 1])))
