"""The CNN: two small residual encoders over 23 projections of a head, fused into calibrated answers.

Beside the answers it draws, for every projection, a coarse map of where brain is missing and where face is left:
it is trained on where the evidence lies, not only on what follows from it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from inference.projections.network import LAYERS, PACKS, SIDE, SLICE_STEP, SURFACES

ATTRIBUTES = ("face", "ears", "brain")
REGION_COUNT = 5


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the network."""

    widths: tuple[int, int, int] = (48, 96, 128)
    view_features: int = 48
    hidden: int = 256
    dropout: float = 0.2


class Residual(nn.Module):
    """Two 3x3 convolutions beside the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.body(x))


def down(inputs: int, outputs: int, kernel: int = 3) -> nn.Sequential:
    """A convolution that halves the resolution."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride=2, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class Encoder(nn.Module):
    """Projections of one kind -> features and evidence maps; each view knows its place by a learnt map."""

    def __init__(self, views: int, config: ModelConfig) -> None:
        super().__init__()
        low, middle, high = config.widths
        self.stem = nn.Sequential(  # overlapping patches of 8 x 8, one every 4
            nn.Conv2d(LAYERS, low, 8, stride=4, padding=2, bias=False), nn.BatchNorm2d(low), nn.ReLU(), Residual(low)
        )  # fmt: skip
        self.place = nn.Parameter(torch.zeros(views, middle, SIDE // 8, SIDE // 8))
        self.enter = down(low, middle)
        self.body = Residual(middle)
        self.evidence = nn.Conv2d(middle, 2, 1)
        self.leave = down(middle, high)
        self.project = nn.Linear(2 * high, config.view_features)
        self.views = views

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        batch = x.shape[0]  # x: (B, V, 6, 80, 80)
        x = self.stem(x.flatten(0, 1))  # (B*V, low, 20, 20)
        x = self.enter(x)  # (B*V, middle, 10, 10)
        x = x.unflatten(0, (batch, self.views)) + self.place
        x = self.body(x.flatten(0, 1))
        maps = self.evidence(x)  # (B*V, 2, 10, 10)
        x = self.leave(x).flatten(2)  # (B*V, high, 25)
        x = self.project(torch.cat([x.mean(2), x.amax(2)], dim=1))
        strongest = maps.flatten(2).amax(2)  # (B*V, 2)
        features = torch.cat([x, strongest], dim=1).unflatten(0, (batch, self.views))
        return features.flatten(1), maps.unflatten(0, (batch, self.views))


class DefacingNet(nn.Module):
    """bytes in, logits out.

    forward(surfaces (B, 6, 6, 80, 80) uint8, volume (B, 64, 80, 80) uint8) ->
    joint (B, 8): index face + 2 * ears + 4 * brain; regions (B, 5); amount (B,) log1p of ml of brain removed;
    valid (B,): is this a head at all; evidence (B, 23, 2, 10, 10): brain missing, face left.
    """

    def __init__(self, config: ModelConfig | None = None) -> None:
        super().__init__()
        self.config = config or ModelConfig()
        packs = sum(len(p) for p in PACKS.values())
        self.surfaces = Encoder(len(SURFACES), self.config)
        self.slices = Encoder(packs, self.config)
        features = (len(SURFACES) + packs) * (self.config.view_features + 2)
        self.fuse = nn.Sequential(
            nn.Linear(features, self.config.hidden), nn.ReLU(), nn.Dropout(self.config.dropout),
            nn.Linear(self.config.hidden, self.config.hidden // 2), nn.ReLU(),
        )  # fmt: skip
        self.answers = nn.Linear(self.config.hidden // 2, 8 + REGION_COUNT + 2)

    @staticmethod
    def packs(volume: Tensor) -> Tensor:
        """(B, 64, 80, 80) -> (B, 17, 6, 80, 80) packs of neighbouring slices."""
        out = []
        for axis, starts in enumerate(PACKS.values(), start=1):
            for start in starts:
                pack = volume.narrow(axis, start, 2 * LAYERS).movedim(axis, 1)[:, ::SLICE_STEP]
                out.append(nn.functional.pad(pack, (0, 0, 0, SIDE - pack.shape[2])))
        return torch.stack(out, dim=1)

    def forward(self, surfaces: Tensor, volume: Tensor) -> dict[str, Tensor]:
        outer, outer_maps = self.surfaces(surfaces.float() / 128 - 1)
        inner, inner_maps = self.slices(self.packs(volume).float() / 128 - 1)
        answers = self.answers(self.fuse(torch.cat([outer, inner], dim=1)))
        return {
            "joint": answers[:, :8],
            "regions": answers[:, 8 : 8 + REGION_COUNT],
            "amount": answers[:, -2],
            "valid": answers[:, -1],
            "evidence": torch.cat([outer_maps, inner_maps], dim=1),
        }
