"""Untrained networks that are sure of one answer, for tests of what comes after the network."""

import dataclasses
from pathlib import Path

import torch

from inference import checkpoint
from inference.training import export
from inference.training.network import DefacingNet, ModelConfig
from tests.test_predict import SMALL, some_inputs

JOINT = {"pass": 0, "face": 1, "brain": 4}  # index face + 2 * ears + 4 * brain


def sure_of(klass: str, folder: Path, *, loud: float = 60.0, config: ModelConfig = SMALL) -> Path:
    """Weights in `folder` whose calibration outshouts the network."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    facts = checkpoint.Facts(
        config=dataclasses.asdict(config),
        calibration={"temperature": 1.0, "bias": [loud * (index == JOINT[klass]) for index in range(8)]},
        valid_below=-1e9,
        created="2026-01-01",
    )
    path = folder / f"{klass}.onnx"
    export.save(DefacingNet(config).eval(), facts, path, some_inputs(2))
    return path
