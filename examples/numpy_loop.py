"""Without any framework: a policy runs in a loop of NumPy, and a rule begins the cool-down when the loss stands still.

Run it: python examples/numpy_loop.py
"""

import numpy as np

import lehr


def main() -> None:
    rng = np.random.default_rng(0)
    truth, weights = rng.normal(size=8), np.zeros(8)
    flat = lehr.when(lehr.loss.smoothed(20).plateaus(patience=50, margin=0.01)).begin(lehr.linear("20%"))
    run = lehr.start(lehr.Policy(lehr.warmup(20).then(lehr.hold()), rules=[flat]), lr=0.05, steps=1000)
    while not run.done:
        inputs = rng.normal(size=(16, 8))
        error = inputs @ (weights - truth) + rng.normal(size=16)
        weights -= run.lr * inputs.T @ error / 16
        run.step(loss=float(error @ error / 16))
    print(run.finish())
    print(f"distance to the truth {np.linalg.norm(weights - truth):.4f}")
    print(run.events)
    print(run.why())


if __name__ == "__main__":
    main()
