"""The journal: rows of firings, sentences, plain data."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lehr
from lehr.journal import Event, Journal


def fired(step: int, rule: str = "a", before: float = 0.2, after: float = 0.1) -> Event:
    return Event(step, "rule", f"at {step}", rule, "scale(0.5)", (before,), (after,))


def rows(*steps_and_rules: tuple[int, str]) -> list[tuple[str, int, int, int]]:
    """(rule, first step, last step, times) of the journal after these firings."""
    journal = Journal()
    for step, rule in steps_and_rules:
        journal.add(fired(step, rule))
    return [(event.rule, event.step, event.end, event.times) for event in journal]


ROWS: list[tuple[str, list[tuple[int, str]], list[tuple[str, int, int, int]]]] = [
    ("nothing", [], []),
    ("once", [(3, "a")], [("a", 3, 3, 1)]),
    ("a row", [(3, "a"), (4, "a"), (5, "a")], [("a", 3, 5, 3)]),
    ("a gap", [(3, "a"), (5, "a"), (6, "a")], [("a", 3, 3, 1), ("a", 5, 6, 2)]),
    ("twice at one step is two events", [(3, "a"), (3, "a")], [("a", 3, 3, 1), ("a", 3, 3, 1)]),
    ("two rules side by side", [(1, "a"), (1, "b"), (2, "a"), (2, "b")], [("a", 1, 2, 2), ("b", 1, 2, 2)]),
    (
        "two groups with one rule side by side",
        [(1, "a"), (1, "a"), (2, "a"), (2, "a"), (3, "a"), (3, "a")],
        [("a", 1, 3, 3), ("a", 1, 3, 3)],
    ),
    (
        "another rule now and then does not break a row",
        [(1, "a"), (2, "a"), (2, "b"), *((t, "a") for t in range(3, 9)), (9, "b"), (9, "a")],
        [("a", 1, 9, 9), ("b", 2, 2, 1), ("b", 9, 9, 1)],
    ),
]


@pytest.mark.parametrize(("firings", "expected"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_firings_in_a_row_are_one_event(firings: Any, expected: Any) -> None:
    assert rows(*firings) == expected


def test_a_row_has_the_first_lr_and_the_last_words() -> None:
    journal = Journal()
    assert journal.add(fired(1, before=0.4, after=0.2)) is True
    assert journal.add(fired(2, before=0.2, after=0.1)) is False
    (event,) = journal
    assert (event.lr_before, event.lr_after, event.words) == ((0.4,), (0.1,), "at 2")
    assert str(event) == "steps 1 to 2 (2 times): at 2 → scale(0.5): LR 0.4 → 0.1"


def test_other_events_are_never_joined() -> None:
    journal = Journal()
    for step in (1, 2, 3):
        assert journal.add(Event(step, "edit", "by hand"))
    assert len(journal) == 3


def test_the_last_change_is_the_one_that_happened_last() -> None:
    journal = Journal()
    assert journal.last_change is None
    journal.add(Event(0, "warning", "w"))
    assert journal.last_change is None
    for step in range(1, 9):
        journal.add(fired(step, "a"))
        if step == 5:
            journal.add(fired(step, "b"))
    assert (journal.last_change or fired(0)).rule == "a"
    journal.add(fired(8, "b"))  # at the same step, later
    assert (journal.last_change or fired(0)).rule == "b"


@pytest.mark.parametrize(
    "event",
    [
        fired(3),
        Event(0, "finish", "finished at 42 % of the schedule"),
        Event(7, "edit", "by hand", lr_before=(0.1, 0.2), lr_after=(0.1, 0.3)),
        Event(1, "rule", "w", "r", "stop()", (0.1,), (0.1,), times=4, last=4),
        Event(1, "rule", "w", "r", "scale(9)", (1e308,), (math.inf,)),
    ],
)
def test_plain_data_round_trip(event: Event) -> None:
    assert Event.read(json.loads(json.dumps(event.plain(), allow_nan=False))) == event


def test_fields_of_a_later_version_are_passed_over() -> None:
    assert Event.read({"step": 1, "kind": "rule", "words": "w", "mood": "good"}) == Event(1, "rule", "w")


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        (Event(3, "rule", "loss is nan", "r", "stop()", (0.1,), (0.1,)), "step 3: loss is nan → stop()"),
        (Event(3, "edit", "by hand", lr_before=(0.1, 0.1), lr_after=(0.2, 0.2)), "step 3: by hand: LR 0.1 → 0.2"),
        (
            Event(3, "edit", "by hand", lr_before=(0.1, 0.1), lr_after=(0.1, 0.2)),
            "step 3: by hand: LR 0.1 → [0.1, 0.2]",
        ),
    ],
)
def test_sentences(event: Event, sentence: str) -> None:
    assert str(event) == sentence


def test_the_journal_reads_as_a_list() -> None:
    journal = Journal()
    assert repr(journal) == "nothing happened yet"
    for step in (1, 3):
        journal.add(fired(step))
    assert (len(journal), journal[0].step, journal[-1].step) == (2, 1, 3)
    assert [event.step for event in journal[0:2]] == [1, 3]
    assert repr(journal).count("\n") == 1


# A journal with a limit


def edit(step: int) -> Event:
    return Event(step, "edit", "by hand", lr_before=(0.2,), lr_after=(0.1,))


def test_a_journal_keeps_its_last_events_and_says_how_many_it_dropped() -> None:
    journal = Journal(limit=20)
    for step in range(100):
        journal.add(edit(step))
        assert len(journal) <= 20
        assert journal.dropped + len(journal) == step + 1
        assert journal[0].step == journal.since
    assert journal[-1].step == 99


def test_rows_go_on_after_older_events_were_dropped() -> None:
    journal = Journal(limit=10)
    for step in range(9):
        journal.add(edit(step))
    for step in range(9, 60):  # a row, and other events beside it
        journal.add(fired(step, "a"))
        journal.add(edit(step))
    rows = [event for event in journal if event.rule == "a"]
    assert all(one.end < other.step for one, other in itertools.pairwise(rows))
    assert (rows[-1].end, journal.last_change) == (59, journal[-1])


def run_of_edits(limit: int) -> lehr.Controller:
    """A run whose LR is halved by hand at every tenth of 100 updates."""
    run = lehr.start("constant()", lr=1.0, steps=200)
    run.events = Journal(limit=limit)
    for step in range(100):
        if step % 10 == 0:
            run.adopt(0, run.lr / 2)
        run.step()
    return run


def test_why_of_a_step_whose_events_were_dropped_says_so() -> None:
    run = run_of_edits(limit=5)
    since = run.events.since
    assert 0 < since < 90
    for step in range(since):
        assert "look into the trace" in run.why(step)
    assert "changed by hand from 0.00195312 to 0.000976562" in run.why(95)
    assert "5 after the last change" in run.why(95)


def test_why_does_not_say_that_nothing_was_changed_where_it_does_not_know() -> None:
    run = run_of_edits(limit=5)
    for step in range(100, 106):
        run.events.add(Event(step, "warning", "w"))
    assert run.events.last_change is None
    assert "nothing was changed" not in run.why()
    assert "of what came before a trace tells" in run.why()


def test_why_of_every_step_tells_of_the_last_change_before_it() -> None:
    run = run_of_edits(limit=1000)
    for step in range(100):
        assert f"step {step // 10 * 10}: lr of group 0 was changed by hand" in run.why(step)


def test_after_a_resume_why_tells_of_no_step_that_it_does_not_know() -> None:
    run = run_of_edits(limit=1000)
    again = lehr.start("constant()", lr=1.0, steps=200)
    again.load_state_dict(run.state_dict())
    assert again.why() == run.why()
    again.step()
    assert "look into the trace" in again.why(55)
    assert "10 after the last change" in again.why(100)


@pytest.mark.parametrize("step", [-1, 101, True, 3.0, "3"])
def test_why_of_no_step_of_the_past_is_refused(step: Any) -> None:
    with pytest.raises(lehr.LehrError, match="must be an update from 0 to 100"):
        run_of_edits(limit=10).why(step)


def test_verdicts_and_shadows_are_in_the_trace_and_read_back(tmp_path: Path) -> None:
    rules = [
        lehr.when(lehr.loss.improves_less_than(0.5, over=30)).scale(0.5),
        lehr.when(lehr.loss.plateaus(20), shadow=True).scale(0.1),
    ]
    run = lehr.start(lehr.Policy(lehr.constant(), rules), lr=0.1, steps=100)
    random = np.random.default_rng(0)
    with lehr.record(run, tmp_path / "trace.jsonl"):
        for _ in range(100):
            run.step(loss=float(1 + 0.3 * random.standard_normal()))
    assert {"rule", "shadow", "verdict"} <= {event.kind for event in run.events}
    assert lehr.Trace.read(tmp_path / "trace.jsonl").events == list(run.events)


def test_the_sentence_of_a_shadow_says_that_it_was_not_done() -> None:
    event = Event(3, "shadow", "loss stands", "r", "scale(0.5)", (0.1,), (0.05,))
    assert str(event) == "step 3: loss stands → would have done scale(0.5): LR 0.1 → 0.05"
