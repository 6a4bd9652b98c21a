"""Whatever the caller gives, as a mapping: a dict, a namespace, an object with a config, JSON, flags, or a file."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

from lehr.errors import LehrError
from lehr.spelling import brief, shown

__all__ = ["PEERS", "Source", "peers_of", "source_of"]

LARGEST_FILE = 10**7
FLAG = re.compile(r"--?[A-Za-z][\w.-]*(=.*)?", re.DOTALL)
QUOTED = re.compile(r"\w+\+?=((?:.*\s)?--.*)", re.DOTALL)  # ARGS="--lr 1e-4 ..." of a shell script, without the quotes
BETWEEN = "();&|"  # what stands between the commands of a shell script, and around an array
SHAPES_LR = ("lr", "learning_rate", "sched", "warmup", "decay", "iters", "epochs", "max_steps", "samples")

PEERS = ("torch", "transformers", "deepspeed", "megatron", "keras", "timm")
ONLY = {  # keys that only one peer has
    "transformers": {"lr_scheduler_type", "num_warmup_steps", "num_training_steps", "scheduler_specific_kwargs",
                     "lr_warmup_steps"},
    "deepspeed": {"train_micro_batch_size_per_gpu", "zero_optimization"},
    "megatron": {"lr_decay_style", "train_iters", "train_samples", "lr_decay_iters", "lr_decay_samples",
                 "lr_warmup_iters", "lr_warmup_samples", "lr_warmup_fraction", "lr_wsd_decay_iters"},
    "keras": {"class_name", "initial_learning_rate", "first_decay_steps", "boundaries", "monitor", "min_delta"},
    "timm": {"sched", "sched_on_updates", "decay_epochs", "decay_milestones", "warmup_lr", "lr_cycle_limit",
             "lr_k_decay", "warmup_prefix"},
    "torch": {"last_epoch", "_step_count", "_last_lr", "base_lrs", "_schedulers", "lr_lambdas", "num_bad_epochs"},
}  # fmt: skip
OF_TRAINER = {"num_train_epochs", "max_steps", "warmup_ratio"}  # beside learning_rate


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
    named = "name" in keys and "config" not in keys and keys & {"optimizer", "lr"}
    if "transformers" not in found and (named or isinstance(values.get("lr_scheduler"), str)):
        found.append("transformers")
    if not found and "learning_rate" in keys and keys & OF_TRAINER:
        return ["transformers"]
    return found or (["deepspeed"] if "train_batch_size" in keys else [])


def _text_of(given: str | Path) -> str:
    text = str(given)
    if isinstance(given, Path) or ("\n" not in text and " --" not in text and not text.lstrip().startswith(("{", "-"))):
        path = Path(text)
        if path.suffix in (".yaml", ".yml"):
            raise LehrError(f"YAML is not read, got {text}; give convert(yaml.safe_load(...)), or the same as JSON")
        if path.suffix in (".pt", ".pth", ".ckpt"):
            raise LehrError(f"checkpoint files are not read, got {text}; give convert(torch.load(...)) in Python")
        if os.path.isfile(text):
            try:
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
        words = _words(text)
    except ValueError as error:
        raise LehrError(f"cannot read the flags {shown(text)}: {brief(error)}") from None
    return Source(_flags(words), flags=True)


def _words(text: str) -> list[str]:
    """The words of a shell script; those inside the quotes of an assignment stand there as if without them."""
    lexer = shlex.shlex(text.replace("\\\n", " "), posix=True, punctuation_chars=BETWEEN)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in lexer:
        quoted = QUOTED.fullmatch(word)
        words += [word] if quoted is None else [";", *_words(quoted[1]), ";"]
    return words


def _flags(words: Sequence[str]) -> dict[str, Any]:
    """`--name value`, `--name=value`, `--name 1 2 3` and bare `--name`; all other words are left out."""
    found: dict[str, list[list[str]]] = {}
    name = ""
    for word in words:
        if FLAG.fullmatch(word):
            flag, _, value = word.partition("=")
            name = flag.lstrip("-").replace("-", "_")
            found.setdefault(name, []).append([value] if value else [])
        elif word and set(word) <= set(BETWEEN):
            name = ""
        elif name:
            found[name][-1].append(word)
    return {name: _value(name, given) for name, given in found.items()}


def _value(name: str, given: list[list[str]]) -> Any:
    """The value of a flag, as it was last given: a word, a list of numbers, or True."""
    told = [_own(words) for words in given]
    values, shapes_lr = told[-1], any(part in name for part in SHAPES_LR) and "weight_decay" not in name
    other = next((item for item in told if item != values), None)
    if shapes_lr and other is not None:
        raise LehrError(
            f"--{name.replace('_', '-')} is given twice, as {shown(' '.join(other))} and {shown(' '.join(values))}; "
            "give the flags of one command"
        )
    open_ = [word for word in (given[-1] if "milestones" in name else values) if "$" in word]
    if shapes_lr and open_:
        raise LehrError(f"{name}={open_[0]} is a variable of the shell; write its value")
    return True if not values else values[0] if len(values) == 1 else values


def _own(words: list[str]) -> list[str]:
    """The words that are the flag's: numbers, or one word. What follows is the command's."""
    numbers = list(takewhile(_is_number, words))
    return numbers or words[:1]


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
