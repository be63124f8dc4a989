"""A larger network that begins by saying what a smaller one says, so that a training need not begin from nothing."""

from __future__ import annotations

import torch
from torch import Tensor

from inference.training.network import DefacingNet, ModelConfig

FIXED = ("view_features",)  # what follows is laid out by it
# Layers that read the means of all channels and then their maxima.
MEANS_AND_MAXIMA = ("context.0.weight", "surfaces.project.weight")


def grown(small: DefacingNet, config: ModelConfig) -> DefacingNet:
    """A network of these sizes, none of them smaller, whose answers are those of `small`.

    New channels begin at random, but no old channel listens to them yet; new layers begin by adding nothing.
    Raises ValueError where a size cannot grow so.
    """
    for name in FIXED:
        if getattr(config, name) != getattr(small.config, name):
            raise ValueError(
                f"{name} is {getattr(small.config, name)}, it cannot become {getattr(config, name)}"
            )
    big = DefacingNet(config)
    old, new = small.state_dict(), big.state_dict()
    missing = set(old) - set(new)
    if missing:
        raise ValueError(f"the larger network has no {', '.join(sorted(missing))}")
    for name, value in new.items():
        if name in old:
            lay(old[name], value, name)
        elif name.startswith("volume.fine"):
            value.zero_()
    return big


def lay(old: Tensor, new: Tensor, name: str) -> None:
    """Put the old parameter into the corner of the new one, with nothing between old outputs and new inputs."""
    if any(a > b for a, b in zip(old.shape, new.shape, strict=True)):
        raise ValueError(f"{name}: {tuple(old.shape)} does not fit into {tuple(new.shape)}")
    if old.ndim == 0:
        new.copy_(old)
        return
    if old.ndim == 1:
        new[: len(old)] = old
        return
    rows, columns = old.shape[:2]
    at = torch.arange(columns)
    if name in MEANS_AND_MAXIMA:
        at[columns // 2 :] += (new.shape[1] - columns) // 2
    new[:rows] = 0
    new[:rows, at] = old
