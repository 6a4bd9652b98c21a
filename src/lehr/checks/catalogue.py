"""The catalogue of checks, one row each. A new check is one function and one row; tests and `docs/checks.md` follow.

An error: the run cannot be what the policy says. A warning: very likely not what was meant. A note: worth knowing.
"""

from __future__ import annotations

from typing import Any

from lehr.checks import bound_checks as bound
from lehr.checks import loader_checks as loader
from lehr.checks import log_checks as log
from lehr.checks import rule_checks as rule
from lehr.checks import schedule_checks as schedule
from lehr.checks.curve_catalogue import CURVE
from lehr.checks.loader_checks import Loading
from lehr.checks.log_checks import Finished
from lehr.checks.row import Check
from lehr.checks.subject import Subject

__all__ = ["CHECKS", "CURVE", "LOADER", "LOG", "POLICY"]

POLICY: tuple[Check[Subject], ...] = (
    Check(
        "LR201",
        "note",
        "too little is known of the run to look at the curve",
        "give steps=, horizon= or lr=",
        schedule.not_enough_known,
    ),
    Check(
        "LR202",
        "error",
        "the schedule cannot be resolved for this run",
        "change the length or the parameter that it names",
        schedule.not_resolvable,
    ),
    Check(
        "LR203",
        "warning",
        "a decay is applied per batch, with numbers that suit epochs",
        'count in epochs: per="1 epoch", every="30 epochs"',
        schedule.decay_per_batch,
    ),
    Check(
        "LR204",
        "warning",
        "a drop lies beyond the end of the run",
        "write it as a share of the run, such as '60%', or leave it out",
        schedule.drop_beyond_the_run,
    ),
    Check(
        "LR205",
        "warning",
        "a factor of the base LR between 0 and 1e-4, which looks like an LR",
        "give the LR by to_lr=",
        schedule.factor_like_an_lr,
    ),
    Check(
        "LR206",
        "warning",
        "an absolute end (to_lr=) above the base LR",
        "lower to_lr=, or raise the base LR",
        schedule.end_above_base,
    ),
    Check(
        "LR207",
        "warning",
        "an endless member of a product or sum stands still before the run ends",
        "let the fixed member go on: a.then(hold())",
        schedule.endless_member_stands_still,
    ),
    Check(
        "LR301",
        "error",
        "an absolute floor (min_lr=) at or above a group's base LR",
        "lower min_lr= below the base LR of every group, or give one number for each",
        bound.floor_above_base,
    ),
    Check(
        "LR302",
        "warning",
        "a ceiling (max_lr=) below a group's base LR",
        "raise max_lr=, or lower the base LR",
        bound.ceiling_below_base,
    ),
    Check("LR303", "warning", "floor and ceiling are equal", "leave room between min_lr= and max_lr=", bound.no_room),
    Check(
        "LR401",
        "warning",
        "a patience longer than the run: the rule can never fire",
        "lower the patience, or observe more often",
        rule.patience_longer_than_the_run,
    ),
    Check(
        "LR402",
        "warning",
        "improves_less_than needs more of the run than there is: the rule can never fire",
        "shorten the window, such as over='5%'",
        rule.window_longer_than_half_the_run,
    ),
    Check(
        "LR403",
        "warning",
        "a rule that sleeps through the run: the rule can never fire",
        "let it wake earlier (.after), or evaluate more often (every=)",
        rule.never_awake,
    ),
    Check(
        "LR404",
        "warning",
        "a rule that always fires, until the LR has collapsed or exploded, or at once",
        "limit it by .at_most(n) or .rest(length), or let it depend on a signal",
        rule.always_fires,
    ),
    Check("LR405", "warning", "saturate with η ≥ 1 + ε/α does nothing", "take eta below 1", rule.saturate_does_nothing),
    Check(
        "LR406",
        "warning",
        "saturate or relax with an absolute ε near the LR: saturate collapses the LR, relax hardly acts",
        "take eps far below the LR, or use scale(k)",
        rule.eps_near_the_lr,
    ),
    Check(
        "LR407",
        "warning",
        "a rule that cannot change the LR",
        "lower min_lr= or raise max_lr=, or take the rule out",
        rule.without_effect,
    ),
    Check(
        "LR408",
        "warning",
        "a rule begins a schedule that is longer than the run, so it will be shrunk",
        "shorten it, or leave its length out so that it fills what is left",
        rule.begun_longer_than_the_run,
    ),
    Check("LR409", "warning", "the same rule is given twice", "keep one of them", rule.given_twice),
    Check(
        "LR410",
        "note",
        "a patience for the loss of single updates that is shorter than an epoch",
        "smooth the loss (.smoothed(n)), read a metric that comes once an epoch, or be more patient",
        rule.patience_in_batches,
    ),
    Check(
        "LR411",
        "note",
        "a patience for a metric of as many observations as the run has epochs, or more",
        "lower the patience, or report the metric more often than once an epoch",
        rule.patience_in_epochs,
    ),
    Check(
        "LR412",
        "warning",
        "a cadence longer than the run: its rules never hear of it",
        "shorten the cadence, such as cadence='1%'",
        rule.cadence_longer_than_the_run,
    ),
)
LOADER: tuple[Check[Loading], ...] = (
    Check(
        "LR501",
        "warning",
        "as many steps as epochs: the run has few steps, less than an epoch",
        "give the epochs as such: Horizon(epochs=..., steps_per_epoch=...)",
        loader.steps_like_epochs,
    ),
    Check(
        "LR502",
        "error",
        "the horizon is off by the accumulation or the number of ranks",
        "use Horizon.from_loader(loader, epochs=..., accumulate=..., world_size=...)",
        loader.off_by_accumulation_or_ranks,
    ),
    Check(
        "LR503",
        "warning",
        "the horizon is off by more than 1 %",
        "use Horizon.from_loader(loader, epochs=..., accumulate=..., world_size=...)",
        loader.off_otherwise,
    ),
)
LOG: tuple[Check[Finished], ...] = (
    Check(
        "LR601",
        "error",
        "the LR was computed but not applied: it stays constant in the log",
        "write the new LR into the optimiser (lehr.torch.Scheduler does), and call step() after every update",
        log.not_applied,
    ),
    Check(
        "LR602",
        "warning",
        "the LR in the log is not that of the schedule",
        "compare the horizon, the base LR and how often step() was called with what was meant",
        log.differs,
    ),
    Check(
        "LR603",
        "error",
        "the LR that the loop reported (lr=) is not the one that was computed",
        "write the computed LR into the optimiser before the update",
        log.reported_differs,
    ),
    Check(
        "LR604",
        "warning",
        "the run finished before its schedule",
        "give the schedule the length that the run has, or resume with replan",
        log.stopped_early,
    ),
    Check(
        "LR605",
        "warning",
        "the run went on after its schedule",
        "give the schedule the length that the run has",
        log.overrun,
    ),
    Check(
        "LR606",
        "warning",
        "a rule reads a number that was never reported",
        "report it by step(name=...) or observe(name=...), or correct its name",
        log.never_reported,
    ),
    Check("LR607", "note", "a rule did not fire", "lower its patience or threshold if it should have", log.never_fired),
    Check("LR608", "warning", "the run had a warning", "do what it says", log.warned),
    Check(
        "LR609",
        "note",
        "the policy that the log names cannot be read",
        "register its functions here too (lehr.register), and call lehr.check(log=...); or give the policy",
        log.policy_unread,
    ),
)
CHECKS: tuple[Check[Any], ...] = (*CURVE, *POLICY, *LOADER, *LOG)
