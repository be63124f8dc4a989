"""Pictures of cases on both sides of each limit, made from the average head that pydeface ships.

`python -m inference.training.simulate.limit_figures OUT.webp`: three noses and three bites into the brain:
clear pass, ambiguous, failure.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage as ndi

from inference import classes
from inference.deface.template import HEAD, STEP, template_brain
from inference.projections import render_views
from inference.projections.frame import VOXEL_MM
from inference.regions import BRAIN_AT, GRID, REGIONS, TEMPLATE_LANDMARKS
from inference.training.simulate.deformed_head import make_instance
from inference.training.simulate.heads import Head
from inference.training.simulate.sample import regions_kept
from inference.volumes import Volume, read_volume


def template_as_head(volume: Volume) -> Head:
    """The average head as a source head; its voxels are taken as 1 mm."""
    brain = np.kron(template_brain(), np.ones((STEP,) * 3, bool))
    values = np.clip(volume.data / np.percentile(volume.data, 99.7) * 230, 0, 255).astype(np.uint8)
    full = np.zeros(values.shape, bool)
    full[tuple(slice(0, n) for n in brain.shape)] = brain[tuple(slice(0, n) for n in values.shape)]
    return Head("template", "template", "T1w", False, values, full, TEMPLATE_LANDMARKS, np.eye(4))


def ball(shape: tuple[int, ...], centre: NDArray[np.float64], radius: float) -> NDArray[np.bool_]:
    """Bool array: within `radius` voxels of a point."""
    x, y, z = np.ogrid[: shape[0], : shape[1], : shape[2]]
    return np.asarray((x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2 < radius**2)


def kept_share(head: Head, gone: NDArray[np.bool_]) -> dict[str, float]:
    """Share of each region's surface that is still there."""
    instance = make_instance(head, np.random.default_rng(0), plain=True)
    middle = np.array(ndi.center_of_mass(head.brain))
    smooth = ndi.uniform_filter(gone.astype(np.float32), 3)
    offset = middle - VOXEL_MM * np.array(BRAIN_AT)
    share = ndi.affine_transform(smooth, np.eye(3) * VOXEL_MM, offset, GRID, order=1)
    return dict(zip(REGIONS, map(float, regions_kept(instance, share, np.ones(GRID, bool))), strict=True))


def cases(volume: Volume) -> list[tuple[str, str, NDArray[np.bool_]]]:
    """(caption, view, removed voxels) of each picture."""
    head = template_as_head(volume)
    shape = head.data.shape
    _, y, z = np.ogrid[: shape[0], : shape[1], : shape[2]]
    face = (y > 205) & (z < 118)
    nose = np.array([88.0, 236.0, 66.0])
    out = []
    for radius in (10, 15, 26):
        gone = face & ~ball(shape, nose, radius)
        kept = kept_share(head, gone)
        found = classes.class_of(0.0, kept)
        out.append((f"nose kept {kept['nose']:.0%}: {found or 'ambiguous'}", "oblique_left", gone))
    inner = ndi.binary_erosion(head.brain)
    middle = np.argwhere(inner[88])
    pole = np.array([88.0, *middle[middle[:, 0].argmax()]])  # the front of the brain in the middle slice
    for radius in (6, 9, 16):
        gone = face | ball(shape, pole + np.array([0.0, 2.0, 0.0]), radius)
        ml = float((gone & inner).sum()) / 1000
        found = classes.class_of(ml, dict.fromkeys(REGIONS, 0.0))
        out.append((f"{ml:.1f} ml of brain removed: {found or 'ambiguous'}", "sagittal_mid", gone))
    return out


def main() -> None:
    """Draw the sheet."""
    volume = read_volume(HEAD)
    tiles = []
    for caption, view, gone in cases(volume):
        data = np.where(gone, volume.data.min(), volume.data)
        picture = render_views(replace(volume, data=data))[view].convert("RGB")
        picture.thumbnail((360, 360))
        tile = Image.new("RGB", (380, 400), (29, 30, 33))
        tile.paste(picture, ((380 - picture.width) // 2, 8))
        ImageDraw.Draw(tile).text((14, 378), caption, fill=(230, 230, 230))
        tiles.append(tile)
    sheet = Image.new("RGB", (380 * 3, 400 * 2))
    for number, tile in enumerate(tiles):
        sheet.paste(tile, (380 * (number % 3), 400 * (number // 3)))
    sheet.save(Path(sys.argv[1]), quality=85)


if __name__ == "__main__":
    main()
