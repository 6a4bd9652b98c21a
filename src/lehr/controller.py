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
from numbers import Real
from typing import Any, Literal

import numpy as np

from lehr.difference import Difference, Steps, Values, sampled
from lehr.errors import LehrError, LehrWarning
from lehr.gather import Gathering, Keep, Window
from lehr.journal import Event, Journal
from lehr.lengths import Horizon, check_horizon, whole_steps
from lehr.plan import MOVED, Plan, PolicyState, Track
from lehr.policy import Bind, Facts, Groups, Policy, PolicyLike, tracks
from lehr.reports import Reports
from lehr.rules import Action, Observation, Rollback
from lehr.state import SCHEMA, carry_over, check, facts, last_decisions, read, remembered, save
from lehr.tabulated import Table
from lehr.text import as_policy, read_back

__all__ = ["Controller", "OnChange", "start"]

OnChange = Literal["error", "keep_saved", "use_new", "use_new_no_jump"]
CarryOut = Callable[[Any, Event], str]  # (action, event) → what was done, in words
Share = Callable[["Controller", Window], tuple[Window, list[tuple[str, str]]]]  # the window of all, (key, warning)s
ON_CHANGE = ("error", "keep_saved", "use_new", "use_new_no_jump")


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
    given: Any = lr
    bases = list(given) if isinstance(given, Sequence | np.ndarray) and not isinstance(given, str) else [given]
    if horizon is not None:
        check_horizon(horizon)
    if not bases or (names is not None and len(names) != len(bases)):
        raise LehrError(f"start(lr=..., names=...) needs one LR and one name for each group, got {lr!r} and {names!r}")
    values = {"lr": tuple(_base(value, "lr") for value in bases)}
    for name, given in (hyper or {}).items():
        if not isinstance(given, Sequence | np.ndarray) or len(given) != len(bases):
            raise LehrError(f"hyper[{name!r}] must have one value for each of {len(bases)} groups, got {given!r}")
        values[name] = tuple(_base(value, name) for value in given)
    if steps is not None and horizon is not None:
        raise LehrError(f"give steps= or horizon=, not both; got steps={steps} and {horizon}")
    return Controller(
        as_policy(policy),
        values,
        horizon or Horizon(steps=steps),
        evaluate=evaluate or {},
        groups=[
            {"name": name, **{key: given[i] for key, given in values.items()}}
            for i, name in enumerate(names or [""] * len(bases))
        ],
        on_change=on_change,
        strict=strict,
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
        if on_change not in ON_CHANGE:
            raise LehrError(f"on_change= must be one of {', '.join(map(repr, ON_CHANGE))}, got {on_change!r}")
        self.t = 0
        self.events = Journal()
        self._bases = dict(bases)
        self._groups = list(groups)
        self._evaluate = dict(evaluate)
        self._carry_out = carry_out
        self._heed = heed  # an adapter hears what the rules hear, before them
        self._on_change: OnChange = on_change
        self._subscribers: dict[str, list[Callable[..., None]]] = {"events": [], "steps": []}
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
        if step is not None and step != self.t:
            return self._why_then(step)
        lines: list[str] = []
        for track in self._tracks:
            factors = [float(column[0]) for column in track.plan.factors(track.state, self.t)]
            for k, group in enumerate(track.groups):
                base, gain, value = track.plan.bases[k], track.state.gains[k], self.hyper[track.target][group]
                line = f"{track.target} {value:.6g} = base {base:.6g} × factor {factors[k]:.6g}"
                line += f" × gain {gain:.6g}" if gain != 1 else ""
                bounded = value != base * factors[k] * gain
                line += ", bounded by min_lr and max_lr" if bounded else ""
                if line not in (text.split(" (")[0] for text in lines):
                    lines.append(f"{line} ({self._where(track, k)})")
        return "\n".join([*lines, *self._journaled(self.t, self.events.last_change)])

    def _why_then(self, step: int) -> str:
        if isinstance(step, bool) or not isinstance(step, int) or not 0 <= step < self.t:
            raise LehrError(f"why(step) must be an update from 0 to {self.t}, the next one, got {step!r}")
        if self.events.dropped and step < self.events[0].step:
            return f"update {step}: the journal keeps the last events only; look into the trace"
        change = self.events.last_change_by(step)
        line = f"update {step}"
        if change is not None and change.end <= step:
            line += f", {step - change.end} after the last change, which left the LR at {_listed(change.lr_after)}"
        return "\n".join([line, *self._journaled(step, change)])

    def _journaled(self, step: int, change: Event | None) -> list[str]:
        none = "no rule has fired, nothing was changed by hand"
        said = (f"verdict of {event.rule}: {event.verdict}, {event}" for event in self.events.verdicts(step))
        return [none if change is None else f"last change: {change}", *said]

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
        if self._subscribers["steps"] and heard:
            self._tell("steps", self.t, self.lrs, heard)
        if self._gathering.waits:
            self._gathering.add(self.t, heard)
        else:
            self._show(Observation(self.t, heard, False))

    def subscribe(self, function: Callable[..., None], on: Literal["events", "steps"] = "events") -> Callable[[], None]:
        """Have `function` called: with each event, or with (step, LRs, numbers) of each update and report.

        Returns:
            A function that ends the subscription.
        """
        if on not in self._subscribers:
            raise LehrError(f"subscribe(on=...) must be 'events' or 'steps', got {on!r}")
        self._subscribers[on].append(function)
        return lambda: self._subscribers[on].remove(function) if function in self._subscribers[on] else None

    def finish(self) -> str:
        """Say that the run has ended, and journal how much of the schedule it saw.

        Returns:
            The sentence that is journaled, such as "finished at 42 % of the schedule".
        """
        total = self._tracks[0].plan.total
        if total is None:
            words = f"finished after {self.t} steps"
        elif self.t < total:
            words = f"finished at {100 * self.t / total:.3g} % of the schedule ({self.t} of {total} steps)"
        else:
            words = f"finished the schedule of {total} steps"
        if not any(event.kind == "finish" and event.words == words for event in self.events):
            self._note(Event(self.t, "finish", words))
        return words

    # For adapters

    @property
    def listens(self) -> bool:
        """Whether anything is done with reported numbers; if not, they need not even be read."""
        return bool(self._rules or self._evaluations or self._subscribers["steps"])

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
        self._last = self.hyper
        if not self.listens:
            self.t += count
            return
        t = self.t + count - 1
        heard = self._heard(t, numbers)
        heard |= self._heard(t, self._evaluated(t, count))
        self.t = t + 1
        if self._subscribers["steps"]:
            self._tell("steps", t, self._last["lr"], heard)
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
            k = track.groups.index(group)
            plain = track.plan.bases[k] * float(track.plan.factors(track.state, self.t)[k][0])
            old = self.hyper[target][group]
            words = f"{target} of group {group} was changed by hand from {old:.6g} to {value:.6g}"
            if not (math.isfinite(value) and value >= 0):
                self._warn(f"edit {target}", f"{words}, which no {target} can be; it is put back")
                return
            if plain == 0:
                self._note(Event(self.t, "edit", f"{words}; it cannot last, as the schedule is at 0 here"))
                return
            gains = list(track.state.gains)
            gains[k] = value / plain
            state = track.state._replace(gains=tuple(gains))
            track.state = track.plan.changed(state) if abs(value - old) > MOVED * old else state
            self._tabulate()
            self._note(Event(self.t, "edit", words, lr_before=before, lr_after=tuple(self.hyper["lr"])))

    def add_group(self, bases: Mapping[str, float], group: Facts | None = None) -> None:
        """A parameter group has joined: its present values are its base, and it follows the plan from here."""
        old = {(track.target, track.plan.policy): track for track in self._tracks}
        known = self._groups, self._bases
        self._groups = [*self._groups, group or {}]
        self._bases = {
            target: (*values, _base(bases.get(target, 0.0), target)) for target, values in self._bases.items()
        }
        try:
            self._plan(self.policy, self.horizon)
        except LehrError:
            self._groups, self._bases = known
            raise
        for track in self._tracks:
            before = old.get((track.target, track.plan.policy))
            if before is not None:
                gains = dict(zip(before.groups, before.state.gains, strict=True))
                state = before.state._replace(gains=tuple(gains.get(g, 1.0) for g in track.groups))
                track.state = _with_groups(state, track)
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
        if steps is not None and horizon is not None:
            raise LehrError(f"give steps= or horizon=, not both; got steps={steps} and {horizon}")
        if horizon is not None:
            check_horizon(horizon)
        horizon = horizon or (replace(self.horizon, steps=steps) if steps is not None else self.horizon)
        before_it = [remembered(track) for track in self._tracks]
        before, old = self.hyper, self.policy.text()
        self._plan(as_policy(policy), horizon)
        for track in self._tracks:
            carry_over(track, before_it, self.t, same=False)
        self._tabulate()
        if no_jump:
            self._anchor(before)
        left = {name: values for name, values in before.items() if name not in self.hyper}
        stays = "".join(f"; {name} stays at {', '.join(f'{v:.6g}' for v in values)}" for name, values in left.items())
        words = f"the plan was changed: {old} → {self.policy.text()}, {facts(horizon)}{stays}"
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
        twin._subscribers = {"events": [], "steps": []}
        twin._warn = lambda key, words: notes.append(words)  # type: ignore[method-assign]
        twin.replan(policy, steps=steps, horizon=horizon, no_jump=no_jump)
        ends = [run.ahead().end for run in (self, twin)]
        last = max((end - 1 for end in ends if end is not None), default=3 * self.t + 1000)
        at = sampled(self.t, max(last, self.t))
        seen = {
            (name, i): Difference(at, self._curve(name, i, at), twin._curve(name, i, at), ends[0], ends[1])
            for name in self._bases
            for i in range(len(self._groups))
        }
        others = [
            f"{name} of group {i}" for (name, i), d in seen.items() if (name, i) != (target, group) and not d.equal
        ]
        if others:
            notes.append(f"other curves change too: {', '.join(others)}; see preview(..., group=..., target=...)")
        if _rules_of(self._tracks) != _rules_of(twin._tracks):
            notes.append("the rules change; rules react to the run, so they are not in the curves")
        return replace(seen[target, group], notes=tuple(notes))

    def learn(self, bases: Mapping[str, tuple[float, ...]]) -> None:
        """Take note of hyperparameters that nothing has governed so far; known ones keep their base."""
        self._bases = {**bases, **self._bases}

    def _curve(self, target: str, group: int, steps: Steps) -> Values:
        """The value of a group at future steps, as if no rule fired."""
        for track in self._tracks:
            if track.target == target and group in track.groups:
                return track.values(group, steps)
        return np.full(len(steps), self._bases[target][group])

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
        mode = on_change or self._on_change
        if mode not in ON_CHANGE:
            raise LehrError(f"on_change= must be one of {', '.join(map(repr, ON_CHANGE))}, got {mode!r}")
        check(state, len(self._groups))
        policy, horizon = as_policy(read_back(state["policy"])), Horizon(**state["horizon"])
        bases = {name: tuple(values) for name, values in state["bases"].items()}
        changes = self._changes(state, policy, horizon, bases)
        if changes and mode == "error":
            raise LehrError(
                f"the saved run differs: {'; '.join(changes)}. Say on_change='keep_saved' to go on with the saved one, "
                "'use_new' for the new curve at the saved step, or 'use_new_no_jump' to re-anchor it at the present LR"
            )
        if not changes or mode == "keep_saved":
            self._restore(state, policy, horizon, bases, same=True)
        else:
            values = {name: tuple(of_groups) for name, of_groups in state["values"].items()}
            self._restore(state, self.policy, self.horizon, _unless_saved(self._bases, bases, values), same=False)
            if mode == "use_new_no_jump":
                self._anchor(values)
            words = f"resumed at step {self.t} with changes ({'; '.join(changes)})"
            self._note(Event(self.t, "replan", words, lr_before=values["lr"], lr_after=tuple(self.lrs)))

    def _restore(
        self,
        state: Mapping[str, Any],
        policy: Policy | Groups | Bind,
        horizon: Horizon,
        bases: dict[str, tuple[float, ...]],
        same: bool,
    ) -> None:
        """Put a policy in force where the saved one stood; nothing is changed if it cannot be."""
        tracks_then = [read(plain) for plain in state["tracks"]]
        mine, self._bases = self._bases, bases
        try:
            self._plan(policy, horizon)
        except LehrError:
            self._bases = mine
            raise
        self.t = int(state["step"])
        for track in self._tracks:
            carry_over(track, tracks_then, self.t, same)
        self._reports.load(state["reported"])
        self._gathering.load(state.get("window", {}))
        self._last = None if state["last"] is None else {name: list(v) for name, v in state["last"].items()}
        self.events = Journal()
        for plain in state["decisions"]:
            self.events.add(Event.read(plain))
        self._tabulate()

    def _changes(
        self, state: Mapping[str, Any], policy: Any, horizon: Horizon, bases: Mapping[str, tuple[float, ...]]
    ) -> list[str]:
        """What differs between the saved run and this one, in words."""
        changes = []
        if policy != self.policy:
            changes.append(f"policy {policy.text()} (saved) → {self.policy.text()} (now)")
        if horizon != self.horizon:
            changes.append(f"horizon {facts(horizon)} (saved) → {facts(self.horizon)} (now)")
        for name in self._bases.keys() & bases.keys():
            values = zip(self._bases[name], bases[name], state["values"].get(name, bases[name]), strict=True)
            if not all(_stored(now, saved) or _stored(now, last) for now, saved, last in values):
                changes.append(f"base {name} {list(bases[name])} (saved) → {list(self._bases[name])} (now)")
        return changes

    def _anchor(self, wanted: Mapping[str, Sequence[float]]) -> None:
        """Let the gains take up the difference to the wanted values."""
        for track in self._tracks:
            columns = track.plan.factors(track.state, self.t)
            gains = list(track.state.gains)
            for k, group in enumerate(track.groups):
                plain = track.plan.bases[k] * float(columns[k][0])
                if plain > 0 and track.target in wanted:
                    gains[k] = wanted[track.target][group] / plain
                elif plain == 0:
                    self._warn("anchor", f"the new schedule is at 0 at step {self.t}: the LR had to jump there")
            track.state = track.state._replace(gains=tuple(gains))
        self._tabulate()

    # Inside

    def _plan(self, policy: Policy | Groups | Bind, horizon: Horizon) -> None:
        """Resolve a policy and put it in force; nothing is changed if it cannot be."""
        resolved = []
        for target, part, indices in tracks(policy, self._groups):
            if target not in self._bases:
                raise LehrError(f"bind({target}=...) needs the base {target} of each group, and they have none")
            plan = Plan.of(part, horizon, tuple(self._bases[target][i] for i in indices))
            resolved.append(Track(target, indices, plan, plan.init()))
        evaluations = {
            (signal.name, whole_steps(horizon.measure(signal.every)))
            for track in resolved
            for signal in track.plan.signals
            if signal.every is not None
        }
        by_hand = [r for track in resolved for r in track.plan.policy.rules if getattr(r.action, "by_hand", False)]
        if by_hand and self._carry_out is None:
            raise LehrError(
                f"{by_hand[0]!r} restores weights, which needs an adapter that holds snapshots: "
                "lehr.torch.Scheduler(..., model=model, snapshots=...)"
            )
        for name in sorted({name for name, _ in evaluations} - self._evaluate.keys()):
            raise LehrError(
                f"evaluation({name!r}, ...) needs its function: give evaluate={{{name!r}: function}} at the start"
            )
        self._gathering.follow(resolved, horizon)
        self.policy, self.horizon, self._tracks, self._evaluations = policy, horizon, resolved, evaluations
        self._rules = any(track.plan.rules for track in resolved)
        #: Hyperparameter and group, for all that the policy governs; the others are not Lehr's to write.
        self.governed = sorted((track.target, group) for track in resolved for group in track.groups)
        self._reports.expect(resolved, horizon)
        self._tabulate()

    def _tabulate(self) -> None:
        self._table = Table.of(self._tracks, self._bases, self.t)

    def _heard(self, step: int, numbers: Mapping[str, Any]) -> dict[str, float]:
        """The numbers that were not heard of this step before; a contradiction is said once for each name.

        What an adapter keeps where it lies is gathered there, unless every number is told to somebody.
        """
        if not self._subscribers["steps"]:
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

    def _where(self, track: Track, k: int) -> str:
        begun = track.state.begun
        step = self.t - begun.at if begun is not None else self.t
        curve = track.plan.curves[k]
        text = track.plan.policy.schedule.text()
        if begun is None and curve.parts:
            part = next((p for p in reversed(curve.parts) if p.start <= step), curve.parts[0])
            text = part.text
        elif begun is not None:
            text = f"{begun.schedule.text()}, begun at step {begun.at}"
        of = f" of {track.plan.total}" if track.plan.total is not None else ""
        return f"step {self.t}{of}, in {text}"

    def _warn(self, key: str, words: str) -> None:
        if key not in self._warned:
            self._warned.add(key)
            self._note(Event(self.t, "warning", words))
            warnings.warn(words, LehrWarning, stacklevel=2)

    def _note(self, event: Event) -> None:
        if self.events.add(event):
            self._tell("events", event)

    def _tell(self, on: str, *content: Any) -> None:
        for function in list(self._subscribers[on]):
            function(*content)


def _rules_of(tracks: Sequence[Track]) -> set[tuple[Any, ...]]:
    """Every rule, with what it acts on."""
    return {(t.target, group, rule) for t in tracks for group in t.groups for rule in t.plan.policy.rules}


def _unless_saved(
    now: Mapping[str, tuple[float, ...]], saved: Mapping[str, tuple[float, ...]], last: Mapping[str, tuple[float, ...]]
) -> dict[str, tuple[float, ...]]:
    """The bases read now; one that is only the saved base, or the LR that was written last, is the saved base."""
    return {
        name: tuple(
            old if _stored(value, old) or _stored(value, written) else value
            for value, old, written in zip(values, saved.get(name, values), last.get(name, values), strict=True)
        )
        for name, values in now.items()
    }


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.6g}" for value in dict.fromkeys(values))


def _stored(read: float, value: float) -> bool:
    """Whether `read` is `value`, maybe by way of a float32 tensor."""
    return read in (value, float(np.float32(value)))


def _with_groups(state: PolicyState, track: Track) -> PolicyState:
    """A begun plan needs a start for each group; a late one begins where the first one did."""
    begun = state.begun
    if begun is None:
        return state
    starts = (*begun.start, *(begun.start[0] for _ in range(len(track.groups) - len(begun.start))))
    return state._replace(begun=begun._replace(start=starts))


def _base(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value) or value < 0:
        raise LehrError(f"the base {name} of a group must be a finite number of at least 0, got {value!r}")
    return float(value)
