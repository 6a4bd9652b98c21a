"""A small task for Keras: one neuron on made data, and the same training as a loop written by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import lehr

Array = NDArray[np.float32]

SIZE = 8  # of a batch
BATCHES = 12  # in an epoch
BROKEN = 5  # the batch of each epoch whose gradients overflow, if one is to
LR = 0.2


def data(broken: bool = False, seed: int = 0, batches: int = BATCHES) -> tuple[Array, Array]:
    """Rows in batches of eight."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(batches * SIZE, 4)).astype(np.float32)
    y = (x @ [1, -2, 0.5, 3] + 0.3 * random.normal(size=len(x))).astype(np.float32)[:, None]
    if broken:
        y[BROKEN * SIZE] = np.inf
    return x, y


def loss_and_gradient(w: Array, x: Array, y: Array) -> tuple[float, Array]:
    """Of the mean of the squares; the last weight is the bias."""
    rows = np.hstack([x, np.ones_like(x[:, :1])])
    error = rows @ w - y
    return float(np.mean(error**2, dtype=np.float32)), 2 * rows.T @ error / np.float32(len(x))


def by_hand(policy: str, epochs: int, *, accumulate: int = 1, broken: bool = False, steps: int = 40) -> dict[str, Any]:
    """The loop: the LR that each update used, the losses that were reported, and what rules did at which step."""
    run = lehr.start(policy, lr=LR, steps=steps)
    x, y = data(broken)
    held_out = data(seed=1, batches=2)
    w = np.zeros((5, 1), np.float32)
    lrs, losses, gradients, heard = [], [], [], []
    for _ in range(epochs):
        for i in range(BATCHES):
            rows = slice(i * SIZE, (i + 1) * SIZE)
            with np.errstate(invalid="ignore"):
                loss, gradient = loss_and_gradient(w, x[rows], y[rows])
            if not np.isfinite(gradient).all():
                continue  # the update is skipped
            losses.append(loss)
            gradients.append(gradient)
            if len(losses) == accumulate:
                lrs.append(float(np.float32(run.lr)))
                heard.append(sum(losses) / accumulate)
                w -= np.float32(run.lr) * sum(gradients) / np.float32(accumulate)
                run.step(loss=heard[-1])
                losses, gradients = [], []
            if run.done:
                break
        if run.done:
            break
        run.observe(val_loss=loss_and_gradient(w, *held_out)[0])
    return {"lrs": lrs, "losses": heard, "acted": acted(run), "t": run.t}


def acted(run: lehr.Controller) -> list[tuple[int, str]]:
    """When rules acted, and how the journal names them, without the numbers."""
    return [(event.step, str(event.rule)) for event in run.events if event.kind == "rule"]


def recorder(keras: Any) -> Any:
    """SGD that records, from inside its update, the LR that it uses; the record is a variable, so it is saved."""

    @keras.saving.register_keras_serializable("tests")
    class Recorder(keras.optimizers.SGD):  # type: ignore[misc]
        def build(self, variables: Any) -> None:
            super().build(variables)
            self.used = self.add_variable((200,), initializer=keras.initializers.Constant(-1.0), name="used")

        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            place = keras.ops.reshape(keras.ops.cast(self.iterations, "int32"), (1, 1))
            lr = keras.ops.reshape(keras.ops.cast(learning_rate, "float32"), (1,))
            self.used.assign(keras.ops.scatter_update(self.used, place, lr))
            super().update_step(gradient, variable, learning_rate)

        def lrs(self) -> list[float]:
            """The LR of each update that was made."""
            used = keras.ops.convert_to_numpy(self.used).tolist()
            return [lr for lr in used if lr >= 0]

    return Recorder


def neuron(keras: Any, optimizer: Any, **how: Any) -> Any:
    """The model, compiled; its weights are zeros."""
    layer = keras.layers.Dense(1, kernel_initializer="zeros")
    model = keras.Sequential([keras.Input((4,)), layer])
    model.compile(optimizer=optimizer, loss="mse", **how)
    return model
