"""Hugging Face transformers and accelerate: a policy in `Trainer(optimizers=...)`, or as `--lr_policy "..."`.

    scheduler = Scheduler(optimizer, "warmup('3%').then(cosine())")
    trainer = Trainer(model, args, optimizers=(optimizer, scheduler), callbacks=[Feedback()], ...)

In a script that takes `TrainingArguments`, take `PolicyArguments` and `PolicyTrainer` in place of `TrainingArguments`
and `Trainer`; nothing else changes. In a loop of your own with `accelerate`, take
`lehr.torch.Scheduler(..., count="updates")`, which `accelerator.prepare` may wrap or not.
"""

from lehr.extras import needs

with needs("huggingface"):
    import accelerate  # noqa: F401
    import transformers  # noqa: F401

from lehr.huggingface.arguments import PolicyArguments
from lehr.huggingface.feedback import Feedback
from lehr.huggingface.scheduler import Scheduler
from lehr.huggingface.trainer import PolicyTrainer

__all__ = ["Feedback", "PolicyArguments", "PolicyTrainer", "Scheduler"]
