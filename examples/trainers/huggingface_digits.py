"""transformers' Trainer with a policy whose rules react to its evaluations: three more lines than without Lehr.

Run it: python examples/trainers/huggingface_digits.py
"""

import tempfile

import torch
from sklearn.datasets import load_digits
from transformers import EvalPrediction, Trainer, TrainingArguments

import lehr
from lehr.huggingface import Feedback, Scheduler


class Classifier(torch.nn.Module):
    """As transformers' models are: called with labels it returns a loss."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))

    def forward(self, pixels: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Classify."""
        logits = self.layers(pixels)
        return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}


def accuracy(prediction: EvalPrediction) -> dict[str, float]:
    return {"accuracy": (prediction.predictions.argmax(-1) == prediction.label_ids).mean()}


images, digits = load_digits(return_X_y=True)
data = [
    {"pixels": torch.tensor(x / 16, dtype=torch.float32), "labels": int(y)} for x, y in zip(images, digits, strict=True)
]

torch.manual_seed(0)
model = Classifier()
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)  # the peak LR stays where it was
reached = lehr.metric("eval_accuracy", best="max")  # as the trainer calls it in its logs
policy = lehr.Policy(
    lehr.warmup("5%").then(lehr.hold()),
    rules=[
        lehr.when(reached.reaches(0.88)).scale(0.3),
        lehr.when(reached.reaches(0.91)).begin(lehr.linear("20%", to=0)),
    ],
)
scheduler = Scheduler(optimizer, policy)

with tempfile.TemporaryDirectory() as folder:
    trainer = Trainer(
        model,
        TrainingArguments(
            folder,
            num_train_epochs=20,
            per_device_train_batch_size=16,
            gradient_accumulation_steps=4,
            eval_strategy="epoch",
            logging_strategy="epoch",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            dataloader_pin_memory=False,
        ),
        train_dataset=data[:1400],
        eval_dataset=data[1400:],
        compute_metrics=accuracy,
        optimizers=(optimizer, scheduler),
        callbacks=[Feedback()],  # tells the scheduler how long the run is, and what is logged
    )
    trainer.train()

print(f"\nThe trainer's run: {scheduler.horizon}")
for event in scheduler.events:
    if event.kind == "rule":
        print(event)
print(scheduler.why())
