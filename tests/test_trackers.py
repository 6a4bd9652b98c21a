"""Listeners and trackers: who hears of which update and event, what it costs, and that it never ends a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

import lehr
from lehr.trackers import Tracker, mlflow, tensorboard, wandb

HALVED = "when(loss.reaches(0.5)).scale(0.5)"


class Listening:
    """Keeps what it hears, in order."""

    def __init__(self, every: int = 1) -> None:
        self.every = every
        self.heard: list[Any] = []

    def update(self, step: int, lrs: Mapping[str, float], gains: Mapping[str, float]) -> None:
        self.heard.append((step, dict(lrs), dict(gains)))

    def event(self, event: lehr.Event) -> None:
        self.heard.append(event.kind)


class Sink:
    """Keeps what a tracker writes; fails at the writes whose numbers are in `broken`."""

    def __init__(self, broken: Any = ()) -> None:
        self.broken, self.tried = broken, 0
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.events: list[lehr.Event] = []

    def numbers(self, step: int, numbers: Mapping[str, float]) -> None:
        self.tried += 1
        if self.tried - 1 in self.broken:
            raise OSError("no network")
        self.rows.append((step, dict(numbers)))

    def event(self, event: lehr.Event) -> None:
        self.events.append(event)


def applied(run: lehr.Controller, updates: int) -> None:
    for _ in range(updates):
        run.step()


def test_a_listener_hears_of_each_update_the_lr_it_used_and_of_events_in_their_order() -> None:
    run, listener = lehr.start(f"Policy(linear(), rules=[{HALVED}])", lr=1.0, steps=4), Listening()
    run.subscribe(listener)
    for loss in (0.9, 0.4, 0.3, 0.2):
        run.step(loss=loss)
    run.finish()
    one = {"0": 1.0}
    assert listener.heard == [
        (0, {"0": 1.0}, one),
        (1, {"0": 0.75}, one),
        "rule",
        (2, {"0": 0.25}, {"0": 0.5}),
        (3, {"0": 0.125}, {"0": 0.5}),
        "finish",
    ]


@pytest.mark.parametrize("every", [1, 2, 3, 10])
def test_a_listener_hears_of_every_so_many_updates(every: int) -> None:
    run, listener = lehr.start("linear()", lr=0.1, steps=25), Listening(every)
    run.subscribe(listener)
    for _ in range(25):
        run.step()
    assert [step for step, _, _ in listener.heard] == list(range(0, 25, every))


@pytest.mark.parametrize("count", [1, 3, 7, 10, 25])
def test_of_updates_that_are_counted_together_the_last_is_told_if_one_is_due(count: int) -> None:
    run, listener = lehr.start("linear()", lr=0.1, steps=100), Listening(10)
    run.subscribe(listener)
    for _ in range(0, 100 - count, count):
        run.advance(count, {})
    ends = range(count - 1, run.t, count)
    due = [end for end in ends if any(step % 10 == 0 for step in range(end - count + 1, end + 1))]
    assert [step for step, _, _ in listener.heard] == due


def test_groups_are_called_by_their_names_if_each_has_one() -> None:
    halves = lehr.groups(lehr.constant(), lehr.parse(HALVED))
    for names, labels in ((("body", "head"), ["body", "head"]), (("", "head"), ["0", "1"])):
        run, listener = lehr.start(halves, lr=[0.2, 0.1], names=names), Listening()
        run.subscribe(listener)
        run.step(loss=0.4)
        run.step(loss=0.4)
        assert listener.heard[-1] == (
            1,
            dict(zip(labels, (0.2, 0.05), strict=True)),
            dict(zip(labels, (1.0, 0.5), strict=True)),
        )


def test_the_gain_is_that_of_the_lr_though_a_rule_has_changed_another_hyperparameter() -> None:
    policy = lehr.bind(lr=lehr.constant(), momentum=lehr.parse(HALVED))
    run, listener = lehr.start(policy, lr=0.1, hyper={"momentum": [0.9]}), Listening()
    run.subscribe(listener)
    run.step(loss=0.4)
    run.step(loss=0.9)
    assert run.hyper["momentum"] == [0.45]
    assert [heard for heard in listener.heard if heard != "rule"] == [(t, {"0": 0.1}, {"0": 1.0}) for t in range(2)]


def test_a_listener_makes_nobody_read_what_is_reported() -> None:
    class Device:
        def __float__(self) -> float:
            raise AssertionError("a synchronisation")

    run = lehr.start("cosine()", lr=0.1, steps=10)
    run.subscribe(Listening())
    assert not run.listens
    run.step(loss=Device())  # type: ignore[arg-type]
    assert run.t == 1


def test_a_subscription_ends() -> None:
    run, listener = lehr.start(HALVED, lr=0.1, steps=10), Listening()
    end = run.subscribe(listener)
    run.step(loss=0.9)
    end()
    end()
    run.step(loss=0.4)
    assert listener.heard == [(0, {"0": 0.1}, {"0": 1.0})]


def test_a_preview_tells_nobody() -> None:
    run, listener = lehr.start("cosine()", lr=0.1, steps=10), Listening()
    run.subscribe(listener)
    run.preview("linear()")
    assert listener.heard == []
    run.replan("linear()")
    assert listener.heard == ["replan"]


@pytest.mark.parametrize("every", [0, -1, 1.5, True, "10"])
def test_an_every_that_is_no_number_of_updates_is_refused(every: Any) -> None:
    with pytest.raises(lehr.LehrError, match="every must be a whole number of at least 1"):
        lehr.start("cosine()", lr=0.1, steps=10).subscribe(Listening(every))
    with pytest.raises(lehr.LehrError, match="every must be a whole number of at least 1"):
        Tracker(Sink(), every)


def test_what_cannot_be_told_is_refused() -> None:
    run = lehr.start("cosine()", lr=0.1, steps=10)
    with pytest.raises(lehr.LehrError, match="leave on='steps' out"):
        run.subscribe(Listening(), on="steps")
    with pytest.raises(lehr.LehrError, match="needs a function, or a listener"):
        run.subscribe("a.log")  # type: ignore[arg-type]
    with pytest.raises(lehr.LehrError, match="must be 'events' or 'steps', got 'updates'"):
        run.subscribe(print, on="updates")  # type: ignore[arg-type]
    with pytest.raises(lehr.LehrError, match="must be a SummaryWriter, with add_scalar and add_text; got str"):
        tensorboard("runs/1")
    with pytest.raises(lehr.LehrError, match=r"must be what wandb.init\(\) returns, with log and define_metric; got"):
        wandb("my project")


def test_groups_have_one_series_until_they_differ_and_then_one_each() -> None:
    halves = lehr.groups(lehr.parse(HALVED), lehr.constant())
    run, sink = lehr.start(halves, lr=[0.1, 0.1]), Sink()
    run.subscribe(Tracker(sink, every=1))
    for loss in (0.9, 0.4, 0.9):
        run.step(loss=loss)
    assert sink.rows == [
        (0, {"lehr/lr": 0.1, "lehr/gain": 1.0}),
        (1, {"lehr/lr": 0.1, "lehr/gain": 1.0}),
        (2, {"lehr/lr/0": 0.05, "lehr/lr/1": 0.1, "lehr/gain/0": 0.5, "lehr/gain/1": 1.0}),
    ]


def test_a_tracker_that_fails_says_so_once_and_the_run_goes_on() -> None:
    run, sink = lehr.start("linear()", lr=1.0, steps=100), Sink(broken=range(100))
    run.subscribe(Tracker(sink, every=1))
    with pytest.warns(lehr.LehrWarning, match=r"Sink could not be written \(OSError: no network\)") as warned:
        applied(run, 100)
    assert run.t == 100
    assert len(warned) == 1
    assert (
        sink.tried == 6
    )  # after failures 1 … 6 it waits for 1, 3, 7, 15, 31 and 63 writes: tries at 0, 2, 6, 14, 30, 62


def test_a_tracker_that_can_write_again_does() -> None:
    run, sink = lehr.start("linear()", lr=1.0, steps=10), Sink(broken={1})
    run.subscribe(Tracker(sink, every=1))
    with pytest.warns(lehr.LehrWarning, match="the run goes on"):
        applied(run, 10)
    assert [step for step, _ in sink.rows] == [0, 3, 4, 5, 6, 7, 8, 9]


def test_a_resumed_run_tells_no_event_twice_and_goes_on_with_its_updates() -> None:
    policy = f"Policy(linear(), rules=[{HALVED}, when(metric('acc', best='max').reaches(0.9), shadow=True).scale(2)])"
    losses = [0.9, 0.4, 0.4, 0.4, 0.4, 0.4]

    def tracked(run: lehr.Controller, sink: Sink, first: int, last: int) -> None:
        run.subscribe(Tracker(sink, every=2))
        for t in range(first, last):
            run.step(loss=losses[t], acc=0.95 if t > 3 else 0.1)

    whole, before, after = Sink(), Sink(), Sink()
    tracked(lehr.start(policy, lr=1.0, steps=6), whole, 0, 6)
    killed = lehr.start(policy, lr=1.0, steps=6)
    tracked(killed, before, 0, 3)
    resumed = lehr.start(policy, lr=1.0, steps=6)
    resumed.load_state_dict(killed.state_dict())
    tracked(resumed, after, 3, 6)
    assert before.rows + after.rows == whole.rows
    assert before.events + after.events == whole.events
    assert [event.kind for event in whole.events] == ["rule", "shadow"]


def test_warnings_hand_edits_and_changes_of_plan_are_told_too() -> None:
    run, sink = lehr.start("constant()", lr=1.0, steps=10), Sink()
    run.subscribe(Tracker(sink))
    run.adopt(0, 0.5)
    run.replan("linear()")
    with pytest.warns(lehr.LehrWarning, match="it is put back"):
        run.adopt(0, -1.0)
    run.finish()
    assert [event.kind for event in sink.events] == ["edit", "replan", "warning", "finish"]


class Writer:
    """As much of a SummaryWriter as is used."""

    def __init__(self) -> None:
        self.scalars: list[tuple[str, float, int]] = []
        self.texts: list[tuple[str, str, int]] = []

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        self.scalars.append((tag, value, step))

    def add_text(self, tag: str, text: str, step: int) -> None:
        self.texts.append((tag, text, step))


def test_verdicts_have_a_text_of_their_own() -> None:
    policy = "when(loss.improves_less_than(0.05, over=100)).scale(0.5)"
    run, writer = lehr.start(policy, lr=1.0, steps=400), Writer()
    run.subscribe(tensorboard(writer))
    for t in range(400):
        run.step(loss=max(2.0 - t / 100, 1.0) + 0.001 * (-1) ** t)
    events = {(f"lehr/{'verdict' if e.kind == 'verdict' else 'event'}", str(e), e.step) for e in run.events}
    assert set(writer.texts) == events
    assert {tag for tag, _, _ in writer.texts} == {"lehr/event", "lehr/verdict"}


def test_a_shared_run_of_wandb_which_has_no_step_hears_each_event_and_every_number() -> None:
    class Shared:
        def __init__(self) -> None:
            self.rows: list[dict[str, Any]] = []

        @property
        def step(self) -> int:
            raise RuntimeError("shared")

        def define_metric(self, name: str, step_metric: str) -> None: ...

        def log(self, row: dict[str, Any], commit: bool) -> None:
            self.rows.append(row)

    run, shared = lehr.start("constant()", lr=1.0, steps=40), Shared()
    run.subscribe(wandb(shared, every=1))
    applied(run, 30)
    run.adopt(0, 0.5)
    run.replan("linear()")
    assert [row["lehr/step"] for row in shared.rows[:30]] == list(range(30))
    assert [row["lehr/event"] for row in shared.rows[30:]] == [str(event) for event in run.events]


def test_mlflow_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ImportError, match=r"this needs mlflow, which is not installed; pip install 'lehr\[mlflow\]'"):
        mlflow()
