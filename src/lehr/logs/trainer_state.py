"""The `trainer_state.json` of Hugging Face's Trainer: its `log_history`, and what it says of the run's length.

Its step counts the updates done when it logs, and the learning rate beside it is that of the last of them: its step s
is Lehr's step s − 1.
"""

from __future__ import annotations

import json
from typing import Any

from lehr.errors import LehrError
from lehr.logs.log import Log, read_cells

__all__ = ["read", "recognises"]


def recognises(text: str) -> bool:
    """Whether a file's text is one."""
    return text.lstrip().startswith("{") and '"log_history"' in text


def read(text: str, path: str) -> Log:
    """Read it.

    Raises:
        LehrError: the file is damaged, or holds no history.
    """
    try:
        state = json.loads(text)
    except ValueError as error:
        raise LehrError(f"{path} is damaged: {error}; take the trainer_state.json of the checkpoint before") from None
    history = state.get("log_history")
    if not isinstance(history, list) or not all(isinstance(row, dict) for row in history):
        raise LehrError(f"{path} has no log_history; give the trainer_state.json of a checkpoint")
    rows, left_out = read_cells(enumerate(history, 1), path)
    notes = ["its step s is the update s − 1, whose LR it logs"]
    return Log("trainer_state", rows, left_out, notes, _facts(state), first=1)


def _facts(state: dict[str, Any]) -> dict[str, int]:
    steps, epochs = state.get("max_steps"), state.get("num_train_epochs")
    if not isinstance(steps, int) or steps < 1:
        return {}
    if isinstance(epochs, int) and epochs > 0 and steps % epochs == 0:
        return {"steps": steps, "steps_per_epoch": steps // epochs}
    return {"steps": steps}
