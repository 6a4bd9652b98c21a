"""Checks: what looks wrong in a policy, before it trains and after. The catalogue lists them all."""

from lehr.checks.examine import check
from lehr.checks.finding import Finding

__all__ = ["Finding", "check"]
