"""Texts: what reads, what reads back, and that nothing but a `LehrError` comes of anything else."""

import ast
import inspect
import keyword
import os
import pickle
import random
import string
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import lehr
from lehr.errors import LehrError
from lehr.policy import Policy
from lehr.schedules.catalogue import CATALOGUE
from lehr.text import FUNCTIONS, METHODS, as_policy, parse

POLICIES = (
    "Policy(warmup('2%').then(cosine()), rules=[when(loss.improves_less_than(0.01, over='200 steps')).scale(0.5)])",
    "Policy(constant(), rules=[when(metric('accuracy', best='max').reaches(0.95)).saturate(eta=0.5)], min_lr=1e-6)",
    "when(evaluation('accuracy', every='1 epoch', best='max').reaches(0.97)).stop()",
    "when(metric('val_loss', best='min').plateaus(5)).scale(0.5).at_most(3).rest('2 epochs')",
    "when(loss.smoothed(20).plateaus(8) | loss.diverges()).begin(linear('10%'))",
    "when(loss.reaches(0.1) & metric('accuracy', best='max').reaches(0.9)).relax(eta=0.1).after('10%').every_time()",
    "when(always()).relax(eta=0.001, eps=1e-6)",
    "groups(head=cosine(), default=Policy(constant(), max_lr=[0.1, 0.2]))",
    "groups(cosine(), linear())",
    "bind(lr=cosine(), momentum=linear(start=0.85, to=0.95))",
)


@pytest.mark.parametrize("text", POLICIES)
def test_every_kind_of_value_reads_back_from_its_text(text: str) -> None:
    value = parse(text)
    for again in (repr(value), value.text(full=True)):
        assert parse(again) == value
        assert hash(parse(again)) == hash(value)
        assert repr(parse(again)) == repr(value)
    assert pickle.loads(pickle.dumps(value)) == value


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("lehr.warmup('2%').then(lehr.cosine(to=.1))", "warmup('2%').then(cosine(to=0.1))"),
        ("warmup('2 percent') . then(cosine( to = 1e-1, ), )", "warmup('2%').then(cosine(to=0.1))"),
        ("  cosine()\n", "cosine()"),
        ("(\n  cosine()  # half a wave\n)", "cosine()"),
        ("cosine().then(hold('5%')).then(linear('5%'))", "cosine().then(hold('5%'), linear('5%'))"),
        ("cosine() * (constant(.5) * constant(2))", "cosine() * constant(0.5) * constant(2)"),
        ("multistep((30, '60%'))", "multistep([30, '60%'])"),
        ("cosine_product(-0.5, 20)", "cosine_product(gamma=-.5, period='20 steps')"),
        ("cosine(100.0)", "cosine(100)"),
        ("cosine(1_000)", "cosine(1000)"),
        ("cosine(0x10)", "cosine(16)"),
        ("hold(None)", "hold()"),
        ("when(lehr.loss.reaches(1)).stop()", "when(loss.reaches(1)).stop()"),
    ],
)
def test_two_ways_to_write_one_value(text: str, same: str) -> None:
    assert parse(text) == parse(same)
    assert repr(parse(text)) == repr(parse(same))


@pytest.mark.parametrize(
    ("text", "short", "full"),
    [
        (
            "cosine(to=0.0, to_lr=None)",
            "cosine()",
            "cosine(None, power=1, k=1, cycles=0.5, to=0, to_lr=None, start=None)",
        ),
        (
            "cosine(300, to=0.1)",
            "cosine(300, to=0.1)",
            "cosine(300, power=1, k=1, cycles=0.5, to=0.1, to_lr=None, start=None)",
        ),
        ("step_decay(30, 0.1)", "step_decay(30)", "step_decay(30, gamma=0.1)"),
        ("exponential(0.5, per=1)", "exponential(0.5)", "exponential(0.5, per=1)"),
        (
            "piecewise({0: 1.0, '30%': 1e-3})",
            "piecewise({0: 1, '30%': 0.001})",
            "piecewise({0: 1, '30%': 0.001}, between='step')",
        ),
        (
            "cosine(5).repeat(None)",
            "cosine(5).repeat()",
            "cosine(5, power=1, k=1, cycles=0.5, to=0, to_lr=None, start=None).repeat(None, stretch=1, scale=1)",
        ),
        ("constant().clip(0, 5)", "constant().clip(high=5)", "constant(1).clip(0, high=5)"),
        (
            "warmup(5).scaled(2)",
            "warmup(5) * constant(2)",
            "warmup(5, shape='linear', start=0, zero_start=False) * constant(2)",
        ),
        (
            "wsd(50, '10%', 'linear')",
            "warmup(50).then(hold(), linear('10%'))",
            "warmup(50, shape='linear', start=0, zero_start=False)"
            ".then(hold(None), linear('10%', to=0, to_lr=None, start=None))",
        ),
    ],
)
def test_defaults_are_left_out_unless_the_full_text_is_asked_for(text: str, short: str, full: str) -> None:
    assert repr(parse(text)) == short
    assert parse(text).text(full=True) == full


def test_every_public_function_and_method_can_be_read() -> None:
    for row in CATALOGUE:
        assert FUNCTIONS[row.name] is row.make
    for name in FUNCTIONS:
        assert getattr(lehr, name) is FUNCTIONS[name]
        assert name in lehr.__all__
    for kind, names in METHODS.items():
        assert all(callable(getattr(kind, name)) for name in names)


def test_a_catalogue_row_shows_every_parameter_at_work() -> None:
    for row in CATALOGUE:
        calls = [ast.parse(text, mode="eval").body for text in row.examples]
        shown = [named(row.make, call) for call in calls if isinstance(call, ast.Call)]
        for name, parameter in inspect.signature(row.make).parameters.items():
            values = {repr(arguments.get(name, parameter.default)) for arguments in shown}
            assert len(values) > 1 or name == "function", f"{row.name}({name}=...)"


def named(function: Callable[..., Any], call: ast.Call) -> dict[str, Any]:
    """The arguments of a call in a text, by name."""
    positional = [ast.literal_eval(item) for item in call.args]
    by_name = {str(item.arg): ast.literal_eval(item.value) for item in call.keywords}
    return inspect.signature(function).bind(*positional, **by_name).arguments


@pytest.mark.parametrize(
    "given", ["cosine()", "when(loss.reaches(1)).stop()", "Policy(cosine())", "groups(cosine(), linear())"]
)
def test_one_door_takes_texts_and_values_of_policies_schedules_and_rules(given: str) -> None:
    assert as_policy(given) == as_policy(parse(given)) == as_policy(as_policy(given))
    if not given.startswith("groups"):
        assert isinstance(as_policy(given), Policy)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("loss", "loss decides nothing yet; make a rule of it: when"),
        ("loss.reaches(1)", r"loss\.reaches\(1\) decides nothing yet"),
        (0.1, "a policy, a schedule, a rule or a text is needed, got 0.1"),
        (None, "a policy, a schedule, a rule or a text is needed, got None"),
        ([], r"a policy, a schedule, a rule or a text is needed, got \[\]"),
    ],
)
def test_the_door_is_shut_to_all_else(given: Any, message: str) -> None:
    with pytest.raises(LehrError, match=message):
        as_policy(given)


BAD: list[tuple[Any, str]] = [
    # not a text, or none that can be read
    (None, r"parse\(text\) must be given a text, got NoneType"),
    (b"cosine()", "must be given a text, got bytes"),
    (7, "must be given a text, got int"),
    ("", "cannot read ''"),
    ("   ", "cannot read ' *'"),
    ("cosine(", "cannot read 'cosine\\('"),
    ("cosine())", "cannot read"),
    ("cosine() cosine()", "cannot read"),
    ("x = cosine()", "cannot read"),
    ("import os", "cannot read"),
    ("cosine();", "cannot read"),
    ("cosine()\ncosine()", "cannot read"),
    ("lambda", "cannot read"),
    ("cosine(\0)", "null bytes"),
    ("cosine('\ud800')", "cannot read .*surrogates not allowed"),
    ("\ufeffcosine()", "cannot read"),
    ("cosine(to=1, to=2)", "cannot read|given more than once"),
    (r"cosine('\d')", "cannot read|must be a number with a unit"),
    ("cosine(" + "9" * 5000 + ")", "cannot read .*|at most 1.8e308"),
    ("0" * 5000 + "1", "cannot read .*"),
    # numbers
    ("cosine(0x" + "f" * 5000 + ")", "a number in a text must be at most 1.8e308, got <int too large to print>"),
    ("cosine(to=-0x" + "f" * 400 + ")", "a number in a text must be at most 1.8e308"),
    ("constant(1e999)", "must be a finite number, got inf"),
    ("constant(-1e999)", "must be a finite number, got -inf"),
    ("constant(nan)", "unknown name 'nan'"),
    ("constant(1j)", "a text may hold numbers and quoted texts, not 1j"),
    ("constant(b'1')", "a text may hold numbers and quoted texts, not b'1'"),
    ("constant(...)", "a text may hold numbers and quoted texts, not Ellipsis"),
    ("constant(True)", "must be a finite number, got True"),
    ("constant('1')", "must be a finite number, got '1'"),
    ("constant(-'1')", "only a number can be negative, got -'1'"),
    ("constant(-True)", "only a number can be negative, got -True"),
    ("-cosine()", r"only a number can be negative, got -cosine\(\)"),
    ("cosine(to=+'1')", r"only a number can be negative, got -'1'"),
    ("constant(~1)", r"turned round with ~, got ~1"),
    ("piecewise({0: 1, 5: 0.3, 0: 0.5})", "a key is given more than once"),
    ("constant(1 - 1)", r"a text may use \*, \+, \| and &, not Sub: '1 - 1'"),
    ("constant(2 ** 3)", "not Pow"),
    ("constant(10**9**9**9)", "not Pow"),
    ("constant(1 * 2)", r"\* and \+ join schedules \(for a number use \.scaled\(k\)\), got 1"),
    # expressions that are not on the list
    ("(x := cosine())", "not NamedExpr"),
    ("lambda: cosine()", "not Lambda"),
    ("[cosine() for _ in [1]]", "not ListComp"),
    ("multistep([t for t in [1]])", "not ListComp"),
    ("multistep({1, 2})", "not Set"),
    ("cosine() if True else linear()", "not IfExp"),
    ("cosine() and linear()", "not BoolOp"),
    ("cosine() < linear()", "not Compare"),
    ("cosine()[0]", "not Subscript"),
    ("hold(f'{1} steps')", "not JoinedStr"),
    ("await cosine()", "cannot read|not Await"),
    ("(yield)", "cannot read|not Yield"),
    ("multistep([*[1, 2]])", "not Starred"),
    ("multistep(*[[1, 2]])", "may not use \\* or \\*\\* in a call"),
    ("cosine(**{'to': 0.1})", "may not use \\* or \\*\\* in a call"),
    ("piecewise({**{1: 2}})", "the key of a dict must be a length"),
    ("piecewise({[1]: 2})", r"the key of a dict must be a length such as 100 or '30%', got \[1\]"),
    ("piecewise({None: 2})", "the key of a dict must be a length"),
    ("piecewise({True: 2})", "the key of a dict must be a length"),
    # names
    ("cosin()", "unknown name 'cosin'; did you mean 'cosine'?"),
    ("lehr.cosin()", "unknown name 'cosin'; did you mean 'cosine'?"),
    ("warm_up(5)", "unknown name 'warm_up'; did you mean 'warmup'?"),
    ("Cosine()", "did you mean 'cosine'?"),
    ("CosineAnnealingLR(100)", "unknown name 'CosineAnnealingLR'"),
    ("zzzzzzz()", "unknown name 'zzzzzzz'; known are Policy, always, "),
    ("cosine", r"cosine is a function; write cosine\(\.\.\.\)"),
    ("loss()", "loss is a value, not a function; write loss without brackets"),
    ("los.reaches(1)", "unknown name 'los'; did you mean 'loss'?"),
    ("lehr", "unknown name 'lehr'"),
    ("lehr.lehr.cosine()", "unknown name"),
    ("torch.cosine()", "unknown name 'torch'"),
    ("__import__('os')", "unknown name '__import__'"),
    ("open('x')", "unknown name 'open'"),
    ("cosine().repaet(3)", r"unknown method 'repaet' of schedule cosine\(\); did you mean 'repeat'?"),
    ("cosine().resolve()", "unknown method 'resolve' of schedule"),
    ("cosine().__class__", "not Attribute: 'cosine\\(\\).__class__'"),
    ("cosine().__class__()", "unknown method '__class__'"),
    ("cosine().__reduce__()", "unknown method"),
    ("loss.__class__.__mro__", "not Attribute"),
    ("cosine().members", "not Attribute"),
    ("loss.reaches(1).stop()", "has no method 'stop'|unknown method 'stop'"),
    ("'a'.upper()", "'a' has no method 'upper'"),
    ("(5).bit_length()", "5 has no method 'bit_length'"),
    ("cosine()()", "only the functions of lehr can be called, got 'cosine\\(\\)'"),
    ("(cosine)()()", "only the functions of lehr can be called"),
    ("[cosine][0]()", "only the functions of lehr can be called"),
    # arguments
    ("cosine(1, 2, 3, 4, 5)", "too many positional arguments"),
    ("cosine(floor=1)", "unexpected keyword argument 'floor'"),
    ("cosine(self=1)", "unexpected keyword argument 'self'"),
    ("wsd(1, 2, 3, 4)", "wsd"),
    ("wsd(floor=1)", "unexpected keyword argument 'floor'"),
    ("cosine().clip(0, 1, 2)", "'cosine\\(\\).clip\\(0, 1, 2\\)': .*positional arguments"),
    ("cosine().then(5)", "must be given schedules, got 5"),
    ("cosine() * when(loss.reaches(1)).stop()", "join schedules"),
    ("cosine() | linear()", "join triggers, got cosine"),
    ("loss.reaches(1) | cosine()", r"join triggers, got cosine\(\)"),
    ("loss.reaches(1) * loss.reaches(2)", "join schedules"),
    ("Policy('cosine()')", "."),
    # values that are no policy
    ("5", "'5' is no schedule, rule or policy"),
    ("'cosine()'", "is no schedule, rule or policy"),
    ("[cosine()]", "is no schedule, rule or policy"),
    ("{1: cosine()}", "is no schedule, rule or policy"),
    ("None", "is no schedule, rule or policy"),
]


@pytest.mark.parametrize(("text", "message"), BAD, ids=lambda case: str(case)[:40].encode("unicode_escape").decode())
@pytest.mark.filterwarnings("ignore:invalid escape sequence")
def test_what_is_no_text(text: Any, message: str) -> None:
    with pytest.raises(LehrError, match=message) as caught:
        parse(text)
    assert 10 < len(str(caught.value)) < 700


DEEP = 10_000
MONSTERS = {
    "brackets": "(" * DEEP + "cosine()" + ")" * DEEP,
    "open brackets": "(" * DEEP,
    "lists": "[" * DEEP + "]" * DEEP,
    "dicts": "{1:" * DEEP + "1" + "}" * DEEP,
    "calls": "cosine(" * DEEP + ")" * DEEP,
    "unary minus": "constant(" + "-" * DEEP + "1)",
    "not": "not " * DEEP + "1",
    "power": "2**" * DEEP + "2",
    "attributes": "cosine()" + ".a" * DEEP,
    "attribute call": "cosine()" + ".a" * DEEP + "()",
    "methods": "cosine()" + ".clip(0, 1)" * DEEP,
    "nested methods": "warmup(1).then(" * DEEP + "cosine()" + ")" * DEEP,
    "subscripts": "cosine()" + "[0]" * DEEP,
    "products": "*".join(["constant()"] * DEEP),
    "sums": "+".join(["1"] * DEEP),
    "triggers": "|".join(["loss.reaches(1)"] * DEEP),
    "alternating": "loss.reaches(1)" + "|loss.reaches(1)&loss.reaches(1)" * DEEP,
    "comparisons": "1<" * DEEP + "1",
    "lambdas": "lambda:" * DEEP + "1",
    "conditions": "1 if 1 else " * DEEP + "1",
    "strings": "hold(" + "'5' " * DEEP + ")",
    "f-strings": "f'{" * 300 + "1" + "}'" * 300,
    "a megabyte": "cosine(" + " " * 10**6 + ")",
    "nearly a megabyte": "cosine(" + " " * (10**6 - 10) + ",,)",
    "a long name": "a" * (10**6 - 10),
    "a long text": "cosine('" + "a" * (10**6 - 20) + "')",
    "a long keyword": "cosine(" + "a" * (10**6 - 20) + "=1)",
    "a long method": "cosine()." + "a" * (10**6 - 20) + "()",
    "many keywords": "cosine(" + ",".join(f"k{i}=1" for i in range(50_000)) + ")",
    "many equal keywords": "cosine(" + ",".join(["to=1"] * 50_000) + ")",
    "many numbers": "multistep([" + "1," * 100_000 + "x])",
    "many lines": "cosine(" + "\n" * 500_000 + "x)",
    "digits": "cosine(" + "9" * (10**6 - 20) + ")",
    "hexadecimal digits": "cosine(0x" + "f" * (10**6 - 20) + ")",
    "decimals": "constant(0." + "9" * (10**6 - 30) + "e999)",
    "null bytes": "\0" * 10**5,
    "surrogates": "\ud800" * 10**5,
    "backslashes": "\\" * 10**5,
    "quotes": "'" * (10**5 + 1),
}


@pytest.mark.parametrize("name", MONSTERS)
def test_monsters_are_refused_quickly_and_briefly(name: str) -> None:
    with pytest.raises(LehrError) as caught:
        parse(MONSTERS[name])
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("levels", [90, 99, 100, 101, 150, 190])
def test_a_hundred_levels_are_read_and_more_are_refused(levels: int) -> None:
    text = "cosine(10)" + ".clip(0.1)" * (levels - 1)
    if levels <= 100:
        assert parse(repr(parse(text))) == parse(text)
    else:
        with pytest.raises(LehrError, match="a text may be at most 100 levels deep"):
            parse(text)


def test_a_flat_chain_is_not_deep() -> None:
    product = "*".join(["constant(1)"] * 500)
    sequence = "hold(1)" + ".then(hold(1))" * 90
    flat = "hold(1).then(" + ",".join(["hold(1)"] * 5000) + ")"
    for text in (product, sequence, flat):
        assert parse(repr(parse(text))) == parse(text)


def test_a_text_too_deep_for_what_is_left_of_the_stack_is_refused() -> None:
    text = "cosine(10)" + ".clip(0.1)" * 90

    def read_below(frames: int) -> Any:
        return outcome(text) if frames == 0 else read_below(frames - 1)

    left = sys.getrecursionlimit() - len(inspect.stack())
    outcomes = [read_below(frames) is not None for frames in range(0, left - 150, 25)]
    assert outcomes == sorted(outcomes, reverse=True)
    assert {*outcomes} == {True, False}


# Fuzz. LEHR_TEXTS=75000 draws more than 100,000 texts in all; 6000 draw about 8500.

DRAWN = int(os.environ.get("LEHR_TEXTS", "6000"))


def outcome(text: str) -> Any:
    """What `parse` makes of a text: a value whose text reads back, or a `LehrError`; anything else fails the test."""
    try:
        value = parse(text)
    except LehrError:
        return None
    assert parse(repr(value)) == value
    return value


TOKENS = [
    *FUNCTIONS,
    *(name for names in METHODS.values() for name in names),
    *keyword.kwlist,
    *"()[]{}.,:*|&-+=<>'\"\\\n\t #@%~^!?;$`",
    *[
        "lehr",
        "loss",
        "__class__",
        "0",
        "1",
        "1e999",
        "0.5",
        "0x1F",
        "1j",
        "'10%'",
        "'1 epoch'",
        "'x'",
        "f'{x}'",
        "to=",
    ],
    *["()", "(1)", "('10%')", "(0.5)", ".then(", " if 1 else ", ":=", "**", "...", "\0", "\ud800", "é", "٣", "ﬁ"],
]


@settings(max_examples=DRAWN // 4)
@given(st.lists(st.sampled_from(TOKENS), max_size=25).map("".join))
@example("cosine().then(cosine)")
@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_tokens_in_any_order_are_a_value_or_a_lehr_error(text: str) -> None:
    outcome(text)


@settings(max_examples=DRAWN // 12)
@given(st.text(max_size=60))
@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_any_characters_are_a_value_or_a_lehr_error(text: str) -> None:
    outcome(text)
    outcome(f"cosine({text})")


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_mutations_of_good_texts_are_a_value_or_a_lehr_error(texts: tuple[str, ...]) -> None:
    draw, read = random.Random(0), 0
    good = [*texts, *POLICIES]
    characters = string.printable + "\0\ud800é٣"
    for _ in range(DRAWN):
        text = draw.choice(good)
        for _ in range(draw.randint(1, 4)):
            at, kind = draw.randrange(len(text) + 1), draw.randrange(5)
            if kind == 0:
                text = text[:at] + draw.choice(characters) + text[at:]
            elif kind == 1:
                text = text[:at] + text[at + draw.randint(1, 8) :]
            elif kind == 2:
                text = text[:at] + draw.choice(TOKENS) + text[at:]
            elif kind == 3:
                other = draw.choice(good)
                text = text[:at] + other[draw.randrange(len(other)) :]
            else:
                text = text.replace(
                    draw.choice("0123456789"), draw.choice(["-1", "1e999", "0", "99999999999999999999", "'x'"])
                )
        read += outcome(text) is not None
    assert read > 200  # the mutations are near enough to good texts to reach beyond the first error


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_any_argument_in_any_place_is_a_value_or_a_lehr_error() -> None:
    numbers = ["-1", "0", "1", "0.5", "2", "1e308", "1e999", "10**2", "0x" + "f" * 300]
    plain = ["None", "True", "'10%'", "'3 epochs'", "'x'", "''", "[]", "[1]", "[[1]]", "['10%', 5]", "{}", "{1: 1}"]
    values = ["cosine()", "constant()", "loss", "loss.reaches(1)", "when(loss.reaches(1))", "Policy(cosine())"]
    arguments = [*numbers, *plain, *values, "{'x': []}", "when(loss.reaches(1)).stop()"]
    receivers = ["cosine()", "warmup(5)", "constant()", "loss", "metric('m', best='max')", "when(loss.reaches(1))"]
    heads = [*FUNCTIONS, *(f"{value}.{name}" for value in receivers for names in METHODS.values() for name in names)]
    for head in heads:
        outcome(f"{head}()")
        for argument in arguments:
            outcome(f"{head}({argument})")
            outcome(f"{head}(0.5, {argument})")
            outcome(f"{head}('m', best={argument})")


def test_parsing_never_runs_what_it_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError

    for name in ("eval", "exec", "compile"):
        monkeypatch.setattr(f"builtins.{name}", refuse)
    tree = ast.Expression(ast.Call(ast.Name("cosine"), [], []))
    monkeypatch.setattr(ast, "parse", lambda text, mode: tree)
    assert parse("cosine()") == lehr.cosine()


@pytest.mark.parametrize("given", ["guard()", lehr.guard(), "[when(loss.diverges()).stop()]"])
def test_rules_without_a_schedule_say_how_to_give_one(given: Any) -> None:
    with pytest.raises(lehr.LehrError, match=r"need a schedule: Policy\(constant\(\), rules="):
        as_policy(given)
