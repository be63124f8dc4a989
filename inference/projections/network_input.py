"""What the CNN looks at: six surface views and the whole working frame, as bytes.

Six surface views (from the front, the back, the left, the right, above and below), each with six layers: how
far the first tissue lies, and what lies 0-3, 3-6, 6-9, 9-12 and 12-18 mm beneath that surface. An intact head shows
skin, bone and fluid there one after the other; where a mask cut into the brain, brain lies bare.
The frame itself, 64 x 80 x 80 cells of 3 mm; what the network finds in it is shown to people on seventeen packs of
neighbouring slices, sagittal, coronal and axial, through the whole frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.files import DAMAGED, save_arrays
from inference.opening import open_regular
from inference.projections.frame import SHAPE, BoolArray, FloatArray, HeadFrame, head_frame
from inference.volumes import Volume

# Raised whenever the same head would give other arrays; weights are bound to it.
RENDER_VERSION = "1"
SURFACES = ("front", "back", "left", "right", "top", "bottom")
SIDE = 80  # every projection is SIDE x SIDE, smaller ones are padded at the end
LAYERS = 6
POOL = 8  # evidence maps of surface views are coarser than the views by this factor
PEELS_MM = ((0, 3), (3, 6), (6, 9), (9, 12), (12, 18))
PACK_SPAN = 12
# First slices of the packs.
PACKS = {"sagittal": range(2, 62, 12), "coronal": range(8, 80, 12), "axial": range(8, 80, 12)}
VIEW_NAMES = (*SURFACES, *(f"{axis}_{start}" for axis, starts in PACKS.items() for start in starts))
CELL = 4  # voxels of the frame under one block of the network's maps: 12 mm
CELLS = tuple(n // CELL for n in SHAPE)  # (16, 20, 20)
BYTES_PER_MEDIAN = 85.0  # intensity 1.0 (the median of the head) becomes this byte
GAMMA = 0.7

ByteArray = NDArray[np.uint8]


@dataclass(frozen=True)
class NetworkInput:
    """surfaces (6, 6, 80, 80) uint8: view, layer, row, column. volume (64, 80, 80) uint8: right, front, up."""

    surfaces: ByteArray
    volume: ByteArray
    render_version: str  # of the renderer that made it, whatever this software's is


def as_bytes(data: FloatArray) -> ByteArray:
    """Intensities relative to the head's median -> bytes, with a gamma that keeps dark tissue apart."""
    return np.clip(np.power(data, GAMMA) * BYTES_PER_MEDIAN, 0, 255).astype(np.uint8)


def seen_from(volume: NDArray[np.generic], view: str) -> NDArray[np.generic]:
    """Turn (64, 80, 80) so that axis 0 runs away from the viewer; the rest are the picture's row and column."""
    match view:
        case "front":
            return volume[:, ::-1, ::-1].transpose(1, 2, 0)
        case "back":
            return volume[:, :, ::-1].transpose(1, 2, 0)
        case "left":
            return volume[:, ::-1, ::-1].transpose(0, 2, 1)
        case "right":
            return volume[::-1, ::-1, ::-1].transpose(0, 2, 1)
        case "top":
            return volume[:, ::-1, ::-1].transpose(2, 1, 0)
        case "bottom":
            return volume[:, ::-1, :].transpose(2, 1, 0)
    raise ValueError(f"no such view: {view}")


def crossing(seen: FloatArray, solid: BoolArray, air: float) -> tuple[FloatArray, BoolArray]:
    """Depth in cells (rows, columns) at which each ray along axis 0 enters the head, and whether it does.

    Between the last cell of air and the first of tissue the depth is interpolated to where `air` is crossed.
    """
    hit, there = solid.argmax(axis=0), solid.any(axis=0)
    inner = np.take_along_axis(seen, hit[None], axis=0)[0]
    outer = np.take_along_axis(seen, np.maximum(hit - 1, 0)[None], axis=0)[0]
    step = np.where((hit > 0) & (inner > outer), (inner - air) / np.maximum(inner - outer, 1e-6), 0.0)
    return (hit - np.clip(step, 0, 1)).astype(np.float32), there


def surface_view(data: FloatArray, head: BoolArray, air: float, view: str) -> ByteArray:
    """One surface view: (6, 80, 80) uint8, the depth (near is bright) and five layers beneath the surface."""
    seen, solid = seen_from(data, view), seen_from(head, view)
    depth, there = crossing(seen, solid, air)
    out = np.zeros((LAYERS, SIDE, SIDE), np.uint8)
    rows, columns = depth.shape
    out[0, :rows, :columns] = np.where(there, 255 - depth * 3, 0)
    start = np.floor(depth).astype(np.intp)
    fraction = depth - start
    cells = np.minimum(start[None] + np.arange(8)[:, None, None], seen.shape[0] - 1)
    samples = np.take_along_axis(seen, cells, axis=0)
    beneath = samples[1:] * fraction + samples[:-1] * (1 - fraction)  # every 3 mm from the surface
    steps = (beneath[:-1] + beneath[1:]) / 2  # (6, rows, columns) means of 3 mm each
    for layer, (first, last) in enumerate(PEELS_MM, start=1):
        peel = steps[first // 3 : last // 3].mean(axis=0)
        out[layer, :rows, :columns] = np.where(there, as_bytes(peel), 0)
    return out


def network_input(frame: HeadFrame) -> NetworkInput:
    """The projections of one head; deterministic, about 10 ms."""
    surfaces = np.stack([surface_view(frame.data, frame.head, frame.air, view) for view in SURFACES])
    return NetworkInput(surfaces=surfaces, volume=as_bytes(frame.data), render_version=RENDER_VERSION)


def network_inputs(volume: Volume) -> NetworkInput:
    """What the CNN sees of one volume."""
    return network_input(head_frame(volume.data, tuple(float(zoom) for zoom in volume.zooms)))


def save_inputs(path: Path, inputs: NetworkInput) -> None:
    """Keep the network's input beside the pictures, for classifying again and for training."""
    save_arrays(
        path, compressed=True, surfaces=inputs.surfaces, volume=inputs.volume, version=inputs.render_version
    )


def load_inputs(path: Path) -> NetworkInput | None:
    """The stored network input; None when there is none, it is damaged or another version made it."""
    try:
        with open_regular(path.absolute()) as file, np.load(file) as stored:
            version = str(stored["version"])
            if version != RENDER_VERSION:
                return None
            return NetworkInput(stored["surfaces"], stored["volume"], version)
    except DAMAGED:
        return None


def stored_inputs(path: Path, read: Callable[[], Volume]) -> NetworkInput:
    """The network's input kept in `path`; made from the volume and kept there when it cannot be used."""
    inputs = load_inputs(path)
    if inputs is None:
        inputs = network_inputs(read())
        if path.parent.is_dir():
            save_inputs(path, inputs)
    return inputs


# Shares: of the block's volume for the brain, of FULL_SURFACE cells of 3 mm for a surface.
PARTS = ("missing", "brain", "eyes_left", "eyes_gone", "nose_left", "nose_gone", "mouth_left", "mouth_gone",
         "ears_left", "ears_gone")  # fmt: skip


FULL_SURFACE = 12
