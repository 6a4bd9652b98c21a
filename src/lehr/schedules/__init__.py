"""Schedules: the open loop, planned before training. One family of shapes a file; the catalogue lists them all."""

from lehr.schedules.decay import constant, cosine, hold, linear, one_minus_sqrt, polynomial, warmup
from lehr.schedules.literal import compounding, cosine_product
from lehr.schedules.recipes import wsd
from lehr.schedules.schedule import Curve, Part, Schedule
from lehr.schedules.steps import exponential, inverse_sqrt, inverse_time, multistep, piecewise, step_decay

__all__ = [
    "Curve",
    "Part",
    "Schedule",
    "compounding",
    "constant",
    "cosine",
    "cosine_product",
    "exponential",
    "hold",
    "inverse_sqrt",
    "inverse_time",
    "linear",
    "multistep",
    "one_minus_sqrt",
    "piecewise",
    "polynomial",
    "step_decay",
    "warmup",
    "wsd",
]
