"""A head with left and right exchanged: what the network is shown of it, and what its answers mean of the head itself.

Everything here takes arrays of numpy and tensors of torch alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from inference.classes import EAR_REGIONS, FACE_REGIONS
from inference.projections.frame import SHAPE
from inference.projections.network_input import SURFACES

_REGIONS = (*FACE_REGIONS, *EAR_REGIONS)
_SWAPPED_REGIONS = [
    _REGIONS.index({"left_ear": "right_ear", "right_ear": "left_ear"}.get(r, r)) for r in _REGIONS
]
_SWAPPED = [SURFACES.index({"left": "right", "right": "left"}.get(v, v)) for v in SURFACES]
_ACROSS = ("front", "back", "top", "bottom")  # in these the columns run across the head


def turned(array: Any, axis: int) -> Any:
    """From the last to the first along an axis."""
    return np.flip(array, axis) if isinstance(array, np.ndarray) else array.flip(axis)


def exchanged(array: Any, order: list[int]) -> Any:
    """A copy with its second axis in another order; column by column, since a GPU is waited for where a list is an index."""
    other = array.copy() if isinstance(array, np.ndarray) else array.clone()
    for n, at in enumerate(order):
        other[:, n] = array[:, at]
    return other


def mirrored_regions(values: Any) -> Any:
    """(B, 5) values of the regions of the mirrored head."""
    return exchanged(values, _SWAPPED_REGIONS)


def mirrored_views(maps: Any, width: int) -> Any:
    """(B, 6, C, rows, columns) of the mirrored head; the head takes the first `width` columns of a view."""
    other = exchanged(maps, _SWAPPED)
    for n in map(SURFACES.index, _ACROSS):
        other[:, n, :, :, :width] = turned(maps[:, n, :, :, :width], -1)
    return other


def mirrored(surfaces: Any, volume: Any) -> tuple[Any, Any]:
    """The network's input (B, 6, 6, 80, 80), (B, 64, 80, 80) of the mirrored head."""
    return mirrored_views(surfaces, SHAPE[0]), turned(volume, 1)


def looks(surfaces: Any, volume: Any, *, both_ways: bool) -> list[tuple[Any, Any]]:
    """What a network in use is shown of a batch: the heads and, where it looks both ways, their mirror images."""
    plain = (surfaces, volume)
    return [plain, mirrored(*plain)] if both_ways else [plain]


def of_the_mirrored(answers: Mapping[str, Any]) -> dict[str, Any]:
    """What answers (logits, with a batch axis) to a mirrored head mean of the head itself."""
    return {
        "joint": answers["joint"],
        "regions": mirrored_regions(answers["regions"]),
        "valid": answers["valid"],
        "blocks": turned(answers["blocks"], 2),
    }


def together(answers: list[Mapping[str, Any]]) -> dict[str, Any]:
    """The mean of the answers to what `looks` gives: `joint`, `regions`, `valid`, `blocks`."""
    plain, *others = answers
    meant = [of_the_mirrored(other) for other in others]
    return {key: sum((one[key] for one in meant), plain[key]) / len(answers)
            for key in ("joint", "regions", "valid", "blocks")}  # fmt: skip
