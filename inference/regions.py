"""Where eyes, nose, mouth and ears are: landmarks of the average head, and the grid in which regions are measured."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi

from inference.classes import EAR_REGIONS, FACE_REGIONS
from inference.projections.frame import VOXEL_MM, BoolArray

LANDMARKS = ("right_eye", "left_eye", "nose", "mouth", "right_ear", "left_ear")

# Where they lie in the average head that pydeface ships, in voxels of its canonical (right, front, up) array;
# eyes at the centre of the eyeball, nose and mouth on the skin, ears at the middle of the outer ear.
TEMPLATE_LANDMARKS = np.array(
    [[120, 198, 94], [56, 200, 94], [88, 238, 62], [88, 227, 32], [164, 122, 78], [9, 122, 78]], float
)

GRID = (76, 92, 92)  # 228 x 276 x 276 mm around the head, 3 mm cells

BRAIN_AT = (38.0, 42.0, 60.0)  # the cell on which the middle of the brain is put

REGIONS = (*FACE_REGIONS, *EAR_REGIONS)


def foremost(cells: BoolArray) -> BoolArray:
    """Of cells that lie one behind the other (axis 1 is front) only the first."""
    return np.asarray(cells & (np.cumsum(cells[:, ::-1], axis=1)[:, ::-1] == 1))


def surface_of(head: BoolArray, in_view: BoolArray) -> BoolArray:
    """The outermost cells of a closed head (*GRID), where they are in view."""
    inner = ndi.binary_erosion(np.pad(head, 1, mode="edge"))[1:-1, 1:-1, 1:-1]
    return np.asarray(head & ~inner & in_view)


def surface_regions(
    head: BoolArray, in_view: BoolArray, landmarks: NDArray[np.float64]
) -> dict[str, BoolArray]:
    """{region: its cells on the surface of a closed head}: THE definition of eyes, nose, mouth and ears.

    head, in_view: (*GRID). landmarks: (6, 3) cells in the order of LANDMARKS.
    """
    surface = surface_of(head, in_view)
    x, y, z = (axis * VOXEL_MM for axis in np.indices(GRID, dtype=np.float32))
    mm = dict(zip(LANDMARKS, landmarks * VOXEL_MM, strict=True))

    def eye(
        name: str,
    ) -> BoolArray:  # lower lids lie behind the brow, in some heads behind the middle of the eye
        ex, ey, ez = mm[name]
        return np.asarray((np.abs(x - ex) < 19) & (np.abs(z - ez) < 14) & (y > ey - 9) & (y < ey + 40))

    def ear(name: str) -> BoolArray:
        ex, ey, ez = mm[name]
        return np.asarray((np.abs(x - ex) < 18) & (np.abs(y - ey) < 24) & (np.abs(z - ez) < 36))

    nx, ny, nz = mm["nose"]
    mx, my, mz = mm["mouth"]
    eyes = foremost((eye("right_eye") | eye("left_eye")) & surface)  # the walls of an orbit do not count
    nose = (np.abs(x - nx) < 19) & (z > nz - 13) & (z < nz + 27) & (y > ny - 30) & surface & ~eyes
    mouth = (np.abs(x - mx) < 28) & (z > mz - 18) & (z < mz + 15) & (y > my - 24) & surface & ~nose
    ears = {name: ear(name) & surface for name in EAR_REGIONS}
    return {"eyes": eyes, "nose": nose, "mouth": mouth, **ears}


def by_region(kept: NDArray[np.float32]) -> dict[str, float | None]:
    """What `regions_kept` gave, by name; None where the region is out of view."""
    return {r: None if np.isnan(v) else float(v) for r, v in zip(REGIONS, kept, strict=True)}
