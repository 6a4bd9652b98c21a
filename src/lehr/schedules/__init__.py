"""Schedules: the open loop, planned before training. One family of shapes a file; the catalogue lists them all."""

from lehr.schedules import decay, falls, knots, literal, odd, powers, recipes, steps, user, warmups
from lehr.schedules.algebra import maximum, minimum
from lehr.schedules.decay import *
from lehr.schedules.falls import *
from lehr.schedules.functions import register
from lehr.schedules.knots import *
from lehr.schedules.literal import *
from lehr.schedules.odd import *
from lehr.schedules.powers import *
from lehr.schedules.recipes import *
from lehr.schedules.schedule import Curve, Schedule
from lehr.schedules.steps import *
from lehr.schedules.user import *
from lehr.schedules.warmups import *

__all__ = ["Curve", "Schedule", "maximum", "minimum", "register"]
__all__ += decay.__all__
__all__ += falls.__all__
__all__ += knots.__all__
__all__ += literal.__all__
__all__ += odd.__all__
__all__ += powers.__all__
__all__ += recipes.__all__
__all__ += steps.__all__
__all__ += user.__all__
__all__ += warmups.__all__
