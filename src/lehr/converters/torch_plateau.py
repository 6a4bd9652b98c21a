"""torch's `ReduceLROnPlateau` as a rule, from a scheduler's attributes or from arguments of the same names."""

from __future__ import annotations

from lehr.checks.finding import Finding
from lehr.converters.arguments import Arguments
from lehr.converters.conversion import Given, finding
from lehr.converters.parts import Plateau, plateau
from lehr.converters.torch_schedules import plateau_floor
from lehr.errors import LehrError
from lehr.policy import Policy

__all__ = ["plateau_of"]


def plateau_of(args: Arguments, given: Given, lr: float | None = None) -> tuple[Policy, list[Finding]]:
    """The policy, and findings about what torch does otherwise."""
    best = args.word("mode", ("min", "max")) or "min"
    by = args.word("threshold_mode", ("rel", "abs")) or "rel"
    factor, patience = args.number_or("factor", 0.1), args.count_or("patience", 10)
    margin, eps = args.number_or("threshold", 1e-4), args.number_or("eps", 1e-8)
    if not 0 < factor < 1:
        raise LehrError(f"factor of {args.what} must be between 0 and 1, got {factor:g}")
    least = args.number_or("min_lr", 0.0)
    if lr is not None and lr > least and eps > 0:
        least = plateau_floor(lr, factor, least, eps)
    told = Plateau(
        name=given.metric or "val_loss",
        best="max" if best == "max" else "min",
        factor=factor,
        patience=patience,
        margin=margin,
        cooldown=args.count_or("cooldown", 0),
        least=least,
        flavor="torch",
        mode="abs" if by == "abs" else "rel",
    )
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
    remedy = "write flavor='lehr' where that may happen; a cut makes it forget the best value"
    notes.append(finding("C107", "note", reason, remedy))
    return notes
