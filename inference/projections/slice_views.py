"""Slices at fixed places of the head, sharp from the file's own voxels, at the scale of the surface views."""

import numpy as np
from PIL import Image

from inference.projections.canvas import BACKGROUND, FACTOR, SIZE, mark, picture
from inference.projections.scene import BACK_MM, COARSE_MM, GRID_MM, SHAPE, TOP_MM

PIXEL_MM = GRID_MM / FACTOR
# name: axis cut, place in mm (from the midline to the right, from the back, from the vertex down) for a head
# USUAL_WIDTH_MM wide; smaller and larger heads in proportion
PLACES = {
    "sagittal_mid": (0, 0.0),
    "sagittal_left": (0, -31.0),
    "sagittal_right": (0, 31.0),
    "axial_orbit": (2, 96.0),
    "axial_temporal": (2, 109.0),
    "coronal_front": (1, 158.0),
    "coronal_temporal": (1, 132.0),
}
SIDES = {0: ("A", "P"), 1: ("R", "L"), 2: ("R", "L")}
USUAL_WIDTH_MM = 154.0
WHITE = np.array([0.95, 0.95, 0.94], np.float32)
RED = np.array([0.93, 0.20, 0.18], np.float32)
OUTLINE = np.array([0.36, 0.90, 0.95], np.float32)
WARNING = np.array([1.00, 0.85, 0.25], np.float32)
NEAR_MM = 6.0
QUIET = 0.35  # share of the air threshold that is shown as background


def place_of(name, scene):
    """(axis, mm from the scene's corner) of a named slice."""
    axis, mm = PLACES[name]
    size = SHAPE[axis] * GRID_MM
    mm *= scene.width / USUAL_WIDTH_MM
    return axis, (size / 2 + mm, BACK_MM + mm, size - TOP_MM - mm)[axis]


def plane(data, zooms, corner, axis, at_mm):
    """One plane of a (X, Y, Z) array at `at_mm` of the scene, (639, 576) pixels; NaN off the field of view.

    Rows: up (sagittal, coronal) or front (axial) first; columns: front (sagittal) or right side first.
    """
    position = (corner[axis] + at_mm) / zooms[axis] - 0.5
    count = data.shape[axis]
    if not -0.5 <= position <= count - 0.5:
        return np.full(SIZE[::-1], np.nan, np.float32)
    position = min(max(position, 0), count - 1)
    below = min(int(position), count - 2)
    share = np.float32(position - below)
    index = (slice(None),) * axis
    cut = data[(*index, below)] * (1 - share) + data[(*index, below + 1)] * share
    horizontal, vertical = [a for a in range(3) if a != axis]
    zoom = np.array([zooms[horizontal], zooms[vertical]])
    size = np.array([SHAPE[horizontal], SHAPE[vertical]]) * GRID_MM
    middle = corner[[horizontal, vertical]] + size / 2
    half = np.array(SIZE) * PIXEL_MM / 2
    return _resized(cut.astype(np.float32).T[::-1, ::-1], zoom, middle, half, cut.shape)


def _resized(image, zoom, middle, half, shape):
    """`image` (rows, columns), both reversed, enlarged to SIZE around `middle` mm of the axes before that."""
    extent = np.array(shape) * zoom
    low = extent - (middle + half)  # mm from the reversed edge
    pad = np.ceil(np.maximum(0, -low) / zoom).astype(int) + 1
    after = np.ceil(np.maximum(0, low + 2 * half - extent) / zoom).astype(int) + 1
    widths = ((pad[1], after[1]), (pad[0], after[0]))
    known = np.pad(np.ones(image.shape, np.float32), widths)
    image = np.pad(image, widths, mode="edge")
    start = low / zoom + pad
    box = (start[0], start[1], start[0] + 2 * half[0] / zoom[0], start[1] + 2 * half[1] / zoom[1])

    def resize(array, how):
        return np.asarray(Image.fromarray(array, mode="F").resize(SIZE, how, box=box))

    large = resize(np.ascontiguousarray(image, dtype=np.float32), Image.Resampling.BICUBIC)
    return np.where(resize(known, Image.Resampling.BILINEAR) > 0.5, large, np.nan)


def grey(values, scene):
    """Intensities in file units as colours (H, W, 3), the background where nothing was measured."""
    dark = QUIET * scene.air
    level = np.clip(((values - scene.low) / scene.unit - dark) / (scene.white - dark), 0, 1)
    level = np.where(np.isfinite(level), level, 0) ** 0.85
    return BACKGROUND + level[..., None].astype(np.float32) * (WHITE - BACKGROUND)


def outline(mask):
    """The edge, two pixels wide, of a picture mask."""
    inner = mask.copy()
    inner[1:-1, 1:-1] = mask[1:-1, 1:-1] & mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
    edge = mask & ~inner
    edge[1:] |= edge[:-1]
    edge[:, 1:] |= edge[:, :-1]
    return edge


def _share(mask, where):
    """A bool array on one plane as shares 0 to 1; 0 off the field of view."""
    return np.nan_to_num(plane(mask.view(np.uint8), *where)).clip(0, 1)


def render(name, volume, scene, original=None, before=None, removed=None, brain=None, near=None):
    """A named slice as an image.

    original: the Volume before defacing; before: its scene; removed: bool, changed voxels, red over its grey.
    brain: bool, drawn as an outline; near: bool, within NEAR_MM of what was removed: a bright outline.
    """
    axis, at = place_of(name, scene)
    where = (tuple(float(z) for z in volume.zooms), scene.corner, axis, at)
    rgb = grey(plane(volume.data, *where), scene)
    if removed is not None:
        gone = _share(removed, where) * _share(before.solid, ((COARSE_MM,) * 3, *where[1:]))
        gone = gone[..., None]
        past = grey(plane(original.data, *where), scene)
        rgb = rgb * (1 - gone) + gone * (0.45 * past + 0.55 * RED * (0.35 + 0.65 * past))
        edge = outline(gone[..., 0] > 0.5)
        rgb[edge] = 0.35 * rgb[edge] + 0.65 * RED
    if brain is not None:
        edge = outline(_share(brain, where) > 0.5)
        close = edge if near is None else edge & (_share(near, where) > 0.5)
        rgb[edge] = 0.5 * rgb[edge] + 0.5 * OUTLINE
        if near is not None:
            rgb[close] = WARNING
    return mark(picture(rgb), *SIDES[axis])
