"""Where the network saw evidence, laid over the very projections it looked at."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from inference.classifier import Result
from inference.projections.frame import SHAPE
from inference.projections.network_input import PACK_SPAN, PACKS, SIDE, SURFACES, VIEW_NAMES, NetworkInput

PIXELS = 400
LEAST = 0.3  # a projection without evidence above this is not worth a picture
MOST_VIEWS = 6
SHOWN_SURFACES = ("front", "left", "right")
COLOURS = {"face": (230, 159, 0), "brain": (213, 94, 0)}

Plane = NDArray[np.float32]


def saliency_pictures(inputs: NetworkInput, result: Result) -> dict[str, Image.Image]:
    """{'saliency_VIEW': square picture}, the strongest first; none where nothing speaks against a pass."""
    strength = {view: max(result.saliency(view, kind).max() for kind in COLOURS) for view in VIEW_NAMES}
    worth = [
        view
        for view in VIEW_NAMES
        if strength[view] >= LEAST and (view not in SURFACES or view in SHOWN_SURFACES)
    ]
    worth.sort(key=lambda view: -strength[view])
    return {f"saliency_{view}": overlay(inputs, result, view) for view in worth[:MOST_VIEWS]}


def save_pictures(folder: Path, inputs: NetworkInput, result: Result, suffix: str) -> list[str]:
    """Write them beside the other pictures, named by the model that saw it; returns their names."""
    if not folder.is_dir():
        return []
    names = []
    for name, picture in saliency_pictures(inputs, result).items():
        full = f"{name}_{suffix}"
        part = folder / f".{full}.part"
        picture.save(part, format="WEBP", quality=80)
        part.replace(folder / f"{full}.webp")
        names.append(full)
    return names


def overlay(inputs: NetworkInput, result: Result, view: str) -> Image.Image:
    """One projection in grey with face evidence in amber and brain evidence in vermilion."""
    grey = surface(inputs, view) if view in SURFACES else plane(inputs, view)
    picture = np.repeat(large(grey)[..., None], 3, axis=2) * 255
    for kind, colour in COLOURS.items():
        evidence = result.saliency(view, kind)
        heat = large(as_shown(evidence, view) if view in SURFACES else upright(evidence))
        alpha = np.clip((heat - 0.15) / 0.6, 0, 1)[..., None] * 0.75
        picture = picture * (1 - alpha) + np.array(colour, np.float32) * alpha
    return square(picture.clip(0, 255).astype(np.uint8))


def surface(inputs: NetworkInput, view: str) -> Plane:
    """(80, 80) in 0-1: the depth the network sees, lit from the viewer."""
    depth = inputs.surfaces[SURFACES.index(view), 0].astype(np.float32) / 3
    rows, columns = np.gradient(gaussian_filter(depth, 0.8))  # bytes are steps of a third of a cell
    return as_shown(np.where(depth > 0, 0.1 + 0.7 / np.sqrt(1 + rows**2 + columns**2), 0.0), view)


def as_shown(array: NDArray[np.floating], view: str) -> Plane:
    """A square over a surface view, as the network holds it, turned as reviewers see that view: right on the left."""
    out = np.array(array, np.float32)
    width = out.shape[1] * SHAPE[0] // SIDE if view == "front" else out.shape[1]
    if view in ("front", "right"):
        out[:, :width] = out[:, :width][:, ::-1].copy()
    return out


def plane(inputs: NetworkInput, view: str) -> Plane:
    """The middle slice of a pack, upright, person's right on the left, in 0-1."""
    axis, start = view.split("_")
    middle = np.take(inputs.volume, int(start) + PACK_SPAN // 2, axis=list(PACKS).index(axis))
    return upright((middle / 170).clip(0, 1).astype(np.float32))


def upright(array: Plane) -> Plane:
    """(across, up) as the network holds it -> rows from the top, person's right on the left."""
    return np.ascontiguousarray(array.T[::-1, ::-1])


def large(array: Plane) -> Plane:
    """Enlarged to PIXELS for 80 cells from top to bottom, smoothly."""
    scale = PIXELS / array.shape[0]
    size = (round(array.shape[1] * scale), PIXELS)
    return np.asarray(Image.fromarray(array.astype(np.float32)).resize(size, Image.Resampling.BICUBIC))


def square(picture: NDArray[np.uint8]) -> Image.Image:
    """On a square ground, in the middle."""
    ground = Image.new("RGB", (PIXELS, PIXELS), (0, 0, 0))
    ground.paste(
        Image.fromarray(picture), ((PIXELS - picture.shape[1]) // 2, (PIXELS - picture.shape[0]) // 2)
    )
    return ground
