"""Signals that only model and optimiser know: how large the gradient is, whether updates agree, how far it all went.

Each is a number on the model's device, reported like a loss: `sched.step(loss=loss, grad_norm=grad_norm(parameters))`.
None waits for the device. With data-parallel training every rank finds the same number. The norm of sharded gradients
(FSDP2) is added up over the ranks; the other signals refuse sharded parameters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from lehr.errors import LehrError
from lehr.journal import Event

__all__ = ["Distance", "Hypergradient", "grad_norm"]


def grad_norm(parameters: Iterable[torch.Tensor]) -> torch.Tensor:
    """The Euclidean norm of all gradients together: (Σ‖g_i‖²)^½.

    Args:
        parameters: those of the model. What has no gradient is left out; call it before `zero_grad`, and before
            clipping if the unclipped norm is wanted (`clip_grad_norm_` returns the same number). Where they are sharded
            over ranks, all ranks must call it, as they speak with each other.

    Raises:
        LehrError: no parameter has a gradient.

    Example:
        >>> import torch
        >>> weight = torch.tensor([1.0, 2.0], requires_grad=True)
        >>> (weight**2).sum().backward()
        >>> grad_norm([weight])
        tensor(4.4721)

    Source: `torch.nn.utils.get_total_norm`, which computes it.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients:
        raise LehrError("grad_norm(parameters) found no gradient; call it after backward() and before zero_grad()")
    norm = torch.nn.utils.get_total_norm(gradients)
    return norm.full_tensor() if hasattr(norm, "full_tensor") else norm  # a DTensor


class Hypergradient:
    """Whether the present descent direction agrees with the last update: cos(−g_t, Δ_{t−1}), Δ_{t−1} = θ_t − θ_{t−1}.

    Works with any optimiser, as it takes the update that was applied, weight decay and clipping included. It looks in
    each `optimizer.step()`, before the update, when the gradients are unscaled and clipped; an update that a gradient
    scaler skips does not count. Positive: a larger LR would have been better for the last batches; 0: right angles, or
    nothing to compare yet.

    It costs one copy of the parameters in memory and, at an update, about five reads of them. It saves nothing: after a
    resume it is 0 at the first update and right from the second.

    Args:
        optimizer: whose updates to watch, from now on until `remove()`.

    Example:
        >>> import torch
        >>> weight = torch.tensor([1.0], requires_grad=True)
        >>> optimizer = torch.optim.SGD([weight], lr=0.1)
        >>> hyper = Hypergradient(optimizer)
        >>> for _ in range(2):
        ...     weight.grad = 2 * weight.detach()
        ...     optimizer.step()
        >>> hyper()  # sched.step(loss=loss, alignment=hyper())
        tensor(1.)

    Source: Baydin et al. 2018 (arXiv 1703.04782), section 2: ∂f(θ_t)/∂α = ∇f(θ_t)·∂u_{t−1}/∂α.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        _whole(parameters)
        self._before: dict[torch.Tensor, torch.Tensor] = {}  # what each parameter was before its last update
        self._product: torch.Tensor = torch.zeros((), device=parameters[0].device)
        self._cosine: torch.Tensor = self._product
        self._hook = optimizer.register_step_pre_hook(self._look)

    @property
    def product(self) -> torch.Tensor:
        """⟨g_t, Δ_{t−1}⟩: how the loss changes with the logarithm of the LR; negative: a larger LR would be better."""
        return self._product

    def __call__(self) -> torch.Tensor:
        """The cosine at the last update, between −1 and 1."""
        return self._cosine

    def reset(self) -> None:
        """Forget the last update: to be called when the weights were changed by other than the optimiser."""
        self._before.clear()

    def remove(self) -> None:
        """Watch no longer, and free the memory."""
        self._hook.remove()
        self.reset()

    @torch.no_grad()
    def _look(self, optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if any(given is not None for given in (*args[1:], *kwargs.values())):
            raise LehrError("Hypergradient needs gradients before the update: call optimizer.step() without closure")
        moving = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        known = [p for p in moving if p in self._before]
        if known:
            deltas, gradients = [self._before[p] for p in known], [p.grad for p in known]
            torch._foreach_neg_(deltas)
            torch._foreach_add_(deltas, known)  # in place: θ_t − θ_{t−1} takes no memory of its own
            self._product = _sum([_inner(g, d) for g, d in zip(gradients, deltas, strict=True)])
            norms = torch.nn.utils.get_total_norm(gradients) * torch.nn.utils.get_total_norm(deltas)
            # An update or a gradient of zero says nothing, so the cosine is 0 then; rounding may lead past 1.
            cosine = -self._product / norms.clamp_min(torch.finfo(norms.dtype).tiny)
            self._cosine = cosine.clamp(-1.0, 1.0)
            torch._foreach_copy_(deltas, known)
        else:
            self._product = self._cosine = torch.zeros_like(self._product)
        self._before = {p: self._before[p] if p in self._before else p.detach().clone() for p in moving}


class Distance:
    """The squared distance that the parameters have gone since the last `reset`: ‖θ − θ_0‖².

    It costs one copy of the parameters in memory and, at a call, two reads of them. For the trigger `levels_off`, which
    waits for a reset after each change of the LR: `sched.subscribe(distance.reset)`.

    Args:
        parameters: those of the model.

    Example:
        >>> import torch
        >>> weight = torch.zeros(3)
        >>> distance = Distance([weight])
        >>> weight += 2
        >>> distance()  # sched.step(loss=loss, distance=distance())
        tensor(12.)
        >>> distance.reset()
        >>> distance()
        tensor(0.)

    Source: Pesme, Dieuleveut & Flammarion 2020 (arXiv 2007.00534), the distance-based diagnostic.
    """

    def __init__(self, parameters: Iterable[torch.Tensor]) -> None:
        self._parameters = list(parameters)
        if not self._parameters:
            raise LehrError("Distance(parameters) needs at least one parameter, got none; an iterator is used up once")
        _whole(self._parameters)
        self._start = [parameter.detach().clone() for parameter in self._parameters]

    @torch.no_grad()
    def __call__(self) -> torch.Tensor:
        """‖θ − θ_0‖² now."""
        gone = (now - start for now, start in zip(self._parameters, self._start, strict=True))
        return _sum([_inner(step, step) for step in gone])

    @torch.no_grad()
    def reset(self, event: Event | None = None) -> None:
        """Measure from here on; given an event of a scheduler, only if that has changed the LR."""
        if event is None or event.lr_before != event.lr_after:
            torch._foreach_copy_(self._start, self._parameters)

    def state_dict(self) -> dict[str, list[torch.Tensor]]:
        """The point that it measures from."""
        return {"start": [start.clone() for start in self._start]}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Sequence[torch.Tensor]]) -> None:
        """Measure from a saved point.

        Raises:
            LehrError: it was saved for other parameters.
        """
        saved, shapes = list(state["start"]), [tuple(start.shape) for start in self._start]
        if [tuple(start.shape) for start in saved] != shapes:
            raise LehrError(f"this distance was saved for {len(saved)} other parameters; build it with the same ones")
        for start, value in zip(self._start, saved, strict=True):
            start.copy_(value)


def _inner(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """⟨a, b⟩, summed in float32 at least."""
    return (a * b).sum(dtype=torch.promote_types(a.dtype, torch.float32))


def _sum(numbers: list[torch.Tensor]) -> torch.Tensor:
    """The sum of scalars that may lie on several devices, on the first one's."""
    return torch.stack([number.to(numbers[0].device) for number in numbers]).sum()


def _whole(tensors: Sequence[torch.Tensor]) -> None:
    """Refuse sharded tensors: each rank sees a part of them only."""
    for tensor in tensors:
        if type(tensor).__name__ == "DTensor":
            raise LehrError("parameters sharded over ranks (DTensor) are not supported; measure an unsharded part")
