"""What is not a defaced head and must be referred: brains without a skull, phantoms, bodies, animals, noise."""

from __future__ import annotations

import numpy as np
from scipy import ndimage as ndi

from inference.projections.frame import VOXEL_MM, FloatArray, head_frame
from inference.projections.network_input import NetworkInput, network_input
from inference.regions import GRID
from inference.training.simulate.deformed_head import DeformedHead, smooth_field
from inference.training.simulate.intensities import acquire, paint

KINDS = ("stripped", "phantom", "body", "animal", "noise", "turned")


def stripped(instance: DeformedHead, rng: np.random.Generator, image: FloatArray) -> FloatArray:
    """A brain alone, with a little of what surrounds it."""
    return np.where(instance.brain_mm < rng.uniform(-1, 5), image, 0)


def phantom(instance: DeformedHead, rng: np.random.Generator, image: FloatArray) -> FloatArray:
    """A sphere or cylinder of fluid with rods, a grid or nothing in it."""
    x, y, z = np.ogrid[: GRID[0], : GRID[1], : GRID[2]]
    centre = np.array(GRID) / 2 + rng.normal(0, 4, 3)
    radii = rng.uniform(18, 34, 3) if rng.random() < 0.5 else np.repeat(rng.uniform(18, 34), 3)
    flat = (x - centre[0]) ** 2 / radii[0] ** 2 + (y - centre[1]) ** 2 / radii[1] ** 2
    along = (z - centre[2]) ** 2 / radii[2] ** 2
    body = (flat + along < 1) if rng.random() < 0.5 else ((flat < 1) & (along < 1))
    out = body.astype(np.float32)
    pitch = int(rng.integers(4, 12))
    kind = rng.integers(3)
    if kind == 1:
        out *= np.where(((x % pitch < 2) & (y % pitch < 2)) | (z % pitch < 1), rng.uniform(0, 1.6), 1)
    elif kind == 2:
        out *= 1 + smooth_field(rng, GRID, 12) * 0.3
    return np.asarray(out, np.float32)


def body(instance: DeformedHead, rng: np.random.Generator, image: FloatArray) -> FloatArray:
    """A trunk or a limb: a long oval that fills the field of view from top to bottom, with organs and bones."""
    x, y, z = np.ogrid[: GRID[0], : GRID[1], : GRID[2]]
    wide, deep = rng.uniform(12, 40), rng.uniform(10, 36)
    waist = 1 + 0.15 * np.sin(z / rng.uniform(6, 20) + rng.uniform(0, 6))
    oval = ((x - GRID[0] / 2) / wide) ** 2 + ((y - GRID[1] / 2) / deep) ** 2 < waist
    out = oval * (0.7 + 0.3 * smooth_field(rng, GRID, 6))
    for _ in range(int(rng.integers(2, 9))):
        at, size = rng.uniform([15, 15, 0], [60, 75, 92]), rng.uniform(4, 16, 3)
        organ = ((x - at[0]) / size[0]) ** 2 + ((y - at[1]) / size[1]) ** 2 + ((z - at[2]) / size[2]) ** 2 < 1
        out = np.where(organ & oval, rng.uniform(0, 1.5), out)
    return np.asarray(np.maximum(out, 0), np.float32)


def animal(instance: DeformedHead, rng: np.random.Generator, image: FloatArray) -> FloatArray:
    """A head of another size and build: shrunk to a third or two thirds, one axis drawn out."""
    zoom = rng.uniform(0.2, 0.62) * np.exp(rng.normal(0, 0.25, 3))
    centre = np.array(GRID) / 2
    return np.asarray(
        ndi.affine_transform(image, np.diag(1 / zoom), centre - centre / zoom, order=1, mode="constant"),
        np.float32,
    )


def noise(instance: DeformedHead, rng: np.random.Generator, image: FloatArray) -> FloatArray:
    """Nothing but noise, smooth or rough, or a gradient."""
    out = np.abs(smooth_field(rng, GRID, int(rng.integers(3, 40)))) + rng.uniform(0, 1) * rng.random(
        GRID, dtype=np.float32
    )
    return np.asarray(out * (rng.random() < 0.7) + rng.random(GRID, dtype=np.float32) * 0.5, np.float32)


def turned(instance: DeformedHead, rng: np.random.Generator, image: FloatArray) -> FloatArray:
    """A head whose axes the header names wrongly."""
    kind = rng.integers(4)
    if kind == 0:
        return image[:, :, ::-1]
    if kind == 1:
        return image[:, ::-1, :]
    if kind == 2:
        return np.ascontiguousarray(image.transpose(0, 2, 1))
    return np.ascontiguousarray(image.transpose(2, 1, 0))


MAKERS = {f.__name__: f for f in (stripped, phantom, body, animal, noise, turned)}
assert tuple(MAKERS) == KINDS


def draw_kind(rng: np.random.Generator) -> str:
    """One of KINDS."""
    return str(rng.choice(KINDS, p=[0.35, 0.15, 0.15, 0.15, 0.08, 0.12]))


def odd_sample(
    instance: DeformedHead, rng: np.random.Generator, allowed: tuple[str, ...]
) -> tuple[str, NetworkInput]:
    """(kind, projections) of one thing that is not a head as it should be."""
    kind = draw_kind(rng)
    _, image = paint(instance, rng, allowed)
    image = acquire(np.asarray(MAKERS[kind](instance, rng, image), np.float32), rng)
    return kind, network_input(head_frame(image, (VOXEL_MM,) * 3))
