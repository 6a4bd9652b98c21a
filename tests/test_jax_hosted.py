"""`lehr.jax.hosted`: the decisions of a bare loop, bit by bit, from inside compiled updates."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lehr
import lehr.jax
from lehr.errors import LehrError

pytestmark = pytest.mark.frameworks

STEPS = 120
LOSSES = np.random.default_rng(0).normal(1.0, 0.01, STEPS).astype(np.float32)  # stands still: the rules fire
ACCURACY = np.linspace(0.5, 0.9, STEPS, dtype=np.float32)
POLICY = lehr.Policy(
    lehr.warmup(5).then(lehr.cosine(to=0.1)),
    rules=[
        lehr.when(lehr.loss.improves_less_than(0.05, over=30, risk=0.2)).scale(0.5),
        lehr.when(lehr.metric("accuracy", best="max").reaches(0.8)).saturate(eta=0.5, eps=1e-3),
    ],
    min_lr=1e-4,
)
ONE = jnp.ones(())


def start() -> lehr.Controller:
    return lehr.start(POLICY, lr=0.1, steps=STEPS)


def bare(losses: Any = LOSSES, accuracy: Any = ACCURACY) -> tuple[list[float], lehr.Controller]:
    """The LR of each update of a bare loop, rounded to float32, and its run."""
    run, lrs = start(), []
    for loss, right in zip(losses, accuracy, strict=True):
        lrs.append(float(np.float32(run.lr)))
        run.step(loss=float(loss), accuracy=float(right))
    return lrs, run


def fired(run: lehr.Controller) -> list[str]:
    return [str(event) for event in run.events]


def scan(optimizer: Any, state: Any, gradients: Any, losses: Any, accuracy: Any) -> tuple[Any, list[float]]:
    """The state and −updates after one compiled call a loss."""

    def call(state: Any, row: Any) -> Any:
        gradient, loss, right = row
        updates, state = optimizer.update(gradient, state, ONE, value=loss, accuracy=right)
        return state, -updates

    rows = jnp.asarray(gradients, jnp.float32), jnp.asarray(losses), jnp.asarray(accuracy)
    state, lrs = jax.jit(lambda state: jax.lax.scan(call, state, rows))(state)
    return state, np.asarray(lrs).tolist()


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


# What is reported


def test_no_report_and_a_report_of_nan_are_two_things() -> None:
    run = lehr.start(lehr.Policy(lehr.constant(), [lehr.when(lehr.loss.diverges()).scale(0.5)]), lr=1.0)
    heard: list[dict[str, float]] = []
    run.subscribe(lambda step, lrs, numbers: heard.append(numbers), on="steps")
    optimizer = lehr.jax.hosted(run)
    state = optimizer.init(ONE)
    lrs = []
    for report in ({}, {"value": np.nan}, {"value": None}, {"loss": 1.0}, {}):
        updates, state = jax.jit(optimizer.update)(ONE, state, **report)
        lrs.append(-float(updates))
    assert lrs == [1.0, 1.0, 0.5, 0.5, 0.5]
    assert str(heard) == "[{}, {'loss': nan}, {}, {'loss': 1.0}]"


def test_a_metric_may_be_new_at_some_updates_only() -> None:
    heard: list[dict[str, float]] = []
    run = lehr.start(
        lehr.Policy(lehr.constant(), [lehr.when(lehr.metric("val", best="min").plateaus(3)).stop()]), lr=1.0
    )
    run.subscribe(lambda step, lrs, numbers: heard.append(numbers), on="steps")
    optimizer = lehr.jax.hosted(run)
    state = optimizer.init(ONE)
    update = jax.jit(lambda state, value, new: optimizer.update(ONE, state, val=lehr.jax.report(value, when=new))[1])
    for value, new in ((0.5, False), (0.25, True), (0.5, False)):
        state = update(state, value, new)
    lehr.jax.settle(run, state)
    assert heard == [{}, {"val": 0.25}, {}]


def test_numbers_are_widened_exactly_whatever_their_type() -> None:
    heard: list[float] = []
    run = lehr.start("constant()", lr=1.0)
    run.subscribe(lambda step, lrs, numbers: heard.extend(numbers.values()), on="steps")
    optimizer = lehr.jax.hosted(run)
    state = optimizer.init(ONE)
    reports: list[Any] = [jnp.bfloat16(0.1), jnp.float16(0.1), jnp.float32(0.1), 7, np.full((1, 1), 0.1, np.float32)]
    for value in reports:
        _, state = optimizer.update(ONE, state, value=value)
    lehr.jax.settle(run, state)
    assert heard == [float(np.asarray(value).item()) for value in reports]


def test_other_transformations_may_mean_what_no_rule_reads() -> None:
    run = lehr.start("constant()", lr=1.0)
    heard: list[set[str]] = []
    run.subscribe(lambda step, lrs, numbers: heard.append(set(numbers)), on="steps")
    optimizer = lehr.jax.hosted(run, names=["grad_norm"])
    _, state = optimizer.update(ONE, optimizer.init(ONE), value=0.5, grad=ONE, value_fn=len, grad_norm=2.0)
    lehr.jax.settle(run, state)
    assert heard == [{"loss", "grad_norm"}]


def test_a_report_is_one_number_given_once() -> None:
    optimizer = lehr.jax.hosted(start())
    state = optimizer.init(ONE)
    with pytest.raises(LehrError, match=r"value must be one number, got an array of the shape \(3,\); give its .mean"):
        jax.jit(optimizer.update)(ONE, state, value=jnp.ones(3))
    with pytest.raises(LehrError, match="gives the loss twice"):
        optimizer.update(ONE, state, value=1.0, loss=1.0)


def test_with_64_bits_lr_and_numbers_are_float64() -> None:
    heard: list[float] = []
    run = lehr.start("Policy(constant(), rules=[when(loss.reaches(0.1)).scale(0.1)])", lr=0.1)
    run.subscribe(lambda step, lrs, numbers: heard.extend(numbers.values()), on="steps")
    with jax.enable_x64(True):
        optimizer = lehr.jax.hosted(run)
        updates, state = jax.jit(optimizer.update)(jnp.ones(()), optimizer.init(jnp.ones(())), value=0.1)
        assert float(updates) == -0.1
        updates, _ = jax.jit(optimizer.update)(jnp.ones(()), state, value=0.1)
    assert heard == [0.1]
    assert float(updates) == -run.lr


# Between the updates


def test_settled_it_hears_what_the_host_measures_between_updates() -> None:
    """Validation every 10 updates, outside the compiled function; the run ends where the bare loop ends."""
    text = "Policy(constant(), rules=[when(metric('val', best='min').plateaus(patience=2)).begin(linear(20))])"
    run, twin = (lehr.start(text, lr=1.0, steps=500) for _ in range(2))
    optimizer = lehr.jax.hosted(run)
    update, state, lrs, expected = jax.jit(optimizer.update), optimizer.init(ONE), [], []
    while not lehr.jax.settle(run, state).done:
        if run.t % 10 == 9:
            run.observe(val=1.0)
        updates, state = update(ONE, state)
        lrs.append(-float(updates))
    while not twin.done:
        if twin.t % 10 == 9:
            twin.observe(val=1.0)
        expected.append(float(np.float32(twin.lr)))
        twin.step()
    assert lrs == expected
    assert len(lrs) < 100
    assert fired(run) == fired(twin)


def test_a_function_that_evaluates_the_model_is_called_outside_the_compiled_update() -> None:
    policy = "Policy(constant(), rules=[when(evaluation('accuracy', every=2, best='max').reaches(0.9)).stop()])"
    weights = {"now": ONE}
    run = lehr.start(policy, lr=0.25, steps=50, evaluate={"accuracy": lambda: 1.0 - float(weights["now"])})
    optimizer = lehr.jax.hosted(run)
    update, state = jax.jit(optimizer.update), optimizer.init(ONE)
    while not lehr.jax.settle(run, state).done:
        updates, state = update(ONE, state)
        weights["now"] = optax.apply_updates(weights["now"], updates)
    assert run.t == 4  # at 1 - 4·0.25 = 0
    assert "0.9" in run.events[-1].words


def test_without_settling_it_is_refused() -> None:
    policy = "Policy(constant(), rules=[when(evaluation('accuracy', every=2, best='max').reaches(0.9)).stop()])"
    optimizer = lehr.jax.hosted(lehr.start(policy, lr=1.0, steps=50, evaluate={"accuracy": lambda: 1.0}))
    _, state = optimizer.update(ONE, optimizer.init(ONE))
    with pytest.raises(jax.errors.JaxRuntimeError, match=r"LehrError: accuracy is evaluated .*call settle\(run"):
        float(optimizer.update(ONE, state)[0])


# Several


def test_one_run_may_stand_behind_several_labels() -> None:
    run = start()
    parts = {"a": optax.chain(optax.scale_by_adam(), lehr.jax.hosted(run)), "b": lehr.jax.hosted(run)}
    optimizer = optax.partition(parts, {"x": "a", "y": "b"})
    update, state, lrs = jax.jit(optimizer.update), optimizer.init({"x": ONE, "y": ONE}), []
    for loss, right in zip(LOSSES, ACCURACY, strict=True):
        updates, state = update({"x": ONE, "y": ONE}, state, value=loss, accuracy=right)
        lrs.append(-float(updates["y"]))
    expected, twin = bare()
    assert lrs == expected
    assert lehr.jax.settle(run, state).state_dict() == twin.state_dict()


@pytest.mark.parametrize(("policy", "lr"), [("cosine()", [0.1, 0.2]), ("bind(lr=cosine(), momentum=constant())", 0.1)])
def test_a_run_of_more_than_one_lr_is_refused(policy: str, lr: Any) -> None:
    count = len(lr) if isinstance(lr, list) else 1
    run = lehr.start(policy, lr=lr, steps=10, hyper={"momentum": [0.9] * count})
    with pytest.raises(LehrError, match=r"needs a run of one LR.*optax.partition"):
        lehr.jax.hosted(run)


def test_many_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(LehrError, match="works in one process, not 2"):
        lehr.jax.hosted(start()).init(ONE)


def test_settle_needs_the_state_of_the_run() -> None:
    with pytest.raises(LehrError, match="found no state of hosted"):
        lehr.jax.settle(start(), optax.adam(0.1).init(ONE))


DEVICES = """
import time
import jax, jax.numpy as jnp, numpy as np, lehr, lehr.jax
from jax.sharding import NamedSharding, PartitionSpec as P
mesh = jax.make_mesh((2,), ("d",))
data = jax.device_put(jnp.arange(4.0), NamedSharding(mesh, P("d")))
everywhere = NamedSharding(mesh, P())
def start():
    return lehr.start("Policy(cosine(), rules=[when(loss.reaches(20)).scale(0.5)])", lr=0.1, steps=40)
def sharded(run, body):
    optimizer = lehr.jax.hosted(run)
    w, state = jax.device_put((jnp.ones(()), optimizer.init(jnp.ones(()))), everywhere)
    def update(w, state, data):
        loss = body(jnp.sum((data * w) ** 2)) + 10 * w
        updates, state = optimizer.update(jnp.ones(()), state, value=loss)
        return w + updates, state, loss, -updates
    return w, state, update
rows = {}
run = start()
w, state, update = sharded(run, lambda x: x)
rows["jit"] = [run, w, state, jax.jit(update)]
run = start()
run.subscribe(lambda *told: time.sleep(0.01), on="steps")  # both devices ask in the meantime
w, state, update = sharded(run, lambda x: jax.lax.psum(x, "d"))
specs = dict(mesh=mesh, in_specs=(P(), P(), P("d")), out_specs=P(), check_vma=False)
rows["shard_map"] = [run, w, state, jax.jit(jax.shard_map(update, **specs))]
for name, (run, w, state, update) in rows.items():
    twin, same = start(), True
    for _ in range(40):
        w, state, loss, lr = update(w, state, data)
        same &= {float(part.data) for part in lr.addressable_shards} == {float(np.float32(twin.lr))}
        twin.step(loss=float(loss))
    print(name, same, lehr.jax.settle(run, state).state_dict() == twin.state_dict(), len(twin.events))
"""


def test_on_two_devices_it_is_told_once() -> None:
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", DEVICES], capture_output=True, text=True, check=False, env=environment, timeout=100
    )
    assert done.stdout.splitlines() == ["jit True True 1", "shard_map True True 1"], done.stderr


def test_optax_keeps_a_nan_in_its_accumulator_and_never_updates_again() -> None:
    """Why the tests above skip a micro-batch by `should_skip_update_fn`."""
    optimizer = optax.MultiSteps(optax.apply_if_finite(optax.sgd(0.1), 10**6), every_k_schedule=2)
    gradients = np.ones(40, np.float32)
    gradients[3] = np.nan
    _, updates = scan(optimizer, optimizer.init(ONE), gradients, LOSSES[:40], ACCURACY[:40])
    assert updates[1] == pytest.approx(0.1)
    assert not any(update > 0 for update in updates[2:])
