"""The families of `masks` in torch: the same choices give the same masks, but for the place of a bite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inference.deface.masks import in_template_cells
from inference.projections.frame import VOXEL_MM
from inference.regions import GRID
from inference.training.gpu.on_device import OnDevice, affine, dilated, on_device
from inference.training.simulate import masks
from inference.training.simulate.mixtures import Mix


def soft(distance_mm: Tensor) -> Tensor:
    """Signed distance (positive is removed) -> share of the cell removed."""
    return (0.5 + distance_mm / VOXEL_MM).clamp(0, 1)


class Masks:
    """Makes masks for one head, (*GRID) shares removed; all choices from `rng`, noise from a generator on the device."""

    def __init__(self, scene: OnDevice, rng: np.random.Generator, mix: Mix) -> None:
        self.scene, self.rng, self.mix = scene, rng, mix
        self.noise = torch.Generator(device=scene.device).manual_seed(int(rng.integers(2**62)))
        self.x, self.y, self.z = scene.axes

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers on the device."""
        return torch.randn(shape, generator=self.noise, device=self.scene.device)

    def even(self, *shape: int) -> Tensor:
        """Numbers between 0 and 1 on the device."""
        return torch.rand(shape, generator=self.noise, device=self.scene.device)

    def ball(self, centre: Any, radii: Any) -> Tensor:
        """(*GRID) one minus the distance from a point in mm, in radii."""
        x, y, z = ((a - centre[n]) / float(radii[n]) for n, a in enumerate((self.x, self.y, self.z)))
        return 1 - (x * x + y * y + z * z).sqrt()

    def sphere(self, centre: Any, radius: float) -> Tensor:
        """(*GRID) mm inside a sphere."""
        return self.ball(centre, (radius,) * 3) * radius

    def template(self) -> Tensor:
        """See `masks.template_mask`."""
        kind, off, wider = masks.template_choices(self.rng)
        matrix, offset = in_template_cells(self.scene.to_template @ off)
        distance = affine(on_device(kind, self.scene.device), matrix, offset, "border")
        return soft(distance + wider)

    def plane(self) -> Tensor:
        """See `masks.plane`."""
        normal, clear = masks.plane_choices(self.rng)
        across, ahead, up = normal.tolist()
        height = across * self.x + ahead * self.y + up * self.z
        brain = self.scene.brain > 0.5
        edge = torch.where(brain, height, -torch.inf).amax() if self.scene.has_brain else height.median()
        return soft(height - edge - clear)

    def margin(self) -> Tensor:
        """See `masks.brain_margin`."""
        at = self.scene.landmarks * VOXEL_MM
        eyes, nose = at[:2].mean(axis=0), at[2]
        behind, above, off, margin = masks.margin_choices(self.rng)
        front = self.y - float(eyes[1] - behind)
        low = float(eyes[2] + above) - self.z + 0.35 * (self.y - float(nose[1]))
        brain = self.scene.brain_mm
        if off is not None:
            brain = affine(brain, np.eye(3), -off / VOXEL_MM, "border")
        return soft(torch.minimum(torch.minimum(front, low), brain - margin))

    def box(self) -> Tensor:
        """See `masks.box`."""
        at = self.scene.landmarks * VOXEL_MM
        turn, back, top, below, wide = masks.box_choices(self.rng)
        ex, ey, ez = at[:2].mean(axis=0).tolist()
        u = [r[0] * (self.x - ex) + r[1] * (self.y - ey) + r[2] * (self.z - ez) for r in turn.tolist()]
        bottom = float(at[3, 2] - ez - below)
        inside = torch.minimum(
            torch.minimum(u[1] - back, top - u[2]), torch.minimum(u[2] - bottom, wide - u[0].abs())
        )
        return soft(inside)

    def shell(self) -> Tensor:
        """See `masks.shell`."""
        marks = self.scene.landmarks
        off, radii, depth = masks.shell_choices(self.rng)
        centre = (marks[:2].mean(axis=0) + marks[2] + marks[3]) / 3 * VOXEL_MM + off
        inside = self.ball(centre, radii) * float(radii.mean())
        return soft(torch.minimum(inside, depth - self.scene.depth_mm.clamp(min=-3)))

    def spheres(self) -> Tensor:
        """See `masks.spheres`."""
        off, sizes, keep = masks.sphere_choices(self.rng)
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
        face = self.scene.landmarks[:4].mean(axis=0) * VOXEL_MM
        axis, side, off = masks.half_choices(self.rng)
        stops = soft(((self.x, self.y, self.z)[axis] - float(face[axis])) * side + off)
        return torch.minimum(self.any_good(), stops)

    def leave(self) -> Tensor:
        """See `masks.leave_feature`."""
        out = self.any_good()
        for index, radius in masks.left_out(self.rng):
            out = torch.minimum(out, 1 - soft(self.sphere(self.scene.landmarks[index] * VOXEL_MM, radius)))
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
        radii = masks.bite_radii(rng)
        return torch.maximum(out, soft(self.ball(point, radii) * float(radii.mean())))

    def any_good(self) -> Tensor:
        """One of the tool families, whatever comes."""
        return self.family(str(self.rng.choice(masks.TOOLS)))

    def family(self, name: str) -> Tensor:
        """(*GRID) the share of each cell removed by a mask of this family."""
        makers: dict[str, Callable[[], Tensor]] = {
            "template": self.template, "plane": self.plane, "margin": self.margin, "box": self.box,
            "shell": self.shell, "spheres": self.spheres, "nothing": self.nothing, "half": self.half,
            "leave": self.leave, "bitten": self.bitten,
        }  # fmt: skip
        return makers[name]()
