"""Time left is reckoned a workload at a time."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lehr.study.executor import Running
from lehr.study.progress import Pace


def running(workload: str, step: int, steps: int, seconds: float) -> Running:
    job: Any = SimpleNamespace(
        cell=SimpleNamespace(workload=workload), facts=SimpleNamespace(steps=steps), folder=Path()
    )
    return Running(cast("Any", job), step, 0.1, 0.5, seconds)


def test_time_left_worked_out_by_hand() -> None:
    pace = Pace(workers=2)
    pace.add("quick", seconds=1.0, updates=1000)
    pace.add("slow", seconds=10.0, updates=1000)
    # quick: 2000 updates at 1 ms; slow: 1000 at 10 ms; two workers
    assert pace.seconds_left({"quick": 2000, "slow": 1000}, []) == pytest.approx((2 + 10) / 2)


def test_a_running_cell_tells_its_pace_early() -> None:
    pace = Pace(workers=1)
    assert pace.seconds_left({}, [running("toy", 250, 1000, 5.0)]) == pytest.approx(15.0)
    assert pace.seconds_left({"toy": 1000}, [running("toy", 250, 1000, 5.0)]) == pytest.approx(35.0)


def test_without_a_pace_nothing_is_promised() -> None:
    pace = Pace(workers=1)
    pace.add("quick", 1.0, 1000)
    assert pace.seconds_left({"slow": 10}, []) is None
    assert pace.seconds_left({"quick": 10}, [running("slow", 1, 1000, 0.0)]) is None
    assert pace.seconds_left({}, []) == 0.0
