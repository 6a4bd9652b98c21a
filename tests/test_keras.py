"""Keras 3: a policy as an optimiser's LR and a callback, against a loop by hand, on the torch and the JAX backend.

A process has one backend: it is torch here, and the last test runs this file again on JAX.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lehr
from keras_task import BATCHES, BROKEN, LR, SIZE, acted, by_hand, data, neuron, recorder
from lehr.errors import LehrError

pytestmark = [
    pytest.mark.peers,
    pytest.mark.filterwarnings("ignore:The `save_format` argument", "ignore:__array__ implementation doesn't accept"),
]

LOSS_RULE = "when(loss.reaches(4)).scale(0.5)"
VAL_RULE = "when(metric('val_loss', best='min').plateaus(1, margin=1e9, flavor='keras')).scale(0.7).at_most(1)"
POLICY = f"Policy(warmup(4).then(cosine(to=0.1)), rules=[{LOSS_RULE}, {VAL_RULE}])"
HELD_OUT = data(seed=1, batches=2)


@pytest.fixture(scope="module")
def keras() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_BACKEND", os.environ.get("KERAS_BACKEND", "torch"))
        import keras
    return keras


@pytest.fixture(scope="module")
def Recorder(keras: Any) -> Any:
    return recorder(keras)


class Killed(Exception):
    pass


def killer(keras: Any, at: int) -> Any:
    class Killer(keras.callbacks.Callback):  # type: ignore[misc]
        batches = 0

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.batches += 1
            if self.batches == at:
                raise Killed

    return Killer()


def fit(model: Any, x: Any, y: Any, epochs: int, *callbacks: Any, **how: Any) -> Any:
    how = {"validation_data": HELD_OUT, **how}
    return model.fit(x, y, batch_size=SIZE, epochs=epochs, shuffle=False, verbose=0, callbacks=list(callbacks), **how)


def schedule(policy: str, **how: Any) -> Any:
    from lehr.keras import Schedule

    return Schedule(policy, lr=LR, steps=40, **how)


def feedback(**how: Any) -> Any:
    from lehr.keras import Feedback

    return Feedback(**how)


def run_of(model: Any) -> Any:
    from lehr.keras import run_of

    return run_of(model)


def numbers_of(run: Any) -> list[tuple[int, dict[str, float]]]:
    """What the run hears from now on."""
    heard: list[tuple[int, dict[str, float]]] = []
    run.subscribe(lambda step, lrs, numbers: heard.append((step, numbers)) if numbers else None, on="steps")
    return heard


def test_a_schedule_and_feedback_drive_the_lr_of_a_bare_loop(keras: Any, Recorder: Any) -> None:
    hand = by_hand(POLICY, 3)
    assert [rule.split(")")[0] for _, rule in hand["acted"]] == [
        "when(loss.reaches(4",
        "when(metric('val_loss', best='min'",
    ]
    model = neuron(keras, Recorder(schedule(POLICY)))
    fit(model, *data(), 3, feedback())
    assert model.optimizer.lrs() == hand["lrs"]
    assert (run_of(model).t, acted(run_of(model))) == (hand["t"], hand["acted"])


def test_accumulation_skipped_updates_and_a_kill_in_mid_epoch_change_nothing(
    keras: Any, Recorder: Any, tmp_path: Path
) -> None:
    hand = by_hand(POLICY, 3, accumulate=2, broken=True)
    assert (hand["t"], len(hand["acted"])) == (3 * (BATCHES - 1) // 2, 2)
    saves = keras.callbacks.ModelCheckpoint(tmp_path / "model.keras", save_freq=BATCHES + 4)
    optimizer = Recorder(schedule(POLICY, accumulate=2), gradient_accumulation_steps=2)
    model = neuron(keras, keras.optimizers.LossScaleOptimizer(optimizer))
    x, y = data(broken=True)
    with pytest.raises(Killed):
        fit(model, x, y, 3, saves, feedback(), killer(keras, at=BATCHES + 7))  # it saves before we have heard

    restored = keras.models.load_model(tmp_path / "model.keras")
    assert run_of(restored).t == (2 * BATCHES - 1 - (BATCHES - 4)) // 2  # and half an update
    heard = numbers_of(run_of(restored))
    fit(restored, x[4 * SIZE :], y[4 * SIZE :], 1, feedback())  # the rest of the second epoch
    fit(restored, x, y, 1, feedback())
    assert restored.optimizer.inner_optimizer.lrs() == hand["lrs"]
    assert run_of(restored).t == hand["t"]
    losses = [numbers["loss"] for _, numbers in heard if "loss" in numbers]
    np.testing.assert_allclose(losses, hand["losses"][-len(losses) :], rtol=1e-3)  # float32, in another order
    # The journal begins anew, with the last decision of each rule.
    assert sorted(acted(run_of(restored))) == sorted(hand["acted"])
    assert int(restored.optimizer.inner_optimizer._iterations) == 3 * (BATCHES - 1)


def test_backup_and_restore_brings_the_memory_of_the_rules_too(keras: Any, Recorder: Any, tmp_path: Path) -> None:
    hand = by_hand(POLICY, 3)

    def begin() -> Any:
        model = neuron(keras, Recorder(schedule(POLICY)))
        return model, keras.callbacks.BackupAndRestore(tmp_path / "backup")

    model, backup = begin()
    with pytest.raises(Killed):
        fit(model, *data(), 3, backup, feedback(), killer(keras, at=2 * BATCHES + 3))
    model, backup = begin()
    fit(model, *data(), 3, backup, feedback())
    assert model.optimizer.lrs() == hand["lrs"]
    assert acted(run_of(model)) == hand["acted"]


def test_rules_hear_the_loss_of_each_update_where_keras_shows_the_mean_of_the_epoch(keras: Any) -> None:
    hand = by_hand("constant()", 2)
    model = neuron(keras, keras.optimizers.SGD(schedule(f"Policy(constant(), rules=[{LOSS_RULE.replace('4', '0')}])")))
    heard, shown = numbers_of(run_of(model)), []
    fit(
        model,
        *data(),
        2,
        feedback(),
        keras.callbacks.LambdaCallback(on_train_batch_end=lambda b, logs: shown.append(logs["loss"])),
    )
    losses = [numbers["loss"] for _, numbers in heard if "loss" in numbers]
    np.testing.assert_allclose(losses, hand["losses"], rtol=1e-4)  # float32, added in another order
    means = [np.mean(hand["losses"][i - i % BATCHES : i + 1]) for i in range(2 * BATCHES)]
    np.testing.assert_allclose(shown, means, rtol=1e-4)
    assert shown[BATCHES - 1] > 2 * losses[BATCHES - 1]


def test_after_a_loss_that_is_nan_rules_hear_the_next_one_where_keras_shows_nan_to_the_end(keras: Any) -> None:
    x, y = data()
    y[BROKEN * SIZE] = np.nan
    model = neuron(keras, keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(schedule(POLICY))))
    heard, shown = numbers_of(run_of(model)), []
    fit(
        model,
        x,
        y,
        1,
        feedback(),
        keras.callbacks.LambdaCallback(on_train_batch_end=lambda b, logs: shown.append(logs["loss"])),
    )
    assert np.isfinite(shown).tolist() == [True] * BROKEN + [False] * (BATCHES - BROKEN)
    losses = [numbers["loss"] for _, numbers in heard if "loss" in numbers]
    assert len(losses) == BATCHES - 1
    assert np.isfinite(losses).all()


def test_metrics_are_heard_when_they_are_new(keras: Any) -> None:
    model = neuron(keras, keras.optimizers.SGD(schedule(POLICY)), metrics=["mae"])
    heard = numbers_of(run_of(model))
    history = fit(model, *data(), 4, feedback(), validation_freq=2).history
    epochs = [(step, numbers) for step, numbers in heard if "loss" not in numbers]
    assert [(step, sorted(numbers)) for step, numbers in epochs] == [
        (BATCHES, ["epoch_loss", "mae"]),
        (2 * BATCHES, ["val_loss", "val_mae"]),
        (2 * BATCHES, ["epoch_loss", "mae"]),
        (3 * BATCHES, ["epoch_loss", "mae"]),
        (4 * BATCHES, ["val_loss", "val_mae"]),
        (4 * BATCHES, ["epoch_loss", "mae"]),
    ]
    assert [numbers["val_loss"] for _, numbers in epochs if "val_loss" in numbers] == history["val_loss"]
    assert [numbers["epoch_loss"] for _, numbers in epochs if "epoch_loss" in numbers] == history["loss"]


def test_a_stop_ends_fit_with_the_update_that_asked_for_it(keras: Any, Recorder: Any) -> None:
    policy = "Policy(constant(), rules=[when(loss.reaches(2)).stop()])"
    hand = by_hand(policy, 3)
    assert hand["t"] % BATCHES not in (0, 1)
    model = neuron(keras, Recorder(schedule(policy)))
    fit(model, *data(), 3, feedback())
    assert model.optimizer.lrs() == hand["lrs"]
    with pytest.raises(LehrError, match=r"a rule has stopped this run at update .*new Schedule"):
        fit(model, *data(), 1, feedback())


def test_evaluations_are_functions_of_the_model(keras: Any) -> None:
    rule = "when(evaluation('bias', every=5, best='max').reaches(1e9)).stop()"
    model = neuron(keras, keras.optimizers.SGD(schedule(f"Policy(constant(), rules=[{rule}])")))
    with pytest.raises(LehrError, match=r"evaluation\('bias'\).*Feedback\(evaluate="):
        fit(model, *data(), 1, feedback())
    heard = numbers_of(run_of(model))

    def bias(model: Any) -> float:
        return float(keras.ops.convert_to_numpy(model(np.zeros((1, 4), np.float32), training=False))[0, 0])

    fit(model, *data(), 1, feedback(evaluate={"bias": bias}))
    assert [step for step, numbers in heard if "bias" in numbers] == [4, 9]
    x, y = data()
    again = neuron(keras, keras.optimizers.SGD(LR))
    again.fit(x[: 10 * SIZE], y[: 10 * SIZE], batch_size=SIZE, shuffle=False, verbose=0)
    assert [n["bias"] for _, n in heard if "bias" in n][-1] == pytest.approx(bias(again), rel=1e-5)


# A policy without rules


def test_a_policy_without_rules_needs_no_callback_and_no_memory(keras: Any, Recorder: Any, tmp_path: Path) -> None:
    policy = "Policy(warmup(4).then(cosine()), min_lr=0.02)"
    model = neuron(keras, Recorder(schedule(policy)))
    fit(model, *data(), 1)
    model.save_weights(tmp_path / "model.weights.h5")
    again = neuron(keras, Recorder(schedule(policy)))
    again.optimizer.build(again.trainable_variables)
    again.load_weights(tmp_path / "model.weights.h5")
    fit(again, *data(), 1)
    fit(again, *data(), 1, feedback())
    hand = by_hand(policy, 3)
    assert again.optimizer.lrs() == hand["lrs"]
    assert run_of(again).t == hand["t"]


def test_a_schedule_is_exact_where_a_float32_cannot_count_the_steps(keras: Any) -> None:
    from lehr.keras import Schedule

    steps, far = 2**25, 2**24 + 2 * np.arange(4) + 1
    ours = Schedule("cosine(to=0.5)", lr=1.0, steps=steps)
    curve = lehr.cosine(to=0.5).resolve(steps=steps)
    counts = [keras.ops.convert_to_tensor(t, "int32") for t in far]
    assert [float(ours(count)) for count in counts] == [float(np.float32(curve(int(t)))) for t in far]
    theirs = keras.optimizers.schedules.InverseTimeDecay(1.0, 1, 1e9)  # falls at every step
    assert len({float(theirs(count - near)) for count in counts[:1] for near in (0, 1)}) == 1


def test_under_accumulation_a_schedule_of_keras_runs_too_fast(keras: Any, Recorder: Any) -> None:
    theirs = keras.optimizers.schedules.PiecewiseConstantDecay([1], [0.2, 0.1])  # 0.2 for two updates, it says
    model = neuron(keras, Recorder(theirs, gradient_accumulation_steps=4))
    fit(model, *data(), 1)
    assert model.optimizer.lrs() == [np.float32(0.1)] * 3
    ours = schedule("piecewise({0: 1, 2: 0.5})", accumulate=4)
    model = neuron(keras, Recorder(ours, gradient_accumulation_steps=4))
    fit(model, *data(), 1)
    assert model.optimizer.lrs() == [np.float32(0.2), np.float32(0.2), np.float32(0.1)]


# What Keras's own callback does


def test_keras_refuses_a_schedule_with_feedback(keras: Any) -> None:
    theirs = keras.callbacks.ReduceLROnPlateau(patience=1, min_delta=1e9)
    cosine = keras.optimizers.schedules.CosineDecay(LR, 40)
    with pytest.raises(TypeError, match="not settable"):
        fit(neuron(keras, keras.optimizers.SGD(cosine)), *data(), 4, theirs)
    rule = "when(metric('val_loss', best='min').plateaus(1, margin=1e9, flavor='keras')).scale(0.1).at_most(1)"
    model = neuron(keras, keras.optimizers.SGD(schedule(f"Policy(cosine(), rules=[{rule}])")))
    fit(model, *data(), 3, feedback())
    factor = lehr.cosine().resolve(steps=40)(3 * BATCHES)
    assert float(model.optimizer.learning_rate) == np.float32(LR * factor * 0.1)


def test_keras_forgets_what_its_callback_counted_when_fit_goes_on(keras: Any) -> None:
    theirs = keras.callbacks.ReduceLROnPlateau(patience=2, min_delta=1e9)
    model = neuron(keras, keras.optimizers.SGD(LR))
    for epoch in range(6):
        fit(model, *data(), epoch + 1, theirs, initial_epoch=epoch)
    assert float(model.optimizer.learning_rate) == np.float32(LR)
    rule = "when(metric('val_loss', best='min').plateaus(2, margin=1e9, flavor='keras')).scale(0.1).at_most(1)"
    model = neuron(keras, keras.optimizers.SGD(schedule(f"Policy(constant(), rules=[{rule}])")))
    for epoch in range(6):
        fit(model, *data(), epoch + 1, feedback(), initial_epoch=epoch)
    assert float(model.optimizer.learning_rate) == pytest.approx(LR * 0.1)


# Saving


def test_a_config_makes_the_same_schedule(keras: Any) -> None:
    from lehr.keras import Schedule

    first = Schedule(POLICY, lr=LR, horizon=lehr.Horizon(epochs=3, steps_per_epoch=BATCHES), accumulate=2)
    config = json.loads(json.dumps(first.get_config()))
    again = Schedule.from_config(config)
    assert again.get_config() == config
    assert again.run.policy == lehr.parse(POLICY)
    assert (again.run.horizon, again.accumulate) == (first.run.horizon, 2)
    optimizer = keras.optimizers.Adam.from_config(keras.optimizers.Adam(first).get_config())
    assert float(optimizer.learning_rate) == np.float32(LR / 4)


def test_weights_go_between_models_with_and_without_a_schedule_of_ours(keras: Any, tmp_path: Path) -> None:
    decay = keras.optimizers.schedules.CosineDecay(LR, 40)
    ours, theirs = (neuron(keras, keras.optimizers.SGD(lr)) for lr in (schedule(POLICY), decay))
    fit(ours, *data(), 1, feedback())
    fit(theirs, *data(), 1)
    ours.save_weights(tmp_path / "ours.weights.h5")
    theirs.save_weights(tmp_path / "theirs.weights.h5")
    plain, fresh = (neuron(keras, keras.optimizers.SGD(lr)) for lr in (decay, schedule(POLICY)))
    plain.load_weights(tmp_path / "ours.weights.h5")
    np.testing.assert_array_equal(plain.get_weights()[0], ours.get_weights()[0])
    feedback().set_model(fresh)
    fresh.load_weights(tmp_path / "theirs.weights.h5")
    np.testing.assert_array_equal(fresh.get_weights()[0], theirs.get_weights()[0])
    assert (int(plain.optimizer.iterations), int(fresh.optimizer.iterations)) == (BATCHES, BATCHES)


def test_weights_without_the_memory_of_the_rules_are_refused(keras: Any, tmp_path: Path) -> None:
    model = neuron(keras, keras.optimizers.SGD(schedule(POLICY)))
    fit(model, *data(), 1, feedback())
    optimizer = [variable.numpy() for variable in model.optimizer.variables]
    again = neuron(keras, keras.optimizers.SGD(schedule(POLICY)))
    again.optimizer.build(again.trainable_variables)
    for variable, value in zip(again.optimizer.variables, optimizer, strict=True):
        variable.assign(value)
    with pytest.raises(LehrError, match=r"applied 12 updates, and the rules have heard of 0: .*load_model"):
        fit(again, *data(), 1, feedback())
    model.save_weights(tmp_path / "model.weights.h5")
    again = neuron(keras, keras.optimizers.SGD(schedule(POLICY)))
    again.optimizer.build(again.trainable_variables)
    callback = feedback()
    callback.set_model(again)
    again.load_weights(tmp_path / "model.weights.h5")
    assert run_of(again).state_dict() == run_of(model).state_dict()
    fit(again, *data(), 1, callback)
    model.optimizer.learning_rate = schedule(POLICY)
    with pytest.raises(LehrError, match="applied 12 updates"):
        fit(model, *data(), 1, feedback())


def test_a_changed_policy_is_an_explicit_choice(keras: Any) -> None:
    model = neuron(keras, keras.optimizers.SGD(schedule(POLICY)))
    fit(model, *data(), 1, feedback())
    old = run_of(model)
    new = schedule(POLICY.replace("0.1", "0.2"))
    with pytest.raises(LehrError, match="the saved run differs: policy"):
        new.run.load_state_dict(old.state_dict())
    new.run.load_state_dict(old.state_dict(), on_change="use_new_no_jump")
    model.compile(optimizer=model.optimizer, loss="mse")
    model.optimizer.learning_rate = new
    fit(model, *data(), 1, feedback())
    assert (new.run.t, new.run.lr > 0) == (2 * BATCHES, True)


# Refusals


def test_what_cannot_be_right_is_refused(keras: Any) -> None:
    with pytest.raises(LehrError, match="whole number of at least 1, got 0"):
        schedule("cosine()", accumulate=0)
    with pytest.raises(LehrError, match="one LR for all parameters"):
        schedule("groups(cosine(), linear())")
    with pytest.raises(LehrError, match="EarlyStopping"):
        schedule("Policy(constant(), rules=[when(loss.diverges()).rollback()])")
    with pytest.raises(LehrError, match="has no schedule of Lehr's"):
        fit(neuron(keras, keras.optimizers.SGD(LR)), *data(), 1, feedback())
    wrong = neuron(keras, keras.optimizers.SGD(schedule("cosine()"), gradient_accumulation_steps=4))
    with pytest.raises(LehrError, match=r"accumulates 4 micro-batches .* the schedule 1; give .*accumulate=4"):
        fit(wrong, *data(), 1, feedback())


def test_rules_without_feedback_are_refused(keras: Any) -> None:
    model = neuron(keras, keras.optimizers.SGD(schedule(POLICY)))
    with pytest.raises(LehrError, match=r"has rules, which hear of the training by a callback: .*Feedback\(\)"):
        fit(model, *data(), 1)


@pytest.mark.parametrize(
    ("before", "words"),
    [
        ("import sys; sys.modules['keras'] = None", "needs keras, which is not installed; pip install 'lehr[keras]'"),
        ("import os; os.environ.pop('KERAS_BACKEND', 0)", "set KERAS_BACKEND=torch or jax"),
    ],
)
def test_what_is_missing_is_named(before: str, words: str, tmp_path: Path) -> None:
    environment = {**os.environ, "KERAS_HOME": str(tmp_path)}
    code = f"{before}\nimport lehr.keras"
    told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "MissingExtra: " in told.stderr.splitlines()[-1]
    assert words in told.stderr.splitlines()[-1]


def test_all_of_this_holds_on_the_other_backend(keras: Any) -> None:
    other = {"torch": "jax", "jax": "torch"}[keras.backend.backend()]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-m",
        "peers",
        "-k",
        "not other_backend and not is_missing",
        __file__,
    ]
    told = subprocess.run(
        command, env={**os.environ, "KERAS_BACKEND": other}, capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stdout
