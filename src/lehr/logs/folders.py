"""The log in a folder, where it is clear which is meant."""

from __future__ import annotations

import re
from pathlib import Path

from lehr.errors import LehrError
from lehr.logs import tensorboard

__all__ = ["log_in"]

DEPTH = 3  # levels of folders that are looked into
MOST = 8  # places that a message lists


def log_in(folder: Path) -> Path:
    """The one log in a folder, or else in the folders below it: the highest level that has any decides.

    It is Lightning's `metrics.csv`, the `trainer_state.json` of Hugging Face's Trainer (or that of its newest
    checkpoint), a folder with a run of TensorBoard's, or the folder `metrics` of a run of MLflow's.

    Raises:
        LehrError: there is none, or several.
    """
    level = [folder]
    for _ in range(DEPTH + 1):
        found = [place for each in level for place in _logs(each)]
        if len(found) == 1:
            return found[0]
        if found:
            raise LehrError(f"{folder} holds {len(found)} logs: {_listed(found, folder)}; give the one that is meant")
        level = [below for each in level for below in sorted(each.iterdir()) if below.is_dir()]
    there = sorted(folder.iterdir())
    raise LehrError(
        f"{folder} holds no metrics.csv, trainer_state.json or event files of TensorBoard, but "
        f"{_listed(there, folder) or 'nothing'}; give the file that is the log"
    )


def _logs(folder: Path) -> list[Path]:
    """The logs that lie in a folder itself."""
    states = [folder, *sorted(folder.glob("checkpoint-*"), key=_number, reverse=True)]
    state = [place / "trainer_state.json" for place in states if (place / "trainer_state.json").is_file()]
    found = [*([folder / "metrics.csv"] if (folder / "metrics.csv").is_file() else []), *state[:1]]
    if tensorboard.holds(folder):
        found.append(folder)
    if (folder / "meta.yaml").is_file() and (folder / "metrics").is_dir():
        found.append(folder / "metrics")
    return found


def _number(folder: Path) -> int:
    digits = re.findall(r"\d+", folder.name)
    return int(digits[-1]) if digits else -1


def _listed(places: list[Path], folder: Path) -> str:
    names = [str(place.relative_to(folder)) if place != folder else "its event files" for place in places]
    return ", ".join(names[:MOST]) + ", …" * (len(names) > MOST)
