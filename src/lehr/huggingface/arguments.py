"""`TrainingArguments` with a policy: `--lr_policy "warmup('3%').then(cosine())"`."""

from __future__ import annotations

from dataclasses import dataclass, field

from transformers import TrainingArguments

from lehr.errors import LehrError
from lehr.resume import as_on_change
from lehr.text import parse

__all__ = ["PolicyArguments"]


@dataclass
class PolicyArguments(TrainingArguments):  # type: ignore[misc]  # transformers has no types
    """`TrainingArguments` that name the LR policy, for `PolicyTrainer`; `HfArgumentParser(PolicyArguments)` reads them.

    Args:
        lr_policy: the text of a policy, schedule or rule; the peak LR is `learning_rate`. Empty: the trainer's own
            scheduler, as `lr_scheduler_type` says.
        lr_on_change: what a resume does if policy, horizon or base LR are not the saved ones: "error", "keep_saved",
            "use_new" or "use_new_no_jump". Empty: "use_new_no_jump" if only the horizon differs, else "error".

    Raises:
        LehrError: the text cannot be read, or warm-up is asked for beside it.

    Example:
        >>> from transformers import HfArgumentParser
        >>> flags = ["--output_dir", "out", "--lr_policy", "warmup('3%').then(cosine())"]
        >>> (args,) = HfArgumentParser(PolicyArguments).parse_args_into_dataclasses(flags)
        >>> args.lr_policy
        "warmup('3%').then(cosine())"
    """

    lr_policy: str = field(default="", metadata={"help": "LR policy of Lehr, such as \"warmup('3%%').then(cosine())\""})
    lr_on_change: str = field(default="", metadata={"help": "on resume: error, keep_saved, use_new, use_new_no_jump"})

    def __post_init__(self) -> None:
        if self.lr_policy:
            parse(self.lr_policy)
            warmup = self.warmup_steps or getattr(
                self, "warmup_ratio", None
            )  # before transformers 5 a field of its own
            if warmup or self.lr_scheduler_kwargs:
                raise LehrError(
                    "lr_policy says all of the LR, so warmup_steps, warmup_ratio and lr_scheduler_kwargs would do "
                    f'nothing; write the warm-up into the policy, such as "warmup({_length(warmup)}).then(cosine())"'
                )
        if self.lr_on_change:
            as_on_change(self.lr_on_change)
        super().__post_init__()


def _length(steps: float | None) -> str:
    """What transformers takes as the length of a warm-up: steps, or below 1 a share of the run."""
    return f"'{100 * steps:g}%'" if steps and 0 < steps < 1 else f"{steps or 100:g}"
