"""Keras 3: a schedule and feedback together, saved in mid-run and gone on with; KERAS_BACKEND=jax works as well."""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from lehr.keras import Feedback, Schedule, run_of

EPOCHS, BATCH = 12, 32

images, digits = load_digits(return_X_y=True)
x, x_val, y, y_val = train_test_split(images / 16, digits, test_size=0.25, random_state=0)
steps = EPOCHS * -(-len(x) // BATCH)

keras.utils.set_random_seed(0)
model = keras.Sequential(
    [
        keras.Input((64,)),
        keras.layers.Dense(128, activation="relu"),
        keras.layers.Dense(10, activation="softmax"),
    ]
)
policy = """Policy(
    warmup('5%').then(cosine(to=0.05)),
    rules=[
        when(loss.derails()).scale(0.5),
        when(metric('val_accuracy', best='max').plateaus(patience=1)).scale(0.5).at_most(3),
        when(metric('val_accuracy', best='max').reaches(0.99)).stop(),
    ],
)"""
schedule = Schedule(policy, lr=0.01, steps=steps)
model.compile(keras.optimizers.Adam(schedule), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
how = {"batch_size": BATCH, "validation_data": (x_val, y_val), "verbose": 2}

model.fit(x, y, epochs=EPOCHS // 2, callbacks=[Feedback()], **how)
model.save("digits.keras")

model = keras.models.load_model("digits.keras")  # with what the rules remember
model.fit(x, y, epochs=EPOCHS, initial_epoch=EPOCHS // 2, callbacks=[Feedback()], **how)

run = run_of(model)
print(f"\nKeras on {keras.backend.backend()}, {run.t} of {steps} updates")
print(run.why())
for event in run.events:
    print(event)
