"""Which column is the step, which the loss, which the learning rate; and what the others are called in a trace."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from keyword import iskeyword
from typing import Any, NamedTuple

import numpy as np

from lehr.errors import LehrError
from lehr.logs.log import Log
from lehr.trace import RESERVED

__all__ = ["Meanings", "meanings", "python_name"]

STEP = re.compile(
    r"(trainer_|train_)?global_?step|((train|training|optimizer|num)_)?steps?|(num_)?(iterations?|iters?|updates?)"
)
EPOCH = frozenset(("epoch", "epochs", "epoch_num"))
HELD_OUT = re.compile(r"(^|_)(val|valid|validation|eval|evaluation|test|dev|held|heldout|best)(_|$)")
LOSS = re.compile(r"(^|_)loss(_|$)")
TRAINING_LOSS = frozenset(("train_loss", "training_loss", "loss_train"))
LR = frozenset(("lr", "learning_rate", "learningrate"))
SOME_LR = re.compile(r"(^|_)(lr|learning_rate)(_|$)")
MOST = 8  # columns that a message lists
UNREPORTABLE = (*RESERVED, "self")
Values = np.ndarray[Any, np.dtype[np.float64]]


class Meanings(NamedTuple):
    """What was found in a log."""

    step: str | None  # the column with the steps
    epoch: str | None  # the column that stands for it where there is none
    lrs: tuple[str, ...]  # the columns with the LRs of the groups
    names: dict[str, str]  # column → name in the trace, for all others


def meanings(log: Log, path: str, chosen: Mapping[str, str]) -> Meanings:
    """Find out what the columns mean, by their names.

    Args:
        log: as a format has read it.
        path: of the file, for messages.
        chosen: name in the trace → column, as the user says.

    Raises:
        LehrError: a chosen column that the log lacks; two columns that could be the step, the loss or the LR; or two
            columns that would have one name.
    """
    for name, column in chosen.items():
        other = next(other for other, same in chosen.items() if same == column)
        if other != name:
            raise LehrError(f"columns= gives {column!r} two names, {other!r} and {name!r}; keep one of them")
        if column not in log.columns:
            near = difflib.get_close_matches(column, log.columns, n=1, cutoff=0.0)
            hint = f"; the nearest is {near[0]!r}" if near else ""
            raise LehrError(
                f"columns={{{name!r}: {column!r}}}: {path} has no column {column!r} with numbers; there are "
                f"{', '.join(map(repr, log.columns))}{hint}"
            )
    chosen = chosen if log.step is None else {"step": log.step, **chosen}
    plain = _without_run(log.columns)
    free = [column for column in log.columns if column not in chosen.values()]

    def find(name: str, *tiers: Callable[[str], bool]) -> str | None:
        """The one column that is meant; of several that are equal the first."""
        if name in chosen:
            return chosen[name]
        found = next(filter(None, ([c for c in free if fits(_key(plain[c]))] for fits in tiers)), [])
        if len(distinct := _distinct(log, found)) > 1:
            raise _ambiguous(path, name, distinct)
        return found[0] if found else None

    step = find("step", lambda key: bool(STEP.fullmatch(key)), "lehr_step".__eq__)
    lrs = _lrs(find, {c: plain[c] for c in free if "lr" not in chosen and SOME_LR.search(_key(plain[c]))})
    loss = find("loss", "loss".__eq__, TRAINING_LOSS.__contains__, _is_training_loss)
    epoch = find("epoch", EPOCH.__contains__) if step is None else None
    epoch = None if epoch is None or _in_parts(log, epoch, loss) else epoch
    names = {column: name for name, column in chosen.items() if name not in ("step", "lr")}
    taken = {step, *lrs, *names}
    for column in log.columns:
        if column not in taken:
            names[column] = "loss" if column == loss else python_name(plain[column])
    _refuse_collisions(names, path)
    return Meanings(step, epoch, lrs, names)


def python_name(column: str) -> str:
    """A name that `step(name=...)` can report, near to a column's.

    Example:
        >>> [python_name(column) for column in ("eval/loss", "val loss", "acc@1", "5-shot", "lambda")]
        ['eval_loss', 'val_loss', 'acc_1', '_5_shot', 'lambda_']
    """
    name = re.sub(r"\W+", "_", column.strip())
    name = name if name.isidentifier() else f"_{name}"
    return f"{name}_" if iskeyword(name) or name in UNREPORTABLE else name


def _lrs(find: Callable[..., str | None], candidates: Mapping[str, str]) -> tuple[str, ...]:
    """The columns of the groups' LRs: those of Lehr's trackers, one, or several that differ in a number alone.

    Args:
        find: finds the one column that is meant.
        candidates: column → its name without that of its run.
    """
    mine = [column for column, name in candidates.items() if name.startswith("lehr/lr/")]
    if not mine:
        mine = [column for column, name in candidates.items() if name == "lehr/lr"]
    if mine:
        return tuple(mine)
    numbered = {re.sub(r"\d+", "#", column) for column in candidates}
    if len(candidates) > 1 and len(numbered) == 1 and "#" in next(iter(numbered)):
        return tuple(sorted(candidates, key=lambda column: [int(digits) for digits in re.findall(r"\d+", column)]))
    one = find("lr", LR.__contains__, lambda key: bool(SOME_LR.search(key)))
    return () if one is None else (one,)


def _is_training_loss(key: str) -> bool:
    return bool(LOSS.search(key)) and not HELD_OUT.search(key)


def _key(column: str) -> str:
    """A column's name as names are compared."""
    return re.sub(r"[^a-z0-9]+", "_", column.lower()).strip("_")


def _without_run(columns: Sequence[str]) -> dict[str, str]:
    """Each column without the name of its run, "run - loss", if there is one run only."""
    runs = {column.split(" - ")[0] for column in columns if " - " in column}
    return {column: column.split(" - ", 1)[1] if len(runs) == 1 and " - " in column else column for column in columns}


def _in_parts(log: Log, epoch: str, loss: str | None) -> bool:
    """Whether epochs have several losses each, as where every batch has a row."""
    epochs = [row.numbers.get(epoch) for row in log.rows if loss in row.numbers]
    return len(set(epochs)) < len(epochs)


def _distinct(log: Log, columns: Sequence[str]) -> list[str]:
    """Of columns that agree in every row, the first."""
    found: dict[bytes, str] = {}
    for column in columns:
        values = np.array([row.numbers.get(column, np.nan) for row in log.rows])
        found.setdefault(values.tobytes(), column)
    return list(found.values())


def _ambiguous(path: str, name: str, candidates: Sequence[str]) -> LehrError:
    listed = ", ".join(map(repr, candidates[:MOST])) + ", …" * (len(candidates) > MOST)
    return LehrError(
        f"{path}: {len(candidates)} columns could be the {name}: {listed}; say which one is meant: "
        f"columns={{{name!r}: {candidates[0]!r}}}, or --column {name}={candidates[0]!r} in a shell"
    )


def _refuse_collisions(names: Mapping[str, str], path: str) -> None:
    for column, name in names.items():
        others = [other for other in names if names[other] == name and other != column]
        if others:
            raise LehrError(
                f"{path}: columns {column!r} and {others[0]!r} would both be called {name!r}; name one of them: "
                f"columns={{'{name}_2': {others[0]!r}}}"
            )
