"""What a network answers to people left out of its training, how often it is right, and the calibration that fits them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inference.training import shards
from inference.training.losses import joint_loss
from inference.training.network import DefacingNet, as_used

if TYPE_CHECKING:
    from inference.runtime import Graph

Answers = Callable[[shards.Batch], dict[str, NDArray[np.float32]]]


def by_network(model: DefacingNet) -> Answers:
    """What a network answers that is still being trained."""
    model.eval()

    @torch.no_grad()
    def answers(batch: shards.Batch) -> dict[str, NDArray[np.float32]]:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = as_used(model, batch.surfaces, batch.volumes)
        return {key: value.float().numpy() for key, value in out.items()}

    return answers


def by_graph(graph: Graph, *, both_ways: bool) -> Answers:
    """What an exported network answers."""

    def answers(batch: shards.Batch) -> dict[str, NDArray[np.float32]]:
        every = [graph.answers(head, both_ways=both_ways) for head in shards.heads(batch)]
        return {key: np.stack([one[key] for one in every]) for key in every[0]}

    return answers


def outputs(answers: Answers, chosen: list[shards.Shard]) -> dict[str, NDArray[Any]]:
    """Logits of a network as it is used, and the truth, of all samples of some shards."""
    parts: list[dict[str, NDArray[Any]]] = []
    for batch in shards.batches(chosen, 32, None):
        out = answers(batch)
        parts.append({
            **{key: out[key] for key in ("joint", "regions", "valid")},
            "attributes": batch.attributes.numpy(), "odd": batch.odd.numpy(), "names": batch.names,
            "brain_ml": batch.brain_ml.numpy(), "kept": batch.kept.numpy(),
        })  # fmt: skip
    return {key: np.concatenate([p[key] for p in parts]) for key in parts[0]}


def accuracy(result: dict[str, NDArray[Any]]) -> dict[str, float]:
    """Raw accuracy of the two questions and of the four classes, over unambiguous samples."""
    logits = torch.from_numpy(result["joint"]).softmax(1).numpy()
    face, brain = logits[:, 1::2].sum(1) > 0.5, logits[:, 4:].sum(1) > 0.5
    truth = result["attributes"]
    clear = (truth[:, 0] >= 0) & (truth[:, 2] >= 0) & ~result["odd"]
    good_face, good_brain = face == (truth[:, 0] == 1), brain == (truth[:, 2] == 1)
    return {
        "four": float((good_face & good_brain)[clear].mean()), "face": float(good_face[clear].mean()),
        "brain": float(good_brain[clear].mean()), "n": int(clear.sum()),
    }  # fmt: skip


def calibrate(logits: NDArray[np.float32], attributes: NDArray[np.int64]) -> dict[str, Any]:
    """Temperature and biases of the joint logits that fit held-out people best (a little drawn towards none)."""
    x, y = torch.from_numpy(logits), torch.from_numpy(attributes)
    log_t, bias = torch.zeros(1, requires_grad=True), torch.zeros(8, requires_grad=True)
    optimiser = torch.optim.LBFGS([log_t, bias], max_iter=100)

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = joint_loss(x / log_t.exp() + bias, y)[0].mean() + 0.01 * (bias**2).mean()
        loss.backward()
        return loss

    optimiser.step(closure)
    return {"temperature": float(log_t.exp()), "bias": [round(float(b), 4) for b in bias]}
