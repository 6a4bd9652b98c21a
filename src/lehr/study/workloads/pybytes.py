"""The next byte of Python's own standard library: a small transformer, AdamW.

The text is whatever Python runs, so results from two Python versions are about two texts; the hash tells them apart.
"""

from __future__ import annotations

import functools
import hashlib
import platform
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from lehr.errors import LehrError
from lehr.study.workloads.data import short_hash
from lehr.study.workloads.workload import Split, Workload

STEPS = 2000
BATCH, CONTEXT = 8, 64  # windows, bytes a window
PEAK = 0.01
BETAS = (0.9, 0.95)  # as usual for language models
LAYERS, HEADS, WIDTH = 2, 4, 64
SIZES = {"train": 2**21, "validation": 2**12, "test": 2**16}  # bytes
SKIPPED = {
    *("test", "tests", "encodings", "pydoc_data"),  # tests, and tables in the guise of code
    *("distutils", "ensurepip", "idlelib", "lib2to3", "tkinter", "turtledemo"),  # what Linux distributions leave out
}


class Source(NamedTuple):
    """The text, split by files."""

    train: Tensor
    validation: Tensor
    test: Tensor
    data_hash: str


@dataclass(frozen=True)
class Windows:
    """Batches of windows of CONTEXT + 1 bytes that begin anywhere in a text, drawn by the seed."""

    text: Tensor
    steps: int
    seed: int

    def __iter__(self) -> Iterator[Tensor]:
        draw = np.random.default_rng(self.seed)
        within = torch.arange(CONTEXT + 1)
        for _ in range(self.steps):
            starts = torch.from_numpy(draw.integers(len(self.text) - CONTEXT, size=(BATCH, 1)))
            yield self.text[starts + within].long()


class Block(nn.Module):
    """Causal self-attention and a feed-forward net, each normalised first and added to what came in."""

    def __init__(self) -> None:
        super().__init__()
        self.before_attention, self.before_feed = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.query_key_value, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.feed = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))

    def forward(self, hidden: Tensor) -> Tensor:
        """Same shape out as in: (windows, bytes, WIDTH)."""
        windows, length, _ = hidden.shape
        projected: Tensor = self.query_key_value(self.before_attention(hidden))
        query, key, value = projected.view(windows, length, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        hidden = hidden + self.out(mixed.transpose(1, 2).reshape(windows, length, WIDTH))
        fed: Tensor = self.feed(self.before_feed(hidden))
        return hidden + fed


class NextByte(nn.Module):
    """Scores of the 256 bytes that may follow each byte of a window.

    A byte comes in together with the one before it, which attention would else have to learn to look up: losses fall
    faster and seeds agree more (`docs/workloads.md`).
    """

    def __init__(self) -> None:
        super().__init__()
        self.byte, self.before = nn.Embedding(256, WIDTH), nn.Embedding(256, WIDTH)
        self.position = nn.Parameter(0.3 * torch.randn(CONTEXT, WIDTH))
        self.blocks = nn.Sequential(*(Block() for _ in range(LAYERS)), nn.LayerNorm(WIDTH))
        self.scores = nn.Linear(WIDTH, 256)

    def forward(self, text: Tensor) -> Tensor:
        """Scores, shape (windows, bytes, 256)."""
        before = functional.pad(text[:, :-1], (1, 0))
        hidden = self.byte(text) + self.before(before) + self.position[: text.shape[1]]
        scores: Tensor = self.scores(self.blocks(hidden))
        return scores


@functools.cache
def source() -> Source:
    """Read and split the library, once a process."""
    parts = {split: _read(split, size) for split, size in SIZES.items()}
    texts = {split: torch.from_numpy(np.frombuffer(text, np.uint8).copy()) for split, text in parts.items()}
    return Source(**texts, data_hash=short_hash(parts.values()))


def _read(split: str, size: int) -> bytes:
    """The first `size` bytes of the files of a split, one after another."""
    text = bytearray()
    for path in _files():
        if _split_of(path) == split and len(text) < size:
            text += (_library() / path).read_bytes()
    if len(text) < size:
        raise LehrError(
            f"pybytes needs {size} bytes of Python's own source for {split}, found {len(text)} in "
            f"{str(_library())!r}; run it with a Python that has its standard library as .py files"
        )
    return bytes(text[:size])


def _library() -> Path:
    return Path(sysconfig.get_path("stdlib"))


@functools.cache
def _files() -> tuple[str, ...]:
    """The library's files in the order of the hashes of their names: no split is all of one topic."""
    return tuple(sorted((path.relative_to(_library()).as_posix() for path in _paths()), key=_digest))


def _paths() -> Iterator[Path]:
    for name in sys.stdlib_module_names - SKIPPED:
        if (module := _library() / f"{name}.py").is_file():
            yield module
        package = _library() / name
        yield from (path for path in package.rglob("*.py") if not SKIPPED & set(path.relative_to(package).parts))


def _digest(path: str) -> bytes:
    return hashlib.sha256(path.encode()).digest()


def _split_of(path: str) -> str:
    """One file in ten is for validation, one for test, by the last byte of its name's hash."""
    return {0: "validation", 1: "test"}.get(_digest(path)[-1] % 10, "train")


def make(seed: int) -> Workload:
    """The task for one seed.

    Args:
        seed: any integer ≥ 0; decides the initial weights and which windows are seen.
    """
    data = source()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = NextByte()
    return Workload(
        model=model,
        optimizer=torch.optim.AdamW(model.parameters(), lr=PEAK, betas=BETAS, fused=True),
        batches=Windows(data.train, STEPS, seed),
        loss=loss,
        evaluate=evaluate,
        steps=STEPS,
        metric="bits_per_byte",
        best="min",
        threshold=3.1,
        data_hash=data.data_hash,
        about=(
            f"Source of the standard library of Python {platform.python_version()} ({len(data.train)} bytes for "
            f"training): the next byte by a transformer of {LAYERS} layers, width {WIDTH}, context {CONTEXT}, AdamW, "
            f"batch {BATCH}; bits per byte."
        ),
    )


def loss(model: nn.Module, batch: Tensor) -> Tensor:
    """Cross-entropy of the bytes that follow, in nats a byte."""
    return functional.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())


def evaluate(model: nn.Module, split: Split) -> dict[str, float]:
    """Cross-entropy in nats a byte, and the same in bits, over windows that lie end to end."""
    text: Tensor = getattr(source(), split)
    windows = text.unfold(0, CONTEXT + 1, CONTEXT).long()
    nats = loss(model, windows).item()
    return {"loss": nats, "bits_per_byte": nats / float(np.log(2.0))}
