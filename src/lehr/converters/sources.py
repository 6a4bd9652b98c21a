"""Whatever the caller gives, as a mapping: a dict, a namespace, an object with a config, JSON, flags, or a file."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lehr.errors import LehrError
from lehr.spelling import brief, shown

__all__ = ["PEERS", "Source", "peers_of", "source_of"]

LARGEST_FILE = 10**7
FLAG = re.compile(r"--?[A-Za-z][\w.-]*(=.*)?", re.DOTALL)

PEERS = ("torch", "transformers", "deepspeed", "megatron", "keras", "timm")
ONLY = {  # keys that only one peer has
    "transformers": {"lr_scheduler_type", "num_warmup_steps", "num_training_steps", "scheduler_specific_kwargs"},
    "deepspeed": {"train_micro_batch_size_per_gpu", "train_batch_size", "zero_optimization"},
    "megatron": {"lr_decay_style", "train_iters", "train_samples", "lr_decay_iters", "lr_decay_samples",
                 "lr_warmup_iters", "lr_warmup_samples", "lr_warmup_fraction", "lr_wsd_decay_iters"},
    "keras": {"class_name", "initial_learning_rate", "first_decay_steps", "boundaries", "monitor", "min_delta"},
    "timm": {"sched", "sched_on_updates", "decay_epochs", "decay_milestones", "warmup_lr", "lr_cycle_limit",
             "lr_k_decay", "warmup_prefix"},
    "torch": {"last_epoch", "_step_count", "_last_lr", "base_lrs", "_schedulers", "lr_lambdas", "num_bad_epochs"},
}  # fmt: skip


class Source(NamedTuple):
    """The mapping, and whether it was given as flags of a command line."""

    values: Mapping[str, Any]
    flags: bool = False


def source_of(given: Any) -> Source:
    """The mapping that `given` holds.

    Raises:
        LehrError: not a mapping in any of its forms, a file that is not there, or text that is neither JSON nor flags.
    """
    if isinstance(given, Mapping):
        return Source(given)
    if isinstance(given, str | Path):
        return _of_text(_text_of(given))
    if isinstance(given, Sequence) and all(isinstance(item, str) for item in given):
        return Source(_flags(given), flags=True)
    if callable(getattr(given, "get_config", None)):  # a Keras object
        return Source({"class_name": type(given).__name__, "config": given.get_config()})
    if callable(getattr(given, "to_dict", None)):
        return Source(given.to_dict())
    if hasattr(given, "__dict__") and not callable(given):
        return Source(vars(given))
    raise LehrError(
        f"convert(source) takes a scheduler, a dict, a namespace, JSON, flags or a file of them, got {shown(given)}"
    )


def peers_of(values: Mapping[str, Any]) -> list[str]:
    """The peers whose configuration this may be."""
    keys = set(values)
    found = [peer for peer, own in ONLY.items() if keys & own]
    scheduler = values.get("scheduler", values)
    if isinstance(scheduler, Mapping) and {"type", "params"} <= set(scheduler) and "deepspeed" not in found:
        found.append("deepspeed")
    if "transformers" not in found and "name" in keys and "config" not in keys and keys & {"optimizer", "lr"}:
        found.append("transformers")
    return found


def _text_of(given: str | Path) -> str:
    text = str(given)
    if isinstance(given, Path) or ("\n" not in text and not text.lstrip().startswith(("{", "-"))):
        path = Path(text)
        if path.suffix in (".yaml", ".yml"):
            raise LehrError(f"YAML is not read, got {text}; give convert(yaml.safe_load(...)), or the same as JSON")
        try:
            if path.is_file():
                if path.stat().st_size > LARGEST_FILE:
                    raise LehrError(f"{text} is larger than {LARGEST_FILE:.0e} bytes; give the part about the LR")
                return path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise LehrError(f"cannot read {shown(text)}: {brief(error)}") from None
        if isinstance(given, Path) or ("--" not in text and " " not in text):
            raise LehrError(f"there is no file {shown(text)}, and it is neither JSON nor flags")
    return text


def _of_text(text: str) -> Source:
    if text.lstrip().startswith(("{", "[")):
        try:
            read = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise LehrError(f"cannot read the JSON {shown(text)}: {brief(error)}") from None
        if not isinstance(read, dict):
            raise LehrError(f"the JSON of a configuration must be an object, got a {type(read).__name__}")
        return Source(read)
    if "--" not in text:
        raise LehrError(f"{shown(text)} is neither JSON nor flags such as --lr 3e-4, nor a file")
    try:
        words = shlex.split(text.replace("\\\n", " "), comments=True)
    except ValueError as error:
        raise LehrError(f"cannot read the flags {shown(text)}: {brief(error)}") from None
    return Source(_flags(words), flags=True)


def _flags(words: Sequence[str]) -> dict[str, Any]:
    """`--name value`, `--name=value`, `--name a b c` and bare `--name`; words before the first flag are left out."""
    found: dict[str, Any] = {}
    name = ""
    for word in words:
        if FLAG.fullmatch(word):
            flag, _, value = word.partition("=")
            name = flag.lstrip("-").replace("-", "_")
            found[name] = [value] if value else []
        elif name:
            found[name].append(word)
    return {name: _value(name, values) for name, values in found.items()}


def _value(name: str, values: list[str]) -> Any:
    values = [value for value in values if value != "\n"]
    open_ = [value for value in values if "$" in value]
    if open_ and ("lr" in name or "iters" in name or "warmup" in name or "decay" in name):
        raise LehrError(f"{name}={open_[0]} is a variable of the shell; write its value")
    return True if not values else values[0] if len(values) == 1 else values
