"""The machines of triggers that watch where a signal stands: medians of block means, in a memory of sixteen places."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from lehr.jax.machines import Machine, Reading, Sight, finite, machine, read, smooth
from lehr.jax.wide import choose, rounded
from lehr.rules.derails import Derails
from lehr.rules.medians import BLOCKS, LARGEST, LEAST, NOISES, count_of, sign_of
from lehr.rules.sticks import LEFT, RISEN, Sticks

__all__: list[str] = []

PLACES = BLOCKS + 1  # one more than stay, for the block that closes


class Level(NamedTuple):
    """As `lehr.rules.medians.Level`; -1 and NaN: none. The blocks fill the first `blocks` places."""

    initial: Any = math.nan
    begin: Any = -1
    total: Any = 0.0
    heard: Any = 0
    blocks: Any = 0
    begins: Any = np.zeros(PLACES, dtype=np.int64)
    means: Any = np.zeros(PLACES)

    def add(self, step: Any, value: Any, window: int) -> tuple[Level, Any]:
        """With one more value; and whether that closed a block."""
        value = jnp.clip(value, -LARGEST, LARGEST)
        initial = jnp.where(jnp.isnan(self.initial), value, self.initial)
        opens = self.begin < 0
        closes = ~opens & (step >= self.begin + max(window // BLOCKS, 1))
        begins, means = self.begins.at[self.blocks].set(self.begin), self.means.at[self.blocks].set(self._mean())
        blocks = self.blocks + 1
        old = jnp.sum((begins <= step - window) & (jnp.arange(PLACES) < blocks))
        old = jnp.maximum(jnp.maximum(jnp.minimum(old, blocks - LEAST), blocks - BLOCKS), 0)
        begins, means = jnp.roll(begins, -old), jnp.roll(means, -old)
        closed = Level(initial, step, value, 1, blocks - old, begins, means)
        opened = self._replace(initial=initial, begin=step, total=value, heard=1)
        longer = self._replace(initial=initial, total=self.total + value, heard=self.heard + 1)
        return choose(opens, opened, choose(closes, closed, longer)), closes

    def _mean(self) -> Any:
        return self.total / jnp.maximum(self.heard, 1)

    @property
    def known(self) -> Any:
        """Whether there is enough to speak of a level."""
        return self.blocks >= LEAST

    @property
    def newest(self) -> Any:
        """The mean of the block that closed last."""
        return self.means[jnp.maximum(self.blocks - 1, 0)]

    @property
    def now(self) -> Any:
        """The level."""
        return _median(self.means, self.blocks)

    @property
    def noise(self) -> Any:
        """The standard deviation of a block mean."""
        return 1.4826 / math.sqrt(2) * _median(jnp.abs(jnp.diff(self.means)), self.blocks - 1)

    @property
    def error(self) -> Any:
        """The standard deviation of the level."""
        return jnp.sqrt(math.pi / 2 / self.blocks) * self.noise


def _median(values: Any, count: Any) -> Any:
    """Of the first `count` values."""
    ordered = jnp.sort(jnp.where(jnp.arange(len(values)) < count, values, math.inf))
    half = count // 2
    return jnp.where(count % 2, ordered[half], (ordered[half - 1] + ordered[half]) / 2)


class SticksState(NamedTuple):
    """As `lehr.rules.sticks.SticksState`; -1 and NaN: none."""

    smooth: Any
    level: Level = Level()
    worst: Any = math.nan
    best: Any = math.nan
    since: Any = -1
    holds: Any = False


@machine.register
def _(trigger: Sticks) -> Machine:
    sign, window, after = sign_of(trigger.signal), count_of(trigger.smooth), count_of(trigger.after)

    def judged(state: SticksState, step: Any) -> SticksState:
        level = state.level
        worst = jnp.fmax(state.worst, level.newest)
        initial, now, best = level.initial, level.now, jnp.fmin(state.best, level.now)
        risen = worst > initial + jnp.maximum(rounded(RISEN * jnp.abs(initial)), rounded(NOISES * level.noise))
        left = best < initial - jnp.maximum(rounded(LEFT * jnp.abs(initial)), rounded(NOISES * level.error))
        stuck = (risen | left) & (now > initial - rounded(LEFT * jnp.abs(initial)))
        since = jnp.where(stuck, jnp.where(state.since < 0, step, state.since), -1)
        known = SticksState(state.smooth, level, worst, best, since, (since >= 0) & (step - since >= after))
        return choose(level.known, known, state._replace(worst=worst))

    def update(state: SticksState, sight: Sight) -> tuple[SticksState, Reading]:
        memory, (value, new, _) = read(trigger.signal, state.smooth, sight)
        heard = new & finite(value)
        level, closed = state.level.add(sight.step, sign * value, window)
        closed = heard & closed
        state = choose(heard, state._replace(smooth=memory, level=level), state._replace(smooth=memory))
        state = lax.cond(closed, judged, lambda state, step: state, state, sight.step)
        return state, Reading(state.holds, closed)

    def after_firing(state: SticksState) -> SticksState:
        return SticksState(state.smooth, Level(state.level.initial))

    return Machine(SticksState(smooth(trigger.signal)), update, after_firing)


class DerailsState(NamedTuple):
    """As `lehr.rules.derails.DerailsState`; -1 and NaN: none."""

    smooth: Any
    level: Level = Level()
    bad: Any = 0
    best: Any = math.nan
    noise: Any = 0.0
    since: Any = -1
    holds: Any = False


@machine.register
def _(trigger: Derails) -> Machine:
    sign, window, patience = sign_of(trigger.signal), count_of(trigger.smooth), count_of(trigger.unrecovered)

    def judged(state: DerailsState, step: Any) -> DerailsState:
        level, now = state.level, state.level.now
        first = jnp.isnan(state.best) | (now < state.best)
        fresh = state._replace(best=now, noise=level.error, since=-1, holds=False)
        initial, best, noise = level.initial, state.best, rounded(NOISES * state.noise)
        bound = jnp.where(state.since < 0, trigger.lost, trigger.lost / 2)
        gone = (_lost(initial, best, now) > bound) & (initial - best > noise) & (now - best > noise)
        since = jnp.where(gone, jnp.where(state.since < 0, step, state.since), -1)
        worse = state._replace(since=since, holds=(since >= 0) & (step - since >= patience))
        return choose(first, fresh, worse)

    def update(state: DerailsState, sight: Sight) -> tuple[DerailsState, Reading]:
        memory, (value, new, missed) = read(trigger.signal, state.smooth, sight)
        state = state._replace(smooth=memory)
        heard, ill = new & finite(value), new & ~finite(value)
        level, closed = state.level.add(sight.step, sign * value, window)
        closed = heard & closed
        well = state._replace(level=level, bad=0, holds=state.holds & (state.bad == 0))
        bad = state.bad + jnp.maximum(missed, 1)
        state = choose(heard, well, choose(ill, state._replace(bad=bad, holds=bad >= trigger.nonfinite), state))
        state = lax.cond(closed & state.level.known, judged, lambda state, step: state, state, sight.step)
        return state, Reading(state.holds, ill | closed)

    def after_firing(state: DerailsState) -> DerailsState:
        return DerailsState(state.smooth, Level(state.level.initial))

    return Machine(DerailsState(smooth(trigger.signal)), update, after_firing)


def _lost(initial: Any, best: Any, now: Any) -> Any:
    """The share of the way from `initial` to `best` that has been given back: of its logarithm, where it has one."""
    logs = (best > 0) & (now > 0)
    start, least, here = (jnp.where(logs, x, 1.0) for x in (initial, best, now))
    share = jnp.where(logs, jnp.log(here / least) / jnp.log(start / least), (now - best) / (initial - best))
    return jnp.where(best >= initial, 0.0, share)
