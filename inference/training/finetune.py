"""Learning from people's verdicts: the last layers are trained on, everything before them stays. No Django.

Only the class answers learn: where verdicts are silent (regions, amounts, evidence maps, what is a head) the old
answers are held on to. The seed decides everything, and a run that was cut off goes on where it stood.
"""

from __future__ import annotations

import datetime
import hashlib
import pickle
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from inference import checkpoint
from inference.projections.network_input import NetworkInput, load_inputs
from inference.test_time_mirror import looks
from inference.training import export, shards
from inference.training.calibration import calibrate
from inference.training.losses import joint_loss
from inference.training.network import DefacingNet

LEAST_TRAIN, LEAST_CALIBRATION = 20, 20
HOLD, HOLD_JOINT = 0.3, 0.01  # weights of staying near what the network said before: of regions, of classes
BATCH = 32
RATE = 1e-3
LEAST_SPREAD = 1e-3
CHUNK = 1000
EXAMPLES = 48
KEPT = 2  # raise it when what is kept of a run changes its form
EPOCH = "epoch.pt"
FACE, BRAIN = torch.tensor([i & 1 for i in range(8)]), torch.tensor([i >> 2 & 1 for i in range(8)])


class TooLittle(Exception):
    """There are not enough verdicts to learn from; the message says of what."""


@dataclass(frozen=True)
class Case:
    """A stored network input and what people said: (face, ears, brain) as 1, 0 or -1 for unknown.

    part: 'train' or 'calibration'; weight: what several people have read counts for more.
    """

    path: Path
    part: str
    attributes: tuple[int, int, int]
    weight: float = 1.0


@dataclass
class Part:
    """features (N, L, F) before the last layers, of every look at a head; attributes (N, 3), weights (N,)."""

    features: Tensor
    attributes: Tensor
    weights: Tensor


def retrain(
    base: Path,
    cases: Sequence[Case],
    out: Path,
    *,
    simulated: Path | None = None,
    epochs: int = 30,
    seed: int = 1,
) -> checkpoint.Facts:
    """Train on from `base` (.pt) and write `out` (.onnx and .pt); goes on where an earlier run was cut off.

    simulated: a folder of shards whose training people are rehearsed, together as heavy as the verdicts.
    """
    torch.set_num_threads(1)
    model, facts = export.load_for_training(base)
    model.eval()
    work = work_folder(out, fingerprint(base, cases, simulated, epochs, seed))
    train, calibration_part, rehearsal = prepared(model, cases, simulated, work)
    parts = {"train": train, "calibration": calibration_part}
    before = judged(logits(model, parts["calibration"], facts.calibration), parts["calibration"].attributes)
    learn(model, train, facts.calibration, work, epochs=epochs, seed=seed)
    model = export.rounded(model, out)
    calibration = facts.calibration
    if len(parts["calibration"].attributes) >= LEAST_CALIBRATION:
        raw = logits(model, parts["calibration"], None)
        calibration = calibrate(raw.numpy(), parts["calibration"].attributes.numpy())
    after = judged(logits(model, parts["calibration"], calibration), parts["calibration"].attributes)
    data = {
        "verdicts": {"train": len(train.weights) - rehearsal, "calibration": len(calibration_part.weights)},
        "simulated": rehearsal,
        "trained_on_from": checkpoint.file_hash(base)[:16],
        "seed": seed,
        "epochs": epochs,
    }
    made = replace(
        facts,
        format=checkpoint.FORMAT,
        calibration=calibration,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        data=data,
        metrics={"calibration_before": before, "calibration_after": after},
    )
    export.save(model, made, out, examples(cases))
    shutil.rmtree(work.parent)
    return made


def examples(cases: Sequence[Case]) -> list[NetworkInput]:
    """Some of the heads that were judged."""
    found = (load_inputs(case.path) for case in cases)
    return list(islice((inputs for inputs in found if inputs is not None), EXAMPLES))


def fingerprint(base: Path, cases: Sequence[Case], simulated: Path | None, epochs: int, seed: int) -> str:
    """What a cut-off run must share with this one to be gone on with."""
    names = [str(shard.path) for shard in shards.shards(simulated)] if simulated else []
    text = repr((KEPT, checkpoint.file_hash(base), sorted(map(repr, cases)), names, epochs, seed))
    return hashlib.sha256(text.encode()).hexdigest()


def work_folder(out: Path, mark: str) -> Path:
    """Where a run in progress keeps what it has; what another run of this name has left is removed."""
    folder = out.with_suffix(".work") / mark[:16]
    for other in folder.parent.glob("*"):
        if other != folder:
            shutil.rmtree(other)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def found(path: Path) -> Any:
    """What an earlier run has kept here; None where there is nothing or it is damaged."""
    try:
        return torch.load(path, weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError):
        return None


def keep(value: Any, path: Path) -> None:
    """Write it whole or not at all."""
    torch.save(value, path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)


def prepared(
    model: DefacingNet, cases: Sequence[Case], simulated: Path | None, work: Path
) -> tuple[Part, Part, int]:
    """What is trained on, what is calibrated on, and how many of the former are simulated; refuses too little."""
    train = gathered(model, [case for case in cases if case.part == "train"], work / "train")
    calibration = gathered(
        model, [case for case in cases if case.part == "calibration"], work / "calibration"
    )
    have = len(train.weights)
    if have < LEAST_TRAIN:
        shutil.rmtree(work.parent)
        raise TooLittle(
            f"{have} usable verdicts fall into the training part, at least {LEAST_TRAIN} are needed"
        )
    if simulated is None:
        return train, calibration, 0
    more = rehearsed(model, simulated)
    return joined(train, more), calibration, len(more.weights)


@torch.no_grad()
def features_of(model: DefacingNet, surfaces: Tensor, volumes: Tensor) -> Tensor:
    """(N, L, F) of N network inputs as the last layers see them; L looks, one or both ways, as the network is used."""
    shown = looks(surfaces, volumes, both_ways=model.config.both_ways)
    return torch.stack([model.features(*views)[0] for views in shown], dim=1)


def nobody(model: DefacingNet) -> Tensor:
    """(0, L, F): the features of no heads."""
    return torch.zeros(0, 2 if model.config.both_ways else 1, model.fuse[0].in_features)


def gathered(model: DefacingNet, cases: Sequence[Case], kept: Path) -> Part:
    """Features of all cases whose stored input is still of this renderer version; kept from chunk to chunk."""
    kept.mkdir(exist_ok=True)
    empty = nobody(model)
    chunks = [(empty, torch.zeros(0, 3, dtype=torch.long), torch.zeros(0))]
    for start in range(0, len(cases), CHUNK):
        path = kept / f"{start}.pt"
        chunk = found(path)
        if chunk is None:
            chunk = tensors_of(model, cases[start : start + CHUNK], empty)
            keep(chunk, path)
        chunks.append(chunk)
    return Part(*(torch.cat(column) for column in zip(*chunks, strict=True)))


def tensors_of(model: DefacingNet, cases: Sequence[Case], empty: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """features, attributes and weights of a few cases."""
    features, attributes, weights = [empty], [], []
    for case in cases:
        inputs = load_inputs(case.path)
        if inputs is None:
            continue
        surfaces, volume = (np.asarray(array)[None] for array in (inputs.surfaces, inputs.volume))
        features.append(features_of(model, torch.from_numpy(surfaces), torch.from_numpy(volume)))
        attributes.append(case.attributes)
        weights.append(case.weight)
    answers = torch.tensor(attributes, dtype=torch.long).reshape(-1, 3)
    return torch.cat(features), answers, torch.tensor(weights, dtype=torch.float32)


def rehearsed(model: DefacingNet, folder: Path) -> Part:
    """Simulated heads of people that may be trained on; what is no head is left out."""
    features = [nobody(model)]
    attributes = [torch.zeros(0, 3, dtype=torch.long)]
    for batch in shards.batches(shards.split(shards.shards(folder))["train"], BATCH, None):
        heads = ~batch.odd
        features.append(features_of(model, batch.surfaces[heads], batch.volumes[heads]))
        attributes.append(batch.attributes[heads])
    return Part(torch.cat(features), torch.cat(attributes), torch.ones(sum(map(len, attributes))))


def joined(verdicts: Part, simulated: Part) -> Part:
    """Both in one, the simulated ones together no heavier than the verdicts."""
    scale = min(1.0, float(verdicts.weights.sum()) / max(1, len(simulated.weights)))
    return Part(
        torch.cat([verdicts.features, simulated.features]),
        torch.cat([verdicts.attributes, simulated.attributes]),
        torch.cat([verdicts.weights, simulated.weights * scale]),
    )


def learn(model: DefacingNet, part: Part, calibration: dict, work: Path, *, epochs: int, seed: int) -> None:
    """The last layers learn the verdicts and hold on to their other answers; the state is kept after each epoch."""
    layers = nn.ModuleList([model.fuse, model.answers])
    with torch.no_grad():
        before = model.answers(model.fuse(part.features)).mean(1)
    every = part.features.flatten(0, 1)
    middle, spread = every.mean(0), every.std(0) + LEAST_SPREAD
    features = (part.features - middle) / spread
    # the same function of evenly scaled features: learning is even too
    rescale(model.fuse[0], middle, spread)
    optimiser = torch.optim.AdamW(layers.parameters(), lr=RATE, weight_decay=0.01)
    state = found(work / EPOCH) or {"epoch": 0}
    if state["epoch"]:
        layers.load_state_dict(state["layers"])
        optimiser.load_state_dict(state["optimiser"])
    layers.train()
    for epoch in range(state["epoch"], epochs):
        # an epoch is the same whether or not the run was cut off before
        torch.manual_seed(seed * 100_003 + epoch)
        for at in torch.randperm(len(part.attributes)).split(BATCH):
            answers = model.answers(model.fuse(features[at])).mean(1)
            loss, weights = joint_loss(calibrated(answers[:, :8], calibration), part.attributes[at])
            moved = (answers - before[at]).pow(2)
            held = HOLD * moved[:, 8:].mean() + HOLD_JOINT * moved[:, :8].mean()
            optimiser.zero_grad()
            ((loss * weights * part.weights[at]).mean() + held).backward()
            nn.utils.clip_grad_norm_(layers.parameters(), 2.0)
            optimiser.step()
        state = {"epoch": epoch + 1, "layers": layers.state_dict(), "optimiser": optimiser.state_dict()}
        keep(state, work / EPOCH)
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
    raw = model.answers(model.fuse(part.features)).mean(1)[:, :8]
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
