"""Training tasks that a study compares policies on: three that run on data which packages ship, and any file of yours.

A workload is found by the name of a built-in one or as `file.py:function`; the function takes a seed and returns a
`Workload`. Importing this package imports neither torch nor any data package.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import cast

from lehr.errors import LehrError
from lehr.study.workloads.workload import Maker, Split, Workload

__all__ = ["BUILT_IN", "Maker", "Split", "Workload", "find"]


def _make(name: str, seed: int) -> Workload:
    """Make a built-in workload; its module, and so torch and the data package, is imported here."""
    try:
        module = importlib.import_module(f"{__name__}.{name}")
        return cast(Maker, module.make)(seed)
    except ModuleNotFoundError as missing:
        raise LehrError(
            f"workload {name!r} needs {missing.name!r}, which is not installed: pip install 'lehr[lab]'"
        ) from missing


BUILT_IN: Mapping[str, Maker] = {name: functools.partial(_make, name) for name in ("digits", "flights", "pybytes")}


def find(name: str) -> tuple[str, Maker]:
    """The workload of that name, with the name rows are kept under.

    Args:
        name: a built-in workload, or `file.py:function` for one of your own; the function is called with a seed.

    Returns:
        the name, and the function that makes the workload for a seed.

    Raises:
        LehrError: no such workload, file or function, or the file cannot be imported.

    Example:
        >>> name, make = find("digits")
        >>> name
        'digits'
    """
    if name in BUILT_IN:
        return name, BUILT_IN[name]
    path, colon, function = name.rpartition(":")
    if not colon or not path.endswith(".py"):
        raise LehrError(_unknown(name))
    return name, _function(_module(Path(path).resolve()), function, name)


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, BUILT_IN, n=1, cutoff=0.0)[0]
    return (
        f"workload must be one of {', '.join(BUILT_IN)}, or file.py:function; got {name!r}. "
        f"The nearest known name is {near!r}"
    )


@functools.cache
def _module(path: Path) -> ModuleType:
    """A user's file, run once a process; it may import its neighbours, and its data stays read."""
    if not path.is_file():
        raise LehrError(f"workload file must exist; got {str(path)!r}, seen from {str(Path.cwd())!r}")
    spec = importlib.util.spec_from_file_location(f"lehr_workload_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise LehrError(f"workload file must be Python source; got {str(path)!r}")
    module = importlib.util.module_from_spec(spec)
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    sys.modules[spec.name] = module  # where dataclasses and pickle look up the module of a class
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[spec.name]
        raise LehrError(
            f"workload file {path.name!r} must import without error, but raised {type(error).__name__}: {error}; "
            "keep what trains under `if __name__ == '__main__':`"
        ) from error
    return module


def _function(module: ModuleType, function: str, name: str) -> Maker:
    made = getattr(module, function, None)
    if callable(made):
        return cast(Maker, made)
    known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
    near = difflib.get_close_matches(function, known, n=1, cutoff=0.0)
    hint = f"the nearest one there is {near[0]!r}" if near else "it defines none: write `def make(seed): ...`"
    raise LehrError(f"workload {name!r} must name a function of the file; {function!r} is none, {hint}")
