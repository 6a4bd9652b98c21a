"""A policy inside jit: a gradient transformation that scales by the LR and lets the rules hear of every update.

`Plan.update` of arrays, for one LR. The numbers that rules decide on are those of the host, so the decisions are: see
`lehr.jax.wide`. A machine in jit writes no journal; its state counts the firings of each rule, and `why` tells of them.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

from lehr.errors import LehrError, LehrWarning
from lehr.extras import needs
from lehr.lengths import Horizon, as_horizon, whole_steps
from lehr.plan import Plan
from lehr.policy import Policy, PolicyLike
from lehr.rules import Stop
from lehr.text import as_policy

with needs("jax"):
    import jax
    import jax.numpy as jnp
    import optax

from lehr.jax.machines import Sight
from lehr.jax.rules import RuleMemory, change, check, stepper
from lehr.jax.schedule import base_lr
from lehr.jax.wide import choose, in_64_bits, packed, rounded, stored, unpacked
from lehr.jax.window import Sum, Window, gathered, numbers

__all__ = ["ControllerState", "controller", "controller_state", "why"]

LONGEST = 2**31 - 2


class ControllerState(NamedTuple):
    """The state of a controller: arrays of fixed shapes and types.

    Attributes:
        step: updates so far.
        lr: what the last update used; before the first, what it will use.
        next_lr: of the next update.
        gain: the effect of the rules, LR = base × factor × gain.
        done: whether a rule has stopped the run, or its last update is over.
        rules: of each rule how often it has `fired`, after which update it did so `last` (-1: never), how many
            observations it has `seen`, and the memory of its trigger.
        memory: the gain once more, to the last digit, and what was gathered since the last cadence point.
    """

    step: Any
    lr: Any
    next_lr: Any
    gain: Any
    done: Any
    rules: tuple[RuleMemory, ...]
    memory: Any


class Memory(NamedTuple):
    """What a controller remembers besides its rules."""

    exact_gain: Any
    window: Any


def controller(
    policy: PolicyLike | str, lr: float, *, steps: int | None = None, horizon: Horizon | None = None
) -> optax.GradientTransformationExtraArgs:
    """A policy with its rules as a gradient transformation that runs inside `jit` and `lax.scan`.

    It multiplies by −LR, as `optax.scale_by_learning_rate`. Call `tx.update(grads, state, params, value=loss,
    accuracy=...)`: rules hear `value` as `loss` and every other argument under its name, and act from the next update
    on, with the decisions of `lehr.start`; what no rule reads is passed over. `report(x, when=...)` marks a number
    that is not new at every update. Where `optax.MultiSteps` or `optax.apply_if_finite` skip an update, nothing
    advances, and the last micro-batch's numbers are those of the update. On several devices give each number as the
    mean over them (`jax.lax.pmean`), so that all decide the same.

    `controller_state(opt_state)` reads LR, gain, firings and whether the run is done; `why` puts them into words.

    Args:
        policy: a policy, schedule or rule for one LR, or the text of one.
        lr: the base LR.
        steps: updates in the run; short for `horizon=Horizon(steps=...)`, never both.
        horizon: the facts of the run.

    Raises:
        LehrError: a rule that cannot run inside jit, by name; several groups or hyperparameters; what `lehr.start`
            refuses.

    Example:
        >>> import lehr.jax, optax
        >>> rule = lehr.when(lehr.loss.plateaus(2)).scale(0.5)
        >>> tx = optax.chain(optax.scale_by_adam(), lehr.jax.controller(rule, lr=0.1, steps=100))
        >>> state = tx.init(1.0)
        >>> for _ in range(4):
        ...     updates, state = tx.update(1.0, state, value=0.7)
        >>> print(float(optax.tree_utils.tree_get(state, "next_lr")))
        0.05000000074505806
    """
    run = _Run(_plan(_single(as_policy(policy)), lr, steps, horizon))
    advance = jax.jit(run.advance)  # one program, also where the caller compiles nothing

    def init(params: Any) -> ControllerState:
        del params
        return run.init()

    def update(updates: Any, state: ControllerState, params: Any = None, **given: Any) -> tuple[Any, ControllerState]:
        del params
        run.look(given)
        scale = -state.next_lr
        updates = jax.tree.map(lambda g: jnp.asarray(scale, dtype=g.dtype) * g, jax.tree.map(jnp.asarray, updates))
        return updates, advance(state, numbers(given, run.names))

    return optax.GradientTransformationExtraArgs(init, update)


class _Run:
    """A plan of one LR, as functions of arrays."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.curve, self.base = plan.curves[0], plan.bases[0]
        self.names = tuple(sorted({signal.name for signal in plan.signals}))
        self.steppers = [stepper(rule) for rule in plan.rules]
        cadence = plan.policy.cadence
        self.every = None if cadence is None or not plan.rules else whole_steps(plan.horizon.measure(cadence))
        wakeful = any(rule.trigger.heeds_warmup for rule in plan.rules)
        self.awake = 0 if wakeful else plan.warmup
        self.told = False

    def init(self) -> ControllerState:
        """Before the first update."""
        first = jnp.asarray(self.plan.lrs(self.plan.init())[0], dtype=float)
        rules = tuple(stored(memory) for memory, _ in self.steppers)
        window = () if self.every is None else stored(Window({name: Sum() for name in self.names}))
        done = jnp.asarray(self.plan.total == 0)
        gain = jnp.ones_like(first)
        return ControllerState(jnp.zeros((), jnp.int32), first, first, gain, done, rules, Memory(stored(1.0), window))

    def look(self, given: Mapping[str, Any]) -> None:
        """Say once that nothing which rules read was given."""
        words = ["value" if name == "loss" else name for name in self.names]
        if self.told or not words or not given.keys().isdisjoint([*self.names, *words]):
            return
        self.told = True
        wanted = ", ".join(words)
        heard = ", ".join(sorted(given)) or "nothing"
        warnings.warn(
            f"update(...) was given {heard}, and the rules read {wanted}: they cannot fire. Write "
            f"tx.update(grads, state, params, {words[0]}=...); where a number is not there at every "
            "update, mark it by lehr.jax.report(x, when=...)",
            LehrWarning,
            stacklevel=3,
        )

    def advance(self, state: ControllerState, given: Any) -> ControllerState:
        """The state after an update of which these numbers were reported."""
        with in_64_bits():
            step = state.step.astype(jnp.int64)
            memory, rules = unpacked(state.memory), list(unpacked(state.rules))
            given = {name: item._replace(value=item.value.astype(jnp.float64)) for name, item in given.items()}
            sight, since, window = self._shown(step, given, memory.window)
            after = step + 1
            factor = self.curve(after)
            gain, done = memory.exact_gain, state.done
            sight = sight._replace(lr=self._lr(after, factor, gain))
            for i, (rule, (_, update)) in enumerate(zip(self.plan.rules, self.steppers, strict=True)):
                memory_after, fires, by = update(rules[i], sight)
                if not rule.trigger.heeds_warmup:
                    asleep = since < self.plan.warmup
                    memory_after, fires = choose(asleep, rules[i], memory_after), fires & ~asleep
                rules[i] = memory_after
                if not rule.shadow:
                    done |= fires & isinstance(rule.action, Stop)
                    gain = jnp.where(fires, change(rule, gain, self._lr(after, factor, gain), by), gain)
            if self.plan.total is not None:
                done |= after >= self.plan.total
            lr, kept = self._lr(after, factor, gain), Memory(gain, window)
            memories, kept = packed(tuple(rules)), packed(kept)
            lr, shown = lr.astype(state.lr.dtype), gain.astype(state.gain.dtype)
        return ControllerState(optax.safe_increment(state.step), state.next_lr, lr, shown, done, memories, kept)

    def _shown(self, step: Any, given: Any, window: Any) -> tuple[Sight, Any, Any]:
        """What the rules are shown now, since which step it was gathered, and the window that is left."""
        if self.every is None:
            return Sight(step, given, jnp.asarray(True), None), step, window
        window = gathered(window, step, given, self.awake)
        due = (step + 1) % self.every == 0
        means = {name: total.number for name, total in window.sums.items()}
        means = {name: item._replace(new=item.new & due) for name, item in means.items()}
        since = jnp.where(window.since < 0, step, window.since)
        fresh = Window({name: Sum() for name in self.names})
        return Sight(step, means, due, None), since, choose(due, fresh, window)

    def _lr(self, step: Any, factor: Any, gain: Any) -> Any:
        """The LR of an update, within the policy's bounds."""
        lr = rounded(self.base * factor * gain)
        low, high = self.plan.bounds(0)
        bounded = lr if high is None else jnp.minimum(lr, high)
        bounded = bounded if low is None else jnp.maximum(bounded, low)
        return jnp.where(step < self.plan.warmup, lr, bounded)


def controller_state(opt_state: Any) -> ControllerState:
    """The state of the one controller in an optimiser's state, however deep it lies.

    Raises:
        LehrError: there is none, or more than one.

    Example:
        >>> import lehr.jax, optax
        >>> tx = optax.chain(optax.scale_by_adam(), lehr.jax.controller("cosine()", lr=0.5, steps=10))
        >>> state = controller_state(tx.init(1.0))
        >>> float(state.lr), bool(state.done)
        (0.5, False)
    """
    leaves = jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, ControllerState))
    found = [leaf for leaf in leaves if isinstance(leaf, ControllerState)]
    if len(found) != 1:
        raise LehrError(f"the state must hold one controller of lehr.jax, got {len(found)}; give the state of one")
    return found[0]


def why(policy: PolicyLike | str, opt_state: Any) -> str:
    """Why the LR is what it is, from the state alone: its gain, and which rule fired how often and when.

    Args:
        policy: that of the controller.
        opt_state: the optimiser's state, of arrays.

    Raises:
        LehrError: the state is not of a controller with these rules.

    Example:
        >>> import lehr.jax
        >>> rule = lehr.when(lehr.loss.diverges()).scale(0.5)
        >>> tx = lehr.jax.controller(rule, lr=0.1, steps=100)
        >>> _, state = tx.update(1.0, tx.init(1.0), value=float("nan"))
        >>> print(why(rule, state))
        before update 1: lr 0.05, with the gain 0.5 of the rules
        when(loss.diverges()).scale(0.5): fired once, after update 0; heard 1 observation
    """
    state, rules = controller_state(opt_state), _single(as_policy(policy)).rules
    if state.step.ndim:
        raise LehrError(
            f"why(policy, state) tells of one run, got the states of {state.step.size} (vmap, pmap); give one of them: "
            "jax.tree.map(lambda leaf: leaf[0], state)"
        )
    if len(rules) != len(state.rules):
        raise LehrError(
            f"why(policy, state) needs the controller's own policy: {len(state.rules)} rules, got {len(rules)}"
        )
    over = "; the run is done" if bool(state.done) else ""
    gain = f", with the gain {float(state.gain):.6g} of the rules" if rules else ""
    lines = [f"before update {int(state.step)}: lr {float(state.next_lr):.6g}{gain}{over}"]
    return "\n".join([*lines, *(f"{rule!r}: {_told(m)}" for rule, m in zip(rules, state.rules, strict=True))])


def _told(memory: RuleMemory) -> str:
    fired, last, seen = int(memory.fired), int(memory.last), int(memory.seen)
    if not seen:
        return "has heard nothing of what it reads"
    heard = f"heard {seen} observation{'s' if seen > 1 else ''}"
    if not fired:
        return f"has not fired; {heard}"
    return f"fired {'once,' if fired == 1 else f'{fired} times, last'} after update {last}; {heard}"


def _plan(policy: Policy, lr: Any, steps: int | None, horizon: Horizon | None) -> Plan:
    plan = Plan.of(policy, as_horizon(steps, horizon), (base_lr(lr, "controller"),))
    for rule, resolved in zip(policy.rules, plan.rules, strict=True):
        check(rule, resolved)
    if plan.total is not None and plan.total > LONGEST:
        raise LehrError(f"a controller in jit counts updates in 32 bits, to {LONGEST}, got a run of {plan.total}")
    return plan


def _single(policy: Any) -> Policy:
    if not isinstance(policy, Policy):
        raise LehrError(
            f"controller(policy) has one LR, got {policy!r}; give each part of the parameters a controller of its own "
            'by optax.partition({"head": tx1, "body": tx2}, labels)'
        )
    return policy
