"""All pictures of one defaced volume that a person sees, and their files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import ndimage as ndi

from inference.projections import slice_views, surface
from inference.removal import changed, same_grid

from .canvas import THUMBNAIL, compose, mark
from .scene import Scene, build, to_grid

SURFACE_VIEWS = tuple(surface.ANGLES)
SLICE_VIEWS = tuple(slice_views.PLACES)
REMOVED_VIEWS = {"removed_front": 0, "removed_left": 90, "removed_right": -90}
SIDES = {"front": "RL", "left": "AP", "right": "PA", "oblique_left": "RL", "oblique_right": "RL"}
GHOST = np.array([0.90, 0.24, 0.20], np.float32)
PEEL_MM = (-2.5, -3.75, -5.0)
BRAIN_CLOSE_MM = 4.0
QUALITY = {"full": 82, "thumbnail": 78}


def render_views(volume, original=None, brain=None):
    """{view name: PIL image of 576 x 639}, deterministic; those named removed_ show the original, no other does.

    volume: Volume after defacing. original: Volume before it; ignored when its grid is another.
    brain: bool (X, Y, Z) of the brain in the original, on the same grid.
    """
    if original is not None and not same_grid(original, volume):
        original = None
    if brain is not None and brain.shape != volume.data.shape:
        raise ValueError(f"brain mask {brain.shape} does not fit the volume {volume.data.shape}")
    scene = build(volume)
    before = None if original is None else build(original, scene.corner, scene)
    hits = {name: surface.cast(scene.field, angle) for name, angle in surface.ANGLES.items()}
    views = {name: _surface(scene, hits[name], name) for name in SURFACE_VIEWS}
    views["edge"] = _edge(scene, hits["front"], volume, before, brain)
    for name, angle in REMOVED_VIEWS.items() if before is not None else ():
        views[name] = _ghost(scene, before, hits[name.removeprefix("removed_")], angle, name)
    removed = None if original is None else changed(original, volume)
    near = None if removed is None or brain is None else _within(removed, volume.zooms, slice_views.NEAR_MM)
    # what is left and, apart from it for those who may see the original, what was removed
    for name in SLICE_VIEWS:
        views[name] = slice_views.render(name, volume, scene, brain=brain, near=near)
        if original is not None:
            views[f"removed_{name}"] = slice_views.render(
                name, volume, scene, original, before, removed, brain, near
            )
    return views


def save_views(folder, views):
    """Write NAME.webp and NAME.thumb.webp for each view; return {name: (full path, thumbnail path)}."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for name, image in views.items():
        full, small = folder / f"{name}.webp", folder / f"{name}.thumb.webp"
        image.save(full, quality=QUALITY["full"], method=3)
        image.resize(THUMBNAIL, reducing_gap=2).save(small, quality=QUALITY["thumbnail"], method=3)
        paths[name] = (full, small)
    return paths


def _coloured(scene, hit, angle):
    cut = surface.cut_share(scene, hit, angle)
    hit = replace(hit, normal=surface.evened(hit, cut))
    cut = cut[..., None]
    return surface.shade(hit, surface.SKIN * (1 - cut) + surface.CUT * cut)


def _surface(scene: Scene, hit, name):
    return mark(compose(_coloured(scene, hit, surface.ANGLES[name]), hit.seen, hit.cover), *SIDES[name])


def _edge(scene, hit, volume, before, brain):
    """The front, peeled: what lies 2.5 to 5 mm behind the surface. Folds of brain there: the cut came close.

    With a brain mask, brain this close behind the surface is tinted, and brain that was cut away red.
    """
    behind = np.mean([surface.sample(scene.light, hit, 0, mm) for mm in PEEL_MM], axis=0)
    bright = np.percentile(behind[hit.seen], 98) if hit.seen.any() else 1.0
    level = np.clip(behind / max(float(bright), 0.3), 0, 1)[..., None] ** 0.85
    colour = level * slice_views.WHITE * (0.62 + 0.38 * surface.shade(hit, np.ones(3)))
    if brain is not None:
        mask = to_grid(brain.astype(np.float32), tuple(volume.zooms), scene.corner)
        close = np.max([surface.sample(mask, hit, 0, -mm) for mm in (1.0, 2.5, BRAIN_CLOSE_MM)], axis=0)
        colour = _tint(colour, slice_views.WARNING, 0.45 * np.clip(2 * close, 0, 1))
        if before is not None:
            lost = (mask > 0.5) & (before.field > 0.5) & (scene.field < 0.4)
            lost = ndi.binary_opening(lost, iterations=1)[::-1].any(axis=1).T[::-1]
            colour = _tint(colour, slice_views.RED, 0.6 * lost)
    return mark(compose(np.clip(colour, 0, 1), hit.seen, hit.cover), "R", "L")


def _tint(colour, tint, share):
    return colour * (1 - share[..., None]) + tint * share[..., None]


def _ghost(scene, before, hit, angle, name):
    """The surface that is left, and over it, translucent, the surface that was there."""
    old = surface.cast(before.field, angle)
    gap = np.where(hit.seen, hit.depth, 400.0) - np.where(old.seen, old.depth, 400.0)
    share = np.clip((gap - 1.5) / 2.0, 0, 1) * old.seen
    share = ndi.gaussian_filter(share, 0.8)[..., None]
    left = np.where(hit.seen[..., None], _coloured(scene, hit, angle), slice_views.BACKGROUND)
    ghost = surface.shade(old, GHOST)
    colour = left * (1 - 0.55 * share) + 0.55 * share * (0.25 * GHOST + 0.95 * ghost)
    return mark(
        compose(colour, hit.seen | old.seen, np.maximum(hit.cover, old.cover)),
        *SIDES[name.removeprefix("removed_")],
    )


def _within(mask, zooms, mm):
    """Voxels within `mm` of the mask, by growing it along each axis."""
    size = [2 * int(np.ceil(mm / z)) + 1 for z in zooms]
    return ndi.maximum_filter(mask.view(np.uint8), size) > 0
