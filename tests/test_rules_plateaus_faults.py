"""Faults of the peers' reduce-on-plateau: there in the peer, the same in its flavor, and not in Lehr.

torch, Keras and optax are asked as they are installed, Paddle and fastai as they are published (`plateau_peers`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import pytest

import plateau_peers as peers
from lehr.rules.plateaus import Flavor
from plateau_peers import Case, ours, rule_of

NAN, INF = math.nan, math.inf
PEERS = {"torch": peers.torch, "keras": peers.keras, "optax": peers.optax, "paddle": peers.paddle}
PEERS["fastai"] = peers.fastai
MARKS = {
    "torch": [pytest.mark.frameworks],
    "optax": [pytest.mark.frameworks],
    "keras": [pytest.mark.frameworks, pytest.mark.peers],
    "paddle": [],
    "fastai": [],
}


class Fault(NamedTuple):
    name: str
    cuts: dict[Flavor, list[int]]  # of each peer that has it: the values at which it cuts
    lehr: list[int]  # at which Lehr does
    values: list[float]
    case: Case = Case(patience=2, margin=0.01)


FALLING = [1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65]
NEGATIVE = Case(patience=3, margin=0.01)
FAULTS = [
    Fault(
        "a NaN counts as a bad epoch",
        {"torch": [3, 6], "keras": [2, 4, 6], "optax": [2, 4, 6], "paddle": [3, 6], "fastai": [2, 4, 6]},
        [],
        [1.0] + [NAN] * 7,
    ),
    Fault(
        "a first NaN is the best value for ever", {"keras": [2, 4], "paddle": [3]}, [], [NAN, 1.0, 0.9, 0.8, 0.7, 0.6]
    ),
    Fault("a first infinity is never improved on", {"paddle": [3]}, [], [INF, 1.0, 0.9, 0.8, 0.7, 0.6]),
    Fault(
        "after one minus infinity nothing is an improvement",
        {"torch": [4, 7], "keras": [3, 5, 7], "optax": [3, 5, 7], "paddle": [4, 7], "fastai": [3, 5, 7]},
        [],
        [1.0, -INF, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4],
    ),
    Fault(
        "a constant negative value never cuts",
        {"torch": [], "optax": [], "paddle": []},
        [4, 9],
        [-1.0] * 12,
        NEGATIVE,
    ),
    Fault(
        "a constant negative score never cuts",
        {"torch": [], "paddle": []},
        [4, 9],
        [-1.0] * 12,
        NEGATIVE._replace(best="max"),
    ),
    Fault(
        "a negative value that gets worse counts as an improvement",
        {"torch": [], "optax": [], "paddle": []},
        [4, 9],
        [-1.0 + 0.001 * k for k in range(12)],
        NEGATIVE,
    ),
    Fault(
        "patience 5 tolerates four",
        {"keras": [5], "optax": [5], "fastai": [5]},
        [6],
        [1.0] * 8,
        Case(patience=5, margin=0.01),
    ),
    Fault(
        "patience 0 cuts at improvements, and at nothing else",
        {"optax": [0, 1, 2]},
        [3],
        [1.0, 0.9, 0.8, 0.8, 0.8],
        Case(patience=0, margin=0.01),
    ),
    Fault(
        "the last value of a cooldown counts",  # of 3 and 4 the second: 5 is the second bad one
        {"keras": [2, 5, 8]},
        [3, 9],  # 4 and 5 do not count, 6 is the new best, 7 to 9 are one more than tolerated
        [1.0] * 10,
        Case(patience=2, margin=0.01, cooldown=2),
    ),
    Fault(
        "a lucky value in a cooldown is the bar ever after",
        {"torch": [3, 9], "keras": [2, 6, 10], "optax": [2, 7]},
        [3],
        [1.0, 1.0, 1.0, 1.0, 0.1, 1.0, 1.0, 0.9, 0.85, 0.8, 0.75, 0.7],
        Case(patience=2, margin=0.01, cooldown=3),
    ),
    Fault(
        "one lucky value cuts again and again while the rest falls",
        {
            "torch": [4, 7],
            "keras": [3, 5, 7, 9],
            "optax": [3, 5, 7, 9],
            "paddle": [4, 7],
            "fastai": [3, 5, 7, 9],
        },
        [4],
        [1.0, 0.1, *FALLING],
    ),
    Fault(
        "an absolute margin does not see a small value fall",
        {"keras": [2, 4, 6], "fastai": [2, 4, 6]},
        [],
        [1e-5 * 0.9**k for k in range(8)],
        Case(patience=2, margin=1e-4),
    ),
    Fault(
        "float32 does not see a large value fall",
        {"keras": [2], "optax": [2]},
        [],
        [1e9 - 10 * k for k in range(5)],
        Case(patience=2, margin=1e-4, mode="abs"),
    ),
    Fault(
        "one NaN spoils a whole mean",
        {"optax": [3]},
        [],
        [1.0, 1.0, 0.9, NAN, 0.8, 0.8, 0.7, 0.7],
        Case(patience=1, margin=0.01, average=2),
    ),
]


def cuts(lrs: Sequence[float]) -> list[int]:
    return [i for i, (before, after) in enumerate(pairwise([1.0, *lrs])) if after < before]


@pytest.mark.parametrize(
    ("peer", "fault"),
    [
        pytest.param(peer, fault, id=f"{peer}: {fault.name}", marks=MARKS[peer])
        for fault in FAULTS
        for peer in fault.cuts
    ],
)
def test_a_fault_of_a_peer_is_in_its_flavor_and_not_in_lehr(
    peer: Flavor, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")  # read when Keras is imported
    case = fault.case._replace(mode="abs") if peer in ("keras", "fastai") else fault.case
    assert cuts(PEERS[peer](case, fault.values)) == fault.cuts[peer]
    assert cuts(ours(rule_of(peer, case), fault.values)) == fault.cuts[peer]
    assert cuts(ours(rule_of("lehr", fault.case), fault.values)) == fault.lehr != fault.cuts[peer]
