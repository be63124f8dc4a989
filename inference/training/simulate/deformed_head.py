"""One deformed head in space: what it is made of, where its brain and face are. No contrast and no mask yet."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi
from scipy.spatial.transform import Rotation

from inference.projections.frame import VOXEL_MM, BoolArray, FloatArray
from inference.regions import BRAIN_AT, GRID, surface_of, surface_regions
from inference.training.simulate.heads import GROUPS, Head
from inference.training.simulate.proportions import change_proportions


@dataclass
class DeformedHead:
    """One head in the 3 mm grid of `inference.regions`, axes right, front, up.

    fractions: (16, *GRID) share of each tissue group in a cell, or image: (*GRID) intensity 0-1.
    brain: (*GRID) share of the cell that is brain (eroded by 1 mm). in_view: inside the source's field of view.
    landmarks: (6, 3) cells. to_template: (4, 4) cells -> template voxels, as an ideal registration finds it.
    """

    head: str
    person: str
    modality: str
    fractions: FloatArray | None
    image: FloatArray | None
    brain: FloatArray
    in_view: BoolArray
    landmarks: NDArray[np.float64]
    to_template: NDArray[np.float64]

    @cached_property
    def head_mask(self) -> BoolArray:
        """The head without the cavities in it."""
        tissue = self.fractions[1:].sum(axis=0) > 0.5 if self.fractions is not None else self.image_mask()
        labels, count = ndi.label(tissue)
        if count > 1:
            tissue = labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
        closed = ndi.binary_closing(np.pad(tissue, 3), iterations=2)[3:-3, 3:-3, 3:-3] | tissue
        return np.asarray(ndi.binary_fill_holes(closed))

    def image_mask(self) -> BoolArray:
        """Tissue of an intensity head, by its own threshold."""
        from inference.projections.frame import head_mask

        assert self.image is not None
        return head_mask(self.image)[0]

    @cached_property
    def vertex(self) -> int:
        """The highest cell of the head along the third axis; 0 where there is none."""
        occupied = np.flatnonzero(self.head_mask.any(axis=(0, 1)))
        return int(occupied[-1]) if occupied.size else 0

    @cached_property
    def depth_mm(self) -> FloatArray:
        """Distance below the skin in mm; negative outside."""
        inside = ndi.distance_transform_edt(self.head_mask)
        outside = ndi.distance_transform_edt(~self.head_mask)
        return np.asarray((inside - outside) * VOXEL_MM, np.float32)

    @cached_property
    def brain_mm(self) -> FloatArray:
        """Distance to the brain in mm; negative inside."""
        brain = self.brain > 0.5
        if not brain.any():
            return np.full(GRID, 500, np.float32)
        outside = ndi.distance_transform_edt(~brain)
        return np.asarray((outside - ndi.distance_transform_edt(brain)) * VOXEL_MM, np.float32)

    @cached_property
    def near_face(self) -> BoolArray:
        """Cells of eyes, nose and mouth, and those beside them."""
        face = self.regions["eyes"] | self.regions["nose"] | self.regions["mouth"]
        return np.asarray(ndi.binary_dilation(face))

    @cached_property
    def surface(self) -> BoolArray:
        """The outermost cells of the head."""
        return surface_of(self.head_mask, self.in_view)

    @cached_property
    def regions(self) -> dict[str, BoolArray]:
        """Surface cells of each recognisable region."""
        return surface_regions(self.head_mask, self.in_view, self.landmarks)


def smooth_field(rng: np.random.Generator, shape: tuple[int, ...], knots: int) -> FloatArray:
    """A random field of unit variance that varies over about a `knots`-th of the grid."""
    field = rng.standard_normal((knots, knots, knots)).astype(np.float32)
    for axis, count in enumerate(shape):
        field = np.moveaxis(np.tensordot(field_weights(count, knots), field, axes=(1, axis)), 0, axis)
    return field


def field_weights(count: int, knots: int) -> FloatArray:
    """(count, knots) weights that lead smoothly from one knot to the next."""
    at = np.linspace(0, knots - 1, count)
    low = np.minimum(at.astype(int), knots - 2)
    part = (at - low).astype(np.float32)
    part = part * part * (3 - 2 * part)
    weights = np.zeros((count, knots), np.float32)
    weights[np.arange(count), low] = 1 - part
    weights[np.arange(count), low + 1] += part
    return weights


def random_affine(rng: np.random.Generator) -> NDArray[np.float64]:
    """(3, 3) rotation, scale and shear of a head that lies the way heads lie, one in ten oddly."""
    odd = rng.random() < 0.1
    angles = rng.normal(0, [22, 12, 12] if odd else [9, 4, 4])  # pitch about x, roll about y, yaw about z
    turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    scale = rng.uniform(0.86, 1.14) * np.exp(rng.normal(0, 0.04, 3))
    shear = np.eye(3)
    shear[np.triu_indices(3, 1)] = rng.normal(0, 0.03, 3)
    flip = np.diag([rng.choice([-1.0, 1.0]), 1.0, 1.0])
    return np.asarray(flip @ turn @ shear @ np.diag(1 / scale))


def sampled(head: Head, at: FloatArray, linear: NDArray[np.float64]) -> tuple[FloatArray, FloatArray]:
    """What lies at the eight corners of cells half as wide around `at` (3, N), voxel indices, axes turned by `linear`.

    (16, N) how many of them are of each tissue group, or (1, N) the sum of their intensities; (N,) how many are brain.
    """
    import torch  # measuring a defaced scan needs the regions of an instance, but no torch

    middles = torch.from_numpy(at)
    data, brain = (torch.from_numpy(a.ravel()) for a in (head.data, head.inner_brain))
    count = at.shape[1]
    tissue = torch.zeros((len(GROUPS), count) if head.labels else (1, count))
    brain_share = torch.zeros(count)
    one = torch.ones((1, 1)).expand(1, count)
    for corner in np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T:
        offset = (linear @ (corner * VOXEL_MM / 4)).astype(np.float32)
        flat = torch.zeros(count, dtype=torch.long)
        inside = torch.ones(count, dtype=torch.bool)
        for axis, size in enumerate(head.data.shape):
            index = (middles[axis] + float(offset[axis])).round().long()
            inside &= (index >= 0) & (index < size)
            flat = flat * size + index.clamp(0, size - 1)
        value = data[flat] * inside
        brain_share += brain[flat] & inside
        if head.labels:
            tissue.scatter_add_(0, value.long()[None], one)
        else:
            tissue += value
    return tissue.numpy(), brain_share.numpy()


def make_instance(
    head: Head,
    rng: np.random.Generator,
    *,
    plain: bool = False,
    proportions: bool = False,
) -> DeformedHead:
    """Deform a source head into the instance grid; `plain` leaves it as it is, only placed.

    proportions: give it a face of other proportions as well (`simulate.proportions`).
    """
    linear = np.eye(3) if plain else random_affine(rng)
    middle = head.middle
    cells = np.indices(GRID, dtype=np.float32).reshape(3, -1) - np.array(BRAIN_AT, np.float32)[:, None]
    at = (linear * VOXEL_MM) @ cells + middle[:, None]
    if not plain:
        for axis in range(3):
            wide = smooth_field(rng, GRID, 5) * rng.uniform(1, 5)
            fine = smooth_field(rng, GRID, 10) * rng.uniform(0, 1.6)
            at[axis] += (wide + fine).ravel()
    at = at.astype(np.float32)
    if proportions:
        change_proportions(at, head.landmarks, rng)
    shape = np.array(head.data.shape)[:, None]
    in_view = ((at > -0.5) & (at < shape - 0.5)).all(axis=0)
    count = at.shape[1]
    tissue, brain = sampled(head, at, linear)
    targets = head.landmarks.astype(np.float32)
    nearest = [int(np.argmin(((at - t[:, None]) ** 2).sum(axis=0))) for t in targets]
    landmarks = np.array(np.unravel_index(nearest, GRID), float).T
    inverse = np.linalg.inv(linear * VOXEL_MM)  # landmarks outside the grid follow the linear part
    outside = ((at[:, nearest].T - targets) ** 2).sum(axis=1) > 36
    landmarks[outside] = ((targets[outside] - middle) @ inverse.T) + BRAIN_AT
    pick = rng.choice(count, 4000, replace=False)
    grid = np.indices(GRID).reshape(3, -1)[:, pick]
    to_head, *_ = np.linalg.lstsq(np.vstack([grid, np.ones(4000)]).T, at[:, pick].T, rcond=None)
    to_template = head.to_template @ np.vstack([to_head.T, [0, 0, 0, 1]])
    return DeformedHead(
        head=head.name, person=head.person, modality=head.modality,
        fractions=(tissue / 8).reshape(-1, *GRID) if head.labels else None,
        image=None if head.labels else (tissue / (8 * 255)).reshape(GRID),
        brain=(brain / 8).reshape(GRID), in_view=in_view.reshape(GRID),
        landmarks=landmarks, to_template=to_template,
    )  # fmt: skip
