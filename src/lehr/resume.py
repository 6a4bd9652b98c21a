"""Going on from a saved run: the state as a value, and how what was saved differs from what is there now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

from lehr.errors import LehrError
from lehr.journal import Event
from lehr.lengths import Horizon
from lehr.policy import Bind, Groups, Policy
from lehr.state import Remembered, check, facts, read
from lehr.text import as_policy, read_back

__all__ = ["OnChange", "Saved", "as_on_change", "changes", "mode_for_trainer", "unless_saved"]

OnChange = Literal["error", "keep_saved", "use_new", "use_new_no_jump"]
ON_CHANGE = ("error", "keep_saved", "use_new", "use_new_no_jump")
Bases = Mapping[str, tuple[float, ...]]


class Saved(NamedTuple):
    """A saved state, checked and read: the inverse of `Controller.state_dict`."""

    policy: Policy | Groups | Bind
    horizon: Horizon
    step: int
    bases: Bases
    values: Bases  # what was written last, with gains
    last: dict[str, list[float]] | None  # what the last update used
    tracks: list[Remembered]
    reported: dict[str, list[Any]]
    window: dict[str, Any]
    events: list[Event]

    @classmethod
    def of(cls, state: Mapping[str, Any], groups: int) -> Saved:
        """Read plain data.

        Raises:
            LehrError: not a state of Lehr's, of a later version, or for another number of parameter groups.
        """
        check(state, groups)
        return cls(
            as_policy(read_back(state["policy"])),
            Horizon(**state["horizon"]),
            int(state["step"]),
            {name: tuple(values) for name, values in state["bases"].items()},
            {name: tuple(values) for name, values in state["values"].items()},
            None if state["last"] is None else {name: list(values) for name, values in state["last"].items()},
            [read(plain) for plain in state["tracks"]],
            state["reported"],
            state.get("window", {}),
            [Event.read(plain) for plain in state["decisions"]],
        )


def as_on_change(given: Any) -> OnChange:
    """What to do about a change, if it is one of the known.

    Raises:
        LehrError: it is not.
    """
    if given not in ON_CHANGE:
        raise LehrError(f"on_change= must be one of {', '.join(map(repr, ON_CHANGE))}, got {given!r}")
    known: OnChange = given
    return known


def changes(saved: Saved, policy: Policy | Groups | Bind, horizon: Horizon, bases: Bases) -> list[str]:
    """What differs between the saved run and this one, in words."""
    found = []
    if saved.policy != policy:
        found.append(f"policy {saved.policy.text()} (saved) → {policy.text()} (now)")
    if saved.horizon != horizon:
        found.append(f"horizon {facts(saved.horizon)} (saved) → {facts(horizon)} (now)")
    kept = unless_saved(bases, saved)
    return found + [
        f"base {name} {list(saved.bases[name])} (saved) → {list(bases[name])} (now)"
        for name in bases.keys() & saved.bases.keys()
        if kept[name] != saved.bases[name]
    ]


def mode_for_trainer(
    state: Mapping[str, Any], policy: Policy | Groups | Bind, horizon: Horizon, bases: Bases
) -> OnChange:
    """What to do about a saved run if a trainer says how long the run is, as it may be longer now.

    Args:
        state: what is to be loaded.
        policy: as it is now.
        horizon: likewise; the trainer's.
        bases: likewise.

    Returns:
        "use_new_no_jump" if nothing but the horizon differs, else "error".

    Raises:
        LehrError: not a state of Lehr's; or the LR had come down to 0, from where it cannot go on without a jump.
    """
    saved = Saved.of(state, len(bases["lr"]))
    if changes(saved, policy, saved.horizon, bases):
        return "error"
    if saved.horizon != horizon and saved.step > 0 and any(saved.bases["lr"]) and not any(saved.values["lr"]):
        raise LehrError(
            f"the saved run has come down to an LR of 0 at step {saved.step} of its {facts(saved.horizon)}; with "
            f"{facts(horizon)} it cannot go on from there without a jump. Say on_change='use_new' for the new curve at "
            "this step, or begin a new run from the saved weights"
        )
    return "use_new_no_jump"


def unless_saved(bases: Bases, saved: Saved) -> dict[str, tuple[float, ...]]:
    """The bases read now; one that is only the saved base, or the LR that was written last, is the saved base."""
    kept = {}
    for name, values in bases.items():
        old = saved.bases.get(name, values)
        written = saved.values.get(name, old)
        kept[name] = tuple(
            then if _stored(value, then) or _stored(value, last) else value
            for value, then, last in zip(values, old, written, strict=True)
        )
    return kept


def _stored(read: float, value: float) -> bool:
    """Whether `read` is `value`, maybe by way of a float32 tensor."""
    return read in (value, float(np.float32(value)))
