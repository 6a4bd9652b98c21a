"""What a conversion is: a policy, the base LR and the run's length as far as the source says them, and findings."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

from lehr.checks.finding import Finding, Severity
from lehr.lengths import Horizon
from lehr.policy import PolicyLike

__all__ = ["BaseLR", "Conversion", "Given", "finding"]

BaseLR = float | tuple[float, ...] | None


class Given(NamedTuple):
    """What the caller says beside the source; it wins over the source."""

    lr: float | None = None
    steps: int | None = None
    steps_per_epoch: int | None = None
    metric: str | None = None
    kind: str | None = None


@dataclass(frozen=True, repr=False)
class Conversion:
    """A peer's configuration as a policy.

    Attributes:
        policy: the policy; its curve is the peer's, wherever the peer is right.
        peer: "torch", "transformers", "deepspeed", "megatron", "keras" or "timm"; "lehr" for a scheduler of Lehr.
        lr: the base LR, one for each parameter group if they differ; None if the source does not say it.
        horizon: the run; None if the source does not say how many updates it has.
        epochs: the run's length in epochs, where the source counts it so.
        findings: what was changed on purpose, what could not be taken over, and what looks wrong in the policy.
    """

    policy: PolicyLike
    peer: str
    lr: BaseLR = None
    horizon: Horizon | None = None
    epochs: float | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def steps(self) -> int | None:
        """Updates in the run, if known."""
        return None if self.horizon is None else self.horizon.steps

    def text(self) -> str:
        """Lines of Python to paste, then the findings as comments.

        Example:
            >>> import lehr
            >>> print(lehr.convert("--lr 3e-4 --lr-decay-style cosine --train-iters 1000").text())
            policy = lehr.parse("cosine()")
            lr = 0.0003
            horizon = lehr.Horizon(steps=1000)
        """
        lines = [f'policy = lehr.parse("{self.policy!r}")']
        if self.lr is not None:
            lines.append(f"lr = {list(self.lr) if isinstance(self.lr, tuple) else self.lr!r}")
        if self.horizon is not None:
            lines.append(f"horizon = {_horizon(self.horizon)}")
        elif self.epochs is not None:
            lines.append(f"horizon = lehr.Horizon(epochs={self.epochs:g}, steps_per_epoch=...)")
        lines += [f"# {item}" for item in self.findings]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return self.text()


def finding(code: str, severity: Severity, reason: str, remedy: str) -> Finding:
    """A finding of a conversion."""
    return Finding(code, severity, reason, remedy)


def _horizon(horizon: Horizon) -> str:
    known = [(item.name, getattr(horizon, item.name, None)) for item in fields(horizon)]
    return f"lehr.Horizon({', '.join(f'{name}={value}' for name, value in known if value is not None)})"
