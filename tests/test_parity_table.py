"""docs/parity.md, which `pytest --write-parity` writes, names what it must, and what it names can be read."""

from __future__ import annotations

import ast
import re
from typing import NamedTuple

import numpy as np

import lehr
from parity import TABLE, TOLERANCE
from parity_coverage import COVERAGE


class Row(NamedTuple):
    """A row of the table under its peer."""

    peer: str
    function: str
    template: str
    text: str
    outcome: str


def rows() -> list[Row]:
    """All rows of the page."""
    found = []
    for section in TABLE.read_text(encoding="utf-8").split("\n## ")[1:]:
        peer = section.partition(" (")[0]
        found += [
            Row(peer, *cells) for cells in re.findall(r"^\| `(.+?)` \| `(.+?)` \| `(.+?)` \| (.+) \|$", section, re.M)
        ]
    return found


def test_every_function_of_every_peer_has_a_row() -> None:
    named = {(row.peer, row.function) for row in rows()}
    assert named == {(peer.name, function) for peer in COVERAGE for function in peer.functions}


def test_no_peer_is_without_functions() -> None:
    assert [peer.name for peer in COVERAGE if not peer.functions] == []


def test_every_example_is_a_schedule() -> None:
    run = lehr.Horizon(epochs=10, steps_per_epoch=10)
    for row in rows():
        values = lehr.parse(row.text).resolve(run, lr=0.1)(np.arange(1000))
        assert np.isfinite(values).all(), row


def test_every_example_is_its_expression_with_numbers_for_the_words() -> None:
    for row in rows():
        assert is_instance(ast.parse(row.template), ast.parse(row.text)), row


def is_instance(general: ast.AST, special: ast.AST) -> bool:
    """Whether the trees are equal but for literals in the places of words."""
    if isinstance(general, ast.Name) and isinstance(special, ast.Name):  # of a function
        return general.id == special.id or general.id not in lehr.__all__
    if isinstance(general, ast.Name):
        return not isinstance(special, ast.Call | ast.Attribute)
    if isinstance(general, ast.Constant) and isinstance(general.value, str):
        return isinstance(special, ast.Constant) and isinstance(special.value, str)
    if type(general) is not type(special):
        return False
    pairs = zip(ast.iter_child_nodes(general), ast.iter_child_nodes(special), strict=True)
    own = [
        getattr(general, name) == getattr(special, name) for name in ("value", "attr", "arg") if plain(general, name)
    ]
    return all(own) and all(is_instance(*pair) for pair in pairs)


def plain(node: ast.AST, name: str) -> bool:
    """Whether a node has a field of this name that is no node."""
    return hasattr(node, name) and not isinstance(getattr(node, name), ast.AST)


def test_errors_are_within_what_is_allowed_and_faults_name_numbers() -> None:
    for row in rows():
        fault = r"\*\*fault\*\*: .+ \(step \d+: (no LR|\S+·LR), right is \S+·LR\)"
        assert re.fullmatch(fault, row.outcome) or float(row.outcome) <= TOLERANCE, row
