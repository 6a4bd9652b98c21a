"""Laws of the algebra, over schedules that hypothesis draws: compositions of every shape, up to five levels deep."""

from collections.abc import Callable
from fractions import Fraction
from operator import add
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import lehr
from drawn import HORIZON, endless, factors, filling, fixed, leaves, resolved, schedules, shares
from lehr.schedules import Schedule, cosine, linear, one_minus_sqrt, polynomial
from lehr.schedules.algebra import boundaries


@settings(max_examples=50)
@given(fixed, fixed, fixed | filling | endless)
def test_then_is_associative(a: Schedule, b: Schedule, c: Schedule) -> None:
    assert a.then(b).then(c) == a.then(b.then(c)) == a.then(b, c)
    assert hash(a.then(b).then(c)) == hash(a.then(b.then(c)))


@settings(max_examples=50)
@given(schedules, schedules, schedules)
def test_sum_least_and_largest_are_associative_and_do_not_mind_the_order(a: Schedule, b: Schedule, c: Schedule) -> None:
    joins: list[Callable[[Schedule, Schedule], Schedule]] = [add, lehr.minimum, lehr.maximum]
    for join in joins:
        assert join(join(a, b), c) == join(a, join(b, c))
        assert hash(join(join(a, b), c)) == hash(join(a, join(b, c)))
        steps = np.arange(0, 1100, 13)
        one, other = (resolved(join(*pair))(steps) for pair in ((a, b), (b, a)))
        assert one == pytest.approx(other, rel=1e-12, abs=1e-12)


@settings(max_examples=50)
@given(st.sampled_from(["+", "minimum", "maximum"]), leaves, leaves)
def test_sum_least_and_largest_are_those_of_the_values(how: str, a: Schedule, b: Schedule) -> None:
    joined = a + b if how == "+" else lehr.minimum(a, b) if how == "minimum" else lehr.maximum(a, b)
    steps = np.arange(0, 1100, 13)
    one, other, both = resolved(a), resolved(b), resolved(joined)
    oracle = {"+": np.add, "minimum": np.minimum, "maximum": np.maximum}[how]
    # Outside its own length each member holds, and all of them stop where the longest one ends.
    ends = [curve.length for curve in (one, other) if curve.length is not None]
    assume(len(ends) == 2 or not ends)
    assert both(steps) == pytest.approx(oracle(one(steps), other(steps)), rel=1e-12, abs=1e-300)


@settings(max_examples=50)
@given(fixed | filling)
def test_a_reverse_runs_backwards_and_its_reverse_forwards(schedule: Schedule) -> None:
    curve, back, again = (resolved(s) for s in (schedule, schedule.reverse(), schedule.reverse().reverse()))
    assume(curve.length is not None)
    n = curve.length or 0
    steps = np.arange(n + 5)
    assert back.length == again.length == n
    assert np.array_equal(back(steps), curve(np.maximum(n - steps, 0)))
    assert np.array_equal(again(steps), curve(steps))


@settings(max_examples=50)
@given(fixed, fixed | endless, st.integers(0, 400))
def test_a_fade_is_the_first_then_the_second_and_between_both_a_line(one: Schedule, other: Schedule, over: int) -> None:
    # Lengths that are no whole steps are rounded where they end, in a fade as in a sequence.
    assume(all(HORIZON.measure(length).denominator == 1 for part in (one, other) for length in part.lengths()))
    a = resolved(one)
    n = a.length or 0
    b = other.resolve(HORIZON, lr=0.1, start=a.end)
    over = min(over, n, n if b.length is None else b.length)
    steps = np.arange(n + 300)
    share = np.clip((steps - (n - over)) / max(over, 1), 0, 1) if over else (steps >= n) * 1.0
    expected = a(steps) * (1 - share) + b(np.maximum(steps - (n - over), 0)) * share
    faded = resolved(one.fade(other, over))
    assert faded(steps) == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert faded.length == (None if b.length is None else n + b.length - over)


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
    st.builds(lambda a, b: linear(a) + cosine(b), steps_, steps_),
    st.builds(lambda a, b: lehr.minimum(linear(a), lehr.power_law(b)), steps_, steps_),
    st.builds(lambda a, b, over: linear(a).fade(cosine(b, start=2), over), steps_, steps_, steps_),
    st.builds(lambda a: cosine(a, to=0.1).reverse(), steps_),
    st.builds(lambda a, b: lehr.piecewise({a: 0.5, a + b: 0.1}, "linear"), steps_, steps_),
    st.builds(lambda a: lehr.hyperbolic(a, upper=2 * a), steps_),
    st.builds(lambda a: lehr.table([1, 0.3, 0.7], every=a, between="cosine"), steps_),
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
