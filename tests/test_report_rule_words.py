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
    "when(loss.plateaus(1, cooldown=2, average=4)).scale(0.1)": (
        "when loss, averaged over 4 observations, has not improved in more than 1 mean, not counting 2 means "
        "after each time, multiply the LR by 0.1"
    ),
    "when(loss.plateaus(3, flavor='keras', cooldown=1)).scale(0.1)": (
        "when loss has not improved in more than 3 observations (as keras counts), not counting 1 "
        "observation after each time, multiply the LR by 0.1"
    ),
    "when(always()).relax(0.001)": "when an update is done, multiply the LR by 1 − 0.001·LR/(LR + 1e-8)",
    "when(loss.reaches(1) & loss.reaches(2)).scale(2).every_time()": (
        "when loss reaches 1 and loss reaches 2, multiply the LR by 2, each time anew"
    ),
    "when(loss.improves_in_a_row(3)).scale(1.5).within(0.1, 4)": (
        "when loss has improved on its best in 3 observations in a row, multiply the LR by 1.5, "
        "keeping the gain within 0.1 and 4"
    ),
    "when(loss.greedy_lr()).follow()": (
        "when loss has improved more than 10 times in a row, or not (as transformers counts), change the LR accordingly"
    ),
    "hypergradient(0.02)": (
        "when alignment asks for 1 + 0.02·alignment times the LR, change the LR accordingly, "
        "keeping the gain within 0.01 and 1"
    ),
    "when(loss.stalls('20%')).scale(0.1)": "when no improvement of loss can be shown over 20%, multiply the LR by 0.1",
    "when(metric('distance', best='max').levels_off()).scale(0.5)": (
        "when distance grows more slowly than n^0.6 with the steps n, multiply the LR by 0.5"
    ),
    "when(loss.spikes(8)).stop()": "when loss is 8 standard deviations worse than usual, stop the run, once",
    "when(loss.reaches(1))": "when loss reaches 1, do nothing",
}


@pytest.mark.parametrize("text", RULES)
def test_a_rule_in_words(text: str) -> None:
    assert rule_in_words(lehr.parse(text)) == RULES[text]
