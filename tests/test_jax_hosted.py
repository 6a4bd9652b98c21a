"""`lehr.jax.hosted`: the decisions of a bare loop, bit by bit, from inside compiled updates."""

from __future__ import annotations

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lehr
import lehr.jax
from jax_hosted_task import ACCURACY, LOSSES, ONE, POLICY, STEPS, bare, fired, scan, start
from lehr.errors import LehrError

pytestmark = pytest.mark.frameworks


def test_the_bare_loop_of_these_tests_has_rules_that_fire() -> None:
    assert {event.rule.split(".")[0] for event in bare()[1].events if event.kind == "rule"} == {
        "when(loss",
        "when(metric('accuracy', best='max')",
    }


def test_inside_scan_every_lr_and_every_decision_is_that_of_a_bare_loop() -> None:
    run = start()
    optimizer = lehr.jax.hosted(run)
    state, lrs = scan(optimizer, optimizer.init(ONE), np.ones(STEPS), LOSSES, ACCURACY)
    expected, twin = bare()
    assert lrs == expected
    assert int(state.step) == STEPS == lehr.jax.settle(run, state).t
    assert fired(run) == fired(twin)
    assert run.state_dict() == twin.state_dict()


def test_updates_of_one_program_are_told_in_their_order() -> None:
    """Nothing but the state of one goes into the next, as the losses are known beforehand."""
    run = start()
    optimizer = lehr.jax.hosted(run)

    def updates(state: Any) -> Any:
        lrs = []
        for loss, right in zip(LOSSES[:40], ACCURACY[:40], strict=True):
            update, state = optimizer.update(ONE, state, value=loss, accuracy=right)
            lrs.append(-update)
        return jnp.stack(lrs)

    assert np.asarray(jax.jit(updates)(optimizer.init(ONE))).tolist() == bare()[0][:40]


@pytest.mark.parametrize("compiled", [True, False], ids=["jit", "eager"])
def test_one_call_an_update_is_the_same(compiled: bool) -> None:
    run, lrs = start(), []
    optimizer = optax.chain(optax.clip(1.0), lehr.jax.hosted(run))
    update = jax.jit(optimizer.update) if compiled else optimizer.update
    state = optimizer.init({"w": ONE})
    for loss, right in zip(LOSSES, ACCURACY, strict=True):
        updates, state = update({"w": ONE}, state, value=loss, accuracy=right)
        lrs.append(-float(updates["w"]))
    expected, twin = bare()
    assert lrs == expected
    assert lehr.jax.settle(run, state).state_dict() == twin.state_dict()
    assert float(optax.tree.get(state, "lr")) == expected[-1]


def test_accumulated_gradients_are_one_update_with_the_numbers_of_the_last_one() -> None:
    run = start()
    optimizer = optax.MultiSteps(lehr.jax.hosted(run), every_k_schedule=4)
    losses = np.zeros((STEPS, 4), np.float32)  # what is reported of the other micro-batches is not heard
    losses[:, 3] = LOSSES
    state, lrs = scan(optimizer, optimizer.init(ONE), np.ones(4 * STEPS), losses.ravel(), ACCURACY.repeat(4))
    expected, twin = bare()
    assert np.reshape(lrs, (STEPS, 4))[:, 3].tolist() == expected
    assert not np.reshape(lrs, (STEPS, 4))[:, :3].any()
    assert lehr.jax.settle(run, state).state_dict() == twin.state_dict()


def test_a_skipped_update_does_not_count_and_its_numbers_are_not_heard() -> None:
    run = start()
    optimizer = optax.apply_if_finite(lehr.jax.hosted(run), max_consecutive_errors=5)
    skipped = [0, 9, 10, 77]
    kept = np.delete(np.arange(STEPS + 4), skipped)
    gradients, losses, accuracy = np.full(STEPS + 4, np.nan), np.zeros(STEPS + 4, np.float32), np.ones(STEPS + 4)
    gradients[kept], losses[kept], accuracy[kept] = 1.0, LOSSES, ACCURACY
    state, lrs = scan(optimizer, optimizer.init(ONE), gradients, losses, accuracy.astype(np.float32))
    expected, twin = bare()
    assert np.take(lrs, kept).tolist() == expected
    assert np.take(lrs, skipped).tolist() == [0.0] * 4
    assert lehr.jax.settle(run, state).state_dict() == twin.state_dict()


@pytest.mark.parametrize("at", [1, 30, 77])
def test_a_run_that_was_killed_goes_on_with_new_objects_as_if_it_had_not_been(at: int) -> None:
    """With accumulation: the kill is in the middle of an update."""
    cut = 4 * at + 2
    rows = np.ones(4 * STEPS), LOSSES.repeat(4), ACCURACY.repeat(4)

    def optimizer_of(run: lehr.Controller) -> Any:
        return optax.MultiSteps(optax.chain(optax.scale_by_adam(), lehr.jax.hosted(run)), every_k_schedule=4)

    whole = start()
    optimizer = optimizer_of(whole)
    end, uninterrupted = scan(optimizer, optimizer.init(ONE), *rows)

    first = start()
    optimizer = optimizer_of(first)
    state, before = scan(optimizer, optimizer.init(ONE), *(row[:cut] for row in rows))
    saved = jax.tree.map(np.asarray, state), json.dumps(lehr.jax.settle(first, state).state_dict())
    del first, optimizer, state

    second = start()
    second.load_state_dict(json.loads(saved[1]))
    state, after = scan(optimizer_of(second), saved[0], *(row[cut:] for row in rows))
    assert before + after == uninterrupted
    assert lehr.jax.settle(second, state).state_dict() == lehr.jax.settle(whole, end).state_dict()
    assert second.t == STEPS


@pytest.mark.parametrize("name", ["hosted", "schedule"])
def test_accumulated_skipped_killed_and_resumed_in_one_run(name: str) -> None:
    """Three micro-batches an update, one more with a NaN gradient, and a kill in the middle of update 60."""

    def optimizer_of(run: lehr.Controller) -> Any:
        rate = lehr.jax.schedule(POLICY.schedule, 0.1, steps=STEPS)
        scale = lehr.jax.hosted(run) if name == "hosted" else optax.scale_by_learning_rate(rate)
        # `apply_if_finite` inside would not do: the NaN would stay in the sum of MultiSteps for ever (0 · NaN is NaN).
        return optax.MultiSteps(scale, every_k_schedule=3, should_skip_update_fn=optax.skip_not_finite)

    gradients, losses, accuracy = np.ones(3 * STEPS + 1), LOSSES.repeat(3), ACCURACY.repeat(3)
    gradients[61] = np.nan
    losses, accuracy = (np.insert(column, 61, 9.0) for column in (losses, accuracy))
    first = start()
    optimizer = optimizer_of(first)
    state, before = scan(optimizer, optimizer.init(ONE), gradients[:182], losses[:182], accuracy[:182])
    arrays, plain = jax.tree.map(np.asarray, state), json.dumps(first.state_dict())
    second = start()
    second.load_state_dict(json.loads(plain))
    state, after = scan(optimizer_of(second), arrays, gradients[182:], losses[182:], accuracy[182:])
    lrs = [lr for lr in before + after if lr]
    if name == "schedule":
        run, expected = lehr.start(POLICY.schedule, lr=0.1, steps=STEPS), []
        for _ in range(STEPS):
            expected.append(float(np.float32(run.lr)))
            run.step()
        assert lrs == expected
    else:
        expected, twin = bare()
        assert lrs == expected
        assert lehr.jax.settle(second, state).state_dict() == twin.state_dict()


def test_without_settling_the_last_numbers_are_in_the_saved_state() -> None:
    first = start()
    optimizer = lehr.jax.hosted(first)
    state, before = scan(optimizer, optimizer.init(ONE), np.ones(60), LOSSES[:60], ACCURACY[:60])
    assert first.t == 59
    second = start()
    second.load_state_dict(first.state_dict())
    state, after = scan(lehr.jax.hosted(second), state, np.ones(60), LOSSES[60:], ACCURACY[60:])
    assert before + after == bare()[0]


def test_a_run_that_goes_back_to_a_checkpoint_hears_other_numbers_from_there() -> None:
    run = lehr.start("Policy(constant(), rules=[when(loss.reaches(0.5)).scale(0.1)])", lr=1.0)
    optimizer = lehr.jax.hosted(run)
    updates = []
    saved = optimizer.init(ONE), run.state_dict()
    for losses in ([0.9, 0.8, 0.7], [0.9, 0.4, 0.7]):
        state = saved[0]
        run.load_state_dict(saved[1])
        for loss in losses:
            update, state = optimizer.update(ONE, state, value=loss)
            updates.append(float(update))
    assert updates == [-1.0] * 5 + [-np.float32(0.1)]


@pytest.mark.parametrize("forgotten", ["run", "opt_state"])
@pytest.mark.parametrize("compiled", [True, False], ids=["jit", "eager"])
def test_half_a_restored_checkpoint_is_refused_and_the_error_says_so(forgotten: str, compiled: bool) -> None:
    run = start()
    optimizer = lehr.jax.hosted(run)
    state, _ = scan(optimizer, optimizer.init(ONE), np.ones(50), LOSSES[:50], ACCURACY[:50])
    saved = lehr.jax.settle(run, state).state_dict()
    fresh = start()
    optimizer = lehr.jax.hosted(fresh)
    if forgotten == "opt_state":
        fresh.load_state_dict(saved)
        state = optimizer.init(ONE)
    update = jax.jit(optimizer.update) if compiled else optimizer.update
    counted = r"50 updates applied and the run 0" if forgotten == "run" else r"0 updates applied and the run 50"
    with pytest.raises(jax.errors.JaxRuntimeError, match=rf"LehrError: .*{counted}: restore both of one checkpoint"):
        float(update(ONE, state, value=0.5)[0])
    with pytest.raises(LehrError, match=counted):
        lehr.jax.settle(fresh, state)
    assert fresh.t == (0 if forgotten == "run" else 50)


def test_a_retried_update_has_the_same_lr_and_the_numbers_of_the_one_that_is_kept() -> None:
    run = lehr.start("Policy(constant(), rules=[when(loss.reaches(0.5)).scale(0.1)])", lr=1.0)
    optimizer = lehr.jax.hosted(run)
    state = optimizer.init(ONE)
    updates = [float(optimizer.update(ONE, state, value=loss)[0]) for loss in (0.1, 0.2)]
    _, state = optimizer.update(ONE, state, value=0.9)
    updates.append(float(optimizer.update(ONE, state, value=0.9)[0]))
    assert updates == [-1.0] * 3


def test_optax_keeps_a_nan_in_its_accumulator_and_never_updates_again() -> None:
    """Why the tests above skip a micro-batch by `should_skip_update_fn`."""
    optimizer = optax.MultiSteps(optax.apply_if_finite(optax.sgd(0.1), 10**6), every_k_schedule=2)
    gradients = np.ones(40, np.float32)
    gradients[3] = np.nan
    _, updates = scan(optimizer, optimizer.init(ONE), gradients, LOSSES[:40], ACCURACY[:40])
    assert updates[1] == pytest.approx(0.1)
    assert not any(update > 0 for update in updates[2:])
