"""Laws of the algebra, over schedules that hypothesis draws: compositions of every shape, up to five levels deep."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import lehr
from lehr.errors import LehrError
from lehr.lengths import Horizon
from lehr.schedules import Schedule, constant, cosine, linear, one_minus_sqrt, polynomial, warmup
from lehr.schedules.algebra import boundaries
from lehr.text import parse

HORIZON = Horizon(steps=1000, steps_per_epoch=50, samples_per_step=32, tokens_per_step=2048)
FAR = [10**6, 2**31 - 1, 10**12, 2**63 - 1]

factors = st.floats(0, 3, allow_subnormal=False)
shares = st.floats(0.01, 0.99)
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
)
filling = st.one_of(st.builds(linear, to=factors), st.builds(cosine), st.builds(lehr.hold))
endless = st.one_of(
    st.builds(constant, factors),
    st.builds(lehr.exponential, shares, per=positive),
    st.builds(lehr.step_decay, positive, shares),
    st.builds(lehr.inverse_time, factors, per=positive),
    st.builds(lehr.inverse_sqrt, positive),
    st.builds(lehr.multistep, st.lists(lengths, min_size=1, max_size=4), shares),
    st.builds(lehr.compounding, st.floats(0.9, 1.0)),
    st.builds(lehr.cosine_product, st.floats(-0.5, 0.5), st.integers(1, 40)),
    st.builds(lambda a, b: lehr.piecewise({0: a, "30%": b}), factors, factors),
)


leaves = fixed | filling | endless


@st.composite
def compositions(draw: st.DrawFn, deepest: int = 5) -> Schedule:
    """A shape, and up to so many operations on it, one around the other; what cannot be joined is drawn again."""
    made = draw(leaves)
    for _ in range(draw(st.integers(0, deepest))):
        try:
            made = operated(draw, made)
        except LehrError:
            assume(False)
    return made


def operated(draw: st.DrawFn, one: Schedule) -> Schedule:
    match draw(st.integers(0, 9)):
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
        case _:
            return one.scaled(draw(factors))


schedules = compositions()


def resolved(schedule: Schedule) -> lehr.Curve:
    try:
        return schedule.resolve(HORIZON, lr=0.1)
    except LehrError as error:
        # Cycles may have no steps, and for ever stretched ones have a cosine_product that grows without end.
        assume(not any(words in str(error) for words in ("of at least one step", "grows to e^", "must be at most 100")))
        raise


@settings(max_examples=200, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(schedules, st.lists(st.integers(0, 2000), max_size=20))
def test_every_composition_reads_back_is_total_and_the_same_in_vectors(schedule: Schedule, steps: list[int]) -> None:
    assert parse(repr(schedule)) == parse(schedule.text(full=True)) == schedule
    assert repr(parse(repr(schedule))) == repr(schedule)
    curve = resolved(schedule)
    edges = [part.start for part in curve.parts] + [part.stop or 0 for part in curve.parts]
    every = np.array(sorted({*steps, *edges, *(max(edge - 1, 0) for edge in edges), 0, 1, *FAR}))
    values = curve(every)
    assert np.isfinite(values).all()
    assert (values >= 0).all()
    assert (values <= curve.bound).all()
    assert values.tobytes() == np.array([curve(step) for step in every.tolist()]).tobytes()
    if curve.length is not None:
        assert (values[every >= curve.length] == curve.end).all()
    assert curve(every).tobytes() == parse(repr(schedule)).resolve(HORIZON, lr=0.1)(every).tobytes()


@settings(max_examples=50)
@given(fixed, fixed, fixed | filling | endless)
def test_then_is_associative(a: Schedule, b: Schedule, c: Schedule) -> None:
    assert a.then(b).then(c) == a.then(b.then(c)) == a.then(b, c)
    assert hash(a.then(b).then(c)) == hash(a.then(b.then(c)))


@settings(max_examples=50)
@given(schedules, schedules, schedules)
def test_times_is_associative(a: Schedule, b: Schedule, c: Schedule) -> None:
    assert (a * b) * c == a * (b * c)
    assert hash((a * b) * c) == hash(a * (b * c))


@given(st.lists(st.integers(1, 1000), min_size=2, max_size=6))
def test_lengths_of_whole_steps_add(sizes: list[int]) -> None:
    first, *rest = (linear(size) for size in sizes)
    assert first.then(*rest).resolve().length == sum(sizes)


@given(st.lists(st.integers(0, 500), min_size=1, max_size=8), st.integers(1, 5000))
def test_boundaries_sum_to_the_whole_and_leave_every_part_a_step_where_there_are_enough(
    weights: list[int], total: int
) -> None:
    assume(sum(weights))
    sizes = [Fraction(weight * total, sum(weights)) for weight in weights]
    bounds = boundaries(sizes, total)
    assert bounds[0] == 0
    assert bounds[-1] == total
    assert bounds == sorted(bounds)
    if total >= len(weights):
        assert all(b - a >= (size > 0) for a, b, size in zip(bounds, bounds[1:], sizes, strict=False))
    exact = np.cumsum([float(size) for size in sizes])
    assert np.abs(np.array(bounds[1:]) - exact).max() <= len(weights) + 0.5


@given(st.lists(st.decimals(0, 100, places=1), min_size=1, max_size=5), st.integers(10, 10**6))
def test_shares_that_are_large_enough_are_rounded_cumulatively_half_up(shares_: list[Any], steps: int) -> None:
    assume(sum(shares_) == 0 or sum(shares_) <= 100)
    schedules_ = [linear(f"{share}%") for share in shares_]
    curve = schedules_[0].then(*schedules_[1:], cosine()).resolve(steps=steps)
    assume(all(Fraction(share) * steps / 100 >= 2 for share in shares_) and sum(shares_) < 90)
    sums = [sum(map(Fraction, shares_[: i + 1]), Fraction(0)) * steps / 100 for i in range(len(shares_))]
    assert [part.stop for part in curve.parts] == [*((2 * s + 1) // 2 for s in sums), steps]


steps_ = st.integers(1, 300)
in_whole_steps = st.one_of(
    st.builds(linear, steps_, to=factors),
    st.builds(polynomial, steps_, power=st.floats(0.5, 5)),
    st.builds(lehr.step_decay, steps_, shares),
    st.builds(lehr.exponential, shares, per=steps_),
    st.builds(lehr.multistep, st.lists(steps_, min_size=1), shares),
    st.builds(lambda a, b: linear(a, to=0.5).then(cosine(b, to=0.1)), steps_, steps_),
    st.builds(lambda a, k: cosine(a).repeat(k), steps_, st.integers(1, 4)),
    st.builds(lambda a, b: linear(a) * lehr.inverse_sqrt(b), steps_, steps_),
)


@settings(max_examples=50)
@given(in_whole_steps, st.sampled_from([2, 3, 5]), st.lists(st.integers(0, 600), min_size=1, max_size=20))
def test_a_stretch_by_a_whole_number_reads_at_a_fraction_of_the_step(
    schedule: Schedule, k: int, steps: list[int]
) -> None:
    every = np.array(steps)
    curve, stretched = schedule.resolve(), schedule.stretch(k).resolve()
    assert stretched(k * every) == pytest.approx(curve(every), rel=1e-9, abs=1e-12)
    if curve.length is not None:
        assert stretched.length == k * curve.length


@settings(max_examples=50)
@given(fixed | endless, st.sampled_from([0.5, 2, 3]), st.sampled_from([0.5, 2, 4]))
def test_two_stretches_are_the_stretch_of_their_product(schedule: Schedule, a: float, b: float) -> None:
    steps = np.arange(300)
    twice = schedule.stretch(a).stretch(b).resolve(HORIZON, lr=0.1)
    once = schedule.stretch(a * b).resolve(HORIZON, lr=0.1)
    assert np.array_equal(twice(steps), once(steps))
    assert np.array_equal(schedule.stretch(1).resolve(HORIZON, lr=0.1)(steps), schedule.resolve(HORIZON, lr=0.1)(steps))


@settings(max_examples=50)
@given(schedules, factors, factors)
def test_a_clipped_schedule_stays_within_its_bounds_and_is_else_the_same(
    schedule: Schedule, a: float, b: float
) -> None:
    steps = np.arange(0, 1100, 7)
    low, high = min(a, b), max(a, b)
    curve = resolved(schedule)
    clipped = schedule.clip(low, high).resolve(HORIZON, lr=0.1)(steps)
    assert np.array_equal(clipped, np.clip(curve(steps), low, high))


@given(
    st.sampled_from([linear, cosine, one_minus_sqrt, polynomial]), st.integers(1, 10**12), factors, factors, st.data()
)
def test_a_fall_never_leaves_the_span_between_its_ends_nor_turns_back(
    make: Any, steps: int, start: float, to: float, data: st.DataObject
) -> None:
    curve = make(steps, start=start, to=to).resolve()
    every = np.array(sorted(data.draw(st.lists(st.integers(0, steps), min_size=2, max_size=30))))
    values = curve(every)
    assert values.min() >= min(start, to)
    assert values.max() <= max(start, to)
    # Rounding may turn it by a unit in the last place of its larger end, not by more.
    assert (np.diff(values) * np.sign(to - start) >= -2 * np.spacing(max(start, to))).all()
    assert curve(0) == start
    assert curve(steps) == to


@given(st.integers(1, 10**6), st.integers(0, 10**12), factors)
def test_equal_cycles_restart_exactly_at_every_boundary(size: int, cycle: int, to: float) -> None:
    cycle %= max(10**12 // size, 1)
    one = linear(size, to=to).resolve()
    curve = linear(size, to=to).repeat().resolve()
    assert curve(cycle * size) == 1.0
    assert curve(cycle * size + size - 1) == one(size - 1)


@settings(max_examples=15)
@given(st.integers(1, 1000), st.sampled_from([1.05, 1.5, 2.0, 3.0, 10.0]))
def test_stretched_cycles_restart_exactly_at_every_boundary(size: int, stretch: float) -> None:
    curve = linear(size).repeat(stretch=stretch).resolve()
    total, bound, length = Fraction(0), 0, Fraction(size)
    while bound < 10**12:
        assert curve(bound) == 1.0
        total, length = total + length, length * Fraction(str(stretch))
        after = max((2 * total.numerator + total.denominator) // (2 * total.denominator), bound + 1)
        assert curve(after - 1) == linear(after - bound).resolve()(after - bound - 1)
        bound = after


@settings(max_examples=50)
@given(schedules, st.integers(1, 400))
def test_a_schedule_with_a_length_can_be_given_another(schedule: Schedule, length: int) -> None:
    curve = resolved(schedule)
    assume(curve.length)
    other = schedule.resolve(HORIZON, lr=0.1, length=length)
    assert other.length is not None
    if not schedule.fills:
        assert other.length == length
    assert np.isfinite(other(np.arange(500))).all()
