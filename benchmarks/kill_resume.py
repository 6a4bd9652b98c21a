"""Does a study that is killed and started again come to the rows of one that was left alone?

    python benchmarks/kill_resume.py [--workload digits] [--kills 3] [--seed N]

Runs a small study undisturbed, then the same one with SIGKILL at random moments, started again after each, and
compares rows, traces and results byte by byte. Exit code 0: the same, and no finished row was lost at any kill; 1: not
so. Edit nothing of Lehr meanwhile: a changed workload is another one.

Linux and macOS (SIGKILL); about a minute on two cores.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lehr.study import Request, compare
from lehr.study.store import read_rows

POLICIES = ("cosine decay", "performance-based")
POLL = 0.02  # seconds


def main() -> int:
    options = _options()
    if options.study:
        compare(Request((options.workload,), folder=options.study, seeds=2, only=POLICIES))
        return 0
    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as place:
        alone, killed = Path(place, "alone"), Path(place, "killed")
        seconds = _undisturbed(options.workload, alone)
        rows = len(_keys(alone))
        print(f"undisturbed: {rows} rows in {seconds:.1f} s")
        lost = 0
        for number in range(1, options.kills + 1):
            more, moment = draw.randrange(rows // options.kills), draw.uniform(0, 1)
            before = _killed(options.workload, killed, more, moment)
            lost += len(before - set(_keys(killed)))
            print(f"kill {number}, {moment:.2f} s after {more} more rows: {len(before)} rows are finished")
        _study(options.workload, killed).wait()
        return _verdict(alone, killed, lost)


def _undisturbed(workload: str, folder: Path) -> float:
    """Seconds that the study takes."""
    begin = time.monotonic()
    if _study(workload, folder).wait():
        raise SystemExit("the undisturbed study failed")
    return time.monotonic() - begin


def _killed(workload: str, folder: Path, more: int, seconds: float) -> set[str]:
    """Go on until so many more rows are finished, and so many seconds; the rows that were whole before the kill."""
    known = len(_keys(folder))
    study = _study(workload, folder)
    while study.poll() is None and len(_keys(folder)) < known + more:
        time.sleep(POLL)
    time.sleep(seconds)
    before = set(_keys(folder))
    study.send_signal(signal.SIGKILL)
    study.wait()
    return before


def _verdict(alone: Path, killed: Path, lost: int) -> int:
    same_rows = _content(alone / "rows.jsonl") == _content(killed / "rows.jsonl")
    traces = [row.trace for row in read_rows(alone / "rows.jsonl")]
    same_traces = all(_content(alone / trace) == _content(killed / trace) for trace in traces)
    same_results = _content(alone / "study.json") == _content(killed / "study.json")
    print(f"rows equal: {same_rows}; traces equal: {same_traces}; results equal: {same_results}; rows lost: {lost}")
    good = same_rows and same_traces and same_results and not lost
    print("PASS" if good else "FAIL")
    return 0 if good else 1


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _keys(folder: Path) -> list[str]:
    """Keys of the rows that are whole at this moment."""
    return [row.key for row in read_rows(folder / "rows.jsonl")]


def _study(workload: str, folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, __file__, "--workload", workload, "--study", folder])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--workload", default="digits")
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=None, help="of the moments; left out, they differ every time")
    parser.add_argument("--study", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
