"""One simulated defacing from a head instance: what the network sees, and what is true of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.projections.frame import SHAPE, VOXEL_MM, BoolArray, FloatArray, HeadFrame, crop, head_frame
from inference.projections.network_input import (
    CELL,
    CELLS,
    FULL_SURFACE,
    POOL,
    SIDE,
    SURFACES,
    NetworkInput,
    crossing,
    network_input,
    seen_from,
)
from inference.regions import GRID, REGIONS
from inference.training.simulate.deformed_head import DeformedHead
from inference.training.simulate.intensities import acquire, fill_removed, paint, thick_slices
from inference.training.simulate.masks import nothing, random_mask
from inference.training.simulate.mixtures import USUAL, Mix

VOXEL_ML = VOXEL_MM**3 / 1000


@dataclass(frozen=True)
class Sample:
    """network: the projections. evidence: (6, 2, 10, 10) bool, where brain is missing, where face is left.

    blocks: (10, 16, 20, 20) uint8, the shares of `parts.PARTS` times 255 in every block of 12 mm.
    brain_ml, kept (5,) shares in the order of REGIONS, NaN where out of view.
    """

    network: NetworkInput
    evidence: BoolArray
    blocks: NDArray[np.uint8]
    brain_ml: float
    kept: NDArray[np.float32]
    family: str
    fill: str
    contrast: str


def crop_view(face: NDArray[np.float64], rng: np.random.Generator) -> tuple[slice, slice, slice]:
    """The field of view that a protocol leaves of a head with these landmarks, (6, 3) cells."""
    chosen = [slice(0, n) for n in GRID]
    if rng.random() < 0.28:  # from below: somewhere between the eyes and the neck
        low = int(face[3, 2] + rng.uniform(-14, 26))
        chosen[2] = slice(int(np.clip(low, 0, 55)), GRID[2])
    if rng.random() < 0.06:  # from above
        chosen[2] = slice(chosen[2].start, GRID[2] - int(rng.integers(8, 18)))
    if rng.random() < 0.08:  # the tip of the nose
        chosen[1] = slice(0, int(np.clip(face[2, 1] - rng.uniform(0, 7), 60, GRID[1])))
    if rng.random() < 0.10:  # the ears
        side = int(rng.integers(8, 16))
        chosen[0] = slice(side, GRID[0] - side)
    return tuple(chosen)  # type: ignore[return-value]


def slab_view(face: NDArray[np.float64], vertex: int, rng: np.random.Generator) -> tuple[slice, slice, slice]:
    """The field of view of a scan of the brain alone: it ends near the eyes, seldom in a coronal plane behind them."""
    eyes = face[:2].mean(axis=0)
    chosen = [slice(0, n) for n in GRID]
    if rng.random() < 0.2:
        chosen[1] = slice(int(rng.integers(0, 16)), int(np.clip(eyes[1] - rng.uniform(0, 12), 40, GRID[1])))
        return tuple(chosen)  # type: ignore[return-value]
    high = vertex + 4 if rng.random() < 0.5 else vertex - int(rng.integers(0, 9))
    low = int(np.clip(eyes[2] + rng.uniform(-9, 16), 0, high - 12))
    chosen[2] = slice(low, min(high, GRID[2]))
    return tuple(chosen)  # type: ignore[return-value]


def least_in_sight(cells: int) -> float:
    """Of a region of so many cells, without which nothing is said of it."""
    return max(20.0, 0.4 * cells)


def regions_kept(instance: DeformedHead, gone: FloatArray, view: BoolArray) -> NDArray[np.float32]:
    """(5,) share of each region's surface that is still there; NaN where most of it is out of view."""
    out = np.full(len(REGIONS), np.nan, np.float32)
    for index, name in enumerate(REGIONS):
        cells = instance.regions[name] & instance.in_view
        seen = cells & view
        if seen.sum() >= least_in_sight(int(cells.sum())):
            out[index] = float((1 - gone[seen]).mean())
    return out


def pool(cells: BoolArray) -> BoolArray:
    """Maximum over 8 x 8 cells of the last two axes, padded to 80 x 80 first."""
    pad = [(0, 0)] * (cells.ndim - 2) + [(0, SIDE - cells.shape[-2]), (0, SIDE - cells.shape[-1])]
    grid = np.pad(cells, pad).reshape(*cells.shape[:-2], SIDE // POOL, POOL, SIDE // POOL, POOL)
    return np.asarray(grid.any(axis=(-3, -1)))


def evidence_maps(missing: BoolArray, left: BoolArray, frame: HeadFrame) -> BoolArray:
    """(6, 2, 10, 10) where each surface view can show that brain is missing or face is left; inputs (64, 80, 80)."""
    maps = []
    for view in SURFACES:
        solid = seen_from(frame.head, view)
        depth, there = crossing(seen_from(frame.data, view), solid, frame.air)
        before = np.arange(solid.shape[0])[:, None, None] <= np.where(there, depth + 2, 999)
        maps.append([pool((seen_from(cells, view) & before).any(axis=0)) for cells in (missing, left)])
    return np.array(maps)


def block_sums(cells: FloatArray) -> FloatArray:
    """(64, 80, 80) -> (16, 20, 20): sums over blocks of 12 mm."""
    x, y, z = CELLS  # an axis at a time: six times as fast as all three at once
    slabs = cells.reshape(x, CELL, y * CELL, z * CELL).sum(axis=1)
    rods = slabs.reshape(x, y, CELL, z * CELL).sum(axis=2)
    return np.asarray(rods.reshape(x, y, z, CELL).sum(axis=3), np.float32)


def blocks_of(
    instance: DeformedHead, share: FloatArray, seen: BoolArray, start: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """(10, 16, 20, 20) bytes, the shares of PARTS; `start` is the frame's corner in the instance grid."""

    def summed(cells: FloatArray) -> FloatArray:
        return block_sums(np.asarray(crop(np.asarray(cells, np.float32), start, 0.0), np.float32))

    brain = instance.brain * seen
    out = [summed(brain * share) / CELL**3, summed(brain) / CELL**3]
    ears = instance.regions["left_ear"] | instance.regions["right_ear"]
    for region in (*(instance.regions[name] for name in REGIONS[:3]), ears):
        there = region & instance.in_view & seen
        out += [summed(there * (1 - share)) / FULL_SURFACE, summed(there * share) / FULL_SURFACE]
    return np.asarray(np.clip(np.array(out), 0, 1) * 255 + 0.5, np.uint8)


def simulate(
    instance: DeformedHead, rng: np.random.Generator, allowed: tuple[str, ...], mix: Mix = USUAL
) -> Sample:
    """Paint the head, remove a face, measure, and project; everything from `rng`."""
    contrast, image = paint(instance, rng, allowed)
    thick = rng.random() < 0.35
    if thick and rng.random() < 0.6:
        image, thick = thick_slices(image, rng), False
    image = acquire(image, rng)
    slab = mix.slabs > 0 and rng.random() < mix.slabs
    untouched = slab and rng.random() < 0.5
    family, share = ("nothing", nothing(instance, rng)) if untouched else random_mask(instance, rng, mix)
    share = np.broadcast_to(share, GRID)
    fill, image = fill_removed(image, share, instance, rng, mix)
    if thick:
        image = thick_slices(image, rng)
    view = slab_view(instance.landmarks, instance.vertex, rng) if slab else crop_view(instance.landmarks, rng)
    seen = np.zeros(GRID, bool)
    seen[view] = True
    kept = regions_kept(instance, share, seen)
    brain = instance.brain * share * seen
    frame = head_frame(image[view], (VOXEL_MM,) * 3)
    start = tuple(o + v.start for o, v in zip(frame.origin, view, strict=True))
    missing = np.asarray(crop(brain > 0.5, start, False), bool)
    left = np.asarray(crop(instance.near_face & (share < 0.5) & seen, start, False), bool)
    return Sample(
        network=network_input(frame),
        evidence=evidence_maps(missing, left, frame),
        blocks=blocks_of(instance, share, seen, start),
        brain_ml=float(brain.sum() * VOXEL_ML), kept=kept, family=family, fill=fill, contrast=contrast,
    )  # fmt: skip


assert SHAPE[1] == SHAPE[2] == SIDE
