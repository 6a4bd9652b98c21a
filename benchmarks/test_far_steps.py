"""What a far step costs: any step of a schedule that restarts is found at once, however many cycles lie before it.

`pytest benchmarks/test_far_steps.py --benchmark-only --benchmark-group-by=param:text`: compare the two rows of a group.
"""

from __future__ import annotations

from typing import Any

import pytest

import lehr

TEXTS = [
    "cosine(10).repeat()",
    "cosine(10).repeat(stretch=2)",
    "cosine(10).repeat(stretch=1.05)",
    "warmup(5).then(cosine(20, to=0.1)).repeat(stretch=3, scale=0.9)",
    "cosine(7).repeat(10).repeat()",
    "growing_polynomial(10)",
    "chebyshev(1e12)",
    "noise(0.1)",
]


@pytest.mark.parametrize("step", [100, 10**12])
@pytest.mark.parametrize("text", TEXTS)
def test_one_step(benchmark: Any, text: str, step: int) -> None:
    curve = lehr.parse(text).resolve(steps=10**12)
    benchmark(curve, step)
