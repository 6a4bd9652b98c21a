"""What `import lehr` costs beyond `import numpy`: fresh interpreters, in turns.

pytest benchmarks/test_import_time.py --benchmark-only -s
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from typing import Any


def seconds(statement: str) -> float:
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - begin


def test_import(benchmark: Any) -> None:
    rounds = [(seconds("import numpy"), seconds("import lehr")) for _ in range(15)]
    extra = statistics.median(lehr - numpy for numpy, lehr in rounds)
    numpy = statistics.median(numpy for numpy, _ in rounds)
    benchmark.extra_info.update(numpy_s=numpy, extra_s=extra)
    print(f"\nimport numpy {numpy:.3f} s, import lehr {extra:.3f} s more")
    benchmark.pedantic(seconds, args=("import lehr",), rounds=3)
