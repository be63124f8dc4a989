"""A trained network as files: weights with config, class order, projection version and a hash, for training and for use.

`NAME.pt` is for training on; `NAME.onnx` is what the application runs: its convolutions have 8 bits, its metadata has the
same facts. Both look at a head both ways or one way, as their config says. `NAME.weights.pt` is what a training on fresh
attempts leaves: config and weights, no facts.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inference.classes import CLASSES, EAR_REGIONS, FACE_REGIONS
from inference.projections.frame import SHAPE
from inference.projections.network_input import (
    CELLS,
    LAYERS,
    PARTS,
    RENDER_VERSION,
    SIDE,
    SURFACES,
)

if TYPE_CHECKING:
    pass

FORMAT = 3
READABLE = (2, FORMAT)  # graphs of format 2 have in them whether they look both ways
WEIGHTS = Path(__file__).parent / "weights"
DEFAULT = WEIGHTS / "default.onnx"
INPUTS = {"surfaces": (len(SURFACES), LAYERS, SIDE, SIDE), "volume": SHAPE}  # of one head, in bytes
OUTPUTS = {
    "joint": (8,),
    "regions": (len(FACE_REGIONS + EAR_REGIONS),),
    "valid": (),
    "blocks": (len(PARTS), *CELLS),
}


class CheckpointError(Exception):
    """Weights that cannot be used, with the file and the reason."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason


@dataclass(frozen=True)
class Facts:
    """What must be known of weights before they are used.

    calibration: temperature and eight biases for the joint logits; valid_below: logit under which an input is
    not taken for a head; data and metrics are for people to read.
    """

    config: dict[str, Any]
    calibration: dict[str, Any]
    valid_below: float
    created: str
    classes: tuple[str, ...] = CLASSES
    render_version: str = RENDER_VERSION
    data: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def both_ways(self) -> bool:
        """Must the graph be asked about a head and about its mirror image (`ModelConfig.both_ways`)?"""
        return self.format >= 3 and bool(self.config.get("both_ways", True))

    @classmethod
    def parse(cls, text: str, path: Path) -> Facts:
        """Read and check; raises CheckpointError where the weights do not fit this software."""
        try:
            values = json.loads(text)
            facts = cls(**{**values, "classes": tuple(values["classes"])})
            facts.check()
        except (ValueError, TypeError, KeyError) as error:
            raise CheckpointError(path, f"its description cannot be read ({error})") from error
        if facts.format not in READABLE:
            raise CheckpointError(path, f"format {facts.format}, this software reads {FORMAT}")
        if facts.classes != CLASSES:
            raise CheckpointError(path, f"class order {facts.classes}, expected {CLASSES}")
        if facts.render_version != RENDER_VERSION:
            raise CheckpointError(
                path, f"made for projections {facts.render_version}, this software renders {RENDER_VERSION}"
            )
        return facts

    def check(self) -> None:
        """Raises ValueError, TypeError or KeyError where what answers are made with is not of its kind."""
        numbers = [
            float(self.calibration["temperature"]),
            float(self.valid_below),
            *map(float, self.calibration["bias"]),
        ]
        if len(numbers) != 2 + OUTPUTS["joint"][0] or not all(map(math.isfinite, numbers)) or numbers[0] <= 0:
            raise ValueError("its calibration is not one")
        if not isinstance(self.config, dict):
            raise TypeError("its sizes are no list of names and values")

    def text(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self), sort_keys=True)


def file_hash(path: Path) -> str:
    """SHA-256 of a file, hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
