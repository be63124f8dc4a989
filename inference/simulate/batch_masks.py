"""The families of `masks` in torch: the same choices give the same masks, but for the place of a bite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from inference.projections.frame import VOXEL_MM
from inference.simulate.instance import GRID
from inference.simulate.masks import TEMPLATE_STEP, moved
from inference.simulate.mix import Mix
from inference.simulate.on_device import OnDevice, affine, dilated, on_device


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
