"""Signals: what a rule reads. A signal has a name, says which direction is better, and makes triggers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from keyword import iskeyword
from typing import Any, Literal

from lehr.errors import LehrError
from lehr.lengths import Length, LengthLike, as_length
from lehr.rules.common import whole
from lehr.rules.derails import Derails
from lehr.rules.diverges import Diverges
from lehr.rules.greedy import Greedy
from lehr.rules.improves import ImprovesLessThan
from lehr.rules.levels import LevelsOff
from lehr.rules.performs import AtLeast, WithinBest
from lehr.rules.plateaus import Flavor, MarginMode, Plateaus
from lehr.rules.reaches import Reaches
from lehr.rules.slope import Stalls
from lehr.rules.spikes import Spikes
from lehr.rules.steers import Steers
from lehr.rules.sticks import Sticks
from lehr.rules.streak import Streak
from lehr.rules.trend import RISK
from lehr.rules.trigger import Observation, Smooth, Trigger
from lehr.spelling import Value, call

__all__ = ["Best", "Signal", "evaluation", "loss", "metric"]

Best = Literal["min", "max"]


@dataclass(frozen=True, repr=False)
class Signal(Value):
    """A named number that observations carry; made by `metric`, `evaluation` or `loss`."""

    name: str
    best: str
    every: Length | None = None  # an evaluation: how often Lehr calls the function
    span: int | None = None  # observations that the smoothing spans

    def text(self, full: bool = False) -> str:
        """The expression that makes it."""
        if self.every is not None:
            plain = call(evaluation, {"name": self.name, "every": self.every, "best": self.best}, full)
        elif self == loss or (self.name, self.best) == ("loss", "min"):
            plain = "loss"
        else:
            plain = call(metric, {"name": self.name, "best": self.best}, full)
        return plain if self.span is None else f"{plain}.{call(Signal.smoothed, {'span': self.span}, full)}"

    def __bool__(self) -> bool:
        raise LehrError(f"{self!r} has no truth value; make a trigger of it, such as .reaches(0.9)")

    def read(self, memory: Smooth, observation: Observation) -> tuple[Smooth, float | None]:
        """This signal's value in the observation (None: it is not there), smoothed if it is so."""
        value = observation.numbers.get(self.name)
        if value is None or self.span is None or not math.isfinite(value):
            return memory, value
        keep = 1.0 - 2.0 / (self.span + 1.0)
        memory = Smooth(keep * memory.mean + (1.0 - keep) * value, keep * memory.weight + (1.0 - keep))
        return memory, memory.mean / memory.weight

    def smoothed(self, span: int) -> Signal:
        """The exponential moving average with decay 1 − 2/(span + 1), unbiased from the first value on.

        Args:
            span: observations that the average spans, at least 1. Non-finite values are left out of it.

        Source: pandas' and TA's span convention; bias correction of Kingma & Ba 2015 (arXiv 1412.6980), section 3.
        """
        return replace(self, span=whole(span, "smoothed(span), a number of observations,", least=1))

    def improves_less_than(
        self, improvement: float, over: LengthLike, test: Literal["trend", "means"] = "trend", risk: float = RISK
    ) -> Trigger:
        """Holds when it is shown that the signal improves by less than `improvement` over a window.

        With test="trend" a line is fitted to every window that ends now, and the trigger holds where the upper
        confidence bound of the improvement over `over`, as a share of the level (of the noise, where that is larger),
        is below `improvement`. Noise and autocorrelation are estimated, spikes pulled in. Its verdict is *flat*,
        *worsening*, *improving*, or *undecided*, which never acts; it takes at least 24 observations. Evidence is
        forgotten after firing, and when another rule or a hand changes the LR by more than 5 %.

        With test="means" it compares the mean over a window with that over the window before, side by side, so that
        each pair is looked at once: (mean before − mean)/|mean before|, with the sign turned for best="max". A worse
        mean is a negative improvement. Noise larger than the improvement makes it fire.

        Args:
            improvement: a share between 0 and 1; 1 % is 0.01.
            over: the window, a length in any unit, observations included.
            test: "trend" or "means".
            risk: of the trend test: the chance of firing on a signal that improves exactly as asked, in a stretch of
                ten times `over`; between 0 and 0.5.

        Example:
            >>> import lehr
            >>> lehr.loss.improves_less_than(0.01, over="200 steps")
            loss.improves_less_than(0.01, 200)

        Source: our choice; the trend test is that of `lehr.estimate`, the means the plainest reading of "the loss falls
        too slowly".
        """
        return ImprovesLessThan(self, improvement, over, test, risk)

    def reaches(
        self,
        threshold: float,
        rearm: float | None = None,
        *,
        confidence: float | None = None,
        sustained: int = 1,
    ) -> Trigger:
        """Holds when the value is as good as `threshold` or better; fires once.

        Args:
            threshold: in the unit of the signal.
            rearm: a worse value; when the signal is worse than that, the trigger can fire again. Default: never.
            confidence: between 0.5 and 1; the level of the signal, not one lucky value, must have reached it: one of
                the means of the last 2 to 24 observations has a one-sided confidence bound beyond the threshold, with
                noise and autocorrelation estimated. It takes 8 observations.
            sustained: so many observations in a row must have reached it; not together with `confidence`.

        Example:
            >>> import lehr
            >>> lehr.metric("accuracy", best="max").reaches(0.95, rearm=0.9, sustained=2)
            metric('accuracy', best='max').reaches(0.95, rearm=0.9, sustained=2)

        Source: our choice; a latch with hysteresis, as in any thermostat.
        """
        return Reaches(self, threshold, rearm, confidence, sustained)

    def at_least(self, threshold: float) -> Trigger:
        """Holds while the value is as good as `threshold` or better; fires each time that it comes to be so.

        Unlike `reaches` it is not latched for good: it is a state, to be joined with others or turned round.

        Args:
            threshold: in the unit of the signal; for best="min" the value must be at most that.

        Example:
            >>> import lehr
            >>> good = lehr.evaluation("accuracy", every=100, best="max").at_least(0.9)
            >>> lehr.when(good & lehr.loss.plateaus(5)).scale(0.1)
            when(evaluation('accuracy', every=100, best='max').at_least(0.9) & loss.plateaus(5)).scale(0.1)

        Source: our choice.
        """
        return AtLeast(self, threshold)

    def within_best(self, tolerance: float, sustained: int = 2) -> Trigger:
        """Holds while the value is within tolerance·|best| of its best so far, or within its noise.

        It takes `sustained` observations in a row beyond both to leave; `~` of it is the rule's trigger. The noise is
        that of the difference of two values: 2.5·√2·σ, with σ as in `improves_less_than`.

        Args:
            tolerance: a share between 0 and 1; 1 % is 0.01.
            sustained: observations, at least 1.

        Example:
            >>> import lehr
            >>> accuracy = lehr.evaluation("accuracy", every="1 epoch", best="max")
            >>> lehr.when(~accuracy.within_best(0.02)).scale(0.5)
            when(~evaluation('accuracy', every='1 epoch', best='max').within_best(0.02)).scale(0.5)

        Source: our choice.
        """
        return WithinBest(self, tolerance, sustained)

    def plateaus(
        self,
        patience: int,
        margin: float = 1e-4,
        flavor: Flavor = "lehr",
        cooldown: int = 0,
        margin_mode: MarginMode | None = None,
        average: int = 1,
    ) -> Trigger:
        """Holds when more than `patience` observations in a row were no improvement on the best one.

        An improvement is better than the best by more than margin·|best|, for negative values too. A non-finite value
        is neither an improvement nor the lack of one. After firing the evidence is forgotten, and observations of the
        cooldown are not heard.

        Args:
            patience: observations without improvement that are tolerated; the next one acts (as in torch).
            margin: relative, between 0 and 1; or absolute, at least 0.
            flavor: "lehr", or the words' meaning elsewhere, faults included. In all of these NaN is no improvement and
                the best value is kept after firing. "torch" and "paddle": a relative margin has the wrong sign for
                negative values. "optax": the same, and the patience-th observation acts. "keras" and "fastai": the
                margin is absolute, and the patience-th acts. In a cooldown torch, Keras and optax go on noting the
                best value, Paddle does not; Keras counts its last observation already; fastai has none. Keras and
                optax compare in float32.
            cooldown: observations after firing that do not count.
            margin_mode: "rel" or "abs". Default: "abs" for "keras" and "fastai", which know no other, else "rel".
            average: observations of which the mean is judged, side by side; "lehr" and "optax" only.

        Raises:
            LehrError: a number out of its range, or what the flavor does not have.

        Example:
            >>> import lehr
            >>> lehr.metric("val_loss", best="min").plateaus(5)
            metric('val_loss', best='min').plateaus(5)

        Source: torch's, Keras's, optax's, Paddle's and fastai's reduce-on-plateau; "lehr" is our choice.
        """
        return Plateaus(self, patience, margin, flavor, cooldown, margin_mode, average)

    def derails(
        self,
        lost: float = 0.5,
        unrecovered: LengthLike = "5%",
        smooth: LengthLike = "3%",
        nonfinite: int = 3,
    ) -> Trigger:
        """Holds when most of the progress has been lost and stays so, or when the value is no longer finite.

        Slow to anger: spikes that recover are no reason. Progress is the way from the first value to the best level, in
        the logarithm where all are positive. A level is the median of up to 15 block means. What was gained and what is
        lost must both exceed four standard deviations of the best level. What is lost counts as recovered when half of
        `lost` is regained. It hears the leading warm-up too.

        Args:
            lost: the share of the progress that is given back, above 0 and at most 1.
            unrecovered: how long it must stay lost.
            smooth: the window of a level; it holds at least 5 observations.
            nonfinite: observations in a row that must be NaN or infinite.

        Example:
            >>> import lehr
            >>> lehr.when(lehr.loss.derails()).rollback(0.5).at_most(4)
            when(loss.derails()).rollback().at_most(4)

        Source: our choice, after runs at good LRs, which spike and recover.
        """
        return Derails(self, lost, unrecovered, smooth, nonfinite)

    def sticks(self, after: LengthLike = "4%", smooth: LengthLike = "3%") -> Trigger:
        """Holds when the value has been no better than the first one for as long as `after`, though not for slowness.

        That is the mark of an LR that is far too high: training has destroyed the weights and learns nothing since.
        "No better" is a level that is less than 15 % better than the first value. Before that the value must have been
        worse, by a block mean that is worse by 50 %, or better, by a level that was better by 15 %; both by four
        standard deviations. A run that never moves is left alone: it may need a higher LR. It hears the leading warm-up
        too.

        Args:
            after: how long.
            smooth: the window of a level; it holds at least 5 observations.

        Example:
            >>> import lehr
            >>> lehr.when(lehr.loss.sticks()).rollback(0.25, to="start")
            when(loss.sticks()).rollback(0.25, to='start')

        Source: our choice.
        """
        return Sticks(self, after, smooth)

    def improves_in_a_row(self, times: int, margin: float = 1e-4) -> Trigger:
        """Holds when so many observations, one after the other, were each better than the best one before.

        After firing a new row begins; the best value stays. Non-finite values are left out. Noise ends a row soon, so
        smooth the signal.

        Args:
            times: observations in a row, at least 1.
            margin: of an improvement, relative, between 0 and 1.

        Example:
            >>> import lehr
            >>> lehr.when(lehr.loss.smoothed(50).improves_in_a_row(11)).scale(1.05).within(0.1, 4)
            when(loss.smoothed(50).improves_in_a_row(11)).scale(1.05).within(0.1, 4)

        Source: the rise of GreedyLR (arXiv 2512.14527); the relative margin is our choice.
        """
        return Streak(self, times, margin)

    def greedy_lr(
        self,
        factor: float = 0.95,
        patience: int = 10,
        threshold: float = 1e-6,
        threshold_mode: Literal["abs", "rel"] = "abs",
        cooldown: int = 0,
        warmup: int = 0,
        min_lr: float = 1e-3,
        max_lr: float = 1.0,
        eps: float = 1e-8,
        average: int = 1,
        reset_start: int = 500,
    ) -> Trigger:
        """Decides as transformers' GreedyLR, for the action `follow`; `greedy` is the recipe without its faults.

        Above `patience` improvements in a row: LR ← min(LR/factor, max_lr); above `patience` observations without:
        LR ← max(LR·factor, min_lr). Bounds are LRs, so an LR below `min_lr` can only rise. NaN is no improvement. Made
        for a constant schedule, as there.

        Args:
            factor: between 0 and 1.
            patience: observations in a row that are tolerated.
            threshold: margin of an improvement.
            threshold_mode: "abs", or "rel", which has the wrong sign for negative values.
            cooldown: observations after a cut that do not count.
            warmup: observations after a rise that do not count.
            min_lr: the floor, an LR.
            max_lr: the ceiling, an LR.
            eps: a change of no more than that is not made; an LR.
            average: observations of which the running mean is judged (`smooth=True, window_size=...` there).
            reset_start: cuts at the floor after which the LR starts afresh.

        Example:
            >>> import lehr
            >>> lehr.when(lehr.metric("val_loss", best="min").greedy_lr(cooldown=5)).follow()
            when(metric('val_loss', best='min').greedy_lr(cooldown=5)).follow()

        Source: transformers 5.23, `GreedyLR`; arXiv 2512.14527.
        """
        return Greedy(
            self,
            factor,
            patience,
            threshold,
            threshold_mode,
            cooldown,
            warmup,
            min_lr,
            max_lr,
            eps,
            average,
            reset_start,
        )

    def steers(self, rate: float) -> Trigger:
        """Holds at every value that is not 0, and proposes LR·(1 + rate·value), for the action `follow`.

        Values beyond −1 and 1 count as those. Non-finite values are left out.

        Args:
            rate: between 0 and 1; the share by which the LR changes at most.

        Example:
            >>> import lehr
            >>> lehr.when(lehr.metric("alignment", best="max").steers(0.02)).follow().within(0.01, 1)
            when(metric('alignment', best='max').steers(0.02)).follow().within(0.01, 1)

        Source: multiplicative hypergradient descent (Baydin et al. 2018, arXiv 1703.04782); see `hypergradient`.
        """
        return Steers(self, rate)

    def stalls(
        self,
        over: LengthLike = "2000 observations",
        probability: float = 0.51,
        discard: float = 0.1,
        forget: float = 0.3,
    ) -> Trigger:
        """Holds when a line through a full window shows no improvement: P(slope < 0) below `probability`, twice.

        P = Φ(−b/se), with the least-squares slope b and se² = 12·RSS/((n − 2)(n³ − n)). It is asked again without the
        worst values, so that a late spike alone does not count. A full window is tested 200 times while it is renewed
        once. Residuals are taken as independent: with autocorrelated noise it fires too early.

        Args:
            over: the window, a length in any unit, observations included; beyond 2000 the means of blocks are kept.
            probability: between 0.5 and 1.
            discard: the share of worst values that the second test leaves out.
            forget: the share of oldest values that is forgotten after firing; 1 is all of them.

        Example:
            >>> import lehr
            >>> lehr.when(lehr.loss.stalls("20%")).scale(0.1)
            when(loss.stalls('20%')).scale(0.1)

        Source: dlib's trainer (davisking/dlib, `running_gradient.h`, `trainer.h`), which forgets 400 + over/10 values,
            30 % of its 2000; windows in units of the run are our choice.
        """
        return Stalls(self, over, probability, discard, forget)

    def levels_off(self, slope: float = 0.6, ratio: float = 1.5, burn_in: int = 5) -> Trigger:
        """Holds when the signal grows more slowly than n^slope, n being the steps since it was measured anew.

        For the squared distance to a starting point, which `lehr.torch.Distance` measures: it grows as n or faster
        while training gets somewhere, and levels off when it wanders about an optimum. Looked at when n passes a power
        of `ratio`. After firing it waits until the distance is measured from a new point. Weights that drift keep the
        slope up, so in deep nets it fires late: take it as corroborating evidence.

        Args:
            slope: between 0 and 1.
            ratio: of the steps at two checkpoints, above 1 and at most 10.
            burn_in: checkpoints that only count.

        Example:
            >>> import lehr
            >>> lehr.when(lehr.metric("distance", best="max").levels_off()).scale(0.5)
            when(metric('distance', best='max').levels_off()).scale(0.5)

        Source: Pesme, Dieuleveut & Flammarion 2020 (arXiv 2007.00534), the distance-based diagnostic, with q = 1.5 and
            the threshold 0.6; the burn-in is our choice.
        """
        return LevelsOff(self, slope, ratio, burn_in)

    def spikes(self, by: float = 6.0, span: int = 200) -> Trigger:
        """Holds when the logarithm of a positive value is more than `by` standard deviations worse than usual.

        Once for a row of them: again only after an ordinary value.
        For a norm of the gradient, to journal what happened or to stop; ordinary spikes recover, so do not cut the LR
        for them. Mean and variance are moving ones over the span, into which a spike enters cut to `by` deviations.
        Values that are not positive are left out.

        Args:
            by: standard deviations; a spread of less than 1 % counts as 1 %.
            span: observations, at least 2; before so many were heard it does not hold.

        Example:
            >>> import lehr
            >>> lehr.when(lehr.metric("grad_norm", best="min").spikes(8), shadow=True).scale(0.5)
            when(metric('grad_norm', best='min').spikes(8), shadow=True).scale(0.5)

        Source: ZClip (arXiv 2504.02507) for the clipped moments; the logarithm is our choice.
        """
        return Spikes(self, by, span)

    def diverges(self) -> Trigger:
        """Holds when the value is NaN or infinite; again only after a finite one has come.

        Source: our choice.
        """
        return Diverges(self)


def metric(name: str, *, best: Best) -> Signal:
    """A number that you report: `step(accuracy=0.9)` or `observe(accuracy=0.9)`.

    Args:
        name: as in the report; a Python name.
        best: "min" or "max", never guessed from the name.

    Raises:
        LehrError: a name that cannot be reported by keyword, or another direction.

    Example:
        >>> metric("val_loss", best="min")
        metric('val_loss', best='min')
    """
    _check(name, best, "metric")
    return Signal(name, best)


def evaluation(name: str, *, every: LengthLike, best: Best) -> Signal:
    """A number that Lehr itself obtains, by calling the function bound to `name` at start (`evaluate={name: fn}`).

    It is called inside `step()` after update t when t + 1 is a multiple of `every`.

    Args:
        name: of the function, and of the number in the trace.
        every: the cadence, a positive length.
        best: "min" or "max", never guessed from the name.

    Raises:
        LehrError: as `metric`, or a cadence of zero.

    Example:
        >>> evaluation("accuracy", every="1 epoch", best="max")
        evaluation('accuracy', every='1 epoch', best='max')
    """
    _check(name, best, "evaluation")
    cadence = as_length(every, "evaluation(every=...)")
    if cadence.amount == 0:
        raise LehrError("evaluation(every=...) must be a positive length, got 0")
    return Signal(name, best, cadence)


def _check(name: Any, best: Any, function: str) -> None:
    if not isinstance(name, str) or not name.isidentifier() or iskeyword(name) or name in ("applied", "self"):
        raise LehrError(f"{function}(name) must be a name that step(name=...) can report, got {name!r}")
    if best not in ("min", "max"):
        raise LehrError(f"{function}({name!r}, best=...) must be 'min' or 'max', got {best!r}")


loss = Signal("loss", "min")
