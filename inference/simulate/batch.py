"""Many defacings of one deformed head at once, in torch on any device: what `sample.simulate` makes one at a time.

For training on an accelerator, where attempts are made while the network learns. Every step follows its namesake in
`contrast`, `masks`, `odd` and `sample`; the random numbers are drawn in another order, so that the same seed gives other
attempts of the same kind. Whoever judges a network takes the ones of `sample.simulate`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage as ndi
from scipy.spatial.transform import Rotation
from torch import Tensor

from inference.projections.batched import cropped, evidence_maps, frames, network_inputs
from inference.projections.frame import VOXEL_MM, BoolArray, FloatArray, box_matrix
from inference.projections.network import CELL
from inference.simulate import odd
from inference.simulate.contrast import (
    CONTRASTS,
    CURVE_AT,
    average_head,
    random_contrast,
    random_curve,
    slices,
)
from inference.simulate.generate import ODD_EVERY
from inference.simulate.instance import GRID, REGIONS, Instance, field_weights
from inference.simulate.masks import TEMPLATE_STEP, moved, template_distance
from inference.simulate.mix import Mix, draw
from inference.simulate.parts import FULL_SURFACE
from inference.simulate.sample import VOXEL_ML, crop_view, slab_view

Made = dict[str, Any]


@dataclass
class Scene:
    """One deformed head as small as it can be sent from a process to another; arrays of numpy.

    tissue: (16, *GRID) uint8 eighths of a cell, or (*GRID) uint16 intensity times 2040. brain: (*GRID) uint8 eighths.
    brain_mm, depth_mm: (*GRID) float16 signed distances. near: within a cell of eyes, nose or mouth. regions: (5, *GRID).
    """

    modality: str
    person: str
    labels: bool
    tissue: NDArray[Any]
    brain: NDArray[np.uint8]
    in_view: BoolArray
    head_mask: BoolArray
    near: BoolArray
    regions: BoolArray
    brain_mm: NDArray[np.float16]
    depth_mm: NDArray[np.float16]
    landmarks: NDArray[np.float64]
    to_template: NDArray[np.float64]
    vertex: int

    @classmethod
    def of(cls, instance: Instance) -> Scene:
        """With everything that costs time on a processor done."""
        labels = instance.fractions is not None
        tissue = instance.fractions * 8 if labels else instance.image * (8 * 255)  # type: ignore[operator]
        face = instance.regions["eyes"] | instance.regions["nose"] | instance.regions["mouth"]
        return cls(
            modality=instance.modality, person=instance.person, labels=labels,
            tissue=np.rint(tissue).astype(np.uint8 if labels else np.uint16),
            brain=np.rint(instance.brain * 8).astype(np.uint8), in_view=instance.in_view, head_mask=instance.head_mask,
            near=np.asarray(ndi.binary_dilation(face)), regions=np.array([instance.regions[name] for name in REGIONS]),
            brain_mm=instance.brain_mm.astype(np.float16), depth_mm=instance.depth_mm.astype(np.float16),
            landmarks=instance.landmarks, to_template=instance.to_template, vertex=instance.vertex,
        )  # fmt: skip

    def to(self, device: str) -> OnDevice:
        """The same on a device."""
        return OnDevice(self, device)


class OnDevice:
    """A scene's arrays as tensors, float32 and bool."""

    def __init__(self, scene: Scene, device: str) -> None:
        self.device, self.labels, self.modality = device, scene.labels, scene.modality
        self.landmarks, self.to_template = scene.landmarks, scene.to_template

        def float32(array: NDArray[Any]) -> Tensor:
            narrow = array.astype(np.int32) if array.dtype == np.uint16 else array
            return torch.from_numpy(np.ascontiguousarray(narrow)).to(device).float()

        self.tissue = float32(scene.tissue) / (8 if scene.labels else 8 * 255)
        self.brain = float32(scene.brain) / 8
        self.brain_mm, self.depth_mm = float32(scene.brain_mm), float32(scene.depth_mm)
        self.in_view, self.head_mask, self.near, self.regions = (
            torch.from_numpy(a).to(device)
            for a in (scene.in_view, scene.head_mask, scene.near, scene.regions)
        )
        self.vertex = scene.vertex
        self.has_brain = bool((scene.brain > 4).any())
        self.cells = [torch.from_numpy(np.flatnonzero(r & scene.in_view)).to(device) for r in scene.regions]
        self.top = 0.0 if scene.labels else float(np.percentile(scene.tissue, 99.5)) / (8 * 255)

    @cached_property
    def grown(self) -> tuple[Tensor, Tensor]:
        """The head with one and with two cells around it."""
        once = dilated(self.head_mask)
        return once, dilated(once)

    @cached_property
    def axes(self) -> tuple[Tensor, Tensor, Tensor]:
        """Open coordinate arrays of the grid in mm."""
        shapes = ((-1, 1, 1), (1, -1, 1), (1, 1, -1))
        x, y, z = (
            (torch.arange(n, device=self.device) * VOXEL_MM).view(s)
            for n, s in zip(GRID, shapes, strict=True)
        )
        return x, y, z

    @cached_property
    def parts(self) -> Tensor:
        """(5, *GRID) float32: brain; eyes, nose, mouth, ears in view."""
        eyes, nose, mouth, left, right = self.regions & self.in_view
        return torch.stack([self.brain, eyes.float(), nose.float(), mouth.float(), (left | right).float()])


def dilated(cells: Tensor, iterations: int = 1) -> Tensor:
    """(..., X, Y, Z) bool with the six neighbours of every cell."""
    for _ in range(iterations):
        out = cells.clone()
        for axis in (-3, -2, -1):
            n = cells.shape[axis]
            out.narrow(axis, 1, n - 1).logical_or_(cells.narrow(axis, 0, n - 1))
            out.narrow(axis, 0, n - 1).logical_or_(cells.narrow(axis, 1, n - 1))
        cells = out
    return cells


def along(data: Tensor, matrix: NDArray[Any] | Tensor, axis: int) -> Tensor:
    """(..., X, Y, Z) with a matrix applied along one of its last three axes (-3, -2, -1)."""
    m = torch.as_tensor(np.asarray(matrix, np.float32) if isinstance(matrix, np.ndarray) else matrix).to(
        data.device
    )
    return (data.movedim(axis, -1) @ m.T).movedim(-1, axis)


def affine(volume: Tensor, matrix: FloatArray, offset: FloatArray, padding: str) -> Tensor:
    """(*GRID) of `volume` at matrix @ cell + offset, linear between voxels; padding 'border' or 'zeros'."""
    rows = torch.tensor(np.column_stack([matrix, offset]), dtype=torch.float32, device=volume.device)
    x, y, z = (torch.arange(n, device=volume.device, dtype=torch.float32) for n in GRID)
    at = [r[0] * x[:, None, None] + r[1] * y[None, :, None] + r[2] * z[None, None, :] + r[3] for r in rows]
    scaled = [2 * a / (n - 1) - 1 for a, n in zip(at, volume.shape, strict=True)]
    grid = torch.stack(scaled[::-1], dim=-1)[None]
    out = torch.nn.functional.grid_sample(volume[None, None], grid, "bilinear", padding, align_corners=True)
    return out[0, 0]


@lru_cache(maxsize=8)
def on_device(name: str, device: str) -> Tensor:
    """The average head, or the distance to a template mask's border, as a tensor."""
    array = average_head() if name == "average" else template_distance(name)
    return torch.from_numpy(array).to(device)


def smoothing(n: int, sigma: float) -> NDArray[np.float32]:
    """(n, n) what ndi.gaussian_filter1d does, ends reflected."""
    return np.asarray(ndi.gaussian_filter1d(np.eye(n), sigma, axis=0), np.float32)


def averaging(n: int, size: int) -> NDArray[np.float32]:
    """(n, n) what ndi.uniform_filter1d does."""
    return np.asarray(ndi.uniform_filter1d(np.eye(n), size, axis=0), np.float32)


class Maker:
    """Makes attempts of one head; all choices from `rng`, noise from a generator on the device."""

    def __init__(self, scene: OnDevice, rng: np.random.Generator, mix: Mix) -> None:
        self.scene, self.rng, self.mix = scene, rng, mix
        self.noise = torch.Generator(device=scene.device).manual_seed(int(rng.integers(2**62)))
        self.x, self.y, self.z = scene.axes

    # intensities

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers on the device."""
        return torch.randn(shape, generator=self.noise, device=self.scene.device)

    def even(self, *shape: int) -> Tensor:
        """Numbers between 0 and 1 on the device."""
        return torch.rand(shape, generator=self.noise, device=self.scene.device)

    def column(self, values: Any) -> Tensor:
        """(N, 1, 1, 1) float32 on the device."""
        return torch.as_tensor(np.asarray(values, np.float32)).to(self.scene.device).view(-1, 1, 1, 1)

    def fields(self, count: int, knots: int) -> Tensor:
        """(count, *GRID) smooth random fields."""
        out = self.normal(count, knots, knots, knots)
        for axis, n in zip((-3, -2, -1), GRID, strict=True):
            out = along(out, field_weights(n, knots), axis)
        return out

    def paint(self, count: int) -> tuple[list[str], Tensor]:
        """(contrasts, (count, *GRID) images without noise)."""
        rng, scene = self.rng, self.scene
        if scene.labels:
            pairs = [random_contrast(rng, CONTRASTS) for _ in range(count)]
            names = [name for name, _ in pairs]
            levels = torch.from_numpy(np.array([level for _, level in pairs], np.float32)).to(scene.device)
            images = (levels @ scene.tissue.flatten(1)).view(count, *GRID)
            rough = self.normal(count, *GRID) * self.column(rng.uniform(0.02, 0.1, count))
            images = images * (1 + self.fields(count, 14) * 0.05 + rough)
        else:
            names = [scene.modality] * count
            images = torch.stack([self.tone_curve() for _ in range(count)])
        field = torch.exp(self.fields(count, 4) * self.column(rng.uniform(0, 0.28, count)))
        return names, (images * field).clamp(min=0)

    def tone_curve(self) -> Tensor:
        """A real head's intensities through a random curve, seldom inverted."""
        power, knots, inverted = random_curve(self.rng)
        x = (self.scene.tissue / max(self.scene.top, 1e-6)).clamp(0, 1.3).pow(power)
        if knots is not None:
            bent = torch.full_like(x, float(knots[0]))
            for low, high, first, last in zip(
                CURVE_AT[:-1], CURVE_AT[1:], knots[:-1], knots[1:], strict=True
            ):
                bent += ((x - low) / (high - low)).clamp(0, 1) * float(last - first)
            x = bent
        if inverted:
            x = torch.where(x > 0.12, (1.15 - x).clamp(min=0.05), x * 0.3)
        return x

    def acquire(self, images: Tensor) -> Tensor:
        """Noise of magnitude images; now and then the air was zeroed before."""
        rng, count = self.rng, len(images)
        high = rng.random(count) < 0.2
        sigma = self.column(np.where(high, rng.uniform(0.03, 0.09, count), rng.uniform(0.003, 0.03, count)))
        noisy = torch.hypot(images + self.normal(*images.shape) * sigma, self.normal(*images.shape) * sigma)
        zeroed = np.flatnonzero(rng.random(count) < 0.3)
        if len(zeroed):
            noisy[zeroed] *= dilated(images[zeroed] > 0.06)
        return noisy

    def thick_slices(self, image: Tensor) -> Tensor:
        """(*GRID) of thick slices, acquired across a random axis and interpolated."""
        axis, size = slices(self.rng)
        n = GRID[axis]
        down = box_matrix(n, VOXEL_MM, size)
        matrix = box_matrix(down.shape[0], size, VOXEL_MM) @ down
        whole = np.eye(n, dtype=np.float32)
        whole[: min(n, len(matrix))] = matrix[:n]
        return along(image, whole, axis - 3)

    def fill(self, image: Tensor, share: Tensor) -> tuple[str, Tensor]:
        """(fill, image) with what a tool puts in the place of what it removes."""
        rng, kind = self.rng, draw(self.mix.fills, self.rng)
        new: Tensor | float
        if kind == "zero":
            new = 0.0
        elif kind == "minimum":
            new = image.min()
        elif kind == "constant":
            new = float(rng.uniform(0.1, 0.9))
        elif kind == "noise":
            new = self.normal(*GRID).abs() * float(rng.uniform(0.01, 0.08))
        elif kind == "tissue_noise":
            new = self.even(*GRID) * float(rng.uniform(0.5, 1.2))
        elif kind == "reface":
            matrix = np.diag([0.5, 0.5, 0.5, 1.0]) @ self.scene.to_template
            offset = matrix[:3, 3] + rng.normal(0, 1.5, 3)
            face = affine(on_device("average", self.scene.device), matrix[:3, :3], offset, "zeros")
            new = face.pow(float(rng.uniform(0.6, 1.4))) * float(rng.uniform(*self.mix.reface_gain))
        else:
            blurred = kind == "blur"
            width = float(rng.uniform(3.0, 5.5)) if blurred else int(rng.choice([7, 9]))
            new = image
            for axis, n in zip((-3, -2, -1), GRID, strict=True):
                new = along(new, smoothing(n, width) if blurred else averaging(n, int(width)), axis)
        if kind not in ("zero", "minimum", "reface") and rng.random() < 0.65:
            new = new * self.scene.grown[int(rng.integers(2))]
        return kind, image * (1 - share) + new * share

    # masks

    def ball(self, centre: Any, radii: Any) -> Tensor:
        """(*GRID) one minus the distance from a point in mm, in radii."""
        x, y, z = ((a - centre[n]) / float(radii[n]) for n, a in enumerate((self.x, self.y, self.z)))
        return 1 - (x * x + y * y + z * z).sqrt()

    def sphere(self, centre: Any, radius: float) -> Tensor:
        """(*GRID) mm inside a sphere."""
        return self.ball(centre, (radius,) * 3) * radius

    def template(self) -> Tensor:
        """See `masks.template_mask`."""
        kind = "ears" if self.rng.random() < 0.35 else "face"
        matrix = np.diag([1 / TEMPLATE_STEP] * 3 + [1.0]) @ self.scene.to_template @ moved(self.rng)
        distance = affine(on_device(kind, self.scene.device), matrix[:3, :3], matrix[:3, 3] + 30, "border")
        return soft(distance + float(self.rng.normal(3, 11)))

    def plane(self) -> Tensor:
        """See `masks.plane`."""
        rng = self.rng
        angle = np.deg2rad(rng.uniform(15, 65))
        roll = np.deg2rad(rng.normal(0, 4) * (4 if rng.random() < 0.1 else 1))
        normal = [float(np.sin(roll)), float(np.cos(angle)), float(-np.sin(angle))]
        height = normal[0] * self.x + normal[1] * self.y + normal[2] * self.z
        brain = self.scene.brain > 0.5
        edge = torch.where(brain, height, -torch.inf).amax() if self.scene.has_brain else height.median()
        return soft(height - edge - float(rng.normal(4, 12)))

    def margin(self) -> Tensor:
        """See `masks.brain_margin`."""
        rng, at = self.rng, self.scene.landmarks * VOXEL_MM
        eyes, nose = at[:2].mean(axis=0), at[2]
        front = self.y - float(eyes[1] - rng.uniform(5, 45))
        low = float(eyes[2] + rng.uniform(8, 45)) - self.z + 0.35 * (self.y - float(nose[1]))
        brain = self.scene.brain_mm
        if rng.random() < 0.3:
            brain = affine(brain, np.eye(3), -rng.normal(0, 14, 3) / VOXEL_MM, "border")
        margin = float(
            rng.choice([rng.uniform(2, 12), rng.uniform(12, 32), rng.uniform(-14, 2)], p=[0.55, 0.2, 0.25])
        )
        return soft(torch.minimum(torch.minimum(front, low), brain - margin))

    def box(self) -> Tensor:
        """See `masks.box`."""
        rng, at = self.rng, self.scene.landmarks * VOXEL_MM
        turn = Rotation.from_euler("xyz", rng.normal(0, 6, 3), degrees=True).as_matrix()
        eyes, mouth = (float(v) for v in at[:2].mean(axis=0)), at[3]
        ex, ey, ez = eyes
        u = [
            float(r[0]) * (self.x - ex) + float(r[1]) * (self.y - ey) + float(r[2]) * (self.z - ez)
            for r in turn
        ]
        back, top = float(rng.normal(-12, 18)), float(rng.normal(10, 14))
        bottom = float((mouth[2] - ez) - rng.uniform(-10, 70))
        wide = float(rng.uniform(45, 110))
        inside = torch.minimum(
            torch.minimum(u[1] - back, top - u[2]), torch.minimum(u[2] - bottom, wide - u[0].abs())
        )
        return soft(inside)

    def shell(self) -> Tensor:
        """See `masks.shell`."""
        rng, marks = self.rng, self.scene.landmarks
        off = rng.normal(0, 5, 3) if rng.random() < 0.6 else rng.normal(0, 22, 3)
        centre = (marks[:2].mean(axis=0) + marks[2] + marks[3]) / 3 * VOXEL_MM + off
        radii = rng.uniform([40, 30, 45], [70, 60, 90])
        inside = self.ball(centre, radii) * float(radii.mean())
        depth = float(rng.uniform(4, 22) if rng.random() < 0.8 else rng.uniform(22, 45))
        return soft(torch.minimum(inside, depth - self.scene.depth_mm.clamp(min=-3)))

    def spheres(self) -> Tensor:
        """See `masks.spheres`."""
        rng = self.rng
        off = rng.normal(0, 3 if rng.random() < 0.7 else 12, 3)
        sizes = rng.uniform([18, 18, 20, 26, 24, 24], [34, 34, 42, 55, 44, 44])
        keep = rng.random(6) < [0.9, 0.9, 0.9, 0.9, 0.5, 0.5]
        distance = torch.full(GRID, -99.0, device=self.scene.device)
        for point, size, there in zip(self.scene.landmarks * VOXEL_MM + off, sizes, keep, strict=True):
            if there:
                distance = torch.maximum(distance, self.sphere(point, float(size)))
        return soft(distance)

    def nothing(self) -> Tensor:
        """No defacing at all."""
        return torch.zeros(GRID, device=self.scene.device)

    def half(self) -> Tensor:
        """See `masks.half`."""
        rng, face = self.rng, self.scene.landmarks[:4].mean(axis=0) * VOXEL_MM
        axis = int(rng.choice(3, p=[0.5, 0.0, 0.5]))
        at = ((self.x, self.y, self.z)[axis] - float(face[axis])) * float(rng.choice([-1, 1]))
        stops = soft(at + float(rng.normal(0, 12)))
        return torch.minimum(self.any_good(), stops)

    def leave(self) -> Tensor:
        """See `masks.leave_feature`."""
        rng, out = self.rng, self.any_good()
        for index in rng.choice(4, rng.integers(1, 3), replace=False):
            point = self.scene.landmarks[index] * VOXEL_MM
            out = torch.minimum(out, 1 - soft(self.sphere(point, float(rng.uniform(18, 34)))))
        return out

    def bitten(self) -> Tensor:
        """See `masks.bitten`."""
        rng, scene = self.rng, self.scene
        out = self.any_good() if rng.random() < 0.8 else self.nothing()
        if not scene.has_brain:
            return out
        near = (scene.brain_mm < 4) & (scene.brain_mm > -8)
        if rng.random() < 0.6:
            within = near & dilated(out > 0.5, 5)
            near = torch.where(within.any(), within, near)
        drawn = torch.where(near, self.even(*GRID), -1.0).flatten().argmax()
        _, ny, nz = GRID
        cell = (drawn // (ny * nz), drawn // nz % ny, drawn % nz)
        point = [c.float() * VOXEL_MM for c in cell]
        radii = rng.uniform(6, 30) * np.exp(rng.normal(0, 0.25, 3))
        return torch.maximum(out, soft(self.ball(point, radii) * float(radii.mean())))

    def any_good(self) -> Tensor:
        """One of the tool families, whatever comes."""
        return self.family(str(self.rng.choice(["template", "plane", "margin", "box", "shell", "spheres"])))

    def family(self, name: str) -> Tensor:
        """(*GRID) the share of each cell removed by a mask of this family."""
        makers: dict[str, Callable[[], Tensor]] = {
            "template": self.template, "plane": self.plane, "margin": self.margin, "box": self.box,
            "shell": self.shell, "spheres": self.spheres, "nothing": self.nothing, "half": self.half,
            "leave": self.leave, "bitten": self.bitten,
        }  # fmt: skip
        return makers[name]()

    # what is no defaced head

    def odd(self, kind: str, image: Tensor) -> Tensor:
        """See `odd`: one thing that is not a head as it should be, before noise."""
        rng = self.rng
        if kind == "stripped":
            return torch.where(self.scene.brain_mm < float(rng.uniform(-1, 5)), image, 0.0)
        if kind == "animal":
            zoom = rng.uniform(0.2, 0.62) * np.exp(rng.normal(0, 0.25, 3))
            centre = np.array(GRID) / 2
            return affine(image, np.diag(1 / zoom), centre - centre / zoom, "zeros")
        if kind == "turned":
            way = rng.integers(4)
            if way < 2:
                return image.flip(2 - int(way))
            if way == 2:
                return image.transpose(1, 2).contiguous()
            across = image.permute(2, 1, 0)  # 92 x 92 x 76 cells brought to the grid
            return torch.nn.functional.pad(across[8:-8], (8, 8))
        made = odd.MAKERS[kind](None, rng, None)  # type: ignore[arg-type]  # drawn from nothing
        return torch.from_numpy(np.ascontiguousarray(made)).to(self.scene.device)


def soft(distance_mm: Tensor) -> Tensor:
    """Signed distance (positive is removed) -> share of the cell removed."""
    return (0.5 + distance_mm / VOXEL_MM).clamp(0, 1)


def blocks_of(scene: OnDevice, share: Tensor, seen: Tensor, starts: list[tuple[int, int, int]]) -> Tensor:
    """(N, 10, 16, 20, 20) bytes, the shares of PARTS; share, seen (N, *GRID)."""
    count = len(share)
    inside = cropped(seen.float(), starts)[:, None]
    parts = cropped(scene.parts.expand(count, *scene.parts.shape), starts) * inside
    gone = parts * cropped(share, starts)[:, None]
    sums = [torch.nn.functional.avg_pool3d(p, CELL) * CELL**3 for p in (parts, gone)]
    whole, removed = sums
    out = [removed[:, 0] / CELL**3, whole[:, 0] / CELL**3]
    for n in range(1, 5):
        out += [(whole - removed)[:, n] / FULL_SURFACE, removed[:, n] / FULL_SURFACE]
    # PARTS name what is left of a region before what is gone
    return (torch.stack(out, dim=1).clamp(0, 1) * 255 + 0.5).to(torch.uint8)


def regions_kept(scene: OnDevice, share: Tensor, seen: Tensor) -> Tensor:
    """(N, 5) share of each region's surface that is still there; NaN where most of it is out of view."""
    columns = []
    for cells in scene.cells:
        there = seen.flatten(1)[:, cells].float()
        left = ((1 - share.flatten(1)[:, cells]) * there).sum(1)
        count = there.sum(1)
        columns.append(torch.where(count >= max(20.0, 0.4 * len(cells)), left / count, torch.nan))
    return torch.stack(columns, dim=1)


@torch.no_grad()
def make(scene: OnDevice, count: int, rng: np.random.Generator, mix: Mix) -> Made:
    """`count` attempts, one in twelve no defaced head: the arrays of a shard.

    Tensors on the device: surfaces (N, 6, 6, 80, 80) uint8, volumes (N, 64, 80, 80) uint8, evidence (N, 6, 2, 10, 10) bool,
    blocks (N, 10, 16, 20, 20) uint8. Of numpy: brain_ml (N,) and kept (N, 5) float32, NaN as in a shard; names (N, 3).
    """
    maker = Maker(scene, rng, mix)
    contrasts, images = maker.paint(count)
    heads = [n for n in range(count) if n % ODD_EVERY != ODD_EVERY - 1]
    names: list[tuple[str, str, str]] = [("odd", "", "")] * count
    late = dict.fromkeys(heads, False)
    for n in range(count):
        if n in late:
            late[n] = bool(rng.random() < 0.35)
            if late[n] and rng.random() < 0.6:
                images[n], late[n] = maker.thick_slices(images[n]), False
        else:
            kind = odd.draw_kind(rng)
            images[n], names[n] = maker.odd(kind, images[n]), ("odd", kind, "")
    images = maker.acquire(images)
    share = torch.zeros(count, *GRID, device=scene.device)
    whole = (slice(0, GRID[0]), slice(0, GRID[1]), slice(0, GRID[2]))
    views = [whole] * count
    seen = torch.zeros(count, *GRID, dtype=torch.bool, device=scene.device)
    for n in heads:
        slab = rng.random() < mix.slabs
        family = "nothing" if slab and rng.random() < 0.5 else draw(mix.masks, rng)
        share[n] = maker.family(family)
        fill, images[n] = maker.fill(images[n], share[n])
        if late[n]:
            images[n] = maker.thick_slices(images[n])
        views[n] = slab_view(scene.landmarks, scene.vertex, rng) if slab else crop_view(scene.landmarks, rng)
        names[n] = (family, fill, contrasts[n])
        seen[(n, *views[n])] = True
    found = frames(images, views)
    surfaces, volumes = network_inputs(found)
    lost = scene.brain * share * seen
    missing = cropped(lost > 0.5, found.starts)
    left = cropped(scene.near & (share < 0.5) & seen, found.starts)
    kept = regions_kept(scene, share, seen)
    brain_ml = lost.flatten(1).sum(1) * VOXEL_ML
    is_head = torch.zeros(count, dtype=torch.bool, device=scene.device)
    is_head[heads] = True
    blocks = blocks_of(scene, share, seen, found.starts)
    blocks[~is_head] = 0
    evidence = evidence_maps(missing, left, found) & is_head.view(-1, 1, 1, 1, 1)
    return {
        "surfaces": surfaces, "volumes": volumes, "evidence": evidence, "blocks": blocks,
        "brain_ml": torch.where(is_head, brain_ml, torch.nan).cpu().numpy(),
        "kept": torch.where(is_head[:, None], kept, torch.nan).cpu().numpy(), "names": np.array(names),
    }  # fmt: skip
