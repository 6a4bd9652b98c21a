"""The controller: a running policy, the only thing with a state.

Everything it decides is decided by `Plan.update`, which is pure; the controller keeps the state, looks the LR up in a
table made ahead, calls evaluation functions, writes the journal, and says all of it again after a resume.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from numbers import Real
from typing import Any, Literal

from lehr.errors import LehrError, LehrWarning
from lehr.journal import Event, Journal
from lehr.lengths import Horizon
from lehr.policy import Begun, Bind, Groups, Plan, Policy, PolicyLike, PolicyState, tracks
from lehr.rules import Observation
from lehr.text import as_policy, parse

__all__ = ["Controller", "OnChange", "start"]

OnChange = Literal["error", "keep_saved", "use_new", "use_new_no_jump"]
ON_CHANGE = ("error", "keep_saved", "use_new", "use_new_no_jump")
SCHEMA = 1
BLOCK = 4096  # steps that are tabulated ahead
SHORT_BLOCK = 64  # the same if there are rules, which may change the gain at any step


@dataclass
class Track:
    """One policy over the groups it governs, for one hyperparameter."""

    target: str
    groups: tuple[int, ...]
    plan: Plan
    state: PolicyState


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
    bases = [lr] if isinstance(lr, Real) else list(lr)
    values = {"lr": tuple(_base(value, "lr") for value in bases)}
    for name, given in (hyper or {}).items():
        if len(given) != len(bases):
            raise LehrError(f"hyper[{name!r}] must have one value for each of {len(bases)} groups, got {given!r}")
        values[name] = tuple(_base(value, name) for value in given)
    if steps is not None and horizon is not None:
        raise LehrError(f"give steps= or horizon=, not both; got steps={steps} and {horizon}")
    return Controller(
        as_policy(policy),
        values,
        horizon or Horizon(steps=steps),
        evaluate=evaluate or {},
        names=tuple(names or [""] * len(bases)),
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
        names: tuple[str, ...],
        on_change: OnChange = "error",
        strict: bool = False,
    ) -> None:
        if on_change not in ON_CHANGE:
            raise LehrError(f"on_change= must be one of {', '.join(map(repr, ON_CHANGE))}, got {on_change!r}")
        self.policy = policy
        self.horizon = horizon
        self.t = 0
        self.events = Journal()
        self._bases = dict(bases)
        self._names = names
        self._evaluate = dict(evaluate)
        self._on_change: OnChange = on_change
        self._strict = strict
        self._subscribers: dict[str, list[Callable[..., None]]] = {"events": [], "steps": []}
        self._reported: dict[str, tuple[int, float]] = {}
        self._warned: set[str] = set()
        self._last: dict[str, list[float]] | None = None
        self._plan(policy, horizon)

    # What it says

    @property
    def lr(self) -> float:
        """The LR of the first group for the next update."""
        return self._current["lr"][0]

    @property
    def lrs(self) -> list[float]:
        """The LR of each group for the next update."""
        return list(self._current["lr"])

    @property
    def last_lr(self) -> list[float]:
        """The LR of each group that the last update used (before the first one: that it will use)."""
        return list((self._last or self._current)["lr"])

    @property
    def hyper(self) -> dict[str, list[float]]:
        """Every hyperparameter that the policy governs, for the next update, one value per group."""
        return self._current

    @property
    def base_lrs(self) -> list[float]:
        """The base LR of each group."""
        return list(self._bases["lr"])

    @property
    def done(self) -> bool:
        """Whether the run is over: stopped by a rule, at the horizon, or at the end of a begun fixed schedule."""
        return any(track.plan.done(track.state._replace(step=self.t)) for track in self._tracks)

    @property
    def _current(self) -> dict[str, list[float]]:
        """Every governed hyperparameter for the next update, one value per group."""
        if not self._block_start <= self.t < self._block_start + self._block:
            self._tabulate()
        i = self.t - self._block_start
        return {name: [column[i] for column in columns] for name, columns in self._table.items()}

    def why(self) -> str:
        """Why the LR is what it is: base × factor × gain, where in the plan, and what last changed it."""
        lines = []
        for track in self._tracks:
            factors = [float(column[0]) for column in track.plan.factors(track.state, self.t, 1)]
            for k, group in enumerate(track.groups):
                base, gain, value = track.plan.bases[k], track.state.gains[k], self._current[track.target][group]
                line = f"{track.target} {value:.6g} = base {base:.6g} × factor {factors[k]:.6g}"
                line += f" × gain {gain:.6g}" if gain != 1 else ""
                bounded = value != base * factors[k] * gain
                line += ", bounded by min_lr and max_lr" if bounded else ""
                if line not in (text.split(" (")[0] for text in lines):
                    lines.append(f"{line} ({self._where(track, k)})")
        rules = [event for event in self.events if event.kind != "warning"]
        lines.append(f"last change: {rules[-1]}" if rules else "no rule has fired and nothing was changed by hand")
        return "\n".join(lines)

    # What it is told

    def step(self, *, applied: bool = True, **numbers: float) -> None:
        """Say that an update was applied: call it once after each one.

        Args:
            applied: false for an update that was skipped (AMP overflow); nothing advances, nothing is evaluated.
            numbers: what was measured at this update, by name; Lehr's rules read it.
        """
        if applied:
            self.advance(1, numbers)
        elif numbers:
            self.observe(**numbers)

    def observe(self, **numbers: float) -> None:
        """Report numbers at the present step, without advancing. The same report twice is heard once."""
        self.hear(self.t, numbers)

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

    def ahead(self) -> tuple[int, dict[str, list[list[float]]]]:
        """The table of values: its first step, and a column per hyperparameter and group (shared where equal)."""
        self._current  # noqa: B018  # tabulates if the present block is used up
        return self._block_start, self._table

    def glide(self, step: int) -> None:
        """Go to `step` inside the present table, when nothing listens: the adapter wrote the values itself."""
        if step > self.t:
            i = step - 1 - self._block_start
            self._last = {name: [column[i] for column in columns] for name, columns in self._table.items()}
            self.t = step

    def hear(self, step: int, numbers: Mapping[str, float]) -> None:
        """Take a report of `step`, without advancing; what was reported of it before is not heard again."""
        heard = self._new(step, numbers)
        if self._subscribers["steps"] and heard:
            self._tell("steps", step, self.lrs, heard)
        self._show(Observation(step, heard, False))

    def advance(self, count: int, numbers: Mapping[str, float]) -> None:
        """Advance by `count` applied updates; the numbers belong to the last of them. `step` is this with 1."""
        self._last = self._current
        if not self.listens:
            self.t += count
            return
        t = self.t + count - 1
        heard = self._new(t, numbers)
        heard |= self._new(t, self._evaluated(t, count))
        self.t = t + 1
        if self._subscribers["steps"]:
            self._tell("steps", t, self._last["lr"], heard)
        self._show(Observation(t, heard, True))
        self._warn_unheard()

    def adopt(self, group: int, value: float, target: str = "lr") -> None:
        """Take a value that somebody wrote by hand for group `group`: it goes into the gain and is journaled."""
        before = tuple(self._current["lr"])
        for track in self._tracks:
            if track.target != target or group not in track.groups:
                continue
            k = track.groups.index(group)
            plain = track.plan.bases[k] * float(track.plan.factors(track.state, self.t, 1)[k][0])
            words = f"{target} of group {group} was changed by hand from {self._current[target][group]:.6g} to {value:.6g}"
            if plain == 0:
                self._note(Event(self.t, "edit", f"{words}; it cannot last, as the schedule is at 0 here"))
                return
            gains = list(track.state.gains)
            gains[k] = value / plain
            track.state = track.state._replace(gains=tuple(gains))
            self._tabulate()
            self._note(Event(self.t, "edit", words, lr_before=before, lr_after=tuple(self._current["lr"])))

    def add_group(self, bases: Mapping[str, float], name: str = "") -> None:
        """A parameter group has joined: its present values are its base, and it follows the plan from here."""
        old = {(track.target, track.plan.policy): track for track in self._tracks}
        self._names = (*self._names, name)
        for target in self._bases:
            self._bases[target] = (*self._bases[target], _base(bases.get(target, 0.0), target))
        self._plan(self.policy, self.horizon)
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
        horizon = horizon or (replace(self.horizon, steps=steps) if steps is not None else self.horizon)
        self._change(as_policy(policy), horizon, self._saved_tracks(), no_jump, "the plan was changed")

    def _change(
        self, policy: Policy | Groups | Bind, horizon: Horizon, saved: list[dict[str, Any]], no_jump: bool, words: str
    ) -> None:
        before = {name: list(values) for name, values in self._current.items()}
        old_text = self.policy.text()
        self.policy, self.horizon = policy, horizon
        self._plan(policy, horizon)
        self._carry_over(saved)
        self._tabulate()
        if no_jump:
            self._anchor(before)
        after = tuple(self._current["lr"])
        words = f"{words}: {old_text} → {policy.text()}" if old_text != policy.text() else words
        self._note(Event(self.t, "replan", words, lr_before=tuple(before["lr"]), lr_after=after))

    # State

    def state_dict(self) -> dict[str, Any]:
        """Everything that is needed to go on, as JSON-plain data: numbers, texts, lists, dicts."""
        horizon = {name: value for name, value in asdict(self.horizon).items() if value is not None}
        return {
            "schema": SCHEMA,
            "policy": self.policy.text(full=True),
            "horizon": horizon,
            "step": self.t,
            "bases": {name: list(values) for name, values in self._bases.items()},
            "values": {name: list(values) for name, values in self._current.items()},
            "last": None if self._last is None else {name: list(values) for name, values in self._last.items()},
            "tracks": self._saved_tracks(),
            "reported": {name: list(item) for name, item in self._reported.items()},
            "decisions": [event.plain() for event in _last_decisions(self.events)],
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
        _check_state(state, len(self._names))
        policy, horizon = as_policy(parse(state["policy"])), Horizon(**state["horizon"])
        bases = {name: tuple(values) for name, values in state["bases"].items()}
        changes = self._changes(state, policy, horizon, bases)
        if changes and mode == "error":
            raise LehrError(
                f"the saved run differs: {'; '.join(changes)}. Say on_change='keep_saved' to go on with the saved one, "
                "'use_new' for the new curve at the saved step, or 'use_new_no_jump' to re-anchor it at the present LR"
            )
        new = (self.policy, self.horizon, dict(self._bases))
        self._restore(state, policy, horizon, bases)
        if changes and mode != "keep_saved":
            same = new[2].keys() == bases.keys()
            self._bases = {
                name: tuple(
                    saved if same and now in (saved, state["values"][name][i]) else now
                    for i, (now, saved) in enumerate(zip(values, bases.get(name, values), strict=True))
                )
                for name, values in new[2].items()
            }
            words = f"resumed at step {self.t} with changes ({'; '.join(changes)})"
            self._change(new[0], new[1], list(state["tracks"]), mode == "use_new_no_jump", words)

    def _restore(
        self, state: Mapping[str, Any], policy: Policy | Groups | Bind, horizon: Horizon, bases: dict[str, Any]
    ) -> None:
        self.policy, self.horizon, self._bases = policy, horizon, bases
        self.t = int(state["step"])
        self._plan(policy, horizon)
        self._carry_over(state["tracks"])
        self._reported = {name: (int(step), float(value)) for name, (step, value) in state["reported"].items()}
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
            changes.append(f"horizon {_facts(horizon)} (saved) → {_facts(self.horizon)} (now)")
        for name in self._bases.keys() & bases.keys():
            values = zip(self._bases[name], bases[name], state["values"].get(name, bases[name]), strict=True)
            if any(now not in (saved, last) for now, saved, last in values):
                changes.append(f"base {name} {list(bases[name])} (saved) → {list(self._bases[name])} (now)")
        return changes

    def _saved_tracks(self) -> list[dict[str, Any]]:
        return [
            {
                "target": track.target,
                "groups": list(track.groups),
                "gains": list(track.state.gains),
                "begun": _plain_begun(track.state.begun),
                "stopped": track.state.stopped,
                "rules": [
                    {"text": rule.text(full=True), "memory": _plain(memory)}
                    for rule, memory in zip(track.plan.policy.rules, track.state.rules, strict=True)
                ],
            }
            for track in self._tracks
        ]

    def _carry_over(self, saved: Sequence[Mapping[str, Any]]) -> None:
        """Take gains, begun plans and the memory of rules from saved tracks, wherever they still apply."""
        for track in self._tracks:
            state = track.state._replace(step=self.t)
            gains = dict(zip(track.groups, state.gains, strict=True))
            for old in saved:
                if old["target"] != track.target:
                    continue
                gains |= {g: v for g, v in zip(old["groups"], old["gains"], strict=True) if g in gains}
                if tuple(old["groups"]) == track.groups:
                    texts = [rule.text(full=True) for rule in track.plan.policy.rules]
                    if texts == [item["text"] for item in old["rules"]]:
                        state = state._replace(begun=_read_begun(old["begun"]), stopped=bool(old["stopped"]))
                    memories = list(state.rules)
                    for item in old["rules"]:
                        if item["text"] in texts:
                            i = texts.index(item["text"])
                            memories[i] = _read(memories[i], item["memory"])
                    state = state._replace(rules=tuple(memories))
            track.state = state._replace(gains=tuple(gains[g] for g in track.groups))

    def _anchor(self, wanted: Mapping[str, Sequence[float]]) -> None:
        """Let the gains take up the difference to the wanted values."""
        for track in self._tracks:
            columns = track.plan.factors(track.state, self.t, 1)
            gains = list(track.state.gains)
            for k, group in enumerate(track.groups):
                plain = track.plan.bases[k] * float(columns[k][0])
                if plain > 0:
                    gains[k] = wanted[track.target][group] / plain
                else:
                    self._warn("anchor", f"the new schedule is at 0 at step {self.t}: the LR had to jump there")
            track.state = track.state._replace(gains=tuple(gains))
        self._tabulate()

    # Inside

    def _plan(self, policy: Policy | Groups | Bind, horizon: Horizon) -> None:
        self._tracks: list[Track] = []
        for target, part, indices in tracks(policy, self._names):
            if target not in self._bases:
                raise LehrError(f"bind({target}=...) needs the base {target} of each group, and they have none")
            plan = Plan.of(part, horizon, tuple(self._bases[target][i] for i in indices))
            self._tracks.append(Track(target, indices, plan, plan.init()))
        self._rules = any(track.plan.rules for track in self._tracks)
        signals = dict.fromkeys(signal for track in self._tracks for signal in track.plan.signals)
        self._signals = [signal for signal in signals if signal.every is None]
        self._evaluations = {
            (signal.name, max(horizon_steps(horizon, signal.every), 1)) for signal in signals if signal.every is not None
        }
        for name in sorted({name for name, _ in self._evaluations} - self._evaluate.keys()):
            raise LehrError(
                f"evaluation({name!r}, ...) needs its function: give evaluate={{{name!r}: function}} at the start"
            )
        self._tabulate()

    def _tabulate(self) -> None:
        """LR of the next steps, one column per group (the same object where groups agree)."""
        self._block_start = self.t
        self._block = SHORT_BLOCK if self._rules else BLOCK
        self._table: dict[str, list[list[float]]] = {
            name: [[value] * self._block for value in values] for name, values in self._bases.items()
        }
        for track in self._tracks:
            columns = track.plan.factors(track.state, self.t, self._block)
            made: dict[Any, list[float]] = {}
            for k, group in enumerate(track.groups):
                base, gain = track.plan.bases[k], track.state.gains[k]
                key = (id(columns[k]), base, gain, *_bounds_of(track.plan.policy, k))
                if key not in made:
                    values = (base * columns[k] * gain).tolist()
                    if track.plan.policy.min_lr is not None or track.plan.policy.max_lr is not None:
                        values = [track.plan.bounded(self.t + i, k, value) for i, value in enumerate(values)]
                    made[key] = values
                self._table[track.target][group] = made[key]

    def _new(self, step: int, numbers: Mapping[str, Any]) -> dict[str, float]:
        """The numbers that were not reported at this step before, as floats."""
        new: dict[str, float] = {}
        for name, given in numbers.items():
            value = _reported_number(name, given)
            known = self._reported.get(name)
            if known is not None and known[0] == step:
                same = known[1] == value or not (math.isfinite(value) or math.isfinite(known[1]))
                if not same:
                    self._conflict(name, step, known[1], value)
                continue
            self._reported[name] = (step, value if math.isfinite(value) else 0.0)
            new[name] = value
        return new

    def _conflict(self, name: str, step: int, first: float, second: float) -> None:
        words = f"{name} was reported twice at step {step}, as {first:.6g} and as {second:.6g}; the first is kept"
        if self._strict:
            raise LehrError(words)
        self._warn(f"twice {name}", words)

    def _evaluated(self, t: int, count: int) -> dict[str, float]:
        """Call each evaluation function whose cadence ends in the updates just applied."""
        due = {name for name, every in self._evaluations if (t + 1) // every > (t + 1 - count) // every}
        return {name: float(self._evaluate[name]()) for name in sorted(due)}

    def _show(self, observation: Observation) -> None:
        events: list[Event] = []
        for track in self._tracks:
            state = track.state._replace(step=self.t)
            track.state, decided = track.plan.update(state, observation)
            events += decided
        if events:
            self._tabulate()
        for event in events:
            self._note(event)

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

    def _warn_unheard(self) -> None:
        """Once, some time into the run: a rule's signal has not appeared."""
        if not self._signals or "unheard" in self._warned or self.t < self._patience:
            return
        self._warned.add("unheard")
        for signal in self._signals:
            if signal.name not in self._reported:
                known = sorted(self._reported)
                near = f"reported are {', '.join(known)}" if known else "nothing was reported at all"
                self._warn(
                    f"unheard {signal.name}",
                    f"no {signal.name!r} was reported in the first {self.t} steps, so rules that read it cannot fire; "
                    f"{near}. Report it by step({signal.name}=...) or observe({signal.name}=...)",
                )

    @property
    def _patience(self) -> int:
        """Steps after which a signal that has not appeared is worth a warning."""
        warm = max(track.plan.curves[0].warmup for track in self._tracks)
        if all(signal.name == "loss" for signal in self._signals):
            return warm + 100
        epochs = 2 * (self.horizon.steps_per_epoch or 0)
        share = (self.horizon.steps or 0) // 20
        return warm + max(epochs or share, 100)

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


def horizon_steps(horizon: Horizon, length: Any) -> int:
    """The whole steps of a cadence."""
    from lehr.lengths import whole_steps

    return whole_steps(horizon.measure(length))


def _bounds_of(policy: Policy, k: int) -> tuple[Any, ...]:
    return tuple(bound[k] if isinstance(bound, tuple) else bound for bound in (policy.min_lr, policy.max_lr))


def _with_groups(state: PolicyState, track: Track) -> PolicyState:
    """A begun plan needs a start for each group; a late one begins where the first one did."""
    begun = state.begun
    if begun is None:
        return state
    starts = (*begun.start, *(begun.start[0] for _ in range(len(track.groups) - len(begun.start))))
    return state._replace(begun=begun._replace(start=starts))


def _last_decisions(events: Sequence[Event]) -> list[Event]:
    """The last event of each rule and kind, in order."""
    last = {(event.kind, event.rule): event for event in events}
    return [event for event in events if last[event.kind, event.rule] is event]


def _plain_begun(begun: Begun | None) -> dict[str, Any] | None:
    if begun is None:
        return None
    return {**begun._asdict(), "schedule": begun.schedule.text(full=True), "start": list(begun.start)}


def _read_begun(plain: Mapping[str, Any] | None) -> Begun | None:
    if plain is None:
        return None
    return Begun(parse(plain["schedule"]), plain["at"], tuple(plain["start"]), plain["length"])


def _plain(memory: Any) -> Any:
    """A NamedTuple of plain numbers as a dict."""
    return {name: _plain(item) for name, item in memory._asdict().items()} if isinstance(memory, tuple) else memory


def _read(template: Any, plain: Any) -> Any:
    """The inverse of `_plain`, with a fresh memory as the template."""
    if not isinstance(template, tuple):
        return plain
    fields = template._asdict()  # type: ignore[attr-defined]  # every tuple in a memory is a NamedTuple
    return type(template)(**{name: _read(item, plain[name]) for name, item in fields.items()})


def _base(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value) or value < 0:
        raise LehrError(f"the base {name} of a group must be a finite number of at least 0, got {value!r}")
    return float(value)


def _reported_number(name: str, value: Any) -> float:
    if isinstance(value, float):
        return value
    size = getattr(value, "numel", None)
    count = size() if callable(size) else getattr(value, "size", 1)
    if count != 1:
        raise LehrError(f"{name} must be one number, got {count}; report its .mean()")
    try:
        return float(value.detach() if hasattr(value, "detach") else value)
    except (TypeError, ValueError):
        raise LehrError(f"{name} must be a number, got {value!r}") from None


def _facts(horizon: Horizon) -> str:
    facts = {name: value for name, value in asdict(horizon).items() if value is not None}
    return ", ".join(f"{name}={value}" for name, value in facts.items()) or "none"


def _check_state(state: Mapping[str, Any], groups: int) -> None:
    needed = {"schema", "policy", "horizon", "step", "bases", "values", "last", "tracks", "reported", "decisions"}
    missing = sorted(needed - set(state))
    if missing:
        raise LehrError(f"this is not a state that Lehr saved: it lacks {', '.join(missing)}")
    if state["schema"] > SCHEMA:
        raise LehrError(f"this state was saved by a later Lehr (schema {state['schema']}, known is {SCHEMA}); update Lehr")
    saved = len(state["bases"]["lr"])
    if saved != groups:
        raise LehrError(f"the saved run had {saved} parameter groups, this one has {groups}; build the same groups first")
