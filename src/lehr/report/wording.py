"""Numbers and sentences as the report says them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lehr.journal import Event
    from lehr.study.stats import Ranking

__all__ = ["change", "count", "event_sentence", "listed", "number", "peak", "short", "verdict"]


def number(value: float | None, digits: int = 4) -> str:
    """A number with `digits` significant digits, no needless zeros of the exponent; a dash for none."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    if 1e-4 <= abs(value) < 1e6:
        decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
        return f"{value:.{decimals}f}"
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def short(value: float | None, digits: int = 4) -> str:
    """Like `number`, without trailing zeros: 0.05, 1, 3e−4."""
    text = number(value, digits)
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text


def change(value: float | None) -> str:
    """A difference with its sign, set as text: with a minus, not a hyphen."""
    text = number(value, 3).replace("-", "−")
    return f"+{text}" if value is not None and value > 0 else text


def peak(multiplier: float) -> str:
    """A multiplier of the workload's LR: ×⅓, ×1, ×3."""
    return "×⅓" if math.isclose(multiplier, 1 / 3, rel_tol=1e-3) else f"×{multiplier:.3g}"


def count(amount: int, noun: str, plural: str = "") -> str:
    """An amount with its noun: "1 run", "3 runs", "2 policies"."""
    return (
        f"{amount:,} {noun}".replace(",", " ")
        if amount == 1
        else f"{amount:,} {plural or noun + 's'}".replace(",", " ")
    )


def listed(items: Iterable[object], last: str = "and") -> str:
    """Items as a sentence lists them: "1, 2 and 3"."""
    words = [str(item) for item in items]
    return f"{', '.join(words[:-1])} {last} {words[-1]}" if len(words) > 1 else "".join(words)


def verdict(rankings: Sequence[Ranking], control: str = "constant") -> str:
    """One or two sentences that say what a ranking shows, and no more than it shows."""
    if not rankings or rankings[0].test_loss is None:
        return "No policy finished a ranking run, so there is nothing to compare."
    best = rankings[0]
    opening = f"“{best.policy}” has the lowest median test loss, {number(best.test_loss)}."
    others = [ranking for ranking in rankings if ranking.policy != control and ranking.low is not None]
    if not others:
        return opening
    below = sum(ranking.high is not None and ranking.high < 0 for ranking in others)
    above = sum(ranking.low is not None and ranking.low > 0 for ranking in others)
    groups = [
        (below, "below zero (better)"),
        (above, "above zero (worse)"),
        (len(others) - below - above, "on both sides of zero (not known)"),
    ]
    lies = listed(f"{words} for {count(size, 'policy', 'policies')}" for size, words in groups if size)
    seeds = count(max(ranking.pairs for ranking in others), "seed")
    return f"{opening} The interval of the difference to the tuned {control} LR, from {seeds}, lies {lies}."


def event_sentence(event: Event) -> str:
    """What happened at a step, to which LR, and why."""
    when = f"Step {event.step}" if event.times == 1 else f"Steps {event.step} to {event.last}, {event.times} times"
    before, after = short(max(event.lr_before, default=None)), short(max(event.lr_after, default=None))
    reason = event.words.replace(" %", "\N{NO-BREAK SPACE}%")
    if before == after:
        return f"{when}: {reason}."
    return f"{when}: LR {before} → {after}, because {reason}."
