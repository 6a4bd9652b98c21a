"""torch's `ReduceLROnPlateau` as a rule, from a scheduler's attributes or from arguments of the same names."""

from __future__ import annotations

from typing import Literal

from lehr.checks.finding import Finding
from lehr.convert.arguments import Arguments
from lehr.convert.conversion import Given, finding
from lehr.convert.parts import Plateau, plateau
from lehr.convert.torch_schedules import plateau_floor
from lehr.errors import LehrError
from lehr.policy import Policy

__all__ = ["plateau_of"]


def plateau_of(args: Arguments, given: Given, lr: float | None = None) -> tuple[Policy, list[Finding]]:
    """The policy, and findings about what torch does otherwise.

    A relative threshold is the flavor "torch". An absolute one is the flavor "keras" with one more observation of
    patience, as Keras acts at the last tolerated observation and torch at the one after it.
    """
    best = args.word("mode", ("min", "max")) or "min"
    by = args.word("threshold_mode", ("rel", "abs")) or "rel"
    factor, patience, margin = args.number("factor"), args.count("patience"), args.number("threshold")
    factor, patience = 0.1 if factor is None else factor, 10 if patience is None else patience
    quiet, eps = args.count("cooldown") or 0, args.number("eps")
    if not 0 < factor < 1:
        raise LehrError(f"factor of {args.what} must be between 0 and 1, got {factor:g}")
    least = args.number("min_lr") or 0.0
    if lr is not None and lr > least:
        least = plateau_floor(lr, factor, least, 1e-8 if eps is None else eps)
    name = given.metric or "val_loss"
    flavor: Literal["torch", "keras"] = "torch" if by == "rel" else "keras"
    tolerated = patience if by == "rel" else patience + 1
    told = Plateau(name, "max" if best == "max" else "min", factor, tolerated, 1e-4 if margin is None else margin,
                   quiet, least, flavor)  # fmt: skip
    return plateau(told), _notes(told, given, best, by)


def _notes(told: Plateau, given: Given, best: str, by: str) -> list[Finding]:
    notes = []
    if given.metric is None:
        reason = f"torch's plateau does not name its number; the policy calls it {told.name!r} (better is {best})"
        notes.append(finding("C101", "note", reason, "give convert(..., metric=...) for another name"))
    faults = ["counts a NaN as no improvement"]
    if by == "rel":
        faults.insert(0, "takes a worse value for an improvement where the number is negative")
    reason = f"torch's plateau {' and '.join(faults)}; flavor={told.flavor!r} does as it does"
    notes.append(finding("C107", "note", reason, "write flavor='lehr' where that may happen; it then forgets the best "
                         "value after a cut"))  # fmt: skip
    if told.quiet:
        reason = f"in its cooldown of {told.quiet} torch goes on noting the best value; a resting rule does not look"
        notes.append(finding("C107", "note", reason, "the two differ only if the best value falls into a cooldown"))
    return notes
