"""What hypothesis draws: schedules of every shape, and compositions of them up to six levels deep."""

import os

from hypothesis import assume
from hypothesis import strategies as st

import lehr
from lehr.errors import LehrError
from lehr.lengths import Horizon
from lehr.schedules import Schedule, constant, cosine, linear, one_minus_sqrt, polynomial, warmup
from lehr.schedules.catalogue import EXAMPLE_FUNCTIONS

__all__ = [
    "COMPOSITIONS",
    "DEEPEST",
    "FAR",
    "HORIZON",
    "compositions",
    "endless",
    "factors",
    "filling",
    "fixed",
    "leaves",
    "lengths",
    "positive",
    "resolved",
    "schedules",
    "shares",
]

for name, function in EXAMPLE_FUNCTIONS.items():
    lehr.register(name, function)

DEEPEST = 6
#: How many compositions a battery draws; the whole one of a release has LEHR_COMPOSITIONS=1000.
COMPOSITIONS = int(os.environ.get("LEHR_COMPOSITIONS", "100"))
HORIZON = Horizon(steps=1000, steps_per_epoch=50, samples_per_step=32, tokens_per_step=2048)
FAR = [10**6, 2**31 - 1, 10**12, 2**63 - 1]

factors = st.floats(0, 3, allow_subnormal=False)
shares = st.floats(0.01, 0.99)
above_zero = st.floats(1e-3, 3)
exponents = st.floats(0.1, 9)
betweens = st.sampled_from(["step", "linear", "cosine"])
lengths = st.one_of(
    st.integers(0, 300),
    st.integers(0, 40).map("{}%".format),
    st.decimals(0, 5, places=2).map("{} epochs".format),
    st.integers(0, 9999).map("{} samples".format),
    st.sampled_from(["1e4 tokens", "0.01%", "7.5 steps"]),
)
positive = lengths.filter(lambda length: str(length).lstrip("0.")[:1].isdigit())

fixed = st.one_of(
    st.builds(linear, lengths, to=factors),
    st.builds(linear, lengths, to=factors, start=factors),
    st.builds(cosine, lengths, to=factors),
    st.builds(cosine, lengths, to_lr=factors),
    st.builds(polynomial, lengths, power=st.floats(0.1, 9), to=factors),
    st.builds(one_minus_sqrt, lengths, to=factors),
    st.builds(warmup, lengths, start=factors, zero_start=st.booleans()),
    st.builds(lehr.hold, lengths),
    st.builds(cosine, lengths, power=exponents, k=exponents, cycles=st.sampled_from([0.5, 1, 1.5, 7.3]), to=factors),
    st.builds(polynomial, lengths, power=exponents, k=exponents, to=factors),
    st.builds(lehr.quarter_cosine, lengths, to=factors),
    st.builds(lehr.rex, lengths, to=factors),
    st.builds(lehr.tanh, lengths, lower=st.floats(-9, 0), upper=st.floats(0.1, 9), to=factors),
    st.builds(lehr.exp_cooldown, lengths, ratio=shares, to=factors),
    st.builds(lehr.geometric, lengths, to=above_zero),
    st.builds(lehr.hyperbolic, st.integers(0, 300), upper=st.integers(300, 400), to=factors),
    st.builds(lehr.exp_hyperbolic, st.integers(0, 300), upper=st.integers(300, 400), to=above_zero),
    st.builds(lehr.chebyshev, lengths, low=st.floats(0.05, 0.5), high=st.floats(0.6, 2)),
    st.builds(lehr.of_position, st.just("example.cubic"), lengths, to=factors),
    st.builds(lehr.of_previous, st.just("example.shrink"), lengths),
    st.builds(
        warmup,
        lengths,
        st.sampled_from(["cosine", "1-sqrt", "quadratic", "log"]),
        start=factors,
        zero_start=st.booleans(),
    ),
)
filling = st.one_of(
    st.builds(linear, to=factors),
    st.builds(cosine),
    st.builds(lehr.hold),
    st.builds(lehr.chebyshev),
    st.builds(lehr.rex),
)
endless = st.one_of(
    st.builds(constant, factors),
    st.builds(lehr.exponential, shares, per=positive),
    st.builds(lehr.step_decay, positive, shares),
    st.builds(lehr.inverse_time, factors, per=positive),
    st.builds(lehr.inverse_sqrt, positive),
    st.builds(lehr.multistep, st.lists(lengths, min_size=1, max_size=4), shares),
    st.builds(lehr.compounding, st.floats(0.9, 1.0)),
    st.builds(lehr.cosine_product, st.floats(-0.5, 0.5), st.integers(1, 40)),
    st.builds(lambda a, b, how: lehr.piecewise({0: a, "30%": b}, how), factors, factors, betweens),
    st.builds(lambda a, b, how: lehr.piecewise({"7.5 steps": a, 90: b}, how), factors, factors, betweens),
    st.builds(lehr.table, st.lists(factors, min_size=1, max_size=5), every=positive, between=betweens),
    st.builds(lehr.power_law, positive, exponents),
    st.builds(lehr.noam, positive, zero_start=st.booleans()),
    st.builds(lehr.growing_polynomial, positive, power=exponents, to=factors),
    st.builds(lehr.exponential_warmup, positive),
    st.builds(lehr.radam_warmup, st.sampled_from([0.9, 0.99])),
    st.builds(lehr.noise, shares, every=positive, seed=st.integers(0, 99)),
    st.builds(lehr.of_step, st.just("example.inverse"), every=positive),
    st.builds(lehr.multistep, st.lists(lengths, min_size=1, max_size=4), st.floats(1, 3)),
)


leaves = fixed | filling | endless


@st.composite
def compositions(draw: st.DrawFn, deepest: int = DEEPEST) -> Schedule:
    """A shape, and up to so many operations on it, one around the other; what cannot be joined is drawn again."""
    made = draw(leaves)
    for _ in range(draw(st.integers(0, deepest))):
        try:
            made = operated(draw, made)
        except LehrError:
            assume(False)
    return made


def operated(draw: st.DrawFn, one: Schedule) -> Schedule:
    match draw(st.integers(0, 14)):
        case 0:
            return one.then(*draw(st.lists(leaves, min_size=1, max_size=3)))
        case 1 | 2:
            before: Schedule = draw(fixed)
            return before.then(one)
        case 3:
            return one * draw(leaves)
        case 4:
            first: Schedule = draw(leaves)
            return first * one
        case 5:
            times, stretch = draw(st.sampled_from([1, 2, 3, None])), draw(st.sampled_from([1, 2, 1.5, 0.5]))
            return one.repeat(times, stretch=stretch, scale=draw(st.sampled_from([1, 0.5])))
        case 6:
            low = draw(factors)
            return one.clip(low, draw(st.none() | st.just(low + 1)))
        case 7:
            return one.staircase(draw(positive))
        case 8:
            return one.stretch(draw(st.sampled_from([0.1, 0.75, 2, 3.5])))
        case 9:
            return one + draw(leaves)
        case 10:
            return lehr.minimum(one, *draw(st.lists(leaves, min_size=1, max_size=2)))
        case 11:
            return lehr.maximum(draw(leaves), one)
        case 12:
            return one.fade(draw(leaves), draw(lengths))
        case 13:
            return one.reverse()
        case _:
            return one.scaled(draw(factors))


schedules = compositions()


def resolved(schedule: Schedule) -> lehr.Curve:
    """Its curve; a few that cannot be resolved for a reason of their own are drawn again."""
    try:
        return schedule.resolve(HORIZON, lr=0.1)
    except LehrError as error:
        # Cycles may have no steps, and for ever stretched ones have a cosine_product that grows without end.
        assume(not any(words in str(error) for words in ("of at least one step", "grows to e^", "must be at most 100")))
        raise
