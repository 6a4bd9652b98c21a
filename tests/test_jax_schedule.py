"""`lehr.jax.schedule` in optax: the LRs of a bare loop bit by bit, wherever optax counts updates."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.typing import NDArray

import lehr
import lehr.jax
from lehr.errors import LehrError

pytestmark = pytest.mark.frameworks

STEPS = 1000
LAST = 2**31 - 1
TEXTS = [
    "warmup(100).then(cosine())",
    "warmup('3%').then(cosine(to_lr=1e-3))",
    "wsd()",
    "exponential(0.999)",
    "polynomial(power=0.5)",
    "cosine().repeat(3)",
    "inverse_sqrt(100)",
    "multistep(['30%', '90%'])",
    "noise(0.1, seed=3) * cosine()",
    "Policy(warmup(100, start=0.001).then(cosine()), min_lr=0.01, max_lr=0.05)",
]
POLICY = "warmup(3).then(cosine(to=0.1))"


def bare(policy: str, steps: int = STEPS, lr: float = 0.1) -> NDArray[np.float32]:
    """The LR of each update of a bare loop, as float32 has them."""
    run = lehr.start(policy, lr=lr, steps=steps)
    lrs = []
    for _ in range(steps):
        lrs.append(run.lr)
        run.step()
    return np.array(lrs).astype(np.float32)


def scanned(optimizer: Any, steps: int, gradients: Any = 1.0, **extra: Any) -> NDArray[np.float32]:
    """What the optimiser adds to a parameter in each of `steps` calls inside `jit` and `scan`, with the sign turned."""
    parameter = jnp.zeros(())

    def call(state: Any, gradient: Any) -> Any:
        updates, state = optimizer.update(gradient, state, parameter, **extra)
        return state, -updates

    gradients = jnp.broadcast_to(jnp.asarray(gradients, jnp.float32), (steps,))
    return np.asarray(jax.jit(lambda state: jax.lax.scan(call, state, gradients)[1])(optimizer.init(parameter)))


@pytest.mark.parametrize("text", TEXTS)
def test_the_lr_of_every_update_is_that_of_a_bare_loop_bit_by_bit(text: str) -> None:
    rate = lehr.jax.schedule(text, 0.1, steps=STEPS)
    assert scanned(optax.sgd(rate), STEPS).tolist() == bare(text).tolist()


def test_it_is_the_same_function_eagerly_jitted_scanned_and_mapped() -> None:
    policy = "Policy(warmup(10).then(cosine().repeat(2)), min_lr=0.02)"
    rate = lehr.jax.schedule(policy, 0.1, steps=STEPS)
    expected = bare(policy).tolist()
    counts = np.arange(STEPS)
    ways = {
        "one by one": np.array([rate(t) for t in range(0, STEPS, 10)]),
        "NumPy": rate(counts),
        "eager": rate(jnp.asarray(counts)),
        "jit": jax.jit(rate)(counts),
        "vmap": jax.vmap(rate)(counts),
        "scan": jax.lax.scan(lambda t, _: (t + 1, rate(t)), 0, length=STEPS)[1],
        "while": [float(jax.lax.fori_loop(0, n, lambda i, _: rate(i), jnp.float32(0))) for n in (1, 500)],
    }
    assert {name: np.asarray(lrs).tolist() for name, lrs in ways.items()} == {
        **dict.fromkeys(ways, expected),
        "one by one": expected[::10],
        "while": [expected[0], expected[499]],
    }
    assert rate(counts.reshape(10, 100)).shape == (10, 100)
    assert {rate(5).dtype, jax.jit(rate)(jnp.asarray(5)).dtype} == {jnp.dtype("float32")}


def test_a_gradient_goes_through_an_update_that_uses_it() -> None:
    rate = lehr.jax.schedule("warmup(4).then(cosine())", 0.8, steps=8)

    def after_one_update(x: Any, count: Any) -> Any:
        return x - rate(count) * 2 * x  # the gradient of x² is 2x

    assert float(jax.grad(after_one_update)(3.0, jnp.asarray(1))) == pytest.approx(1 - 2 * 0.4, rel=1e-6)


# optax's schedule, Lehr's, and the value in float64 with exact positions
Long = tuple[Callable[[Any], Any], str, Callable[[Any], Any]]
G = 0.5**1e-8  # halves the LR in 100 million updates
LONG: dict[str, Long] = {
    "exponential": (
        optax.exponential_decay(1.0, 1, G),
        f"exponential({G!r})",
        lambda t: np.exp2(-1e-8 * t),
    ),
    "power": (
        optax.polynomial_schedule(1.0, 0.0, 0.5, LAST),
        f"polynomial({LAST}, power=0.5)",
        lambda t: np.sqrt((LAST - t) / LAST),
    ),
    "stairs": (
        optax.exponential_decay(1.0, 391, 0.5**1e-3, staircase=True),
        f"step_decay(391, {0.5**1e-3!r})",
        lambda t: np.exp2(-1e-3 * (t // 391)),
    ),
}


@pytest.mark.parametrize("name", LONG)
def test_it_is_rounded_once_however_many_updates_there_are(name: str) -> None:
    _, text, exact = LONG[name]
    near = np.r_[0:2000, 2**24 - 100 : 2**24 + 2000, 10**8 : 10**8 + 2000, LAST - 2000 : LAST]
    counts = np.r_[near, np.random.default_rng(0).integers(0, LAST, 20_000)]
    lrs = np.asarray(jax.jit(lehr.jax.schedule(text, 1.0))(jnp.asarray(counts)))
    assert np.abs(lrs - exact(counts)).max() <= 0.5 * 2.0**-23


@pytest.mark.parametrize(
    ("name", "counts", "wrong"),
    [
        (
            "exponential",
            np.arange(10**8, 10**8 + 1000),
            0.49,
        ),  # the decay of one update is lost in float32: LR 1, not 0.5
        ("exponential", np.arange(2**24, 2**24 + 1000), 0.1),
        ("power", np.arange(LAST - 1000, LAST), 1e-4),  # 1.7e-4 of the peak: its last 63 updates have LR 0
    ],
)
def test_optax_computes_decay_in_float32_and_is_far_off_late_in_a_run(
    name: str, counts: NDArray[np.int64], wrong: float
) -> None:
    theirs, text, exact = LONG[name]
    error = np.abs(np.asarray(jax.jit(theirs)(jnp.asarray(counts, jnp.int32))) - exact(counts))
    ours = np.abs(np.asarray(jax.jit(lehr.jax.schedule(text, 1.0))(jnp.asarray(counts))) - exact(counts))
    assert error.max() > wrong
    assert ours.max() <= 2.0**-24


def test_optax_changes_the_stair_at_wrong_updates_beyond_2_to_the_24() -> None:
    counts = np.arange(10**8, 10**8 + 20_000)
    stairs = 1 + np.flatnonzero(np.diff(counts // 391))

    def changes(rate: Callable[[Any], Any]) -> Any:
        return 1 + np.flatnonzero(np.diff(np.asarray(jax.jit(rate)(jnp.asarray(counts, jnp.int32)))))

    theirs = optax.exponential_decay(1.0, 391, 0.99999, staircase=True)
    assert changes(lehr.jax.schedule("step_decay(391, 0.99999)", 1.0)).tolist() == stairs.tolist()
    assert np.count_nonzero(changes(theirs) != stairs) > len(stairs) / 2


def test_with_64_bits_the_lrs_are_float64() -> None:
    rate = lehr.jax.schedule(POLICY, 0.1, steps=100)
    run = lehr.start(POLICY, lr=0.1, steps=100)
    with jax.enable_x64(True):
        lrs = jax.jit(rate)(jnp.arange(3))
    assert lrs.dtype == jnp.float64
    for lr in lrs.tolist():
        assert lr == pytest.approx(run.lr, rel=1e-15)
        run.step()


# Wherever optax takes a learning rate


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda rate: optax.sgd(rate),
        lambda rate: optax.scale_by_learning_rate(rate),
        lambda rate: optax.inject_hyperparams(optax.sgd)(learning_rate=rate),
        lambda rate: optax.chain(optax.clip(1.0), optax.scale_by_schedule(lambda count: -rate(count))),
        lambda rate: optax.partition({"all": optax.sgd(rate)}, "all"),
        lambda rate: optax.sign_sgd(rate),
    ],
    ids=["sgd", "scale_by_learning_rate", "inject_hyperparams", "scale_by_schedule", "partition", "sign_sgd"],
)
def test_every_door_of_optax_uses_it_for_the_update_it_counts(optimizer: Callable[[Any], Any]) -> None:
    rate = lehr.jax.schedule(POLICY, 0.1, steps=50)
    assert scanned(optimizer(rate), 50).tolist() == bare(POLICY, 50).tolist()


def test_adamw_with_it_is_adamw_with_the_numbers_of_a_bare_loop() -> None:
    ours = scanned(optax.adamw(lehr.jax.schedule(POLICY, 0.1, steps=50)), 50)
    numbers = jnp.asarray(bare(POLICY, 50))
    assert ours.tolist() == scanned(optax.adamw(lambda count: numbers[count]), 50).tolist()


@pytest.mark.parametrize("how", ["eager", "jit"])
def test_optax_joins_it_to_a_schedule_of_its_own(how: str) -> None:
    """It asks every schedule at every count, also at counts before its beginning."""
    rate = optax.join_schedules([optax.linear_schedule(0.0, 1.0, 4), lehr.jax.schedule("linear()", 1.0, steps=4)], [4])
    rate = jax.jit(rate) if how == "jit" else rate
    assert [float(rate(count)) for count in range(9)] == [0, 0.25, 0.5, 0.75, 1, 0.75, 0.5, 0.25, 0]


def test_before_its_beginning_it_is_as_at_its_beginning() -> None:
    rate = lehr.jax.schedule("exponential(0.5)", 0.1)
    assert [float(way(-7)) for way in (rate, jax.jit(rate))] == [float(np.float32(0.1))] * 2


def test_accumulated_gradients_are_one_update() -> None:
    optimizer = optax.MultiSteps(optax.sgd(lehr.jax.schedule(POLICY, 0.1, steps=10)), every_k_schedule=4)
    lrs = scanned(optimizer, 40).reshape(10, 4)
    assert lrs[:, 3].tolist() == bare(POLICY, 10).tolist()
    assert not lrs[:, :3].any()


def test_a_skipped_update_does_not_count() -> None:
    gradients = np.ones(12)
    gradients[[2, 7]] = np.nan
    optimizer = optax.apply_if_finite(optax.sgd(lehr.jax.schedule(POLICY, 0.1, steps=10)), max_consecutive_errors=5)
    lrs = scanned(optimizer, 12, gradients)
    assert np.delete(lrs, [2, 7]).tolist() == bare(POLICY, 10).tolist()
    assert lrs[[2, 7]].tolist() == [0.0, 0.0]


# What it refuses


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ("Policy(cosine(), rules=[when(loss.reaches(0.5)).scale(0.5)])", r"has rules.*lehr.jax.controller.*hosted"),
        ("groups(cosine(), constant())", r"one LR for all parameters.*optax.partition"),
        ("bind(lr=cosine(), momentum=constant())", r"one LR for all parameters"),
        ("Policy(cosine(), min_lr=[0.1, 0.2])", r"2 numbers for 1 parameter groups"),
    ],
)
def test_what_is_no_function_of_a_count_is_refused_with_the_remedy(policy: str, words: str) -> None:
    with pytest.raises(LehrError, match=words):
        lehr.jax.schedule(policy, 0.1, steps=100)


def test_it_needs_a_length_and_an_lr_once() -> None:
    with pytest.raises(LehrError, match="needs steps"):
        lehr.jax.schedule("cosine()", 0.1)
    with pytest.raises(LehrError, match="not both"):
        lehr.jax.schedule("cosine()", 0.1, steps=5, horizon=lehr.Horizon(steps=5))
    with pytest.raises(LehrError, match=r"at least 0, got -0\.1"):
        lehr.jax.schedule("cosine()", -0.1, steps=5)
    rate = lehr.jax.schedule("exponential(0.5, per='1 epoch')", 1.0, horizon=lehr.Horizon(steps_per_epoch=10))
    assert float(rate(20)) == 0.25


@pytest.mark.parametrize("count", [0.5, True, 2**64, np.array([1.0]), "1", jnp.asarray(1.0), jnp.asarray(True)])
def test_counts_that_are_none_are_refused(count: Any) -> None:
    with pytest.raises(LehrError, match="must be integers"):
        lehr.jax.schedule("cosine()", 0.1, steps=5)(count)


@pytest.mark.parametrize("make", [lehr.jax.schedule, lehr.jax.controller])
def test_an_lr_that_is_an_array_is_refused_and_the_remedy_sweeps_it(make: Any) -> None:
    def swept(lr: Any, scale: Any) -> Any:
        part = optax.scale_by_learning_rate(scale) if make is lehr.jax.schedule else scale
        optimizer = optax.chain(part, optax.scale(lr))
        return -optimizer.update(jnp.ones(()), optimizer.init(jnp.ones(())), jnp.ones(()))[0]

    lrs = jnp.asarray([0.1, 0.2])
    with pytest.raises(LehrError, match=r"a sweep by vmap.*lr=1.0, optax.scale\(lr\)"):
        jax.vmap(lambda lr: swept(lr, make("constant()", lr)))(lrs)
    with pytest.raises(LehrError, match=r"write float\(lr\)"):
        make("constant()", lrs[0])
    assert jax.vmap(lambda lr: swept(lr, make("constant()", 1.0)))(lrs).tolist() == lrs.tolist()


def test_an_lr_that_float32_cannot_hold_is_refused() -> None:
    with pytest.raises(LehrError, match="beyond float32"):
        jax.jit(lehr.jax.schedule("constant(1e30)", 1e10))(5)


def test_a_count_beyond_32_bits_is_counted() -> None:
    assert float(lehr.jax.schedule("linear()", 1.0, steps=4 * 10**9)(10**9)) == 0.75


@pytest.mark.parametrize("missing", ["jax", "optax"])
def test_without_the_extra_the_error_names_what_to_type(missing: str) -> None:
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "try:\n    import lehr.jax\nexcept ImportError as error:\n    print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"MissingExtra this needs {missing}, which is not installed; pip install 'lehr[jax]'"
