"""The controller inside jit: LRs, skipped updates, a run saved and resumed, what it refuses and what it says."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lehr
import lehr.jax
from lehr.errors import LehrError, LehrWarning
from lehr.jax import controller, controller_state, report, why

STEPS = 200
MICRO = 3  # micro-batches of an update
SKIPPED = (20, 61, 62, 90, 301)  # micro-batches whose gradient is not finite
RULES = "[when(loss.plateaus(5)).scale(0.5), when(metric('accuracy', best='max').reaches(0.5)).saturate(0.8)]"
POLICY = f"Policy(warmup(20).then(cosine(to=0.1)), rules={RULES}, min_lr=1e-4)"
ONE_RULE = "when(loss.plateaus(2)).scale(0.5)"


def losses(count: int) -> Any:
    """A loss that falls, and then stands in noise."""
    t = np.arange(count)
    return (1 + np.exp(-t / 40) + 0.02 * np.random.default_rng(0).standard_normal(count)).astype(np.float32)


def accuracies(count: int) -> Any:
    return (1 - np.exp(-np.arange(count) / 100)).astype(np.float32)


def float32_lrs(run: lehr.Controller, numbers: Iterator[dict[str, Any]]) -> list[Any]:
    """The LR of each update of a run on the host, as float32 has it."""
    lrs = []
    for told in numbers:
        lrs.append(np.float32(run.lr))
        run.step(**told)
    return lrs


def test_its_updates_are_those_of_the_host_times_the_gradient() -> None:
    """Inside jit and scan; with the gradient 1 an update is the negative LR."""
    tx = controller(POLICY, lr=0.1, steps=STEPS)
    loss, accuracy = losses(STEPS), accuracies(STEPS)

    def step(state: Any, told: Any) -> Any:
        update, state = tx.update(jnp.ones(()), state, value=told[0], accuracy=told[1], epoch="unread")
        return state, update

    state, updates = jax.jit(lambda state: jax.lax.scan(step, state, (loss, accuracy)))(tx.init(jnp.ones(())))
    run = lehr.start(POLICY, lr=0.1, steps=STEPS)
    told = ({"loss": float(a), "accuracy": float(b)} for a, b in zip(loss, accuracy, strict=True))
    expected = float32_lrs(run, told)
    assert np.abs(-np.asarray(updates) - expected).max() <= np.spacing(np.float32(0.1)) / 2
    fired = [rule.fired for rule in run.states[0][2].rules]
    assert [int(rule.fired) for rule in state.rules] == fired
    assert min(fired) > 0
    assert bool(state.done) is run.done is True


def test_a_run_with_micro_batches_and_skipped_updates_goes_on_bit_by_bit_where_it_was_saved() -> None:
    """`apply_if_finite` stands outside, as a NaN inside of `MultiSteps` stays in its sum for ever."""
    inner = optax.MultiSteps(optax.chain(optax.identity(), controller(POLICY, lr=0.1, steps=STEPS)), MICRO)
    tx = optax.apply_if_finite(optax.GradientTransformationExtraArgs(inner.init, inner.update), 5)
    count = MICRO * STEPS
    gradients, loss, accuracy = np.ones(count, dtype=np.float32), losses(count), accuracies(count)
    gradients[list(SKIPPED)] = math.nan

    def step(carry: Any, now: Any) -> Any:
        parameter, state = carry
        gradient, value, metric = now
        update, state = tx.update(gradient, state, parameter, value=value, accuracy=metric)
        return (optax.apply_updates(parameter, update), state), update

    scan = jax.jit(lambda carry, told: jax.lax.scan(step, carry, told))
    begin = jnp.ones(()), tx.init(jnp.ones(()))
    told = gradients, loss, accuracy
    whole, updates = scan(begin, told)

    cut = 101 * MICRO + 1  # between the micro-batches of an update
    kept, first = scan(begin, tuple(values[:cut] for values in told))
    plain = [np.array(leaf) for leaf in jax.tree.leaves(kept)]  # nothing but arrays is saved
    resumed = jax.tree.unflatten(jax.tree.structure(kept), plain)
    again, rest = scan(resumed, tuple(values[cut:] for values in told))
    for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(whole), strict=True):
        assert np.array_equal(a, b)
    assert np.array_equal(np.concatenate([first, rest]), updates)

    taken = [i for i in range(count) if i not in SKIPPED]
    ends = taken[MICRO - 1 :: MICRO]  # the micro-batches that complete an update, whose numbers are the update's
    run = lehr.start(POLICY, lr=0.1, steps=STEPS)
    expected = float32_lrs(run, ({"loss": float(loss[i]), "accuracy": float(accuracy[i])} for i in ends))
    ours = -np.asarray(updates)
    assert np.abs(ours[ends] - expected).max() <= np.spacing(np.float32(0.1)) / 2
    assert (np.delete(ours, ends) == 0).all()
    state = controller_state(whole)
    assert int(state.step) == run.t == len(ends) < STEPS
    fired = [(rule.fired, rule.last) for rule in run.states[0][2].rules]
    assert [(int(rule.fired), int(rule.last)) for rule in state.rules] == fired
    assert fired[0][0] > 1


def test_the_state_is_arrays_whose_shapes_and_types_stay() -> None:
    tx = controller("Policy(constant(), rules=[when(loss.derails()).scale(0.5)], cadence=5)", lr=0.1, steps=STEPS)
    before = tx.init(jnp.ones(()))
    _, after = jax.jit(tx.update)(jnp.ones(()), before, value=0.7)

    def looks(state: Any) -> Any:
        return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, isinstance(leaf, jax.Array)), state)

    assert looks(before) == looks(after)
    assert {leaf.dtype for leaf in jax.tree.leaves(before)} <= {
        jnp.dtype("float32"),
        jnp.dtype("int32"),
        jnp.dtype(bool),
    }


def test_it_scales_a_tree_as_optax_scales_by_a_learning_rate() -> None:
    gradients = {"w": jnp.asarray([1.5, -2.0], jnp.bfloat16), "b": (jnp.asarray(3.0), optax.MaskedNode())}
    ours, _ = controller("constant()", lr=0.3).update(gradients, controller("constant()", lr=0.3).init(gradients))
    theirs, _ = optax.scale_by_learning_rate(0.3).update(gradients, optax.EmptyState())
    assert str(jax.tree.structure(ours)) == str(jax.tree.structure(theirs))
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert a.dtype == b.dtype
        assert np.array_equal(a, b)


def test_the_lr_is_exact_beyond_the_steps_that_float32_counts() -> None:
    total, at = 10**9, 2**24 + 12_345
    tx = controller("cosine()", lr=0.1, steps=total)
    state = tx.init(jnp.ones(()))._replace(step=jnp.asarray(at, jnp.int32))
    _, state = jax.jit(tx.update)(jnp.ones(()), state)
    expected = 0.1 * 0.5 * (1 + math.cos(math.pi * (at + 1) / total))
    assert float(state.next_lr) == float(np.float32(expected))


def test_what_an_update_used_and_what_the_next_one_will_use_are_read_by_name() -> None:
    tx = optax.chain(optax.scale_by_adam(), controller("when(loss.plateaus(1)).scale(0.5)", lr=0.25, steps=3))
    state = tx.init(jnp.ones(()))
    seen = []
    for _ in range(3):
        _, state = tx.update(jnp.ones(()), state, value=1.0)
        seen.append([float(optax.tree_utils.tree_get(state, name)) for name in ("lr", "next_lr", "gain")])
    assert seen == [[0.25, 0.25, 1], [0.25, 0.25, 1], [0.25, 0.125, 0.5]]  # the second without improvement acts
    assert bool(controller_state(state).done)


def test_a_report_counts_only_when_it_is_new() -> None:
    tx = controller("when(metric('val_loss', best='min').plateaus(1)).scale(0.5)", lr=1.0, steps=STEPS)

    @jax.jit
    def step(state: Any, t: Any) -> Any:
        return tx.update(jnp.ones(()), state, val_loss=report(7.0, when=t % 10 == 0))[1]

    state = tx.init(jnp.ones(()))
    for t in range(21):
        state = step(state, t)
    assert (int(state.rules[0].seen), int(state.rules[0].fired), int(state.rules[0].last)) == (3, 1, 20)


def test_a_plain_nan_is_a_report_and_a_missing_number_is_none() -> None:
    tx = controller("when(loss.diverges()).scale(0.5)", lr=1.0, steps=STEPS)
    state = tx.init(jnp.ones(()))
    _, quiet = tx.update(jnp.ones(()), state, value=report(math.nan, when=False))
    _, told = tx.update(jnp.ones(()), state, value=math.nan)
    assert (float(quiet.next_lr), float(told.next_lr)) == (1.0, 0.5)


def test_the_loss_goes_by_either_name_but_not_by_both() -> None:
    tx = controller(ONE_RULE, lr=1.0, steps=STEPS)
    state = tx.init(jnp.ones(()))
    by_value, by_name = (tx.update(jnp.ones(()), state, **{key: 0.7})[1] for key in ("value", "loss"))
    for a, b in zip(jax.tree.leaves(by_value), jax.tree.leaves(by_name), strict=True):
        assert np.array_equal(a, b, equal_nan=True)
    with pytest.raises(LehrError, match="gives the loss twice; keep value="):
        tx.update(jnp.ones(()), state, value=0.7, loss=0.7)


def test_more_than_one_number_is_refused() -> None:
    tx = controller(ONE_RULE, lr=1.0, steps=STEPS)
    with pytest.raises(
        LehrError, match=r"value must be one number, got an array of the shape \(2,\); give its .mean()"
    ):
        tx.update(jnp.ones(()), tx.init(jnp.ones(())), value=jnp.ones(2))


def test_an_update_that_is_told_nothing_its_rules_read_says_so_once() -> None:
    tx = controller("when(metric('val_loss', best='min').plateaus(1)).scale(0.5)", lr=1.0, steps=STEPS)
    state = tx.init(jnp.ones(()))
    with pytest.warns(LehrWarning, match=r"was given value, and the rules read val_loss.*report\(x, when=...\)"):
        _, state = tx.update(jnp.ones(()), state, value=0.7)
    _, state = tx.update(jnp.ones(()), state, value=0.7)  # a warning would be an error here


def test_a_loss_that_optax_drops_on_the_way_is_missed() -> None:
    """`apply_if_finite` hands extra arguments on only to what says that it takes them; `MultiSteps` does not say so."""
    tx = optax.apply_if_finite(optax.MultiSteps(controller(ONE_RULE, lr=1.0, steps=STEPS), 2), 5)
    state = tx.init(jnp.ones(()))
    with pytest.warns(LehrWarning, match="was given nothing, and the rules read value: they cannot fire"):
        tx.update(jnp.ones(()), state, jnp.ones(()), value=0.7)


def test_a_nan_stays_in_the_sum_of_micro_batches_for_ever_where_finiteness_is_asked_for_inside() -> None:
    tx = optax.MultiSteps(optax.apply_if_finite(controller("constant()", lr=1.0), 1000), 2)
    state, updates, jitted = tx.init(jnp.ones(())), [], jax.jit(tx.update)
    for gradient in (math.nan, *[1.0] * 19):
        update, state = jitted(jnp.asarray(gradient), state, jnp.ones(()))
        updates.append(float(update))
    assert updates == [0.0] * 20
    assert math.isnan(float(state.acc_grads))


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ("when(loss.improves_less_than(0.01, 100)).scale(0.5)", "the trend test remembers hundreds of values"),
        ("when(loss.plateaus(2) & loss.stalls(50)).scale(0.5)", "memory that grows"),
        ("when(evaluation('accuracy', every=5, best='max').reaches(0.9)).scale(0.5)", "calls a function of yours"),
        ("when(loss.plateaus(2)).begin(linear(10))", "begin"),
        ("when(loss.plateaus(2)).rollback()", "it restores weights"),
        ("when(loss.plateaus(2)).stop(weights='best')", "it restores weights"),
    ],
)
def test_a_rule_that_no_jitted_program_holds_is_refused_with_its_name_and_the_remedy(policy: str, reason: str) -> None:
    with pytest.raises(LehrError) as refused:
        controller(policy, lr=0.1, steps=1000)
    assert str(refused.value).startswith(f"{policy} cannot run inside jit")
    assert reason in str(refused.value)
    assert "lehr.jax.hosted(lehr.start(policy, ...))" in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"policy": "groups(cosine(), linear())", "steps": 10}, "one LR.*optax.partition"),
        ({"policy": "bind(lr=cosine(), momentum=linear())", "steps": 10}, "one LR"),
        ({"policy": "cosine()", "lr": -1.0, "steps": 10}, "must be at least 0, got -1.0"),
        ({"policy": "cosine()"}, "Give steps="),
        ({"policy": "cosine()", "steps": 10, "horizon": lehr.Horizon(steps=10)}, "not both"),
        ({"policy": "cosine()", "steps": 2**31}, "counts updates in 32 bits"),
    ],
)
def test_what_cannot_be_right_is_refused_when_it_is_made(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(LehrError, match=words):
        controller(**{"lr": 0.1, **arguments})


def test_it_says_from_the_state_alone_why_the_lr_is_what_it_is() -> None:
    policy = "Policy(constant(), rules=[when(loss.plateaus(0)).scale(0.5), when(loss.reaches(0.1)).stop()])"
    tx = optax.chain(optax.identity(), controller(policy, lr=1.0, steps=STEPS))
    state = tx.init(jnp.ones(()))
    assert "when(loss.reaches(0.1)).stop(): has heard nothing of what it reads" in why(policy, state)
    for value in (1.0, 1.0, 0.5, 0.5, 0.5):
        _, state = tx.update(jnp.ones(()), state, value=value)
    # It forgets on firing: 1.0 acts at update 1; 0.5 is then new at 2, and acts at 3; at 4 it is new again.
    assert why(policy, state) == (
        "before update 5: lr 0.25, with the gain 0.25 of the rules\n"
        "when(loss.plateaus(0)).scale(0.5): fired 2 times, last after update 3; heard 5 observations\n"
        "when(loss.reaches(0.1)).stop(): has not fired; heard 5 observations"
    )
    _, state = tx.update(jnp.ones(()), state, value=0.05)
    assert why(policy, state).splitlines()[0].endswith("; the run is done")
    assert why(policy, state).endswith("stop(): fired once, after update 5; heard 6 observations")
    with pytest.raises(LehrError, match="2 rules, got 1"):
        why(ONE_RULE, state)


def test_a_state_with_no_controller_or_two_is_refused() -> None:
    tx = controller(ONE_RULE, lr=1.0, steps=STEPS)
    state = tx.init(jnp.ones(()))
    for wrong, count in (((), 0), ((state, state), 2)):
        with pytest.raises(LehrError, match=f"must hold one controller of lehr.jax, got {count}"):
            controller_state(wrong)


def test_parts_of_the_parameters_have_a_controller_each() -> None:
    parts = {
        "head": controller("when(loss.reaches(0.5)).scale(0.1)", lr=1.0, steps=STEPS),
        "body": controller("constant(0.5)", lr=1.0, steps=STEPS),
    }
    tx = optax.partition(parts, {"a": "head", "b": "body"})
    parameters = {"a": jnp.ones(()), "b": jnp.ones(())}
    state = tx.init(parameters)
    seen = []
    for _ in range(2):
        updates, state = tx.update(parameters, state, parameters, value=0.4)
        seen.append([float(updates[name]) for name in parameters])
    assert seen == [[-1.0, -0.5], [float(-np.float32(0.1)), -0.5]]


# What optax's own reduce_on_plateau gets wrong


def their_scales(values: Any, parameters: Any = 1.0, **how: Any) -> list[float]:
    tx = optax.contrib.reduce_on_plateau(**how)
    state, scales, update = tx.init(parameters), [], jax.jit(tx.update)
    for value in values:
        _, state = update(parameters, state, value=value)
        scales.append(float(state.scale))
    return scales


def our_gains(values: Any, parameters: Any = 1.0, **how: Any) -> list[float]:
    tx = controller(lehr.reduce_on_plateau(lehr.loss, **how), lr=1.0, steps=STEPS)
    state, gains, update = tx.init(parameters), [], jax.jit(tx.update)
    for value in values:
        _, state = update(parameters, state, value=value)
        gains.append(float(state.gain))
    return gains


def test_a_negative_loss_that_stands_still_never_counts_as_a_plateau_in_optax() -> None:
    standing = [-1.0] * 30
    assert their_scales(standing, factor=0.5, patience=3) == [1.0] * 30
    # The first value is the best; four more in a row without improvement act: at update 4, and so at each fifth.
    assert our_gains(standing, factor=0.5, patience=3)[-1] == 0.5**6


def test_nan_counts_as_a_lack_of_improvement_in_optax() -> None:
    overflowing = [1.0, math.nan, math.nan, math.nan, 0.5]
    assert their_scales(overflowing, factor=0.5, patience=3)[-1] == 0.5
    assert our_gains(overflowing, factor=0.5, patience=2)[-1] == 1.0


def test_parameters_in_bfloat16_make_optax_cut_while_the_loss_falls() -> None:
    """It keeps the best loss in the parameters' type, three digits of it."""
    falling = [0.999**t for t in range(30)]
    parameters = jnp.ones((), jnp.bfloat16)
    assert their_scales(falling, factor=0.5, patience=3) == [1.0] * 30
    assert their_scales(falling, parameters, factor=0.5, patience=3)[-1] < 0.01
    assert our_gains(falling, parameters, factor=0.5, patience=2) == [1.0] * 30
