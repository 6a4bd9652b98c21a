"""The rows of the catalogue that look at the curve."""

from __future__ import annotations

from lehr.checks import curve_checks as curve
from lehr.checks.row import Check
from lehr.checks.subject import Planned

__all__ = ["CURVE"]

CURVE: tuple[Check[Planned], ...] = (
    Check("LR101", "error", "the LR is 0 at every update", "give the schedule a value above 0", curve.zero_throughout),
    Check(
        "LR102",
        "note",
        "the first update has an LR of 0",
        "begin above 0: warmup(n) without zero_start gives 1/n first",
        curve.first_update_zero,
    ),
    Check(
        "LR103",
        "note",
        "the last updates have an LR of 0",
        "let the schedule end with the run, or at to= above 0",
        curve.last_update_zero,
    ),
    Check(
        "LR104",
        "error",
        "the warm-up is as long as the run, or longer",
        "shorten the warm-up, such as warmup('2%'), or lengthen the run",
        curve.warmup_as_long_as_the_run,
    ),
    Check(
        "LR105",
        "warning",
        "the warm-up takes more than half of the run",
        "shorten the warm-up, such as warmup('2%')",
        curve.warmup_most_of_the_run,
    ),
    Check(
        "LR106",
        "note",
        "the warm-up is too short to matter, as if epochs were meant",
        "write the length with its unit, such as '5 epochs' or '2%'",
        curve.warmup_of_no_length,
    ),
    Check(
        "LR107",
        "warning",
        "the LR underflows: for more than 10 % of the run it is below 1e-8 of its peak (lost in float32 weights)",
        "decay more slowly, or keep a floor: .clip(low) or min_lr=",
        curve.underflow,
    ),
    Check(
        "LR108",
        "warning",
        "the schedule ends early: the LR idles for more than 5 % of the run at (nearly) 0, or for half of it far down",
        "let the schedule fill the run (leave its length out), or end the run with it",
        curve.idles,
    ),
    Check(
        "LR109",
        "warning",
        "the schedule is unfinished: its lengths go beyond the run",
        "shorten the lengths, leave one out so that it fills what is left, or lengthen the run",
        curve.unfinished,
    ),
    Check(
        "LR110",
        "note",
        "the LR never decays, and no rule lowers it",
        "end with a decay, such as .then(linear('20%')), unless a constant LR is meant",
        curve.never_decays,
    ),
    Check(
        "LR111",
        "warning",
        "the LR jumps up where one member of the schedule follows another",
        "keep the value by hold(), or name the jump by start=",
        curve.upward_jump,
    ),
    Check(
        "LR112",
        "warning",
        "the LR rises to more than ten times the base LR",
        "scale the schedule down, bound it by max_lr=, or take a smaller gamma",
        curve.far_above_base,
    ),
)
