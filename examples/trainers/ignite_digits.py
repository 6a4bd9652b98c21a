"""pytorch-ignite: a schedule and two rules under gradient accumulation: an import, a scheduler, and its Feedback.

Run it: python examples/trainers/ignite_digits.py   (pip install 'lehr[ignite]' scikit-learn)
"""

import torch
from ignite.engine import Events, create_supervised_evaluator, create_supervised_trainer
from ignite.metrics import Accuracy, Loss
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

import lehr.ignite

EPOCHS, MICRO_BATCHES = 18, 2
POLICY = lehr.Policy(
    lehr.warmup("5%").then(lehr.cosine(to=0.01)),
    rules=[
        lehr.when(lehr.metric("val_loss", best="min").plateaus(1)).scale(0.5),
        lehr.when(lehr.metric("val_accuracy", best="max").reaches(0.98)).stop(),
    ],
)


def main() -> None:
    torch.manual_seed(0)
    images, labels = (torch.as_tensor(part) for part in load_digits(return_X_y=True))
    data = TensorDataset(images.float() / 16, labels)
    train, held_out = torch.utils.data.random_split(data, [1437, 360])
    train_loader, val_loader = DataLoader(train, 32, shuffle=True, drop_last=True), DataLoader(held_out, 360)

    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    criterion = torch.nn.CrossEntropyLoss()
    trainer = create_supervised_trainer(model, optimizer, criterion, gradient_accumulation_steps=MICRO_BATCHES)
    evaluator = create_supervised_evaluator(model, {"accuracy": Accuracy(), "loss": Loss(criterion)})

    horizon = lehr.ignite.horizon(train_loader, epochs=EPOCHS, accumulate=MICRO_BATCHES)
    scheduler = lehr.torch.Scheduler(optimizer, POLICY, horizon=horizon, count="updates")
    lehr.ignite.Feedback(scheduler).attach(trainer, val=evaluator)
    scheduler.subscribe(print)

    @trainer.on(Events.EPOCH_COMPLETED(every=3))
    def validate() -> None:
        metrics = evaluator.run(val_loader).metrics
        told = f"accuracy {metrics['accuracy']:.3f}, loss {metrics['loss']:.4f}, LR {scheduler.lr:.5f}"
        print(f"epoch {trainer.state.epoch}, update {scheduler.t} of {horizon.steps}: {told}")

    trainer.run(train_loader, max_epochs=EPOCHS)
    print(f"ended after {trainer.state.epoch} epochs: {scheduler.why()}")


if __name__ == "__main__":
    main()
