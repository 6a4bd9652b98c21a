"""Lengths are exact until the one rounding, and a horizon turns every unit into steps."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lehr.errors import LehrError
from lehr.lengths import RULE_UNITS, Horizon, Length, as_count, as_length, half_up, whole_steps
from lehr.text import parse

HORIZON = Horizon(steps=1000, steps_per_epoch=50, samples_per_step=32, tokens_per_step=2048)


@pytest.mark.parametrize(
    ("given", "amount", "unit", "words"),
    [
        (500, 500, "steps", "500 steps"),
        (0, 0, "steps", "0 steps"),
        (1, 1, "steps", "1 step"),
        (2e3, 2000, "steps", "2000 steps"),
        (np.int64(7), 7, "steps", "7 steps"),
        (np.uint8(7), 7, "steps", "7 steps"),
        (np.float32(64), 64, "steps", "64 steps"),
        ("500 steps", 500, "steps", "500 steps"),
        ("1 step", 1, "steps", "1 step"),
        ("0.5 steps", Fraction(1, 2), "steps", "0.5 steps"),
        ("10%", 10, "percent", "10%"),
        ("10 percent", 10, "percent", "10%"),
        ("2.5 %", Fraction(5, 2), "percent", "2.5%"),
        ("33.3%", Fraction(333, 10), "percent", "33.3%"),
        ("3 epochs", 3, "epochs", "3 epochs"),
        ("1 epoch", 1, "epochs", "1 epoch"),
        ("1.0 epochs", 1, "epochs", "1 epoch"),
        (".5 epochs", Fraction(1, 2), "epochs", "0.5 epochs"),
        (".5e1 epochs", 5, "epochs", "5 epochs"),
        ("1000 samples", 1000, "samples", "1000 samples"),
        ("1_000_000 samples", 10**6, "samples", "1000000 samples"),
        ("2e9 tokens", 2 * 10**9, "tokens", "2e9 tokens"),
        ("2.5E+9 tokens", 25 * 10**8, "tokens", "25e8 tokens"),
        ("1e-3 tokens", Fraction(1, 1000), "tokens", "0.001 tokens"),
        ("  7  tokens ", 7, "tokens", "7 tokens"),
        ("3epochs", 3, "epochs", "3 epochs"),
        ("5 observations", 5, "observations", "5 observations"),
        ("1 observation", 1, "observations", "1 observation"),
        (Length(Fraction(3), "epochs"), 3, "epochs", "3 epochs"),
    ],
)
def test_every_way_to_write_a_length(given: Any, amount: int | Fraction, unit: str, words: str) -> None:
    length = as_length(given, "it", RULE_UNITS)
    assert length == Length(Fraction(amount), unit)
    assert length.words() == words
    assert as_length(words, "it", RULE_UNITS) == length


decimals = st.decimals(min_value=Decimal("1e-9"), max_value=Decimal("1e18"), allow_nan=False, allow_infinity=False)


@given(decimals, st.sampled_from(RULE_UNITS))
def test_the_words_of_a_length_read_back_to_the_same_length(amount: Decimal, unit: str) -> None:
    length = Length(Fraction(amount), unit)
    assert as_length(length.words(), "it", RULE_UNITS) == length
    if unit != "observations":
        made = parse(f"hold({length.text()})")
        assert parse(repr(made)) == made


def test_decimals_are_exact_not_the_nearest_float() -> None:
    assert HORIZON.measure(as_length("0.1%", "it")) == 1
    assert HORIZON.measure(as_length("33.3%", "it")) == 333
    assert sum((HORIZON.measure(as_length(f"{x}%", "it")) for x in (0.1, 0.2, 99.7)), Fraction(0)) == 1000
    many = "0." + "123456789" * 9 + " epochs"
    assert as_length(many, "it").words() == many


@pytest.mark.parametrize(
    ("amount", "steps"),
    [
        ("0", 0),
        ("0.4", 0),
        ("0.5", 1),
        ("0.6", 1),
        ("1.5", 2),
        ("2.5", 3),
        ("2.4999999999999999999", 2),
        ("1e18", 10**18),
    ],
)
def test_the_one_rounding_is_half_up(amount: str, steps: int) -> None:
    assert half_up(Fraction(amount)) == steps
    assert whole_steps(Fraction(amount)) == (steps if amount in ("0", "0.5") or steps else 1)


@pytest.mark.parametrize(
    ("length", "steps"),
    [
        ("10%", 100),
        ("0.05%", Fraction(1, 2)),
        ("3 epochs", 150),
        ("100 samples", Fraction(25, 8)),
        ("4096 tokens", 2),
        (7, 7),
    ],
)
def test_a_horizon_measures_every_unit(length: int | str, steps: int | Fraction) -> None:
    assert HORIZON.measure(as_length(length, "it")) == steps


@pytest.mark.parametrize(
    ("length", "missing"),
    [
        ("10%", "steps"),
        ("1 epoch", "steps_per_epoch"),
        ("9 samples", "samples_per_step"),
        ("9 tokens", "tokens_per_step"),
    ],
)
def test_a_horizon_says_what_it_lacks(length: str, missing: str) -> None:
    measured = as_length(length, "it")
    assert Horizon().lacks(measured) == missing
    assert HORIZON.lacks(measured) == ""
    with pytest.raises(
        LehrError, match=rf"'{length}' needs a horizon with {missing}; give Horizon\({missing}=\.\.\.\)"
    ):
        Horizon().measure(measured)


def test_observations_have_no_length_in_steps() -> None:
    with pytest.raises(LehrError, match="'5 observations' is counted as the observations come"):
        HORIZON.measure(as_length("5 observations", "it", RULE_UNITS))


# Horizons


@pytest.mark.parametrize(
    ("arguments", "steps"),
    [
        ({"steps": 7}, 7),
        ({"steps": 1.0}, 1),
        ({"steps": 1e6}, 10**6),
        ({"steps": np.int32(9)}, 9),
        ({"epochs": 90, "steps_per_epoch": 391}, 35_190),
        ({"epochs": 0.5, "steps_per_epoch": 391}, 196),  # 195.5, half up
        ({"epochs": 0.001, "steps_per_epoch": 10}, 1),  # a positive length is at least one step
        ({"epochs": 0.1, "steps_per_epoch": 10}, 1),
        ({"epochs": 0.35, "steps_per_epoch": 10}, 4),  # 3.5 exactly, though 0.35 as a float is below it
        ({"samples": 1000, "samples_per_step": 32}, 31),
        ({"tokens": 20e9, "tokens_per_step": 2**19}, 38_147),
        ({"tokens": 10**17 + 1, "tokens_per_step": 1}, 10**17 + 1),
        ({"tokens": np.float64(1e6), "tokens_per_step": 10}, 10**5),
        ({}, None),
    ],
)
def test_the_length_of_a_run_in_any_unit(arguments: dict[str, Any], steps: int | None) -> None:
    horizon = Horizon(**arguments)
    assert horizon.steps == steps
    assert horizon == Horizon(**{**arguments, "steps": steps, "epochs": None, "samples": None, "tokens": None})


def test_a_horizon_is_a_value() -> None:
    assert Horizon(epochs=2, steps_per_epoch=5) == Horizon(steps=10, steps_per_epoch=5)
    assert len({Horizon(steps=10), Horizon(steps=10.0)}) == 1  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        Horizon(steps=10).steps = 5  # type: ignore[misc]


def test_a_count_is_a_whole_number_of_at_least_one() -> None:
    assert as_count(3, "it") == as_count(3.0, "it") == as_count(np.int8(3), "it") == as_count(np.float64(3), "it") == 3
    assert type(as_count(np.int8(3), "it")) is int


# Loaders


class Sharded:
    def __init__(self, replicas: int, name: str = "num_replicas") -> None:
        setattr(self, name, replicas)


class Loader:
    """As much of a data loader as a horizon looks at."""

    def __init__(
        self, batches: int | None, batch_size: Any = 8, sampler: Any = None, batch_sampler: Any = None
    ) -> None:
        self.batches, self.batch_size, self.sampler, self.batch_sampler = batches, batch_size, sampler, batch_sampler

    def __len__(self) -> int:
        if self.batches is None:
            raise TypeError("object of type 'Stream' has no len()")
        return self.batches


@pytest.mark.parametrize(
    ("loader", "arguments", "expected"),
    [
        (Loader(10), {"epochs": 3}, Horizon(steps=30, steps_per_epoch=10, samples_per_step=8)),
        (Loader(10), {"epochs": 3, "accumulate": 4}, Horizon(steps=9, steps_per_epoch=3, samples_per_step=32)),
        (Loader(10), {"epochs": 0.5}, Horizon(steps=5, steps_per_epoch=10, samples_per_step=8)),
        (Loader(10), {"steps": 7}, Horizon(steps=7, steps_per_epoch=10, samples_per_step=8)),
        (Loader(10), {}, Horizon(steps_per_epoch=10, samples_per_step=8)),
        (Loader(10), {"epochs": 1, "world_size": 4}, Horizon(steps=3, steps_per_epoch=3, samples_per_step=32)),
        (
            Loader(10),
            {"epochs": 1, "world_size": 4, "accumulate": 2},
            Horizon(steps=2, steps_per_epoch=2, samples_per_step=64),
        ),
        (
            Loader(10, sampler=Sharded(4)),
            {"epochs": 1, "world_size": 4},
            Horizon(steps=10, steps_per_epoch=10, samples_per_step=32),
        ),
        (Loader(10, sampler=Sharded(4)), {"epochs": 1}, Horizon(steps=10, steps_per_epoch=10, samples_per_step=32)),
        (
            Loader(10, batch_sampler=Sharded(4, "num_processes")),
            {"epochs": 1, "world_size": 4},
            Horizon(steps=10, steps_per_epoch=10, samples_per_step=32),
        ),
        (
            Loader(10, sampler=Sharded(1)),
            {"epochs": 1, "world_size": 2},
            Horizon(steps=5, steps_per_epoch=5, samples_per_step=16),
        ),
        (Loader(10, batch_size=None), {"epochs": 1}, Horizon(steps=10, steps_per_epoch=10)),
        (Loader(None), {"steps": 100}, Horizon(steps=100, samples_per_step=8)),
        (
            Loader(None),
            {"steps_per_epoch": 25, "epochs": 4},
            Horizon(steps=100, steps_per_epoch=25, samples_per_step=8),
        ),
        (range(10), {"epochs": 3, "accumulate": 4}, Horizon(steps=9, steps_per_epoch=3)),
        (iter(range(10)), {"steps": 5}, Horizon(steps=5)),
    ],
)
def test_a_horizon_from_a_loader(loader: Any, arguments: dict[str, Any], expected: Horizon) -> None:
    assert Horizon.from_loader(loader, **arguments) == expected


@pytest.mark.parametrize(
    ("loader", "arguments", "message"),
    [
        (Loader(None), {"epochs": 3}, "this loader has no length; give steps= .* or steps_per_epoch="),
        (iter([]), {}, "this loader has no length; give steps="),
        (Loader(0), {"epochs": 3}, "at least one batch, but this loader is empty"),
        (Loader(9), {"epochs": 3, "steps": 5}, "takes the run's length once, got steps and epochs"),
        (Loader(9), {"epochs": 3, "accumulate": 0}, r"from_loader\(accumulate=\.\.\.\) must be a whole number"),
        (Loader(9), {"epochs": 3, "world_size": 1.5}, r"from_loader\(world_size=\.\.\.\) must be a whole number"),
        (Loader(9), {"epochs": -1}, r"Horizon\(epochs=\.\.\.\) must be a positive number .*, got -1"),
        (Loader(9), {"epochs": "3"}, r"Horizon\(epochs=\.\.\.\) must be a positive number .*, got '3'"),
    ],
)
def test_a_loader_that_says_too_little_or_nonsense(loader: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(LehrError, match=message):
        Horizon.from_loader(loader, **arguments)


@pytest.mark.frameworks
def test_loaders_of_torch() -> None:
    import torch
    from torch.utils import data

    class Stream(data.IterableDataset[int]):
        def __iter__(self) -> Any:
            return iter(range(5))

    rows = data.TensorDataset(torch.zeros(100, 2))
    assert Horizon.from_loader(data.DataLoader(rows, batch_size=8), epochs=2, accumulate=2) == Horizon(
        steps=14, steps_per_epoch=7, samples_per_step=16
    )
    assert Horizon.from_loader(data.DataLoader(rows, batch_size=8, drop_last=True), epochs=1).steps == 12
    sharded: Any = data.DistributedSampler(rows, num_replicas=4, rank=0)
    assert Horizon.from_loader(data.DataLoader(rows, batch_size=5, sampler=sharded), epochs=1, world_size=4) == Horizon(
        steps=5, steps_per_epoch=5, samples_per_step=20
    )
    with pytest.raises(LehrError, match="this loader has no length"):
        Horizon.from_loader(data.DataLoader(Stream(), batch_size=2), epochs=1)
    assert Horizon.from_loader(data.DataLoader(Stream(), batch_size=2), steps=10).steps == 10
