"""The same curves under JAX: jitted, with 64-bit numbers and without, near to NumPy's and never silently wrong."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import HealthCheck, given, settings

import lehr
from drawn import COMPOSITIONS, resolved, schedules
from lehr.errors import LehrError
from lehr.lengths import Horizon
from lehr.schedules import Curve, Schedule
from lehr.text import parse

HORIZON = Horizon(steps=1000, steps_per_epoch=50, samples_per_step=32, tokens_per_step=2048)
INT32_MAX = 2**31 - 1
Steps = np.ndarray[Any, np.dtype[np.int64]]
STEEP = ("cycles=", "geometric", "exp_hyperbolic")
EPSILON32 = float(np.finfo(np.float32).eps)


def steps_up_to(curve: Curve, last: int) -> Steps:
    scattered = np.random.default_rng(1).integers(0, last, 300, endpoint=True)
    edges = [p.start + i for p in curve.parts for i in (-1, 0, 1) if 0 <= p.start + i <= last]
    return np.unique([*range(1200), *edges, *scattered, last])


def peak(curve: Curve, steps: Steps) -> float:
    return float(max(curve(steps).max(), curve(np.arange(2000)).max()))


def test_with_64_bits_it_is_within_a_millionth_of_a_millionth_of_the_peak(schedule: Schedule) -> None:
    curve = schedule.resolve(HORIZON, lr=0.1)
    steps = steps_up_to(curve, 10**12)
    with jax.enable_x64(True):
        values = jax.jit(curve)(jnp.asarray(steps))
    assert values.dtype == jnp.float64
    assert np.abs(np.asarray(values) - curve(steps)).max() <= 1e-12 * peak(curve, steps)


def test_without_them_it_is_within_two_units_of_the_last_place_of_the_peak(schedule: Schedule) -> None:
    curve = schedule.resolve(HORIZON, lr=0.1)
    steps = steps_up_to(curve, INT32_MAX)
    compiled = jax.jit(curve)
    if curve.largest > INT32_MAX:
        with pytest.raises(LehrError, match=r"counts to \d+, beyond int32; switch on 64-bit"):
            compiled(jnp.asarray(steps))
        return
    assert_near(compiled(jnp.asarray(steps)), curve, steps)


@pytest.mark.parametrize(
    "text",
    [
        "cosine(to=0.1)",
        "linear()",
        "polynomial(power=0.5)",
        "polynomial(power=3)",
        "one_minus_sqrt()",
        "warmup('5%').then(cosine())",
        "wsd()",
        "linear().repeat(3)",
        "linear().repeat(3, stretch=2, scale=0.5)",
        "cosine().staircase('1%')",
        "multistep(['30%', '90%'])",
    ],
)
def test_the_longest_run_that_32_bits_count_is_as_near(text: str) -> None:
    curve = parse(text).resolve(steps=INT32_MAX)
    steps = steps_up_to(curve, INT32_MAX)
    steps = np.unique([*steps, *(INT32_MAX - np.arange(50))])
    assert_near(jax.jit(curve)(jnp.asarray(steps)), curve, steps)


def assert_near(values: Any, curve: Curve, steps: Steps) -> None:
    assert values.dtype == jnp.float32
    # Where the slope is steep against the position, more of the rounding of the position itself comes through.
    units = 8 if any(word in part.text for part in curve.parts for word in STEEP) else 2
    assert np.abs(np.asarray(values, dtype=np.float64) - curve(steps)).max() <= units * EPSILON32 * peak(curve, steps)


@pytest.mark.parametrize("text", ["cosine(3e9)", "warmup(10).then(cosine())", "hold(2e9).then(linear(2e9))"])
def test_a_curve_that_counts_further_than_32_bits_is_refused_before_it_is_wrong(text: str) -> None:
    curve = parse(text).resolve(steps=3 * 10**9)
    with pytest.raises(LehrError, match=r"counts to [34]\d{9}, beyond int32; switch on 64-bit .*or pass a NumPy array"):
        curve(jnp.asarray(5))
    with jax.enable_x64(True):
        assert float(curve(jnp.asarray(5))) == pytest.approx(curve(5), rel=1e-12)


@pytest.mark.parametrize("text", ["constant(1e39)", "cosine_product(0.9, 400)", "constant(1e30) * constant(1e30)"])
def test_a_curve_that_grows_beyond_float32_is_refused_before_it_is_infinite(text: str) -> None:
    curve = parse(text).resolve()
    with pytest.raises(LehrError, match=r"may grow to .*, beyond float32; switch on 64-bit"):
        curve(jnp.asarray(5))
    with jax.enable_x64(True):
        assert float(curve(jnp.asarray(5))) == pytest.approx(curve(5), rel=1e-12)


def test_steps_of_a_type_that_does_not_fit_are_refused_not_wrapped() -> None:
    curve = parse("cosine(100)").resolve()
    with pytest.raises(LehrError, match="steps of uint32 may be beyond int32"):
        curve(jnp.asarray([5], dtype="uint32"))
    with jax.enable_x64(True), pytest.raises(LehrError, match="steps of uint64 may be beyond int64"):
        curve(jnp.asarray([5], dtype="uint64"))


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "uint16", "int32"])
def test_narrow_integer_types_count_as_far_as_they_go(kind: str) -> None:
    values = parse("cosine(300)").resolve()(jnp.asarray([0, 5, 127], dtype=kind))
    assert np.asarray(values).tolist() == np.asarray(parse("cosine(300)").resolve()(jnp.asarray([0, 5, 127]))).tolist()


@pytest.mark.parametrize("steps", [[0.5], [True]], ids=["float", "bool"])
def test_steps_that_are_not_integers_are_refused(steps: list[float]) -> None:
    with pytest.raises(LehrError, match="steps must be integers, got an array of"):
        parse("cosine(100)").resolve()(jnp.asarray(steps))


def test_it_works_inside_scan_and_vmap_and_keeps_the_shape() -> None:
    curve = parse("warmup(3).then(cosine(10, to=0.1)).repeat(2)").resolve()
    expected = curve(np.arange(30))
    _, scanned = jax.lax.scan(lambda t, _: (t + 1, curve(t)), 0, length=30)
    assert np.asarray(scanned) == pytest.approx(expected, abs=2 * EPSILON32)
    mapped = jax.vmap(curve)(jnp.arange(30).reshape(6, 5))
    assert mapped.shape == (6, 5)
    assert np.asarray(mapped).ravel() == pytest.approx(expected, abs=2 * EPSILON32)
    assert curve(jnp.asarray(7)).shape == ()
    assert float(curve(jnp.asarray(-3))) == float(curve(jnp.asarray(0)))  # a traced step cannot be refused


def test_optax_takes_a_curve_as_its_schedule() -> None:
    curve = parse("warmup(3).then(cosine(10, to=0.1))").resolve()
    optimizer = optax.sgd(curve)
    parameters = jnp.asarray(1.0)
    state = optimizer.init(parameters)
    for t in range(5):
        updates, state = optimizer.update(jnp.asarray(1.0), state, parameters)
        assert float(updates) == pytest.approx(-curve(t), abs=2 * EPSILON32)


@settings(max_examples=COMPOSITIONS, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(schedules)
def test_random_compositions_are_the_same_under_jit(schedule: Schedule) -> None:
    curve = resolved(schedule)
    steps = np.array([*range(0, 1200, 7), *(p.start for p in curve.parts), 10**6, 10**12])
    with jax.enable_x64(True):
        values = jax.jit(curve)(jnp.asarray(steps))
    # A sum or a difference may lose digits of its largest term; the bound holds for all that is computed on the way.
    scale = max(peak(curve, steps), 1e-3 * min(curve.bound, 100.0))
    assert np.abs(np.asarray(values) - curve(steps)).max() <= 1e-11 * scale


@pytest.mark.parametrize("text", ["table([1, 0.9, 0.5, 0.2], every=1000000000)", "chebyshev(3e9)"])
def test_what_a_shape_counts_to_inside_is_refused_beyond_32_bits(text: str) -> None:
    with pytest.raises(LehrError, match=r"beyond int32; switch on 64-bit"):
        jax.jit(parse(text).resolve())(jnp.asarray([0, 1]))


def test_functions_of_the_user_are_called_number_by_number_unless_they_are_traced() -> None:
    stepped = lehr.of_step(lambda t: 1.0 if t < 3 else 0.5).resolve()
    assert stepped(jnp.arange(5)).tolist() == [1.0, 1.0, 1.0, 0.5, 0.5]
    with pytest.raises(LehrError, match="made of operations that JAX can trace"):
        jax.jit(stepped)(jnp.arange(5))
    with pytest.raises(LehrError, match=r"between 0 and 1e\+09, got -1"):
        lehr.of_step(lambda t: -1.0 * t).resolve()(jnp.arange(3))
    assert jax.jit(lehr.of_step(lambda t: 0.5**t).resolve())(jnp.arange(3)).tolist() == [1.0, 0.5, 0.25]
