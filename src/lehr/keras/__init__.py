"""Lehr in Keras 3, on its torch and JAX backends: a policy as the LR of an optimiser, and a callback that feeds rules.

    model.compile(keras.optimizers.Adam(Schedule("warmup('5%').then(cosine())", lr=3e-4, steps=1000)), loss="mse")
    model.fit(x, y, callbacks=[Feedback()])

A schedule and feedback may be combined. Import this module before `keras.models.load_model`, which then finds
`Schedule` by itself.
"""

from lehr.extras import MissingExtra, needs

try:
    with needs("keras"):
        import keras  # noqa: F401
except MissingExtra as missing:
    name = getattr(missing.__cause__, "name", None)
    if name == "keras":
        raise
    raise MissingExtra(
        f"Keras would run on a backend that is not installed, as {name} is missing; set KERAS_BACKEND=torch or jax in "
        "the environment, before keras is imported"
    ) from missing

from lehr.keras.feedback import Feedback, run_of
from lehr.keras.schedule import Schedule

__all__ = ["Feedback", "Schedule", "run_of"]
