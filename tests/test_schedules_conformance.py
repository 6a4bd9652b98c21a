"""Every schedule keeps the promises of `Schedule` and `Curve`: one battery over the catalogue and over compositions."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest

from lehr.errors import LehrError
from lehr.lengths import Horizon
from lehr.schedules import Curve, Schedule
from lehr.text import parse

FAR = [10**9, 2**31 - 1, 2**31, 10**12, 2**53 + 1, 2**63 - 2, 2**63 - 1]
HORIZON = Horizon(steps=1000, steps_per_epoch=50, samples_per_step=32, tokens_per_step=2048)


@pytest.fixture
def curve(schedule: Schedule, horizon: Horizon) -> Curve:
    if "cosine_product" in repr(schedule) and horizon.steps == 10**12:
        pytest.skip("its table is refused there, by a test of its own")
    return schedule.resolve(horizon, lr=0.1)


def interesting(curve: Curve) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The first steps, those around every boundary, and some far out."""
    edges = [edge + i for part in curve.parts for edge in (part.start, part.stop or 0) for i in (-2, -1, 0, 1, 2)]
    scattered = np.random.default_rng(0).integers(0, 2 * (curve.length or 1000) + 1, 60).tolist()
    return np.array(sorted({*range(70), *(e for e in edges if e >= 0), *scattered, *FAR}), dtype=np.int64)


def test_a_vector_of_steps_gives_what_each_step_gives_alone_bit_by_bit(curve: Curve) -> None:
    steps = interesting(curve)
    alone = np.array([curve(step) for step in steps.tolist()])
    whole = curve(steps)
    assert whole.dtype == np.float64
    assert whole.tobytes() == alone.tobytes()
    for cut in (0, 1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 33):
        assert curve(steps[:cut]).tobytes() == alone[:cut].tobytes()
    for view in (np.s_[::2], np.s_[1::3], np.s_[::-1], np.s_[5:50:7]):
        assert curve(steps[view]).tobytes() == alone[view].tobytes()


def test_the_shape_and_the_integer_type_of_the_steps_do_not_matter(curve: Curve) -> None:
    steps = np.arange(120)
    expected = curve(steps)
    square = curve(steps.reshape(4, 30))
    assert square.shape == (4, 30)
    assert square.tobytes() == expected.tobytes()
    assert np.array_equal(curve(np.asfortranarray(steps.reshape(4, 30))), square)
    for kind in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "uint64", ">i8"):
        assert curve(steps.astype(kind)).tobytes() == expected.tobytes()
    assert curve(steps.tolist()).tobytes() == expected.tobytes()
    assert curve(steps[:0]).shape == (0,)
    assert curve(np.array(7)).shape == ()
    assert type(curve(7)) is type(curve(np.int64(7))) is type(curve(np.uint8(7))) is float
    assert curve(7) == curve(np.int64(7)) == curve(np.array(7)) == expected[7]


def test_every_step_has_a_finite_factor_that_is_not_negative_nor_above_the_bound(curve: Curve) -> None:
    with np.errstate(all="raise"):
        values = curve(interesting(curve))
    assert np.isfinite(values).all()
    assert (values >= 0).all()
    assert (values <= curve.bound).all()
    assert not ((values > 0) & (values < np.finfo(float).tiny)).any()


def test_past_its_length_the_end_value_holds(curve: Curve) -> None:
    if curve.length is None:
        assert curve.end == curve(2**63 - 1)
    else:
        after = curve(np.array([curve.length, curve.length + 1, *(curve.length + far // 2 for far in FAR)]))
        assert (after == curve.end).all()


def test_a_filling_schedule_takes_the_whole_run_unless_its_fixed_parts_need_more(
    schedule: Schedule, curve: Curve, horizon: Horizon
) -> None:
    if not schedule.fills:
        return
    assert curve.length is not None
    assert curve.length >= (horizon.steps or 0)
    if horizon.steps != 1 and horizon.steps != 7:
        assert curve.length == horizon.steps


def test_parts_lie_side_by_side(curve: Curve) -> None:
    assert curve.parts[0].start == 0
    assert curve.parts[-1].stop == curve.length
    for one, other in zip(curve.parts, curve.parts[1:], strict=False):
        assert one.stop == other.start
        assert one.start <= other.start


def test_its_text_reads_back_to_an_equal_value(schedule: Schedule) -> None:
    for text in (repr(schedule), schedule.text(full=True)):
        back = parse(text)
        assert back == schedule
        assert hash(back) == hash(schedule)
        assert repr(back) == repr(schedule)
        assert back.text(full=True) == schedule.text(full=True)
    assert len(schedule.text(full=True)) >= len(repr(schedule))


def test_copies_and_pickles_are_equal_values(schedule: Schedule) -> None:
    assert copy.copy(schedule) == copy.deepcopy(schedule) == schedule
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        back = pickle.loads(pickle.dumps(schedule, protocol))
        assert back == schedule
        assert type(back) is type(schedule)
    steps = np.arange(50)
    assert np.array_equal(back.resolve(HORIZON, lr=0.1)(steps), schedule.resolve(HORIZON, lr=0.1)(steps))


def test_schedules_of_different_texts_are_different_values(texts: tuple[str, ...]) -> None:
    assert len({parse(text) for text in texts}) == len({repr(parse(text)) for text in texts}) == len(set(texts))


def test_nothing_is_mutated(schedule: Schedule) -> None:
    before, steps = repr(schedule), np.arange(30)
    curve = schedule.resolve(HORIZON, lr=0.1)
    first = curve(steps)
    first[:] = -1.0
    assert (curve(steps) >= 0).all()
    assert steps.tolist() == list(range(30))
    schedule.then, schedule * parse("constant(2)"), schedule.clip(0.1)
    assert repr(schedule) == before
    with pytest.raises(AttributeError):
        schedule.members = ()  # type: ignore[attr-defined]


def test_two_resolutions_are_the_same_function(schedule: Schedule) -> None:
    steps = np.arange(1100)
    one, other = schedule.resolve(HORIZON, lr=0.1), schedule.resolve(HORIZON, lr=0.1)
    assert one(steps).tobytes() == other(steps).tobytes()
    if schedule.absolute:
        assert one(steps).tobytes() != schedule.resolve(HORIZON, lr=0.2)(steps).tobytes()
    else:
        assert one(steps).tobytes() == schedule.resolve(HORIZON)(steps).tobytes()


def test_the_start_scales_what_is_relative_to_it_and_nothing_else_jumps(schedule: Schedule) -> None:
    half = schedule.resolve(HORIZON, lr=0.1, start=0.5)
    assert np.isfinite(half(np.arange(1100))).all()
    zero = schedule.resolve(HORIZON, lr=0.1, start=0.0)
    assert (zero(np.arange(1100)) >= 0).all()


@pytest.mark.parametrize(
    "step",
    [-1, 2**63, -(2**70), 0.0, 1.5, True, np.True_, None, "5", float("nan"), [0.5], [-1, 3], [2**63], 1 << 20_000],
    ids=lambda step: type(step).__name__,
)
def test_what_is_no_step_is_refused(step: Any) -> None:
    with pytest.raises(LehrError, match=r"steps? must be (between 0 and 2\*\*63 - 1|integers), got"):
        parse("warmup(10).then(cosine(20))").resolve()(step)
