"""What the pictures are made from: a head resampled once to a fine cube grid that hangs on vertex and back.

The scene is DISPLAY_MM wide, deep and high; its corner is chosen so that the vertex, the back of the head and
the midline, which a defacing leaves alone, come to lie at the same place in every picture.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage as ndi

from .frame import otsu, resample

GRID_MM = 1.25
SHAPE = (192, 192, 213)  # cells to the right, front, up
COARSE_MM = 2.5
TOP_MM, BACK_MM = 10.0, 12.0  # room above the vertex and behind the head
LEAST_PIECE_ML = 0.8  # smaller loose things are fiducial or noise, larger ones may be a piece of face
LEAST_BEHIND_ML = 15.0  # behind the middle of the head there is no face to miss
THICK_RATIO, THICK_MM = 2.2, 2.5
SHARP_MM, SMOOTH_MM = 0.65, 1.3  # blur before and after the threshold
FAR_MM = 40.0
LOCAL_SHARE, POOL = 0.3, 3
SOFT = (0.5, 1.8)  # share of the air threshold where tissue starts and is complete


@dataclass(frozen=True)
class Scene:
    """A head on the display grid; index (i, j, k) of `field` lies at `corner` + (index + 0.5) * GRID_MM.

    field: SHAPE float32, 0 air to 1 tissue, 0.5 at the surface of the head.
    light: SHAPE float32, intensities; 0 the darkest level, 1 the median of tissue.
    fill: SHAPE float32, share of voxels with exactly the fill value, or None where that tells nothing.
    bounds: (2, 3) index of the first and last cell inside the field of view.
    corner: (3,) mm from the outer corner of the volume, right, front, up.
    low, unit: the darkest level and the tissue median in file units.
    air, white: threshold and bright end on the scale of `light`.
    width: mm from side to side of the upper head.
    solid: the whole field of view at COARSE_MM, bool, the head without its cavities.
    """

    field: np.ndarray
    light: np.ndarray
    fill: np.ndarray | None
    bounds: np.ndarray
    corner: np.ndarray
    low: float
    unit: float
    air: float
    white: float
    width: float
    solid: np.ndarray


@dataclass(frozen=True)
class Levels:
    """Darkest level, median of tissue above it, and the threshold between air and tissue, in file units."""

    low: float
    unit: float
    air: float


def levels(coarse) -> Levels:
    """Robust on every contrast: tissue lies far above the quiet part, air is as weak as the noise."""
    low = float(np.percentile(coarse, 1))
    above = np.clip(coarse - low, 0, np.percentile(coarse, 99.5) - low)
    if above.max() <= 0:
        return Levels(low, 1.0, 0.5)
    clip = 0.5 * otsu(above)
    unit = float(np.median(above[above > clip]))
    quiet = above[above < 0.25 * unit]
    middle = float(np.median(quiet)) if quiet.size else 0.0
    noise = middle + 6 * float(np.median(np.abs(quiet - middle))) if quiet.size else 0.0
    return Levels(low, unit, float(np.clip(1.2 * noise, 0.1 * unit, 0.3 * unit)))


def coarse_head(coarse, air):
    """The head and every larger piece near it, bool, on the coarse grid."""
    mask = ndi.uniform_filter(coarse, 3) > air
    mask &= coarse > 0.6 * air
    core = ndi.binary_opening(mask, iterations=1)
    labels, count = ndi.label(core)
    if not count:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    volume = sizes * COARSE_MM**3 / 1000
    middle = ndi.center_of_mass(labels == sizes.argmax())[1]
    front = np.array([0.0, *(box[1].stop for box in ndi.find_objects(labels))]) > middle
    keep = np.where(front, volume >= LEAST_PIECE_ML, volume >= LEAST_BEHIND_ML)
    keep[sizes.argmax()] = True
    head = keep[labels]
    return ndi.binary_dilation(head, iterations=2) & mask


def anchor(mask):
    """Corner of the scene (3,) in mm, by midline, back and vertex of a coarse head mask, and its width."""
    if not mask.any():
        return (np.array(mask.shape) * COARSE_MM - np.array(SHAPE) * GRID_MM) / 2, 154.0
    cell = COARSE_MM**2 / 100  # cm2
    area = mask.sum(axis=(0, 1)) * cell
    top = int(np.flatnonzero(area >= min(12.0, area.max()))[-1])
    upper = mask[:, :, max(0, top - round(110 / COARSE_MM)) : top + 1]
    depth = upper.sum(axis=(0, 2)) * cell
    back = int(np.flatnonzero(depth >= min(8.0, depth.max()))[0])
    across = upper[:, : back + round(120 / COARSE_MM)].sum(axis=(1, 2)).astype(float)
    wide = np.flatnonzero(across * cell >= min(6.0, across.max() * cell))
    middle = (wide[0] + wide[-1] + 1) / 2
    size = np.array(SHAPE) * GRID_MM
    corner = [
        middle * COARSE_MM - size[0] / 2,
        back * COARSE_MM - BACK_MM,
        (top + 1) * COARSE_MM + TOP_MM - size[2],
    ]
    return np.array(corner), float(np.clip((wide[-1] + 1 - wide[0]) * COARSE_MM, 125, 175))


def weights(count, zoom, cells, start, sigma):
    """(cells, count) matrix that samples an axis of `count` voxels of `zoom` mm at the cells of the scene.

    `start` is the scene's corner in mm. Linear where voxels are coarser than cells, averaging where finer,
    or by a Gaussian of `sigma` mm. Cells outside the field of view get no weight.
    """
    centres = start + (np.arange(cells) + 0.5) * GRID_MM
    voxels = (np.arange(count) + 0.5) * zoom
    away = np.abs(centres[:, None] - voxels[None])
    if sigma:
        matrix = np.exp(-0.5 * (away / sigma) ** 2) * (away < 3 * sigma)
    else:
        matrix = np.clip(1 - away / max(zoom, GRID_MM), 0, None)
    total = matrix.sum(axis=1, keepdims=True)
    inside = ((centres > -zoom / 2) & (centres < (count + 0.5) * zoom))[:, None]
    return np.where(inside & (total > 1e-6), matrix / np.where(total > 1e-6, total, 1), 0).astype(np.float32)


def to_grid(data, zooms, corner, sigmas=(0, 0, 0), axes=(0, 1, 2)):
    """Sample a (X, Y, Z) float32 array on the display grid along `axes`; zero outside the field of view.

    sigmas: mm of blur along each axis, 0 for none beyond interpolation.
    """
    for axis in axes:
        matrix = weights(data.shape[axis], zooms[axis], SHAPE[axis], corner[axis], sigmas[axis])
        if axis == 0:
            rest = data.shape[1:]
            data = (matrix @ data.reshape(data.shape[0], -1)).reshape(-1, *rest)
        else:
            data = np.matmul(matrix, data) if axis == 1 else np.matmul(data, matrix.T)
    return data


def constant_fill(raw, air_level):
    """A value above air that fills whole blocks exactly, as some engines paint over a face; or None."""
    step = raw[::2, ::2, ::2]
    flat = (step[1:, 1:, 1:] == step[:-1, 1:, 1:]) & (step[1:, 1:, 1:] == step[1:, :-1, 1:])
    flat &= (step[1:, 1:, 1:] == step[1:, 1:, :-1]) & (step[1:, 1:, 1:] > air_level)
    if flat.sum() < 300:
        return None
    values, counts = np.unique(step[1:, 1:, 1:][flat], return_counts=True)
    value, count = values[counts.argmax()], counts.max()
    tissue = np.count_nonzero(
        step > air_level
    )  # what fills most of the head is the head of a painted phantom
    return value if max(0.4 * flat.sum(), 300) < count < 0.5 * tissue and value < step.max() else None


def build(volume, corner=None, levels_from=None) -> Scene:
    """The scene of a volume; `corner` and `levels_from` tie it to place and grey scale of another scene."""
    data = np.array(volume.data, dtype=np.float32, order="C")  # a copy: scaled in place below
    zooms = tuple(float(z) for z in volume.zooms)
    coarse = resample(data, zooms, COARSE_MM)
    scale = levels(coarse)
    painted = constant_fill(volume.data, scale.low + scale.air)
    if painted is not None:
        data[volume.data == painted] = scale.low
        coarse = resample(data, zooms, COARSE_MM)
        scale = levels(coarse)
    mask = coarse_head(coarse - scale.low, scale.air)
    anchored, width = anchor(mask)
    corner = anchored if corner is None else corner
    if levels_from is not None:
        scale = Levels(levels_from.low, levels_from.unit, levels_from.air * levels_from.unit)
    data -= scale.low
    data /= scale.unit
    light = to_grid(data, zooms, corner, [max(SHARP_MM, 0.5 * z) for z in zooms])
    air = scale.air / scale.unit
    near = near_head(mask, corner)
    field = thick_field(data, zooms, corner, air, near) if is_thick(zooms) else soft_field(light, air, near)
    fill = fill_share(volume, coarse, mask, scale, painted, corner)
    extent = np.array(volume.data.shape) * zooms
    bounds = np.stack([-corner, extent - corner]) / GRID_MM - 0.5
    bright = light[::3, ::3, ::3][field[::3, ::3, ::3] > 0.9]
    white = float(np.percentile(bright, 99)) if bright.size else 2.0
    return Scene(
        field, light, fill, bounds, corner, scale.low, scale.unit, air, white, width, without_cavities(mask)
    )


def without_cavities(mask):
    """A coarse mask with holes and clefts up to 15 mm wide closed."""
    grown = ndi.maximum_filter(mask.view(np.uint8), 7)
    return ndi.minimum_filter(grown, 5, mode="nearest") > 0


def near_head(mask, corner):
    """The coarse head with one cell around it, on the display grid, bool."""
    grown = ndi.binary_dilation(mask, iterations=1)
    for axis in range(3):
        cell = np.floor((corner[axis] + (np.arange(SHAPE[axis]) + 0.5) * GRID_MM) / COARSE_MM).astype(int)
        inside = (cell >= 0) & (cell < grown.shape[axis])
        grown = np.take(grown, np.clip(cell, 0, grown.shape[axis] - 1), axis=axis)
        grown[(slice(None),) * axis + (~inside,)] = False
    return grown


def soft_field(light, air, near):
    """0 to 1 over the edge of tissue, smoothed: partial volumes keep the surface between voxels.

    The edge is sought at a share of the tissue nearby, where the signal falls steeply: at a fixed low threshold
    voxels would show through as contour rings.
    """
    threshold = np.maximum(LOCAL_SHARE * local_level(light, air), air)
    field = light / threshold
    field -= SOFT[0]
    field /= SOFT[1] - SOFT[0]
    np.clip(field, 0, 1, out=field)
    field *= near
    return blur(field, SMOOTH_MM)


def local_level(light, air):
    """Mean of the tissue within about a centimetre, on the display grid; 0 where there is none."""
    blocks = light.reshape(SHAPE[0] // POOL, POOL, SHAPE[1] // POOL, POOL, SHAPE[2] // POOL, POOL)
    tissue = blocks > air
    total = np.where(tissue, blocks, 0).sum(axis=(1, 3, 5))
    count = tissue.sum(axis=(1, 3, 5)).astype(np.float32)
    level = ndi.gaussian_filter(total, 1.2) / np.maximum(ndi.gaussian_filter(count, 1.2), 0.05)
    for axis in range(3):
        fine = (np.arange(SHAPE[axis]) + 0.5) / POOL - 0.5
        matrix = np.clip(1 - np.abs(fine[:, None] - np.arange(level.shape[axis])[None]), 0, None)
        matrix = (matrix / matrix.sum(axis=1, keepdims=True)).astype(np.float32)
        level = np.moveaxis(np.tensordot(matrix, level, (1, axis)), 0, axis)
    return np.ascontiguousarray(level)


def blur(field, sigma_mm):
    """Gaussian blur of a scene array by three small matrix products."""
    for axis in range(3):
        count = field.shape[axis]
        away = np.arange(count)[:, None] - np.arange(count)[None]
        matrix = np.exp(-0.5 * (away * GRID_MM / sigma_mm) ** 2)
        matrix = (matrix / matrix.sum(axis=1, keepdims=True)).astype(np.float32)
        if axis == 0:
            field = (matrix @ field.reshape(count, -1)).reshape(field.shape)
        else:
            field = np.matmul(matrix, field) if axis == 1 else np.matmul(field, matrix.T)
    return field


def is_thick(zooms):
    """Slices so thick that interpolating intensities would leave stairs."""
    return max(zooms) > THICK_MM and max(zooms) > THICK_RATIO * min(zooms)


def thick_field(data, zooms, corner, air, near):
    """soft_field for thick slices: outlines, not intensities, are interpolated between slices."""
    axis = int(np.argmax(zooms))
    fine = [a for a in range(3) if a != axis]
    plane = to_grid(data, zooms, corner, (0.9, 0.9, 0.9), fine)
    distance = np.stack([_signed_distance(s) for s in np.moveaxis(plane > air, axis, 0)])
    distance = ndi.gaussian_filter(distance, (0, 1.0, 1.0), truncate=2.5)
    distance = to_grid(np.moveaxis(distance, 0, axis), zooms, corner, (0.65 * zooms[axis],) * 3, [axis])
    slope = np.sqrt(sum(np.square(np.gradient(distance, GRID_MM, axis=a)) for a in range(3)))
    field = np.clip(0.5 + distance / np.maximum(slope, 0.7) / 4.0, 0, 1)
    return blur(field * near, SMOOTH_MM)


def _signed_distance(inside):
    """Distance in mm to the outline within one slice, positive inside, (M, N) float32; far where empty."""
    if not inside.any():
        return np.full(inside.shape, -FAR_MM, np.float32)
    distance = ndi.distance_transform_edt(inside) - ndi.distance_transform_edt(~inside)
    return np.clip(distance * GRID_MM, -FAR_MM, FAR_MM).astype(np.float32)


def fill_share(volume, coarse, mask, scale, painted, corner):
    """Share of exact fill values a cell, or None where the air itself is all one value and tells nothing."""
    raw = volume.data
    value = raw.min() if painted is None else painted
    quiet = ~ndi.binary_dilation(mask, iterations=3)
    quiet[:, coarse.shape[1] // 2 :] = False
    behind = coarse[quiet]
    if painted is None and (behind.size < 500 or np.mean(behind <= scale.low + 1e-6 * scale.unit) > 0.5):
        return None
    return to_grid((raw == value).astype(np.float32), tuple(volume.zooms), corner)
