"""Projections of heads -> calibrated probabilities, attributes, maps of the evidence; abstains on what is not a head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference import checkpoint
from inference.checkpoint import CheckpointError, Facts
from inference.classes import CLASSES, EAR_REGIONS, FACE_REGIONS
from inference.projections.network_input import (
    CELL,
    CELLS,
    PACK_SPAN,
    PACKS,
    PARTS,
    SIDE,
    SURFACES,
    NetworkInput,
    seen_from,
)
from inference.runtime import Graph

DEFAULT = checkpoint.DEFAULT
EVIDENCE = {"brain": [PARTS.index("missing")], "face": [PARTS.index(f"{name}_left") for name in FACE_REGIONS]}
_FACE, _EARS, _BRAIN = (np.array([i >> bit & 1 for i in range(8)], bool) for bit in range(3))


@dataclass(frozen=True)
class Result:
    """What the network says of one head.

    joint: (8,) calibrated probabilities, index face + 2 * ears + 4 * brain. regions: (5,) expected share of
    eyes, nose, mouth, left and right ear still there. blocks: (10, 16, 20, 20) in 0-1, PARTS of every block of 12 mm.
    valid: the logit of being a head; in_distribution: False means that the input is unlike anything trained on
    and must be referred.
    """

    joint: NDArray[np.float64]
    regions: NDArray[np.float64]
    blocks: NDArray[np.float32]
    valid: float
    in_distribution: bool

    def probabilities_for(self, *, ears: bool) -> dict[str, float]:
        """{pass, face, brain, both} under a standard with or without ears; they add up to one."""
        face = (_FACE | _EARS) if ears else _FACE
        wanted = {
            "pass": ~face & ~_BRAIN,
            "face": face & ~_BRAIN,
            "brain": ~face & _BRAIN,
            "both": face & _BRAIN,
        }
        return {name: float(self.joint[wanted[name]].sum()) for name in CLASSES}

    @cached_property
    def probabilities(self) -> dict[str, float]:
        """Under the default standard: eyes, nose and mouth."""
        return self.probabilities_for(ears=False)

    @cached_property
    def attributes(self) -> dict[str, float]:
        """Probability that each remains or was removed: face, ears, brain."""
        return {"face": float(self.joint[_FACE].sum()), "ears": float(self.joint[_EARS].sum()),
                "brain": float(self.joint[_BRAIN].sum())}  # fmt: skip

    @cached_property
    def remains(self) -> dict[str, float]:
        """Expected share of each region that is still there."""
        return dict(zip((*FACE_REGIONS, *EAR_REGIONS), map(float, self.regions), strict=True))

    def saliency(self, view: str, kind: str) -> NDArray[np.float32]:
        """Evidence of `kind` ('brain' or 'face') in a projection of VIEW_NAMES, in 0-1.

        (20, 20) over the pixels of a surface view, from the half of the frame nearer to the viewer; over a slice pack
        (20, 20) sagittal, (16, 20) coronal and axial.
        """
        if view in SURFACES:
            near = seen_from(self.blocks[EVIDENCE[kind]].max(axis=0), view)
            flat = near[: near.shape[0] // 2].max(axis=0)
            return np.pad(flat, [(0, SIDE // CELL - n) for n in flat.shape])
        name, start = view.split("_")
        axis, first = list(PACKS).index(name), int(start)
        within = range(first // CELL, min(-(-(first + PACK_SPAN) // CELL), CELLS[axis]))
        deep = np.take(self.blocks[EVIDENCE[kind]], within, axis + 1)
        return np.asarray(deep.max(axis=(0, axis + 1)), np.float32)


class Classifier:
    """A network ready for use in one process; one thread, safe before a fork."""

    def __init__(self, graph: Graph, facts: Facts, path: Path) -> None:
        self._graph, self.facts, self.path = graph, facts, path
        self.version = checkpoint.file_hash(path)[:16]
        self.render_version = facts.render_version
        self.class_order = facts.classes

    @classmethod
    def load(cls, path: Path = DEFAULT, threads: int = 1) -> Classifier:
        """Load weights; raises CheckpointError where they are missing, damaged or made for other projections."""
        if not path.is_file():
            raise CheckpointError(path, "no such file")
        try:
            graph = Graph(path, threads)
        except (RuntimeError, ValueError, KeyError) as error:
            raise CheckpointError(path, f"not a usable network ({type(error).__name__})") from error
        return cls(graph, Facts.parse(graph.facts, path), path)

    def predict(self, inputs: Sequence[NetworkInput]) -> list[Result]:
        """One result for each input, in order."""
        return [self._result(self._graph.answers(one, both_ways=self.facts.both_ways)) for one in inputs]

    def _result(self, answers: dict[str, NDArray[np.float32]]) -> Result:
        """What the logits mean, calibrated."""
        calibration = self.facts.calibration
        logits = answers["joint"].astype(np.float64) / calibration["temperature"] + calibration["bias"]
        shifted = np.exp(logits - logits.max())
        chance = shifted / shifted.sum()
        valid = float(answers["valid"])
        return Result(
            joint=chance, regions=1 / (1 + np.exp(-answers["regions"].astype(np.float64))),
            blocks=1 / (1 + np.exp(-answers["blocks"])), valid=valid,
            in_distribution=bool(np.isfinite(chance).all() and valid >= self.facts.valid_below),
        )  # fmt: skip


__all__ = ["DEFAULT", "SURFACES", "CheckpointError", "Classifier", "Result"]
