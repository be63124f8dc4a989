"""Where eyes, nose, mouth and ears are: landmarks of the average head, and the grid in which regions are measured."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inference.projections.frame import (
    BoolArray,
)

LANDMARKS = ("right_eye", "left_eye", "nose", "mouth", "right_ear", "left_ear")


# Where they lie in the average head that pydeface ships, in voxels of its canonical (right, front, up) array;
# eyes at the centre of the eyeball, nose and mouth on the skin, ears at the middle of the outer ear.
TEMPLATE_LANDMARKS = np.array(
    [[120, 198, 94], [56, 200, 94], [88, 238, 62], [88, 227, 32], [164, 122, 78], [9, 122, 78]], float
)


GRID = (76, 92, 92)  # 228 x 276 x 276 mm around the head, 3 mm cells


BRAIN_AT = (38.0, 42.0, 60.0)  # the cell on which the middle of the brain is put


REGIONS = ("eyes", "nose", "mouth", "left_ear", "right_ear")


def foremost(cells: BoolArray) -> BoolArray:
    """Of cells that lie one behind the other (axis 1 is front) only the first."""
    return np.asarray(cells & (np.cumsum(cells[:, ::-1], axis=1)[:, ::-1] == 1))


def by_region(kept: NDArray[np.float32]) -> dict[str, float | None]:
    """What `regions_kept` gave, by name; None where the region is out of view."""
    return {r: None if np.isnan(v) else float(v) for r, v in zip(REGIONS, kept, strict=True)}
