"""Signals of model and optimiser: against NumPy, against finite differences, and in a whole run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import lehr
from lehr.torch import Distance, Hypergradient, Scheduler, grad_norm

pytestmark = pytest.mark.frameworks
Make = Callable[[list[Any]], torch.optim.Optimizer]

OPTIMIZERS: dict[str, Make] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.05, weight_decay=0.1),
    "two groups": lambda p: torch.optim.AdamW([{"params": p[:1], "lr": 0.5}, {"params": p[1:], "lr": 0.01}]),
}


def parameters(seed: int = 0, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    torch.manual_seed(seed)
    return [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in ((3, 4), (5,), ())]


def flat(tensors: list[Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.concatenate([np.asarray(t.detach(), dtype=float).ravel() for t in tensors])


def backward(weights: list[torch.Tensor], seed: int = 0) -> None:
    """The gradient of a quadratic, a different one for each seed."""
    generator = torch.Generator().manual_seed(seed)
    for weight in weights:
        curvature = 0.1 + torch.rand(weight.shape, generator=generator, dtype=torch.float64).to(weight.dtype)
        weight.grad = (curvature * weight).detach()


def test_the_norm_is_that_of_all_gradients_together() -> None:
    weights = parameters()
    backward(weights)
    expected = np.linalg.norm(flat([w.grad for w in weights]))
    assert float(grad_norm(weights)) == pytest.approx(expected, rel=1e-12)
    weights[1].grad = None
    assert float(grad_norm(iter(weights))) == pytest.approx(np.linalg.norm(flat([w.grad for w in weights[::2]])))


def test_a_norm_of_nothing_is_refused() -> None:
    with pytest.raises(lehr.LehrError, match="before zero_grad"):
        grad_norm(parameters())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_cosine_is_that_of_the_descent_direction_and_the_update_really_made(name: str) -> None:
    weights = parameters()
    optimizer = OPTIMIZERS[name](weights)
    hyper = Hypergradient(optimizer)
    assert float(hyper()) == 0.0
    last = None
    for step in range(12):
        backward(weights, step)
        gradient, before = flat([w.grad for w in weights]), flat(weights)
        optimizer.step()
        if last is None:
            assert (float(hyper()), float(hyper.product)) == (0.0, 0.0)
        else:
            cosine = -gradient @ last / np.linalg.norm(gradient) / np.linalg.norm(last)
            assert float(hyper()) == pytest.approx(cosine, rel=1e-9)
            assert float(hyper.product) == pytest.approx(gradient @ last, rel=1e-9)
        last = flat(weights) - before


def test_the_product_is_the_derivative_of_the_loss_by_the_logarithm_of_the_last_lr() -> None:
    curvature, lr, h = np.array([1.0, 5.0, 0.2]), 0.07, 1e-5
    start = np.array([1.0, -2.0, 3.0])

    def loss_after(rate: float) -> float:
        return float(curvature @ (start - rate * curvature * start) ** 2) / 2

    weight = torch.tensor(start, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=lr)
    hyper = Hypergradient(optimizer)
    for _ in range(2):
        weight.grad = torch.tensor(curvature) * weight.detach()
        optimizer.step()
    slope = (loss_after(lr * (1 + h)) - loss_after(lr * (1 - h))) / (2 * h)
    assert float(hyper.product) == pytest.approx(slope, rel=1e-6)


def test_too_large_an_lr_turns_the_cosine_negative_and_too_small_a_one_positive() -> None:
    for lr, sign in ((0.01, 1), (1.9, -1)):
        weight = torch.tensor([1.0, -1.0], requires_grad=True)
        optimizer = torch.optim.SGD([weight], lr=lr)
        hyper = Hypergradient(optimizer)
        for _ in range(3):
            weight.grad = weight.detach().clone()
            optimizer.step()
        assert float(hyper()) == pytest.approx(sign, abs=1e-6)


def test_no_update_or_no_gradient_says_nothing() -> None:
    weights = parameters()
    optimizer = torch.optim.SGD(weights, lr=0.0)
    hyper = Hypergradient(optimizer)
    for step in range(3):
        backward(weights, step)
        optimizer.step()
    assert float(hyper()) == 0.0
    optimizer.param_groups[0]["lr"] = 0.1
    backward(weights)
    optimizer.step()
    for weight in weights:
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    assert float(hyper()) == 0.0


def test_a_parameter_is_compared_only_where_it_moved_in_both_updates() -> None:
    weights = parameters()
    optimizer = torch.optim.SGD(weights, lr=0.1)
    hyper = Hypergradient(optimizer)
    backward(weights, 0)
    weights[0].grad = None
    before = flat(weights[1:])
    optimizer.step()
    last = flat(weights[1:]) - before
    backward(weights, 1)
    gradient = flat([w.grad for w in weights[1:]])
    optimizer.step()
    assert float(hyper.product) == pytest.approx(gradient @ last, rel=1e-9)


def test_after_a_reset_it_begins_anew_and_after_removal_it_holds_nothing() -> None:
    weights = parameters()
    optimizer = torch.optim.SGD(weights, lr=0.1)
    hyper = Hypergradient(optimizer)
    for step in range(2):
        backward(weights, step)
        optimizer.step()
    assert float(hyper()) != 0.0
    hyper.reset()  # as after a restored snapshot
    backward(weights, 2)
    optimizer.step()
    assert float(hyper()) == 0.0
    hyper.remove()
    backward(weights, 3)
    optimizer.step()
    assert hyper._before == {}


def test_a_number_that_was_handed_out_does_not_change_later() -> None:
    weights = parameters()
    optimizer = torch.optim.SGD(weights, lr=0.1)
    hyper, said = Hypergradient(optimizer), []
    for step in range(4):
        backward(weights, step)
        optimizer.step()
        said.append((hyper(), float(hyper())))
    assert [float(tensor) for tensor, _ in said] == [number for _, number in said]


def test_a_closure_is_refused_as_its_gradients_come_too_late() -> None:
    weights = parameters()
    optimizer = torch.optim.SGD(weights, lr=0.1)
    Hypergradient(optimizer)
    with pytest.raises(lehr.LehrError, match="without closure"):
        optimizer.step(lambda: 0.0)


def test_low_precision_is_summed_in_float32() -> None:
    weights = [torch.full((4096,), 1.0, dtype=torch.bfloat16, requires_grad=True)]
    distance = Distance(weights)
    optimizer = torch.optim.SGD(weights, lr=0.25)
    hyper = Hypergradient(optimizer)
    for _ in range(2):
        weights[0].grad = torch.ones_like(weights[0])
        optimizer.step()
    assert float(hyper.product) == -1024.0
    assert distance().dtype == torch.float32
    assert float(distance()) == 1024.0
    assert float(hyper()) == pytest.approx(1.0, abs=0.01)


def test_nothing_waits_for_the_device() -> None:
    """Tensors of the meta device have no value that could be read."""
    weights = [torch.zeros(3, device="meta", requires_grad=True)]
    optimizer = torch.optim.SGD(weights, lr=0.1)
    hyper, distance = Hypergradient(optimizer), Distance(weights)
    for _ in range(3):
        weights[0].grad = torch.zeros(3, device="meta")
        optimizer.step()
        assert all(number.is_meta for number in (hyper(), hyper.product, distance(), grad_norm(weights)))


def test_the_distance_is_that_from_the_point_of_the_last_reset() -> None:
    weights = parameters()
    distance, start = Distance(iter(weights)), flat(weights)
    optimizer = torch.optim.Adam(weights, lr=0.1)
    for step in range(5):
        backward(weights, step)
        optimizer.step()
        assert float(distance()) == pytest.approx(((flat(weights) - start) ** 2).sum(), rel=1e-12)
        if step == 2:
            distance.reset()
            start = flat(weights)


def test_a_saved_distance_goes_on_from_its_point() -> None:
    weights = parameters()
    distance = Distance(weights)
    with torch.no_grad():
        weights[0] += 1
    saved = distance.state_dict()
    distance.reset()  # what was saved is a copy
    again = Distance(weights)
    again.load_state_dict(saved)
    assert float(again()) == pytest.approx(12.0)
    with pytest.raises(lehr.LehrError, match="other parameters"):
        Distance(weights[:2]).load_state_dict(saved)
    with pytest.raises(lehr.LehrError, match="at least one"):
        Distance([])


def noisy_run(policy: str, steps: int, subscribe: bool = True) -> Scheduler:
    """SGD on a noisy quadratic, from far away."""
    torch.manual_seed(0)
    weight = torch.full((50,), 10.0, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.2)
    hyper, distance = Hypergradient(optimizer), Distance([weight])
    sched = Scheduler(optimizer, policy, steps=steps)
    if subscribe:
        sched.subscribe(distance.reset)
    for _ in range(steps):
        weight.grad = weight.detach() + torch.randn(50)
        optimizer.step()
        sched.step(distance=distance(), alignment=hyper(), grad_norm=grad_norm([weight]))
    return sched


def test_a_run_that_measures_anew_after_each_cut_cuts_again_and_one_that_does_not_cuts_once() -> None:
    text = "when(metric('distance', best='max').levels_off()).scale(0.5)"
    cuts = [event.step for event in noisy_run(text, 1500).events if event.kind == "rule"]
    assert len(cuts) >= 3
    assert cuts[0] > 5  # 1/lr steps: it has arrived
    assert len([event for event in noisy_run(text, 1500, subscribe=False).events if event.kind == "rule"]) == 1


def test_the_hypergradient_cuts_an_lr_that_is_too_large_for_its_noise() -> None:
    """At the optimum updates turn back on the average, so the LR falls; on the way there they agree."""
    sched = noisy_run("hypergradient(0.05)", 400)
    assert 0.2 * 0.01 <= sched.lr < 0.1


def test_the_norm_of_the_gradient_is_a_metric_like_any_other() -> None:
    sched = noisy_run("when(metric('grad_norm', best='min').reaches(12)).scale(0.1)", 60)
    assert sched.lr == pytest.approx(0.02)


def test_sharded_parameters_are_refused() -> None:
    from torch.distributed import HashStore  # type: ignore[attr-defined]  # it is public, but not said so
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    torch.distributed.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    try:
        sharded = distribute_tensor(torch.ones(4), init_device_mesh("cpu", (1,)), [Shard(0)])
        with pytest.raises(lehr.LehrError, match="DTensor"):
            Distance([sharded])
    finally:
        torch.distributed.destroy_process_group()
