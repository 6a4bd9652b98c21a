"""What a trigger is, and those without a signal of their own: `always`, `a & b`, `a | b`, `~a`.

A trigger is a pure state machine: `update(state, observation) -> (state, reading)`. A reading is fresh if the trigger
looked at this very observation; its verdict stands until it looks again, so that `&` can join a loss seen at every step
with a metric seen once an epoch. `after_firing(state)` is what is left when the rule has fired: the evidence forgotten,
or the latch closed.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

from lehr.errors import LehrError
from lehr.lengths import Horizon
from lehr.spelling import Value

if TYPE_CHECKING:
    from lehr.rules.signals import Signal

__all__ = ["Always", "And", "Not", "Observation", "Or", "Reading", "Smooth", "Trigger", "Verdict", "always"]

Verdict = Literal["", "improving", "flat", "worsening", "undecided"]


class Observation(NamedTuple):
    """Named numbers reported at a step."""

    step: int
    numbers: Mapping[str, float]
    applied: bool  # whether it reports an applied update (`step`), or only tells (`observe`)
    bad: Mapping[str, int] = MappingProxyType({})  # non-finite reports that a gathered number leaves out
    lrs: tuple[float, ...] = ()  # the LR of each group for the next update, for triggers that ask for it


class Reading(NamedTuple):
    """What a trigger says of one observation."""

    holds: bool
    fresh: bool  # whether the trigger looked at this observation
    words: str  # the evidence, in words with numbers; may be empty if it does not hold
    verdict: Verdict = ""  # what is true of the signal, where the trigger judges it
    by: tuple[float, ...] = ()  # the factor it proposes for the LR: one, or one a group; for the action `follow`
    since: int | None = None  # step before which what it tells of had not begun


class Smooth(NamedTuple):
    """Memory of a smoothed signal."""

    mean: float = 0.0  # the weighted sum of what was seen
    weight: float = 0.0  # of all that was seen; mean / weight is free of the bias of the start


class Trigger(Value):
    """A condition on signals. Triggers join with `|` and `&`; `~` turns one round."""

    __slots__ = ()

    @property
    def heeds_warmup(self) -> bool:
        """Whether it is shown the leading warm-up, in which all other triggers sleep."""
        return False

    @property
    def lasts(self) -> bool:
        """Whether it is a state, which goes on when its rule has fired on an event that `&` joins it with."""
        return False

    @property
    def proposes(self) -> bool:
        """Whether its readings say by how much the LR shall change."""
        return False

    @property
    def heeds_lrs(self) -> bool:
        """Whether it must be shown the LRs."""
        return False

    @abstractmethod
    def signals(self) -> tuple[Signal, ...]:
        """The signals it reads."""

    @abstractmethod
    def resolve(self, horizon: Horizon) -> Trigger:
        """The same trigger with its windows in steps."""

    @abstractmethod
    def init(self) -> Any:
        """The memory before anything was seen: a NamedTuple of plain numbers."""

    @abstractmethod
    def update(self, state: Any, observation: Observation) -> tuple[Any, Reading]:
        """One transition. Pure: the same state and observation give the same result."""

    @abstractmethod
    def after_firing(self, state: Any) -> Any:
        """The memory after its rule has fired."""

    def after_change(self, state: Any) -> Any:
        """The memory after the LR was changed by another rule or by hand: most triggers keep theirs."""
        return state

    def after_rollback(self, state: Any) -> Any:
        """The memory after another rule has restored a snapshot."""
        return self.after_change(state)

    def heeds(self, observation: Observation) -> bool:
        """Whether the observation holds anything for it."""
        return any(signal.name in observation.numbers for signal in self.signals())

    def __or__(self, other: Trigger) -> Or:
        return Or(self, _trigger(other, "|"))

    def __and__(self, other: Trigger) -> And:
        return And(self, _trigger(other, "&"))

    def __invert__(self) -> Not:
        return Not(self)

    def __bool__(self) -> bool:
        raise LehrError(f"{self!r} has no truth value; join triggers with &, | and ~, not with and, or, not")


class AlwaysState(NamedTuple):
    """`always` remembers nothing."""


@dataclass(frozen=True, repr=False)
class Always(Trigger):
    """See `always`."""

    def text(self, full: bool = False) -> str:
        """`always()`."""
        return "always()"

    def signals(self) -> tuple[Signal, ...]:
        """None."""
        return ()

    def heeds(self, observation: Observation) -> bool:
        """Applied updates, whatever was reported of them."""
        return observation.applied

    def resolve(self, horizon: Horizon) -> Trigger:
        """Unchanged."""
        return self

    def init(self) -> AlwaysState:
        """Nothing."""
        return AlwaysState()

    def update(self, state: AlwaysState, observation: Observation) -> tuple[AlwaysState, Reading]:
        """Holds after every applied update."""
        return state, Reading(True, observation.applied, "at every update")

    def after_firing(self, state: AlwaysState) -> AlwaysState:
        """Nothing."""
        return state


def always() -> Trigger:
    """The trigger that holds after every applied update.

    Example:
        >>> import lehr
        >>> lehr.when(lehr.always()).relax(eta=0.01)
        when(always()).relax(eta=0.01)

    Source: feedback acts in training loops written by hand, which act at every update.
    """
    return Always()


class PairState(NamedTuple):
    """Memory of two joined triggers."""

    left: Any
    right: Any
    acted: bool = False  # `a & b` of two states: its rule has fired, and both have gone on since


@dataclass(frozen=True, repr=False)
class _Joined(Trigger):
    left: Trigger
    right: Trigger

    @property
    def lasts(self) -> bool:
        return self.left.lasts and self.right.lasts

    def signals(self) -> tuple[Signal, ...]:
        return self.left.signals() + self.right.signals()

    @property
    def heeds_warmup(self) -> bool:
        return self.left.heeds_warmup and self.right.heeds_warmup

    @property
    def heeds_lrs(self) -> bool:
        return self.left.heeds_lrs or self.right.heeds_lrs

    def heeds(self, observation: Observation) -> bool:
        return self.left.heeds(observation) or self.right.heeds(observation)

    def resolve(self, horizon: Horizon) -> Trigger:
        return replace(self, left=self.left.resolve(horizon), right=self.right.resolve(horizon))

    def init(self) -> PairState:
        return PairState(self.left.init(), self.right.init())

    def after_firing(self, state: PairState) -> PairState:
        return PairState(*(trigger.after_firing(memory) for trigger, memory in self._sides(state)))

    def after_change(self, state: PairState) -> PairState:
        left, right = (trigger.after_change(memory) for trigger, memory in self._sides(state))
        return state._replace(left=left, right=right)

    def after_rollback(self, state: PairState) -> PairState:
        left, right = (trigger.after_rollback(memory) for trigger, memory in self._sides(state))
        return state._replace(left=left, right=right)

    def update(self, state: PairState, observation: Observation) -> tuple[PairState, Reading]:
        left, one = self.left.update(state.left, observation)
        right, two = self.right.update(state.right, observation)
        return state._replace(left=left, right=right), self._join(one, two)

    def _sides(self, state: PairState) -> tuple[tuple[Trigger, Any], tuple[Trigger, Any]]:
        return (self.left, state.left), (self.right, state.right)

    @abstractmethod
    def _join(self, one: Reading, two: Reading) -> Reading: ...


@dataclass(frozen=True, repr=False)
class And(_Joined):
    """Both hold; made by `a & b`."""

    def text(self, full: bool = False) -> str:
        """`a & b`."""
        left = f"({self.left.text(full)})" if isinstance(self.left, Or) else self.left.text(full)
        right = f"({self.right.text(full)})" if isinstance(self.right, _Joined) else self.right.text(full)
        return f"{left} & {right}"

    def _join(self, one: Reading, two: Reading) -> Reading:
        holds, fresh = one.holds and two.holds, one.fresh or two.fresh
        verdicts = (one.verdict, two.verdict)
        verdict: Verdict = "undecided" if "undecided" in verdicts else one.verdict or two.verdict
        return Reading(holds, fresh, _both([one, two]), verdict, since=_earlier(one, two))

    def update(self, state: PairState, observation: Observation) -> tuple[PairState, Reading]:
        """Both look; two states that have fired together are quiet until one of them was gone."""
        state, reading = super().update(state, observation)
        acted = state.acted and reading.holds
        return state._replace(acted=acted), reading._replace(holds=reading.holds and not acted)

    def after_firing(self, state: PairState) -> PairState:
        """Of an event and a state only the event is over."""
        after = PairState(*(t.after_change(m) if t.lasts else t.after_firing(m) for t, m in self._sides(state)))
        return after._replace(acted=self.lasts)


@dataclass(frozen=True, repr=False)
class Or(_Joined):
    """One of them holds; made by `a | b`."""

    def text(self, full: bool = False) -> str:
        """`a | b`."""
        right = f"({self.right.text(full)})" if isinstance(self.right, Or) else self.right.text(full)
        return f"{self.left.text(full)} | {right}"

    def _join(self, one: Reading, two: Reading) -> Reading:
        held = [reading for reading in (one, two) if reading.holds]
        speak = held or [one, two]  # a verdict that did not make it hold is not its verdict
        # What only stands does not fire again because the other trigger looked.
        fresh = any(reading.fresh for reading in speak)
        verdict = next((reading.verdict for reading in speak if reading.verdict), "")
        return Reading(bool(held), fresh, _both(speak), cast(Verdict, verdict), since=_earlier(*held))


class NotState(NamedTuple):
    """Memory of `~trigger`."""

    inner: Any
    acted: bool  # its rule has fired, and the trigger has not held since
    stands: bool = False  # what it found when it last looked


@dataclass(frozen=True, repr=False)
class Not(Trigger):
    """The trigger looked and does not hold; made by `~a`. It fires once, and again after `a` has held.

    Where the trigger is undecided, so is its opposite.
    """

    inner: Trigger

    def text(self, full: bool = False) -> str:
        """`~a`."""
        inner = self.inner.text(full)
        return f"~({inner})" if isinstance(self.inner, _Joined) else f"~{inner}"

    def signals(self) -> tuple[Signal, ...]:
        """Those of the trigger."""
        return self.inner.signals()

    @property
    def lasts(self) -> bool:
        """That something is not so is a state."""
        return True

    @property
    def heeds_warmup(self) -> bool:
        """As the trigger."""
        return self.inner.heeds_warmup

    @property
    def heeds_lrs(self) -> bool:
        """As the trigger."""
        return self.inner.heeds_lrs

    def heeds(self, observation: Observation) -> bool:
        """What the trigger heeds."""
        return self.inner.heeds(observation)

    def resolve(self, horizon: Horizon) -> Trigger:
        """With the trigger's windows in steps."""
        return replace(self, inner=self.inner.resolve(horizon))

    def init(self) -> NotState:
        """Nothing seen."""
        return NotState(self.inner.init(), False)

    def update(self, state: NotState, observation: Observation) -> tuple[NotState, Reading]:
        """Holds where the trigger, having looked, does not."""
        inner, reading = self.inner.update(state.inner, observation)
        acted = state.acted and not reading.holds
        stands = not reading.holds and reading.verdict != "undecided" if reading.fresh else state.stands
        words = reading.words or f"{self.inner.text()} does not hold"
        return NotState(inner, acted, stands), reading._replace(holds=stands and not acted, words=words)

    def after_firing(self, state: NotState) -> NotState:
        """Quiet until the trigger has held; what it knows of another LR is forgotten."""
        return self.after_change(state)._replace(acted=True)

    def after_change(self, state: NotState) -> NotState:
        """The trigger's own; what it then knows nothing of stands no more."""
        return _forgotten(state, self.inner.after_change(state.inner))

    def after_rollback(self, state: NotState) -> NotState:
        """As after a change."""
        return _forgotten(state, self.inner.after_rollback(state.inner))


def _forgotten(state: NotState, inner: Any) -> NotState:
    return state if inner == state.inner else state._replace(inner=inner, stands=False)


def _earlier(*readings: Reading) -> int | None:
    return min((reading.since for reading in readings if reading.since is not None), default=None)


def _both(readings: list[Reading]) -> str:
    return " and ".join(reading.words for reading in readings if reading.words)


def _trigger(value: Any, operator: str) -> Trigger:
    if not isinstance(value, Trigger):
        raise LehrError(
            f"{operator} joins two triggers, got {value!r}; a signal becomes one by .reaches(0.9) and the like"
        )
    return value
