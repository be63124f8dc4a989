"""Many defacings of one deformed head at once, in torch on a CPU or with CUDA: what `sample.simulate` makes one at a time.

For training on an accelerator, where attempts are made while the network learns. Every step follows its namesake in
`contrast`, `masks`, `odd` and `sample`; the random numbers are drawn in another order, so that the same seed gives other
attempts of the same kind. Whoever judges a network takes the ones of `sample.simulate`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from inference.projections.frame import VOXEL_MM, box_matrix
from inference.projections.network_input import CELL, FULL_SURFACE
from inference.regions import GRID
from inference.training.gpu.batch_masks import Masks
from inference.training.gpu.batched_frames import cropped, evidence_maps, frames, network_inputs
from inference.training.gpu.on_device import OnDevice, affine, along, averaging, dilated, on_device, smoothing
from inference.training.simulate import negatives
from inference.training.simulate.deformed_head import field_weights
from inference.training.simulate.generate import ODD_EVERY
from inference.training.simulate.intensities import CONTRASTS, CURVE_AT, random_contrast, random_curve, slices
from inference.training.simulate.mixtures import Mix, draw
from inference.training.simulate.sample import VOXEL_ML, crop_view, least_in_sight, slab_view

Made = dict[str, Any]


class Maker(Masks):
    """Makes attempts of one head."""

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

    # what is no defaced head

    def odd(self, kind: str, image: Tensor) -> Tensor:
        """See `odd`: one thing that is not a head as it should be, before noise.

        Turned to have its crown to one side, a head loses 8 cells at both ends: here all images have one size.
        """
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
        made = negatives.MAKERS[kind](None, rng, None)  # type: ignore[arg-type]  # drawn from nothing
        return torch.from_numpy(np.ascontiguousarray(made)).to(self.scene.device)


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
        columns.append(torch.where(count >= least_in_sight(len(cells)), left / count, torch.nan))
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
            kind = negatives.draw_kind(rng)
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
