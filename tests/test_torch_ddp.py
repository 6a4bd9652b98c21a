"""DDP by hand: two real processes have the LRs of a bare loop, with accumulation, a skipped update, a kill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from two_ranks import KILLED, LATE, POLICY, SAVED, WINDOWS, bare, played

pytestmark = pytest.mark.frameworks


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    folder: Path = tmp_path_factory.mktemp("ddp")
    return played(folder, "ddp", resume=False), played(folder, "ddp", resume=True)


def test_both_ranks_have_the_lrs_of_a_bare_loop_with_all_data(runs: Any) -> None:
    lrs, fired = bare(POLICY)
    begun, resumed = runs
    assert len(fired) > 2
    assert len(lrs) == WINDOWS - 1  # one update was skipped
    for rank in range(2):
        assert begun[rank]["lrs"] == lrs[: KILLED - 1]
        assert begun[rank]["lrs"][: SAVED - 1] + resumed[rank]["lrs"] == lrs
        assert resumed[rank]["t"] == len(lrs)


def test_both_ranks_decide_alike_and_as_the_bare_loop_does(runs: Any) -> None:
    _, fired = bare(POLICY)
    begun, resumed = runs
    for each in (begun, resumed):
        assert each[0]["words"] == each[1]["words"]
    before = [step for step in begun[0]["rules"] if step < SAVED]
    assert sorted({*before, *resumed[0]["rules"]}) == fired


def test_layers_that_are_unfrozen_in_mid_run_follow_on_both_ranks(runs: Any) -> None:
    for rank in runs[1]:
        assert rank["late"] == [pytest.approx(lrs) for lrs in LATE]
