"""The template head and the masks derived from it: what a plan removes, in template space, at about 2 mm.

The head and its face mask are the ones pydeface ships. That mask ends at the middle of the eyeballs and
leaves the ears, so every plan states how far it is carried beyond it and how far it stays off the brain.
`template_brain.npz` is deepbet's mask of the same head, brought to the same grid.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pydeface
from scipy.ndimage import distance_transform_edt

STEP = 2  # template voxels averaged along each axis
HEAD = Path(pydeface.__file__).parent / "data" / "mean_reg2mean.nii.gz"
FACE_MASK = Path(pydeface.__file__).parent / "data" / "facemask.nii.gz"
BRAIN = Path(__file__).with_name("template_brain.npz")

# Ears of the template head, in voxels of STEP: behind the cheeks, beside the skull, whose side slopes outwards.
EAR_FRONT_BACK = slice(44, 70)
EAR_UP = slice(18, 61)
EAR_SIDE = (30.5, 0.17)  # distance from the midline at the lowest ear voxel, and its growth for each voxel up


@dataclass(frozen=True)
class MaskShape:
    """How a mask differs from the shipped one: carried up and back, kept off the brain; all in mm."""

    up_mm: float = 0.0
    back_mm: float = 0.0
    brain_margin_mm: float = 0.0
    ears: bool = False


def block_mean(array: np.ndarray, steps) -> np.ndarray:
    """(X, Y, Z) averaged over blocks of `steps` voxels along each axis; an incomplete last block is cut off."""
    kept = [n // step for n, step in zip(array.shape, steps, strict=True)]
    cut = array[tuple(slice(0, n * step) for n, step in zip(kept, steps, strict=True))]
    split = [part for n, step in zip(kept, steps, strict=True) for part in (n, step)]
    return cut.astype(np.float32).reshape(split).mean((1, 3, 5))


def block_affine(affine: np.ndarray, steps) -> np.ndarray:
    """The (4, 4) affine of block_mean's result: blocks are centred between their voxels."""
    steps = np.asarray(steps, float)
    turned = affine.copy()
    turned[:3, 3] += affine[:3, :3] @ ((steps - 1) / 2)
    turned[:3, :3] = affine[:3, :3] * steps
    return turned


@lru_cache(maxsize=1)
def template_head() -> tuple[np.ndarray, np.ndarray]:
    """The template head (88, 128, 128) float32, axes right, front, up, and its affine in mm."""
    image = nib.load(HEAD)
    return block_mean(np.asarray(image.dataobj), (STEP,) * 3), block_affine(image.affine, (STEP,) * 3)


@lru_cache(maxsize=1)
def template_brain() -> np.ndarray:
    """Brain of the template head, bool (88, 128, 128)."""
    with np.load(BRAIN) as stored:
        shape = tuple(stored["shape"])
        return np.unpackbits(stored["bits"], count=int(np.prod(shape))).reshape(shape).astype(bool)


@lru_cache(maxsize=16)
def removal(shape: MaskShape) -> np.ndarray:
    """What a mask of this shape removes from the template: 0 to 1, float32 (88, 128, 128)."""
    _, affine = template_head()
    zooms = np.linalg.norm(affine[:3, :3], axis=0)
    face = 1 - block_mean(np.asarray(nib.load(FACE_MASK).dataobj), (STEP,) * 3)
    face = _carried(face, axis=2, step=1, count=round(shape.up_mm / zooms[2]))
    face = _carried(face, axis=1, step=-1, count=round(shape.back_mm / zooms[1]))
    if shape.ears:
        face = np.maximum(face, _ears(face.shape))
    if shape.brain_margin_mm > 0:
        face[distance_transform_edt(~template_brain(), sampling=zooms) < shape.brain_margin_mm] = 0
    return face


def _carried(mask, axis, step, count):
    """The union of a mask with itself moved 1..count voxels along an axis, without wrapping round."""
    result = mask.copy()
    for distance in range(1, count + 1):
        moved = np.roll(mask, step * distance, axis)
        edge = slice(0, distance) if step > 0 else slice(-distance, None)
        moved[(slice(None),) * axis + (edge,)] = 0
        result = np.maximum(result, moved)
    return result


def _ears(shape):
    from_midline = np.abs(np.arange(shape[0]) - (shape[0] - 1) / 2)[:, None]
    height = np.arange(shape[2]) - EAR_UP.start
    beside = from_midline >= EAR_SIDE[0] + EAR_SIDE[1] * height  # (X, Z)
    ears = np.zeros(shape, np.float32)
    ears[:, EAR_FRONT_BACK, EAR_UP] = beside[:, None, EAR_UP]
    return ears
