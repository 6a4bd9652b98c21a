import pytest

import lehr
from lehr.report.rule_words import rule_in_words

RULES = {
    "when(loss.improves_less_than(0.01, '200 steps')).scale(0.5).at_most(3)": (
        "when loss improves by less than 1 % over 200 steps, multiply the LR by 0.5, at most 3 times"
    ),
    "when(metric('acc', best='max').reaches(0.95, rearm=0.9)).saturate(eta=0.5)": (
        "when acc reaches 0.95 (again after falling back to 0.9), multiply the LR by min(1, 0.5·LR/(LR + 1e-8))"
    ),
    "when(evaluation('acc', every='1 epoch', best='max').reaches(0.9)).stop()": (
        "when acc (evaluated every 1 epoch) reaches 0.9, stop the run, once"
    ),
    "when(loss.smoothed(10).plateaus(5)).begin(linear('10%', to=0)).after('5%')": (
        "when loss, smoothed over 10 observations, has not improved in more than 5 observations, "
        "begin linear('10%'), not in the first 5%, once"
    ),
    "when(loss.plateaus(1, flavor='torch') | loss.diverges()).scale(0.1).rest('2 epochs')": (
        "when loss has not improved in more than 1 observation (as torch counts) or loss is not finite, "
        "multiply the LR by 0.1, then rest for 2 epochs"
    ),
    "when(always()).relax(0.001)": "when an update is done, multiply the LR by 1 − 0.001·LR/(LR + 1e-8)",
    "when(loss.reaches(1) & loss.reaches(2)).scale(2).every_time()": (
        "when loss reaches 1 and loss reaches 2, multiply the LR by 2, each time anew"
    ),
    "when(loss.reaches(1))": "when loss reaches 1, do nothing",
}


@pytest.mark.parametrize("text", RULES)
def test_a_rule_in_words(text: str) -> None:
    assert rule_in_words(lehr.parse(text)) == RULES[text]
