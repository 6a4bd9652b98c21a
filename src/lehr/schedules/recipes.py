"""Famous combinations, each one line of the algebra. A recipe prints as what it is made of."""

from __future__ import annotations

from lehr.errors import LehrError
from lehr.lengths import LengthLike
from lehr.schedules.decay import cosine, hold, linear, one_minus_sqrt, warmup
from lehr.schedules.schedule import Schedule
from lehr.spelling import shown

__all__ = ["wsd"]

COOLDOWNS = {"1-sqrt": one_minus_sqrt, "linear": linear, "cosine": cosine}
_warmup = warmup


def wsd(warmup: LengthLike = "2%", decay: LengthLike = "20%", shape: str = "1-sqrt", *, to: float = 0.0) -> Schedule:
    """Warmup-stable-decay: `warmup(w).then(hold(), cooldown(d, to=to))`.

    Args:
        warmup: length of the linear warm-up.
        decay: length of the cool-down; 20 % is what Hägele et al. recommend (section 4.1).
        shape: the cool-down, "1-sqrt", "linear" or "cosine".
        to: the factor at the end, ≥ 0.

    Raises:
        LehrError: an unknown shape.

    Example:
        >>> wsd(warmup=100, decay="10%", shape="linear")
        warmup(100).then(hold(), linear('10%'))

    Source: Hu et al. 2024 (arXiv 2404.06395), equation 1; Hägele et al. 2024 (arXiv 2405.18392).
    """
    if not isinstance(shape, str) or shape not in COOLDOWNS:
        raise LehrError(f"wsd(shape=...) must be one of {', '.join(map(repr, COOLDOWNS))}, got {shown(shape)}")
    return _warmup(warmup).then(hold(), COOLDOWNS[shape](decay, to=to))
