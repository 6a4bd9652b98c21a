"""Famous combinations, each one line of the algebra. A recipe prints as what it is made of."""

from __future__ import annotations

import functools as ft
from collections.abc import Callable

from lehr.errors import LehrError
from lehr.lengths import LengthLike
from lehr.schedules.decay import constant, cosine, hold, linear, one_minus_sqrt, polynomial
from lehr.schedules.falls import exp_cooldown, geometric
from lehr.schedules.functions import registered
from lehr.schedules.powers import power_law
from lehr.schedules.schedule import Schedule, number
from lehr.schedules.steps import exponential
from lehr.schedules.user import of_position
from lehr.schedules.warmups import exponential_warmup, warmup
from lehr.spelling import shown

__all__ = ["cyclic", "noam_hold", "one_cycle", "slanted_triangular", "tri_stage", "untuned_warmup", "wsd", "wsd_s"]

COOLDOWNS: dict[str, Callable[..., Schedule]] = {
    "1-sqrt": one_minus_sqrt,
    "linear": linear,
    "cosine": cosine,
    "1-square": ft.partial(polynomial, power=1, k=2),
    "exponential": exp_cooldown,
}
_warmup = warmup
_hold = hold


def wsd(warmup: LengthLike = "2%", decay: LengthLike = "20%", shape: str = "1-sqrt", *, to: float = 0.0) -> Schedule:
    """Warmup-stable-decay: `warmup(w).then(hold(), cooldown(d, to=to))`.

    Args:
        warmup: length of the linear warm-up.
        decay: length of the cool-down; 20 % is what Hägele et al. recommend (section 4.1).
        shape: the cool-down, "1-sqrt", "linear", "cosine", "1-square", "exponential", or the name of a registered
            function of the position (see `of_position`).
        to: the factor at the end, ≥ 0.

    Raises:
        LehrError: an unknown shape.

    Example:
        >>> wsd(warmup=100, decay="10%", shape="linear")
        warmup(100).then(hold(), linear('10%'))

    Source: Hu et al. 2024 (arXiv 2404.06395), equation 1; Hägele et al. 2024 (arXiv 2405.18392).
    """
    return _warmup(warmup).then(hold(), _cooldown("wsd", shape, decay, to))


def wsd_s(
    warmup: LengthLike,
    stable: LengthLike,
    decay: LengthLike,
    times: int | None = None,
    shape: str = "1-sqrt",
    *,
    to: float = 0.1,
) -> Schedule:
    """WSD in rounds, each with a usable model at its end: `warmup(w).then(hold(a).then(cooldown(b, to=to)).repeat(n))`.

    Args:
        warmup: length of the linear warm-up, before the first round.
        stable: length of the stable part of each round.
        decay: length of the cool-down of each round.
        times: how many rounds; default: for ever.
        shape: the cool-down, as in `wsd`.
        to: the factor at the end of each round, ≥ 0.

    Raises:
        LehrError: an unknown shape.

    Example:
        >>> wsd_s(100, 800, 200, 3)
        warmup(100).then(hold(800).then(one_minus_sqrt(200, to=0.1)).repeat(3))

    Source: Wen et al. 2024 (arXiv 2410.05192), WSD-S.
    """
    return _warmup(warmup).then(hold(stable).then(_cooldown("wsd_s", shape, decay, to)).repeat(times))


def one_cycle(
    up: LengthLike = "30%",
    down: LengthLike | None = None,
    *,
    shape: str = "cosine",
    div: float = 25.0,
    final_div: float = 1e4,
) -> Schedule:
    """One cycle to the peak (the base LR) and far down: `warmup(up, shape, start=1/div, zero_start=True).then(…)`.

    Args:
        up: length of the rise from 1/div.
        down: length of the fall back to 1/div, after which a third phase ends at 1/(div·final_div); default: no third
            phase, one fall takes the rest of the run.
        shape: "cosine" or "linear", of all phases.
        div: the peak over the start, at least 1.
        final_div: the start over the end, at least 1.

    Raises:
        LehrError: an unknown shape, or a divisor below 1.

    Example:
        >>> one_cycle("30%")
        warmup('30%', shape='cosine', start=0.04, zero_start=True).then(cosine(to=4e-06))

    Source: Smith & Topin 2018 (arXiv 1708.07120); divisors as in torch's OneCycleLR.
    """
    fall = {"cosine": cosine, "linear": linear}.get(shape if isinstance(shape, str) else "")
    if fall is None:
        raise LehrError(f"one_cycle(shape=...) must be 'cosine' or 'linear', got {shown(shape)}")
    for name, value in (("div", div), ("final_div", final_div)):
        if not 1 <= number(value, f"one_cycle({name}=...)") <= 1e12:
            raise LehrError(f"one_cycle({name}=...) must be between 1 and 1e12, got {value!r}")
    rise = _warmup(up, shape, start=1 / div, zero_start=True)  # type: ignore[arg-type]  # checked above
    if down is None:
        return rise.then(fall(to=1 / div / final_div))
    return rise.then(fall(down, to=1 / div), fall(to=1 / div / final_div))


def cyclic(
    up: LengthLike, down: LengthLike | None = None, *, low: float = 0.0, mode: str = "triangular", gamma: float = 1.0
) -> Schedule:
    """Triangles between `low` and the base LR, for ever.

    Args:
        up: length of each rise.
        down: length of each fall; default: as the rise.
        low: the lower factor, between 0 and 1.
        mode: "triangular": all alike; "triangular2": each half as high over `low` as the one before; "exp_range": the
            height shrinks by gamma at every step.
        gamma: for "exp_range", above 0 and at most 1.

    Raises:
        LehrError: low outside its range, an unknown mode, or a gamma that the mode does not use.

    Example:
        >>> cyclic(10, low=0.2)
        linear(10, to=1, start=0.2).then(linear(10, to=0.2)).repeat()

    Source: Smith 2017 (arXiv 1506.01186), section 3; torch's CyclicLR.
    """
    if mode not in ("triangular", "triangular2", "exp_range"):
        raise LehrError(f"cyclic(mode=...) must be 'triangular', 'triangular2' or 'exp_range', got {shown(mode)}")
    if not 0 <= number(low, "cyclic(low=...)") < 1:
        raise LehrError(f"cyclic(low=...) must be at least 0 and below 1, got {low!r}")
    if mode != "exp_range" and gamma != 1:
        raise LehrError(f"cyclic(gamma=...) is for mode='exp_range', got gamma={shown(gamma)} with mode={mode!r}")
    down = up if down is None else down
    if mode == "triangular":
        return linear(up, start=low, to=1).then(linear(down, to=low)).repeat()
    triangle = linear(up, start=0, to=1).then(linear(down))
    height = triangle.repeat(scale=0.5) if mode == "triangular2" else triangle.repeat() * exponential(gamma)
    return constant(low) + height.scaled(1 - low)


def tri_stage(
    warmup: LengthLike, hold: LengthLike, decay: LengthLike, *, start: float = 0.01, to: float = 0.01
) -> Schedule:
    """Rise, hold, and an exponential fall: `warmup(w, start=start).then(hold(h), geometric(d, to=to))`.

    Args:
        warmup: length of the linear rise from `start`.
        hold: length at the peak.
        decay: length of the fall.
        start: the factor it begins from, ≥ 0.
        to: the factor it ends at, > 0.

    Raises:
        LehrError: a negative start, or an end that is not positive.

    Example:
        >>> tri_stage("10%", "40%", "50%")
        warmup('10%', start=0.01).then(hold('40%'), geometric('50%', to=0.01))

    Source: Park et al. 2019 (arXiv 1904.08779), section 3.3; fairseq's tri_stage (which rises as i/n: zero_start).
    """
    return _warmup(warmup, start=start).then(_hold(hold), geometric(decay, to=to))


def slanted_triangular(cut: LengthLike = "10%", *, ratio: float = 32.0) -> Schedule:
    """A short rise and a long fall: `warmup(cut, start=1/ratio, zero_start=True).then(linear(to=1/ratio))`.

    Args:
        cut: length of the rise.
        ratio: the peak over both ends, at least 1.

    Raises:
        LehrError: a ratio below 1.

    Example:
        >>> slanted_triangular()
        warmup('10%', start=0.03125, zero_start=True).then(linear(to=0.03125))

    Source: Howard & Ruder 2018 (arXiv 1801.06146), equation 3.
    """
    if not 1 <= number(ratio, "slanted_triangular(ratio=...)") <= 1e12:
        raise LehrError(f"slanted_triangular(ratio=...) must be between 1 and 1e12, got {ratio!r}")
    return warmup(cut, start=1 / ratio, zero_start=True).then(linear(to=1 / ratio))


def noam_hold(warmup: LengthLike, hold: LengthLike, *, exponent: float = 0.5) -> Schedule:
    """Rise, hold, and a power of time: `warmup(w).then(hold(h), power_law(w, exponent))`.

    Args:
        warmup: length w of the linear rise, which is also the timescale of the fall.
        hold: length at the peak.
        exponent: of the fall, > 0.

    Raises:
        LehrError: a warm-up of zero, or an exponent outside its range.

    Example:
        >>> noam_hold(1000, "20%")
        warmup(1000).then(hold('20%'), power_law(1000))

    Source: Kim et al. 2022 (arXiv 2206.00888), section 3.3 (Squeezeformer); NeMo's NoamHoldAnnealing (whose rise
        is (i + 1)/(w + 1)).
    """
    return _warmup(warmup).then(_hold(hold), power_law(warmup, exponent))


def untuned_warmup(beta2: float = 0.999, shape: str = "linear") -> Schedule:
    """The warm-up that Adam's β₂ asks for: `warmup(⌊2/(1 − β₂)⌋)`, or `exponential_warmup(⌊1/(1 − β₂)⌋)`.

    Args:
        beta2: Adam's β₂, at least 0 and at most 0.999999.
        shape: "linear", or "exponential" (an endless factor for a product).

    Raises:
        LehrError: beta2 outside its range, or an unknown shape.

    Example:
        >>> untuned_warmup(0.99)
        warmup(200)

    Source: Ma & Yarats 2021 (arXiv 1910.04209), section 5.
    """
    if not 0 <= number(beta2, "untuned_warmup(beta2=...)") <= 0.999999:
        raise LehrError(f"untuned_warmup(beta2=...) must be between 0 and 0.999999, got {beta2!r}")
    if shape not in ("linear", "exponential"):
        raise LehrError(f"untuned_warmup(shape=...) must be 'linear' or 'exponential', got {shown(shape)}")
    # 1/(1 − 0.99) is 99.99999999999991 in floats.
    period = round(1 / (1 - beta2), 6)
    return warmup(int(2 * period)) if shape == "linear" else exponential_warmup(int(period))


def _cooldown(name: str, shape: str, length: LengthLike, to: float) -> Schedule:
    if isinstance(shape, str) and shape in COOLDOWNS:
        return COOLDOWNS[shape](length, to=to)
    if isinstance(shape, str) and registered(shape):
        return of_position(shape, length, to=to)
    raise LehrError(
        f"{name}(shape=...) must be one of {', '.join(map(repr, COOLDOWNS))} or the name of a registered function, "
        f"got {shown(shape)}"
    )
