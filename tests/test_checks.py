"""Every check of a policy or a loader finds what it must, and is silent on the nearest case that is right."""

from __future__ import annotations

from typing import Any

import pytest

import lehr
from lehr import Finding, Horizon
from lehr.checks.catalogue import CHECKS, LOG

ROWS = {row.code: row for row in CHECKS}
EPOCHS = Horizon(steps=50_000, steps_per_epoch=500)
IMAGENET = {"horizon": Horizon(epochs=90, steps_per_epoch=5004)}
VALIDATION = "metric('val_loss', best='min')"
RULE = "when(metric('acc', best='max').reaches(0.9))"

Case = tuple[str, dict[str, Any] | Horizon]

# code → (what it must find, the nearest that it must not find); those of a log are in test_checks_log.py
CASES: dict[str, tuple[list[Case], list[Case]]] = {
    "LR101": (
        [("constant(0)", {"steps": 10}), ("Policy(cosine(), max_lr=0)", {"steps": 10, "lr": 0.1})],
        [("constant(1e-3)", {"steps": 10}), ("Policy(constant(0), min_lr=0.1)", {"steps": 10})],
    ),
    "LR102": (
        [("warmup(10, zero_start=True).then(linear())", {"steps": 100})],
        [
            ("warmup(10).then(linear())", {"steps": 100}),
            ("warmup(10, start=0.1, zero_start=True).then(linear())", {"steps": 100}),
            ("constant(0)", {"steps": 100}),
        ],
    ),
    "LR103": (
        [("linear(98)", {"steps": 100}), ("linear(98, to=0).then(hold())", {"steps": 100})],
        [("linear(100)", {"steps": 100}), ("linear()", {"steps": 100}), ("linear(98, to=0.1)", {"steps": 100})],
    ),
    "LR104": (
        [("warmup(100)", {"steps": 100}), ("warmup(200).then(linear())", {"steps": 100})],
        [("warmup(99)", {"steps": 100})],
    ),
    "LR105": ([("warmup(51)", {"steps": 100})], [("warmup(50)", {"steps": 100}), ("warmup(100)", {"steps": 100})]),
    "LR106": (
        [("warmup(5).then(linear())", {"steps": 50_000})],
        [("warmup(5).then(linear())", {"steps": 5000}), ("warmup('0.01%').then(linear())", {"steps": 50_000})],
    ),
    # γ^t = 1e-8 at t = 890 of 1000 (11 % are left) and at 910 (9 % are)
    "LR107": (
        [(f"exponential({10 ** (-8 / 890)!r})", {"steps": 1000})],
        [
            (f"exponential({10 ** (-8 / 910)!r})", {"steps": 1000}),
            (f"exponential({10 ** (-8 / 890)!r}).clip(0.01)", {"steps": 1000}),
            (f"Policy(exponential({10 ** (-8 / 890)!r}), min_lr=1e-6)", {"steps": 1000}),
            ("cosine(500)", {"steps": 1000}),
        ],
    ),
    "LR108": (
        [
            ("cosine(94)", {"steps": 100}),
            ("linear(50).then(constant(0))", {"steps": 100}),
            ("linear(50, to=1e-3)", {"steps": 100}),
            ("linear(49, to=0.4)", {"steps": 100}),
            ("warmup(100).then(cosine(900, to=0.1))", {"steps": 10_000, "lr": 3e-4}),
            ("cosine(90, to=0.01)", IMAGENET | {"lr": 0.1}),
        ],
        [
            ("cosine(96)", {"steps": 100}),
            ("linear(50, to=0.01)", {"steps": 100}),
            ("linear(49, to=0.6)", {"steps": 100}),
            ("warmup(100).then(hold(300))", {"steps": 1000}),
            ("warmup(100).then(cosine(900, to=0.1), hold())", {"steps": 10_000}),
            ("step_decay('30%')", {"steps": 1000}),
            ("Policy(cosine(50), min_lr=1e-3)", {"steps": 100, "lr": 0.1}),
        ],
    ),
    "LR109": (
        [
            ("cosine(1000)", {"steps": 980}),
            ("warmup('60%').then(hold('30%'), linear('20%'))", {"steps": 1000}),
            ("hold(1000).then(inverse_sqrt(100))", {"steps": 1000}),
        ],
        [
            ("cosine(1000)", {"steps": 995}),
            ("warmup('60%').then(hold('20%'), linear('20%'))", {"steps": 1000}),
            ("hold(900).then(inverse_sqrt(100))", {"steps": 1000}),
        ],
    ),
    "LR110": (
        [("constant()", {"steps": 10}), (f"{RULE}.stop()", {"steps": 10})],
        [("linear(to=0.9)", {"steps": 10}), (f"{RULE}.scale(0.1)", {"steps": 10}), ("cosine(20)", {"steps": 3})],
    ),
    "LR111": (
        [("linear('50%').then(constant())", {"steps": 1000}), ("linear(500, to=0.5).then(constant(0.56))", EPOCHS)],
        [
            ("linear('50%', to=0.5).then(hold())", {"steps": 1000}),
            ("linear(500, to=0.5).then(constant(0.54))", {"steps": 1000}),
            ("linear('50%').then(cosine(start=1))", {"steps": 1000}),
            ("cosine(100).repeat()", {"steps": 1000}),
            ("warmup(2, zero_start=True).then(linear())", {"steps": 1000}),
            ("warmup('50%').then(linear())", {"steps": 1000}),
        ],
    ),
    "LR112": (
        [("constant(10.1)", {"steps": 10}), ("cosine_product(0.01)", {"steps": 1000, "lr": 0.1})],
        [("constant(10)", {"steps": 10}), ("cosine_product(0.01)", {"steps": 500, "lr": 0.1})],
    ),
    "LR201": (
        [("cosine()", {}), ("linear(to_lr=1e-5)", {"steps": 10}), ("exponential(0.9, per='1 epoch')", {"steps": 9})],
        [("cosine()", {"steps": 9}), ("linear(to_lr=1e-5)", {"steps": 9, "lr": 0.1}), ("cosine('9 epochs')", EPOCHS)],
    ),
    "LR202": (
        [("cosine_product(0.01)", {"steps": 500_000})],
        [("cosine_product(0.01)", {"steps": 50_000}), ("cosine_product(0.01)", {})],
    ),
    "LR203": (
        [
            ("exponential(0.95)", EPOCHS),
            ("exponential(0.95)", {"steps": 50_000}),
            ("step_decay(30)", EPOCHS),
            ("step_decay(30)", {"steps": 50_000}),
            ("warmup(1000).then(compounding(0.999))", {"steps": 50_000}),
            ("multistep([30, 60, 90])", EPOCHS),
            ("multistep([150, 225])", {"steps": 50_000}),
            ("multistep([150, 225])", EPOCHS),
            ("piecewise({0: 1, 30: 0.1, 60: 0.01})", {"steps": 50_000}),
            ("Policy(step_decay(30), min_lr=3e-3)", IMAGENET | {"lr": 0.1}),
        ],
        [
            ("exponential(0.95, per='1 epoch')", EPOCHS),
            ("exponential(0.9999)", EPOCHS),
            ("exponential(0.95)", {"steps": 100}),
            ("exponential(0.9998)", Horizon(steps=100_000, steps_per_epoch=50_000)),
            ("multistep([20_000, 40_000])", Horizon(steps=100_000, steps_per_epoch=50_000)),
            ("step_decay('30 epochs')", EPOCHS),
            ("Policy(step_decay('30 epochs'), min_lr=3e-3)", IMAGENET | {"lr": 0.1}),
            ("step_decay(15_000)", EPOCHS),
            ("exponential(0.95).stretch(1000)", EPOCHS),
            ("multistep(['30 epochs', '60 epochs'])", EPOCHS),
            ("multistep([30, 30_000])", EPOCHS),
            ("exponential(0.95)", {}),
        ],
    ),
    "LR204": (
        [("step_decay(1000)", {"steps": 1000}), ("multistep([500, 1000])", {"steps": 1000})],
        [("step_decay(999)", {"steps": 1000}), ("multistep([500, 999])", {"steps": 1000}), ("step_decay(9)", {})],
    ),
    "LR205": (
        [
            ("linear(to=1e-6)", {"steps": 10}),
            ("constant(3e-5)", {}),
            ("warmup(9).then(cosine(to=9e-5))", {}),
            ("linear(start=1e-5)", {}),
        ],
        [
            ("linear(to=1e-4)", {"steps": 10}),
            ("one_cycle()", {"steps": 100}),
            ("geometric(start=1e-6, to=10)", {"steps": 100, "lr": 1.0}),
            ("linear(to_lr=1e-6)", {"steps": 10, "lr": 0.1}),
            ("linear()", {"steps": 10}),
        ],
    ),
    "LR206": (
        [("linear(to_lr=0.2)", {"steps": 10, "lr": 0.1})],
        [("linear(to_lr=0.1)", {"steps": 10, "lr": 0.1}), ("linear(to_lr=0.2)", {"steps": 10})],
    ),
    "LR207": (
        [
            ("warmup(100) * inverse_sqrt(100)", {"steps": 1000}),
            ("hold(50).then(warmup('10%') + exponential(0.99))", {"steps": 1000}),
        ],
        [
            ("warmup(100).then(hold()) * inverse_sqrt(100)", {"steps": 1000}),
            ("linear() * inverse_sqrt(100)", {"steps": 1000}),
            ("linear(100) * constant(0.5)", {"steps": 1000}),
            ("(warmup(100) * inverse_sqrt(100)).then(linear())", {"steps": 1000}),
            ("warmup(995) * inverse_sqrt(100)", {"steps": 1000}),
        ],
    ),
    "LR301": (
        [
            ("Policy(cosine(), min_lr=0.1)", {"steps": 10, "lr": 0.1}),
            ("Policy(cosine(), min_lr=0.2)", {"lr": 0.1}),
            ("Policy(linear(start=0.5), min_lr=0.06)", {"steps": 10, "lr": 0.1}),
        ],
        [
            ("Policy(cosine(), min_lr=0.1)", {"steps": 10, "lr": 0.11}),
            ("Policy(cosine(), min_lr=0.1)", {"steps": 10}),
            ("Policy(linear(start=3), min_lr=0.1)", {"steps": 10, "lr": 0.1}),
        ],
    ),
    "LR302": (
        [("Policy(cosine(), max_lr=0.09)", {"steps": 10, "lr": 0.1})],
        [
            ("Policy(cosine(), max_lr=0.1)", {"steps": 10, "lr": 0.1}),
            ("Policy(cosine(), max_lr=0.09)", {"steps": 10}),
            ("Policy(linear(start=0.5), max_lr=0.09)", {"steps": 10, "lr": 0.1}),
        ],
    ),
    "LR303": (
        [("Policy(cosine(), min_lr=0.1, max_lr=0.1)", {"steps": 10})],
        [("Policy(cosine(), min_lr=0.1, max_lr=0.2)", {"steps": 10}), ("cosine()", {"steps": 10})],
    ),
    "LR401": (
        [
            ("when(loss.plateaus(99)).scale(0.5)", {"steps": 100}),
            ("Policy(cosine(), [when(loss.plateaus(9)).scale(0.5)], cadence=10)", {"steps": 100}),
        ],
        [
            ("when(loss.plateaus(98)).scale(0.5)", {"steps": 100}),
            ("when(loss.plateaus(99)).scale(0.5)", {}),
            ("Policy(cosine(), [when(loss.plateaus(8)).scale(0.5)], cadence=10)", {"steps": 100}),
        ],
    ),
    "LR402": (
        [
            ("when(loss.improves_less_than(0.01, over=51, test='means')).scale(0.5)", {"steps": 100}),
            ("when(loss.improves_less_than(0.01, over=50)).scale(0.5)", {"steps": 23}),
            ("when(loss.improves_less_than(0.01, over=1280)).scale(0.5)", {"steps": 479}),
        ],
        [
            ("when(loss.improves_less_than(0.01, over=50, test='means')).scale(0.5)", {"steps": 100}),
            ("when(loss.improves_less_than(0.01, over=50)).scale(0.5)", {"steps": 24}),
            ("when(loss.improves_less_than(0.01, over=1280)).scale(0.5)", {"steps": 480}),
        ],
    ),
    "LR403": (
        [(f"{RULE}.stop().after(100)", {"steps": 100}), (f"{RULE}.stop().after('100 observations')", {"steps": 100})],
        [(f"{RULE}.stop().after(99)", {"steps": 100}), (f"{RULE}.stop().after('99 observations')", {"steps": 100})],
    ),
    "LR404": (
        [
            ("when(always()).scale(0.5)", {"steps": 27}),
            ("when(always()).scale(1.1)", {"steps": 25}),
            ("when(always()).relax(eta=0.01)", {"steps": 50_000}),
            ("when(always()).relax(eta=1)", {"steps": 2}),
            ("when(always()).saturate(eta=0.5)", {"steps": 1000}),
            ("when(always()).stop()", {"steps": 1000}),
            ("when(always() | loss.diverges()).begin(linear())", {"steps": 1000}),
        ],
        [
            ("when(always()).scale(0.5)", {"steps": 26}),
            ("when(always()).scale(1.1)", {"steps": 24}),
            ("when(always()).scale(0.5).at_most(26)", {"steps": 1000}),
            ("when(always()).scale(0.5).rest(100)", {"steps": 1000}),
            ("when(always()).relax(eta=1e-5)", {"steps": 50_000}),
            ("when(always()).begin(linear()).after('80%')", {"steps": 1000}),
            ("when(always() & loss.diverges()).stop()", {"steps": 1000}),
        ],
    ),
    "LR405": (
        [(f"{RULE}.saturate(eta=1.5)", {"steps": 10, "lr": 0.1}), (f"{RULE}.saturate(eta=1, eps=0)", {"steps": 10})],
        [
            (f"{RULE}.saturate(eta=0.99)", {"steps": 10, "lr": 0.1}),
            (f"{RULE}.saturate(eta=1.5, eps=0.06)", {"steps": 10, "lr": 0.1}),  # 1 + ε/α = 1.6
        ],
    ),
    "LR406": (
        [(f"{RULE}.saturate(eta=0.5, eps=0.011)", {"steps": 10, "lr": 0.1}), (f"{RULE}.relax(0.5, 1)", {"lr": 0.1})],
        [(f"{RULE}.saturate(eta=0.5, eps=0.0099)", {"steps": 10, "lr": 0.1}), (f"{RULE}.relax(0.5)", {"steps": 10})],
    ),
    "LR407": (
        [
            (f"{RULE}.scale(1)", {"steps": 10}),
            (f"Policy(cosine(), [{RULE}.scale(0.5)], min_lr=0.1)", {"steps": 10, "lr": 0.1}),
            (f"Policy(constant(), [{RULE}.scale(2)], max_lr=0.1)", {"steps": 10, "lr": 0.1}),
        ],
        [
            (f"{RULE}.scale(0.99)", {"steps": 10}),
            (f"Policy(cosine(), [{RULE}.scale(0.5)], min_lr=0.09)", {"steps": 10, "lr": 0.1}),
            (f"Policy(cosine(), [{RULE}.scale(2)], max_lr=0.1)", {"steps": 10, "lr": 0.1}),
        ],
    ),
    "LR408": (
        [(f"{RULE}.begin(linear(101))", {"steps": 100})],
        [(f"{RULE}.begin(linear(100))", {"steps": 100}), (f"{RULE}.begin(linear())", {"steps": 100})],
    ),
    "LR409": (
        [(f"Policy(cosine(), [{RULE}.scale(0.5), {RULE}.scale(0.5)])", {"steps": 10})],
        [(f"Policy(cosine(), [{RULE}.scale(0.5), {RULE}.scale(0.6)])", {"steps": 10})],
    ),
    "LR410": (
        [("when(loss.plateaus(10)).scale(0.5)", EPOCHS), ("when(loss.plateaus(10)).scale(0.5)", {"steps": 50_000})],
        [
            ("when(loss.plateaus(500)).scale(0.5)", EPOCHS),
            ("Policy(cosine(), [when(loss.plateaus(10)).scale(0.5)], cadence=50)", EPOCHS),
            ("when(loss.smoothed(100).plateaus(10)).scale(0.5)", EPOCHS),
            ("when(metric('val_loss', best='min').plateaus(10)).scale(0.5)", EPOCHS),
        ],
    ),
    "LR412": (
        [(f"Policy(cosine(), [{RULE}.scale(0.5)], cadence=101)", {"steps": 100})],
        [
            (f"Policy(cosine(), [{RULE}.scale(0.5)], cadence=100)", {"steps": 100}),
            ("Policy(cosine(), cadence=101)", {"steps": 100}),
        ],
    ),
    "LR411": (
        [(f"when({VALIDATION}.plateaus(100)).scale(0.5)", EPOCHS)],
        [
            (f"when({VALIDATION}.plateaus(99)).scale(0.5)", EPOCHS),
            (f"when({VALIDATION}.plateaus(50_000)).scale(0.5)", EPOCHS),
            (f"when({VALIDATION}.plateaus(100)).scale(0.5)", {"steps": 50_000}),
            ("when(loss.plateaus(100)).scale(0.5)", EPOCHS),
            ("when(evaluation('val', every=100, best='min').plateaus(100)).scale(0.5)", EPOCHS),
        ],
    ),
    "LR501": (
        [("cosine()", {"steps": 90, "loader": range(391)}), ("cosine()", Horizon(steps=90, steps_per_epoch=391))],
        [
            ("cosine()", {"steps": 391, "loader": range(391)}),
            ("cosine()", {"steps": 5000, "loader": range(100_000)}),
            ("cosine()", {"steps": 90}),
        ],
    ),
    "LR502": (
        [
            ("cosine()", {"steps": 3000, "epochs": 3, "loader": range(1000), "accumulate": 4}),
            ("cosine()", {"steps": 750, "epochs": 3, "loader": range(1000), "accumulate": 4, "world_size": 4}),
            ("cosine()", {"steps": 3000, "epochs": 3, "loader": range(1000), "world_size": 2}),
            ("cosine()", {"horizon": EPOCHS, "loader": range(500), "accumulate": 2, "world_size": 4}),
        ],
        [
            ("cosine()", {"steps": 750, "epochs": 3, "loader": range(1000), "accumulate": 4}),
            ("cosine()", {"epochs": 3, "loader": range(1000), "accumulate": 4}),
            ("cosine()", {"horizon": EPOCHS, "loader": range(4000), "accumulate": 2, "world_size": 4}),
            ("cosine()", {"steps": 3000, "epochs": 3, "loader": range(1000)}),
            ("cosine()", {"steps": 3000, "loader": range(1000), "accumulate": 4}),
        ],
    ),
    "LR503": (
        [("cosine()", {"steps": 2900, "epochs": 3, "loader": range(1000)})],
        [
            ("cosine()", {"steps": 2999, "epochs": 3, "loader": range(1000)}),
            ("cosine()", {"steps": 750, "epochs": 3, "loader": range(1000), "accumulate": 4}),
        ],
    ),
}


def found(case: Case) -> dict[str, Finding]:
    text, facts = case
    known: dict[str, Any] = {"horizon": facts} if isinstance(facts, Horizon) else facts
    return {finding.code: finding for finding in lehr.check(text, **known)}


def test_every_check_has_its_cases() -> None:
    assert sorted(CASES) == sorted(ROWS.keys() - {row.code for row in LOG})


@pytest.mark.parametrize(("code", "case"), [(code, case) for code, (bad, _) in CASES.items() for case in bad])
def test_it_finds_the_bad_case(code: str, case: Case) -> None:
    finding = found(case)[code]
    assert finding.severity == ROWS[code].severity
    assert finding.reason
    assert finding.remedy


@pytest.mark.parametrize(("code", "case"), [(code, case) for code, (_, good) in CASES.items() for case in good])
def test_it_is_silent_on_the_nearest_good_case(code: str, case: Case) -> None:
    assert code not in found(case)
