"""Triggers on curves whose truth is known: how often too early, how late, how often not at all; ours beside the peers'.

    python benchmarks/triggers.py --runs 200
    python benchmarks/triggers.py --boundary        # the trend test's nominal risk, where it is hardest to keep
    python benchmarks/triggers.py --levels          # false alarms of reaches(confidence=) and within_best
    python benchmarks/triggers.py --cost            # nanoseconds an observation, beside torch's ReduceLROnPlateau

Five types of noise × four families of curves (`lehr.calibration`), 600 evaluations a run. Too early is a firing while
the truth still improves by 1 % or more over the next 60 evaluations. The delay is counted from when it does not, in
units of n*, the fewest evaluations from which a slope test could decide at 95 % (without looking more than once). A
miss is counted where n* is at most half of what is left of the run.

The peers' own classes are driven where they are installed (extra `peers`); dlib's, Paddle's and fastai's run as the
flavors and recipes of Lehr that tests hold against their definitions.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

import lehr
from lehr.calibration import FAMILIES, Noise, Outcome, fewest, trial
from lehr.lengths import Horizon
from lehr.rules import Observation, Trigger
from lehr.rules.lanes import first_firings

LENGTH, OVER, IMPROVEMENT = 600, 60, 0.01
NOISES = {
    "clean 0.005": Noise(0.005),
    "validation 0.02, ρ 0.3": Noise(0.02, rho=0.3),
    "heavy 0.08": Noise(0.08),
    "correlated 0.02, ρ 0.8": Noise(0.02, rho=0.8),
    "spikes 4 % of 0.3": Noise(0.02, spikes=0.04, height=0.3),
}
Firings = Callable[[Any], Any]


def ours(text: str) -> Firings:
    """First firings of a trigger of Lehr's, from its text."""
    trigger: Trigger = lehr.parse(text)
    return lambda values: first_firings(trigger, values)


def each(first: Callable[[list[float]], int]) -> Firings:
    """First firings, a run after the other."""
    return lambda values: np.array([first(run) for run in values.tolist()])


def by_torch(make: Callable[[torch.optim.Optimizer], Any]) -> Firings:
    """When a scheduler of torch's kind first lowers the LR."""

    def first(run: list[float]) -> int:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
        scheduler = make(optimizer)
        for i, value in enumerate(run):
            scheduler.step(value)
            if optimizer.param_groups[0]["lr"] < 0.1 * (1 - 1e-9):
                return i
        return -1

    return each(first)


def by_optax(values: Any) -> Any:
    """When optax's transformation first lowers its scale; all runs in one compiled scan."""
    import jax
    import optax.contrib

    transform = optax.contrib.reduce_on_plateau(factor=0.1, patience=10)

    def one(run: Any) -> Any:
        def step(state: Any, value: Any) -> tuple[Any, Any]:
            _, state = transform.update({}, state, value=value)
            return state, state.scale

        return jax.lax.scan(step, transform.init({}), run)[1]

    low = np.asarray(jax.jit(jax.vmap(one))(values.astype(np.float32))) < 0.99
    return np.where(low.any(axis=1), low.argmax(axis=1), -1)


def by_keras(run: list[float]) -> int:
    """When Keras's callback first lowers the LR of a stub of a model."""
    import keras

    class Stub:
        optimizer = keras.optimizers.SGD(0.1)

    stub = Stub()
    callback = keras.callbacks.ReduceLROnPlateau(monitor="loss", patience=10)
    callback.set_model(stub)
    callback.on_train_begin()
    stub.optimizer.learning_rate = 0.1
    for i, value in enumerate(run):
        callback.on_epoch_end(i, {"loss": value})
        if callback.cooldown_counter or (callback.wait == 0 and float(stub.optimizer.learning_rate) < 0.099):
            return i
    return -1


def contestants() -> Iterator[tuple[str, Firings]]:
    """Everything that is tried."""
    yield "**lehr, improves_less_than(0.01, 60)**", ours("loss.improves_less_than(0.01, 60)")
    yield "lehr, the same, risk=0.05", ours("loss.improves_less_than(0.01, 60, risk=0.05)")
    yield "lehr, test='means'", ours("loss.improves_less_than(0.01, 60, test='means')")
    yield "lehr, plateaus(10)", ours("loss.plateaus(10)")
    yield "lehr, plateaus(30)", ours("loss.plateaus(30)")
    yield "lehr, smoothed(19).plateaus(10)", ours("loss.smoothed(19).plateaus(10)")
    yield "dlib's test, 60", ours("loss.stalls(60)")
    yield "dlib's test, 120", ours("loss.stalls(120)")
    yield "torch ReduceLROnPlateau", by_torch(lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o))
    yield "torch, patience 30", by_torch(lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, patience=30))
    if importlib.util.find_spec("optax"):
        yield "optax reduce_on_plateau", by_optax
    if importlib.util.find_spec("keras"):
        yield "Keras ReduceLROnPlateau", each(by_keras)
    yield "Paddle ReduceOnPlateau (flavor)", ours("loss.plateaus(10, flavor='paddle')")
    yield "fastai, patience 10 (flavor)", ours("loss.plateaus(10, margin=0, flavor='fastai')")
    if importlib.util.find_spec("transformers"):
        from transformers.optimization import GreedyLR

        yield "transformers GreedyLR", by_torch(lambda o: GreedyLR(o, min_lr=1e-6))


def joined(found: dict[str, Outcome]) -> tuple[float, float, float, int]:
    """Premature, delay and misses of one type of noise, over the families."""
    flat = [found["plateau"], found["overfit"]]  # a power law comes to be flat so slowly that nobody could tell
    delay = statistics.fmean(o.delay for o in flat)
    able = sum(o.decidable for o in flat)
    missed = sum(o.missed * o.decidable for o in flat if o.decidable) / able if able else float("nan")
    return statistics.fmean(o.premature for o in found.values()), delay, missed, able


def table(runs: int, seed: int) -> None:
    """Print everything."""
    print(f"{runs} runs for each of {len(NOISES)} types of noise and {len(FAMILIES)} families; seed {seed}\n")
    needed = {name: fewest(noise, over=OVER, improvement=IMPROVEMENT) for name, noise in NOISES.items()}
    print("n*: " + ", ".join(f"{name} {n:.0f}" for name, n in needed.items()) + "\n")
    print("| trigger | " + " | ".join(NOISES) + " | mean premature |")
    print("|---" * (len(NOISES) + 2) + "|")
    for name, firings in contestants():
        cells, early = [], []
        for kind, noise in NOISES.items():
            found = trial(firings, noise, length=LENGTH, over=OVER, improvement=IMPROVEMENT, runs=runs, seed=seed)
            premature, delay, missed, _ = joined(found)
            early.append(premature)
            times = f"{delay / needed[kind]:.2f} n*" if np.isfinite(delay) else "–"
            share = f"{100 * missed:.0f} %" if np.isfinite(missed) else "–"
            cells.append(f"{100 * premature:.1f} % · {times} · {share}")
        print(f"| {name} | " + " | ".join(cells) + f" | {100 * statistics.fmean(early):.1f} % |", flush=True)
    print("\nEach cell: premature firings, of all runs · median delay · misses, of the runs where it could be decided.")


def boundary(runs: int, seed: int) -> None:
    """How often the trend test fires on curves that improve exactly as asked, the whole run long."""
    print("| risk | " + " | ".join(NOISES) + " |\n" + "|---" * (len(NOISES) + 1) + "|")
    for risk in (0.01, 0.05, 0.2):
        trigger = lehr.loss.improves_less_than(IMPROVEMENT, over=OVER, risk=risk)
        cells = []
        for i, noise in enumerate(NOISES.values()):
            truth = (1 - IMPROVEMENT) ** (np.arange(LENGTH) / OVER)
            random = np.random.default_rng([seed, 99, i])
            first = first_firings(trigger, truth * (1 + noise.draw(runs, LENGTH, random)))
            share = float((first >= 0).mean())
            cells.append(f"{100 * share:.1f} ± {196 * np.sqrt(share * (1 - share) / runs):.1f} %")
        print(f"| {100 * risk:.0f} % | " + " | ".join(cells) + " |", flush=True)


def levels(runs: int, seed: int) -> None:
    """How often thresholds and falls are seen that are not there, in 200 observations of a level and noise of 0.02."""
    cases = {
        "reaches(0.9, confidence=0.9), level 0.8999": ("reaches(0.9, confidence=0.9)", 0.8999),
        "the same, level 0.91 (should fire)": ("reaches(0.9, confidence=0.9)", 0.91),
        "~within_best(0), level 0.9": ("within_best(0)", 0.9),
    }
    print("| trigger | ρ 0 | ρ 0.5 | ρ 0.8 |\n|---|---|---|---|")
    for name, (text, level) in cases.items():
        trigger = lehr.parse(f"{'~' * name.startswith('~')}metric('accuracy', best='max').{text}")
        shares = []
        for rho in (0.0, 0.5, 0.8):
            noise = Noise(0.02 / level, rho=rho).draw(runs, 200, np.random.default_rng([seed, 7]))
            shares.append(float((first_firings(trigger, level * (1 + noise)) >= 0).mean()))
        print(f"| {name} | " + " | ".join(f"{100 * share:.1f} %" for share in shares) + " |", flush=True)


def cost(observations: int) -> None:
    """Nanoseconds an observation: of the pure trigger, and of torch's whole step."""
    values = (1 + 0.05 * np.random.default_rng(0).standard_normal(observations)).tolist()
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1), patience=10**9
    )
    print("| estimator | median ns | mean ns | median against torch's step |\n|---|---|---|---|")
    theirs = _timed(scheduler.step, values)
    print(f"| torch ReduceLROnPlateau.step | {theirs[0]:.0f} | {theirs[1]:.0f} | 1 |")
    for text in (
        f"loss.plateaus({10**9})",
        "loss.reaches(0.0)",
        "loss.reaches(0.0, confidence=0.95)",
        "loss.improves_less_than(0.01, 200, test='means')",
        "loss.improves_less_than(0.01, 200)",
        "loss.improves_less_than(0.01, 5000)",
        "loss.stalls('2000 observations')",
        "loss.derails()",
    ):
        trigger = lehr.parse(text).resolve(Horizon(steps=observations))
        memory: list[Any] = [trigger.init(), 0]

        def step(value: float, trigger: Trigger = trigger, memory: list[Any] = memory) -> None:
            memory[0], _ = trigger.update(memory[0], Observation(memory[1], {"loss": value}, True))
            memory[1] += 1

        median, mean = _timed(step, values)
        print(f"| {text} | {median:.0f} | {mean:.0f} | {median / theirs[0]:.1f} |", flush=True)


def _timed(step: Callable[[float], Any], values: list[float]) -> tuple[float, float]:
    times = []
    clock = time.perf_counter_ns
    for value in values:
        begin = clock()
        step(value)
        times.append(clock() - begin)
    floor = statistics.median(clock() - clock() for _ in range(1000))
    return statistics.median(times) + floor, statistics.fmean(times) + floor


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--boundary", action="store_true")
    parser.add_argument("--levels", action="store_true")
    parser.add_argument("--cost", action="store_true")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    os.environ.setdefault("KERAS_BACKEND", "jax")
    if asked.cost:
        cost(20_000)
    elif asked.levels:
        levels(max(asked.runs, 300), asked.seed)
    elif asked.boundary:
        boundary(max(asked.runs, 1000), asked.seed)
    else:
        table(asked.runs, asked.seed)


if __name__ == "__main__":
    main()
