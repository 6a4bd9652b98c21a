"""The built-in policies are texts that Lehr reads back to the same text, and each does what its label says."""

import numpy as np
import pytest

import lehr
from lehr.errors import LehrError
from lehr.study.policies import NamedPolicy, built_in, named

POLICIES = {policy.label: policy.text for policy in built_in("accuracy", "max", 0.9)}


@pytest.mark.parametrize("label", POLICIES)
def test_text_round_trips(label: str) -> None:
    value = lehr.parse(POLICIES[label])
    assert lehr.parse(repr(value)) == value


def test_the_control_comes_first_and_all_six_methods_are_there() -> None:
    assert list(POLICIES) == [
        "constant",
        "step decay",
        "exponential decay",
        "cosine decay",
        "loss-based",
        "metric-based",
        "performance-based",
        "warm-up + cosine",
        "WSD, 1-sqrt",
        "linear to zero",
    ]


@pytest.mark.parametrize(
    ("label", "at", "expected"),
    [  # at: share of a run of 1000 steps
        ("constant", 0.999, 1.0),
        ("step decay", 0.299, 1.0),
        ("step decay", 0.300, 0.1),
        ("step decay", 0.950, 0.001),
        ("exponential decay", 0.5, 0.1),
        ("cosine decay", 0.5, 0.5),
        ("warm-up + cosine", 0.0, 0.02),
        ("warm-up + cosine", 0.05, 1.0),
        ("WSD, 1-sqrt", 0.5, 1.0),
        ("WSD, 1-sqrt", 0.85, 0.5),  # a quarter into the decay: 1 − sqrt(1/4)
        ("linear to zero", 0.75, 0.25),
    ],
)
def test_the_shape_is_the_one_of_the_label(label: str, at: float, expected: float) -> None:
    policy = lehr.as_policy(POLICIES[label])
    assert isinstance(policy, lehr.Policy)
    curve = policy.resolve(steps=1000)
    assert curve(round(at * 1000)) == pytest.approx(expected, rel=1e-9)
    assert np.isfinite(curve(np.arange(1000))).all()


def test_without_a_threshold_two_policies_are_left_out() -> None:
    left = {policy.label for policy in built_in("accuracy", "max", None)}
    assert set(POLICIES) - left == {"metric-based", "performance-based"}


@pytest.mark.parametrize(
    ("text", "label", "policy"),
    [
        ("cosine(to=0.1)", "cosine(to=0.1)", "cosine(to=0.1)"),
        ("mine=cosine(to=0.1)", "mine", "cosine(to=0.1)"),
        (" my own = linear(to=0) ", "my own", "linear(to=0)"),
        ("cosine()", "cosine()", "cosine()"),
    ],
)
def test_a_user_may_name_a_policy(text: str, label: str, policy: str) -> None:
    assert named(text) == NamedPolicy(label, policy)


@pytest.mark.parametrize("text", ["=cosine()", "mine=", " = "])
def test_half_a_name_is_refused(text: str) -> None:
    with pytest.raises(LehrError, match="TEXT or LABEL=TEXT"):
        named(text)
