"""Faces of other proportions: noses, brows, cheeks, lips, chins, jaws and ears of a head longer, flatter or wider."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inference.regions import LANDMARKS

LARGEST = 2.2  # standard deviations: further ones would fold the skin
# What changes together: name of a landmark, middle beside it (outwards for one of a pair, front, up), reach, and the
# typical change (outwards, front, up), all in mm.
FEATURES = (
    ("nose", (0, -6, 5), 14, (0, 4.0, 2.5)),
    ("nose", (0, -16, 24), 13, (0, 3.0, 0)),  # its bridge
    ("eye", (0, 4, 0), 14, (2.0, 2.5, 2.0)),
    ("eye", (-4, 6, 20), 20, (0, 2.5, 2.0)),  # the brow
    ("eye", (12, -10, -28), 20, (3.0, 2.5, 0)),  # the cheek
    ("mouth", (0, -4, 0), 16, (0, 2.5, 2.0)),
    ("mouth", (0, -12, -32), 22, (0, 4.0, 4.0)),  # the chin
    ("ear", (4, 0, 0), 18, (2.5, 2.5, 3.0)),
)
JAW = (25.0, 30.0, 0.06)  # mm below the mouth, reach, typical change of its width


def places(name: str, landmarks: dict[str, NDArray[np.float64]]) -> list[tuple[NDArray[np.float64], float]]:
    """The landmarks of this name, a pair for eye and ear, with the direction that is outwards."""
    if name in ("eye", "ear"):
        return [(landmarks[f"right_{name}"], 1.0), (landmarks[f"left_{name}"], -1.0)]
    return [(landmarks[name], 0.0)]


def change_proportions(
    at: NDArray[np.float32], landmarks: NDArray[np.float64], rng: np.random.Generator
) -> None:
    """Change, in place, where in a source head the cells of a new one are taken from.

    at: (3, N) in mm of the source head, axes right, front, up; landmarks: (6, 3) in the same, order of LANDMARKS.
    """
    known = dict(zip(LANDMARKS, landmarks, strict=True))
    for name, beside, reach, typical in FEATURES:
        amount = rng.normal(0, 1, 3).clip(-LARGEST, LARGEST) * typical
        for landmark, outwards in places(name, known):
            side = np.array([outwards, 1, 1])
            middle = landmark + beside * side
            near = np.flatnonzero((np.abs(at - middle[:, None]) < 3 * reach).all(axis=0))
            offset = at[:, near] - middle[:, None].astype(np.float32)
            weight = np.exp(-(offset**2).sum(axis=0) / np.float32(2 * reach**2))
            at[:, near] -= (amount * side)[:, None].astype(np.float32) * weight
    below, reach, typical = JAW
    middle_x, height = known["mouth"][0], known["mouth"][2] - below
    amount = typical * np.clip(rng.normal(0, 1), -LARGEST, LARGEST)
    wider = amount * np.exp(-(((at[2] - height) / reach) ** 2) / 2)
    at[0] += (at[0] - middle_x) * wider.astype(np.float32)
