"""A script that takes the policy as a flag: PolicyArguments and PolicyTrainer instead of transformers' own.

Run it: python examples/trainers/huggingface_arguments.py --lr_policy "warmup('3%').then(cosine())" --learning_rate 0.01
"""

import shlex
import sys
import tempfile

import torch
from sklearn.datasets import load_digits
from transformers import BertConfig, BertForSequenceClassification, HfArgumentParser

from lehr.huggingface import PolicyArguments as TrainingArguments
from lehr.huggingface import PolicyTrainer as Trainer

USUAL = "--use_cpu --max_steps 200 --logging_steps 25 --per_device_train_batch_size 32 --save_strategy no "
USUAL += "--report_to none --disable_tqdm true --dataloader_pin_memory false"
POLICY = "Policy(warmup('3%').then(cosine()), rules=[when(loss.smoothed(20).reaches(1.9)).scale(0.5)])"
FLAGS = sys.argv[1:] or ["--learning_rate", "0.005", "--lr_policy", POLICY]

flags = ["--output_dir", tempfile.mkdtemp(), *shlex.split(USUAL), *FLAGS]
(args,) = HfArgumentParser(TrainingArguments).parse_args_into_dataclasses(flags)

images, digits = load_digits(return_X_y=True)
data = [{"input_ids": torch.tensor(x, dtype=torch.long), "labels": int(y)} for x, y in zip(images, digits, strict=True)]
config = BertConfig(
    vocab_size=17,  # the gray levels of a pixel are the words
    hidden_size=32,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=64,
    max_position_embeddings=64,
    num_labels=10,
    initializer_range=0.1,
)

torch.manual_seed(0)
trainer = Trainer(BertForSequenceClassification(config), args, train_dataset=data)
trainer.train()

print(f"\n{trainer.lr_scheduler.why()}")
