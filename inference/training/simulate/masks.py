"""Ways in which defacing tools cut, done well and done badly: (*GRID) float32, the share of each cell removed.

Every family follows what a kind of tool does (template mask by affine registration, plane clear of the brain,
brain plus margin, box, thin shell, spheres around features); its failures are that family's own: a mask that
is shifted, turned, scaled, mirrored, too large, too small, or lets one feature out.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi
from scipy.spatial.transform import Rotation

from inference.deface import masks
from inference.deface.masks import soft
from inference.projections.frame import VOXEL_MM, FloatArray
from inference.regions import GRID
from inference.training.simulate.deformed_head import DeformedHead
from inference.training.simulate.mixtures import USUAL, Mix, draw

Family = Callable[[DeformedHead, np.random.Generator], FloatArray]


def axes_mm() -> tuple[FloatArray, FloatArray, FloatArray]:
    """Open (x, y, z) coordinate arrays of the instance grid in mm."""
    x, y, z = np.ogrid[: GRID[0], : GRID[1], : GRID[2]]
    return tuple(a.astype(np.float32) * VOXEL_MM for a in (x, y, z))  # type: ignore[return-value]


def perturbation(rng: np.random.Generator, severity: float) -> NDArray[np.float64]:
    """(4, 4) about the middle of the grid, cells to cells: how far a registration is off."""
    turn = Rotation.from_euler("xyz", rng.normal(0, 14 * severity, 3), degrees=True).as_matrix()
    scale = np.diag(np.exp(rng.normal(0, 0.10 * severity, 3)))
    matrix = np.eye(4)
    matrix[:3, :3] = turn @ scale
    centre = np.array(GRID) / 2
    matrix[:3, 3] = centre - matrix[:3, :3] @ centre + rng.normal(0, 12 * severity, 3) / VOXEL_MM
    return matrix


def gross(rng: np.random.Generator) -> NDArray[np.float64]:
    """A registration that went to the wrong place: mirrored front to back or upside down, or turned by a quarter."""
    kind = rng.integers(4)
    flips = (np.diag([1, -1, 1]), np.diag([1, 1, -1]), np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]]),
             np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]]))  # fmt: skip
    matrix = np.eye(4)
    matrix[:3, :3] = flips[kind]
    centre = np.array(GRID) / 2
    matrix[:3, 3] = centre - matrix[:3, :3] @ centre
    return perturbation(rng, 1.0) @ matrix


def severity(rng: np.random.Generator) -> float:
    """How badly a run went: mostly well."""
    return float(rng.choice([0.15, 0.5, 1.2, 2.2], p=[0.5, 0.2, 0.18, 0.12]))


def moved(rng: np.random.Generator) -> NDArray[np.float64]:
    """A misplacement of any size."""
    return gross(rng) if rng.random() < 0.15 else perturbation(rng, severity(rng))


def template_choices(rng: np.random.Generator) -> tuple[str, NDArray[np.float64], float]:
    """(mask, misplacement, mm that it is too wide) of a template mask."""
    kind = "ears" if rng.random() < 0.35 else "face"
    return kind, moved(rng), float(rng.normal(3, 11))


def template_mask(instance: DeformedHead, rng: np.random.Generator) -> FloatArray:
    """pydeface, fsl_deface, spm_deface and niimath: a mask of the average head laid on by a registration."""
    kind, off, wider = template_choices(rng)
    return masks.template_mask(kind, instance.to_template @ off, wider)


def plane_choices(rng: np.random.Generator) -> tuple[NDArray[np.float64], float]:
    """(normal, mm clear of the brain) of a plane."""
    angle = np.deg2rad(rng.uniform(15, 65))
    roll = np.deg2rad(rng.normal(0, 4) * (4 if rng.random() < 0.1 else 1))
    return np.array([np.sin(roll), np.cos(angle), -np.sin(angle)]), float(rng.normal(4, 12))


def plane(instance: DeformedHead, rng: np.random.Generator) -> FloatArray:
    """quickshear: everything in front of and below a plane that just clears the brain."""
    x, y, z = axes_mm()
    normal, clear = plane_choices(rng)
    height = normal[0] * x + normal[1] * y + normal[2] * z
    brain = instance.brain > 0.5
    edge = float(height[brain].max()) if brain.any() else float(np.median(height))
    return soft((height - edge - clear).astype(np.float32))


def margin_choices(rng: np.random.Generator) -> tuple[float, float, NDArray[np.float64] | None, float]:
    """(mm behind the eyes, mm above them, mm that the brain is misplaced or None, mm around the brain)."""
    behind, above = rng.uniform(5, 45), rng.uniform(8, 45)
    off = rng.normal(0, 14, 3) if rng.random() < 0.3 else None
    around = rng.choice([rng.uniform(2, 12), rng.uniform(12, 32), rng.uniform(-14, 2)], p=[0.55, 0.2, 0.25])
    return behind, above, off, float(around)


def brain_margin(instance: DeformedHead, rng: np.random.Generator) -> FloatArray:
    """mri_deface and 'brain plus margin': all in the front lower part that is not near the brain."""
    x, y, z = axes_mm()
    eyes, nose = instance.landmarks[:2].mean(axis=0) * VOXEL_MM, instance.landmarks[2] * VOXEL_MM
    behind, above, off, margin = margin_choices(rng)
    front = y - (eyes[1] - behind)
    low = (eyes[2] + above) - z + 0.35 * (y - nose[1])
    brain = instance.brain_mm
    if off is not None:
        brain = ndi.shift(brain, off / VOXEL_MM, order=1, mode="nearest")
    return soft(np.minimum(np.minimum(front, low), brain - margin) + 0 * x)


def box_choices(rng: np.random.Generator) -> tuple[NDArray[np.float64], float, float, float, float]:
    """(turn (3, 3); mm from the eyes to the back and the top, from the mouth to the bottom, half the width) of a box."""
    turn = Rotation.from_euler("xyz", rng.normal(0, 6, 3), degrees=True).as_matrix()
    return turn, rng.normal(-12, 18), rng.normal(10, 14), rng.uniform(-10, 70), rng.uniform(45, 110)


def box(instance: DeformedHead, rng: np.random.Generator) -> FloatArray:
    """A box in front of the face, as early data sharing used."""
    x, y, z = axes_mm()
    turn, back, top, below, wide = box_choices(rng)
    eyes, mouth = instance.landmarks[:2].mean(axis=0) * VOXEL_MM, instance.landmarks[3] * VOXEL_MM
    u = [
        turn[i, 0] * (x - eyes[0]) + turn[i, 1] * (y - eyes[1]) + turn[i, 2] * (z - eyes[2]) for i in range(3)
    ]
    bottom = (mouth[2] - eyes[2]) - below
    inside = np.minimum(np.minimum(u[1] - back, top - u[2]), np.minimum(u[2] - bottom, wide - np.abs(u[0])))
    return soft(inside.astype(np.float32))


def shell_choices(rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """(mm that the shell is misplaced, its radii, its depth)."""
    off = rng.normal(0, 5, 3) if rng.random() < 0.6 else rng.normal(0, 22, 3)
    radii = rng.uniform([40, 30, 45], [70, 60, 90])
    return off, radii, rng.uniform(4, 22) if rng.random() < 0.8 else rng.uniform(22, 45)


def shell(instance: DeformedHead, rng: np.random.Generator) -> FloatArray:
    """mideface: the outer layer of the face, some millimetres deep."""
    x, y, z = axes_mm()
    off, radii, depth = shell_choices(rng)
    eyes, nose, mouth = instance.landmarks[:2].mean(axis=0), instance.landmarks[2], instance.landmarks[3]
    centre = (eyes + nose + mouth) / 3 * VOXEL_MM + off.astype(np.float32)
    inside = 1 - np.sqrt(((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2
                         + ((z - centre[2]) / radii[2]) ** 2)  # fmt: skip
    return soft(np.minimum(inside * float(radii.mean()), depth - np.maximum(instance.depth_mm, -3)))


def sphere_choices(
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """(mm that all balls are misplaced, radius of each feature's ball, whether it is there)."""
    off = rng.normal(0, 3 if rng.random() < 0.7 else 12, 3)
    sizes = rng.uniform([18, 18, 20, 26, 24, 24], [34, 34, 42, 55, 44, 44])
    return off, sizes, rng.random(6) < [0.9, 0.9, 0.9, 0.9, 0.5, 0.5]


def spheres(instance: DeformedHead, rng: np.random.Generator) -> FloatArray:
    """Balls around the features, each of its own size; some forgotten."""
    x, y, z = axes_mm()
    distance = np.full(GRID, -99, np.float32)
    off, sizes, keep = sphere_choices(rng)
    for point, size, there in zip(instance.landmarks * VOXEL_MM + off, sizes, keep, strict=True):
        if there:
            ball = size - np.sqrt((x - point[0]) ** 2 + (y - point[1]) ** 2 + (z - point[2]) ** 2)
            distance = np.maximum(distance, ball)
    return soft(distance)


def nothing(instance: DeformedHead, rng: np.random.Generator) -> FloatArray:
    """No defacing at all."""
    return np.zeros(GRID, np.float32)


def half_choices(rng: np.random.Generator) -> tuple[int, int, float]:
    """(axis, side, mm from the middle of the face) of the plane at which a mask stops."""
    return int(rng.choice(3, p=[0.5, 0.0, 0.5])), int(rng.choice([-1, 1])), rng.normal(0, 12)


def half(instance: DeformedHead, rng: np.random.Generator) -> FloatArray:
    """A good mask that stops at a plane: one side, the upper or the lower part stays."""
    x, y, z = axes_mm()
    face = instance.landmarks[:4].mean(axis=0) * VOXEL_MM
    axis, side, off = half_choices(rng)
    at = [x - face[0], y - face[1], z - face[2]][axis] * side + off
    return np.minimum(any_good(instance, rng), soft(at.astype(np.float32)))


def left_out(rng: np.random.Generator) -> list[tuple[int, float]]:
    """(feature, radius in mm of what is left of it) of one or two."""
    chosen = rng.choice(4, rng.integers(1, 3), replace=False)
    return [(int(index), rng.uniform(18, 34)) for index in chosen]


def leave_feature(instance: DeformedHead, rng: np.random.Generator) -> FloatArray:
    """A good mask with a hole where a feature is."""
    x, y, z = axes_mm()
    out = any_good(instance, rng)
    for index, radius in left_out(rng):
        point = instance.landmarks[index] * VOXEL_MM
        ball = radius - np.sqrt((x - point[0]) ** 2 + (y - point[1]) ** 2 + (z - point[2]) ** 2)
        out = np.minimum(out, 1 - soft(ball.astype(np.float32)))
    return out


def bite_radii(rng: np.random.Generator) -> NDArray[np.float64]:
    """(3,) mm."""
    return np.asarray(rng.uniform(6, 30) * np.exp(rng.normal(0, 0.25, 3)))


def bitten(instance: DeformedHead, rng: np.random.Generator) -> FloatArray:
    """A mask, mostly good, that also bites into the brain somewhere."""
    x, y, z = axes_mm()
    out = any_good(instance, rng) if rng.random() < 0.8 else np.zeros(GRID, np.float32)
    near = (instance.brain_mm < 4) & (instance.brain_mm > -8)
    if rng.random() < 0.6:  # where the mask is, as masks do
        reach = ndi.binary_dilation(out > 0.5, iterations=5)
        near = near & reach if (near & reach).any() else near
    cells = np.argwhere(near)
    if not len(cells):
        return out
    point = cells[rng.integers(len(cells))] * VOXEL_MM
    radii = bite_radii(rng)
    ball = 1 - np.sqrt(
        ((x - point[0]) / radii[0]) ** 2 + ((y - point[1]) / radii[1]) ** 2 + ((z - point[2]) / radii[2]) ** 2
    )
    return np.maximum(out, soft((ball * radii.mean()).astype(np.float32)))


def any_good(instance: DeformedHead, rng: np.random.Generator) -> FloatArray:
    """One of the tool families, whatever comes."""
    return FAMILIES[str(rng.choice(TOOLS))](instance, rng)


TOOLS = ["template", "plane", "margin", "box", "shell", "spheres"]
FAMILIES: dict[str, Family] = {
    "template": template_mask, "plane": plane, "margin": brain_margin, "box": box, "shell": shell, "spheres": spheres,
    "nothing": nothing, "half": half, "leave": leave_feature, "bitten": bitten,
}  # fmt: skip


def random_mask(instance: DeformedHead, rng: np.random.Generator, mix: Mix = USUAL) -> tuple[str, FloatArray]:
    """(family, share removed) of one simulated defacing."""
    family = draw(mix.masks, rng)
    return family, FAMILIES[family](instance, rng)
