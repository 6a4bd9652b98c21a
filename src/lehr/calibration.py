"""Trials of triggers on synthetic curves: how often they fire too early, how late, and how often not at all.

A curve has a truth and noise. It is *flat* from the first observation on from which its truth improves by less than a
share δ over the next H observations. A firing before that is premature; after it, its delay counts; none is a miss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "FAMILIES",
    "Curves",
    "Noise",
    "Outcome",
    "curves",
    "fewest",
    "flat_since",
    "outcome",
    "scored",
    "trial",
    "wilson",
]

Runs = NDArray[np.float64]
Random = np.random.Generator


@dataclass(frozen=True)
class Noise:
    """Noise relative to the level of a curve, autoregressive of first order.

    Attributes:
        sd: of an observation, as a share of the level, without the spikes.
        rho: autocorrelation of neighbours.
        spikes: share of the observations that are spikes.
        height: of a spike, as a share of the level: exponentially distributed with this mean.
        innovations: what to draw the noise from, of mean 0 and sd 1; default: the normal distribution.
        heights: what to draw the spikes from, as shares of the level; default: the exponential distribution.
    """

    sd: float
    rho: float = 0.0
    spikes: float = 0.0
    height: float = 0.0
    innovations: tuple[float, ...] = field(default=(), repr=False)
    heights: tuple[float, ...] = field(default=(), repr=False)

    def draw(self, runs: int, length: int, random: Random) -> Runs:
        """Noise of the shape (runs, length)."""
        warm = 200
        shape = (warm + length, runs)
        fresh = random.choice(self.innovations, shape) if self.innovations else random.standard_normal(shape)
        noise = np.empty(shape)
        noise[0] = fresh[0]
        for i in range(1, len(noise)):
            noise[i] = self.rho * noise[i - 1] + np.sqrt(1 - self.rho**2) * fresh[i]
        drawn = self.sd * noise[warm:].T
        if self.spikes:
            there = random.random(drawn.shape) < self.spikes
            high = random.choice(self.heights, drawn.shape) if self.heights else None
            drawn = drawn + there * (random.exponential(self.height, drawn.shape) if high is None else high)
        return drawn

    @property
    def long_run(self) -> float:
        """σ²·(1 + ρ)/(1 − ρ), the variance of a mean times the number in it; of the spikes too."""
        mean = float(np.mean(self.heights)) if self.heights else self.height
        square = float(np.mean(np.square(self.heights))) if self.heights else 2 * self.height**2
        spread = self.spikes * square - (self.spikes * mean) ** 2
        return self.sd**2 * (1 + self.rho) / (1 - self.rho) + spread


def _line(runs: int, u: Runs, random: Random) -> Runs:
    """From 2 to 1 in the run."""
    return np.tile(2 - u, (runs, 1))


def _power_law(runs: int, u: Runs, random: Random) -> Runs:
    """1 + 1.5·(1 + 60u)^(−a) with a from 0.3 to 0.6."""
    truth: Runs = 1 + 1.5 * (1 + 60 * u) ** -random.uniform(0.3, 0.6, (runs, 1))
    return truth


def _plateau(runs: int, u: Runs, random: Random) -> Runs:
    """An exponential fall, cut off at a quarter to a half of the run, and flat from there."""
    end = random.uniform(0.25, 0.5, (runs, 1))
    truth: Runs = 1 + np.exp(-np.minimum(u, end) / end * random.uniform(1, 2.5, (runs, 1)))
    return truth


def _overfit(runs: int, u: Runs, random: Random) -> Runs:
    """An exponential fall, and from a quarter to a half of the run on a rise, of 12 to 60 % of the floor a run."""
    end = random.uniform(0.25, 0.5, (runs, 1))
    fall = np.exp(-np.minimum(u, end) / end * random.uniform(1, 2.5, (runs, 1)))
    truth: Runs = 1 + fall + np.maximum(u - end, 0) * random.uniform(0.12, 0.6, (runs, 1))
    return truth


#: Name → (runs, positions u as a share of the run, generator) → truths; the last two come to be flat.
FAMILIES: Mapping[str, Callable[[int, Runs, Random], Runs]] = {
    "line": _line,
    "power law": _power_law,
    "plateau": _plateau,
    "overfit": _overfit,
}


class Curves(NamedTuple):
    """Runs of one family."""

    truth: Runs  # of shape (runs, length + over): it goes on after the run, so that flatness can be told at its end
    values: Runs  # what is reported, of shape (runs, length)


class Outcome(NamedTuple):
    """What a trigger did in a set of runs."""

    runs: int
    premature: float  # share of all runs
    delay: float  # median over the runs that come to be flat and had no premature firing; infinite if most were missed
    late: int  # runs that come to be flat and had no premature firing
    missed: float  # share of those of them in which it could be decided; NaN where there are none
    decidable: int  # how many those are


def curves(
    noise: Noise, *, length: int, over: int, runs: int, seed: int, best: str = "min", sign: int = 1
) -> dict[str, Curves]:
    """Draw runs of each family.

    Args:
        noise: of the curves.
        length: observations in a run.
        over: by how many observations the truth is longer.
        runs: of each family.
        seed: the same seed gives the same curves.
        best: "min" or "max". For "max" and positive levels f becomes 1/f.
        sign: of the level, 1 or -1. For negative levels f becomes -1/f ("min") or -f ("max").
    """
    found = {}
    for i, (name, family) in enumerate(FAMILIES.items()):
        random = np.random.default_rng([seed, i])
        falling = family(runs, np.arange(length + over) / length, random)
        truth = sign * (falling if (best == "min") == (sign > 0) else 1 / falling)
        reported = truth[:, :length]
        found[name] = Curves(truth, reported + np.abs(reported) * noise.draw(runs, length, random))
    return found


def trial(
    firings: Callable[[Runs], Any],
    noise: Noise,
    *,
    length: int,
    over: int,
    improvement: float,
    runs: int,
    seed: int,
) -> dict[str, Outcome]:
    """Try a trigger on each family of curves.

    Args:
        firings: values of shape (runs, length) → the index of the first firing in each run, −1 for none.
        noise: of the curves.
        length: observations in a run.
        over: H, in observations.
        improvement: δ.
        runs: of each family.
        seed: the same seed gives the same curves, whatever the trigger.
    """
    needed = fewest(noise, over=over, improvement=improvement)
    return {
        name: outcome(np.asarray(firings(drawn.values)), drawn.truth, over, improvement, needed)
        for name, drawn in curves(noise, length=length, over=over, runs=runs, seed=seed).items()
    }


def flat_since(truth: Runs, over: int, improvement: float, best: str = "min") -> NDArray[np.int64]:
    """The first observation of each run from which its truth is flat; the run's length where it never is."""
    length = truth.shape[1] - over
    gained = (truth[:, :length] - truth[:, over:]) * (1 if best == "min" else -1)
    flat = gained / np.abs(truth[:, :length]) < improvement
    since: NDArray[np.int64] = np.where(flat.any(axis=1), flat.argmax(axis=1), length)
    return since


def outcome(first: Any, truth: Runs, over: int, improvement: float, needed: float, best: str = "min") -> Outcome:
    """Score the first firings against the truth, which must go on for `over` observations after the run."""
    return scored(first, flat_since(truth, over, improvement, best), truth.shape[1] - over, needed)


def scored(first: Any, since: Any, length: int, needed: float) -> Outcome:
    """Score the first firings, -1 for none, against the observations from which the curves are flat.

    Args:
        first: of each run.
        since: of each run, as `flat_since` says.
        length: of a run.
        needed: n*; where less than twice as many are left, none can be missed.
    """
    premature = (first >= 0) & (first < since)
    late = (since < length) & ~premature
    delays = np.where(first >= 0, first - since, np.inf)[late]
    able = needed <= (length - since)[late] / 2
    return Outcome(
        len(first),
        float(premature.mean()),
        float(np.median(delays)) if len(delays) else float("nan"),
        int(late.sum()),
        float(np.isinf(delays[able]).mean()) if able.any() else float("nan"),
        int(able.sum()),
    )


def fewest(noise: Noise, *, over: float, improvement: float, z: float = 1.645) -> float:
    """The fewest observations from which a slope test could decide: n* = (12·z²·σ²·(1+ρ)/(1−ρ)·H²/δ²)^⅓.

    With so many the confidence interval of a flat line's improvement over H reaches δ.
    """
    return float((12 * z**2 * noise.long_run * over**2 / improvement**2) ** (1 / 3))


def wilson(share: float, count: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval of a share seen in `count` runs, 95 % by default.

    Example:
        >>> [round(bound, 4) for bound in wilson(0.0, 100)]
        [0.0, 0.037]

    Source: Wilson 1927.
    """
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    reach = z * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    return max(float(middle - reach), 0.0), min(float(middle + reach), 1.0)
