"""Where the brain and the parts of the face are in an original head, for the physical checks.

The brain is segmented by deepbet; its shape, fitted to the brain of an average head, carries the landmarks of
the face over. That does not depend on the contrast of the scan or on a face being in view.
"""

import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy import ndimage as ndi
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from inference.classes import plausible_brain
from inference.deface.template import STEP, template_brain, template_head
from inference.files import DAMAGED
from inference.problems import Problem, problem
from inference.projections.frame import VOXEL_MM, head_mask, resample
from inference.regions import LANDMARKS, TEMPLATE_LANDMARKS
from inference.volumes import Volume

ANATOMY_VERSION = "1"  # raised whenever the same head would give another brain or other landmarks
WORST_FIT_MM = 3.0  # heads of adults and children, whole and cut, came to 1.7 to 2.6; noise to 3.3 and more
POINTS = 1500
CLIP_MM = 25.0
NOSE_SEARCH_MM = (12.0, 12.0, 24.0)  # right-left, up-down, forwards
_one_at_a_time = threading.Lock()


class AnatomyError(Exception):
    """The brain could not be found; `problem` says why."""

    def __init__(self, found: Problem) -> None:
        super().__init__(str(found))
        self.problem = found


@dataclass(frozen=True)
class Anatomy:
    """Found in one original, in the axes of its canonical array.

    brain: (X, Y, Z) bool. landmarks: {name: (3,) mm from the outer corner of the array}, in or out of view.
    fit_mm: how far, in the median, the average brain's surface lies from this one's after fitting.
    """

    brain: np.ndarray
    landmarks: dict[str, np.ndarray]
    fit_mm: float


def find_anatomy(volume: Volume) -> Anatomy:
    """Brain and landmarks of an original head; raise AnatomyError where there is no plausible brain."""
    brain = brain_mask(volume)
    small = resample(brain, tuple(map(float, volume.zooms))) > 0.5
    to_subject, fit_mm = fit_brain(small)
    if fit_mm > WORST_FIT_MM:
        raise AnatomyError(problem("brain_shape_off", mm=fit_mm))
    places = {name: to_subject(point) for name, point in template()["landmarks"].items()}
    return Anatomy(brain, on_the_skin(volume, places), fit_mm)


def stored_anatomy(volume: Volume, path: Path) -> Anatomy:
    """The anatomy kept in `path` (.npz); found and written there when it is missing, damaged or of another grid."""
    kept = _read(path, volume.data.shape) if path.exists() else None
    if kept is not None:
        return kept
    found = find_anatomy(volume)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{threading.get_native_id()}.tmp.npz")
    np.savez_compressed(
        temporary,
        brain=np.packbits(found.brain),
        shape=volume.data.shape,
        names=list(found.landmarks),
        points=list(found.landmarks.values()),
        fit_mm=found.fit_mm,
    )
    temporary.replace(path)
    return found


def _read(path: Path, shape: tuple[int, ...]) -> Anatomy | None:
    try:
        with np.load(path) as stored:
            if tuple(stored["shape"]) != shape:
                return None
            brain = np.unpackbits(stored["brain"])[: np.prod(shape)].reshape(shape).astype(bool)
            landmarks = dict(zip(stored["names"].tolist(), stored["points"], strict=True))
            return Anatomy(brain, landmarks, float(stored["fit_mm"]))
    except DAMAGED:
        return None


def brain_mask(volume: Volume):
    """(X, Y, Z) bool, by deepbet on one thread."""
    try:
        network = _network()
    except ImportError as error:
        raise AnatomyError(problem("brain_finder_missing", error=str(error))) from error
    with _one_at_a_time:  # the network object keeps state between its two steps
        try:
            share = network.run_model(np.array(volume.data, dtype=np.float32, order="C"))
            mask = np.asarray(network.postprocess(share > 0.5)) > 0
        except (AssertionError, RuntimeError, ValueError, IndexError) as error:
            raise AnatomyError(problem("brain_not_found", error=str(error))) from error
    ml = float(mask.sum() * np.prod(volume.zooms) / 1000)
    if not plausible_brain(ml):
        raise AnatomyError(problem("brain_not_whole", ml=ml))
    return mask


def warm_up() -> None:
    """Load the network once, before a worker forks; ImportError when it is not installed."""
    _network()


@lru_cache(maxsize=1)
def _network():
    import torch
    from deepbet.bet import BrainExtraction

    torch.set_num_threads(1)  # a second thread would hang in a forked worker
    return BrainExtraction(no_gpu=True)


@lru_cache(maxsize=1)
def template():
    """The average head: `points` (N, 3) mm on the surface of its brain, `landmarks` in mm, one origin."""
    zooms = np.linalg.norm(template_head()[1][:3, :3], axis=0)
    brain = resample(template_brain(), tuple(map(float, zooms))) > 0.5
    surface = np.argwhere(brain & ~ndi.binary_erosion(brain))
    chosen = surface[:: max(1, len(surface) // POINTS)]
    landmarks = dict(zip(LANDMARKS, (TEMPLATE_LANDMARKS + 0.5) * zooms / STEP, strict=True))
    return {"points": (chosen + 0.5) * VOXEL_MM, "landmarks": landmarks}


def fit_brain(brain):
    """Fit the average brain to a brain mask on the 3 mm grid: (function mm -> mm, median distance in mm).

    Turned, moved and stretched along its axes; points outside the field of view do not count.
    """
    points = template()["points"]
    middle = points.mean(axis=0)
    inside, outside = ndi.distance_transform_edt(brain), ndi.distance_transform_edt(~brain)
    distance = np.clip((inside - outside) * VOXEL_MM, -CLIP_MM, CLIP_MM)
    spread = np.argwhere(brain)[::7]
    start = np.concatenate([np.zeros(6), (spread.mean(axis=0) + 0.5) * VOXEL_MM])
    limit = np.array(brain.shape) * VOXEL_MM

    def place(p, xyz):
        return Rotation.from_rotvec(p[:3]).apply((xyz - middle) * np.exp(p[3:6])) + p[6:]

    def signed(p):
        moved = place(p, points)
        values = ndi.map_coordinates(distance, (moved / VOXEL_MM - 0.5).T, order=1, mode="nearest")
        return np.where(np.all((moved > 0) & (moved < limit), axis=1), values, 0.0)

    def residual(
        p,
    ):  # the prior: a head is seldom turned by more than 15 degrees or stretched by more than 12 %
        prior = np.sqrt(len(points)) * np.concatenate([p[:3] / 0.26, p[3:6] / 0.12])
        return np.concatenate([signed(p), 0.6 * prior])

    found = least_squares(
        residual, start, loss="soft_l1", f_scale=4.0, x_scale=[0.1] * 3 + [0.05] * 3 + [10] * 3
    )
    return (lambda xyz: place(found.x, np.atleast_2d(xyz))[0]), float(np.median(np.abs(signed(found.x))))


def on_the_skin(volume, places):
    """The landmarks, nose and mouth moved onto the skin of this head: the tip is what reaches furthest forward."""
    head = head_mask(resample(volume.data, tuple(map(float, volume.zooms))))[0]
    front = np.where(head.any(axis=1), head.shape[1] - 1 - head[:, ::-1].argmax(axis=1), -1)  # (x, z) cells
    moved = dict(places)
    tip = _furthest(front, places["nose"])
    if tip is not None:
        moved["nose"] = tip
        moved["mouth"] = places["mouth"] + [tip[0] - places["nose"][0], 0, 0.6 * (tip[2] - places["nose"][2])]
        here = _furthest(front, moved["mouth"], reach=(4.0, 4.0, 24.0))
        moved["mouth"][1] = moved["mouth"][1] if here is None else here[1]
    return moved


def _furthest(front, place, reach=NOSE_SEARCH_MM):
    """The foremost skin (3,) mm within `reach` of `place`, or None where no skin is there."""
    x, z = (np.arange(n) * VOXEL_MM + VOXEL_MM / 2 for n in front.shape)
    near = (np.abs(x - place[0])[:, None] < reach[0]) & (np.abs(z - place[2])[None] < reach[1])
    depth = (front + 1.0) * VOXEL_MM
    depth = np.where(near & (front >= 0) & (np.abs(depth - place[1]) < reach[2]), depth, -1)
    if depth.max() < 0:
        return None
    i, k = np.unravel_index(depth.argmax(), depth.shape)
    return np.array([x[i], depth[i, k], z[k]])
