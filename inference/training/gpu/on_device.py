"""A deformed head on a device, and what `scipy.ndimage` does with arrays, done there with tensors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage as ndi
from torch import Tensor

from inference.deface.masks import template_distance
from inference.projections.frame import VOXEL_MM, BoolArray, FloatArray
from inference.regions import GRID, REGIONS
from inference.training.simulate.deformed_head import DeformedHead
from inference.training.simulate.intensities import average_head


@dataclass
class Scene:
    """One deformed head before it is brought to a device; arrays of numpy.

    tissue: (16, *GRID) uint8 eighths of a cell, or (*GRID) uint16 intensity times 2040. brain: (*GRID) uint8 eighths.
    brain_mm, depth_mm: (*GRID) float16 signed distances. near: within a cell of eyes, nose or mouth. regions: (5, *GRID).
    """

    modality: str
    labels: bool
    tissue: NDArray[Any]
    brain: NDArray[np.uint8]
    in_view: BoolArray
    head_mask: BoolArray
    near: BoolArray
    regions: BoolArray
    brain_mm: NDArray[np.float16]
    depth_mm: NDArray[np.float16]
    landmarks: NDArray[np.float64]
    to_template: NDArray[np.float64]
    vertex: int

    @classmethod
    def of(cls, instance: DeformedHead) -> Scene:
        """With everything that costs time on a processor done."""
        labels = instance.fractions is not None
        tissue = instance.fractions * 8 if labels else instance.image * (8 * 255)  # type: ignore[operator]
        return cls(
            modality=instance.modality, labels=labels,
            tissue=np.rint(tissue).astype(np.uint8 if labels else np.uint16),
            brain=np.rint(instance.brain * 8).astype(np.uint8), in_view=instance.in_view, head_mask=instance.head_mask,
            near=instance.near_face, regions=np.array([instance.regions[name] for name in REGIONS]),
            brain_mm=instance.brain_mm.astype(np.float16), depth_mm=instance.depth_mm.astype(np.float16),
            landmarks=instance.landmarks, to_template=instance.to_template, vertex=instance.vertex,
        )  # fmt: skip

    def to(self, device: str) -> OnDevice:
        """The same on a device."""
        return OnDevice(self, device)


class OnDevice:
    """A scene's arrays as tensors, float32 and bool."""

    def __init__(self, scene: Scene, device: str) -> None:
        self.device, self.labels, self.modality = device, scene.labels, scene.modality
        self.landmarks, self.to_template = scene.landmarks, scene.to_template

        def float32(array: NDArray[Any]) -> Tensor:
            narrow = array.astype(np.int32) if array.dtype == np.uint16 else array
            return torch.from_numpy(np.ascontiguousarray(narrow)).to(device).float()

        self.tissue = float32(scene.tissue) / (8 if scene.labels else 8 * 255)
        self.brain = float32(scene.brain) / 8
        self.brain_mm, self.depth_mm = float32(scene.brain_mm), float32(scene.depth_mm)
        self.in_view, self.head_mask, self.near, self.regions = (
            torch.from_numpy(a).to(device)
            for a in (scene.in_view, scene.head_mask, scene.near, scene.regions)
        )
        self.vertex = scene.vertex
        self.has_brain = bool((scene.brain > 4).any())
        self.cells = [torch.from_numpy(np.flatnonzero(r & scene.in_view)).to(device) for r in scene.regions]
        self.top = 0.0 if scene.labels else float(np.percentile(scene.tissue, 99.5)) / (8 * 255)

    @cached_property
    def grown(self) -> tuple[Tensor, Tensor]:
        """The head with one and with two cells around it."""
        once = dilated(self.head_mask)
        return once, dilated(once)

    @cached_property
    def axes(self) -> tuple[Tensor, Tensor, Tensor]:
        """Open coordinate arrays of the grid in mm."""
        shapes = ((-1, 1, 1), (1, -1, 1), (1, 1, -1))
        x, y, z = (
            (torch.arange(n, device=self.device) * VOXEL_MM).view(s)
            for n, s in zip(GRID, shapes, strict=True)
        )
        return x, y, z

    @cached_property
    def parts(self) -> Tensor:
        """(5, *GRID) float32: brain; eyes, nose, mouth, ears in view."""
        eyes, nose, mouth, left, right = self.regions & self.in_view
        return torch.stack([self.brain, eyes.float(), nose.float(), mouth.float(), (left | right).float()])


def dilated(cells: Tensor, iterations: int = 1) -> Tensor:
    """(..., X, Y, Z) bool with the six neighbours of every cell."""
    for _ in range(iterations):
        out = cells.clone()
        for axis in (-3, -2, -1):
            n = cells.shape[axis]
            out.narrow(axis, 1, n - 1).logical_or_(cells.narrow(axis, 0, n - 1))
            out.narrow(axis, 0, n - 1).logical_or_(cells.narrow(axis, 1, n - 1))
        cells = out
    return cells


def along(data: Tensor, matrix: NDArray[Any], axis: int) -> Tensor:
    """(..., X, Y, Z) with a matrix applied along one of its last three axes (-3, -2, -1)."""
    m = torch.from_numpy(np.asarray(matrix, np.float32)).to(data.device)
    return (data.movedim(axis, -1) @ m.T).movedim(-1, axis)


def affine(volume: Tensor, matrix: FloatArray, offset: FloatArray, padding: str) -> Tensor:
    """(*GRID) of `volume` at matrix @ cell + offset, linear between voxels; padding 'border' or 'zeros'."""
    rows = torch.tensor(np.column_stack([matrix, offset]), dtype=torch.float32, device=volume.device)
    x, y, z = (torch.arange(n, device=volume.device, dtype=torch.float32) for n in GRID)
    at = [r[0] * x[:, None, None] + r[1] * y[None, :, None] + r[2] * z[None, None, :] + r[3] for r in rows]
    scaled = [2 * a / (n - 1) - 1 for a, n in zip(at, volume.shape, strict=True)]
    grid = torch.stack(scaled[::-1], dim=-1)[None]
    out = torch.nn.functional.grid_sample(volume[None, None], grid, "bilinear", padding, align_corners=True)
    return out[0, 0]


@lru_cache(maxsize=8)
def on_device(name: str, device: str) -> Tensor:
    """The average head, or the distance to a template mask's border, as a tensor."""
    array = average_head() if name == "average" else template_distance(name)
    return torch.from_numpy(array).to(device)


def smoothing(n: int, sigma: float) -> NDArray[np.float32]:
    """(n, n) what ndi.gaussian_filter1d does, ends reflected."""
    return np.asarray(ndi.gaussian_filter1d(np.eye(n), sigma, axis=0), np.float32)


def averaging(n: int, size: int) -> NDArray[np.float32]:
    """(n, n) what ndi.uniform_filter1d does."""
    return np.asarray(ndi.uniform_filter1d(np.eye(n), size, axis=0), np.float32)
