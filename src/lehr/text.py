"""Texts: the one serial form of every value, printed by `repr` and read by `parse`.

A text is a Python expression of public names. It is parsed with `ast` against a white-list and never evaluated:
literals, `*`, `+`, `|`, `&`, `~`, unary minus, the functions in `FUNCTIONS`, and the methods in `METHODS`. The prefix
`lehr.` is allowed.
"""

from __future__ import annotations

import ast
import copyreg
import difflib
import functools as ft
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from lehr import policy as policies
from lehr.errors import LehrError
from lehr.policy import Bind, Groups, Policy, PolicyLike
from lehr.rules import (
    Rule,
    Signal,
    Trigger,
    always,
    evaluation,
    greedy,
    guard,
    hypergradient,
    loss,
    metric,
    reduce_on_plateau,
    when,
)
from lehr.schedules import Schedule, maximum, minimum
from lehr.schedules.catalogue import CATALOGUE
from lehr.spelling import Value, brief, shown

__all__ = ["as_policy", "parse", "read_back"]

LONGEST = 10**6
DEEPEST = 100
LARGEST = int(sys.float_info.max)  # every number of a text is also a float

FUNCTIONS: dict[str, Callable[..., Any]] = {row.name: row.make for row in CATALOGUE} | {
    "Policy": Policy,
    "always": always,
    "bind": policies.bind,
    "maximum": maximum,
    "minimum": minimum,
    "evaluation": evaluation,
    "greedy": greedy,
    "groups": policies.groups,
    "guard": guard,
    "hypergradient": hypergradient,
    "metric": metric,
    "reduce_on_plateau": reduce_on_plateau,
    "when": when,
}
VALUES: dict[str, Value] = {"loss": loss}
METHODS: dict[type, tuple[str, ...]] = {
    Schedule: ("then", "fade", "scaled", "repeat", "clip", "staircase", "stretch", "reverse"),
    Signal: (
        "smoothed",
        "improves_less_than",
        "reaches",
        "at_least",
        "within_best",
        "plateaus",
        "derails",
        "sticks",
        "diverges",
        "improves_in_a_row",
        "greedy_lr",
        "steers",
        "stalls",
        "levels_off",
        "spikes",
    ),
    Rule: (
        "scale",
        "saturate",
        "relax",
        "follow",
        "begin",
        "stop",
        "rollback",
        "after",
        "rest",
        "at_most",
        "within",
        "every_time",
    ),
}
OPERATORS: dict[type, tuple[type, Callable[[Any, Any], Any]]] = {
    ast.Mult: (Schedule, lambda a, b: a * b),
    ast.Add: (Schedule, lambda a, b: a + b),
    ast.BitOr: (Trigger, lambda a, b: a | b),
    ast.BitAnd: (Trigger, lambda a, b: a & b),
}


def parse(text: str) -> Any:
    """Read a value from its text: the inverse of `repr`.

    Args:
        text: a Python expression of Lehr's public names, of fewer than 10^6 characters and at most 100 levels deep.

    Returns:
        The schedule, policy, rule, trigger or signal that the text says.

    Raises:
        LehrError: the text is not such an expression; an unknown name comes with the nearest known one.

    Example:
        >>> parse("warmup('2%').then(cosine(to=0.1))") == parse("lehr.warmup('2%').then(lehr.cosine(to=.1))")
        True
    """
    if not isinstance(text, str):
        raise LehrError(f"parse(text) must be given a text, got {type(text).__name__}")
    if len(text) >= LONGEST:
        raise LehrError(f"a text must have fewer than {LONGEST} characters, got {len(text)}")
    return _parsed(text, DEEPEST)


def read_back(text: str) -> Any:
    """Read what Lehr itself has printed, however long and deep it is: what could be saved can be loaded."""
    return _parsed(text, None)


def _parsed(text: str, deepest: int | None) -> Any:
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
        raise LehrError(
            f"cannot read {shown(text)}: {brief(error)}; a text looks like warmup('2%').then(cosine())"
        ) from None
    if deepest is not None:
        _check_depth(tree, deepest)
    try:
        value = _value(tree)
    except RecursionError:  # called from deep inside a program
        raise LehrError(f"cannot read {shown(text)}: too little of Python's stack is left") from None
    if _are_rules(value):
        raise LehrError(
            f"{shown(text)} gives rules, which need a schedule: Policy(constant(), rules={text.strip()[:80]})"
        )
    if not isinstance(value, Value):
        raise LehrError(f"{shown(text)} is no schedule, rule or policy; a text looks like warmup('2%').then(cosine())")
    return value


def as_policy(given: PolicyLike | str) -> Policy | Groups | Bind:
    """The one door: a policy, a schedule, a rule or the text of one, as a policy.

    Raises:
        LehrError: anything else, with what to write instead.
    """
    value = parse(given) if isinstance(given, str) else given
    if isinstance(value, Policy | Groups | Bind):
        return value
    if isinstance(value, Schedule):
        return Policy(value)
    if isinstance(value, Rule):
        return Policy(FUNCTIONS["constant"](), [value])
    if isinstance(value, Trigger | Signal):
        raise LehrError(f"{shown(value)} decides nothing yet; make a rule of it: when(...).scale(0.5)")
    if _are_rules(value):
        raise LehrError(f"rules need a schedule: Policy(constant(), rules=...), got {shown(value)}")
    raise LehrError(f"a policy, a schedule, a rule or a text is needed, got {shown(value)}")


def _are_rules(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(item, Rule) for item in value)


def _check_depth(tree: ast.AST, deepest: int) -> None:
    """Refuse deep nesting, without recursion. A chain of one operator is one level, as it prints flat."""
    stack = [(tree, 1)]
    while stack:
        node, depth = stack.pop()
        if depth > deepest:
            raise LehrError(f"a text may be at most {deepest} levels deep")
        for child in ast.iter_child_nodes(node):
            deeper = isinstance(child, ast.expr) and not isinstance(child, ast.Attribute | ast.Constant | ast.Name)
            stack.append((child, depth + (deeper and not _same_chain(node, child))))


def _same_chain(node: ast.AST, child: ast.AST) -> bool:
    return isinstance(node, ast.BinOp) and isinstance(child, ast.BinOp) and type(node.op) is type(child.op)


def _value(node: ast.AST) -> Any:
    if isinstance(node, ast.Constant):
        return _constant(node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return _negative(_value(node.operand))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Invert):
        return _inverted(_value(node.operand))
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.UAdd):
        return -_negative(_value(node.operand))
    if isinstance(node, ast.Dict):
        keys = [_key(key) for key in node.keys]
        if len(set(keys)) < len(keys):
            raise LehrError(f"a key is given more than once in {shown(_source(node))}; keep one")
        return dict(zip(keys, map(_value, node.values), strict=True))
    if isinstance(node, ast.BinOp):
        return _operation(node)
    if isinstance(node, ast.Call):
        return _call(node)
    if isinstance(node, ast.Name | ast.Attribute):
        name = _name(node)
        if name in VALUES:
            return VALUES[name]
        if name in FUNCTIONS:
            raise LehrError(f"{name} is a function; write {name}(...)")
        if name:
            raise LehrError(_unknown(name, [*VALUES, *FUNCTIONS]))
    raise LehrError(
        f"a text may hold numbers, quoted texts, lists, dicts, *, +, |, &, ~ and the functions and methods of lehr, "
        f"not {type(node).__name__}: {shown(_source(node))}"
    )


def _constant(value: Any) -> Any:
    if isinstance(value, int) and value > LARGEST:
        raise LehrError(f"a number in a text must be at most 1.8e308, got {shown(value)}")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise LehrError(f"a text may hold numbers and quoted texts, not {shown(value)}")


def _negative(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise LehrError(f"only a number can be negative, got -{shown(value)}")
    return -value


def _inverted(value: Any) -> Any:
    if not isinstance(value, Trigger):
        raise LehrError(f"only a trigger can be turned round with ~, got ~{shown(value)}")
    return ~value


def _key(node: ast.AST | None) -> Any:
    key = None if node is None else _value(node)
    if isinstance(key, bool) or not isinstance(key, int | float | str):
        raise LehrError(f"the key of a dict must be a length such as 100 or '30%', got {shown(key)}")
    return key


def _operation(node: ast.BinOp) -> Any:
    """A chain of one operator, from the left, without recursion."""
    wanted, operate = OPERATORS.get(type(node.op), (Value, None))
    if operate is None:
        raise LehrError(f"a text may use *, +, | and &, not {type(node.op).__name__}: {shown(_source(node))}")
    operands, left = [node.right], node.left
    while isinstance(left, ast.BinOp) and type(left.op) is type(node.op):
        operands.append(left.right)
        left = left.left
    values = [_value(item) for item in (left, *reversed(operands))]
    for value in values:
        if not isinstance(value, wanted):
            what = "* and + join schedules (for a number use .scaled(k))"
            what = what if wanted is Schedule else "| and & join triggers"
            raise LehrError(f"{what}, got {shown(value)} in {shown(_source(node))}")
    return ft.reduce(operate, values)


def _call(node: ast.Call) -> Any:
    function = _function(node.func)
    if any(isinstance(item, ast.Starred) for item in node.args) or any(k.arg is None for k in node.keywords):
        raise LehrError(f"a text may not use * or ** in a call: {shown(_source(node))}")
    names = [str(item.arg) for item in node.keywords]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise LehrError(f"{twice[0]}= is given more than once in {shown(_source(node))}; keep one")
    arguments = [_value(item) for item in node.args]
    keywords = {name: _value(item.value) for name, item in zip(names, node.keywords, strict=True)}
    try:
        return function(*arguments, **keywords)
    except TypeError as error:
        raise LehrError(f"{shown(_source(node))}: {brief(error)}") from None


def _function(node: ast.AST) -> Callable[..., Any]:
    name = _name(node)
    if name:
        if name not in FUNCTIONS:
            if name in VALUES:
                raise LehrError(f"{name} is a value, not a function; write {name} without brackets")
            raise LehrError(_unknown(name, list(FUNCTIONS)))
        return FUNCTIONS[name]
    if not isinstance(node, ast.Attribute):
        raise LehrError(f"only the functions of lehr can be called, got {shown(_source(node))}")
    receiver = _value(node.value)
    for kind, names in METHODS.items():
        if isinstance(receiver, kind):
            if node.attr not in names:
                raise LehrError(_unknown(node.attr, list(names), f"of {kind.__name__.lower()} {shown(receiver)}"))
            method: Callable[..., Any] = getattr(receiver, node.attr)
            return method
    raise LehrError(f"{shown(receiver)} has no method {shown(node.attr)}")


def _name(node: ast.AST) -> str:
    """A bare name, or one behind `lehr.`; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "lehr":
        return node.attr
    return ""


def _unknown(name: str, known: list[str], of: str = "") -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(known))}"
    return f"unknown {'method' if of else 'name'} {shown(name)}{' ' + of if of else ''}; {hint}"


def _source(node: ast.AST) -> str:
    try:
        return ast.unparse(node)
    except (RecursionError, ValueError):  # too deep to print: the message does without
        return type(node).__name__


def _full(value: Value) -> tuple[Callable[[str], Any], tuple[str]]:
    return read_back, (value.text(full=True),)


def _kinds(kind: type[Any]) -> Iterator[type[Any]]:
    """A class and all that derive from it."""
    yield kind
    for derived in kind.__subclasses__():
        yield from _kinds(derived)


for _base in (Schedule, Trigger, Rule, Signal, Policy, Groups, Bind):
    for _kind in _kinds(_base):
        copyreg.pickle(_kind, _full)  # a value is pickled as its text
