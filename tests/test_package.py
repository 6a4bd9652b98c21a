"""The package as a whole: what an import brings in, public names, version, typing marker."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import lehr

FRAMEWORKS = ["torch", "jax", "keras", "optax", "flax", "lightning", "transformers", "accelerate", "ignite"]
TRACKERS = ["tensorboard", "wandb", "mlflow"]
HEAVY = [*FRAMEWORKS, *TRACKERS, "scipy", "sklearn", "polars", "altair", "rich", "typer", "plotext", "pandas"]
CORE = [
    "controller",
    "errors",
    "journal",
    "lengths",
    "logs",
    "plan",
    "player",
    "policy",
    "replay",
    "rules",
    "schedules",
    "simulate",
    "state",
    "text",
]


def python(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_lehr_imports_no_framework() -> None:
    code = f"import sys, lehr, lehr.{', lehr.'.join(CORE)}; print([m for m in {HEAVY!r} if m in sys.modules])"
    assert python(code) == "[]"


def test_a_whole_simulation_needs_numpy_alone() -> None:
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({HEAVY!r})); import lehr; "
        "policy = lehr.parse('Policy(warmup(2).then(cosine()), rules=[when(loss.reaches(0.5)).scale(0.5)])'); "
        "trace = lehr.simulate(policy, lr=0.1, steps=9, observations={'loss': [0.4] * 9}); print(len(trace.events))"
    )
    assert python(code) == "2"


def test_import_leaves_warnings_and_random_states_alone() -> None:
    code = (
        "import random, warnings, numpy as np; random.seed(0); np.random.seed(0); before = list(warnings.filters); "
        "states = random.getstate(), np.random.get_state()[1].tolist(); import lehr; "
        "print(before == warnings.filters, states == (random.getstate(), np.random.get_state()[1].tolist()))"
    )
    assert python(code) == "True True"


def test_public_names_are_sorted_and_there() -> None:
    assert lehr.__all__ == sorted(lehr.__all__)
    assert len(set(lehr.__all__)) == len(lehr.__all__)
    for name in lehr.__all__:
        assert getattr(lehr, name) is not None, name


def test_public_names_are_complete() -> None:
    """Everything public that `lehr` holds and that is no module is exported, and everything that a text can say."""
    from lehr.text import FUNCTIONS, VALUES

    modules = {module.name for module in pkgutil.iter_modules(lehr.__path__)}
    held = {name for name in vars(lehr) if not name.startswith("_")} - modules - {"TYPE_CHECKING", "Any"}
    assert held <= set(lehr.__all__)
    assert FUNCTIONS.keys() | VALUES.keys() <= set(lehr.__all__)


@pytest.mark.parametrize("name", [*CORE, "trace"])
def test_every_module_says_what_is_public(name: str) -> None:
    module = importlib.import_module(f"lehr.{name}")
    assert module.__doc__
    assert module.__all__
    for public in module.__all__:
        assert getattr(module, public, None) is not None, public


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="cosinus"):
        lehr.cosinus  # type: ignore[attr-defined]


def test_version_and_typing_marker() -> None:
    assert lehr.__version__ == version("lehr")
    assert (Path(lehr.__file__).parent / "py.typed").exists()


def test_errors_have_one_root() -> None:
    assert issubclass(lehr.LehrError, ValueError)
    assert issubclass(lehr.LehrWarning, UserWarning)
