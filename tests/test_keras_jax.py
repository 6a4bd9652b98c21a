"""Keras on JAX: what is special about compiled training steps. A process has one backend, so each test has its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lehr
from keras_task import BATCHES, LR, SIZE, by_hand, data, loss_and_gradient

pytestmark = pytest.mark.peers

TESTS = Path(__file__).parent
POLICY = "Policy(warmup(4).then(cosine(to=0.1)), rules=[when(loss.reaches(4)).scale(0.5)])"
BEGIN = """
import json, logging, warnings
import jax, keras, lehr
from keras_task import LR, SIZE, data, neuron, recorder
from lehr.keras import Feedback, Schedule, run_of
warnings.simplefilter("error")
warnings.filterwarnings("ignore", "__array__ implementation doesn't accept", DeprecationWarning)  # Keras's own
Recorder = recorder(keras)
"""


def on_jax(code: str, **environment: str) -> Any:
    """What the code prints, as JSON."""
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": str(TESTS), **environment}
    told = subprocess.run(
        [sys.executable, "-c", BEGIN + code], env=environment, capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr
    return json.loads(told.stdout)


def test_a_rule_that_acts_at_every_update_compiles_nothing_again() -> None:
    policy = "Policy(cosine(), rules=[when(always()).scale(0.9)])"
    compiled, lrs = on_jax(f"""
compiled = []
class Compiled(logging.Handler):
    def emit(self, record):
        compiled.extend(["train_step"] * record.getMessage().startswith("Compiling jit(train_step)"))
logging.getLogger("jax").addHandler(Compiled())
logging.getLogger("jax").propagate = False
jax.config.update("jax_log_compiles", True)
model = neuron(keras, Recorder(Schedule({policy!r}, lr=LR, steps=100)))
for _ in range(2):
    how = dict(batch_size=SIZE, shuffle=False, verbose=0, validation_data=data())
    model.fit(*data(), epochs=2, callbacks=[Feedback()], **how)
print(json.dumps([compiled, model.optimizer.lrs()]))
""")
    assert compiled == ["train_step"]
    assert lrs == by_hand(policy, 4, steps=100)["lrs"]


def test_of_several_steps_in_one_execution_rules_hear_the_mean() -> None:
    together, steps = 4, 40
    run = lehr.start(POLICY, lr=LR, steps=steps)
    lrs, losses, w = [], [], np.zeros((5, 1), np.float32)
    x, y = data()
    for i in range(3 * BATCHES):
        rows = slice(i % BATCHES * SIZE, (i % BATCHES + 1) * SIZE)
        loss, gradient = loss_and_gradient(w, x[rows], y[rows])
        lrs.append(float(np.float32(run.lr)))
        losses.append(loss)
        w -= np.float32(run.lr) * gradient
        if (i + 1) % together == 0:
            run.step(loss=float(np.mean(losses[-together:])))
        else:
            run.step()
    assert any(event.kind == "rule" for event in run.events)
    found = on_jax(f"""
model = neuron(keras, Recorder(Schedule({POLICY!r}, lr=LR, steps={steps})), steps_per_execution={together})
model.fit(*data(), epochs=3, batch_size=SIZE, shuffle=False, verbose=0, callbacks=[Feedback()])
print(json.dumps([model.optimizer.lrs(), run_of(model).t]))
""")
    assert found == [lrs, 3 * BATCHES]


def test_steps_that_are_not_compiled_do_the_same() -> None:
    found = on_jax(f"""
optimizer = keras.optimizers.LossScaleOptimizer(Recorder(Schedule({POLICY!r}, lr=LR, steps=40)))
model = neuron(keras, optimizer, run_eagerly=True)
model.fit(*data(broken=True), epochs=1, batch_size=SIZE, shuffle=False, verbose=0, callbacks=[Feedback()])
print(json.dumps([optimizer.inner_optimizer.lrs(), run_of(model).t]))
""")
    hand = by_hand(POLICY, 1, broken=True)
    assert found == [hand["lrs"], hand["t"]]


def test_two_devices_use_the_lr_of_one() -> None:
    found = on_jax(
        f"""
keras.distribution.set_distribution(keras.distribution.DataParallel())
model = neuron(keras, Recorder(Schedule({POLICY!r}, lr=LR, steps=40)))
model.fit(*data(), epochs=2, batch_size=SIZE, shuffle=False, verbose=0, callbacks=[Feedback()])
print(json.dumps([len(model.optimizer.used.value.sharding.device_set), model.optimizer.lrs()]))
""",
        XLA_FLAGS="--xla_force_host_platform_device_count=2",
    )
    assert found == [2, by_hand(POLICY, 2)["lrs"]]


def test_a_traced_schedule_is_exact_beyond_what_float32_counts() -> None:
    steps = [2**24 + 2 * i + 1 for i in range(4)] + [0, 2**25, 2**31 - 1]
    found = on_jax(f"""
schedule = jax.jit(Schedule("cosine(to=0.5)", lr=1.0, steps=2**25))
print(json.dumps([float(schedule(jax.numpy.int32(t))) for t in {steps}]))
""")
    assert found == np.float32(lehr.cosine(to=0.5).resolve(steps=2**25)(np.array(steps))).tolist()
