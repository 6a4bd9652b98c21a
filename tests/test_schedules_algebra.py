"""The algebra: where parts begin and end, what each is given as its start, and what cannot be joined."""

import numpy as np
import pytest

import lehr
from lehr.errors import LehrError
from lehr.lengths import Horizon
from lehr.schedules import Schedule, constant, cosine, exponential, hold, linear, step_decay, warmup
from lehr.schedules.algebra import Product, Sequence
from lehr.text import parse


def bounds(schedule: Schedule | str, steps: int) -> list[int | None]:
    made: Schedule = parse(schedule) if isinstance(schedule, str) else schedule
    return [0, *(part.stop for part in made.resolve(steps=steps).parts)]


# Sequences


@pytest.mark.parametrize(
    ("text", "steps", "expected"),
    [
        ("warmup('10%').then(cosine())", 100, [0, 10, 100]),
        ("warmup('10%').then(cosine())", 5, [0, 1, 5]),  # 0.5 is rounded up
        ("warmup('10%').then(cosine())", 4, [0, 1, 4]),  # 0.4 would be none: at least one
        ("warmup('25%').then(hold('25%'), linear('50%'))", 10, [0, 3, 5, 10]),  # 2.5, 5: cumulatively, halves up
        ("warmup('33.3%').then(hold('33.3%'), linear('33.4%'))", 100, [0, 33, 67, 100]),
        ("warmup('0.1%').then(hold('0.1%'), linear('99.8%'))", 100, [0, 1, 2, 100]),
        ("linear('99.8%').then(hold('0.1%'), linear('0.1%'))", 100, [0, 98, 99, 100]),  # the long neighbour gives
        ("cosine().then(hold('0.1%'), linear('0.1%'))", 100, [0, 98, 99, 100]),
        ("warmup(60).then(cosine(), linear('0.1%'))", 100, [0, 60, 99, 100]),  # the explicit length stays
        ("warmup(10).then(hold(), linear(10))", 100, [0, 10, 90, 100]),
        ("warmup('50%').then(cosine(), linear('50%'))", 100, [0, 50, 50, 100]),  # nothing is left to fill
        ("warmup(60).then(cosine(), linear(60))", 100, [0, 60, 60, 120]),  # fixed lengths beyond the run stay
        ("warmup(1000).then(cosine())", 100, [0, 1000, 1000]),
        ("warmup(10).then(hold())", 100, [0, 10, None]),
        ("warmup(10).then(cosine(), constant(0.1))", 100, [0, 10, 100, None]),
        ("cosine().then(linear(10), exponential(0.9))", 100, [0, 90, 100, None]),
        ("warmup(10).then(hold(), hold())", 100, [0, 10, 100, None]),
        ("warmup(10).then(exponential(0.9))", 100, [0, 10, None]),
        ("warmup(10).then(linear(10))", 100, [0, 10, 20]),
        ("warmup(0).then(linear(10))", 100, [0, 0, 10]),
        ("hold('12.5%').then(hold('12.5%'), hold('12.5%'), hold('12.5%'), cosine())", 12, [0, 2, 3, 5, 6, 12]),
    ],
)
def test_boundaries_are_rounded_cumulatively_half_up_and_end_with_the_run(
    text: str, steps: int, expected: list[int | None]
) -> None:
    assert bounds(text, steps) == expected


def test_fixed_lengths_beyond_the_run_are_neither_shrunk_nor_an_error() -> None:
    curve = warmup(1000).then(cosine()).resolve(steps=100)
    assert curve(np.arange(100)).tolist() == warmup(1000).resolve()(np.arange(100)).tolist()


def test_each_member_begins_at_the_end_value_of_the_one_before_it() -> None:
    curve = warmup(4).then(linear(4, to=0.5), hold(2), linear(4, to=0.1)).resolve()
    expected = [0.25, 0.5, 0.75, 1, 1, 0.875, 0.75, 0.625, 0.5, 0.5, 0.5, 0.4, 0.3, 0.2, 0.1, 0.1]
    assert curve(np.arange(16)) == pytest.approx(expected, abs=1e-15)


def test_a_member_that_names_its_start_ignores_what_came_before() -> None:
    curve = linear(4, to=0.5).then(linear(4, start=0.8, to=0.4)).resolve()
    assert [curve(t) for t in (3, 4, 6, 8)] == pytest.approx([0.625, 0.8, 0.6, 0.4], abs=1e-15)


def test_to_is_a_factor_of_the_base_never_of_the_start() -> None:
    curve = linear(10, to=0.5).then(linear(10, to=0.2)).resolve()
    assert curve.end == 0.2


def test_then_is_stored_flat_so_that_its_association_does_not_matter() -> None:
    a, b, c = warmup(10), hold(5), linear(20)
    assert a.then(b).then(c) == a.then(b.then(c)) == a.then(b, c)
    assert hash(a.then(b).then(c)) == hash(a.then(b, c))
    assert repr(a.then(b.then(c))) == "warmup(10).then(hold(5), linear(20))"


def test_a_hold_fills_before_another_and_never_ends_as_the_last() -> None:
    assert hold().then(linear(10)).resolve(steps=100).length == 100
    assert warmup(10).then(hold()).resolve().length is None
    assert warmup(10).then(hold()).then(linear(10)).resolve(steps=100).length == 100


@pytest.mark.parametrize(
    "open_ended",
    [
        hold().scaled(0.5),
        hold().clip(0.1, 0.5),
        hold().staircase(3),
        warmup(10).then(hold()).clip(0.0, 0.5),
        warmup(10).then(hold()).stretch(2),
        exponential(0.99) * hold(),
    ],
    ids=repr,
)
def test_so_does_what_ends_in_a_hold(open_ended: Schedule) -> None:
    assert open_ended.resolve().length is None
    curve = open_ended.then(linear(10)).resolve(steps=100)
    assert curve.length == 100
    assert curve(89) == open_ended.resolve()(89)
    assert curve(90) == open_ended.resolve()(90)
    assert curve(100) == 0.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: cosine().then(linear()), r"at most one member .*, got 2: cosine\(\), linear\(\); give all but one"),
        (lambda: hold().then(cosine()), r"at most one member .*, got 2: hold\(\), cosine\(\)"),
        (lambda: constant().then(linear(10)), r"constant\(\) never ends, so nothing can follow it; put it last"),
        (lambda: cosine(5).repeat().then(linear(10)), r"cosine\(5\)\.repeat\(\) never ends"),
        (lambda: cosine().then(), "needs at least one schedule to follow, got none"),
        (lambda: cosine().then(0.5), r"must be given schedules, got 0\.5; rules belong in Policy"),  # type: ignore[arg-type]
        (lambda: cosine() * 0.5, r"\* joins two schedules, got 0\.5; for a number use \.scaled\(k\)"),  # type: ignore[operator]
        (lambda: 2 * cosine(), r"\* joins two schedules, got 2; for a number use \.scaled\(k\)"),
        (lambda: constant().repeat(), r"for ever needs a schedule with a length, got constant\(\)"),
        (lambda: cosine().repeat(), "for ever needs a schedule with a length"),
        (lambda: constant().repeat(3), "never ends, so it cannot repeat"),
        (lambda: warmup(0).repeat().resolve(), "needs a schedule of at least one step"),
        (lambda: cosine().stretch(2), "so there is nothing to stretch; give it a length"),
        (lambda: warmup(5).then(hold(), linear(5)).stretch(2), "so there is nothing to stretch"),
    ],
)
def test_what_cannot_be_joined_is_refused_when_it_is_made(make: object, message: str) -> None:
    with pytest.raises(LehrError, match=message):
        make()  # type: ignore[operator]


def test_the_leading_warm_up_is_known() -> None:
    assert warmup(10).then(cosine()).resolve(steps=100).warmup == 10
    assert warmup(10).then(warmup(5), cosine()).resolve(steps=100).warmup == 15
    assert cosine(10).then(warmup(10)).resolve().warmup == 0
    assert warmup(10).then(hold(1), warmup(5)).resolve().warmup == 10
    assert (cosine(100) * warmup(10)).resolve().warmup == 10
    assert warmup(10).scaled(0.5).then(cosine()).resolve(steps=100).warmup == 10
    assert warmup(10).then(linear(10)).repeat(3).resolve().warmup == 10
    assert warmup(10).clip(0.2).then(cosine()).resolve(steps=100).warmup == 10
    assert warmup(10).stretch(2).then(cosine()).resolve(steps=100).warmup == 20


# Products


def test_a_product_multiplies_and_gives_the_start_to_its_first_factor_alone() -> None:
    steps = np.arange(120)
    for first, second in ((linear(100), exponential(0.9)), (exponential(0.9), linear(100))):
        whole = (first * second).resolve(start=0.5)(steps)
        assert whole == pytest.approx(first.resolve(start=0.5)(steps) * second.resolve()(steps), rel=1e-15)


def test_a_product_is_as_long_as_its_longest_fixed_factor_and_a_shorter_one_holds_its_end() -> None:
    curve = (linear(10, to=0.5) * linear(20)).resolve()
    assert curve.length == 20
    assert curve(15) == 0.5 * 0.25
    assert (linear(10, to=0.5) * exponential(0.9)).resolve().length == 10
    assert (linear(10, to=0.5) * exponential(0.9)).resolve()(50) == pytest.approx(0.5 * 0.9**10)
    assert (constant() * exponential(0.9)).resolve().length is None


def test_a_filling_factor_fills_and_a_longer_fixed_one_keeps_its_pace() -> None:
    curve = (cosine() * linear(200)).resolve(steps=100)
    assert curve.length == 100
    assert curve(50) == pytest.approx(0.5 * 0.75)


def test_an_endless_factor_of_a_filling_product_goes_on_as_it_would_alone() -> None:
    steps = np.arange(100)
    for endless in (cosine(7).repeat(scale=0.5), cosine(7).repeat(stretch=2), warmup(10).then(constant(0.5)), hold()):
        whole = (linear() * endless).resolve(steps=100)
        assert whole(steps) == pytest.approx(linear(100).resolve()(steps) * endless.resolve()(steps), rel=1e-15)


def test_products_are_stored_flat_and_scaled_is_a_product() -> None:
    a, b, c = linear(10), exponential(0.9), constant(0.5)
    assert (a * b) * c == a * (b * c)
    assert repr(a * (b * c)) == "linear(10) * exponential(0.9) * constant(0.5)"
    assert a.scaled(0.5) == a * constant(0.5)
    assert isinstance(a.scaled(0.5), Product)
    assert repr((a * b).then(c)) == "(linear(10) * exponential(0.9)).then(constant(0.5))"
    assert repr(a.then(b) * c) == "linear(10).then(exponential(0.9)) * constant(0.5)"
    assert isinstance(parse(repr((a * c).then(b))), Sequence)


# Repeats


def test_cycles_are_exact_at_every_boundary_up_to_a_million_million() -> None:
    curve = linear(7, to=0.25).repeat().resolve()
    starts = 7 * np.unique(np.geomspace(1, 10**12 // 7, 400).astype(np.int64))
    assert (curve(starts) == 1.0).all()
    assert (curve(starts - 1) == linear(7, to=0.25).resolve()(6)).all()
    assert (curve(starts + 3) == linear(7, to=0.25).resolve()(3)).all()
    assert curve.length is None


def test_stretched_cycles_restart_exactly_too() -> None:
    curve = cosine(10).repeat(stretch=2, scale=0.5).resolve()
    start, size, scale = 0, 10, 1.0
    while start < 10**12:
        assert curve(start) == scale
        assert curve(start + size // 2) == pytest.approx(scale / 2, rel=1e-12)
        assert curve(start + size - 1) == pytest.approx(scale * cosine(size).resolve()(size - 1), rel=1e-9)
        start, size, scale = start + size, 2 * size, scale / 2
    assert curve(2**63 - 1) == 0.0  # for ever ends at 2^62: the last cycle's end value holds


def test_a_repeat_sums_its_cycles_and_holds_the_end_of_the_last() -> None:
    curve = linear(10, to=0.5).repeat(3, stretch=2, scale=0.5).resolve()
    assert curve.length == 10 + 20 + 40
    assert [curve(t) for t in (0, 5, 10, 20, 30, 69, 70, 10**12)] == pytest.approx(
        [1, 0.75, 0.5, 0.375, 0.25, (1 - 0.5 * 39 / 40) / 4, 0.125, 0.125]
    )


def test_every_cycle_gets_the_first_ones_start() -> None:
    curve = linear(4, to=0.5).then(hold(1).repeat(2), linear(4, to=0.1).repeat(2)).resolve()
    assert [curve(t) for t in (4, 5, 6, 10)] == [0.5, 0.5, 0.5, 0.5]
    assert linear(4).repeat(2).resolve(start=0.3)(4) == 0.3


@pytest.mark.parametrize(
    ("times", "stretch", "steps", "starts"),
    [
        (3, 2, 700, [0, 100, 300]),
        (3, 2, 100, [0, 14, 43]),
        (4, 1, 10, [0, 3, 5, 8]),
        (2, 0.5, 90, [0, 60]),
        (5, 1, 3, None),
    ],
)
def test_a_filling_repeat_shares_the_run(times: int, stretch: float, steps: int, starts: list[int] | None) -> None:
    curve = linear().repeat(times, stretch=stretch).resolve(steps=steps)
    assert curve.length == steps
    assert curve.end == 0.0
    if starts is not None:
        assert [t for t in range(steps) if curve(t) == 1.0] == starts


def test_cycles_of_a_length_that_is_no_whole_number_sum_to_their_whole() -> None:
    curve = linear("10%").repeat(10).resolve(steps=333)
    assert curve.length == 333
    assert [t for t in range(333) if curve(t) == 1.0] == [(2 * 333 * k + 10) // 20 for k in range(10)]


def test_a_million_equal_cycles_cost_no_table() -> None:
    curve = linear(1000).repeat(10**6).resolve()
    assert curve.length == 10**9
    assert curve(10**9 - 1) == pytest.approx(0.001)


def test_repeats_nest() -> None:
    curve = linear(4).repeat(2).repeat(3, scale=0.5).resolve()
    assert curve(np.arange(24)) == pytest.approx([0.5 ** (t // 8) * (1 - t % 4 / 4) for t in range(24)])


def test_what_is_stretched_with_a_cycle_is_all_of_it() -> None:
    curve = warmup(2).then(linear(4)).repeat(2, stretch=3).resolve()
    assert curve(np.arange(6, 25)) == pytest.approx(warmup(6).then(linear(12)).resolve()(np.arange(19)))


# Clip, staircase, stretch


def test_clip_clips_values_and_not_the_start() -> None:
    curve = linear(10).clip(0.2, 0.6).resolve(start=2.0)
    assert curve(np.arange(11)) == pytest.approx([min(max(2 - 0.2 * t, 0.2), 0.6) for t in range(11)])
    assert linear(10).clip(0.2).resolve()(10) == 0.2
    assert linear(10).clip(high=0.6).resolve()(0) == 0.6
    assert linear(10).clip(high=0.6).then(hold()).resolve(start=1.0)(10) == 0.0


def test_staircase_is_sample_and_hold_until_the_end() -> None:
    curve = linear(10).staircase(4).resolve()
    assert curve(np.arange(12)) == pytest.approx([1.0] * 4 + [0.6] * 4 + [0.2] * 2 + [0.0] * 2)
    assert curve(10) == 0.0
    steps = np.arange(100)
    assert np.array_equal(exponential(0.5, per=10).staircase(10).resolve()(steps), step_decay(10, 0.5).resolve()(steps))


def test_stretch_multiplies_every_length_inside() -> None:
    steps = np.arange(300)
    stretched = warmup(10).then(linear(90)).stretch(2).resolve()
    assert np.array_equal(stretched(steps), warmup(20).then(linear(180)).resolve()(steps))
    assert np.array_equal(step_decay(10).stretch(3).resolve()(steps), step_decay(30).resolve()(steps))
    assert np.array_equal(cosine("10%").stretch(2).resolve(steps=500)(steps), cosine(100).resolve()(steps))
    assert np.array_equal(
        parse("multistep([10, '10%']).stretch(0.5)").resolve(steps=500)(steps),
        parse("multistep([5, 25])").resolve()(steps),
    )


def test_a_horizon_is_needed_for_units_and_filling_members_and_the_error_lists_all_of_them() -> None:
    schedule = parse("warmup('3 epochs').then(hold(), linear('10%'), linear('5e6 tokens'), hold('7 samples'))")
    with pytest.raises(LehrError) as caught:
        schedule.resolve()
    message = str(caught.value)
    for missing in (
        "'3 epochs' needs steps_per_epoch",
        "'10%' needs steps",
        "'5000000 tokens' needs tokens_per_step",
        "'7 samples' needs samples_per_step",
        "a part without a length",
        "Give steps=... or horizon=Horizon(...)",
    ):
        assert missing in message
    known = Horizon(steps=10**6, steps_per_epoch=100, samples_per_step=1, tokens_per_step=1000)
    assert schedule.resolve(known).length == 10**6


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("hold().fade(constant(0.5), 50).reverse()", 0.5, 1.0),
        ("linear(50, to=0.5).then(hold(), constant(0.1)).reverse()", 0.1, 1.0),
        ("linear().then(compounding(0.999)).reverse()", 0.0, 1.0),
    ],
)
def test_the_reverse_of_what_fills_before_an_endless_tail(text: str, first: float, last: float) -> None:
    schedule = lehr.parse(text)
    curve, forward = schedule.resolve(steps=100), schedule.inner.resolve(steps=100)
    assert curve.length == 100
    assert (curve(0), curve(100)) == (first, last)
    steps = np.arange(101)
    assert np.array_equal(curve(steps), forward(100 - steps))


def test_a_fade_holds_after_its_own_end() -> None:
    curve = lehr.parse("hold(100).fade(hold(50).then(linear()), 10)").resolve(steps=100)
    assert curve(np.array([100, 130, 140, 1000])).tolist() == [curve.end] * 4


def test_fixed_parts_that_need_more_than_is_given_shrink() -> None:
    curve = lehr.parse("warmup(20).then(hold(), linear(80))").resolve(steps=1000, length=50)
    assert curve.length == 50
    assert [part.stop for part in curve.parts] == [10, 10, 50]
    open_ended = lehr.parse("linear(100).then(hold())").resolve(length=50)
    assert open_ended(25) == 0.5
    assert lehr.parse("linear(100).then(hold())").resolve(length=200)(25) == 0.75


@pytest.mark.parametrize("text", ["table([1, 0.5]).reverse()", "constant().then(linear())", "noise(0.1).repeat(2)"])
def test_the_remedy_for_what_never_ends_works(text: str) -> None:
    with pytest.raises(LehrError, match=r"give it a length: hold\(100\) \* \.\.\. has 100 steps"):
        lehr.parse(text)
    for name in ("table([1, 0.5])", "constant()", "noise(0.1)"):
        text = text.replace(name, f"(hold(100) * {name})")
    assert lehr.parse(text).resolve(steps=1000)(99) >= 0
