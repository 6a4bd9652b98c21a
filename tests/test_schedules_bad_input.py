"""What cannot be right is refused where it is written, and the message says what must hold and what was given."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import lehr
from lehr.errors import LehrError
from lehr.lengths import Horizon, Length, as_length

NAN, INF = float("nan"), float("inf")
HUGE = 1 << 20_000  # more digits than Python prints

LENGTHS: list[tuple[Any, str]] = [
    (0.03, r'must be a length, got 0\.03: write "3%" for a share of the run'),
    (1.0, r'must be a length, got 1: write "100%"'),
    (np.float64(0.5), 'write "50%"'),
    (2.5, r"must be a whole number of steps or a text with a unit, got 2\.5"),
    (0.0, r"must be a whole number of steps or a text with a unit, got 0\.0"),
    (-5, "must be between 0 and 1e18, got -5"),
    (-3.0, r"got -3\.0"),
    (NAN, "got nan"),
    (INF, "got inf"),
    (10**18 + 1, "must be between 0 and 1e18, got 1000000000000000001"),
    (HUGE, "must be between 0 and 1e18, got <int too large to print"),
    (True, r'must be a length such as 500 \(steps\), "10%".*, got True'),
    (np.True_, r"got (np\.)?True"),
    (None, "must be a length such as .*, got None"),
    ([5], r"must be a length such as .*, got \[5\]"),
    (1 + 2j, r"got \(1\+2j\)"),
    (Fraction(5), r"got Fraction\(5, 1\)"),
    ("", "must be a number with a unit, .*, got ''"),
    ("10", "must be a number with a unit, .*, got '10'"),
    ("epochs", "got 'epochs'"),
    ("-3 epochs", "got '-3 epochs'"),
    ("3 weeks", 'such as "500 steps", "10%", .*, got \'3 weeks\''),
    ("3 Epochs", "got '3 Epochs'"),
    ("3 epochs 2", "got '3 epochs 2'"),
    ("1__0 steps", "got '1__0 steps'"),
    ("1_ steps", "got '1_ steps'"),
    ("٣ epochs", "got '٣ epochs'"),
    ("nan epochs", "got 'nan epochs'"),
    ("1e999 tokens", "must be 0 or between 1e-12 and 1e18, got '1e999 tokens'"),
    ("1e-13 epochs", "must be 0 or between 1e-12 and 1e18"),
    ("5 observations", "cannot be counted in observations, got '5 observations'; use steps, percent"),
    ("9" * 200 + " steps", "must be a number with a unit"),
]


@pytest.mark.parametrize(("given", "message"), LENGTHS, ids=lambda case: f"{type(case).__name__}")
def test_what_is_no_length(given: Any, message: str) -> None:
    with pytest.raises(LehrError, match=r"step_decay\(every=\.\.\.\) .*" + message) as caught:
        lehr.step_decay(given)
    assert len(str(caught.value)) < 400
    with pytest.raises(LehrError, match=r"warmup\(length=\.\.\.\) .*" + message):
        lehr.warmup(given)


HORIZONS: list[tuple[dict[str, Any], str]] = [
    ({"steps": 0}, r"Horizon\(steps=\.\.\.\) must be a whole number of at least 1 .*, got 0"),
    ({"steps": -1}, "got -1"),
    ({"steps": 1.5}, r"got 1\.5"),
    ({"steps": 0.5}, r"got 0\.5"),
    ({"steps": True}, "got True"),
    ({"steps": "100"}, "got '100'"),
    ({"steps": NAN}, "got nan"),
    ({"steps": INF}, "got inf"),
    ({"steps": HUGE}, "got <int too large to print"),
    ({"steps_per_epoch": 0}, r"Horizon\(steps_per_epoch=\.\.\.\) must be a whole number"),
    ({"samples_per_step": 2.5}, r"Horizon\(samples_per_step=\.\.\.\) must be a whole number"),
    ({"tokens_per_step": [1]}, r"got \[1\]"),
    ({"steps": 5, "epochs": 3}, "takes the run's length once, got steps and epochs; keep one of them"),
    ({"tokens": 5, "samples": 3}, "takes the run's length once, got samples and tokens"),
    ({"epochs": 3}, r"'3 epochs' needs a horizon with steps_per_epoch; give Horizon\(steps_per_epoch=\.\.\.\)"),
    ({"samples": 3}, "needs a horizon with samples_per_step"),
    ({"tokens": 3}, "needs a horizon with tokens_per_step"),
    ({"epochs": 0, "steps_per_epoch": 5}, r"Horizon\(epochs=\.\.\.\) must be a positive number of at most 1e18, got 0"),
    ({"epochs": -2, "steps_per_epoch": 5}, "must be a positive number of at most 1e18, got -2"),
    ({"epochs": NAN, "steps_per_epoch": 5}, "must be a positive number of at most 1e18, got nan"),
    ({"epochs": "3", "steps_per_epoch": 5}, "must be a positive number of at most 1e18, got '3'"),
    ({"epochs": True, "steps_per_epoch": 5}, "must be a positive number of at most 1e18, got True"),
    ({"tokens": HUGE, "tokens_per_step": 5}, "must be a positive number of at most 1e18, got <int too large"),
    ({"epochs": 1e18, "steps_per_epoch": 10**6}, r"the steps of Horizon\(epochs=\.\.\.\) must be .* at most 1e18"),
]


@pytest.mark.parametrize(("arguments", "message"), HORIZONS, ids=lambda case: f"{[*case][:2]}")
def test_what_is_no_horizon(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(LehrError, match=message):
        Horizon(**arguments)


SCHEDULES: list[tuple[Callable[[], Any], str]] = [
    (lambda: lehr.constant(-1), r"constant\(value=\.\.\.\) must be at least 0, got -1"),
    (lambda: lehr.constant(NAN), r"constant\(value=\.\.\.\) must be a finite number, got nan"),
    (lambda: lehr.constant(INF), "must be a finite number, got inf"),
    (lambda: lehr.constant("1"), "must be a finite number, got '1'"),  # type: ignore[arg-type]
    (lambda: lehr.constant(True), "must be a finite number, got True"),
    (lambda: lehr.constant(None), "must be a finite number, got None"),  # type: ignore[arg-type]
    (lambda: lehr.constant(HUGE), "must be a finite number, got <int too large to print"),
    (lambda: lehr.constant(10**400), "must be a finite number, got 1000"),
    (lambda: lehr.cosine(10, to=-0.1), r"to= must be at least 0 .*, got -0\.1"),
    (lambda: lehr.cosine(10, to_lr=-1e-5), "to_lr= must be at least 0"),
    (lambda: lehr.cosine(10, start=-1), "start= must be at least 0"),
    (lambda: lehr.cosine(10, to=0.1, to_lr=1e-5), r"give to= .* or to_lr= .*, not both; got 0\.1 and 1e-05"),
    (lambda: lehr.cosine(10, to=None), r"cosine\(to=\.\.\.\) must be a finite number, got None"),  # type: ignore[arg-type]
    (lambda: lehr.cosine(10, 0.1), r"cosine\(length, power, k, cycles, .*, start\): too many positional arguments"),  # type: ignore[call-arg]
    (lambda: lehr.cosine(floor=0.1), "got an unexpected keyword argument 'floor'"),  # type: ignore[call-arg]
    (lambda: lehr.warmup(), r"warmup\(.*\): missing a required argument: 'length'"),  # type: ignore[call-arg]
    (lambda: lehr.warmup(10, start=-0.5), r"warmup\(start=\.\.\.\) must be at least 0"),
    (lambda: lehr.warmup(10, zero_start=1), r"warmup\(zero_start=\.\.\.\) must be True or False, got 1"),  # type: ignore[arg-type]
    (lambda: lehr.polynomial(10, power=0), r"polynomial\(power=\.\.\.\) must be above 0 and at most 1000, got 0\.0"),
    (lambda: lehr.exponential(0), r"exponential\(gamma=\.\.\.\) must be above 0 and at most 1, got 0"),
    (lambda: lehr.exponential(1.01), "must be above 0 and at most 1, got 1.01"),
    (lambda: lehr.exponential(0.9, per=0), r"exponential\(per=\.\.\.\) must be a positive length, got '0 steps'"),
    (lambda: lehr.step_decay(0), r"step_decay\(every=\.\.\.\) must be a positive length"),
    (lambda: lehr.step_decay(10, -0.1), r"step_decay\(gamma=\.\.\.\) must be between 0 and 1, got -0\.1"),
    (lambda: lehr.multistep([]), "must hold at least one length, got none; or use constant"),
    (lambda: lehr.multistep("30%"), r"must be a list of lengths such as \[30, \"60%\"\], got '30%'"),
    (lambda: lehr.multistep(30), "must be a list of lengths"),  # type: ignore[arg-type]
    (lambda: lehr.multistep([0.5]), r'multistep\(milestones=\.\.\.\) must be a length, got 0\.5: write "50%"'),
    (lambda: lehr.piecewise({}), "must hold at least one factor"),
    (lambda: lehr.piecewise({5: -1}), r"none negative, got \{5: -1\}"),
    (lambda: lehr.piecewise({5: NAN}), r"piecewise\(values=\.\.\.\) must be a finite number, got nan"),
    (lambda: lehr.piecewise({50: 1, 5: 0.5}), r"must have increasing lengths, got \{50: 1, 5: 0\.5\}"),
    (lambda: lehr.piecewise({5: 1, "5 steps": 0.5}), "must have increasing lengths"),
    (lambda: lehr.piecewise([(5, 1)]), r'must be a dict such as \{0: 1\.0, "50%": 0\.1\}, got \[\(5, 1\)\]'),  # type: ignore[arg-type]
    (lambda: lehr.inverse_time(-1), r"inverse_time\(rate=\.\.\.\) must be between 0 and 1e\+12, got -1"),
    (lambda: lehr.inverse_time(1e300), "must be between 0 and 1e[+]12, got 1e[+]300"),
    (lambda: lehr.inverse_sqrt(0), r"inverse_sqrt\(timescale=\.\.\.\) must be a positive length"),
    (lambda: lehr.compounding(0), r"compounding\(gamma=\.\.\.\) must be above 0 and at most 1"),
    (lambda: lehr.compounding(1.5), "must be above 0 and at most 1, got 1.5"),
    (lambda: lehr.cosine_product(1), r"cosine_product\(gamma=\.\.\.\) must be above -1 and below 1, got 1"),
    (lambda: lehr.cosine_product(0.1, 0), r"cosine_product\(period=\.\.\.\) must be a positive length, got 0"),
    (
        lambda: lehr.wsd(shape="1-cube"),
        "must be one of '1-sqrt', .* or the name of a registered .*, got '1-cube'",
    ),
    (lambda: lehr.wsd(shape=["linear"]), r"must be one of .*, got \['linear'\]"),  # type: ignore[arg-type]
    (lambda: lehr.wsd(decay=0.2), r'must be a length, got 0\.2: write "20%"'),
    (lambda: lehr.cosine(5).repeat(0), r"repeat\(times=\.\.\.\) must be a whole number of at least 1 .*, got 0"),
    (lambda: lehr.cosine(5).repeat(2.5), r"must be a whole number of at least 1 .*, got 2\.5"),  # type: ignore[arg-type]
    (lambda: lehr.cosine(5).repeat("3 steps"), "must be a whole number .*, got '3 steps'"),  # type: ignore[arg-type]
    (lambda: lehr.cosine(5).repeat(10**7), r"must be at most 1000000, and at most 1000 with a stretch, got 10000000"),
    (lambda: lehr.cosine(5).repeat(1001, stretch=1.1), "at most 1000 with a stretch, got 1001; None is for ever"),
    (lambda: lehr.cosine(5).repeat(3, stretch=0), r"must have 0\.01 <= stretch <= 1000 .*, got stretch=0"),
    (lambda: lehr.cosine(5).repeat(3, scale=1.5), r"0 < scale <= 1, got stretch=1\.0, scale=1\.5"),
    (lambda: lehr.cosine(5).repeat(stretch=1.01), r"for ever needs stretch=1 or stretch >= 1\.05, got 1\.01"),
    (lambda: lehr.cosine(5).clip(-1), "must have 0 <= low <= high, got -1.0 and None"),
    (lambda: lehr.cosine(5).clip(0.5, 0.1), r"must have 0 <= low <= high, got 0\.5 and 0\.1"),
    (lambda: lehr.cosine(5).clip("a"), r"clip\(low=\.\.\.\) must be a finite number, got 'a'"),  # type: ignore[arg-type]
    (lambda: lehr.cosine(5).staircase(0), r"staircase\(every=\.\.\.\) must be a positive length"),
    (lambda: lehr.cosine(5).staircase(0.5), r'staircase\(every=\.\.\.\) must be a length, got 0\.5: write "50%"'),
    (lambda: lehr.cosine(5).stretch(0), r"stretch\(k\) must be between 1e-6 and 1e6, got 0\.0"),
    (lambda: lehr.cosine(5).stretch(NAN), r"stretch\(k\) must be a finite number, got nan"),
    (lambda: lehr.cosine(5).scaled(-1), r"constant\(value=\.\.\.\) must be at least 0, got -1"),
    (lambda: Length(Fraction(1, 3), "epochs"), "must be an integer or a decimal Fraction of .*, got Fraction"),
    (lambda: Length(0.5, "epochs"), r"must be an integer or a decimal Fraction .*, got 0\.5"),  # type: ignore[arg-type]
    (lambda: Length(Fraction(3), "weeks"), "of steps, percent, .*, got .* and 'weeks'"),
    (
        lambda: as_length("3 epochs", "at_most(n)", ("steps",)),
        r"at_most\(n\) cannot be counted in epochs, .*; use steps",
    ),
]


@pytest.mark.parametrize(("make", "message"), SCHEDULES)
def test_what_is_no_schedule(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(LehrError, match=message) as caught:
        make()
    assert len(str(caught.value)) < 400
