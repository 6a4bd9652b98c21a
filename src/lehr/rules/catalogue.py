"""The catalogue: a row for each trigger, action, modifier and recipe. Tests and documentation are made from it.

A new one joins by its function and one row here; `tests/test_rules_conformance.py` then tests it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["CATALOGUE", "RuleRow"]

Family = Literal["loss", "metric", "performance", "safety", "peers", "any"]


@dataclass(frozen=True)
class RuleRow:
    """One trigger, action, modifier or recipe.

    Attributes:
        name: of the function or method.
        kind: what it is.
        family: what it reads: the loss, a metric, the evaluated model; "safety", "peers" (as they do it), or "any".
        example: a rule or policy, as text, that uses it and can fire on `loss`, `accuracy` or `distance`.
        what: what it does, in a few words.
        raises: whether it may raise the LR, which only rules that say so may.
        literal: whether every observation may act, so that no evidence is forgotten.
    """

    name: str
    kind: Literal["trigger", "action", "modifier", "recipe"]
    family: Family
    example: str
    what: str
    raises: bool = False
    literal: bool = False


ACCURACY = "metric('accuracy', best='max')"

CATALOGUE: tuple[RuleRow, ...] = (
    RuleRow(
        "improves_less_than",
        "trigger",
        "loss",
        "when(loss.improves_less_than(0.05, over=40)).scale(0.5)",
        "it is shown that the signal improves more slowly than asked (or two window means say so: test='means')",
    ),
    RuleRow(
        "improves_less_than(test='means')",
        "trigger",
        "loss",
        "when(loss.improves_less_than(0.05, over=40, test='means')).scale(0.5)",
        "the mean of a window is less than so much better than that of the window before",
    ),
    RuleRow(
        "plateaus",
        "trigger",
        "loss",
        "when(loss.plateaus(5)).scale(0.5)",
        "more than so many observations in a row were no improvement on the best; six flavors",
    ),
    RuleRow(
        "reaches",
        "trigger",
        "metric",
        f"when({ACCURACY}.reaches(0.7)).scale(0.5)",
        "a value is as good as the threshold; once, or again after hysteresis (rearm=)",
    ),
    RuleRow(
        "reaches(confidence=)",
        "trigger",
        "metric",
        f"when({ACCURACY}.reaches(0.7, confidence=0.9)).scale(0.5)",
        "the level of the signal, not one lucky value, has reached the threshold",
    ),
    RuleRow(
        "reaches(sustained=)",
        "trigger",
        "metric",
        f"when({ACCURACY}.reaches(0.7, rearm=0.5, sustained=3)).scale(0.5)",
        "so many values in a row have reached the threshold",
    ),
    RuleRow(
        "at_least",
        "trigger",
        "performance",
        "when(evaluation('accuracy', every=5, best='max').at_least(0.7)).scale(0.5)",
        "the evaluated model is as good as the threshold: a state, to join and to turn round",
    ),
    RuleRow(
        "within_best",
        "trigger",
        "performance",
        "when(~evaluation('accuracy', every=5, best='max').within_best(0.02)).scale(0.5)",
        "the evaluated model is within a tolerance (and the noise) of its best",
    ),
    RuleRow(
        "improves_in_a_row",
        "trigger",
        "loss",
        "when(loss.improves_in_a_row(2)).scale(1.5).within(0.1, 2)",
        "so many observations in a row were each better than the best before",
        raises=True,
    ),
    RuleRow(
        "stalls",
        "trigger",
        "loss",
        "when(loss.stalls('60 observations')).scale(0.5)",
        "a line through the window shows no improvement, with the worst values and without (dlib)",
    ),
    RuleRow(
        "levels_off",
        "trigger",
        "metric",
        "when(metric('distance', best='max').levels_off()).scale(0.5)",
        "the distance from a starting point has stopped growing (Pesme et al.)",
    ),
    RuleRow(
        "steers",
        "trigger",
        "metric",
        "when(metric('alignment', best='max').steers(0.1)).follow().within(0.1, 1)",
        "a value itself says by how much the LR shall change",
        raises=True,
        literal=True,
    ),
    RuleRow(
        "greedy_lr",
        "trigger",
        "peers",
        "when(loss.greedy_lr(0.8, patience=2, cooldown=3, average=3)).follow()",
        "decides as transformers' GreedyLR, faults included",
        raises=True,
    ),
    RuleRow(
        "spikes",
        "trigger",
        "safety",
        f"when({ACCURACY}.spikes(3, span=30)).scale(0.9)",
        "a value lies far from what is usual; for the journal",
    ),
    RuleRow(
        "derails",
        "trigger",
        "safety",
        "when(loss.derails()).scale(0.5)",
        "most of the progress is lost and not recovered, or the value is not finite three times in a row",
    ),
    RuleRow(
        "sticks",
        "trigger",
        "safety",
        "when(metric('distance', best='min').sticks()).scale(0.5)",
        "no better than at the beginning for a while, having moved: the mark of an LR that is far too high",
    ),
    RuleRow("diverges", "trigger", "safety", "when(loss.diverges()).scale(0.5)", "a value is NaN or infinite"),
    RuleRow("always", "trigger", "any", "when(always()).relax(0.01)", "after every applied update", literal=True),
    RuleRow("&", "trigger", "any", f"when({ACCURACY}.at_least(0.5) & loss.plateaus(3)).scale(0.5)", "both hold"),
    RuleRow("|", "trigger", "any", f"when({ACCURACY}.reaches(0.8) | loss.plateaus(8)).scale(0.5)", "one of them holds"),
    RuleRow("~", "trigger", "any", f"when(~{ACCURACY}.at_least(0.5)).scale(0.5)", "it looked and does not hold"),
    RuleRow("smoothed", "modifier", "any", "when(loss.smoothed(5).plateaus(5)).scale(0.5)", "a moving average is read"),
    RuleRow("scale", "action", "any", "when(loss.plateaus(4)).scale(0.1)", "the LR times k"),
    RuleRow("saturate", "action", "any", "when(loss.plateaus(4)).saturate(0.5)", "gain · min(1, η·α/(α + ε))"),
    RuleRow("relax", "action", "any", "when(loss.plateaus(4)).relax(0.5)", "gain · (1 − η·α/(α + ε))"),
    RuleRow(
        "follow",
        "action",
        "any",
        "when(metric('alignment', best='max').smoothed(5).steers(0.2)).follow()",
        "the LR times what the trigger says",
        raises=True,
        literal=True,
    ),
    RuleRow("begin", "action", "any", "when(loss.plateaus(4)).begin(linear('50%'))", "another schedule from here"),
    RuleRow("stop", "action", "any", "when(loss.plateaus(9)).stop()", "the run is done"),
    RuleRow(
        "rollback",
        "action",
        "safety",
        "when(loss.derails()).rollback()",
        "an adapter restores an older snapshot; the LR times a scale",
    ),
    RuleRow("after", "modifier", "any", "when(loss.plateaus(4)).scale(0.5).after(80)", "not before this point"),
    RuleRow("rest", "modifier", "any", "when(loss.plateaus(4)).scale(0.5).rest(30)", "a pause after firing"),
    RuleRow("within", "modifier", "any", "when(loss.plateaus(4)).scale(0.5).within(0.2, 1)", "bounds of the gain"),
    RuleRow("at_most", "modifier", "any", "when(loss.plateaus(4)).scale(0.5).at_most(2)", "so many firings"),
    RuleRow(
        "every_time",
        "modifier",
        "any",
        f"when({ACCURACY}.reaches(0.7)).scale(0.9).every_time()",
        "the literal reading: at every observation at which it holds",
        literal=True,
    ),
    RuleRow(
        "shadow", "modifier", "any", "when(loss.plateaus(4), shadow=True).scale(0.5)", "logs what it would have done"
    ),
    RuleRow(
        "greedy",
        "recipe",
        "peers",
        "Policy(constant(), greedy(loss.smoothed(5), down=0.8, patience=2, high=2))",
        "up after a row of improvements, down at a plateau, within bounds relative to the schedule",
        raises=True,
    ),
    RuleRow(
        "greedy(flavor='transformers')",
        "recipe",
        "peers",
        "Policy(constant(), greedy(loss, down=0.8, patience=2, flavor='transformers'))",
        "decides as transformers' GreedyLR, faults included",
        raises=True,
    ),
    RuleRow(
        "hypergradient",
        "recipe",
        "metric",
        "hypergradient(0.1)",
        "the LR follows the agreement of one update with the next",
        raises=True,
        literal=True,
    ),
    RuleRow(
        "guard",
        "recipe",
        "safety",
        "Policy(constant(), guard(rewarm=None))",
        "rolls back and scales down when a run sticks, derails or is not finite; bounded retries",
    ),
    RuleRow(
        "reduce_on_plateau",
        "recipe",
        "peers",
        "reduce_on_plateau(loss, factor=0.5, patience=5, cooldown=3, average=2)",
        "a cut where a number stands still, as everybody has it, without its faults",
    ),
    *(
        RuleRow(
            f"reduce_on_plateau(flavor={flavor!r})",
            "recipe",
            "peers",
            f"reduce_on_plateau(loss, factor=0.5, patience=4, threshold=0.01, flavor={flavor!r})",
            f"decides as {peer}'s does, faults included",
        )
        for flavor, peer in (
            ("torch", "torch"),
            ("keras", "Keras"),
            ("optax", "optax"),
            ("paddle", "Paddle"),
            ("fastai", "fastai"),
        )
    ),
)
