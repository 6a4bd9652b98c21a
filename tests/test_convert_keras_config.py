"""Configs of Keras without Keras: how they are recognised, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

import lehr

RATE = {"initial_learning_rate": 0.1, "decay_steps": 100, "decay_rate": 0.5}


def test_a_bare_config_is_known_by_its_name_or_its_keys() -> None:
    assert repr(lehr.convert(RATE | {"name": "ExponentialDecay"}).policy) == "exponential(0.5, per=100)"
    assert repr(lehr.convert(RATE | {"name": "InverseTimeDecay"}).policy) == "inverse_time(0.5, per=100)"
    assert repr(lehr.convert({"boundaries": [10], "values": [1.0, 0.1]}).policy) == "piecewise({0: 1, 11: 0.1})"
    assert repr(lehr.convert(RATE, kind="ExponentialDecay").policy) == "exponential(0.5, per=100)"


def test_the_decay_of_an_optimiser_divides_its_lr_or_its_schedule() -> None:
    plain = lehr.convert({"class_name": "SGD", "config": {"name": "SGD", "lr": 0.01, "decay": 1e-2, "momentum": 0.9}})
    assert (plain.lr, repr(plain.policy)) == (0.01, "inverse_time(0.01)")
    cosine = {
        "class_name": "PolynomialDecay",
        "config": {"initial_learning_rate": 0.1, "decay_steps": 100, "end_learning_rate": 0.02},
    }
    both = lehr.convert({"class_name": "SGD", "config": {"learning_rate": cosine, "decay": 1e-2}}, steps=150)
    lrs = lehr.simulate(both.policy, lr=0.1, steps=150).columns["lr"]
    for step, lr in ((0, 0.1), (50, 0.06 / 1.5), (100, 0.02 / 2), (140, 0.02 / 2.4)):
        assert lrs[step] == pytest.approx(lr, rel=1e-12)
    none = lehr.convert({"class_name": "SGD", "config": {"learning_rate": 0.01, "decay": 0.0}})
    assert repr(none.policy) == "constant()"


def test_an_optimiser_has_no_callback_for_its_lr() -> None:
    with pytest.raises(lehr.LehrError, match="must be a number or a schedule, got a callback"):
        lehr.convert({"class_name": "SGD", "config": {"lr": {"monitor": "val_loss"}, "decay": 0.1}})


def test_a_config_that_fits_two_classes_is_refused_with_both_names() -> None:
    with pytest.raises(lehr.LehrError, match=r"ExponentialDecay or InverseTimeDecay; give convert\(..., kind=...\)"):
        lehr.convert(RATE)


def test_a_warmup_without_a_target_has_no_effect_and_the_finding_says_so() -> None:
    found = lehr.convert(
        {"class_name": "CosineDecay", "config": {"initial_learning_rate": 0.1, "decay_steps": 10, "warmup_steps": 5}}
    )
    assert repr(found.policy) == "cosine(10)"
    assert [item.code for item in found.findings][:1] == ["C105"]


def test_a_cooldown_counts_one_observation_less_and_the_finding_says_so() -> None:
    found = lehr.convert({"monitor": "val_loss", "cooldown": 3})
    assert "flavor='keras', cooldown=3)" in repr(found.policy)
    (note,) = [item for item in found.findings if item.code == "C107"]
    assert "keeps 2 observations from counting" in note.reason


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"class_name": "MySchedule", "config": {}}, "none of the schedules"),
        ({"class_name": "ExponentialDecay", "config": RATE | {"decay_rate": 1.5}}, "grows for ever"),
        ({"class_name": "ExponentialDecay", "config": RATE | {"decay_steps": 0}}, "above 0"),
        ({"class_name": "ExponentialDecay", "config": RATE | {"decay_rate": "fast"}}, "must be a number"),
        ({"class_name": "ExponentialDecay", "config": {"decay_rate": 0.5}}, "needs initial_learning_rate"),
        ({"class_name": "ExponentialDecay", "config": RATE | {"decay": 3}}, "has no decay"),
        ({"class_name": "ExponentialDecay", "config": 3}, "must be a dict"),
        ({"class_name": "ExponentialDecay", "config": RATE | {"decay_steps": 2.5, "staircase": True}}, "whole number"),
        ({"boundaries": [1, 2], "values": [1.0]}, "one value more"),
        ({"monitor": "size"}, "which way 'size' is better"),
        ({"monitor": "val_loss", "factor": 1.5}, "between 0 and 1"),
    ],
)
def test_what_is_no_config_of_keras_is_refused(config: dict[str, Any], words: str) -> None:
    with pytest.raises(lehr.LehrError, match=words):
        lehr.convert(config)
