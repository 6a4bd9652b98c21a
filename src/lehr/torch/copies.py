"""Putting back what was copied: tensors in any nesting of dicts, lists and tuples; and random states."""

from __future__ import annotations

import copy
import random
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

__all__ = ["local_part", "mapped", "put_back", "put_random_states", "random_states", "shard_again"]


def put_back(live: Any, kept: Any, beside: Any) -> Any:
    """`kept` in the place of `live`: in place where a tensor is there, so that what captured it still sees it."""
    if isinstance(kept, torch.Tensor):
        if isinstance(live, torch.Tensor) and local_part(live).shape == kept.shape and live.dtype == kept.dtype:
            local_part(live).copy_(kept)
            return live
        device = live.device if isinstance(live, torch.Tensor) else getattr(beside, "device", kept.device)
        return kept.to(device, copy=True)
    if isinstance(kept, dict) and isinstance(live, dict):
        found = {key: put_back(live.get(key), value, beside) for key, value in kept.items()}
        live.clear()
        live.update(found)
        return live
    if isinstance(kept, list | tuple) and isinstance(live, list | tuple) and len(kept) == len(live):
        return type(kept)(put_back(a, b, beside) for a, b in zip(live, kept, strict=True))
    return mapped(kept, lambda value: put_back(None, value, beside))


def mapped(value: Any, function: Callable[[Any], Any]) -> Any:
    """`function` of what a dict, list or tuple holds; a copy of anything else."""
    if isinstance(value, dict):
        return {key: function(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(function(item) for item in value)
    return copy.deepcopy(value)


def local_part(tensor: torch.Tensor) -> torch.Tensor:
    """The part of a sharded tensor that lies here; it shares its memory."""
    local: torch.Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return local


def shard_again(model: torch.nn.Module) -> None:
    """Have FSDP2 put its shards back into the model, and hold no whole weights.

    After a forward pass without a backward one, as an evaluation is, its outermost module still has them, and would use
    them in the next forward pass, whatever became of the shards.
    """
    fsdp = sys.modules.get("torch.distributed.fsdp")
    if fsdp is None:
        return  # who shards has imported it
    for module in model.modules():
        if isinstance(module, fsdp.FSDPModule):
            module.reshard()


def random_states() -> dict[str, Any]:
    """Of Python, NumPy, torch and all CUDA devices."""
    states = {"python": random.getstate(), "numpy": np.random.get_state(), "torch": torch.get_rng_state()}  # noqa: NPY002
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # torch's own
        states["cuda"] = torch.cuda.get_rng_state_all()
    return states


def put_random_states(states: Mapping[str, Any]) -> None:
    """Put them back."""
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])  # noqa: NPY002  # the user's own
    torch.set_rng_state(states["torch"])
    if "cuda" in states:
        torch.cuda.set_rng_state_all(states["cuda"])
