"""JAX and optax: a schedule, rules decided inside `jit`, and rules that only the host can decide; an epoch is one scan.

Run it: python examples/trainers/optax_digits.py   (pip install 'lehr[jax]' scikit-learn)
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

import lehr.jax

EPOCHS, BATCH = 20, 64
images, labels = load_digits(return_X_y=True)
order = np.random.default_rng(0).permutation(len(images))
images, labels = jnp.asarray(images[order], jnp.float32) / 16, jnp.asarray(labels[order])
train, held_out = slice(0, 1408), slice(1408, None)
STEPS = EPOCHS * 1408 // BATCH


def loss_of(params: Any, inputs: Any, targets: Any) -> Any:
    hidden = jax.nn.relu(inputs @ params["in"])
    return optax.softmax_cross_entropy_with_integer_labels(hidden @ params["out"], targets).mean()


def fit(name: str, scale: optax.GradientTransformation) -> tuple[Any, Any]:
    """Train a small net; `scale` is the part of the optimiser that multiplies by −LR."""
    optimizer = optax.chain(optax.scale_by_adam(), scale)
    keys = jax.random.split(jax.random.key(0))
    params = {"in": jax.random.normal(keys[0], (64, 64)) / 8, "out": jax.random.normal(keys[1], (64, 10)) / 8}

    def update(carry: Any, rows: Any) -> Any:
        params, state = carry
        loss, gradients = jax.value_and_grad(loss_of)(params, images[rows], labels[rows])
        updates, state = optimizer.update(gradients, state, params, value=loss)  # value: what the rules hear
        return (optax.apply_updates(params, updates), state), loss

    @jax.jit
    def epoch(carry: Any, rows: Any) -> Any:
        return jax.lax.scan(update, carry, rows)

    carry = params, optimizer.init(params)
    for number in range(EPOCHS):
        rows = np.random.default_rng(number).permutation(1408).reshape(-1, BATCH)
        carry, losses = epoch(carry, jnp.asarray(rows))
    params, state = carry
    right = jax.nn.relu(images[held_out] @ params["in"]) @ params["out"]
    accuracy = float((right.argmax(axis=1) == labels[held_out]).mean())
    print(f"{name}: last loss {float(losses.mean()):.4f}, accuracy {accuracy:.3f}")
    return params, state


# 1. A schedule: a function of the count, wherever optax takes a learning rate.
fit("schedule", optax.scale_by_learning_rate(lehr.jax.schedule("warmup('5%').then(cosine())", lr=0.01, steps=STEPS)))

# 2. A rule that is decided inside the compiled update; its memory is part of the optimiser's state.
policy = lehr.Policy(
    lehr.warmup("5%").then(lehr.hold()),
    rules=[lehr.when(lehr.loss.smoothed(20).plateaus(patience=15)).scale(0.5).rest(40)],
)
_, state = fit("controller", optax.with_extra_args_support(lehr.jax.controller(policy, lr=0.01, steps=STEPS)))
print("   its LR at the end:", float(optax.tree.get(state, "next_lr")))

# 3. A rule with statistics that only the host can do: compiled updates ask the running policy there.
policy = lehr.Policy(
    lehr.warmup("5%").then(lehr.hold()),
    rules=[lehr.when(lehr.loss.improves_less_than(0.5, over="10%", risk=0.1)).scale(0.5)],
)
run = lehr.start(policy, lr=0.01, steps=STEPS)
_, state = fit("hosted", lehr.jax.hosted(run))
for event in lehr.jax.settle(run, state).events:
    if event.kind == "rule":
        print("   ", event)
