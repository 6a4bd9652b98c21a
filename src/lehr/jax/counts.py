"""The machines of triggers that count observations: a standstill in six flavors, means of windows, GreedyLR."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from lehr.errors import LehrError
from lehr.jax.machines import Machine, Reading, Sight, finite, machine, read, smooth
from lehr.jax.wide import choose, rounded, single
from lehr.rules.counting import Counting, Tally
from lehr.rules.estimators import LARGEST
from lehr.rules.greedy import NEAR, Greedy
from lehr.rules.improves import ImprovesLessThan
from lehr.rules.plateaus import Plateaus

__all__: list[str] = []


def _better(counting: Counting) -> Callable[[Any, Any], Any]:
    """`BETTER` of `lehr.rules.counting`, of arrays: whether a cost is better than the best one."""
    margin, sign = counting.margin, counting.sign
    of: dict[str, Callable[[Any, Any], Any]] = {
        "safe": lambda cost, best: cost < best * jnp.where(best < 0, 1.0 + margin, 1.0 - margin),
        "torch": lambda cost, best: cost < best * (1.0 - sign * margin),
        "paddle": lambda cost, best: cost < best - sign * rounded(best * margin),
        "optax": lambda cost, best: cost < single(best * single(1.0 - margin)),
        "absolute": lambda cost, best: cost < best - margin,
        "fastai": lambda cost, best: cost + margin < best,
        "keras": lambda cost, best: single(cost + margin) < single(best),
        "optax absolute": lambda cost, best: cost < single(best - single(margin)),
    }
    return of[counting.better]


class PlateausState(NamedTuple):
    """As `lehr.rules.plateaus.PlateausState`."""

    smooth: Any
    tally: Tally
    holds: Any = False


@machine.register
def _(trigger: Plateaus) -> Machine:
    counting = trigger.counting
    better = _better(counting)

    def judged(tally: Tally, cost: Any) -> tuple[Tally, Any]:
        paused = tally.pause > 0
        improved = jnp.isnan(tally.best) | better(cost, tally.best)
        if counting.deaf:
            improved = improved & ~paused
        bad = jnp.where(improved | paused, 0, tally.bad + 1)
        best = jnp.where(improved, jnp.where(jnp.isnan(cost), -math.inf, cost), tally.best)
        reached = bad >= counting.limit if counting.limit else bad == 0
        after = Tally(best, bad, jnp.where(paused, tally.pause - 1, tally.pause), 0.0, 0)
        return after, reached & ~paused

    def heard(tally: Tally, cost: Any) -> tuple[Tally, Any, Any]:
        """The tally, whether a judgement was made, and whether it fires."""
        as_it_is = single if counting.single else (lambda x: x)
        cost, full = as_it_is(cost), jnp.asarray(True)
        if counting.average == 1:
            after, fires = judged(tally, cost)
        else:
            gathered = tally.gathered + 1
            total = as_it_is(rounded(tally.gathered * tally.mean) + cost)
            mean = as_it_is(total / gathered)
            full = gathered == counting.average
            after, fires = judged(tally, mean)
            after = choose(full, after, tally._replace(mean=mean, gathered=gathered))
        if counting.finite:
            after, full = choose(finite(cost), after, tally), full & finite(cost)
        return after, full, full & fires

    def update(state: PlateausState, sight: Sight) -> tuple[PlateausState, Reading]:
        memory, (value, new, _) = read(trigger.signal, state.smooth, sight)
        tally, looked, fires = heard(state.tally, counting.sign * value)
        looked = new & looked
        tally = choose(new, tally, state.tally)
        state = PlateausState(memory, tally, jnp.where(looked, fires, state.holds))
        return state, Reading(state.holds, looked)

    def after_firing(state: PlateausState) -> PlateausState:
        best = counting.start if counting.forgets else state.tally.best
        return PlateausState(state.smooth, Tally(best, 0, counting.pause, 0.0, 0), False)

    return Machine(PlateausState(smooth(trigger.signal), Tally(counting.start)), update, after_firing)


class LessState(NamedTuple):
    """As `lehr.rules.improves.LessState`; -1 and NaN: none."""

    smooth: Any
    begin: Any = -1
    total: Any = 0.0
    heard: Any = 0
    before: Any = math.nan
    holds: Any = False


@machine.register
def _(trigger: ImprovesLessThan) -> Machine:
    if trigger.test == "trend":
        raise LehrError("the trend test remembers hundreds of values, in bins that grow; test='means' does not")
    size, counts = int(trigger.window.amount), trigger.window.unit == "observations"
    sign = 1.0 if trigger.signal.best == "min" else -1.0

    def is_over(state: LessState, step: Any) -> Any:
        over = state.heard >= size if counts else step >= state.begin + size
        return (state.begin >= 0) & (state.heard > 0) & over

    def close(state: LessState) -> LessState:
        mean = state.total / state.heard
        gained, scale = sign * (state.before - mean), jnp.abs(state.before)
        of_nothing = jnp.where(gained == 0, 0.0, jnp.sign(gained) * math.inf)
        share = jnp.where(scale > 0, gained / scale, of_nothing)
        holds = ~jnp.isnan(state.before) & ~(share >= trigger.improvement)
        return LessState(state.smooth, -1 if counts else state.begin + size, 0.0, 0, mean, holds)

    def update(state: LessState, sight: Sight) -> tuple[LessState, Reading]:
        memory, (value, new, _) = read(trigger.signal, state.smooth, sight)
        state, step = state._replace(smooth=memory), sight.step
        heard = new & finite(value)
        late = is_over(state, step)
        now = choose(late, close(state), state)
        passed = step if counts else step - (step - now.begin) % size
        begin = jnp.where((now.heard > 0) | (step < now.begin) | counts, now.begin, passed)
        begin = jnp.where(now.begin < 0, step, begin)
        now = now._replace(begin=begin, total=now.total + jnp.clip(value, -LARGEST, LARGEST), heard=now.heard + 1)
        # A verdict of the window that ended late is not covered up: this one then closes at the next observation.
        closes = is_over(now, step + 1) & ~(late & now.holds)
        state = choose(heard, choose(closes, close(now), now), state)
        return state, Reading(state.holds, heard & (late | closes))

    return Machine(LessState(smooth(trigger.signal)), update, lambda state: LessState(state.smooth))


class GreedyState(NamedTuple):
    """As `lehr.rules.greedy.GreedyState`; NaN: no first LR yet, `fresh`: no best value yet."""

    best: Any
    good: Any = 0
    bad: Any = 0
    wait: Any = 0
    floored: Any = 0
    window: Any = ()
    kept: Any = 0
    total: Any = 0.0
    first: Any = math.nan


@machine.register
def _(trigger: Greedy) -> Machine:
    sign = 1.0 if trigger.signal.best == "min" else -1.0
    begin = sign * math.inf
    size = trigger.average

    def averaged(state: GreedyState, value: Any) -> tuple[GreedyState, Any]:
        """The running mean, by a running sum, in which NaN stays for ever."""
        if size == 1:
            return state, value
        full = state.kept == size
        total = state.total + value
        total = jnp.where(full, total - state.window[0], total)
        window = jnp.where(full, jnp.roll(state.window, -1), state.window)
        window = window.at[jnp.where(full, size - 1, state.kept)].set(value)
        kept = jnp.minimum(state.kept + 1, size)
        return state._replace(total=total, window=window, kept=kept), total / kept

    def beats(value: Any, best: Any) -> Any:
        if trigger.threshold_mode == "abs":
            return sign * value < sign * best - trigger.threshold
        return sign * value < sign * (best * (1.0 - sign * trigger.threshold))

    def update(state: GreedyState, sight: Sight) -> tuple[GreedyState, Reading]:
        value, new, _ = sight.numbers[trigger.signal.name]
        lr, first = sight.lr, jnp.where(jnp.isnan(state.first), sight.lr, state.first)
        now, mean = averaged(state._replace(first=first), value)
        gains = beats(mean, now.best)
        good, bad = jnp.where(gains, now.good + 1, 0), jnp.where(gains, 0, now.bad + 1)
        counted = now._replace(best=jnp.where(gains, mean, now.best), good=good, bad=bad)
        rises, falls = good > trigger.patience, bad > trigger.patience
        # The same as its `_raised`, `_cut` and `_down`.
        up, down = jnp.minimum(lr / trigger.factor, trigger.max_lr), jnp.maximum(lr * trigger.factor, trigger.min_lr)
        up, down = jnp.where(up - lr > trigger.eps, up, lr), jnp.where(lr - down > trigger.eps, down, lr)
        at_floor = down <= trigger.min_lr * NEAR
        resets = falls & at_floor & (now.floored + 1 >= trigger.reset_start)
        raised = counted._replace(good=0, wait=trigger.warmup, floored=0)
        cut = counted._replace(bad=0, wait=trigger.cooldown, floored=jnp.where(at_floor, now.floored + 1, now.floored))
        anew = initial._replace(
            first=first, wait=trigger.cooldown, window=jnp.zeros_like(now.window) if size > 1 else ()
        )
        after = choose(rises, raised, choose(resets, anew, choose(falls, cut, counted)))
        waits = now.wait > 0
        after = choose(waits, now._replace(wait=now.wait - 1), after)
        wanted = jnp.where(rises, up, jnp.where(resets, first, jnp.where(falls, down, lr)))
        by = jnp.where(lr > 0, wanted / lr, 1.0)
        holds = new & ~waits & (wanted != lr)
        return choose(new, after, state), Reading(holds, new, by)

    initial = GreedyState(begin, window=np.zeros(size) if size > 1 else ())
    return Machine(initial, update, lambda state: state)
