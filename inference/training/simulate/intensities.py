"""Intensities: what a scanner and a site make of a head before and after the face is removed."""

from __future__ import annotations

from functools import lru_cache

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi

from inference.deface.template import HEAD
from inference.projections.frame import VOXEL_MM, FloatArray, box_matrix
from inference.regions import GRID
from inference.training.simulate.deformed_head import DeformedHead, smooth_field
from inference.training.simulate.heads import GROUPS
from inference.training.simulate.mixtures import USUAL, Mix, draw

# Typical intensities by contrast, in the order of GROUPS.
_TYPICAL = {
    #        air  WM   GM   deep fluid stem ves  eye  mus  soft fat  muc  skin cord bone marrow
    "T1w":   (0, 1.0, 0.68, 0.78, 0.22, 0.95, 0.5, 0.25, 0.55, 0.55, 1.25, 0.6, 0.8, 0.85, 0.08, 0.8),
    "T2w":   (0, 0.45, 0.62, 0.50, 1.35, 0.5, 0.3, 1.3, 0.32, 0.40, 0.85, 0.8, 0.5, 0.5, 0.06, 0.5),
    "FLAIR": (0, 0.70, 0.90, 0.85, 0.15, 0.75, 0.3, 0.2, 0.45, 0.45, 0.70, 0.8, 0.6, 0.7, 0.06, 0.4),
    "PDw":   (0, 0.70, 0.90, 0.80, 0.95, 0.75, 0.4, 0.95, 0.65, 0.65, 0.90, 0.8, 0.7, 0.75, 0.10, 0.6),
}  # fmt: skip
CONTRASTS = (*_TYPICAL, "random")


def random_contrast(rng: np.random.Generator, allowed: tuple[str, ...]) -> tuple[str, FloatArray]:
    """(name, (16,) intensities) of a scanner's contrast."""
    share = {"T1w": 0.42, "T2w": 0.2, "FLAIR": 0.15, "PDw": 0.08, "random": 0.15}
    p = np.array([share[c] for c in allowed])
    name = str(rng.choice(allowed, p=p / p.sum()))
    if name == "random":
        levels = rng.uniform(0.08, 1.2, len(GROUPS)).astype(np.float32)
        levels[GROUPS.index("bone")] *= 0.4
    else:
        levels = np.array(_TYPICAL[name], np.float32) * np.exp(rng.normal(0, 0.14, len(GROUPS))).astype(
            np.float32
        )
    if rng.random() < 0.15:  # fat suppressed
        levels[[GROUPS.index("fat"), GROUPS.index("marrow")]] *= rng.uniform(0.15, 0.5)
    levels[0] = 0
    return name, levels


CURVE_AT = (0.0, 0.35, 0.7, 1.3)  # between these a random curve is straight


def random_curve(rng: np.random.Generator) -> tuple[float, NDArray[np.float64] | None, bool]:
    """(power, levels at CURVE_AT or None, inverted) of a real head's intensities."""
    power = float(np.exp(rng.normal(0, 0.25)))
    bent = rng.random() < 0.35
    levels = np.concatenate([[0], np.sort(rng.uniform(0.1, 1.2, 3))]) if bent else None
    return power, levels, bool(rng.random() < 0.08)


def tone_curve(image: FloatArray, rng: np.random.Generator) -> FloatArray:
    """A real head's intensities through a random curve, seldom inverted."""
    power, levels, inverted = random_curve(rng)
    top = float(np.percentile(image, 99.5))
    x = np.power(np.clip(image / max(top, 1e-6), 0, 1.3), power)
    if levels is not None:
        x = np.interp(x, CURVE_AT, levels).astype(np.float32)
    if inverted:
        inside = x > 0.12
        x = np.where(inside, np.maximum(1.15 - x, 0.05), x * 0.3)
    return x.astype(np.float32)


def paint(
    instance: DeformedHead, rng: np.random.Generator, allowed: tuple[str, ...]
) -> tuple[str, FloatArray]:
    """(contrast, (*GRID) image without noise); the head is about 1, air 0."""
    if instance.fractions is None:
        assert instance.image is not None
        name, image = instance.modality, tone_curve(instance.image, rng)
    else:
        name, levels = random_contrast(rng, allowed)
        image = np.tensordot(levels, instance.fractions, axes=1)
        texture = smooth_field(rng, GRID, 14) * 0.05 + rng.standard_normal(GRID).astype(
            np.float32
        ) * rng.uniform(0.02, 0.1)
        image = image * (1 + texture)
    field = np.exp(smooth_field(rng, GRID, 4) * rng.uniform(0, 0.28))
    return name, np.asarray(np.maximum(image * field, 0), np.float32)


def acquire(image: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Noise of a magnitude image; now and then the air was zeroed before."""
    sigma = float(rng.choice([rng.uniform(0.003, 0.03), rng.uniform(0.03, 0.09)], p=[0.8, 0.2]))
    real = image + rng.standard_normal(image.shape).astype(np.float32) * sigma
    noisy = np.hypot(real, rng.standard_normal(image.shape).astype(np.float32) * sigma)
    if rng.random() < 0.3:
        noisy = np.where(ndi.binary_dilation(image > 0.06, iterations=1), noisy, 0)
    return np.asarray(noisy, np.float32)


def slices(rng: np.random.Generator) -> tuple[int, float]:
    """(axis, mm) of thick slices."""
    return int(rng.choice(3, p=[0.3, 0.15, 0.55])), float(rng.uniform(3.5, 7))


def thick_slices(image: FloatArray, rng: np.random.Generator) -> FloatArray:
    """What slices of 3.5 to 7 mm, acquired across a random axis and interpolated, leave of an image."""
    axis, thickness = slices(rng)
    moved = np.moveaxis(image, axis, 0)
    down = box_matrix(moved.shape[0], VOXEL_MM, thickness)
    up = box_matrix(down.shape[0], thickness, VOXEL_MM)
    out = np.tensordot(up @ down, moved, axes=1)
    missing = moved.shape[0] - out.shape[0]
    out = np.concatenate([out, moved[-missing:]]) if missing > 0 else out[: moved.shape[0]]
    return np.asarray(np.moveaxis(out, 0, axis), np.float32)


@lru_cache(maxsize=1)
def average_head() -> FloatArray:
    """The average head that pydeface ships, every second voxel of its canonical array, tissue about 1."""
    image = nib.as_closest_canonical(nib.load(HEAD)).get_fdata(dtype=np.float32)
    small = ndi.uniform_filter(image, 2)[::2, ::2, ::2]
    return np.asarray(small / np.median(small[small > small.mean()]), np.float32)


def reface(instance: DeformedHead, rng: np.random.Generator, gain: tuple[float, float]) -> FloatArray:
    """(*GRID) the average face, laid on by a registration that is a little off, in a contrast of its own."""
    matrix = np.diag([0.5, 0.5, 0.5, 1.0]) @ instance.to_template
    offset = matrix[:3, 3] + rng.normal(0, 1.5, 3)
    face = ndi.affine_transform(average_head(), matrix[:3, :3], offset, output_shape=GRID, order=1)
    return np.asarray(np.power(face, float(rng.uniform(0.6, 1.4))) * rng.uniform(*gain), np.float32)


def fill_removed(
    image: FloatArray, share: FloatArray, instance: DeformedHead, rng: np.random.Generator, mix: Mix = USUAL
) -> tuple[str, FloatArray]:
    """(fill, image) with what a tool puts in the place of what it removes; some fill the head only, not the air."""
    kind = draw(mix.fills, rng)
    if kind == "zero":
        new: FloatArray | float = 0.0
    elif kind == "minimum":
        new = float(image.min())
    elif kind == "constant":
        new = float(rng.uniform(0.1, 0.9))
    elif kind == "noise":
        new = np.abs(rng.standard_normal(image.shape).astype(np.float32)) * float(rng.uniform(0.01, 0.08))
    elif kind == "tissue_noise":
        new = rng.random(image.shape, dtype=np.float32) * float(rng.uniform(0.5, 1.2))
    elif kind == "reface":
        new = reface(instance, rng, mix.reface_gain)
    elif kind == "blur":
        new = ndi.gaussian_filter(image, float(rng.uniform(3.0, 5.5)))
    else:
        new = ndi.uniform_filter(image, int(rng.choice([7, 9])))
    if kind not in ("zero", "minimum", "reface") and rng.random() < 0.65:
        new = new * ndi.binary_dilation(instance.head_mask, iterations=int(rng.integers(1, 3)))
    return kind, np.asarray(image * (1 - share) + new * share, np.float32)
