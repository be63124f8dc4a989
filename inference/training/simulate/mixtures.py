"""How often each kind of mask and each filling is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Mix:
    """Shares by name; they need not add up to one.

    slabs: share of scans whose field of view ends about the eyes, half of them not defaced.
    reface_gain: between which values the brightness of an artificial face lies; tissue of the head is about 1.
    proportions: faces of other proportions than those of the heads they are made of.
    """

    masks: Mapping[str, float]
    fills: Mapping[str, float]
    slabs: float = 0.0
    reface_gain: tuple[float, float] = (0.6, 1.3)
    proportions: bool = False


USUAL = Mix(
    masks={"template": 0.26, "plane": 0.11, "margin": 0.12, "box": 0.09, "shell": 0.10, "spheres": 0.06,
           "nothing": 0.04, "half": 0.05, "leave": 0.10, "bitten": 0.12},
    fills={"zero": 0.63, "minimum": 0.11, "constant": 0.03, "noise": 0.08, "tissue_noise": 0.03, "blur": 0.06,
           "average": 0.02, "reface": 0.04},
)  # fmt: skip
# More of what a network trained on the usual mix gets wrong; to train on, not to judge by.
HARD = Mix(
    masks={"template": 0.22, "plane": 0.09, "margin": 0.12, "box": 0.12, "shell": 0.10, "spheres": 0.06,
           "nothing": 0.03, "half": 0.04, "leave": 0.11, "bitten": 0.16},
    fills={"zero": 0.42, "minimum": 0.07, "constant": 0.10, "noise": 0.06, "tissue_noise": 0.10, "blur": 0.10,
           "average": 0.04, "reface": 0.11},
    slabs=0.10, reface_gain=(0.4, 1.2),
)  # fmt: skip
VARIED, HARD_VARIED = (replace(mix, proportions=True) for mix in (USUAL, HARD))  # to train on
MIXES = {"usual": USUAL, "hard": HARD, "varied": VARIED, "hard-varied": HARD_VARIED}


def draw(shares: Mapping[str, float], rng: np.random.Generator) -> str:
    """One of the names."""
    p = np.array(list(shares.values()))
    return str(rng.choice(list(shares), p=p / p.sum()))
