"""One scheduler of torch as data: its class, its attributes, the optimiser's groups, the schedulers inside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from lehr.errors import LehrError
from lehr.schedules.schedule import number
from lehr.spelling import shown

__all__ = ["OWN_BASE", "Scheduler"]

OWN_BASE = ("OneCycleLR", "CyclicLR")  # their LRs are their own, not the optimiser's


class Scheduler(NamedTuple):
    """A scheduler object or a state dict; a state dict knows no groups."""

    kind: str
    values: Mapping[str, Any]
    groups: Sequence[Mapping[str, Any]] = ()
    inside: tuple[Scheduler, ...] = ()

    def take(self, *names: str) -> list[Any]:
        """Attributes that must be there."""
        lacking = [name for name in names if name not in self.values]
        if lacking:
            raise LehrError(
                f"{self.kind} needs {', '.join(lacking)}, which the source does not have; give the scheduler itself"
            )
        return [self.values[name] for name in names]

    def number(self, name: str) -> float:
        """One number that must be there."""
        (value,) = self.take(name)
        return self.as_number(value, name)

    def as_number(self, value: Any, name: str) -> float:
        """A finite number; also a tensor of one element."""
        read = value.item() if callable(getattr(value, "item", None)) else value
        return number(read, f"{name} of {self.kind}")

    def listed(self, name: str) -> list[Any]:
        """A list; empty if it is not there."""
        value = self.values.get(name)
        if value is not None and not isinstance(value, Sequence):
            raise LehrError(f"{name} of {self.kind} must be a list, got {shown(value)}")
        return list(value or ())

    def lrs(self, name: str) -> tuple[float, ...]:
        """One LR for each group; none if they are not there."""
        return tuple(self.as_number(item, name) for item in self.listed(name))

    def of_groups(self, key: str) -> tuple[float, ...]:
        """What the optimiser keeps for the scheduler in its groups."""
        if not self.groups or key not in self.groups[0]:
            raise LehrError(
                f"{self.kind} keeps its {key} in the optimiser, not in its state dict; give the scheduler itself"
            )
        return tuple(self.as_number(group[key], key) for group in self.groups)

    @property
    def base(self) -> tuple[float, ...]:
        """The base LRs: those that the scheduler keeps, else those in the optimiser."""
        if self.values.get("base_lrs"):
            return self.lrs("base_lrs")
        if self.inside:
            own = [item for item in self.inside if item.kind not in OWN_BASE]
            return (own or list(self.inside))[0].base
        return tuple(self.as_number(group.get("initial_lr", group["lr"]), "initial_lr") for group in self.groups)

    @property
    def steps(self) -> int:
        """Steps done so far."""
        done = self.values.get("last_epoch")
        return done if isinstance(done, int) else 0

    @property
    def way_up(self) -> float:
        """The last step of the first phase of a OneCycleLR."""
        phases = self.listed("_schedule_phases")
        if not phases or not isinstance(phases[0], Mapping) or "end_step" not in phases[0]:
            raise LehrError(f"_schedule_phases of {self.kind} must begin with an end_step, got {shown(phases)}")
        return self.as_number(phases[0]["end_step"], "end_step")

    def all(self) -> Iterator[Scheduler]:
        """This one and all inside."""
        yield self
        for item in self.inside:
            yield from item.all()
