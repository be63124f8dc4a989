"""Physical checks on a pair (original, defaced): brain removed, face surface kept, geometry unchanged.

Regions, surface and limits are those the classifier is trained with (`inference.regions`,
`inference.classes`), so that a measured class and a trained class mean the same.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from scipy import ndimage as ndi

from inference import classes
from inference.anatomy import Anatomy, AnatomyError, find_anatomy, stored_anatomy
from inference.classes import EAR_REGIONS, still_there
from inference.files import plain
from inference.problems import Problem, problem
from inference.projections.frame import VOXEL_MM, head_mask, resample
from inference.regions import BRAIN_AT, GRID, LANDMARKS, REGIONS, surface_regions
from inference.removal import changed, same_grid
from inference.volumes import Volume

BRAIN_MARGIN_MM = 1.0
STRIPPED_SHARE = 0.6  # of the scalp over the upper brain gone: that is skull stripping, not defacing
TOUCHED_SHARE = 0.6  # of the head changed: another image, or one that was resampled
LEAST_CELLS = 20


@dataclass(frozen=True)
class Measurement:
    """What was measured; None where it could not be.

    brain_removed_ml: inside the brain of the original eroded by 1 mm. removed_ml: of the whole head.
    kept: share of the original's surface still there, by region; None where the region is not in view.
    problems: what a person must know (`inference.problems`); a brain or a face that fails is one.
    """

    brain_removed_ml: float | None
    kept: dict[str, float | None]
    geometry_unchanged: bool
    problems: list[Problem] = field(default_factory=list)
    brain_ml: float | None = None
    removed_ml: float | None = None


def measure(original: Volume, defaced: Volume, anatomy: Anatomy | None = None) -> Measurement:
    """Compare a defaced volume with its original; `anatomy` of the original, where it is known already."""
    problems = geometry_problems(original, defaced)
    nothing = dict.fromkeys(REGIONS)
    if not same_grid(original, defaced):
        return Measurement(None, nothing, False, problems)
    mask = changed(original, defaced)
    tissue, head = _tissue(original)
    voxel_ml = float(np.prod(original.zooms)) / 1000
    removed = mask & tissue
    removed_ml = float(removed.sum()) * voxel_ml
    if not mask.any():
        problems.append(problem("unchanged"))
    try:
        anatomy = anatomy or find_anatomy(original)
    except AnatomyError as error:
        problems.append(error.problem)
        return Measurement(
            None, nothing, not geometry_problems(original, defaced), problems, None, removed_ml
        )
    brain_ml = float((mask & eroded(anatomy.brain, original.zooms)).sum()) * voxel_ml
    kept = surface_kept(original, removed, tissue, head, anatomy)
    problems += removal_problems(original, removed, tissue, anatomy)
    problems += failures(brain_ml, kept)
    unchanged = not geometry_problems(original, defaced)
    whole_ml = float(anatomy.brain.sum()) * voxel_ml
    return Measurement(brain_ml, kept, unchanged, problems, whole_ml, removed_ml)


def class_of(measurement: Measurement, *, ears: bool = False) -> str | None:
    """The measured class, or None where it is ambiguous or could not be measured."""
    if measurement.brain_removed_ml is None:
        return None
    return classes.class_of(measurement.brain_removed_ml, measurement.kept, ears=ears)


def geometry_problems(original, defaced) -> list[Problem]:
    """What a defacing must never change: size, position, order of axes, kind of numbers."""
    before, after = original.stored, defaced.stored
    if original.data.shape != defaced.data.shape:
        sizes = [list(map(int, v.data.shape)) for v in (original, defaced)]
        return [problem("voxels_changed", before=sizes[0], after=sizes[1])]
    if not np.allclose(original.zooms, defaced.zooms, rtol=1e-3):
        return [problem("voxel_size_changed")]
    if not same_grid(original, defaced):
        return [problem("place_changed")]
    problems = []
    if before and after and not np.allclose(before.affine, after.affine, atol=0.01):
        problems.append(problem("axes_changed"))
    if after and np.dtype(after.dtype).kind in "iu" and _range(defaced.data) < 0.25 * _range(original.data):
        problems.append(problem("range_shrank"))
    return problems


def _range(data):
    low, high = np.percentile(data[::4, ::4, ::4], (2, 99))
    return max(float(high) - float(low), 1e-6)


def _tissue(volume):
    """Voxels of tissue (X, Y, Z) bool, and the closed head (bool, 3 mm grid)."""
    small = resample(volume.data, tuple(map(float, volume.zooms)))
    head, _, threshold = head_mask(small)
    return volume.data > threshold, ndi.binary_fill_holes(ndi.binary_closing(np.pad(head, 3), iterations=2))[
        3:-3, 3:-3, 3:-3
    ]


def eroded(brain, zooms, margin=BRAIN_MARGIN_MM):
    """The brain without its outer `margin` mm, or its outermost voxels where these are larger."""
    margin = max(margin, float(min(zooms))) + 1e-3
    out = np.zeros(brain.shape, bool)
    box = ndi.find_objects(np.pad(brain, 0).astype(np.uint8))[0]
    out[box] = ndi.distance_transform_edt(np.pad(brain[box], 1), sampling=zooms)[1:-1, 1:-1, 1:-1] > margin
    return out


def surface_kept(original, removed, tissue, head, anatomy):
    """{region: share of its surface that is still there}, None where the region is not in view."""
    zooms = tuple(map(float, original.zooms))
    share = resample(removed, zooms) / np.maximum(resample(tissue, zooms), 1e-3)
    cells = np.argwhere(resample(anatomy.brain, zooms) > 0.5)
    offset = np.round(cells.mean(axis=0) - BRAIN_AT).astype(int)  # of the training grid in the 3 mm grid
    points = np.array([anatomy.landmarks[name] for name in LANDMARKS]) / VOXEL_MM - 0.5
    in_view = _place(np.ones(head.shape, bool), offset)
    regions = surface_regions(_place(head, offset), in_view, points - offset)
    gone = np.clip(_place(share, offset), 0, 1)
    kept = {}
    for name in REGIONS:
        seen = regions[name]
        visible = _landmarks_in_view(name, points, head.shape)
        kept[name] = float((1 - gone[seen]).mean()) if visible and seen.sum() >= LEAST_CELLS else None
    return kept


def _landmarks_in_view(name, points, shape):
    names = ("left_eye", "right_eye") if name == "eyes" else (name,)
    return any(
        np.all((points[LANDMARKS.index(n)] > -1) & (points[LANDMARKS.index(n)] < shape)) for n in names
    )


def _place(array, offset):
    """Cut GRID out of a 3 mm array, starting at `offset`; zero outside."""
    out = np.zeros(GRID, array.dtype)
    low = np.maximum(offset, 0)
    high = np.minimum(offset + GRID, array.shape)
    if np.all(high > low):
        target = tuple(slice(a - o, b - o) for a, b, o in zip(low, high, offset, strict=True))
        out[target] = array[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    return out


def removal_problems(original, removed, tissue, anatomy) -> list[Problem]:
    """Signs that something other than a defacing was done."""
    if (
        removed.sum() > TOUCHED_SHARE * tissue.sum()
        and (removed & anatomy.brain).sum() > 0.5 * anatomy.brain.sum()
    ):
        return [problem("another_image")]
    columns = np.argwhere(anatomy.brain)
    level = round(float(np.percentile(columns[:, 2], 50)))
    middle = round(float(np.percentile(columns[:, 1], 50)))
    scalp = tissue[:, :middle, level:] & ~ndi.binary_dilation(anatomy.brain[:, :middle, level:], iterations=2)
    if scalp.sum() > 500 and removed[:, :middle, level:][scalp].mean() > STRIPPED_SHARE:
        return [problem("skull_stripped")]
    return []


def failures(brain_ml, kept) -> list[Problem]:
    """The measured failures."""
    out = [problem("brain_removed", ml=brain_ml)] if brain_ml >= classes.BRAIN_LIMIT_ML else []
    return out + classes.still_there(kept, classes.FACE_REGIONS)


@dataclass(frozen=True)
class Examined:
    """`measurements` as JSON can hold them; `problems` that refer it; `brain` (X, Y, Z) bool of the original or None."""

    measurements: dict = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    brain: np.ndarray | None = None


def examine(original: Volume, defaced: Volume, *, ears: bool, anatomy_file: Path | None = None) -> Examined:
    """The physical checks, under a standard with or without ears; any failing class is a problem.

    anatomy_file: where brain and landmarks of this original are kept from one attempt to the next; None keeps nothing.
    """
    try:
        anatomy = stored_anatomy(original, anatomy_file) if anatomy_file else find_anatomy(original)
    except AnatomyError:
        anatomy = None  # measuring says what that means
    found = measure(original, defaced, anatomy)
    klass = class_of(found, ears=ears)
    problems = list(found.problems)
    problems += still_there(found.kept, EAR_REGIONS) if ears else []
    if klass not in (None, "pass") and not problems:
        problems.append(problem("class_measured", **{"class": klass}))
    brain = anatomy.brain if anatomy is not None and anatomy.brain.shape == defaced.data.shape else None
    return Examined({**plain(asdict(found)), "class": klass}, plain(problems), brain)
