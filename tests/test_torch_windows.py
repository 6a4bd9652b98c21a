"""Reports on a device: the same bits as the host's sum, read once a cadence. The CPU stands in for the device."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributed.tensor import Replicate, Shard

import lehr
from lehr.gather import Sum
from lehr.torch import Scheduler, windows
from lehr.torch.windows import OnDevice, keep

pytestmark = pytest.mark.frameworks

RULES = "when(loss.plateaus(1)).scale(0.5)"
LOSSES = [math.sin(t) + 0.1 * t for t in range(30)]
LOSSES[7] = math.nan
CPU = torch.device("cpu")
NUMBERS = st.floats(-1e9, 1e9)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Tensors on the CPU count as lying on a device; what is read from there is noted."""
    monkeypatch.setattr(windows, "HOST", "elsewhere")
    reads: list[str] = []
    read = OnDevice.read

    def noted(sums: OnDevice) -> Sum:
        reads.append("read")
        return read(sums)

    monkeypatch.setattr(OnDevice, "read", noted)
    return reads


def scheduler(policy: str) -> Scheduler:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    return Scheduler(optimizer, policy, count="updates")


def update(run: Scheduler, **numbers: Any) -> None:
    run.optimizer.step()
    run.step(**numbers)


def policy(cadence: int | None = 4) -> str:
    return f"Policy(constant(), rules=[{RULES}], cadence={cadence})"


@given(
    st.sampled_from([torch.float64, torch.float32, torch.float16, torch.bfloat16]),
    st.lists(st.floats(width=16), max_size=20),
    st.builds(Sum, NUMBERS, st.integers(0, 99), st.integers(0, 9), NUMBERS, NUMBERS),
)
def test_a_sum_on_a_device_has_the_bits_of_the_sum_on_the_host(
    dtype: torch.dtype, values: list[float], start: Sum
) -> None:
    there, here = OnDevice(start, CPU), start
    for value in values:
        number = torch.tensor([value], dtype=dtype)
        there, here = there.plus(number), here.plus(number.item())
    assert repr(there.read()) == repr(here)


def test_a_report_is_added_at_once_as_its_buffer_may_be_overwritten(device: list[str]) -> None:
    run, plain = scheduler(policy()), lehr.start(policy(), lr=0.1)
    buffer = torch.empty((), dtype=torch.float64, requires_grad=True)
    for value in LOSSES:
        with torch.no_grad():
            buffer.fill_(value)
        update(run, loss=buffer)
        plain.step(loss=value)
        assert run.lrs == plain.lrs
    assert run.lr < 0.1


def test_the_host_reads_once_a_cadence(device: list[str]) -> None:
    run = scheduler(policy())
    for t, value in enumerate(LOSSES):
        update(run, loss=torch.tensor(value), idle=torch.tensor(1.0))
        assert len(device) == (t + 1) // 4


def test_what_lies_on_a_device_is_not_read_before_the_cadence_point() -> None:
    run = scheduler(policy())
    unreadable = torch.ones((), device="meta")
    for _ in range(3):
        update(run, loss=unreadable)
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        update(run, loss=unreadable)


def test_without_rules_it_is_never_read() -> None:
    run = scheduler("cosine(10)")
    for _ in range(10):
        update(run, loss=torch.ones((), device="meta"))
    assert run.done


def test_a_trace_reads_every_number_at_once(device: list[str]) -> None:
    run, rows = scheduler(policy()), []
    run.subscribe(lambda t, lrs, numbers: rows.append(dict(numbers)), on="steps")
    for value in LOSSES[:4]:
        update(run, loss=torch.tensor(value, dtype=torch.float64))
    assert rows == [{"loss": value} for value in LOSSES[:4]]
    assert device == []


def test_a_run_that_is_cut_anywhere_goes_on_bit_by_bit(device: list[str]) -> None:
    def forward(run: Scheduler, until: int) -> list[float]:
        lrs = []
        while run.t < until:
            update(run, loss=torch.tensor(LOSSES[run.t], dtype=torch.float64))
            lrs.append(run.lr)
        return lrs

    whole = scheduler(policy(7))
    lrs = forward(whole, 30)
    for at in range(30):
        before, after = scheduler(policy(7)), scheduler(policy(7))
        forward(before, at)
        after.load_state_dict(json.loads(json.dumps(before.state_dict())))
        assert forward(before, 30) == forward(after, 30) == lrs[at:]  # saving changes nothing
        assert after.state_dict() == before.state_dict() == whole.state_dict()


def test_a_sum_that_was_begun_in_inference_mode_goes_on_outside_of_it() -> None:
    with torch.inference_mode():
        sums = OnDevice(Sum(), CPU).plus(torch.tensor(1.5))
        inner = torch.tensor(2.5)
    assert sums.plus(inner).plus(torch.tensor(0.5, requires_grad=True)).read() == Sum(4.5, 3, 0, 0.5, 2.5)


def test_more_than_one_element_is_an_error_that_names_the_mean(device: list[str]) -> None:
    with pytest.raises(lehr.LehrError, match=r"loss must be one number, got 3; report its \.mean\(\)"):
        update(scheduler(policy()), loss=torch.ones(3))


class Placed(torch.Tensor):
    """Says where it lies, as a DTensor does."""

    placements: tuple[Any, ...]

    def to_local(self) -> torch.Tensor:
        return self.as_subclass(torch.Tensor)


def placed(value: float, *placements: Any) -> torch.Tensor:
    tensor = torch.tensor(value).as_subclass(Placed)
    tensor.placements = placements
    return tensor


def test_a_tensor_of_which_each_rank_has_a_part_is_refused_and_a_whole_one_is_read(device: list[str]) -> None:
    with pytest.raises(lehr.LehrError, match=r"loss is spread over the ranks.*full_tensor\(\)"):
        update(scheduler(policy()), loss=placed(1.0, Replicate(), Shard(0)))
    onto = keep("loss", placed(1.5, Replicate()))
    assert onto is not None
    assert onto(Sum(1.0, 1, 0, 1.0, 1.0)).read() == Sum(2.5, 2, 0, 1.0, 1.5)


@pytest.mark.parametrize("value", [1.0, torch.tensor(1.0), "text"])
def test_what_lies_on_the_host_goes_the_plain_way(value: Any) -> None:
    assert keep("loss", value) is None
