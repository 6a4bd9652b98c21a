import dataclasses

import pytest

from lehr.journal import Event
from lehr.report.tables import notes
from lehr.report.wording import change, count, event_sentence, listed, number, peak, short, verdict
from lehr.study.stats import Ranking

RANKING = Ranking(
    workload="digits",
    policy="cosine",
    text="cosine()",
    rank=1,
    untuned_rank=1,
    peak=1.0,
    lr=0.1,
    edge=None,
    test_loss=0.12345,
    test_metric=0.9,
    untuned_test_loss=0.2,
    untuned_test_metric=0.9,
    difference=-0.1,
    low=-0.2,
    high=-0.05,
    pairs=3,
    seeds=3,
    steps_to=500,
    rules=0,
    silent_rules=(),
    diverged=0,
    diverged_at_peak=0,
    failed=0,
)
CONTROL = dataclasses.replace(RANKING, policy="constant", rank=3, difference=None, low=None, high=None, pairs=0)


@pytest.mark.parametrize(
    ("value", "written", "shortened"),
    [
        (0.05, "0.05000", "0.05"),
        (0.96333, "0.9633", "0.9633"),
        (1.0, "1.000", "1"),
        (123456.0, "123456", "123456"),
        (3e-5, "3e-5", "3e-5"),
        (1.23456e-7, "1.235e-7", "1.235e-7"),
        (2.5e9, "2.5e9", "2.5e9"),
        (-0.25, "-0.2500", "-0.25"),
        (0.0, "0", "0"),
        (None, "–", "–"),
        (float("inf"), "–", "–"),
    ],
)
def test_numbers(value: float | None, written: str, shortened: str) -> None:
    assert number(value) == written
    assert short(value) == shortened


def test_small_words() -> None:
    assert (change(0.5), change(-0.5), change(0.0), change(None)) == ("+0.500", "−0.500", "0", "–")
    assert (peak(1 / 3), peak(1.0), peak(3.0), peak(0.5)) == ("×⅓", "×1", "×3", "×0.5")
    assert (count(1, "run"), count(2, "run"), count(12000, "policy", "policies")) == (
        "1 run",
        "2 runs",
        "12 000 policies",
    )
    assert (listed([]), listed(["a"]), listed("ab"), listed([1, 2, 3])) == ("", "a", "a and b", "1, 2 and 3")


def test_an_event_says_when_what_and_why() -> None:
    event = Event(140, "rule", "loss improved 0.4 % over 200 steps", lr_before=(0.1, 0.2), lr_after=(0.05, 0.1))
    assert event_sentence(event) == "Step 140: LR 0.2 → 0.1, because loss improved 0.4\u00a0% over 200 steps."
    many = dataclasses.replace(event, times=3, last=142)
    assert event_sentence(many).startswith("Steps 140 to 142, 3 times: LR 0.2 → 0.1, because")
    assert event_sentence(Event(9, "finish", "finished at 42 % of the schedule")) == (
        "Step 9: finished at 42\u00a0% of the schedule."
    )


def test_the_verdict_claims_no_more_than_the_intervals() -> None:
    unclear = dataclasses.replace(RANKING, policy="b", low=-0.1, high=0.1)
    worse = dataclasses.replace(RANKING, policy="c", low=0.1, high=0.2)
    assert verdict([RANKING, unclear, CONTROL, worse]) == (
        "“cosine” has the lowest median test loss, 0.1235. The interval of the difference to the tuned constant LR, "
        "from 3 seeds, lies below zero (better) for 1 policy, above zero (worse) for 1 policy and on both sides of "
        "zero (not known) for 1 policy."
    )
    assert verdict([CONTROL]) == "“constant” has the lowest median test loss, 0.1235."
    assert "nothing to compare" in verdict([dataclasses.replace(CONTROL, test_loss=None)])
    assert "nothing to compare" in verdict([])


def test_notes_are_what_a_reader_must_know() -> None:
    assert notes(RANKING) == []
    troubled = dataclasses.replace(
        RANKING, edge="high", rules=1, silent_rules=("when(...)",), diverged=3, diverged_at_peak=1, failed=2
    )
    assert notes(troubled) == [
        "highest peak tried",
        "rule never fired",
        "1 of 3 runs diverged",
        "diverged at another peak",
        "2 failed",
    ]
    assert notes(dataclasses.replace(RANKING, rules=2, silent_rules=("a",))) == ["1 of 2 rules never fired"]
