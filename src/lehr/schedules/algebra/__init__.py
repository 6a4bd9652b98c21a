"""The algebra: what is done with one schedule or between several, closed under composition. One idea a file."""

from lehr.schedules.algebra.extents import boundaries, kind
from lehr.schedules.algebra.fade import Fade
from lehr.schedules.algebra.repeat import Repeat
from lehr.schedules.algebra.sequence import Sequence
from lehr.schedules.algebra.together import Maximum, Minimum, Product, Sum, Together, maximum, minimum
from lehr.schedules.algebra.wrapped import Clip, Reverse, Staircase, Stretch

__all__ = [
    "Clip",
    "Fade",
    "Maximum",
    "Minimum",
    "Product",
    "Repeat",
    "Reverse",
    "Sequence",
    "Staircase",
    "Stretch",
    "Sum",
    "Together",
    "boundaries",
    "kind",
    "maximum",
    "minimum",
]
