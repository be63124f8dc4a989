"""Augmentation of a batch: mirrored heads, other tone curves, other noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inference.projections.frame import SHAPE
from inference.projections.network_input import POOL
from inference.test_time_mirror import mirrored, mirrored_regions, mirrored_views
from inference.training.shards import Batch


def mirror(batch: Batch) -> Batch:
    """Left becomes right, in the pictures and in the maps."""
    surfaces, volumes = mirrored(batch.surfaces, batch.volumes)
    evidence = mirrored_views(batch.evidence, SHAPE[0] // POOL)
    return replace(
        batch, surfaces=surfaces, volumes=volumes, evidence=evidence, blocks=batch.blocks.flip(2),
        kept=mirrored_regions(batch.kept),
    )  # fmt: skip


CURVE_AT = (0, 24, 48, 72, 96, 128, 176, 255)  # bytes between which a curve of intensities is straight


def tones(count: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """(N, 256) what becomes of every byte of each head: another gamma and gain, in some another contrast; 0 stays 0."""
    gains, gammas = (np.exp(rng.normal(0, spread, (count, 1))) for spread in (0.1, 0.15))
    tables = 255 * gains * (np.arange(256) / 255) ** gammas
    for n in np.flatnonzero(rng.random(count) < 0.3):
        tables[n] *= np.interp(np.arange(256), CURVE_AT, np.exp(rng.normal(0, 0.25, len(CURVE_AT))))
    return tables.clip(0, 255).astype(np.uint8)


def through(data: Tensor, tables: NDArray[np.uint8]) -> Tensor:
    """Bytes (N, ...), those of every head replaced by their entries in its table (N, 256); a copy."""
    out = torch.empty(data.shape, dtype=torch.uint8)
    for head, changed, table in zip(data.numpy(), out.numpy(), tables, strict=True):
        flat = np.frombuffer(head.tobytes().translate(table.tobytes()), np.uint8)  # faster than indexing
        changed[:] = flat.reshape(head.shape)
    return out


def with_noise(data: Tensor, reach: Tensor, dice: torch.Generator) -> Tensor:
    """Nearly even noise of up to `reach` (N,) bytes either way on what is not 0 of (N, ...) bytes."""
    reach = reach.to(torch.int16).view(-1, *[1] * (data.ndim - 1))
    eights = torch.randint(-(2**63), 2**63 - 1, (data.numel() // 8,), generator=dice)
    noise = eights.view(torch.uint8).view(data.shape).to(torch.int16)  # a byte of chance each
    noise = noise.mul_(2 * reach + 1).bitwise_right_shift_(8).sub_(reach).add_(data)
    return noise.clamp_(1, 255).to(torch.uint8).mul_(data > 0)


def vary(batch: Batch, rng: np.random.Generator) -> Batch:
    """Half of the batches mirrored; the intensities of every head changed, with more noise in a third of them. A copy."""
    if rng.random() < 0.5:
        batch = mirror(batch)
    count = len(batch.brain_ml)
    tables = tones(count, rng)
    noisy = np.flatnonzero(rng.random(count) < 0.35)
    at, reach = torch.from_numpy(noisy), torch.from_numpy(rng.integers(2, 11, len(noisy)))
    dice = torch.Generator().manual_seed(int(rng.integers(2**62)))
    volumes, peels = through(batch.volumes, tables), through(batch.surfaces[:, :, 1:], tables)
    for data in (volumes, peels):
        data[at] = with_noise(data[at], reach, dice)
    surfaces = torch.cat([batch.surfaces[:, :, :1], peels], dim=2)  # layer 0 is a depth
    return replace(batch, surfaces=surfaces, volumes=volumes)
