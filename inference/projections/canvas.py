"""From arrays at GRID_MM to finished pictures: enlargement without jagged edges, marks, scale bar, files."""

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage as ndi

from .scene import GRID_MM, SHAPE

FACTOR = 3
SIZE = (SHAPE[0] * FACTOR, SHAPE[2] * FACTOR)  # 576 x 639 pixels
THUMBNAIL = (SIZE[0] // 2, SIZE[1] // 2)
BACKGROUND = np.array([27, 29, 33], np.float32) / 255
INK = (150, 156, 164)
BAR_MM = 50


def compose(colour, seen, cover):
    """Enlarge colours (213, 192, 3), 0 to 1, of the places that are `seen` over the background.

    cover: (213, 192), 0.5 along the outline, which it places between the cells.
    """
    filled = _spread(colour, seen)
    edge = np.clip((_enlarge(cover) - 0.5) * 4 + 0.5, 0, 1)[..., None]
    large = np.stack([_enlarge(filled[..., c]) for c in range(3)], axis=-1)
    return picture(large * edge + BACKGROUND * (1 - edge))


def picture(rgb):
    """(H, W, 3) floats, 0 to 1, as an image."""
    return Image.fromarray((np.clip(rgb, 0, 1) * 255 + 0.5).astype(np.uint8))


def _spread(colour, seen):
    """Continue the colours a little beyond what is seen, so that the edge does not darken."""
    weight = ndi.gaussian_filter(seen.astype(np.float32), 1.0, truncate=3)
    wide = ndi.gaussian_filter(np.where(seen[..., None], colour, 0), (1.0, 1.0, 0), truncate=3)
    return np.where(seen[..., None], colour, wide / np.maximum(weight, 1e-3)[..., None])


def _enlarge(plane):
    image = Image.fromarray(np.ascontiguousarray(plane, dtype=np.float32), mode="F")
    return np.asarray(image.resize(SIZE, Image.Resampling.BICUBIC))


@lru_cache(maxsize=4)
def _font(size):
    return ImageFont.load_default(size)


def mark(image, left, right, bar=True):
    """Write the sides at the left and right edge and draw a bar of 5 cm; changes the image, returns it."""
    draw = ImageDraw.Draw(image)
    middle = image.height // 2
    draw.text((10, middle), left, INK, _font(24), anchor="lm")
    draw.text((image.width - 10, middle), right, INK, _font(24), anchor="rm")
    if bar:
        length = round(BAR_MM / GRID_MM * FACTOR)
        x, y = image.width - 14, image.height - 14
        draw.line([(x - length, y), (x, y)], INK, 2)
        draw.line([(x - length, y - 5), (x - length, y)], INK, 2)
        draw.line([(x, y - 5), (x, y)], INK, 2)
        draw.text((x - length / 2, y - 6), "5 cm", INK, _font(16), anchor="mb")
    return image
