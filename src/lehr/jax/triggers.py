"""The machines of triggers that compare a value with a number: a threshold, the best so far, what is usual."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax.numpy as jnp

from lehr.errors import LehrError
from lehr.jax.machines import Machine, Reading, Sight, better, finite, machine, read, smooth
from lehr.jax.wide import choose, rounded
from lehr.rules.diverges import Diverges
from lehr.rules.levels import LevelsOff
from lehr.rules.performs import AtLeast
from lehr.rules.reaches import Reaches
from lehr.rules.spikes import LEAST, Spikes
from lehr.rules.steers import Steers
from lehr.rules.streak import Streak

__all__: list[str] = []

LAST_STEP = 2**31
MOST_CHECKS = 10_000


class ReachesState(NamedTuple):
    """As `lehr.rules.reaches.ReachesState`."""

    smooth: Any
    holds: Any = False
    latched: Any = False
    row: Any = 0
    away: Any = 0


@machine.register
def _(trigger: Reaches) -> Machine:
    if trigger.confidence is not None:
        raise LehrError("reaches(confidence=...) estimates noise from a window that grows")
    signal, enough = trigger.signal, trigger.enough

    def update(state: ReachesState, sight: Sight) -> tuple[ReachesState, Reading]:
        memory, (value, new, _) = read(signal, state.smooth, sight)
        heard = new & finite(value)
        reached = (value == trigger.threshold) | better(signal, value, trigger.threshold)
        worse = state.latched & (False if trigger.rearm is None else better(signal, trigger.rearm, value))
        row = jnp.where(reached, jnp.minimum(state.row + 1, enough), 0)
        away = jnp.where(worse, jnp.minimum(state.away + 1, enough), 0)
        latched = state.latched & (away < enough)
        holds = (row >= enough) & ~latched
        after = ReachesState(memory, holds, latched, row, jnp.where(latched, away, 0))
        state = choose(heard, after, state._replace(smooth=memory))
        return state, Reading(state.holds, heard)

    def after_firing(state: ReachesState) -> ReachesState:
        return state._replace(holds=False, latched=state.latched | state.holds)

    return Machine(ReachesState(smooth(signal)), update, after_firing)


class AtLeastState(NamedTuple):
    """As `lehr.rules.performs.AtLeastState`."""

    smooth: Any
    holds: Any = False
    acted: Any = False


@machine.register
def _(trigger: AtLeast) -> Machine:
    signal = trigger.signal

    def update(state: AtLeastState, sight: Sight) -> tuple[AtLeastState, Reading]:
        memory, (value, new, _) = read(signal, state.smooth, sight)
        heard = new & finite(value)
        holds = (value == trigger.threshold) | better(signal, value, trigger.threshold)
        after = AtLeastState(memory, holds, state.acted & holds)
        state = choose(heard, after, state._replace(smooth=memory))
        return state, Reading(state.holds & ~state.acted, heard)

    def after_firing(state: AtLeastState) -> AtLeastState:
        return state._replace(acted=state.acted | state.holds)

    return Machine(AtLeastState(smooth(signal)), update, after_firing)


class StreakState(NamedTuple):
    """As `lehr.rules.streak.StreakState`; NaN: no best value yet."""

    smooth: Any
    best: Any = math.nan
    row: Any = 0
    holds: Any = False


@machine.register
def _(trigger: Streak) -> Machine:
    signal = trigger.signal

    def update(state: StreakState, sight: Sight) -> tuple[StreakState, Reading]:
        memory, (value, new, _) = read(signal, state.smooth, sight)
        heard, first = new & finite(value), jnp.isnan(state.best)
        gained = state.best - value if signal.best == "min" else value - state.best
        gains = gained > trigger.margin * jnp.abs(state.best)
        row = jnp.where(gains, state.row + 1, 0)
        after = StreakState(memory, jnp.where(gains | first, value, state.best), row, row >= trigger.times)
        state = choose(heard, after, state._replace(smooth=memory))
        return state, Reading(state.holds, heard)

    return Machine(StreakState(smooth(signal)), update, lambda state: state._replace(row=0, holds=False))


class DivergesState(NamedTuple):
    """As `lehr.rules.diverges.DivergesState`."""

    holds: Any = False
    latched: Any = False


@machine.register
def _(trigger: Diverges) -> Machine:
    def update(state: DivergesState, sight: Sight) -> tuple[DivergesState, Reading]:
        value, new, _ = sight.numbers[trigger.signal.name]
        ill = ~finite(value)
        after = DivergesState(ill & ~state.latched, ill & state.latched)
        state = choose(new, after, state)
        return state, Reading(state.holds, new)

    return Machine(DivergesState(), update, lambda state: DivergesState(False, state.latched | state.holds))


class SpikesState(NamedTuple):
    """As `lehr.rules.spikes.SpikesState`."""

    smooth: Any
    heard: Any = 0
    mean: Any = 0.0
    variance: Any = 0.0
    holds: Any = False
    latched: Any = False


@machine.register
def _(trigger: Spikes) -> Machine:
    signal, by, span = trigger.signal, trigger.by, trigger.span
    sign = 1.0 if signal.best == "min" else -1.0

    def update(state: SpikesState, sight: Sight) -> tuple[SpikesState, Reading]:
        memory, (value, new, _) = read(signal, state.smooth, sight)
        heard = new & finite(value) & (value > 0)
        away = jnp.log(jnp.where(heard, value, 1.0)) - state.mean
        edge = rounded(by * jnp.maximum(jnp.sqrt(state.variance), LEAST))
        known = state.heard >= span
        spike = known & (sign * away > edge)
        holds = spike & ~state.latched
        away = jnp.where(known, jnp.clip(away, -edge, edge), away)
        share = jnp.maximum(1.0 / (state.heard + 1), 2.0 / (span + 1.0))
        moved = rounded(share * away)
        variance = (1.0 - share) * (state.variance + rounded(moved * away))
        after = SpikesState(memory, state.heard + 1, state.mean + moved, variance, holds, spike & state.latched)
        state = choose(heard, after, state._replace(smooth=memory))
        return state, Reading(state.holds, heard)

    def after_firing(state: SpikesState) -> SpikesState:
        return state._replace(holds=False, latched=state.latched | state.holds)

    return Machine(SpikesState(smooth(signal)), update, after_firing)


@machine.register
def _(trigger: Steers) -> Machine:
    def update(state: Any, sight: Sight) -> tuple[Any, Reading]:
        state, (value, new, _) = read(trigger.signal, state, sight)
        by = 1.0 + rounded(trigger.rate * jnp.clip(value, -1.0, 1.0))
        return state, Reading(new & finite(value) & (value != 0), new, by)

    return Machine(smooth(trigger.signal), update, lambda state: state)


class LevelsState(NamedTuple):
    """As `lehr.rules.levels.LevelsState`; -1 and infinity: none."""

    smooth: Any
    begin: Any = -1
    checks: Any = 0
    n: Any = 0
    log: Any = 0.0
    ceiling: Any = math.inf
    holds: Any = False


@machine.register
def _(trigger: LevelsOff) -> Machine:
    points: list[int] = []
    while not points or points[-1] < LAST_STEP:
        points.append(math.ceil(trigger.ratio ** len(points)))
        if len(points) > MOST_CHECKS:
            raise LehrError(f"levels_off(ratio={trigger.ratio!r}) has more than {MOST_CHECKS} checkpoints")

    def update(state: LevelsState, sight: Sight) -> tuple[LevelsState, Reading]:
        memory, (value, new, _) = read(trigger.signal, state.smooth, sight)
        state = state._replace(smooth=memory)
        heard = new & finite(value) & (value > 0) & (value < state.ceiling)
        begin = jnp.where(state.begin < 0, sight.step, state.begin)
        begun = choose(heard, state._replace(begin=begin, ceiling=math.inf), state)
        table, n = jnp.asarray(points), sight.step - begin + 1
        looks = heard & (n >= table[jnp.minimum(state.checks, len(points) - 1)])
        log = jnp.log(jnp.where(heard, value, 1.0))
        ratio = jnp.log(n / jnp.maximum(state.n, 1))
        slope = jnp.where(state.n > 0, (log - state.log) / ratio, math.inf)
        holds = (state.checks >= trigger.burn_in) & (slope < trigger.slope)
        checks = jnp.maximum(state.checks, jnp.searchsorted(table, n, side="right"))
        after = begun._replace(checks=checks, n=n, log=log, holds=holds)
        state = choose(looks, after, begun)
        return state, Reading(state.holds, looks)

    def after_firing(state: LevelsState) -> LevelsState:
        anew = LevelsState(state.smooth, ceiling=0.5 * jnp.exp(state.log))
        return choose(state.holds, anew, state)

    return Machine(LevelsState(smooth(trigger.signal)), update, after_firing)
