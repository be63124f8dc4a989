"""Masks on the 3 mm grid of `inference.regions`, (*GRID) float32: the share of each cell that is removed."""

from __future__ import annotations

from functools import lru_cache

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi

from inference.deface.template import FACE_MASK
from inference.projections.frame import VOXEL_MM, FloatArray
from inference.regions import GRID, TEMPLATE_LANDMARKS

TEMPLATE_STEP = 3  # every third voxel of the template
BESIDE = 30  # voxels of TEMPLATE_STEP added on each side: a mask ends at the template's edge, its distance does not


def soft(distance_mm: FloatArray) -> FloatArray:
    """Signed distance (positive is removed) -> share of the cell removed."""
    return np.clip(0.5 + distance_mm / VOXEL_MM, 0, 1).astype(np.float32)


@lru_cache(maxsize=4)
def template_distance(kind: str) -> FloatArray:
    """Signed distance in mm to the border of the template's mask (positive is removed); kind 'face' or 'ears'."""
    mask = np.asanyarray(nib.as_closest_canonical(nib.load(FACE_MASK)).dataobj) < 0.5
    padded = np.pad(mask[::TEMPLATE_STEP, ::TEMPLATE_STEP, ::TEMPLATE_STEP], BESIDE, mode="edge")
    step = float(TEMPLATE_STEP)
    distance = (ndi.distance_transform_edt(padded) - ndi.distance_transform_edt(~padded)) * step
    if kind == "ears":
        x, y, z = np.indices(padded.shape, dtype=np.float32)
        for ear in TEMPLATE_LANDMARKS[4:]:
            centre = ear / step + BESIDE
            side = np.sign(ear[0] - 88)
            lateral = side * (x - centre[0]) * step + 14
            box = np.minimum(28 - np.abs(y - centre[1]) * step, 40 - np.abs(z - centre[2]) * step)
            distance = np.maximum(distance, np.minimum(lateral, box))
    return np.asarray(distance, np.float32)


def in_template_cells(to_template: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(matrix (3, 3), offset (3,)) from cells to `template_distance`, of (4, 4) from cells to template voxels."""
    matrix = np.diag([1 / TEMPLATE_STEP] * 3 + [1.0]) @ to_template
    return matrix[:3, :3], matrix[:3, 3] + BESIDE


def template_mask(kind: str, to_template: NDArray[np.float64], wider_mm: float = 0.0) -> FloatArray:
    """The template's mask laid on a head by its registration, (4, 4) from cells to template voxels."""
    matrix, offset = in_template_cells(to_template)
    laid = ndi.affine_transform(
        template_distance(kind), matrix, offset, output_shape=GRID, order=1, mode="nearest"
    )
    return soft(laid + wider_mm)
