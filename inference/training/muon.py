"""How the weights move: Muon for the matrices of hidden layers, AdamW for the rest, one learning-rate schedule over both.

Muon (Jordan et al. 2024, as in torch.optim, but matrices of one shape at once)
makes the steps of a matrix orthogonal. Measured on this network, after the same 300 steps of 16 samples at the best rate
tried of each: 0.57 of people left out right with Muon, 0.44 with AdamW alone.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

WARM_UP = 0.04  # of all steps
DECAY = 0.02
MOMENTUM = 0.95
NEWTON_SCHULZ = (3.4445, -4.775, 2.0315)  # coefficients and, below, number of steps towards orthogonality
NEWTON_SCHULZ_STEPS = 5
BESIDE = 0.4  # AdamW's learning rate beside Muon's
# Parameters that AdamW moves although they have two or more dimensions: first and last layers, maps of places.
FIRST_AND_LAST = ("stem.0.weight", "place", "maps.weight", "evidence.weight", "answers.weight")


def as_matrix(array: Tensor, like: Tensor) -> Tensor:
    """A filter bank, or its gradient, as (outputs, everything else) in the order in which `like` lies in memory."""
    if like.ndim >= 4 and not like.is_contiguous():  # channels last
        array = array.movedim(1, -1)
    return array.flatten(1)


def orthogonal(matrices: Tensor) -> Tensor:
    """(N, rows, columns) -> as many about orthogonal ones with the same singular vectors; in 16 bits."""
    a, b, c = NEWTON_SCHULZ
    x = matrices.bfloat16()
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.mT
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def gradient_of(parameter: nn.Parameter) -> Tensor:
    """Its gradient, which it must have: those of one shape move together."""
    assert parameter.grad is not None
    return parameter.grad


class Muon:
    """Muon for matrices that share the memory of parameters; those of one shape are moved together."""

    def __init__(self, pairs: list[tuple[nn.Parameter, Tensor]]) -> None:
        shapes: dict[torch.Size, list[tuple[nn.Parameter, Tensor]]] = {}
        for parameter, matrix in pairs:
            shapes.setdefault(matrix.shape, []).append((parameter, matrix))
        self.groups = list(shapes.values())
        self.momenta = [torch.zeros_like(torch.stack([m for _, m in group])) for group in self.groups]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Move the matrices along the gradients of their parameters."""
        for group, momentum in zip(self.groups, self.momenta, strict=True):
            gradients = torch.stack([as_matrix(gradient_of(p), p) for p, _ in group])
            momentum.lerp_(gradients, 1 - MOMENTUM)
            moves = orthogonal(gradients.lerp(momentum, MOMENTUM)).float()
            matrices = [matrix for _, matrix in group]
            scale = 0.2 * math.sqrt(max(momentum.shape[1:]))  # as long as AdamW's moves
            torch._foreach_mul_(matrices, 1 - rate * DECAY)
            torch._foreach_sub_(matrices, list((moves * (rate * scale)).unbind()))


def lr_schedule(step: int, steps: int) -> float:
    """Share of the learning rate of a step, the first is 0: a short warm-up, then linearly down to nothing."""
    warm = max(1.0, WARM_UP * steps)
    return min((step + 1) / warm, max(0.0, (steps - step) / max(1.0, steps - warm)))


class Optimiser:
    """Muon and AdamW under one learning-rate schedule over `steps` steps."""

    def __init__(self, model: nn.Module, lr: float, steps: int) -> None:
        self.lr, self.steps, self.step_count = lr, steps, 0
        pairs: list[tuple[nn.Parameter, Tensor]] = []
        rest = []
        for name, parameter in model.named_parameters():
            if parameter.ndim >= 2 and not name.endswith(FIRST_AND_LAST):
                matrix = as_matrix(parameter.data, parameter.data)
                if matrix.data_ptr() != parameter.data_ptr():
                    raise ValueError(f"{name}: no matrix can be seen in this memory format")
                pairs.append((parameter, matrix))
            else:
                rest.append(parameter)
        self.muon = Muon(pairs)
        self.adam = torch.optim.AdamW(rest, lr=lr, weight_decay=DECAY)

    def step(self) -> None:
        """Move the weights along their gradients."""
        lr = self.lr * lr_schedule(self.step_count, self.steps)
        self.step_count += 1
        self.muon.step(lr)
        for group in self.adam.param_groups:
            group["lr"] = lr * BESIDE
        self.adam.step()

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed training needs."""
        return {"muon": self.muon.momenta, "adam": self.adam.state_dict(), "steps": self.step_count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        for mine, saved in zip(self.muon.momenta, state["muon"], strict=True):
            mine.copy_(saved)
        self.adam.load_state_dict(state["adam"])
        self.step_count = int(state["steps"])
