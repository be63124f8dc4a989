"""What is wrong with an attempt, as codes with numbers: {"code": "region_left", "region": "nose", "share": 0.61}.

JSON as it is kept in the database and in exports; `reviews.wording` puts it in words.
"""

from __future__ import annotations

from typing import Any

Problem = dict[str, Any]

# Each code with what goes with it.
DETAILS: dict[str, frozenset[str]] = {
    "brain_removed": frozenset({"ml"}),
    "region_left": frozenset({"region", "share"}),
    "class_measured": frozenset({"class"}),
    "unchanged": frozenset(),
    "voxels_changed": frozenset({"before", "after"}),
    "voxel_size_changed": frozenset(),
    "place_changed": frozenset(),
    "axes_changed": frozenset(),
    "range_shrank": frozenset(),
    "another_image": frozenset(),
    "skull_stripped": frozenset(),
    "brain_finder_missing": frozenset({"error"}),
    "brain_not_found": frozenset({"error"}),
    "brain_not_whole": frozenset({"ml"}),
    "brain_shape_off": frozenset({"mm"}),
}


def problem(code: str, **details: Any) -> Problem:
    """A problem that the screen has words for; ValueError where code and details do not fit."""
    if DETAILS.get(code) != details.keys():
        raise ValueError(f"{code} with {sorted(details)} is no known problem")
    return {"code": code, **details}


def code_of(found: Problem | str) -> str:
    """The code of a stored problem; 'text' for the sentences that were stored before there were codes."""
    return "text" if isinstance(found, str) else str(found.get("code", "text"))
