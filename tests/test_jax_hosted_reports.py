"""`lehr.jax.hosted`: what is reported to the run, and what the host does between compiled updates."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lehr
import lehr.jax
from jax_hosted_task import ONE, fired, start
from lehr.errors import LehrError

pytestmark = pytest.mark.frameworks


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


# What it refuses


@pytest.mark.parametrize(("policy", "lr"), [("cosine()", [0.1, 0.2]), ("bind(lr=cosine(), momentum=constant())", 0.1)])
def test_a_run_of_more_than_one_lr_is_refused(policy: str, lr: Any) -> None:
    count = len(lr) if isinstance(lr, list) else 1
    run = lehr.start(policy, lr=lr, steps=10, hyper={"momentum": [0.9] * count})
    with pytest.raises(LehrError, match=r"needs a run of one LR.*optax.partition"):
        lehr.jax.hosted(run)


def test_settle_needs_the_state_of_the_run() -> None:
    with pytest.raises(LehrError, match="found no state of hosted"):
        lehr.jax.settle(start(), optax.adam(0.1).init(ONE))


@pytest.mark.parametrize(
    ("rule", "weights"),
    [("when(loss.diverges()).rollback(scale=0.5)", 1.0), ("when(loss.reaches(0.5)).stop(weights='best')", 0.9)],
)
def test_rules_that_restore_weights_are_refused_and_the_remedy_works(rule: str, weights: float) -> None:
    kept = {"w": 1.0}
    done: list[str] = []

    def restore(action: Any, event: Any) -> str:
        done.append(event.kind)
        kept["w"] = weights
        return "restored"

    run = lehr.start(rule, lr=0.1, steps=9, carry_out=restore)
    with pytest.raises(LehrError, match=r"restores weights.*give run.lr to it as an argument.*run.step\(loss=float"):
        lehr.jax.hosted(run)
    update = jax.jit(lambda w, lr: (w - lr, w))
    for loss in (0.9, float("nan") if "rollback" in rule else 0.4):
        kept["w"], _ = update(kept["w"], run.lr)
        run.step(loss=loss)
    assert done == ["rule"]
    assert kept["w"] == weights
    assert (run.lr, run.done) == ((0.05, False) if "rollback" in rule else (0.1, True))


def test_a_new_plan_with_a_rule_that_restores_weights_is_refused_at_the_next_update() -> None:
    run = lehr.start("constant()", lr=0.1, steps=9, carry_out=lambda action, event: "")
    optimizer = lehr.jax.hosted(run)
    _, state = optimizer.update(ONE, optimizer.init(ONE), value=0.5)
    run.replan("when(loss.diverges()).rollback()")
    with pytest.raises(jax.errors.JaxRuntimeError, match=r"LehrError: .*restores weights"):
        float(optimizer.update(ONE, state, value=0.5)[0])


def test_a_new_plan_that_reads_what_is_not_brought_is_refused_and_goes_on_where_it_is() -> None:
    plan = "when(metric('accuracy', best='max').reaches(0.8)).scale(0.5)"
    run = lehr.start("constant()", lr=0.5, steps=9)
    optimizer = lehr.jax.hosted(run)
    _, state = optimizer.update(ONE, optimizer.init(ONE), value=0.5, accuracy=0.9)
    lehr.jax.settle(run, state).replan(plan)
    with pytest.raises(jax.errors.JaxRuntimeError, match=r"rules that read accuracy.*names=\['accuracy'\]"):
        float(optimizer.update(ONE, state, value=0.5, accuracy=0.9)[0])

    run = lehr.start("constant()", lr=0.5, steps=9)
    optimizer = lehr.jax.hosted(run, names=["accuracy"])
    state = optimizer.init(ONE)
    run.replan(plan)
    updates = []
    for _ in range(2):
        update, state = optimizer.update(ONE, state, value=0.5, accuracy=0.9)
        updates.append(float(update))
    assert updates == [-0.5, -0.25]


@pytest.mark.parametrize("given", ["cosine()", lehr.cosine()])
def test_a_policy_that_is_not_running_is_refused(given: Any) -> None:
    with pytest.raises(LehrError, match=r"needs a run, got .*cosine.*lehr.start\(policy"):
        lehr.jax.hosted(given)


def test_one_name_that_is_not_in_a_list_is_refused() -> None:
    with pytest.raises(LehrError, match=r"list of names, got 'accuracy': names=\['accuracy'\]"):
        lehr.jax.hosted(start(), names="accuracy")
