"""`lehr.calibrate`: the noise of a recorded signal, and how triggers do on curves with just this noise."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lehr.calibration import Noise, fewest
from lehr.errors import LehrError
from lehr.lengths import RULE_UNITS, LengthLike, as_length
from lehr.logs import read_trace
from lehr.policy import Bind, Groups, Policy, PolicyLike
from lehr.recorded import reported, run_of
from lehr.residuals import noise_in
from lehr.rules import Rule, Signal, Trigger, loss
from lehr.rules.common import percent, whole
from lehr.rules.improves import ImprovesLessThan
from lehr.rules.plateaus import Plateaus
from lehr.schedules.schedule import number
from lehr.text import as_policy, parse
from lehr.trace import Trace
from lehr.trials import Patience, Setting, Trials, Tried

__all__ = ["Calibration", "calibrate"]

ALLOWED = 0.05  # premature share of what is recommended
PATIENCES = (5, 10, 20, 50, 100, 200)
SHARES = ("100%", "50%", "30%", "20%", "10%", "5%", "2%", "1%")  # windows that are tried, of the run
SMOOTH = 20  # observations that the smoothed plateaus span, at least
MOST = 8_000_000  # numbers in all trials of a trigger
LEAST = 20  # runs of a family


@dataclass(frozen=True)
class Calibration:
    """The noise of a signal and what triggers make of it; `print` it.

    Attributes:
        signal: what was looked at.
        noise: relative to the level.
        setting: what the trials were: their length, what was asked of the curves, and how many there were.
        count: observations that the noise was estimated from.
        needed: n*, the fewest observations from which a slope test could tell that a curve is flat.
        tried: every trigger, in the order in which it was tried.
        patience: of plateaus and of smoothed plateaus, from little to much.
        recommended: of plateaus, smoothed plateaus and the trend test the ones to use: premature in at most 5 % of the
            runs, the quickest first; last a trend test that has to ask for more than was asked.
        notes: what must be known to read it.
    """

    signal: Signal
    noise: Noise
    setting: Setting
    count: int
    needed: float
    tried: tuple[Tried, ...]
    patience: tuple[Patience, ...]
    recommended: tuple[Tried, ...]
    notes: tuple[str, ...]

    @property
    def times(self) -> float:
        """τ = (1 + ρ)/(1 − ρ), the integrated autocorrelation time, in observations."""
        return (1 + self.noise.rho) / (1 - self.noise.rho)

    @property
    def decidable(self) -> bool:
        """Whether a curve that is flat from the middle of the run on can be told to be so before its end."""
        return self.needed <= self.setting.length / 2

    @property
    def coarser(self) -> float:
        """The improvement over the same window that could be told in a quarter of the run."""
        return float(self.setting.improvement * (self.needed / (self.setting.length / 4)) ** 1.5)

    def words(self) -> list[str]:
        """All of it in sentences."""
        rows = [f"{row.trigger!r}: {row.words()}" for row in self.tried]
        return [*self.facts(), *rows, *self.advice(), *self.notes]

    def facts(self) -> list[str]:
        """The noise, and what it allows."""
        asked = f"{percent(self.setting.improvement)} over {self.setting.window.words()}"
        able = f"less than {asked} can be told from about {self.needed:.0f} observations on"
        of = f"the run has {self.setting.length}"
        easier = f"ask for {percent(self.coarser)} or more over {self.setting.window.words()}, or let each be a mean"
        spikes = f"beside it {percent(self.noise.spikes)} spikes, " if self.noise.spikes else ""
        return [
            f"{self.signal.name}: noise of {percent(self.noise.sd)} of the level, autocorrelation {self.noise.rho:.2f} "
            f"(a time of {self.times:.1f} observations), {spikes}from {self.count} observations",
            f"{able}; {of}"
            if self.decidable
            else f"{able}, but {of}: too few are left when it turns flat in the middle; {easier}",
        ]

    def advice(self) -> list[str]:
        """What to write."""
        if not self.recommended:
            return [
                f"no patience and no window keeps to {percent(ALLOWED)} and decides in this run: {self.signal.name} is "
                "too noisy for what is asked"
            ]
        leads = ["write", *["or"] * (len(self.recommended) - 1)]
        return [
            f"{lead} {row.trigger!r}: {row.words()}{self.aside(row)}"
            for lead, row in zip(leads, self.recommended, strict=True)
        ]

    def aside(self, row: Tried) -> str:
        """What must be said of a trigger that asks for more than was asked."""
        if not (isinstance(row.trigger, ImprovesLessThan) and _asks_more(row, self.setting)):
            return ""
        asked, window = percent(self.setting.improvement), self.setting.window.words()
        return f"; it asks for {asked} over {row.trigger.window.words()}, as {asked} over {window} takes longer to tell"

    def __str__(self) -> str:
        """All of it."""
        return "\n".join(self.words())


def calibrate(
    log: Trace | str | Path,
    *,
    signal: Signal | str | None = None,
    improvement: float = 0.01,
    over: LengthLike = "10%",
    triggers: Sequence[Trigger | str] | None = None,
    policy: PolicyLike | str | None = None,
    runs: int = 200,
    seed: int = 0,
) -> Calibration:
    """Estimate the noise of a recorded signal, try triggers on curves with such noise, and say which to use.

    The curves are of four families: two fall for the whole run, one comes to stand still, one comes to rise. A trigger
    that fires while its curve still improves by `improvement` or more over `over` is too early; the delay counts from
    when it does not. n* = (12·z²·σ²·(1+ρ)/(1−ρ)·H²/δ²)^⅓ is the fewest observations from which a slope test could
    decide; a miss is counted where at least 2·n* of the run were left.

    Args:
        log: a trace, or the path of any log that `lehr.read_trace` reads; best of a run without changes of the LR that
            made the signal jump.
        signal: what to look at: a signal or its text. Default: what the policy or the triggers read, else `loss`.
        improvement: δ, a share between 0 and 1; 1 % is 0.01.
        over: H, a length in any unit, observations included.
        triggers: what to try. Default: those of the policy, else plateaus of several patiences, smoothed ones, and
            `improves_less_than`.
        policy: its rules' triggers of this signal are tried.
        runs: of each family, at least 20; fewer where the log is long, which the notes say.
        seed: the same seed gives the same curves.

    Raises:
        LehrError: fewer than 50 observations, a signal that the log lacks, or one whose level changes its sign.

    Example:
        >>> import lehr, numpy as np
        >>> noise = 0.02 * np.random.default_rng(0).standard_normal(300)
        >>> losses = (2 - np.arange(300) / 300) * (1 + noise)
        >>> log = lehr.simulate("constant()", lr=0.1, steps=300, observations={"loss": losses})
        >>> found = lehr.calibrate(log, over="20%", runs=20)
        >>> round(found.noise.sd, 2), lehr.parse(repr(found.recommended[-1].trigger)) == found.recommended[-1].trigger
        (0.02, True)

    Source: our choice; the families and n* are those of `lehr.calibration`.
    """
    trace = log if isinstance(log, Trace) else read_trace(log)
    asked, notes = _asked(triggers, policy)
    chosen = _signal(signal, asked)
    steps, values = reported(trace, chosen)
    noise = noise_in(values)
    horizon, spacing = run_of(trace, steps)
    length = max(round((horizon.steps or 0) / spacing), len(values))
    if length > 1.25 * len(values):
        notes.append(
            f"the log holds {len(values)} of the run's {length} observations; the trials are as long as the run"
        )
    setting = Setting(
        length=length,
        improvement=_share(improvement),
        window=as_length(over, "calibrate(over=...)", RULE_UNITS),
        runs=_runs(runs, length, notes),
        seed=seed,
        best=chosen.best,
        sign=1 if values[-1] > 0 else -1,
        horizon=horizon,
        spacing=spacing,
    )
    trials = Trials(noise, setting)
    mine = [trigger for trigger in asked if {read.name for read in trigger.signals()} == {chosen.name}]
    notes += [
        f"{other!r} is not tried, as it does not read {chosen.name} alone" for other in asked if other not in mine
    ]
    span = min(max(SMOOTH, round(5 * (1 + noise.rho) / (1 - noise.rho))), length // 10)
    raw, smooth = replace(chosen, span=None), chosen.smoothed(span)
    patience = tuple(trials.patience(Plateaus(made, 0)) for made in (raw, smooth))
    trend = raw.improves_less_than(improvement, over)
    menu: list[Trigger] = [made.plateaus(k) for made in (raw, smooth) for k in PATIENCES if k < length / 2]
    menu += [trend, raw.improves_less_than(improvement, over, test="means")]
    tried = tuple(trials.of(trigger) for trigger in (mine or menu))
    best = [*(trials.of(found.at(ALLOWED)) for found in patience), *_windows(trials, noise, raw)]
    fit = [row for row in best if row.premature <= ALLOWED and math.isfinite(row.delay)]
    recommended = tuple(sorted(fit, key=lambda row: (_asks_more(row, setting), row.delay)))
    needed = fewest(noise, over=trials.over, improvement=improvement)
    return Calibration(chosen, noise, setting, len(values), needed, tried, patience, recommended, tuple(notes))


def _asks_more(row: Tried, setting: Setting) -> bool:
    return isinstance(row.trigger, ImprovesLessThan) and row.trigger.window != setting.window


def _windows(trials: Trials, noise: Noise, signal: Signal) -> Iterator[Tried]:
    """The trend test as asked; if that takes more than a quarter of the run, also the widest window that does not."""
    asked = trials.setting
    row = trials.of(ImprovesLessThan(signal, asked.improvement, asked.window))
    yield row
    for share in SHARES:
        if row.delay <= asked.length / 4:
            return
        setting = replace(asked, window=as_length(share, "a share"))
        fast = fewest(noise, over=setting.over, improvement=asked.improvement) <= asked.length / 4
        if setting.over < asked.over and fast:
            found = Trials(noise, setting).of(ImprovesLessThan(signal, asked.improvement, setting.window))
            if found.premature <= ALLOWED and found.delay <= asked.length / 4:
                yield found
                return


# What was asked


def _asked(
    triggers: Sequence[Trigger | str] | None, policy: PolicyLike | str | None
) -> tuple[list[Trigger], list[str]]:
    """The triggers to try, each once; none: the menu."""
    given = [parse(trigger) if isinstance(trigger, str) else trigger for trigger in triggers or ()]
    for trigger in given:
        if not isinstance(trigger, Trigger):
            raise LehrError(f"calibrate(triggers=...) takes triggers such as loss.plateaus(10), got {trigger!r}")
    given += [] if policy is None else [rule.trigger for rule in _rules(as_policy(policy))]
    if (triggers is not None or policy is not None) and not given:
        raise LehrError("there is no rule to try: give a policy with rules, or none for the usual triggers")
    return list(dict.fromkeys(given)), []


def _rules(policy: Any) -> Iterator[Rule]:
    if isinstance(policy, Policy):
        yield from policy.rules
    elif isinstance(policy, Groups | Bind):
        for _, part in policy.members:
            yield from _rules(as_policy(part))


def _signal(signal: Signal | str | None, asked: Sequence[Trigger]) -> Signal:
    """The signal as said; else the one that all triggers read; else the loss."""
    if signal is None:
        read = {replace(each, span=None) for trigger in asked for each in trigger.signals()}
        if len(read) > 1:
            listed = ", ".join(sorted(map(repr, read)))
            raise LehrError(f"the triggers read several signals: {listed}; say which one is meant: signal=...")
        return next(iter(read), loss)
    if isinstance(signal, str) and signal.isidentifier() and signal != "loss":
        raise LehrError(
            f"signal={signal!r} does not say which direction is better; write metric({signal!r}, best='min') or 'max'"
        )
    found = parse(signal) if isinstance(signal, str) else signal
    if not isinstance(found, Signal):
        raise LehrError(f"signal= must be a signal such as loss or metric('val_loss', best='min'), got {signal!r}")
    return replace(found, span=None)


def _share(improvement: float) -> float:
    share = number(improvement, "calibrate(improvement=...)")
    if not 0 < share < 1:
        raise LehrError(f"calibrate(improvement=...) must be a share between 0 and 1, got {share!r}; 1 % is 0.01")
    return share


def _runs(runs: int, length: int, notes: list[str]) -> int:
    runs = whole(runs, "calibrate(runs=...)", least=LEAST)
    most = MOST // (4 * length)
    if most < LEAST:
        raise LehrError(
            f"{length} observations in a run are too many to try; give a log of the means of every {length // 10_000} "
            "of them, and let the rules hear such: Policy(..., cadence=...)"
        )
    if most < runs:
        notes.append(f"{most} runs of each family were tried instead of {runs}, as a run has {length} observations")
    return min(runs, most)
