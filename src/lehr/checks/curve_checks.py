"""Checks of the planned curve against the length of the run: zeros, warm-up, decay, seams, the end."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from lehr.checks.row import Found
from lehr.checks.schedule_checks import decay_per_batch
from lehr.checks.subject import Planned, leaves
from lehr.rules.actions import Begin, Follow, Relax, Saturate, Scale

TINY = 1e-8  # of the peak: updates this much smaller are lost in the rounding of float32 weights (6e-8 of a weight)
HALF = 0.5  # of the peak: a schedule that has come down so far was meant to decay over the run
SMALL = 1e-3  # of the peak: where a schedule has come to its end, nothing much is learnt below
NAMED_START = re.compile(r"(?<!zero_)\bstart=")


def zero_throughout(run: Planned) -> Iterator[Found]:
    """Every update has an LR of 0."""
    if run.peak == 0 and not run.floored:
        yield Found(f"the {run.word} is 0 at all {run.total} updates, so nothing is learnt")


def first_update_zero(run: Planned) -> Iterator[Found]:
    """The first update has an LR of 0, and others have not."""
    if run.peak > 0 and run.values[0] == 0 and not _floored_at(run, 0):
        yield Found(f"the {run.word} of the first update is 0, so one batch of {run.total} is wasted")


def last_update_zero(run: Planned) -> Iterator[Found]:
    """The last updates have an LR of 0; a longer idle end is a finding of its own."""
    since, end = run.since(lambda values: values == 0), run.curve.length
    if not since or run.floored or any(idles(run)):
        return
    if (end is not None and end <= since) or run.at(since - 1) >= TINY * run.peak:  # else it has underflowed
        yield Found(f"the {run.word} is 0 from step {since} on, so the last {run.total - since} updates are wasted")


def warmup_as_long_as_the_run(run: Planned) -> Iterator[Found]:
    """The run ends before its warm-up does."""
    warm = run.curve.warmup
    if warm >= run.total:
        end = f"the {run.word} ends at {run.last:.3g}"
        yield Found(f"the warm-up lasts {warm} steps and the run {run.total}: the peak is never left, {end}")


def warmup_most_of_the_run(run: Planned) -> Iterator[Found]:
    """The warm-up takes more than half of the run."""
    warm = run.curve.warmup
    if run.total > warm > run.total / 2:
        yield Found(f"the warm-up lasts {warm} of {run.total} steps, {_percent(warm, run.total)} of the run")


def warmup_of_no_length(run: Planned) -> Iterator[Found]:
    """The warm-up is written in steps and takes less than a thousandth of the run."""
    warm, words = run.curve.warmup, run.subject.policy.schedule
    first = next(iter(words.lengths()), None)
    if first is not None and first.unit == "steps" and 0 < warm <= 20 and warm * 1000 < run.total:
        yield Found(
            f"the warm-up lasts {warm} steps of {run.total}, {_percent(warm, run.total)} of the run",
            f"write warmup('{warm} epochs') if epochs were meant, or warmup('2%')",
        )


def underflow(run: Planned) -> Iterator[Found]:
    """The LR decays to nothing long before the end."""
    since = run.since(lambda values: values < TINY * run.peak)
    if not since or run.floored or run.at(since) == 0 or any(decay_per_batch(run.subject)):
        return
    end = run.total if run.curve.length is None else min(run.total, run.curve.length)
    if end - since > run.total / 10:
        yield Found(
            f"the {run.word} is below {TINY:g} of its peak from step {since} on, so the last "
            f"{_percent(run.total - since, run.total)} of the run change nothing"
        )


def idles(run: Planned) -> Iterator[Found]:
    """The schedule comes to its end early and stays at (nearly) zero; or before half of the run, at a low value."""
    if run.peak == 0 or run.floored:
        return
    end = run.curve.length
    if end is None or end >= run.total:
        end = run.since(lambda values: values == 0)
    if end is None or run.total - end <= run.total / 20 or any(underflow(run)):
        return
    if run.last > (SMALL if 2 * end >= run.total else HALF) * run.peak:
        return
    if not any(decay_per_batch(run.subject)):
        article = "a" if run.word == "factor" else "an"
        yield Found(
            f"the schedule ends at step {end} of {run.total}, and the other {run.total - end} updates "
            f"({_percent(run.total - end, run.total)}) have {article} {run.word} of {run.last:.3g}"
        )


def unfinished(run: Planned) -> Iterator[Found]:
    """The schedule is longer than the run."""
    curve, total = run.curve, run.total
    if curve.warmup >= total:
        return
    if curve.length is not None and curve.length * 0.99 > total:
        share = _percent(total, curve.length)
        yield Found(f"the run of {total} steps ends at {share} of the schedule, which is {curve.length} steps long")
    elif curve.length is None and curve.parts and curve.parts[-1].start >= total:
        part = curve.parts[-1]
        yield Found(f"{part.text} would begin at step {part.start}, but the run ends at {total}")


def never_decays(run: Planned) -> Iterator[Found]:
    """The LR stays at its peak, and no rule lowers it."""
    after = run.values[int(run.values.argmax()) :]
    if run.peak == 0 or run.curve.warmup >= run.total or after.min() < 0.99 * run.peak or any(unfinished(run)):
        return
    actions = [rule.action for rule in run.subject.policy.rules]
    if not any(isinstance(a, Begin | Follow | Saturate | Relax) or (isinstance(a, Scale) and a.k < 1) for a in actions):
        yield Found(f"the {run.word} stays at {run.last:.3g} up to the end of the run, and no rule lowers it")


def upward_jump(run: Planned) -> Iterator[Found]:
    """The value jumps up where one member of the schedule follows another."""
    for before, after in pairwise(run.curve.parts):
        seam = after.start
        if not 2 <= seam < run.total - 1 or NAMED_START.search(after.text):
            continue
        values = [run.at(step) for step in range(seam - 2, seam + 2)]
        rises = np.diff(values)
        if rises[1] > max(0.1 * values[1], 0.01 * run.peak, 3 * abs(rises[0]), 3 * abs(rises[2])):
            jump = f"the {run.word} jumps from {values[1]:.3g} to {values[2]:.3g}"
            yield Found(f"{jump} at step {seam}, where {after.text} follows {before.text}")


def far_above_base(run: Planned) -> Iterator[Found]:
    """The LR rises to more than ten times the base LR."""
    top = run.peak if run.subject.base is None else run.peak / (run.subject.base or 1.0)
    names = {shape.name for shape, _ in leaves(run.subject.policy.schedule)}
    if top <= 10 or "chebyshev" in names:  # long steps among short ones are the idea of Chebyshev's
        return
    when = int(run.steps[run.values.argmax()])
    why = ", as cosine_product first grows by about e^(γT/π)" if "cosine_product" in names else ""
    yield Found(f"the LR rises to {top:.3g} times the base LR at step {when}{why}")


def _floored_at(run: Planned, step: int) -> bool:
    return run.floored and step >= run.curve.warmup


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.3g} %"
