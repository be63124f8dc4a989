"""A study of people who do not exist: smooth random deformations of the template head, in several contrasts.

Everything follows from the seed. Heads are made from the average head that pydeface ships; no real person is
in them. They are defaced by the real engine, some with parameters that are wrong on purpose.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy.ndimage import binary_dilation, binary_opening, gaussian_filter, label, map_coordinates, zoom

from inference.deface import run_plan
from inference.deface.plans import FACE, Plan
from inference.deface.template import HEAD, STEP, MaskShape, template_brain

CONTRASTS = ("T1w", "T1w", "T2w", "FLAIR")
VOXELS_MM = {"T1w": (1.1, 1.1, 1.1), "T2w": (1.0, 1.0, 2.0), "FLAIR": (1.2, 1.2, 1.5)}
FIELD_MM = np.array([172.0, 236.0, 236.0])  # right, front, up
DEFORMATION_MM = 2.6
AIR = 25.0  # template intensities below this are air
# Template (T1w-like) intensity -> intensity in each contrast, inside the brain and outside it.
INSIDE = {
    "T1w": ((0, 80, 150, 280, 350, 650), (0, 60, 120, 280, 390, 640)),
    "T2w": ((0, 80, 170, 280, 350, 650), (620, 600, 480, 330, 210, 160)),
    "FLAIR": ((0, 80, 170, 280, 350, 650), (60, 80, 200, 390, 310, 250)),
}
# Bone, which the average of many heads smears to about 120, is dark in all of them.
OUTSIDE = {
    "T1w": ((0, 25, 120, 200, 300, 650), (0, 8, 25, 120, 300, 700)),
    "T2w": ((0, 25, 120, 200, 300, 650), (0, 10, 40, 130, 230, 420)),
    "FLAIR": ((0, 25, 120, 200, 300, 650), (0, 8, 22, 80, 180, 300)),
}

# What goes wrong in the study, by kind; a person without an entry is left to the site's own workers.
FAULTS = {
    "none": Plan("study: good", FACE),
    "face": Plan("study: mask too far forward", MaskShape(), shift_mm=(0.0, 34.0, -14.0)),
    "eyes": Plan("study: eyes left", MaskShape()),
    "brain": Plan("study: mask too far back", MaskShape(up_mm=12), shift_mm=(0.0, -26.0, 16.0)),
    "both": Plan("study: mask tilted", MaskShape(up_mm=8), tilt_deg=62.0),
}
PATTERN = ("site", "none", "face", "brain", "site", "both", "none", "eyes", "site", "none", "face", "brain")


@dataclass(frozen=True)
class Person:
    """One synthetic person of a study: number from 1, and everything that follows from it and the seed."""

    number: int
    seed: int

    @property
    def label(self) -> str:
        """The BIDS subject label."""
        return f"{self.number:03d}"

    @property
    def suffix(self) -> str:
        """The contrast of their scan."""
        return CONTRASTS[(self.number - 1) % len(CONTRASTS)]

    @property
    def fault(self) -> str:
        """What happens to their scan: a key of FAULTS, or 'site' when the site itself defaces it."""
        return PATTERN[(self.number - 1) % len(PATTERN)]

    @property
    def name(self) -> str:
        """The BIDS path of the original below its root."""
        return f"sub-{self.label}/anat/sub-{self.label}_{self.suffix}.nii.gz"


def people(count: int, seed: int = 0) -> Iterator[Person]:
    """The people of a study."""
    return (Person(number, seed) for number in range(1, count + 1))


def make(person: Person, root: Path) -> tuple[Path, Path | None]:
    """Write a person's original below `root`/rawdata and, unless the site does it, a defaced file; both paths.

    Files that are there are kept: an interrupted study goes on where it was.
    """
    original = root / "rawdata" / person.name
    if not original.exists():
        original.parent.mkdir(parents=True, exist_ok=True)
        data, affine = head(person)
        image = nib.Nifti1Image(data, affine)
        image.header.set_xyzt_units("mm")
        draft = original.with_name(f".{original.name}")
        nib.save(image, draft)
        draft.replace(original)
    if person.fault == "site":
        return original, None
    defaced = root / "derivatives" / "defaced" / person.name
    if not defaced.exists():
        run_plan(original, defaced, "niimath", FAULTS[person.fault])
    return original, defaced


def head(person: Person) -> tuple[np.ndarray, np.ndarray]:
    """A head as int16 (X, Y, Z), axes right, front, up, and its affine (4, 4) in mm."""
    rng = np.random.default_rng([person.seed, person.number])
    zooms = np.array(VOXELS_MM[person.suffix])
    shape = tuple(np.round(FIELD_MM / zooms).astype(int))
    template, brain = _sources()
    where = _places(rng, shape, zooms)
    anatomy = map_coordinates(template, where, np.float32, order=1, cval=0)
    inside = map_coordinates(brain, where, np.float32, order=1, cval=0)
    image = _contrast(anatomy, inside, person.suffix, rng)
    image *= _bias(rng, shape)
    image = _noisy(image, rng, level=rng.uniform(4, 9))
    affine = np.diag([*zooms, 1.0])
    affine[:3, 3] = -(np.array(shape) - 1) / 2 * zooms + rng.uniform(-4, 4, 3)
    return np.clip(image, 0, 2000).astype(np.int16), affine


@lru_cache(maxsize=1)
def _sources():
    """The template head, a little sharpened because an average is blurred, and its brain, on the same grid."""
    average = np.asarray(nib.load(HEAD).dataobj, np.float32)
    sharp = average + 0.9 * (average - gaussian_filter(average, 1.6))
    sharp *= gaussian_filter(_head_alone(average).astype(np.float32), 1)
    brain = gaussian_filter(
        zoom(template_brain().astype(np.float32), STEP, order=1, grid_mode=True, mode="nearest"), 1
    )
    return np.clip(sharp, 0, None), brain


def _head_alone(average):
    """The head without the traces of frames and headphones that an average of many scans keeps."""
    head = (average > 45) & ~_frames(average)
    solid, _ = label(binary_opening(head, iterations=3))
    sizes = np.bincount(solid.ravel())[1:]
    return binary_dilation(solid == 1 + int(np.argmax(sizes)), iterations=4) & ~_frames(average)


def _frames(average):
    """Faint voxels (bool) before and around the eyes, where some of the people averaged wore a frame."""
    x, y, z = np.ogrid[: average.shape[0], : average.shape[1], : average.shape[2]]
    nose = (np.abs(x - 88) < 19) & (z < 95)
    around_eyes = (y > 203) & (z > 70) & (z < 138) & (x > 20) & (x < 156) & ~nose
    faint = 85 * gaussian_filter(around_eyes.astype(np.float32), (5, 4, 5))
    return gaussian_filter(average, 0.7) < faint


def _places(rng, shape, zooms):
    """Template voxel of every voxel of the new head: (3, X, Y, Z) float32."""
    template_zooms = np.array([1.0, 0.9766, 0.9766])
    size = rng.normal(1, 0.045, 3).clip(0.9, 1.1) * rng.normal(1, 0.03)
    centre = np.array([88.0, 128.0, 118.0]) + rng.normal(0, 3, 3)
    turn = _rotation(rng.normal(0, np.radians([6.0, 3.0, 4.0])))
    axes = [(np.arange(n, dtype=np.float32) - (n - 1) / 2) * z for n, z in zip(shape, zooms, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij", copy=False))  # mm from the middle
    grid += _smooth_field(rng, shape)
    places = np.einsum("ij,jxyz->ixyz", (turn / size / template_zooms[:, None]).astype(np.float32), grid)
    places += centre.astype(np.float32)[:, None, None, None]
    _reshape_face(rng, places)
    return places


def _smooth_field(rng, shape):
    """Displacements in mm, (3, X, Y, Z): a coarse random grid, smoothly filled in."""
    coarse = rng.normal(0, DEFORMATION_MM, (3, 5, 6, 6)).astype(np.float32)
    half = [zoom(axis, np.array((20, 24, 24)) / axis.shape, order=3) for axis in coarse]
    factors = np.array(shape) / (20, 24, 24)
    return np.stack([zoom(axis, factors, order=1, grid_mode=True, mode="nearest") for axis in half])


def _reshape_face(rng, places):
    """Longer or shorter noses, brows, chins, wider or narrower jaws: bumps in template space, in place."""
    features = (  # centre in template voxels (right, front, up), width, typical change in voxels
        ((88, 232, 72), 13, 4.0),  # nose
        ((88, 214, 112), 22, 2.5),  # brow
        ((88, 215, 25), 20, 4.0),  # chin
        ((88, 210, 50), 16, 2.0),  # mouth
    )
    for centre, width, change in features:
        amount = np.float32(rng.normal(0, change))
        squares = [((places[axis] - centre[axis]) / width) ** 2 for axis in range(3)]
        places[1] -= amount * np.exp(-sum(squares) / 2)
    jaw = np.exp(-(((places[2] - 30) / 30) ** 2) / 2)
    places[0] += (places[0] - 88) * np.float32(rng.normal(0, 0.06)) * jaw


def _rotation(angles):
    """Turn about the right, front and up axes, radians."""
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        one, two = [n for n in range(3) if n != axis]
        turn = np.eye(3)
        turn[one, one] = turn[two, two] = np.cos(angle)
        turn[one, two], turn[two, one] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
    return matrix


def _contrast(anatomy, inside, suffix, rng):
    """Template intensities as another sequence shows them; skull and air stay dark."""
    changed = [np.interp(anatomy, *curve[suffix]).astype(np.float32) for curve in (INSIDE, OUTSIDE)]
    image = inside * changed[0] + (1 - inside) * changed[1]
    image[(anatomy < AIR) & (inside < 0.5)] *= 0.3
    return image * np.float32(rng.uniform(0.8, 1.3))


def _bias(rng, shape):
    coarse = rng.normal(0, 0.12, (4, 4, 4)).astype(np.float32)
    return np.exp(zoom(coarse, np.array(shape) / 4, order=1, grid_mode=True, mode="nearest"))


def _noisy(image, rng, level):
    """Noise of a magnitude image (Rician)."""
    one, two = (rng.standard_normal(image.shape, np.float32) * np.float32(level) for _ in range(2))
    return np.hypot(image + one, two)
