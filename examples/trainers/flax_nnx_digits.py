"""Flax NNX: one line more than a constant LR, and `value=loss` tells the rules how training goes.

Run it: python examples/trainers/flax_nnx_digits.py   (pip install 'lehr[jax]' flax scikit-learn)
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits

import lehr.jax

STEPS = 600
images, labels = load_digits(return_X_y=True)
images, labels = jnp.asarray(images, jnp.float32) / 16, jnp.asarray(labels)
train, held_out = slice(0, 1400), slice(1400, None)


class Net(nnx.Module):
    """Two layers."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.hidden = nnx.Linear(64, 64, rngs=rngs)
        self.out = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        """The logits."""
        return self.out(nnx.relu(self.hidden(x)))


flat = lehr.when(lehr.loss.smoothed(20).plateaus(patience=20)).scale(0.5).rest(50)
policy = lehr.Policy(lehr.warmup("5%").then(lehr.hold()), rules=[flat])

model = Net(nnx.Rngs(0))
scale = lehr.jax.controller(policy, lr=0.02, steps=STEPS)  # was: optax.adam(0.02)
optimizer = nnx.Optimizer(model, optax.chain(optax.scale_by_adam(), scale), wrt=nnx.Param)


@nnx.jit
def train_step(model: Net, optimizer: nnx.Optimizer, inputs: Any, targets: Any) -> Any:
    def loss_fn(model: Net) -> Any:
        return optax.softmax_cross_entropy_with_integer_labels(model(inputs), targets).mean()

    loss, gradients = nnx.value_and_grad(loss_fn)(model)
    optimizer.update(model, gradients, value=loss)  # was: optimizer.update(model, gradients)
    return loss


draws = np.random.default_rng(0).integers(0, 1400, size=(STEPS, 64))
for step, rows in enumerate(draws):
    loss = train_step(model, optimizer, images[rows], labels[rows])
    if step % 100 == 99:
        lr = jax.tree.leaves(optax.tree.get(optimizer.opt_state, "lr"))[0]
        print(f"update {step + 1}: loss {float(loss):.4f}, LR {float(lr):.4g}")

right = model(images[held_out]).argmax(axis=1) == labels[held_out]
print(f"accuracy {float(right.mean()):.3f}")
