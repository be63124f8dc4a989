"""The head-centred working frame: every head upright, at 3 mm, in the same place, whatever the file was.

The frame hangs on the vertex, the back of the head and its midline, because a defacing leaves these alone:
index (x, y, z) runs to the right, the front and up; the vertex lies MARGIN_MM below the top edge, the back of
the head MARGIN_MM in front of the rear edge, the midline in the centre.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi

VOXEL_MM = 3.0
SHAPE = (64, 80, 80)  # 192 x 240 x 240 mm
MARGIN_MM = 9.0
UPPER_HEAD_MM = 120.0  # the part below the vertex that a face mask does not reach

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class HeadFrame:
    """A head in the working frame.

    data: (64, 80, 80) float32, axes right, front, up, 3 mm; 0 is the darkest level, 1 the median of the head.
    head: (64, 80, 80) bool, the largest connected thing that is not air.
    origin: index of the frame's corner in the 3 mm grid of the whole field of view (may be negative).
    in_view: (64, 80, 80) bool, inside the field of view.
    air: the level, on the scale of `data`, below which a cell is air.
    """

    data: FloatArray
    head: BoolArray
    origin: tuple[int, int, int]
    in_view: BoolArray
    air: float


def box_matrix(count: int, zoom: float, target: float = VOXEL_MM) -> FloatArray:
    """(n_out, count) weights that average `count` samples of width `zoom` mm into cells of `target` mm.

    Where the samples are thicker than the cells this interpolates linearly instead.
    """
    n_out = max(1, round(count * zoom / target))
    centres = (np.arange(n_out) + 0.5) * target
    samples = (np.arange(count) + 0.5) * zoom
    half = max(target, zoom)
    if zoom >= target:
        weights = np.clip(1 - np.abs(centres[:, None] - samples[None]) / half, 0, None)
    else:
        low = np.maximum(centres[:, None] - target / 2, samples[None] - zoom / 2)
        high = np.minimum(centres[:, None] + target / 2, samples[None] + zoom / 2)
        weights = np.clip(high - low, 0, None)
    total = weights.sum(axis=1, keepdims=True)
    return (weights / np.where(total > 0, total, 1)).astype(np.float32)


def resample(
    data: NDArray[np.generic], zooms: tuple[float, float, float], target: float = VOXEL_MM
) -> FloatArray:
    """Area-average a (X, Y, Z) array with voxels of `zooms` mm to cubes of `target` mm; float32."""
    x = np.ascontiguousarray(data, dtype=np.float32)
    nx, ny, nz = x.shape
    x = (box_matrix(nx, zooms[0], target) @ x.reshape(nx, ny * nz)).reshape(-1, ny, nz)
    x = np.matmul(x, box_matrix(nz, zooms[2], target).T)
    return np.asarray(np.matmul(box_matrix(ny, zooms[1], target), x), dtype=np.float32)


def otsu(values: FloatArray, bins: int = 128) -> float:
    """The threshold that parts `values` best into two groups (Otsu 1979)."""
    counts, edges = np.histogram(values, bins=bins)
    centres = (edges[:-1] + edges[1:]) / 2
    weight = np.cumsum(counts)
    total = np.cumsum(counts * centres)
    rest = weight[-1] - weight
    with np.errstate(divide="ignore", invalid="ignore"):
        between = weight * rest * (total / weight - (total[-1] - total) / rest) ** 2
    return float(centres[int(np.nanargmax(np.where(np.isfinite(between), between, -1)))])


def head_mask(data: FloatArray) -> tuple[BoolArray, float, float]:
    """The head in a 3 mm volume: (mask, darkest level, air threshold)."""
    low = float(np.percentile(data[::2, ::2, ::2], 1))
    high = float(np.percentile(data[::2, ::2, ::2], 99.5))
    if not high > low:
        return np.zeros(data.shape, bool), low, low
    clipped = np.clip(data, low, high)
    threshold = low + 0.45 * (otsu(clipped[::2, ::2, ::2]) - low)
    mask = ndi.binary_opening(clipped > threshold, iterations=1)
    labels, count = ndi.label(mask)
    if count > 1:
        sizes = np.bincount(labels.ravel())
        sizes[0] = 0
        mask = labels == int(sizes.argmax())
    return mask, low, threshold


def _first(profile: NDArray[np.generic], least: float) -> int:
    """The first index whose value reaches `least`, or of the largest value."""
    above = np.flatnonzero(profile >= least)
    return int(above[0]) if above.size else int(np.argmax(profile))


def anchor(mask: BoolArray) -> tuple[int, int, int]:
    """Corner index of the frame for a 3 mm head mask (nx, ny, nz): by midline, back of the head, vertex."""
    cell = VOXEL_MM**2 / 100  # cm2
    if not mask.any():
        return tuple((n - s) // 2 for n, s in zip(mask.shape, SHAPE, strict=True))  # type: ignore[return-value]
    per_slice = mask.sum(axis=(0, 1)) * cell
    top = mask.shape[2] - 1 - _first(per_slice[::-1], 15.0)
    upper = mask[:, :, max(0, top - round(UPPER_HEAD_MM / VOXEL_MM)) : top + 1]
    back = _first(upper.sum(axis=(0, 2)) * cell, 10.0)
    across = np.flatnonzero(upper.sum(axis=(1, 2)) * cell >= 5.0)
    middle = (int(across[0]) + int(across[-1]) + 1) / 2 if across.size else mask.shape[0] / 2
    margin = round(MARGIN_MM / VOXEL_MM)
    return (round(middle - SHAPE[0] / 2), back - margin, top + 1 + margin - SHAPE[2])


def crop(data: NDArray[np.generic], origin: tuple[int, int, int], fill: float | bool) -> NDArray[np.generic]:
    """Cut the frame out of a 3 mm grid, filling what lies outside the field of view."""
    out = np.full(SHAPE, fill, dtype=data.dtype)
    source, target = [], []
    for start, size, count in zip(origin, SHAPE, data.shape, strict=True):
        first, last = max(0, start), min(count, start + size)
        source.append(slice(first, max(first, last)))
        target.append(slice(first - start, max(first, last) - start))
    out[tuple(target)] = data[tuple(source)]
    return out


def head_frame(data: NDArray[np.generic], zooms: tuple[float, float, float]) -> HeadFrame:
    """Bring a canonical (right, front, up) volume with voxels of `zooms` mm into the working frame."""
    small = resample(data, zooms)
    mask, low, threshold = head_mask(small)
    origin = anchor(mask)
    inside = small[mask]
    scale = float(np.median(inside)) - low if inside.size else 0.0
    scale = scale if scale > 0 else 1.0
    scaled = np.clip((small - low) / scale, 0, 4).astype(np.float32)
    return HeadFrame(
        data=np.asarray(crop(scaled, origin, 0.0), np.float32),
        head=np.asarray(crop(mask, origin, False), bool),
        origin=origin,
        in_view=np.asarray(crop(np.ones(small.shape, bool), origin, False), bool),
        air=(threshold - low) / scale,
    )
