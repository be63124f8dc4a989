"""A training under way: the network, its optimiser, the averaged weights, and the step; saved and resumed."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn

from inference import checkpoint
from inference.training import export, shards
from inference.training.losses import losses
from inference.training.muon import Optimiser
from inference.training.network import DefacingNet, ModelConfig


class Average:
    """An exponential moving average of the weights; one that warms up forgets the first of them soon."""

    def __init__(self, model: nn.Module, decay: float = 0.995, *, warm: bool = False) -> None:
        self.decay, self.warm, self.count = decay, warm, 0
        self.values = {k: v.detach().clone() for k, v in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move a little towards the present weights."""
        self.count += 1
        decay = min(self.decay, (1 + self.count) / (10 + self.count)) if self.warm else self.decay
        present = model.state_dict()
        moving = [k for k, v in present.items() if v.dtype.is_floating_point]
        torch._foreach_lerp_([self.values[k] for k in moving], [present[k] for k in moving], 1 - decay)
        for key in present.keys() - set(moving):
            self.values[key].copy_(present[key])


def begin(options: argparse.Namespace) -> tuple[DefacingNet, dict[str, Any]]:
    """The network to train: from nothing, from other weights, or from between two.

    Also what is known of how its weights were trained.
    """
    known: dict[str, Any] = {}
    if not options.start:
        model = DefacingNet(ModelConfig.of(options.config))
    else:
        model, known = export.load_network(options.start, **options.config)
    if options.average:
        other, later = export.load_network(options.average, **options.config)
        if other.config != model.config:
            raise checkpoint.CheckpointError(
                options.average, "has other sizes than the weights to begin with"
            )
        between = Average(model, decay=1 - options.share)
        between.update(other)
        model.load_state_dict(between.values)
        known = both_known(known, later)
    model.surfaces.to(memory_format=torch.channels_last)
    return model, known


def both_known(known: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of weights between two: the history of those trained on from the others, the people of both."""
    first, last = known.get("fresh"), later.get("fresh")
    if not (first and last):
        return {"fresh": last or first}
    return {"fresh": {**last, "people": sorted({*first["people"], *last["people"]})}}


@dataclass
class Run:
    """A training under way: what is saved after every epoch and found again after an interruption."""

    model: DefacingNet
    optimiser: Optimiser
    average: Average
    state: Path
    known: dict[str, Any]  # how the weights were trained that it begins with
    epoch: int = 0
    batch: int = 0  # done in this epoch

    @classmethod
    def start(cls, options: argparse.Namespace, steps: int) -> Run:
        """A new run, or the one that was cut off."""
        model, known = begin(options)
        optimiser = Optimiser(model, options.rate, steps)
        run = cls(model, optimiser, Average(model), options.out.with_suffix(".state"), known)
        if options.epochs and run.state.exists():
            try:
                saved = torch.load(run.state, weights_only=True)
                model.load_state_dict(saved["model"])
                optimiser.load_state_dict(saved["optimiser"])
                run.average.values, run.epoch, run.batch = saved["average"], saved["epoch"], saved["batch"]
            except (OSError, RuntimeError, TypeError, KeyError, ValueError) as error:
                reason = "is not of this training; remove it to begin anew"
                raise checkpoint.CheckpointError(run.state, reason) from error
        return run

    def save(self) -> None:
        """Write the state, whole or not at all; not that of a training that went astray."""
        self.weights()
        part = self.state.with_suffix(".part")
        torch.save(
            {
                "model": self.model.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "average": self.average.values,
                "epoch": self.epoch,
                "batch": self.batch,
            },
            part,
        )
        part.replace(self.state)

    def weights(self) -> dict[str, Tensor]:
        """The averaged weights. Raises FloatingPointError where the training went astray."""
        values = {key: value.contiguous() for key, value in self.average.values.items()}
        if not all(value.isfinite().all() for value in values.values()):
            raise FloatingPointError(f"the training went astray before step {self.optimiser.step_count}")
        return values

    def averaged(self) -> DefacingNet:
        """The network with the averaged weights."""
        model = DefacingNet(self.model.config)
        model.load_state_dict(self.weights())
        return model

    def step(self, batch: shards.Batch) -> dict[str, Tensor]:
        """Learn from one batch; the parts of the loss."""
        with torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False):
            out = self.model(batch.surfaces, batch.volumes)
        found = losses(out, batch)
        self.model.zero_grad(set_to_none=True)
        torch.stack(list(found.values())).sum().backward()
        share_gradients(self.model)
        nn.utils.clip_grad_norm_(self.model.parameters(), 2.0)
        self.optimiser.step()
        self.average.update(self.model)
        return {key: value.detach() for key, value in found.items()}


def share_gradients(model: nn.Module) -> None:
    """Every process goes on with the mean of all gradients; alone, with its own."""
    if not distributed.is_initialized():
        return
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    together = torch.cat([g.flatten() for g in gradients])
    distributed.all_reduce(together)
    together /= distributed.get_world_size()
    for gradient, part in zip(gradients, together.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view(gradient.shape))
