"""A rule: one trigger with one action, and when it may act. A pure state machine like its trigger."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from lehr.errors import LehrError
from lehr.lengths import RULE_UNITS, Horizon, Length, LengthLike, as_length
from lehr.rules.actions import Action, Begin, Follow, Relax, Rollback, Saturate, Scale, Stop, To, Weights
from lehr.rules.common import in_steps, whole
from lehr.rules.signals import Signal
from lehr.rules.trigger import Observation, Trigger
from lehr.schedules import Schedule
from lehr.schedules.shape import number
from lehr.spelling import Value, spell

__all__ = ["Heard", "Rule", "RuleState", "when"]


class RuleState(NamedTuple):
    """Memory of a rule."""

    trigger: Any  # the trigger's own memory
    fired: int = 0  # how often it has fired
    last: int | None = None  # the step at which it last fired
    seen: int = 0  # observations with something for its trigger so far
    quiet: int = 0  # such observations for which it still rests
    verdict: str = ""  # what its trigger last said of the signal


class Heard(NamedTuple):
    """What a rule says of an observation."""

    fires: bool
    verdict: str | None  # the new verdict, if it has changed
    words: str  # the evidence
    since: int | None = None  # step before which what it tells of had not begun
    by: tuple[float, ...] = ()  # the factor that the trigger proposes for the LR: one, or one a group


@dataclass(frozen=True, repr=False)
class Rule(Value):
    """When `trigger` holds, do `action`; made by `when(trigger)` and the methods below."""

    trigger: Trigger
    action: Action | None = None
    not_before: Length | None = None
    pause: Length | None = None
    times: int | None = None
    bounds: tuple[float, float] | None = None
    literal: bool = False
    shadow: bool = False

    def text(self, full: bool = False) -> str:
        """`when(trigger).action(...).modifier(...)`."""
        parts = [f"when({self.trigger.text(full)}{', shadow=True' if self.shadow else ''})"]
        if self.action is not None:
            parts.append(self.action.text(full))
        parts += [f"after({spell(self.not_before)})"] if self.not_before is not None else []
        parts += [f"rest({spell(self.pause)})"] if self.pause is not None else []
        parts += [f"at_most({self.times})"] if self.times is not None else []
        parts += [f"within({spell(self.bounds[0])}, {spell(self.bounds[1])})"] if self.bounds is not None else []
        parts += ["every_time()"] if self.literal else []
        return ".".join(parts)

    def __bool__(self) -> bool:
        raise LehrError(f"{self!r} has no truth value; give several rules as a list: Policy(rules=[a, b])")

    # Actions

    def scale(self, k: float) -> Rule:
        """The LR k times as large from the next update on: gain ← gain·k.

        Args:
            k: positive. Below 1 it cuts the LR; above 1 it raises it.
        """
        return self._do(Scale(_positive(k, "scale(k)")))

    def saturate(self, eta: float, eps: float = 1e-8) -> Rule:
        """Cut the gain: gain ← gain·min(1, η·α/(α + ε)), with each group's own α.

        Args:
            eta: η > 0; the cut, as long as α is far above ε.
            eps: ε ≥ 0, absolute: near α ≈ ε the act collapses the LR. With η ≥ 1 + ε/α it does nothing.
        """
        return self._do(Saturate(_positive(eta, "saturate(eta=...)"), _eps(eps, "saturate")))

    def relax(self, eta: float, eps: float = 1e-8) -> Rule:
        """Wear the gain down: gain ← gain·(1 − η·α/(α + ε)), with each group's own α.

        Args:
            eta: 0 < η ≤ 1; the share that goes at each firing, as long as α is far above ε.
            eps: ε ≥ 0, absolute.
        """
        if _positive(eta, "relax(eta=...)") > 1:
            raise LehrError(f"relax(eta=...) must be at most 1 (the LR would turn negative), got {eta!r}")
        return self._do(Relax(float(eta), _eps(eps, "relax")))

    def follow(self) -> Rule:
        """Change the LR as the trigger proposes: gain ← gain·k, with the k of `steers` or `greedy_lr`."""
        if not self.trigger.proposes:
            raise LehrError(f"follow() needs a trigger that says how far, such as steers(0.02), got {self.trigger!r}")
        return self._do(Follow())

    def begin(self, schedule: Schedule) -> Rule:
        """From the next update the rest of the plan is `schedule`, beginning at the present factor; fires once.

        A filling schedule takes the steps that are left, a fixed one longer than that is shrunk to them. The gain
        stays. The run is done at the end of a fixed one.
        """
        if not isinstance(schedule, Schedule):
            raise LehrError(f"begin(schedule) must be given a schedule such as linear('10%'), got {schedule!r}")
        return self._do(Begin(schedule))

    def stop(self, weights: Weights = "last") -> Rule:
        """The run is done: `run.done` becomes true; loops write `if run.done: break`.

        Args:
            weights: "last" leaves the model as it is; "best" restores the snapshot taken when the trigger's signal was
                at its best, which needs an adapter that holds snapshots.
        """
        if weights not in ("last", "best"):
            raise LehrError(f"stop(weights=...) must be 'last' or 'best', got {weights!r}")
        return self._one_signal(self._do(Stop(weights)), weights, "stop(weights='best')")

    def rollback(
        self, scale: float = 0.5, to: To = "older", skip_data: bool = True, rewarm: LengthLike | Length | None = None
    ) -> Rule:
        """Restore a snapshot, and scale the LR: gain ← gain·scale. Neither the step nor the schedule goes back.

        Weights, buffers, the optimiser's state and the gradient scaler are restored by an adapter that holds snapshots,
        such as `lehr.torch.Scheduler(..., snapshots=True)`. Where there is no snapshot to go back to (after a resume,
        until the next is taken), the LR is scaled only, and the journal says so.

        Args:
            scale: positive and at most 1.
            to: "older", the newest snapshot from before the trouble began (of the last few, else the one of the start);
                "best", that of the best value of the trigger's signal; "start", that from before the first update.
            skip_data: whether training goes on with the data that come next. If not, the random states are restored
                too; that repeats the data only if nothing but they decides what comes.
            rewarm: a positive length in any unit but observations. The factor of the n updates after the rollback is
                multiplied by (i + 1)/n, i = 0 … n − 1, within the policy's bounds; an optimiser whose state has gone
                back to nothing needs it. Rules that sleep in a warm-up sleep in this one too. Default: at once the full
                LR.

        Source: rollback and halving as dlib's trainer (davisking/dlib, `trainer.h`) and PaLM (arXiv 2204.02311, 5.1)
            do; to="best" as early stopping with best weights.
        """
        if not 0 < number(scale, "rollback(scale=...)") <= 1:
            raise LehrError(f"rollback(scale=...) must be positive and at most 1, got {scale!r}; 1 keeps the LR")
        if to not in ("older", "best", "start"):
            raise LehrError(f"rollback(to=...) must be 'older', 'best' or 'start', got {to!r}")
        if not isinstance(skip_data, bool):
            raise LehrError(f"rollback(skip_data=...) must be True or False, got {skip_data!r}")
        ramp = None if rewarm is None else as_length(rewarm, "rollback(rewarm=...)")
        if ramp is not None and ramp.amount == 0:
            raise LehrError("rollback(rewarm=...) must be a positive length, got 0; leave it out for none")
        return self._one_signal(self._do(Rollback(float(scale), to, skip_data, ramp)), to, "rollback(to='best')")

    # Modifiers

    def after(self, length: LengthLike) -> Rule:
        """Not shown observations before this point of the run (or its first n observations)."""
        return replace(self, not_before=as_length(length, "after(length)", RULE_UNITS))

    def rest(self, length: LengthLike) -> Rule:
        """After firing, not shown observations for this long (or for n observations)."""
        return replace(self, pause=as_length(length, "rest(length)", RULE_UNITS))

    def at_most(self, n: int) -> Rule:
        """Fires at most n times in a run."""
        return replace(self, times=whole(n, "at_most(n), a number of firings,", least=1))

    def within(self, low: float, high: float) -> Rule:
        """The rule leads the gain, the LR relative to what the schedule has it, neither below `low` nor above `high`.

        A gain that something else has put beyond a bound stays where it is: a rule that cuts never raises.

        Args:
            low: at least 0.
            high: above `low`; more than 1 allows the rule to raise the LR above the schedule's.
        """
        least, most = number(low, "within(low)"), number(high, "within(high)")
        if not 0 <= least < most:
            raise LehrError(f"within(low, high) needs 0 <= low < high, relative to the schedule, got {low!r}, {high!r}")
        return replace(self, bounds=(least, most))

    def every_time(self) -> Rule:
        """The literal reading: fires at every observation at which the condition holds; nothing is forgotten."""
        return replace(self, literal=True)

    # The state machine

    def bounded(self, before: float, after: float) -> float:
        """The gain that the rule may leave behind, of one that it found and one that it wants."""
        if self.bounds is None:
            return after
        low, high = self.bounds
        return min(max(after, min(before, low)), max(before, high))

    def resolve(self, horizon: Horizon) -> Rule:
        """The same rule with its lengths in steps."""
        return replace(
            self,
            trigger=self.trigger.resolve(horizon),
            not_before=None if self.not_before is None else in_steps(self.not_before, horizon),
            pause=None if self.pause is None else in_steps(self.pause, horizon),
        )

    @property
    def limit(self) -> int | None:
        """How often it may fire: `begin` and `stop` once, unless `at_most` says more."""
        return 1 if self.times is None and isinstance(self.action, Begin | Stop) else self.times

    def init(self) -> RuleState:
        """The memory before anything was seen."""
        return RuleState(self.trigger.init())

    def update(self, state: RuleState, observation: Observation) -> tuple[RuleState, Heard | None]:
        """Show the rule an observation; what it says comes back if it fires or its verdict has changed. Pure."""
        if not self.trigger.heeds(observation):
            return state, None
        state = state._replace(seen=state.seen + 1)
        if self.limit is not None and state.fired >= self.limit:
            return state, None
        if self._asleep(state, observation.step):
            return state._replace(quiet=max(state.quiet - 1, 0)), None
        memory, reading = self.trigger.update(state.trigger, observation)
        changed = reading.verdict if reading.verdict and reading.verdict != state.verdict else None
        state = state._replace(trigger=memory, verdict=reading.verdict or state.verdict)
        if not (reading.holds and reading.fresh):
            return state, None if changed is None else Heard(False, changed, reading.words)
        quiet = int(self.pause.amount) if self.pause is not None and self.pause.unit == "observations" else 0
        memory = memory if self.literal else self.trigger.after_firing(memory)
        verdict = "" if not self.literal else state.verdict  # the evidence begins anew, and so does its verdict
        state = RuleState(memory, state.fired + 1, observation.step, state.seen, quiet, verdict)
        return state, Heard(True, changed, reading.words, reading.since, reading.by)

    def after_change(self, state: RuleState) -> RuleState:
        """The memory after the LR was changed by another rule or by hand."""
        memory = self.trigger.after_change(state.trigger)
        return state if memory == state.trigger else state._replace(trigger=memory, verdict="")

    def after_rollback(self, state: RuleState) -> RuleState:
        """The memory after another rule has restored a snapshot."""
        memory = self.trigger.after_rollback(state.trigger)
        return state if memory == state.trigger else state._replace(trigger=memory, verdict="")

    def _asleep(self, state: RuleState, step: int) -> bool:
        first, pause = self.not_before, self.pause
        if first is not None and (state.seen if first.unit == "observations" else step + 1) <= first.amount:
            return True
        if state.quiet > 0:
            return True
        return (
            pause is not None
            and pause.unit != "observations"
            and state.last is not None
            and step <= state.last + pause.amount
        )

    def _one_signal(self, rule: Rule, wanted: str, what: str) -> Rule:
        names = list(dict.fromkeys(signal.name for signal in self.trigger.signals()))
        if wanted == "best" and len(names) != 1:
            heard = ", ".join(names) or "none"
            raise LehrError(f"{what} is the best by the trigger's signal, so it needs exactly one; this has {heard}")
        return rule

    def _do(self, action: Action) -> Rule:
        if self.action is not None:
            raise LehrError(f"a rule has one action; {self!r} has one already. Write a second rule for {action!r}")
        return replace(self, action=action)


def when(trigger: Trigger, *, shadow: bool = False) -> Rule:
    """A rule to be: give it an action, such as `when(trigger).scale(0.5)`.

    Args:
        trigger: what must hold.
        shadow: whether the rule only logs what it would have done, as an event of the kind "shadow". It remembers and
            forgets as if it had acted.

    Raises:
        LehrError: not a trigger.

    Example:
        >>> import lehr
        >>> lehr.when(lehr.loss.improves_less_than(0.01, over="200 steps")).scale(0.5)
        when(loss.improves_less_than(0.01, 200)).scale(0.5)
    """
    if isinstance(trigger, Signal) or not isinstance(trigger, Trigger):
        raise LehrError(f"when(trigger) needs a trigger such as loss.reaches(0.1), got {trigger!r}")
    if not isinstance(shadow, bool):
        raise LehrError(f"when(shadow=...) must be True or False, got {shadow!r}")
    return Rule(trigger, shadow=shadow)


def _positive(value: float, what: str) -> float:
    if number(value, what) <= 0:
        raise LehrError(f"{what} must be positive, got {value!r}")
    return float(value)


def _eps(value: float, function: str) -> float:
    if number(value, f"{function}(eps=...)") < 0:
        raise LehrError(f"{function}(eps=...) must be at least 0, got {value!r}")
    return float(value)
