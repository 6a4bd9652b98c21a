"""What happens inside a jitted training step, in arrays on the device that the step reads and writes.

A jitted function may close over a `Ref` of JAX, a mutable array. So the host hands the step its next LRs, and takes
losses and iterations out of it, without compiling anything again, without a call back to the host, and without
variables that would change what Keras saves.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lehr.errors import LehrError
from lehr.keras.schedule import Schedule

__all__ = ["JaxTap", "commit"]

AHEAD = 64  # LRs that the device knows


class JaxTap:
    """The tap on the JAX backend.

    Args:
        schedule: the schedule whose LRs the step is to use.
        iterations: the optimiser's count; everything lies where it does.
        size: `steps_per_execution`, the training steps between two looks of the host.
        eager: whether training steps are not jitted.
    """

    def __init__(self, schedule: Schedule, iterations: Any, size: int, eager: bool) -> None:
        if not hasattr(jax, "new_ref"):
            raise LehrError(
                f"rules on the JAX backend need jax.new_ref, which JAX {jax.__version__} lacks; upgrade jax"
            )
        self._schedule, self.size, self.eager = schedule, size, eager

        def ref(size: int) -> Any:
            return jax.new_ref(jax.device_put(np.zeros(size, np.int32), iterations.sharding))

        # Each is one array, as every array costs time in every step; losses and LRs are in them by their bits.
        self._ahead = ref(1 + max(AHEAD, size))  # the next update, and the LRs from it on
        self._told = ref(
            1 + 2 * size
        )  # training steps made; of the last, in turns: the iteration, or −1 if skipped; loss
        self._taken = 0
        self._count = int(iterations)
        self._known: tuple[int, list[float]] | None = None

    def begin(self, iterations: Any) -> None:
        """A new `fit`: forget steps that nobody has taken."""
        self._taken, self._count, self._known = int(self._told[...][0]), int(iterations), None

    def heard(self, loss: Any) -> None:
        """A training step has a loss."""
        told = self._told[...]
        at = told[0] % self.size
        bits = jax.lax.bitcast_convert_type(jax.lax.stop_gradient(loss).astype(jnp.float32), jnp.int32)
        self._told[...] = told.at[0].add(1).at[1 + at].set(-1).at[1 + self.size + at].set(bits)

    def rate(self, step: Any) -> Any:
        """The LR, where the optimiser asks for it; if it skips the step, it does not ask."""
        if not (self.eager or isinstance(step, jax.core.Tracer)):
            return None  # a callback asks
        told, ahead = self._told[...], self._ahead[...]
        at = 1 + (told[0] - 1) % self.size
        self._told[...] = told.at[at].set(jnp.where(told[at] < 0, step.astype(jnp.int32), told[at]))
        place = jnp.clip(step // self._schedule.accumulate - ahead[0], 0, len(ahead) - 2)
        return jax.lax.bitcast_convert_type(ahead[1 + place], jnp.float32)

    def take(self) -> tuple[list[float], int]:
        """The losses of the steps that counted, and the count."""
        told = np.asarray(self._told[...])
        made, counted, losses = int(told[0]), told[1 : 1 + self.size], told[1 + self.size :].view(np.float32)
        places = [i % self.size for i in range(max(self._taken, made - self.size), made)]
        self._taken = made
        heard = [float(losses[i]) for i in places if counted[i] >= 0]
        self._count = max([self._count, *(int(counted[i]) + 1 for i in places)])
        return heard, self._count

    def refresh(self) -> None:
        """Hand over new LRs, if those on the device are not those of the run, or come to an end."""
        t, lrs = self._schedule.lrs(self.size)
        if self._known is not None:
            first, known = self._known
            ahead = known[t - first : t - first + len(lrs)]
            if len(ahead) >= self.size and ahead == lrs[: len(ahead)]:
                return
        lrs = lrs[: len(self._ahead) - 1]
        self._known = t, lrs
        padded = np.pad(np.asarray(lrs, np.float32), (0, len(self._ahead) - 1 - len(lrs)), mode="edge")
        self._ahead[...] = np.concatenate([np.array([t], np.int32), padded.view(np.int32)])


def commit(variables: Iterable[Any]) -> None:
    """Bind arrays to the devices on which they are.

    What a step with a `Ref` returns is bound. If what it is given were not, as at the start and after a reset of
    metrics, JAX would compile the step for each mixture of them.
    """
    for variable in variables:
        variable.assign(jax.device_put(variable.value, variable.value.sharding))
