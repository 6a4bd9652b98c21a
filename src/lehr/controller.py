"""The controller: a running policy, the only thing with a state.

Everything it decides is decided by `Plan.update`, which is pure; the controller keeps the state, looks the LR up in a
table made ahead, calls evaluation functions, writes the journal, and says all of it again after a resume.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Literal

from lehr.difference import Difference
from lehr.errors import LehrError, LehrWarning
from lehr.explain import finished, why_now, why_then
from lehr.gather import Gathering, Keep, Window
from lehr.journal import Event, Journal
from lehr.lengths import Horizon, as_horizon
from lehr.listeners import Audience, Listener
from lehr.plan import PolicyState
from lehr.policy import Bind, Facts, Groups, Policy, PolicyLike
from lehr.replan import InForce, anchored, compared, edited, joined, replanned
from lehr.reports import Reports
from lehr.resolved import as_base, by_hand, evaluations, given_groups, resolved
from lehr.resume import OnChange, Saved, as_on_change, changes, unless_saved
from lehr.rules import Action, Observation, Rollback, Rule
from lehr.state import SCHEMA, carry_over, last_decisions, remembered, save
from lehr.tabulated import Table
from lehr.text import as_policy

__all__ = ["Controller", "OnChange", "start"]

CarryOut = Callable[[Any, Event], str]  # (action, event) → what was done, in words
Share = Callable[["Controller", Window], tuple[Window, list[tuple[str, str]]]]  # the window of all, (key, warning)s


def start(
    policy: PolicyLike | str,
    *,
    lr: float | Sequence[float],
    steps: int | None = None,
    horizon: Horizon | None = None,
    evaluate: Mapping[str, Callable[[], float]] | None = None,
    names: Sequence[str] | None = None,
    hyper: Mapping[str, Sequence[float]] | None = None,
    on_change: OnChange = "error",
    strict: bool = False,
    carry_out: CarryOut | None = None,
) -> Controller:
    """Run a policy, without any framework.

    Args:
        policy: a policy, schedule, rule, or the text of one.
        lr: the base LR, one number or one per group.
        steps: updates in the run; short for `horizon=Horizon(steps=...)`, never both.
        horizon: the facts of the run.
        evaluate: name → function of no arguments, for each `evaluation(name, ...)` of the policy.
        names: of the groups, for `groups(head=...)`.
        hyper: base values of other hyperparameters, one per group, for `bind(momentum=...)`.
        on_change: what `load_state_dict` does if policy, horizon or base LR differ from the saved ones.
        strict: whether two different reports of one number at one step are an error instead of a warning.
        carry_out: for loops that restore weights themselves: a function of the action (`rollback`, or a `stop` with the
            best weights) and its event, called at the end of the update that asked for it; it does what the action asks
            of model and optimiser, and returns what it did, in words for the journal.

    Raises:
        LehrError: something is missing or cannot be right; nothing is found out later in the run.

    Example:
        >>> run = start("warmup(10).then(cosine())", lr=0.1, steps=100)
        >>> for _ in range(100):
        ...     lr = run.lr  # use it for the update
        ...     run.step(loss=0.7)
        >>> run.done, run.lr
        (True, 0.0)
    """
    bases, groups = given_groups(lr, names, hyper or {})
    return Controller(
        as_policy(policy),
        bases,
        as_horizon(steps, horizon),
        evaluate=evaluate or {},
        groups=groups,
        on_change=on_change,
        strict=strict,
        carry_out=carry_out,
    )


class Controller:
    """A running policy; made by `start`, or by an adapter.

    Attributes:
        policy: the policy in force.
        horizon: the facts of the run.
        t: updates applied so far; the next one is update t.
        events: the journal, oldest first.
    """

    def __init__(
        self,
        policy: Policy | Groups | Bind,
        bases: Mapping[str, tuple[float, ...]],
        horizon: Horizon,
        *,
        evaluate: Mapping[str, Callable[[], float]],
        groups: Sequence[Facts],
        on_change: OnChange = "error",
        strict: bool = False,
        carry_out: CarryOut | None = None,
        heed: Callable[[Observation], None] | None = None,
        keep: Keep | None = None,
        share: Share | None = None,
    ) -> None:
        self.t = 0
        self.events = Journal()
        self._bases = dict(bases)
        self._groups = list(groups)
        self._evaluate = dict(evaluate)
        self._carry_out = carry_out
        self._heed = heed  # an adapter hears what the rules hear, before them
        self._on_change: OnChange = as_on_change(on_change)
        self._audience = Audience()
        self._reports = Reports(strict)
        self._share = share
        self._gathering = Gathering(keep, always=share is not None)
        self._warned: set[str] = set()
        self._last: dict[str, list[float]] | None = None
        self._plan(policy, horizon)

    # What it says

    @property
    def lr(self) -> float:
        """The LR of the first group for the next update."""
        return self.hyper["lr"][0]

    @property
    def lrs(self) -> list[float]:
        """The LR of each group for the next update."""
        return list(self.hyper["lr"])

    @property
    def last_lr(self) -> list[float]:
        """The LR of each group that the last update used (before the first one: that it will use)."""
        return list((self._last or self.hyper)["lr"])

    @property
    def hyper(self) -> dict[str, list[float]]:
        """Every hyperparameter that the policy governs, for the next update, one value per group."""
        return self.ahead().at(self.t)

    @property
    def base_lrs(self) -> list[float]:
        """The base LR of each group."""
        return list(self._bases["lr"])

    @property
    def done(self) -> bool:
        """Whether the run is over: stopped by a rule, at the horizon, or at the end of a begun fixed schedule."""
        return self.ended(self.t)

    def why(self, step: int | None = None) -> str:
        """Why the LR is what it is: base × factor × gain, where in the plan, what last changed it, what rules say.

        Args:
            step: the update asked about; default: the next one. Of an update in the past the journal tells: the last
                change before it, and what each rule said of its signal then.

        Raises:
            LehrError: a step that is still to come.
        """
        if step is None or step == self.t:
            return why_now(self._tracks, self.hyper, self.t, self.events)
        return why_then(step, self.t, self.events)

    # What it is told

    def step(self, *, applied: bool = True, **numbers: float) -> None:
        """Say that an update was applied: call it once after each one.

        Args:
            applied: false for an update that was skipped (AMP overflow): nothing advances, nothing is evaluated, and
                the numbers are not heard, as they belong to no update.
            numbers: what was measured at this update, by name; Lehr's rules read it.
        """
        if applied:
            self.advance(1, numbers)

    def observe(self, **numbers: float) -> None:
        """Report numbers at the present step, without advancing. The same report twice is heard once."""
        if not self.listens:
            return
        heard = self._heard(self.t, numbers)
        if self._audience.reads and heard:
            self._audience.step(self.t, self.lrs, heard)
        if self._gathering.waits:
            self._gathering.add(self.t, heard)
        else:
            self._show(Observation(self.t, heard, False))

    def subscribe(
        self, function: Callable[..., None] | Listener, on: Literal["events", "steps"] = "events"
    ) -> Callable[[], None]:
        """Have `function` called: with each event, or with (step, LRs, numbers) of each update and report.

        Args:
            function: it; or a `Listener`, such as those of `lehr.trackers`, which hears of updates and events.
            on: what a function is called with.

        Returns:
            A function that ends the subscription.

        Raises:
            LehrError: it is neither a function nor a listener, or what it wants to hear cannot be.
        """
        return self._audience.join(function, on)

    def finish(self) -> str:
        """Say that the run has ended, and journal how much of the schedule it saw.

        Returns:
            The sentence that is journaled, such as "finished at 42 % of the schedule".
        """
        words = finished(self.t, self._tracks[0].plan.total)
        if not any(event.kind == "finish" and event.words == words for event in self.events):
            self._note(Event(self.t, "finish", words))
        return words

    # For adapters

    @property
    def listens(self) -> bool:
        """Whether anything is done with reported numbers; if not, they need not even be read."""
        return bool(self._rules or self._evaluations or self._audience.reads)

    @property
    def bases(self) -> dict[str, tuple[float, ...]]:
        """The base value of each hyperparameter, one per group."""
        return self._bases

    @property
    def states(self) -> list[tuple[str, tuple[int, ...], PolicyState]]:
        """What each policy remembers: the hyperparameter, the groups, the state."""
        return [(track.target, track.groups, track.state) for track in self._tracks]

    @property
    def gathered(self) -> tuple[str, ...]:
        """The names that the rules read, sorted."""
        return self._gathering.names

    @property
    def evaluated(self) -> set[str]:
        """Those of them that are obtained by calling a function."""
        return {name for name, _ in self._evaluations}

    @property
    def by_hand(self) -> list[Rule]:
        """The rules whose actions an adapter or `carry_out` does by hand: they restore weights."""
        return by_hand(self._tracks)

    def quiet(self, most: int) -> int:
        """How many updates, from the next one on, no listener wants to hear of; at most `most`."""
        return self._audience.quiet(self.t, most)

    def ended(self, step: int) -> bool:
        """Whether the run would be over at `step`, as things stand."""
        return self._table.end is not None and step >= self._table.end

    def ahead(self) -> Table:
        """The table that holds the next update."""
        if not self._table.covers(self.t):
            self._tabulate()
        return self._table

    def glide(self, step: int) -> None:
        """Go to `step` inside the present table, when nothing listens: the adapter wrote the values itself."""
        if step > self.t:
            self._last, self.t = self._table.at(step - 1), step

    def advance(self, count: int, numbers: Mapping[str, float]) -> None:
        """Advance by `count` applied updates; the numbers belong to the last of them. `step` is this with 1."""
        self._last = used = self.hyper
        t = self.t + count - 1
        if not self.listens:
            self.t = t + 1
            self._audience.update(t, count, used["lr"], self._groups, self._tracks)
            return
        heard = self._heard(t, numbers)
        heard |= self._heard(t, self._evaluated(t, count))
        self.t = t + 1
        self._audience.update(t, count, used["lr"], self._groups, self._tracks)
        if self._audience.reads:
            self._audience.step(t, used["lr"], heard)
        if not self._gathering.waits:
            self._show(Observation(t, heard, True))
        elif not self._gathered(t, count, heard):
            return
        for name, words in self._reports.overdue(self.t):
            self._warn(f"unheard {name}", words)

    def adopt(self, group: int, value: float, target: str = "lr") -> None:
        """Take a value that somebody wrote by hand for group `group`: it goes into the gain and is journaled."""
        before = tuple(self.hyper["lr"])
        for track in self._tracks:
            if track.target != target or group not in track.groups:
                continue
            old = self.hyper[target][group]
            words = f"{target} of group {group} was changed by hand from {old:.6g} to {value:.6g}"
            if not (math.isfinite(value) and value >= 0):
                self._warn(f"edit {target}", f"{words}, which no {target} can be; it is put back")
                return
            state = edited(track, group, old, value, self.t)
            if state is None:
                self._note(Event(self.t, "edit", f"{words}; it cannot last, as the schedule is at 0 here"))
                return
            track.state = state
            self._tabulate()
            self._note(Event(self.t, "edit", words, lr_before=before, lr_after=tuple(self.hyper["lr"])))

    def add_group(self, bases: Mapping[str, float], group: Facts | None = None) -> None:
        """A parameter group has joined: its present values are its base, and it follows the plan from here."""
        old = {(track.target, track.plan.policy): track for track in self._tracks}
        known = self._groups, self._bases
        self._groups = [*self._groups, group or {}]
        self._bases = {
            target: (*values, as_base(bases.get(target, 0.0), target)) for target, values in self._bases.items()
        }
        try:
            self._plan(self.policy, self.horizon)
        except LehrError:
            self._groups, self._bases = known
            raise
        for track in self._tracks:
            before = old.get((track.target, track.plan.policy))
            if before is not None:
                track.state = joined(track, before)
            track.state = track.state._replace(step=self.t)
        self._tabulate()

    # Change of plan

    def replan(
        self,
        policy: PolicyLike | str,
        *,
        steps: int | None = None,
        horizon: Horizon | None = None,
        no_jump: bool = False,
    ) -> None:
        """Change the plan in mid-run: from the next update on, the new curve at the present step.

        Gains stay; rules that are in both policies keep their memory. It is journaled.

        Args:
            policy: the new policy, schedule, rule or text.
            steps: the new length of the run; default: the present horizon.
            horizon: the same, as a horizon; never both.
            no_jump: re-anchor, so that the LR does not jump: the gain takes up the difference.
        """
        given = as_horizon(steps, horizon)
        if horizon is None:
            given = self.horizon if steps is None else replace(self.horizon, steps=steps)
        before_it = [remembered(track) for track in self._tracks]
        before, old = self.hyper, self.policy.text()
        self._plan(as_policy(policy), given)
        for track in self._tracks:
            carry_over(track, before_it, self.t, same=False)
        self._tabulate()
        if no_jump:
            self._anchor(before)
        words = replanned(old, self.policy.text(), given, before, self.hyper)
        self._note(Event(self.t, "replan", words, lr_before=tuple(before["lr"]), lr_after=tuple(self.lrs)))

    def preview(
        self,
        policy: PolicyLike | str,
        *,
        steps: int | None = None,
        horizon: Horizon | None = None,
        no_jump: bool = False,
        group: int = 0,
        target: str = "lr",
    ) -> Difference:
        """What `replan` with the same arguments would change; nothing is changed.

        Args:
            policy: as in `replan`.
            steps: as in `replan`.
            horizon: as in `replan`.
            no_jump: as in `replan`.
            group: whose LR is looked at.
            target: another hyperparameter to look at; notes name those that change.

        Returns:
            Both curves from the present step to the later end of the run (or over twice the steps so far and 1000
            more if it has none), as if no rule fired; `print` it.

        Example:
            >>> run = start("cosine()", lr=0.1, steps=100)
            >>> for _ in range(50):
            ...     run.step()
            >>> print(run.preview("cosine()", steps=200))
            they first differ at step 50
            most at step 84: 0.006185 → 0.06243 (× 10.1)
            at step 199: 0 → 6.168e-06
            area: × 5.668
            the run ends at step 100 → 200
        """
        if isinstance(group, bool) or not isinstance(group, int) or not 0 <= group < len(self._groups):
            raise LehrError(f"preview(group=...) must be one of the {len(self._groups)} groups, got {group!r}")
        if target not in self._bases:
            raise LehrError(f"preview(target=...) must be one of {', '.join(self._bases)}, got {target!r}")
        notes: list[str] = []
        twin = copy.copy(self)
        twin.events, twin._reports, twin._gathering = Journal(), Reports(strict=False), copy.copy(self._gathering)
        twin._audience = Audience()
        twin._warn = lambda key, words: notes.append(words)  # type: ignore[method-assign]
        twin.replan(policy, steps=steps, horizon=horizon, no_jump=no_jump)
        return compared(self._in_force(), twin._in_force(), self.t, target, group, notes)

    def learn(self, bases: Mapping[str, tuple[float, ...]]) -> None:
        """Take note of hyperparameters that nothing has governed so far; known ones keep their base."""
        self._bases = {**bases, **self._bases}

    def _in_force(self) -> InForce:
        return InForce(self._tracks, self._bases, self.ahead().end)

    # State

    def state_dict(self) -> dict[str, Any]:
        """Everything that is needed to go on, as JSON-plain data: numbers, texts, lists, dicts.

        Of many ranks each saves the same, whatever it alone has heard since they last spoke with each other.
        """
        shares = self._share is not None and self._rules
        window = {} if shares else self._gathering.plain()
        horizon = {name: value for name, value in asdict(self.horizon).items() if value is not None}
        return {
            "schema": SCHEMA,
            "policy": self.policy.text(full=True),
            "horizon": horizon,
            "step": self.t,
            "bases": {name: list(values) for name, values in self._bases.items()},
            "values": {name: list(values) for name, values in self.hyper.items()},
            "last": None if self._last is None else {name: list(values) for name, values in self._last.items()},
            "tracks": [save(track) for track in self._tracks],
            "reported": self._reports.plain(shares),
            "decisions": [e.plain() for e in last_decisions(self.events) if not (shares and e.kind == "warning")],
            **({"window": window} if window else {}),
        }

    def load_state_dict(self, state: Mapping[str, Any], on_change: OnChange | None = None) -> None:
        """Go on from a saved state. Loading twice is loading once; the order relative to the optimiser is free.

        Args:
            state: from `state_dict`; it is not changed.
            on_change: what to do if policy, horizon or base LR are not the saved ones; default: as at the start.
                "error" says what differs; "keep_saved" goes on with the saved ones; "use_new" takes the new curve at
                the saved step; "use_new_no_jump" the same, re-anchored so that the LR does not jump.

        Raises:
            LehrError: the state is not one of Lehr's, of a later version, for other groups, or (with "error") changed.
        """
        mode = self._on_change if on_change is None else as_on_change(on_change)
        saved = Saved.of(state, len(self._groups))
        differs = changes(saved, self.policy, self.horizon, self._bases)
        if differs and mode == "error":
            raise LehrError(
                f"the saved run differs: {'; '.join(differs)}. Say on_change='keep_saved' to go on with the saved one, "
                "'use_new' for the new curve at the saved step, or 'use_new_no_jump' to re-anchor it at the present LR"
            )
        if not differs or mode == "keep_saved":
            self._restore(saved, saved.policy, saved.horizon, saved.bases, same=True)
        else:
            self._restore(saved, self.policy, self.horizon, unless_saved(self._bases, saved), same=False)
            if mode == "use_new_no_jump":
                self._anchor(saved.values)
            words = f"resumed at step {self.t} with changes ({'; '.join(differs)})"
            self._note(Event(self.t, "replan", words, lr_before=saved.values["lr"], lr_after=tuple(self.lrs)))

    def _restore(
        self,
        saved: Saved,
        policy: Policy | Groups | Bind,
        horizon: Horizon,
        bases: Mapping[str, tuple[float, ...]],
        same: bool,
    ) -> None:
        """Put a policy in force where the saved one stood; nothing is changed if it cannot be."""
        mine, self._bases = self._bases, dict(bases)
        try:
            self._plan(policy, horizon)
        except LehrError:
            self._bases = mine
            raise
        self.t, self._last = saved.step, saved.last
        for track in self._tracks:
            carry_over(track, saved.tracks, self.t, same)
        self._reports.load(saved.reported)
        self._gathering.load(saved.window)
        self.events = Journal(since=self.t)
        for event in saved.events:
            self.events.add(event)
        self._tabulate()

    def _anchor(self, wanted: Mapping[str, Sequence[float]]) -> None:
        """Let the gains take up the difference to the wanted values."""
        for track in self._tracks:
            track.state, jumped = anchored(track, wanted, self.t)
            if jumped:
                self._warn("anchor", f"the new schedule is at 0 at step {self.t}: the LR had to jump there")
        self._tabulate()

    # Inside

    def _plan(self, policy: Policy | Groups | Bind, horizon: Horizon) -> None:
        """Resolve a policy and put it in force; nothing is changed if it cannot be."""
        found = resolved(policy, horizon, self._bases, self._groups, list(self._evaluate), self._carry_out is not None)
        self._gathering.follow(found, horizon)
        self.policy, self.horizon, self._tracks = policy, horizon, found
        self._evaluations = evaluations(found, horizon)
        self._rules = any(track.plan.rules for track in found)
        #: Hyperparameter and group, for all that the policy governs; the others are not Lehr's to write.
        self.governed = sorted((track.target, group) for track in found for group in track.groups)
        self._reports.expect(found, horizon)
        self._tabulate()

    def _tabulate(self) -> None:
        self._table = Table.of(self._tracks, self._bases, self.t)

    def _heard(self, step: int, numbers: Mapping[str, Any]) -> dict[str, float]:
        """The numbers that were not heard of this step before; a contradiction is said once for each name.

        What an adapter keeps where it lies is gathered there, unless every number is told to somebody.
        """
        if not self._audience.reads:
            numbers = self._gathering.kept(step, numbers, lambda name: self._reports.unread(step, name))
        heard, complaints = self._reports.new(step, numbers)
        for words in complaints:
            self._warn(f"twice {words.split()[0]}", words)
        return heard

    def _evaluated(self, t: int, count: int) -> dict[str, float]:
        """Call each evaluation function whose cadence ends in the updates just applied."""
        due = {name for name, every in self._evaluations if (t + 1) // every > (t + 1 - count) // every}
        return {name: self._evaluate[name]() for name in sorted(due)}

    def _gathered(self, t: int, count: int, heard: Mapping[str, float]) -> bool:
        """Gather what was heard of update t; at a cadence point show it to the rules, and say so."""
        self._gathering.add(t, heard)
        if not self._gathering.ends(t, count):
            return False
        window = self._gathering.take(t)
        if self._share is not None:
            window, noticed = self._share(self, window)
            self._reports.shared(t, window.sums)
            for key, words in noticed:
                self._warn(key, words)
        self._show(Observation(t, window.means, True, window.bad), window.since)
        return True

    def _show(self, observation: Observation, since: int | None = None) -> None:
        """Show the rules what was observed; those that slept at step `since` do not hear of it."""
        if not self._rules:
            return
        if self._heed is not None:
            self._heed(observation)
        lrs = self.lrs
        events: list[Event] = []
        rolled_back = False
        for track in self._tracks:
            state = track.state._replace(step=self.t)
            track.state, decisions = track.plan.update(state, observation, since)
            for decision in decisions:  # a plan knows its own groups; the journal tells of all
                before, after = tuple(lrs), list(lrs)
                event = decision.event
                if track.target == "lr" and event.lr_after:
                    for group, lr in zip(track.groups, event.lr_after, strict=True):
                        after[group] = lr
                if event.kind != "verdict":
                    event = replace(event, lr_before=before, lr_after=tuple(after))
                if event.kind == "rule":
                    lrs = after
                    event = self._carried_out(decision.action, event)
                    rolled_back |= isinstance(decision.action, Rollback)
                events.append(event)
        if rolled_back:
            for track in self._tracks:
                track.state = track.plan.rolled_back(track.state)
        if any(event.kind == "rule" for event in events):
            self._tabulate()
        for event in events:
            self._note(event)

    def _carried_out(self, action: Action | None, event: Event) -> Event:
        """The event, after the adapter has done what the action asks of model and optimiser."""
        if self._carry_out is None or not getattr(action, "by_hand", False):
            return event
        words = self._carry_out(action, event)
        return replace(event, words=f"{event.words}; {words}" if words else event.words)

    def _warn(self, key: str, words: str) -> None:
        if key not in self._warned:
            self._warned.add(key)
            self._note(Event(self.t, "warning", words))
            warnings.warn(words, LehrWarning, stacklevel=2)

    def _note(self, event: Event) -> None:
        if self.events.add(event):
            self._audience.event(event)
