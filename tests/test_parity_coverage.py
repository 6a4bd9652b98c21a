"""What must be covered is what the installed peers make public, so that a new version's new schedule is noticed."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable
from typing import Any

import pytest

from parity_coverage import COVERAGE

pytestmark = [
    pytest.mark.peers,
    pytest.mark.frameworks,
    pytest.mark.filterwarnings("ignore:.torch.jit"),  # torch warns as ignite is imported
]


def covered(peer: str) -> set[str]:
    """The functions of a peer that the table must name."""
    return next(set(row.functions) for row in COVERAGE if row.name == peer)


def beyond(public: Iterable[str], *others: str) -> set[str]:
    """Public names without those that are no schedules: bases, carriers, and feedback, which has tests of its own."""
    assert set(others) <= set(public)
    return set(public) - set(others)


def test_torch() -> None:
    from torch.optim import lr_scheduler

    schedules = beyond(lr_scheduler.__all__, "LRScheduler", "ReduceLROnPlateau")
    assert covered("torch") == schedules | {"SWALR"}


def test_optax() -> None:
    from optax import schedules

    public = [name for name in vars(schedules) if name[0].islower() and callable(getattr(schedules, name))]
    assert covered("optax") == beyond(public, "inject_hyperparams", "inject_stateful_hyperparams")


def test_transformers() -> None:
    from transformers import optimization

    public = [name for name in vars(optimization) if name.startswith("get_") and "schedule" in name]
    feedback = ("get_reduce_on_plateau_schedule", "get_greedy_schedule")
    doors = ("get_scheduler", "get_adafactor_schedule")  # to the others, and to AdafactorSchedule
    assert covered("transformers") == beyond(public, *feedback, *doors) | {"AdafactorSchedule"}


def test_keras() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_BACKEND", "torch")
        from keras.optimizers import schedules

    public = [name for name in vars(schedules) if name[0].isupper()]
    assert covered("keras") == beyond(public, "LearningRateSchedule") | {"LearningRateScheduler"}


def public(module: str) -> tuple[Any, set[str]]:
    loaded = importlib.import_module(module)
    return loaded, set(loaded.__all__)


def test_lrsched() -> None:
    _, names = public("lrsched")
    assert covered("lrsched") == names - {"Schedule", "GroupSchedule"}  # two types


def test_fvcore() -> None:
    _, names = public("fvcore.common.param_scheduler")
    assert covered("fvcore") == names - {"ParamScheduler"}  # the base class


def test_pytorch_scheduler() -> None:
    module, names = public("pytorch_scheduler")
    makers = {name for name in names if name.startswith("create_")}
    schedules = {kind.__name__ for kind in module.SCHEDULER_LIST}
    composers = {"WarmupScheduler", "SequentialComposer"}
    assert covered("pytorch-scheduler") == schedules | makers | composers


def test_pytorch_optimizer() -> None:
    module, names = public("pytorch_optimizer.lr_scheduler")
    of_torch = {name for name in names if getattr(module, name).__module__.startswith("torch.")}
    look_ups = {"get_supported_lr_schedulers", "load_lr_scheduler"}
    groups_of_a_model = {"deberta_v3_large_lr_scheduler"}
    assert covered("pytorch-optimizer") == names - of_torch - look_ups - groups_of_a_model


def test_ignite() -> None:
    handlers = importlib.import_module("ignite.handlers")
    base = handlers.BaseParamScheduler
    kinds = {
        name: kind
        for module in (handlers.param_scheduler, handlers.state_param_scheduler)
        for name, kind in vars(module).items()
        if isinstance(kind, type) and kind.__module__ == module.__name__
    }
    schedules = {name for name, kind in kinds.items() if issubclass(kind, base) and not inspect.isabstract(kind)}
    feedback = {"ReduceLROnPlateauScheduler"}
    others = {"ParamGroupScheduler", "create_lr_scheduler_with_warmup"}
    assert covered("ignite") == (schedules - feedback) | others
