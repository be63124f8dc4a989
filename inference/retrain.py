"""Learning from people's verdicts: the last layers are trained on, everything before them stays. No Django.

Subjects are put by their name into training, calibration or the frozen test, always into the same: a test
subject is never trained on, in no later round. Old answers are held on to where verdicts are silent.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from inference import checkpoint
from inference.model import DefacingNet
from inference.storage import load_inputs
from inference.train import calibrate, joint_loss

LEAST_TRAIN, LEAST_TEST, LEAST_CALIBRATION = 20, 5, 20
HOLD, HOLD_JOINT = 0.3, 0.01  # weights of staying near what the network said before: of regions, of classes
BATCH = 32
RATE = 1e-3
LEAST_SPREAD = 1e-3
FACE, BRAIN = torch.tensor([i & 1 for i in range(8)]), torch.tensor([i >> 2 & 1 for i in range(8)])


class TooLittle(Exception):
    """There are not enough verdicts to learn from; the message says of what."""


@dataclass(frozen=True)
class Case:
    """A stored network input and what a person said: (face, ears, brain) as 1, 0 or -1 for unknown."""

    path: Path
    subject: str
    attributes: tuple[int, int, int]


@dataclass
class Part:
    """features (N, F) before the last layers, attributes (N, 3)."""

    features: Tensor
    attributes: Tensor


def part_of(subject: str) -> str:
    """The part a subject belongs to for good."""
    number = int(hashlib.sha256(subject.encode()).hexdigest(), 16) % 10
    return "test" if number < 2 else "calibration" if number < 4 else "train"


def retrain(base: Path, cases: Sequence[Case], out: Path, *, epochs: int = 30, seed: int = 1) -> dict:
    """Train on from `base` (.pt) and write `out` (.onnx and .pt); returns metrics of old and new on the frozen test."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    model, facts = checkpoint.load_for_training(base)
    model.eval()
    parts = {
        name: gathered(model, [c for c in cases if part_of(c.subject) == name])
        for name in ("train", "calibration", "test")
    }
    require(parts)
    old = judged(logits(model, parts["test"], facts.calibration), parts["test"].attributes)
    train(model, parts["train"], facts.calibration, epochs)
    calibration = facts.calibration
    if len(parts["calibration"].attributes) >= LEAST_CALIBRATION:
        raw = logits(model, parts["calibration"], None)
        calibration = calibrate(raw.numpy(), parts["calibration"].attributes.numpy())
    new = judged(logits(model, parts["test"], calibration), parts["test"].attributes)
    metrics = {"frozen_test": new, "current_on_frozen_test": old}
    counts = {name: len(part.attributes) for name, part in parts.items()}
    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    data = {
        "verdicts": counts,
        "trained_on_from": checkpoint.file_hash(base)[:16],
        "seed": seed,
        "epochs": epochs,
    }
    checkpoint.save(
        model,
        replace(
            facts, calibration=calibration, created=created, data=data, metrics={**facts.metrics, **metrics}
        ),
        out,
    )
    return {**metrics, "verdicts": counts}


def require(parts: dict[str, Part]) -> None:
    """Refuse to learn from, or to judge by, too little."""
    for name, least in (("train", LEAST_TRAIN), ("test", LEAST_TEST)):
        have = len(parts[name].attributes)
        if have < least:
            raise TooLittle(f"{have} usable verdicts fall into the {name} part, at least {least} are needed")


@torch.no_grad()
def gathered(model: DefacingNet, cases: Sequence[Case]) -> Part:
    """Features of all cases whose stored input is still of this renderer version."""
    features, attributes = [torch.zeros(0, model.fuse[0].in_features)], []
    for case in cases:
        inputs = load_inputs(case.path)
        if inputs is None:
            continue
        outer, _ = model.surfaces(torch.from_numpy(inputs.surfaces[None].astype(np.float32)) / 128 - 1)
        packs = model.packs(torch.from_numpy(inputs.volume[None])).float() / 128 - 1
        features.append(torch.cat([outer, model.slices(packs)[0]], dim=1))
        attributes.append(case.attributes)
    return Part(torch.cat(features), torch.tensor(attributes, dtype=torch.long).reshape(-1, 3))


def train(model: DefacingNet, part: Part, calibration: dict, epochs: int) -> None:
    """The last layers learn the verdicts and hold on to their other answers."""
    layers = nn.ModuleList([model.fuse, model.answers])
    with torch.no_grad():
        before = model.answers(model.fuse(part.features))
    middle, spread = part.features.mean(0), part.features.std(0) + LEAST_SPREAD
    features = (part.features - middle) / spread
    rescale(
        model.fuse[0], middle, spread
    )  # the same function of evenly scaled features: learning is even too
    optimiser = torch.optim.AdamW(layers.parameters(), lr=RATE, weight_decay=0.01)
    layers.train()
    for _ in range(epochs):
        for at in torch.randperm(len(part.attributes)).split(BATCH):
            answers = model.answers(model.fuse(features[at]))
            loss, weights = joint_loss(calibrated(answers[:, :8], calibration), part.attributes[at])
            moved = (answers - before[at]).pow(2)
            held = HOLD * moved[:, 8:].mean() + HOLD_JOINT * moved[:, :8].mean()
            optimiser.zero_grad()
            ((loss * weights).mean() + held).backward()
            nn.utils.clip_grad_norm_(layers.parameters(), 2.0)
            optimiser.step()
    rescale(model.fuse[0], -middle / spread, 1 / spread)
    model.eval()


@torch.no_grad()
def rescale(layer: nn.Linear, middle: Tensor, spread: Tensor) -> None:
    """The layer for (x - middle) / spread in place of x."""
    layer.bias += layer.weight @ middle
    layer.weight *= spread


@torch.no_grad()
def logits(model: DefacingNet, part: Part, calibration: dict | None) -> Tensor:
    """(N, 8), calibrated where a calibration is given."""
    raw = model.answers(model.fuse(part.features))[:, :8]
    return raw if calibration is None else calibrated(raw, calibration)


def calibrated(raw: Tensor, calibration: dict) -> Tensor:
    """Joint logits as the application uses them."""
    return raw / calibration["temperature"] + torch.tensor(calibration["bias"])


def judged(answers: Tensor, attributes: Tensor) -> dict[str, float | int]:
    """Four-class accuracy, negative log-likelihood and missed failures, over cases whose class is known."""
    known = (attributes[:, 0] >= 0) & (attributes[:, 2] >= 0)
    chance, truth = answers.softmax(1)[known], attributes[known]
    scores = torch.stack(
        [
            chance[:, (face == FACE) & (brain == BRAIN)].sum(1)
            for face, brain in ((0, 0), (1, 0), (0, 1), (1, 1))
        ],
        dim=1,
    )
    right = truth[:, 0] + 2 * truth[:, 2]
    said = scores.argmax(1)
    count = max(1, len(truth))
    return {
        "cases": len(truth),
        "accuracy": round(float((said == right).sum()) / count, 4),
        "log_loss": round(float(-scores.gather(1, right[:, None]).clamp(min=1e-6).log().sum()) / count, 4),
        "missed_failures": int(((said == 0) & (right != 0)).sum()),
        "failures": int((right != 0).sum()),
    }
