"""What the network is taught: a loss for every kind of answer, each a mean over the samples that it concerns."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from inference.training import shards

BLOCKS_WEIGHT = 15.0  # nearly all blocks are empty: their mean says little about those that matter
CLASS_WEIGHTS = {(0, 0): 0.8, (1, 0): 1.2, (0, 1): 0.9, (1, 1): 1.3}  # (face, brain): rare classes count more


def joint_loss(logits: Tensor, attributes: Tensor) -> tuple[Tensor, Tensor]:
    """Negative log-likelihood of what is known of (face, ears, brain), (N,); ambiguous answers are summed out.

    logits (N, 8), attributes (N, 3) of 0, 1, -1. Also the weight of each sample, (N,).
    """
    index = torch.arange(8)
    combinations = torch.stack([index & 1, index >> 1 & 1, index >> 2 & 1], dim=1)
    fits = ((attributes[:, None] == combinations[None]) | (attributes[:, None] == -1)).all(dim=2)
    log_p = logits.float().log_softmax(dim=1).masked_fill(~fits, -torch.inf)
    weights = torch.ones(len(logits))
    for (face, brain), weight in CLASS_WEIGHTS.items():
        weights = weights.masked_fill((attributes[:, 0] == face) & (attributes[:, 2] == brain), weight)
    return -log_p.logsumexp(dim=1), weights


def mean_of(values: Tensor, counted: Tensor) -> Tensor:
    """The mean of those that count; the rest must be finite."""
    return (values * counted).sum() / counted.sum().clamp(min=1)


def losses(out: dict[str, Tensor], batch: shards.Batch) -> dict[str, Tensor]:
    """Each part of the loss, a mean over the samples that it concerns."""
    real = ~batch.odd
    nll, weights = joint_loss(out["joint"], batch.attributes)
    bce = nn.functional.binary_cross_entropy_with_logits

    def drawn(key: str, truth: Tensor, positive: float) -> Tensor:
        """(N,) how far the maps are off, those of every sample on average."""
        maps = out[key].float()
        return bce(maps, truth, pos_weight=maps.new_full((), positive), reduction="none").flatten(1).mean(1)

    seen = real[:, None] & ~batch.kept.isnan()
    regions = bce(out["regions"].float(), batch.kept.nan_to_num().clamp(0, 1), reduction="none")
    amount = nn.functional.smooth_l1_loss(
        out["amount"].float(), torch.log1p(batch.brain_ml.nan_to_num()), reduction="none"
    )
    return {
        "joint": mean_of(nll * weights, real),
        "regions": 0.4 * mean_of(regions, seen),
        "amount": 0.3 * mean_of(amount, real),
        "valid": 0.3 * bce(out["valid"].float(), real.float()),
        "evidence": 0.5 * mean_of(drawn("evidence", batch.evidence.float(), 3.0), real),
        "blocks": BLOCKS_WEIGHT * mean_of(drawn("blocks", batch.blocks.float() / 255, 2.0), real),
    }
