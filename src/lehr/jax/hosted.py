"""A running policy on the host, asked for the LR from inside a compiled update: for rules that JAX cannot trace.

The state of the transformation says how many updates were applied and what was reported at the last of them. The next
call brings that to the host, which tells the run once and answers with the LR. So an update whose state is thrown away
(a micro-batch of `MultiSteps`, a gradient that `apply_if_finite` skips) was never told, nor is any told twice.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import io_callback

from lehr.controller import Controller
from lehr.errors import LehrError
from lehr.jax.window import numbers

__all__ = ["HostedState", "hosted", "settle"]


class HostedState(NamedTuple):
    """What `hosted` remembers: arrays alone, so that it is saved with the rest of the optimiser's state.

    Attributes:
        step: updates applied.
        lr: the LR that the last of them used.
        numbers: what was reported at the last of them, by name; the run hears of it with the next call.
        told: which of the numbers were reported.
    """

    step: jax.Array
    lr: jax.Array
    numbers: dict[str, jax.Array]
    told: dict[str, jax.Array]


def hosted(run: Controller, names: Sequence[str] = ()) -> Any:
    """A gradient transformation that multiplies by −LR, with the LR of a run on the host; it works inside `jit`.

    `update(updates, state, params, value=loss, accuracy=...)` reports: `value` is the loss, further names are metrics.
    They belong to the update whose LR is used, as in `run.step(loss=...)`, and the decisions are those of `run.step`
    with the same numbers. `report(x, when=...)` marks one that is not new at every update. What no rule reads is
    ignored, as other transformations may mean it.

    The run hears of an update with the next call: in between, `run.lr` is what the last update used and `run.done` is
    of the one before. Ask `settle(run, opt_state)`, which is the run up to date: where you read or save it, as the
    condition of a loop, and after every update if the policy calls functions of yours (`evaluate=`). Under
    `optax.MultiSteps` the numbers of the last micro-batch count; give the mean if you mean it. For one training in one
    process; on several devices give each number as the mean over them (`jax.lax.pmean`).

    A loop that looks at each loss on the host needs none of this: give `run.lr` to the compiled update as an argument,
    and call `run.step(loss=float(loss))` after it.

    Args:
        run: from `lehr.start`, for one LR.
        names: of further numbers to tell the run, which no rule reads but a subscriber wants.

    Returns:
        An `optax.GradientTransformationExtraArgs`, for the end of an `optax.chain`.

    Raises:
        LehrError: a run with several LRs or other hyperparameters, or rules that restore weights. Inside a compiled
            update such an error comes as a `JaxRuntimeError` that ends with its text.

    Example:
        >>> import jax, lehr, optax
        >>> run = lehr.start("Policy(constant(), rules=[when(loss.reaches(0.5)).scale(0.1)])", lr=1.0)
        >>> optimizer = optax.chain(optax.identity(), hosted(run))
        >>> state = optimizer.init(1.0)
        >>> update = jax.jit(optimizer.update)
        >>> for loss in (0.9, 0.4, 0.3):
        ...     updates, state = update(1.0, state, value=loss)
        ...     print(float(updates))
        -1.0
        -1.0
        -0.10000000149011612
    """
    if not isinstance(run, Controller):
        raise LehrError(f"hosted(run) needs a run, got {run!r}: lehr.start(policy, lr=..., steps=...)")
    if isinstance(names, str):
        raise LehrError(f"hosted(names=...) must be a list of names, got {names!r}: names=[{names!r}]")
    if run.governed != [("lr", 0)]:
        raise LehrError(
            f"hosted(run) needs a run of one LR, this one governs {run.governed}; start a run for each group and join "
            "them by label: optax.partition({'head': optax.chain(..., hosted(head)), 'body': ...}, labels)"
        )
    _check(run)
    known = tuple(sorted({"loss", *names, *run.gathered} - run.evaluated))
    lock = threading.Lock()  # under shard_map every device asks, at the same time
    heard: dict[int, dict[str, float]] = {}  # what the newest state says of its last update

    def ask(state: HostedState) -> tuple[Any, Any]:
        with lock:
            step, told = int(state.step), _told(state)
            if run.evaluated and step > run.t:
                raise LehrError(
                    f"{', '.join(sorted(run.evaluated))} is evaluated by a function, which cannot be called inside a "
                    "compiled update: call settle(run, opt_state) after every update, or report it as a metric"
                )
            before = heard.get(step, told)
            heard.clear()
            heard[step] = told
            if str(before) != str(told):  # as text, as NaN is NaN
                raise LehrError(
                    f"update {step - 1} was reported with {before} and with {told}, and one run hears one number: on "
                    "several devices give the mean, jax.lax.pmean(loss, axis); under vmap use lehr.jax.controller"
                )
            _tell(run, state)
            _check(run, known)
            return np.asarray(run.lr, dtype=state.lr.dtype), state.step

    def init(params: Any) -> HostedState:
        if jax.process_count() > 1:
            raise LehrError(f"hosted(run) works in one process, not {jax.process_count()}; use controller or schedule")
        values = {name: jnp.zeros((), float) for name in known}
        told = {name: jnp.zeros((), bool) for name in known}
        return HostedState(jnp.zeros((), jnp.int32), jnp.asarray(run.lr, float), values, told)

    def update(updates: Any, state: HostedState, params: Any = None, **given: Any) -> tuple[Any, HostedState]:
        reported = numbers(given, known)
        # The step comes back from the host, so that two calls in a row cannot change places.
        lr, step = io_callback(ask, jax.eval_shape(lambda: (state.lr, state.step)), state)
        scaled = jax.tree.map(lambda u: jnp.asarray(-lr, dtype=jnp.result_type(u)) * u, updates)
        values = {name: jnp.asarray(number.value, dtype=state.lr.dtype) for name, number in reported.items()}
        told = {name: number.new for name, number in reported.items()}
        return scaled, HostedState(optax.safe_increment(step), lr, values, told)

    return optax.GradientTransformationExtraArgs(init, update)


def settle(run: Controller, opt_state: Any) -> Controller:
    """Tell the run of the last applied update, which only the next call would tell; waits for that update to end.

    Args:
        run: given to `hosted`.
        opt_state: the state of the optimiser after its last update, with that of `hosted` somewhere inside.

    Returns:
        The run, at the step of `opt_state`: `settle(run, opt_state).done`, `.events`, `.state_dict()`.

    Raises:
        LehrError: there is no state of `hosted` inside, or it is not of this run.

    Example:
        >>> import lehr
        >>> run = lehr.start("constant()", lr=0.1, steps=1)
        >>> optimizer = hosted(run)
        >>> updates, state = optimizer.update(1.0, optimizer.init(1.0), value=0.7)
        >>> run.done, settle(run, state).done
        (False, True)
    """
    leaves = jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, HostedState))
    states = [leaf for leaf in leaves if isinstance(leaf, HostedState)]
    if not states:
        raise LehrError("settle(run, opt_state) found no state of hosted(run) in opt_state; give all of it")
    for state in states:
        _tell(run, state)
    return run


def _check(run: Controller, known: Sequence[str] | None = None) -> None:
    """Refuse rules that cannot act from inside a compiled update, or that read what its state has no place for."""
    if run.by_hand:
        raise LehrError(
            f"{run.by_hand[0]!r} restores weights, which no compiled update can do: give run.lr to it as an argument, "
            "and call run.step(loss=float(loss)) after it, which calls the run's carry_out"
        )
    unheard = set() if known is None else {*run.gathered} - run.evaluated - {*known}
    if unheard:
        raise LehrError(
            f"the run has got rules that read {', '.join(sorted(unheard))}, which were unknown when hosted(run) was "
            f"made: make it with hosted(run, names={sorted(unheard)})"
        )


def _told(state: HostedState) -> dict[str, float]:
    """What was reported at the last update."""
    return {name: float(_one(state.numbers[name])) for name, flag in state.told.items() if _one(flag)}


def _one(array: Any) -> Any:
    """The number in an array: flax wraps each, and of devices (pmap) each has its own copy."""
    values = np.asarray(array)
    if values.size > 1:
        values = np.unique(values)
    if values.size != 1:
        raise LehrError(f"hosted(run) is for one training, and its state says {values.tolist()} at once; give one")
    return values.item()


def _tell(run: Controller, state: HostedState) -> None:
    """Bring the run to the step of the state: it is there, or one update behind."""
    step = _one(state.step)
    if step == run.t + 1:
        run.advance(1, _told(state))
    if step != run.t:
        raise LehrError(
            f"the optimizer state has {step} updates applied and the run {run.t}: restore both of one checkpoint, "
            "opt_state and run.load_state_dict(state), where state is settle(run, opt_state).state_dict()"
        )
